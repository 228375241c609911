//! Leases: what a holder has of a resource.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use crate::acquire::Patience;
use crate::config::{CheckPolicy, Times};
use crate::core::{Core, Place};
use crate::data::Data;
use crate::kind::{Exclusive, Kind, Limits, Shared, Unfit, UntilWhen};
use crate::manager::{Manager, ResourceId};
use crate::metadata::{Metadata, Slot};
use crate::moment::Clock;
use crate::observer::EndReason;
use crate::state::{Lent, Store, Unserved};
use crate::user::contain;

mod holding;
mod marks;

pub(crate) use self::holding::{Borrowed, CoreRef, Holding, Owned};
use self::marks::{Marks, Stage};

/// The lease of a [`Pool`](crate::Pool)'s resource: nobody else has it.
pub type Lease<'p, M> = ResourceLease<'p, M, Exclusive>;

/// The lease of a [`SharedPool`](crate::SharedPool)'s resource: one of its places.
///
/// It has neither `detach` nor `replace` nor `data_mut`, and no `&mut` of the resource: others may hold that,
/// too. One that nobody else is to get is [discarded](ResourceLease::discard).
pub type SharedLease<'p, M> = ResourceLease<'p, M, Shared>;

/// A lease: dereferences to the resource, and gives it back when dropped, from any thread, in or
/// outside a runtime.
///
/// A holder of an exclusive lease that panics has the resource discarded. A lease that is forgotten
/// keeps its place for ever.
#[must_use = "the resource goes back when the lease is dropped"]
pub struct ResourceLease<'p, M: Manager, K: Kind<M>> {
    core: CoreRef<'p, M, K>,
    /// There until the lease ends.
    place: Option<Place<M, K>>,
    marks: Marks,
}

/// The call that takes a lease.
pub(crate) type Caller = &'static Location<'static>;

/// The limits of a get's checks.
struct PatienceLimits<'a> {
    patience: &'a mut Patience,
    times: &'a Times,
    clock: Clock,
}

impl Limits for PatienceLimits<'_> {
    fn check_until(&mut self) -> UntilWhen {
        self.patience.check_until(self.times, self.clock)
    }

    fn recycle_until(&mut self) -> UntilWhen {
        self.patience.recycle_until(self.times, self.clock)
    }
}

impl<'p, M: Manager, K: Kind<M>> ResourceLease<'p, M, K> {
    #[inline]
    pub(crate) fn new(
        holding: impl Holding<'p, M, K>,
        lent: Lent<Place<M, K>>,
        at: Caller,
    ) -> Self {
        let core = holding.hold();
        let Lent { place, waiter, .. } = lent;
        let tracked = core.track(K::Store::slot(&place).id, at);
        let marks = Marks::new(Stage::Lent, waiter, tracked);
        Self { core, place: Some(place), marks }
    }

    /// Makes the resource ready for the holder, or gives it up, if that takes no future of the
    /// manager's; pending means to [`prepare`](Self::prepare) it.
    #[inline]
    pub(crate) fn prepare_now(&mut self, stale: bool) -> Poll<Result<(), Unfit>> {
        let Core { manager, hooks, clock, times, .. } = &*self.core;
        let check = stale || times.check_policy == CheckPolicy::Always;
        let Some(place) = &mut self.place else { return Poll::Pending };
        let before = self.marks.stage();
        self.marks.set_stage(Stage::Asked);
        let prepared = K::prepare_now(manager, hooks, place, check, *clock);
        match prepared {
            Poll::Ready(Ok(())) => {
                if check {
                    K::Store::checked(place);
                }
                self.marks.set_stage(Stage::Held);
            }
            Poll::Ready(Err(_unfit)) => {
                self.marks.set_stage(before);
                self.reject(Unserved::GoesOn);
            }
            Poll::Pending => self.marks.set_stage(before),
        }
        prepared
    }

    /// Makes the resource ready for the holder.
    pub(crate) async fn prepare(
        &mut self,
        stale: bool,
        patience: &mut Patience,
    ) -> Result<(), Unfit> {
        self.core.state().check_begins();
        self.marks.set_stage(Stage::Checked);
        let check = stale || self.core.times.check_policy == CheckPolicy::Always;
        if let Some(place) = &mut self.place {
            let Core { manager, hooks, clock, times, .. } = &*self.core;
            let limits = PatienceLimits { patience, times, clock: *clock };
            let prepared = K::prepare(manager, hooks, place, check, *clock, limits).await;
            if let Err(unfit) = prepared {
                self.reject(match unfit {
                    Unfit::Failed => Unserved::GoesOn,
                    Unfit::NoRuntime => Unserved::NoRuntime,
                    Unfit::OutOfTime => Unserved::TimedOut,
                });
                return Err(unfit);
            }
            if check {
                K::Store::checked(place);
            }
        }
        self.core.state().check_passed();
        self.marks.set_stage(Stage::Held);
        Ok(())
    }

    /// The holder has not come to use it.
    fn put_back(&mut self) {
        if let Some(place) = self.place.take() {
            let waiter = self.marks.waiter();
            self.core.update(|state, now, actions| {
                state.free(waiter);
                state.put_back(place, now, actions);
            });
            self.untrack();
        }
    }

    /// There is nothing to make ready.
    #[inline]
    pub(crate) fn arrived(mut self) -> Self {
        self.marks.set_stage(Stage::Held);
        self
    }

    #[cold]
    fn reject(&mut self, unserved: Unserved) {
        if matches!(self.marks.stage(), Stage::Lent | Stage::Asked) {
            self.core.state().check_begins();
        }
        if let Some(place) = self.place.take() {
            self.core.reject(place, self.marks.waiter(), unserved);
            self.untrack();
        }
    }

    /// The resource's number in its pool.
    pub fn id(&self) -> ResourceId {
        K::Store::slot(self.place()).id
    }

    /// What the pool knows about the resource.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// let resource = pool.get().await?;
    /// assert_eq!(resource.metadata().uses(), 1);
    /// # Ok(()) }
    /// ```
    pub fn metadata(&self) -> Metadata {
        K::Store::metadata(self.place(), self.core.clock)
    }

    /// Gives the resource back to be destroyed, because the holder knows that it is no good. A shared
    /// one is lent no more, and goes with its last holder.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::{Lease, Pool};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// let resource = pool.get().await?;
    /// let id = resource.id();
    /// Lease::discard(resource);
    /// assert_ne!(pool.get().await?.id(), id);
    /// # Ok(()) }
    /// ```
    pub fn discard(mut lease: Self) {
        if let Some(place) = lease.place.take() {
            lease.core.discard(place, lease.marks.waiter(), EndReason::Discarded);
            lease.untrack();
        }
    }

    /// What hooks and holders have put down about the resource.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::{Lease, Pool};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// struct Prepared(Vec<String>);
    ///
    /// let mut resource = pool.get().await?;
    /// Lease::data_mut(&mut resource).insert(Prepared(vec!["select 1".to_owned()]));
    /// drop(resource);
    /// let resource = pool.get().await?;
    /// assert_eq!(Lease::data(&resource).get::<Prepared>().unwrap().0.len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn data(lease: &Self) -> &Data {
        &K::Store::slot(lease.place()).data
    }

    /// Resolves when the pool is closed, or has been: a holder that works for long may give the resource
    /// back earlier then. Borrows nothing of the lease.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::{Lease, Pool};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// # async fn long_work<T>(_: &T) {}
    /// let resource = pool.get().await?;
    /// tokio::select! {
    ///     () = Lease::closed(&resource) => println!("not done"),
    ///     () = long_work(&resource) => println!("done"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn closed(lease: &Self) -> impl Future<Output = ()> + Send + use<M, K> {
        Arc::clone(&lease.core.closed).wait()
    }

    #[cold]
    fn untrack(&mut self) {
        self.core.untrack(self.marks.take_tracked());
    }

    fn place(&self) -> &Place<M, K> {
        match &self.place {
            Some(place) => place,
            None => unreachable!("bug: a lease has ended and is still there"),
        }
    }
}

/// Several leases, of which none is used before all are ready. Dropped before that, those go back whose
/// resources nobody is in the middle of looking at.
pub(crate) struct Several<'p, M: Manager, K: Kind<M>> {
    leases: Vec<(ResourceLease<'p, M, K>, bool)>,
    /// The one whose resource is being looked at.
    at: usize,
}

impl<'p, M: Manager, K: Kind<M>> Several<'p, M, K> {
    /// With, for each, whether its resource is to be checked.
    pub(crate) fn new(leases: Vec<(ResourceLease<'p, M, K>, bool)>) -> Self {
        let mut several = Self { leases, at: usize::MAX };
        several.withhold(|withheld, leases| withheld + leases);
        several
    }

    /// They are no gets that have ended with a lease before all are ready.
    fn withhold(&mut self, change: impl FnOnce(usize, usize) -> usize) {
        if let Some((lease, _)) = self.leases.first() {
            lease.core.state().withhold(|withheld| change(withheld, self.leases.len()));
        }
    }

    /// The next one whose resource is to be looked at.
    pub(crate) fn next(&mut self) -> Option<&mut (ResourceLease<'p, M, K>, bool)> {
        self.at = self.at.wrapping_add(1);
        self.leases.get_mut(self.at)
    }

    /// They are all ready.
    pub(crate) fn ready(mut self) -> Vec<ResourceLease<'p, M, K>> {
        self.withhold(|withheld, leases| withheld - leases);
        std::mem::take(&mut self.leases).into_iter().map(|(lease, _)| lease).collect()
    }
}

impl<M: Manager, K: Kind<M>> Drop for Several<'_, M, K> {
    fn drop(&mut self) {
        for (at, (lease, _)) in self.leases.iter_mut().enumerate() {
            if at == self.at {
                lease.end_unready();
            } else {
                lease.put_back();
            }
        }
        self.withhold(|withheld, leases| withheld - leases);
    }
}

impl<M: Manager> ResourceLease<'_, M, Exclusive> {
    /// Takes the resource out of the pool, for good: its place is free. Like
    /// [`discard`](Self::discard) an associated function, so as not to hide a method of the resource.
    ///
    /// A shared lease has no such function: others may hold the resource, too.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::{Lease, Pool};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// let resource = Lease::detach(pool.get().await?);
    /// assert_eq!(pool.status().size, 0);
    /// # Ok(()) }
    /// ```
    pub fn detach(mut lease: Self) -> M::Resource {
        let Some(mut slot) = lease.place.take() else {
            unreachable!("bug: a lease has ended and is still there")
        };
        let (id, waiter) = (slot.id, lease.marks.waiter());
        contain(|| lease.core.manager.detached(&mut slot.resource));
        lease.core.update(|state, now, actions| {
            state.free(waiter);
            state.detach(id, now, actions);
        });
        lease.untrack();
        let Slot { resource, data, .. } = *slot;
        contain(|| drop(data));
        resource
    }

    /// Puts `resource` in the place of the one that is held, which leaves the pool: for a holder that
    /// has renewed it by hand. The new one has a number, an age and data of its own, and goes back to the pool
    /// when the lease ends.
    ///
    /// A shared lease has no such function: others may hold the resource, too.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{CreateContext, Lease, Manager, Pool};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Resource = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn create(&self, _: &CreateContext) -> Result<u64, Self::Error> { Ok(0) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Numbers).build()?;
    /// let mut number = pool.get().await?;
    /// assert_eq!(Lease::replace(&mut number, 7), 0);
    /// drop(number);
    /// assert_eq!(*pool.get().await?, 7);
    /// # Ok(()) }
    /// ```
    pub fn replace(lease: &mut Self, resource: M::Resource) -> M::Resource {
        let core = &*lease.core;
        let Some(slot) = &mut lease.place else {
            unreachable!("bug: a lease has ended and is still there")
        };
        contain(|| core.manager.detached(&mut slot.resource));
        // It is a user's, and so is its destructor.
        let data = std::mem::take(&mut slot.data);
        contain(|| drop(data));
        let id = core.update(|state, now, actions| state.replace(slot, now, actions));
        if let (Some(leaks), Some(key)) = (&core.leaks, lease.marks.tracked()) {
            leaks.replaced(key, id);
        }
        std::mem::replace(&mut slot.resource, resource)
    }

    /// What hooks and holders have put down about the resource, to be changed. See [`data`](Self::data)
    /// for an example.
    pub fn data_mut(lease: &mut Self) -> &mut Data {
        match &mut lease.place {
            Some(slot) => &mut slot.data,
            None => unreachable!("bug: a lease has ended and is still there"),
        }
    }
}

impl<M: Manager, K: Kind<M>> Deref for ResourceLease<'_, M, K> {
    type Target = M::Resource;

    fn deref(&self) -> &M::Resource {
        K::resource(self.place())
    }
}

impl<M: Manager> DerefMut for ResourceLease<'_, M, Exclusive> {
    fn deref_mut(&mut self) -> &mut M::Resource {
        match &mut self.place {
            Some(slot) => &mut slot.resource,
            None => unreachable!("bug: a lease has ended and is still there"),
        }
    }
}

impl<M: Manager, K: Kind<M>> ResourceLease<'_, M, K> {
    /// Ends a lease whose resource may be in the middle of being looked at.
    fn end_unready(&mut self) {
        if self.marks.stage() == Stage::Held {
            self.put_back();
        } else {
            self.end_unused();
        }
    }

    /// Ends a lease that its holder had not come to use.
    #[cold]
    #[inline(never)]
    fn end_unused(&mut self) {
        if self.place.is_some() {
            let panicked = match self.marks.stage() {
                // It would have an answer otherwise.
                Stage::Asked => true,
                Stage::Checked => thread::panicking(),
                Stage::Lent | Stage::Held => false,
            };
            self.reject(if panicked { Unserved::Panicked } else { Unserved::Cancelled });
        }
    }

    #[cold]
    #[inline(never)]
    fn end_broken(&mut self, place: Place<M, K>) {
        self.core.discard(place, self.marks.waiter(), EndReason::Broken);
    }
}

impl<M: Manager, K: Kind<M>> Drop for ResourceLease<'_, M, K> {
    #[inline]
    fn drop(&mut self) {
        if self.marks.stage() != Stage::Held {
            return self.end_unused();
        }
        let Some(mut place) = self.place.take() else { return };
        if self.marks.is_tracked() {
            self.untrack();
        }
        // A holder that panics may have left the resource in the middle of something.
        let panics = !K::IS_SHARED && self.core.times.discard_on_panic && thread::panicking();
        let is_broken = contain(|| {
            let Core { manager, hooks, clock, .. } = &*self.core;
            panics || K::is_broken(manager, &mut place) || !K::returned(hooks, &mut place, *clock)
        });
        if is_broken.unwrap_or(true) {
            return self.end_broken(place);
        }
        self.core.give_back(place, self.marks.waiter());
    }
}

impl<M: Manager<Resource: fmt::Debug>, K: Kind<M>> fmt::Debug for ResourceLease<'_, M, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&**self).finish()
    }
}
