//! The one task of a pool: asleep until the nearest deadline, it starts creations and destructions
//! and lets time pass for the state.
//!
//! It holds the pool weakly and only while awake. It ends when the pool does, and takes the tasks that
//! it has started along; when its runtime ends first, the pool learns of that and starts it anew with
//! the next call.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use crate::core::{Core, contain};
use crate::create;
use crate::kind::Kind;
use crate::manager::Manager;
use crate::state::Ended;

pub(crate) struct Maintenance<M: Manager, K: Kind<M>> {
    core: Weak<Core<M, K>>,
    wakeup: Arc<Notify>,
}

impl<M: Manager, K: Kind<M>> Maintenance<M, K> {
    pub(crate) fn new(core: &Arc<Core<M, K>>, wakeup: Arc<Notify>) -> Self {
        Self { core: Arc::downgrade(core), wakeup }
    }

    pub(crate) async fn run(self) {
        let mut tasks = JoinSet::new();
        while let Some(core) = self.core.upgrade() {
            let clock = core.clock;
            let work = core.maintain();
            for order in work.births {
                tasks.spawn(create::run(&core, order));
            }
            for ended in work.disposals {
                tasks.spawn(dispose(&core, ended));
            }
            drop(core);
            while tasks.try_join_next().is_some() {}
            let notified = self.wakeup.notified();
            match clock.instant(work.next) {
                Some(next) => drop(timeout_at(next, notified).await),
                None => notified.await,
            }
        }
    }
}

impl<M: Manager, K: Kind<M>> Drop for Maintenance<M, K> {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            core.orphan();
        }
    }
}

/// Destroys a resource, whose place is free when that is over, however it ends.
fn dispose<M: Manager, K: Kind<M>>(
    core: &Arc<Core<M, K>>,
    mut ended: Ended<M::Resource>,
) -> impl Future<Output = ()> + Send + use<M, K> {
    let limit = core.times.destroy;
    let manager = Arc::clone(&core.manager);
    let place = Closing { core: Arc::downgrade(core) };
    contain(|| manager.detached(&mut ended.slot.resource));
    async move {
        let _place = place;
        // Out of time: the resource is dropped with the future.
        drop(timeout(limit, manager.destroy(ended.slot.resource)).await);
    }
}

/// The place of a resource that is being destroyed.
struct Closing<M: Manager, K: Kind<M>> {
    core: Weak<Core<M, K>>,
}

impl<M: Manager, K: Kind<M>> Drop for Closing<M, K> {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            core.disposed();
        }
    }
}
