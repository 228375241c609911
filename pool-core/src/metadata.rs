//! What the pool knows about a resource.

use tokio::time::Instant;

use crate::manager::ResourceId;
use crate::moment::{Clock, Moment};

/// What the pool knows about a resource: its number, age and use.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    id: ResourceId,
    created: Moment,
    expires: Moment,
    uses: u32,
    clock: Clock,
}

impl Metadata {
    /// The resource's number in its pool, never used twice.
    pub fn id(&self) -> ResourceId {
        self.id
    }

    /// When it was created.
    pub fn created(&self) -> Instant {
        // It was made from an `Instant`, so there is one.
        self.clock.instant(self.created).unwrap_or_else(Instant::now)
    }

    /// When the pool will let go of it for its age, if it has a maximum lifetime.
    pub fn expires(&self) -> Option<Instant> {
        self.clock.instant(self.expires)
    }

    /// How often it has been lent, this time included.
    pub fn uses(&self) -> u32 {
        self.uses
    }
}

/// A resource with what the pool knows about it. In a box of its own, so that lending it moves a
/// pointer.
#[derive(Debug)]
pub struct Slot<R> {
    pub(crate) resource: R,
    pub(crate) id: ResourceId,
    pub(crate) created: Moment,
    /// When it is too old; drawn once, at birth.
    pub(crate) expires: Moment,
    /// When it came back last, by the pool's coarse clock.
    pub(crate) returned: Moment,
    /// How often it has been lent; of a shared one, once it has ended.
    pub(crate) uses: u32,
}

impl<R> Slot<R> {
    pub(crate) fn metadata(&self, uses: u32, clock: Clock) -> Metadata {
        let Self { id, created, expires, .. } = *self;
        Metadata { id, created, expires, uses, clock }
    }
}
