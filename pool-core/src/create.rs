//! A creation: a task of the pool, bounded in time, that hands its result to the state. No caller owns
//! it, so none can cancel it.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use tokio::time::timeout;

use crate::core::{Core, contain};
use crate::error::CreateError;
use crate::kind::Kind;
use crate::manager::{CreateContext, Manager, ResourceId};
use crate::state::{BirthOrder, Stillborn};

/// Creates one resource. The task holds the manager, and the pool only weakly.
pub(crate) fn run<M: Manager, K: Kind<M>>(
    core: &Arc<Core<M, K>>,
    order: BirthOrder,
) -> impl Future<Output = ()> + Send + use<M, K> {
    let BirthOrder { id, attempt, reason } = order;
    let cx = CreateContext { attempt, reason, handle: core.handle_of(id) };
    let manager = Arc::clone(&core.manager);
    let limit = core.times.create;
    let birth = BirthGuard { core: Arc::downgrade(core), id };
    async move {
        let created = timeout(limit, create(&*manager, &cx)).await;
        let error = match created {
            Ok(Ok(resource)) => return birth.born(resource),
            Ok(Err(error)) => error,
            Err(_elapsed) => CreateError::TimedOut(limit),
        };
        let (fatal, retry_in) = match &error {
            CreateError::Failed(error) => (
                contain(|| manager.is_fatal(error)).unwrap_or(false),
                contain(|| manager.retry_in(error)).flatten(),
            ),
            CreateError::TimedOut(_) | CreateError::Panicked(_) => (false, None),
        };
        let text = contain(|| error.to_string()).unwrap_or_default();
        birth.stillborn(Stillborn { error: Arc::new(error), text, fatal, retry_in });
    }
}

async fn create<M: Manager>(
    manager: &M,
    cx: &CreateContext,
) -> Result<M::Resource, CreateError<M::Error>> {
    // The call itself may panic, too, where it is no `async fn`.
    let mut attempt = pin!(async { manager.create(cx).await });
    poll_fn(|task| {
        let polled = catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(task)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(created)) => Poll::Ready(created.map_err(CreateError::Failed)),
            Err(panic) => Poll::Ready(Err(CreateError::Panicked(message(&*panic)))),
        }
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

/// The right to create, until the creation has come to something.
struct BirthGuard<M: Manager, K: Kind<M>> {
    core: Weak<Core<M, K>>,
    id: ResourceId,
}

impl<M: Manager, K: Kind<M>> BirthGuard<M, K> {
    fn born(self, resource: M::Resource) {
        if let Some(core) = self.core.upgrade() {
            core.born(self.id, resource);
        }
    }

    fn stillborn(self, failed: Stillborn<M::Error>) {
        if let Some(core) = self.core.upgrade() {
            core.stillborn(self.id, failed);
        }
    }
}

impl<M: Manager, K: Kind<M>> Drop for BirthGuard<M, K> {
    /// Without effect when the state knows the outcome.
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            core.abandoned(self.id);
        }
    }
}
