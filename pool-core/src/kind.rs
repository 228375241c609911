//! How resources are lent: [`Exclusive`] or [`Shared`], and what is done differently for each.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::manager::{Manager, SharedManager};
use crate::metadata::Slot;
use crate::moment::Clock;
use crate::state::{IdleStore, Share, ShareStore, Store};

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

    /// Is the resource in a state to be lent again?
    #[doc(hidden)]
    fn is_broken(manager: &M, place: &mut Self::Place) -> bool;

    /// Makes the resource ready for its next holder, if the manager's checks have no state: they can
    /// be asked where they are. Pending means to [`prepare`](Kind::prepare) it.
    #[doc(hidden)]
    fn prepare_now(
        manager: &M,
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
    ) -> Poll<Result<(), Unfit>>;

    /// Makes the resource ready for its next holder.
    #[doc(hidden)]
    fn prepare(
        manager: &M,
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
        limit: impl FnMut() -> CheckLimit + Send,
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

/// Until when a check may run, and what it means if it does not end by then.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct CheckLimit {
    pub(crate) at: Instant,
    pub(crate) unfit: Unfit,
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
        // A holder that panics may have left the resource in the middle of something.
        std::thread::panicking() || manager.is_broken(&mut place.resource)
    }

    #[inline]
    fn prepare_now(
        manager: &M,
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
    ) -> Poll<Result<(), Unfit>> {
        let meta = place.metadata(place.uses, clock);
        let recycle = meta.uses() > 1;
        // Both or none, so that neither is asked twice.
        if recycle && has_state(|| manager.recycle(&mut place.resource, &meta))
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
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
        mut limit: impl FnMut() -> CheckLimit + Send,
    ) -> Result<(), Unfit> {
        let meta = place.metadata(place.uses, clock);
        // The present holder counts.
        if meta.uses() > 1 {
            bounded(&mut limit, manager.recycle(&mut place.resource, &meta)).await?;
        }
        if check {
            bounded(&mut limit, manager.check(&mut place.resource, &meta)).await?;
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
    fn prepare_now(
        manager: &M,
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
    ) -> Poll<Result<(), Unfit>> {
        let meta = place.metadata(clock);
        let resource = &place.slot.resource;
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
        place: &mut Self::Place,
        check: bool,
        clock: Clock,
        limit: impl FnMut() -> CheckLimit + Send,
    ) -> Result<(), Unfit> {
        if check {
            let meta = place.metadata(clock);
            bounded(limit, manager.check_shared(&place.slot.resource, &meta)).await?;
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
async fn bounded<E>(
    mut limit: impl FnMut() -> CheckLimit,
    check: impl Future<Output = Result<(), E>>,
) -> Result<(), Unfit> {
    let mut check = pin!(check);
    let first = poll_fn(|cx| Poll::Ready(check.as_mut().poll(cx))).await;
    let passed = match first {
        Poll::Ready(passed) => passed,
        Poll::Pending if Handle::try_current().is_err() => return Err(Unfit::NoRuntime),
        Poll::Pending => {
            let CheckLimit { at, unfit } = limit();
            timeout_at(at, check).await.map_err(|_elapsed| unfit)?
        }
    };
    passed.map_err(|_error| Unfit::Failed)
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Exclusive {}
    impl Sealed for super::Shared {}
}
