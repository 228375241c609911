//! A creation: a task of the pool, bounded in time, that hands its result to the state. No caller owns
//! it, so none can cancel it.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::thread;

use tokio::time::timeout;

use crate::core::Core;
use crate::data::Data;
use crate::error::CreateError;
use crate::hooks::Hooks;
use crate::kind::Kind;
use crate::manager::{CreateContext, Manager, ResourceId};
use crate::metadata::Metadata;
use crate::moment::Clock;
use crate::state::{BirthOrder, Newborn, Stillborn};
use crate::timings::{Ending, Spent};
use crate::trace::CreateSpan;
use crate::user::{contain, drop_panic};

/// Creates one resource. The task holds the manager, and the pool only weakly.
pub(crate) fn run<M: Manager, K: Kind<M>>(
    core: &Arc<Core<M, K>>,
    order: BirthOrder,
) -> impl Future<Output = ()> + Send + use<M, K> {
    let made = replace(core, order);
    async move { drop(made.await) }
}

/// The same, for one who wants to know what came of it: whether it took over from another one.
pub(crate) fn replace<M: Manager, K: Kind<M>>(
    core: &Arc<Core<M, K>>,
    order: BirthOrder,
) -> impl Future<Output = Result<bool, Arc<CreateError<M::Error>>>> + Send + use<M, K> {
    let span = CreateSpan::begin(core, &order);
    let BirthOrder { id, attempt, reason, generation, replaces, group } = order;
    let cx = CreateContext { attempt, reason, replaces, group, handle: core.handle_of(id) };
    let manager = Arc::clone(&core.manager);
    let hooks = Arc::clone(&core.hooks);
    let (limit, clock) = (core.times.create, core.clock);
    let spent = Arc::clone(&core.spent);
    let birth = BirthGuard { core: Arc::downgrade(core), id, spent };
    let of_it = span.clone();
    let creation = async move {
        let began = clock.now();
        let created = timeout(limit, create(&*manager, &hooks, &cx, generation, clock)).await;
        let ending = match &created {
            Ok(Ok(_newborn)) => Ending::Ok,
            Ok(Err(_error)) => Ending::Failed,
            Err(_elapsed) => Ending::Timeout,
        };
        birth.spent.created(clock.now().since(began), ending);
        let error = match created {
            Ok(Ok(newborn)) => {
                of_it.created();
                return Ok(birth.born(newborn));
            }
            Ok(Err(error)) => error,
            Err(_elapsed) => CreateError::TimedOut(limit),
        };
        let (fatal, retry_in) = match &error {
            CreateError::Failed(error) => (
                contain(|| manager.is_fatal(error)).unwrap_or(false),
                contain(|| manager.retry_in(error, &cx)).flatten(),
            ),
            CreateError::Refused(_) | CreateError::TimedOut(_) | CreateError::Panicked(_) => {
                (false, None)
            }
        };
        let text = contain(|| error.to_string()).unwrap_or_default();
        of_it.failed(&text);
        let error = Arc::new(error);
        birth.stillborn(Stillborn { error: Arc::clone(&error), text, fatal, retry_in });
        Err(error)
    };
    span.around(creation)
}

async fn create<M: Manager>(
    manager: &M,
    hooks: &Hooks<M>,
    cx: &CreateContext,
    generation: u32,
    clock: Clock,
) -> Result<Newborn<M::Resource>, CreateError<M::Error>> {
    // The call itself may panic, too, where it is no `async fn`.
    let mut attempt = pin!(async {
        let mut resource = manager.create(cx).await.map_err(CreateError::Failed)?;
        let mut data = Data::new();
        if let Some(hook) = &hooks.after_create {
            let meta = Metadata::of_newborn(cx.handle.id(), generation, clock);
            let allowed = hook(&mut resource, &mut data, &meta).await;
            allowed.map_err(|error| CreateError::Refused(error.into_error()))?;
        }
        Ok(Newborn { resource, data })
    });
    poll_fn(|task| {
        let polled = catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(task)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(created)) => Poll::Ready(created),
            Err(panic) => {
                let text = message(&*panic);
                drop_panic(panic);
                Poll::Ready(Err(CreateError::Panicked(text)))
            }
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
    spent: Arc<Spent>,
}

impl<M: Manager, K: Kind<M>> BirthGuard<M, K> {
    fn born(self, newborn: Newborn<M::Resource>) -> bool {
        self.core.upgrade().is_some_and(|core| core.born(self.id, newborn))
    }

    fn stillborn(self, failed: Stillborn<M::Error>) {
        self.spent.create_failed();
        if let Some(core) = self.core.upgrade() {
            core.stillborn(self.id, failed);
        }
    }
}

impl<M: Manager, K: Kind<M>> Drop for BirthGuard<M, K> {
    /// Without effect when the state knows the outcome.
    fn drop(&mut self) {
        let Some(core) = self.core.upgrade() else { return };
        if thread::panicking() {
            // What the manager had begun panicked when it was given up.
            let text = "its future panicked when it was dropped".to_owned();
            let error = Arc::new(CreateError::Panicked(text.clone()));
            self.spent.create_failed();
            core.stillborn(self.id, Stillborn { error, text, fatal: false, retry_in: None });
        } else {
            core.abandoned(self.id);
        }
    }
}
