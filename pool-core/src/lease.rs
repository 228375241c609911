//! Leases: what a holder has of a resource.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::Poll;

use crate::acquire::Patience;
use crate::config::CheckPolicy;
use crate::core::{Core, Place, contain};
use crate::kind::{Exclusive, Kind, Shared, Unfit};
use crate::manager::{Manager, ResourceId};
use crate::metadata::Metadata;
use crate::observer::EndReason;
use crate::state::{Store, Unserved};

/// The lease of a [`Pool`](crate::Pool)'s resource: nobody else has it.
pub type Lease<'p, M> = ResourceLease<'p, M, Exclusive>;

/// The lease of a [`SharedPool`](crate::SharedPool)'s resource: one of its places.
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
    stage: Stage,
}

/// How far a lease has come. Dropped before it is held, its resource is discarded: nobody knows what
/// state it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Lent,
    Checked,
    Held,
}

enum CoreRef<'p, M: Manager, K: Kind<M>> {
    Borrowed(&'p Core<M, K>),
    Owned(Arc<Core<M, K>>),
}

impl<M: Manager, K: Kind<M>> Deref for CoreRef<'_, M, K> {
    type Target = Core<M, K>;

    fn deref(&self) -> &Core<M, K> {
        match self {
            Self::Borrowed(core) => core,
            Self::Owned(core) => core,
        }
    }
}

impl<'p, M: Manager, K: Kind<M>> ResourceLease<'p, M, K> {
    pub(crate) fn borrowed(core: &'p Core<M, K>, place: Place<M, K>) -> Self {
        Self { core: CoreRef::Borrowed(core), place: Some(place), stage: Stage::Lent }
    }

    pub(crate) fn owned(core: Arc<Core<M, K>>, place: Place<M, K>) -> Self {
        Self { core: CoreRef::Owned(core), place: Some(place), stage: Stage::Lent }
    }

    /// Makes the resource ready for the holder, or gives it up, if that takes no future of the
    /// manager's; pending means to [`prepare`](Self::prepare) it.
    #[inline]
    pub(crate) fn prepare_now(&mut self, stale: bool) -> Poll<Result<(), Unfit>> {
        let Core { manager, clock, times, .. } = &*self.core;
        let check = stale || times.check_policy == CheckPolicy::Always;
        let Some(place) = &mut self.place else { return Poll::Pending };
        let prepared = K::prepare_now(manager, place, check, *clock);
        match prepared {
            Poll::Ready(Ok(())) => self.stage = Stage::Held,
            Poll::Ready(Err(_unfit)) => self.reject(Unserved::GoesOn),
            Poll::Pending => {}
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
        self.stage = Stage::Checked;
        let check = stale || self.core.times.check_policy == CheckPolicy::Always;
        if let Some(place) = &mut self.place {
            let Core { manager, clock, times, .. } = &*self.core;
            let limit = || patience.check_limit(times, *clock);
            let prepared = K::prepare(manager, place, check, *clock, limit).await;
            if let Err(unfit) = prepared {
                self.reject(match unfit {
                    Unfit::Failed => Unserved::GoesOn,
                    Unfit::NoRuntime => Unserved::NoRuntime,
                    Unfit::OutOfTime => Unserved::TimedOut,
                });
                return Err(unfit);
            }
        }
        self.core.state().check_passed();
        self.stage = Stage::Held;
        Ok(())
    }

    /// There is nothing to make ready.
    pub(crate) fn arrived(mut self) -> Self {
        self.stage = Stage::Held;
        self
    }

    #[cold]
    fn reject(&mut self, unserved: Unserved) {
        if self.stage == Stage::Lent {
            self.core.state().check_begins();
        }
        if let Some(place) = self.place.take() {
            self.core.reject(place, unserved);
        }
    }

    /// The resource's number in its pool.
    pub fn id(&self) -> ResourceId {
        K::Store::slot(self.place()).id
    }

    /// What the pool knows about the resource.
    pub fn metadata(&self) -> Metadata {
        K::Store::metadata(self.place(), self.core.clock)
    }

    /// Gives the resource back to be destroyed, because the holder knows that it is no good. A shared
    /// one is lent no more, and goes with its last holder.
    pub fn discard(mut lease: Self) {
        if let Some(place) = lease.place.take() {
            lease.core.discard(place, EndReason::Discarded);
        }
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
    pub fn detach(mut lease: Self) -> M::Resource {
        let Some(mut slot) = lease.place.take() else {
            unreachable!("bug: a lease has ended and is still there")
        };
        let id = slot.id;
        contain(|| lease.core.manager.detached(&mut slot.resource));
        lease.core.update(|state, now, actions| state.detach(id, now, actions));
        slot.resource
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

impl<M: Manager, K: Kind<M>> Drop for ResourceLease<'_, M, K> {
    #[inline]
    fn drop(&mut self) {
        if self.stage != Stage::Held && self.place.is_some() {
            return self.reject(Unserved::Cancelled);
        }
        let Some(mut place) = self.place.take() else { return };
        let is_broken = contain(|| K::is_broken(&self.core.manager, &mut place));
        if is_broken.unwrap_or(true) {
            self.core.discard(place, EndReason::Broken);
        } else {
            self.core.give_back(place);
        }
    }
}

impl<M: Manager<Resource: fmt::Debug>, K: Kind<M>> fmt::Debug for ResourceLease<'_, M, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&**self).finish()
    }
}
