//! How resources are lent: [`Exclusive`] or [`Shared`], and what is done differently for each.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::acquire::LATE;
use crate::hooks::Hooks;
use crate::manager::{Manager, ResourceId, SharedManager};
use crate::metadata::Slot;
use crate::moment::{Clock, Moment};
use crate::state::{IdleStore, Share, ShareStore, Store};
use crate::timings::Ending;
use crate::user::keeps_time;

/// How the resources of a pool are lent. Sealed: [`Exclusive`] and [`Shared`] are all there are.
pub trait Kind<M: Manager>: Send + Sync + 'static + sealed::Sealed {
    /// Where the resources are kept.
    #[doc(hidden)]
    type Store: Store<Resource = M::Resource, Lent = Self::Place>;

    /// What a holder carries.
    #[doc(hidden)]
    type Place: Send;

    /// Whether others may hold the resource at the same time.
    #[doc(hidden)]
    const IS_SHARED: bool;

    #[doc(hidden)]
    fn resource(place: &Self::Place) -> &M::Resource;

    /// Is the resource known to be broken?
    #[doc(hidden)]
    fn is_broken(manager: &M, place: &mut Self::Place) -> bool;

    /// Asks the hook, if there is one, whether the resource may stay that has come back.
    #[doc(hidden)]
    fn returned(hooks: &Hooks<M>, place: &mut Self::Place, clock: Clock) -> bool;

    /// A resource that has holders is lent no more, or again.
    #[doc(hidden)]
    fn set_aside(manager: &M, id: ResourceId, aside: bool);

    /// Looks at an idle resource.
    #[doc(hidden)]
    fn look(
        manager: &M,
        place: &mut Self::Place,
        clock: Clock,
    ) -> impl Future<Output = Result<(), M::Error>> + Send;

    /// Makes the resource ready for its next holder, if the manager's checks have no state: they can
    /// be asked where they are. Pending means to [`prepare`](Kind::prepare) it.
    #[doc(hidden)]
    fn prepare_now(
        manager: &M,
        hooks: &Hooks<M>,
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
    ) -> Poll<Result<(), Unfit>>;

    /// Makes the resource ready for its next holder.
    #[doc(hidden)]
    fn prepare(
        manager: &M,
        hooks: &Hooks<M>,
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
        limits: impl Limits + Send,
    ) -> impl Future<Output = Result<(), Unfit>> + Send;
}

/// Why a resource was not made ready.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It did not pass.
    Failed,
    /// It takes time, and there is no runtime to bound it.
    NoRuntime,
    /// The caller's time was over before it was known.
    OutOfTime,
}

/// From when and until when a check may run, and what it means if it does not end by then.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct UntilWhen {
    pub(crate) from: Moment,
    pub(crate) at: Instant,
    pub(crate) unfit: Unfit,
}

/// How long checks that are about to begin may run. Asked only when one takes time.
#[doc(hidden)]
pub trait Limits {
    fn check_until(&mut self) -> UntilWhen;
    fn recycle_until(&mut self) -> UntilWhen;

    /// One is over that took time.
    fn ended(&self, from: Moment, ending: Ending);
}

/// One holder at a time, who may change the resource: [`Pool`](crate::Pool).
#[derive(Clone, Copy, Debug)]
pub struct Exclusive;

/// As many holders at a time as the resource has places: [`SharedPool`](crate::SharedPool).
#[derive(Clone, Copy, Debug)]
pub struct Shared;

impl<M: Manager> Kind<M> for Exclusive {
    type Store = IdleStore<M::Resource>;
    type Place = Box<Slot<M::Resource>>;
    const IS_SHARED: bool = false;

    fn resource(place: &Self::Place) -> &M::Resource {
        &place.resource
    }

    fn is_broken(manager: &M, place: &mut Self::Place) -> bool {
        manager.is_broken(&mut place.resource)
    }

    #[inline]
    fn returned(hooks: &Hooks<M>, place: &mut Self::Place, clock: Clock) -> bool {
        let Some(hook) = &hooks.after_return else { return true };
        let meta = place.metadata(place.uses, clock);
        let Slot { resource, data, .. } = &mut **place;
        hook(resource, data, &meta).is_ok()
    }

    fn set_aside(_manager: &M, _id: ResourceId, _aside: bool) {}

    async fn look(manager: &M, place: &mut Self::Place, clock: Clock) -> Result<(), M::Error> {
        let meta = place.metadata(place.uses, clock);
        manager.check(&mut place.resource, &meta).await
    }

    #[inline]
    fn prepare_now(
        manager: &M,
        hooks: &Hooks<M>,
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
    ) -> Poll<Result<(), Unfit>> {
        let meta = place.metadata(place.uses, clock);
        let recycle = meta.uses() > 1;
        // All or none, so that nothing is asked twice.
        if hooks.before_lend.is_some()
            || recycle && has_state(|| manager.recycle(&mut place.resource, &meta))
            || check && has_state(|| manager.check(&mut place.resource, &meta))
        {
            return Poll::Pending;
        }
        if recycle {
            ready!(ask(manager.recycle(&mut place.resource, &meta)))?;
        }
        if check {
            ready!(ask(manager.check(&mut place.resource, &meta)))?;
        }
        Poll::Ready(Ok(()))
    }

    async fn prepare(
        manager: &M,
        hooks: &Hooks<M>,
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
        mut limits: impl Limits + Send,
    ) -> Result<(), Unfit> {
        let meta = place.metadata(place.uses, clock);
        // The present holder counts.
        if meta.uses() > 1 {
            let recycled = manager.recycle(&mut place.resource, &meta);
            bounded(&mut limits, Limits::recycle_until, recycled).await?;
        }
        if check {
            bounded(&mut limits, Limits::check_until, manager.check(&mut place.resource, &meta))
                .await?;
        }
        if let Some(hook) = &hooks.before_lend {
            let Slot { resource, data, .. } = &mut **place;
            bounded(&mut limits, Limits::check_until, hook(resource, data, &meta)).await?;
        }
        Ok(())
    }
}

impl<M: SharedManager> Kind<M> for Shared {
    type Store = ShareStore<M::Resource>;
    type Place = Arc<Share<M::Resource>>;
    const IS_SHARED: bool = true;

    fn resource(place: &Self::Place) -> &M::Resource {
        &place.slot.resource
    }

    fn is_broken(_manager: &M, _place: &mut Self::Place) -> bool {
        false
    }

    #[inline]
    fn returned(hooks: &Hooks<M>, place: &mut Self::Place, clock: Clock) -> bool {
        let Some(hook) = &hooks.after_return_shared else { return true };
        let meta = place.metadata(clock);
        hook(&place.slot.resource, &place.slot.data, &meta).is_ok()
    }

    fn set_aside(manager: &M, id: ResourceId, aside: bool) {
        manager.set_aside(id, aside);
    }

    async fn look(manager: &M, place: &mut Self::Place, clock: Clock) -> Result<(), M::Error> {
        let meta = place.metadata(clock);
        manager.check_shared(&place.slot.resource, &meta).await
    }

    #[inline]
    fn prepare_now(
        manager: &M,
        hooks: &Hooks<M>,
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
    ) -> Poll<Result<(), Unfit>> {
        let meta = place.metadata(clock);
        let resource = &place.slot.resource;
        if hooks.before_lend_shared.is_some() {
            return Poll::Pending;
        }
        if !check {
            return Poll::Ready(Ok(()));
        }
        if has_state(|| manager.check_shared(resource, &meta)) {
            return Poll::Pending;
        }
        ask(manager.check_shared(resource, &meta))
    }

    async fn prepare(
        manager: &M,
        hooks: &Hooks<M>,
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
        mut limits: impl Limits + Send,
    ) -> Result<(), Unfit> {
        let meta = place.metadata(clock);
        let Slot { resource, data, .. } = &place.slot;
        if check {
            bounded(&mut limits, Limits::check_until, manager.check_shared(resource, &meta))
                .await?;
        }
        if let Some(hook) = &hooks.before_lend_shared {
            bounded(&mut limits, Limits::check_until, hook(resource, data, &meta)).await?;
        }
        Ok(())
    }
}

/// Whether the future of a check has state. Looks at its type and does not ask.
#[inline]
fn has_state<F>(_ask: impl FnOnce() -> F) -> bool {
    size_of::<F>() > 0
}

/// Asks a check that has no state. One that does not answer at once may be made anew, since there is
/// nothing that it could have kept.
#[inline]
fn ask<E>(check: impl Future<Output = Result<(), E>>) -> Poll<Result<(), Unfit>> {
    let mut cx = Context::from_waker(Waker::noop());
    pin!(check).poll(&mut cx).map_err(|_error| Unfit::Failed)
}

/// Runs a check. One that is ready at once needs neither clock, timer nor runtime.
async fn bounded<E, L: Limits>(
    limits: &mut L,
    limit: impl FnOnce(&mut L) -> UntilWhen,
    check: impl Future<Output = Result<(), E>>,
) -> Result<(), Unfit> {
    let mut check = pin!(check);
    let first = poll_fn(|cx| Poll::Ready(check.as_mut().poll(cx))).await;
    let passed = match first {
        Poll::Ready(passed) => passed,
        Poll::Pending if !Handle::try_current().is_ok_and(|runtime| keeps_time(&runtime)) => {
            return Err(Unfit::NoRuntime);
        }
        Poll::Pending => {
            let UntilWhen { from, at, unfit } = limit(limits);
            let mut passed = pin!(timeout_at(at, check));
            let passed = poll_fn(move |cx| match passed.as_mut().poll(cx) {
                Poll::Pending if is_late(at) => Poll::Ready(Err(unfit)),
                passed => passed.map_err(|_elapsed| unfit),
            });
            let passed = passed.await;
            let ending = match &passed {
                Ok(Ok(())) => Ending::Ok,
                Ok(Err(_error)) => Ending::Failed,
                Err(_unfit) => Ending::Timeout,
            };
            limits.ended(from, ending);
            passed?
        }
    };
    passed.map_err(|_error| Unfit::Failed)
}

/// Whether a limit is long over, and nobody has said so: who keeps the time may be blocked by this very caller.
fn is_late(at: Instant) -> bool {
    Instant::now().checked_duration_since(at).is_some_and(|by| by >= LATE)
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Exclusive {}
    impl Sealed for super::Shared {}
}
