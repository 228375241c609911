//! The one task of a pool: asleep until the nearest deadline, it starts creations and destructions
//! and lets time pass for the state.
//!
//! It holds the pool weakly and only while awake. It ends when the pool does, and takes the tasks that
//! it has started along; or when the pool is closed and empty, and nothing is left to do. When its
//! runtime ends first, the pool learns of that and starts it anew with the next call.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::core::{Core, Place};
use crate::create;
use crate::kind::Kind;
use crate::manager::Manager;
use crate::metadata::Slot;
use crate::observer::EndReason;
use crate::state::Ended;
use crate::timings::Ending;
use crate::user::{contain, drop_panic, take_leave};

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
            for held in work.looks {
                tasks.spawn(look(&core, held));
            }
            if work.over {
                return;
            }
            drop(core);
            while let Some(done) = tasks.try_join_next() {
                if let Some(panic) = done.err().and_then(|error| error.try_into_panic().ok()) {
                    drop_panic(panic);
                }
            }
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
    take_leave(core, &mut ended);
    let Slot { resource, data, .. } = *ended.slot;
    async move {
        let _place = place;
        contain(|| drop(data));
        // Out of time: the resource is dropped with the future.
        drop(timeout(limit, manager.destroy(resource)).await);
    }
}

/// Looks at an idle resource, which ends if it does not pass.
fn look<M: Manager, K: Kind<M>>(
    core: &Arc<Core<M, K>>,
    held: Place<M, K>,
) -> impl Future<Output = ()> + Send + use<M, K> {
    let limit = core.times.check;
    let closed = Arc::clone(&core.closed).wait();
    let mut look =
        Look { core: Arc::clone(core), held: Some(held), end: Some(EndReason::CheckFailed) };
    async move {
        let Look { core, held: Some(held), end } = &mut look else { return };
        let mut closed = pin!(closed);
        let mut passed = pin!(timeout(limit, K::look(&core.manager, held, core.clock)));
        let mut began = None;
        *end = poll_fn(|cx| {
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(EndReason::Closed));
            }
            let Poll::Ready(passed) = passed.as_mut().poll(cx) else {
                began.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            let ending = match passed {
                Ok(Ok(())) => Ending::Ok,
                Ok(Err(_error)) => Ending::Failed,
                Err(_elapsed) => Ending::Timeout,
            };
            if let Some(began) = began {
                core.spent.checked(began.elapsed(), ending);
            }
            Poll::Ready((ending != Ending::Ok).then_some(EndReason::CheckFailed))
        })
        .await;
    }
}

/// A resource that is looked at. It keeps the pool there, which has to see it end.
struct Look<M: Manager, K: Kind<M>> {
    core: Arc<Core<M, K>>,
    held: Option<Place<M, K>>,
    /// Why it is to end, unless it passes.
    end: Option<EndReason>,
}

impl<M: Manager, K: Kind<M>> Drop for Look<M, K> {
    /// Also after a panic of the manager, and when the runtime ends in the middle of the look.
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let end = self.end;
            self.core.update(|state, now, actions| state.looked(held, end, now, actions));
        }
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
