//! Leases: what a holder has of a resource.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;
use std::thread;

use crate::core::{Core, Place};
use crate::data::Data;
use crate::kind::{Exclusive, Kind, Shared};
use crate::manager::{Manager, ResourceId};
use crate::metadata::{Metadata, Slot};
use crate::observer::EndReason;
use crate::state::{Lent, Store};
use crate::user::contain;

mod holding;
mod marks;
mod prepare;

pub(crate) use self::holding::{Borrowed, CoreRef, Holding, Owned};
use self::marks::{Marks, Stage};
pub(crate) use self::prepare::Several;

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

impl<'p, M: Manager, K: Kind<M>> ResourceLease<'p, M, K> {
    #[inline]
    pub(crate) fn new(
        holding: impl Holding<'p, M, K>,
        lent: Lent<Place<M, K>>,
        at: Caller,
    ) -> Self {
        let core = holding.hold();
        let (waiter, place) = (lent.waiter(), lent.place);
        let tracked = core.track(K::Store::slot(&place).id, at);
        let marks = Marks::new(Stage::Lent, waiter, tracked);
        Self { core, place: Some(place), marks }
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
            lease.untrack(true);
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
    fn untrack(&mut self, used: bool) {
        self.core.untrack(self.marks.take_tracked(), used);
    }

    fn place(&self) -> &Place<M, K> {
        match &self.place {
            Some(place) => place,
            None => unreachable!("bug: a lease has ended and is still there"),
        }
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
        lease.untrack(true);
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
            self.untrack(true);
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
