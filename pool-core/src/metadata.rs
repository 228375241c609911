//! What the pool knows about a resource.

use tokio::time::Instant;

use crate::manager::ResourceId;

/// What the pool knows about a resource: its number, age and use.
#[derive(Clone, Debug)]
pub struct Metadata {
    pub(crate) id: ResourceId,
    pub(crate) created: Instant,
    /// When it is too old; drawn once, at birth.
    pub(crate) expires: Option<Instant>,
    /// When it came back last, by the pool's coarse clock.
    pub(crate) returned: Instant,
    pub(crate) uses: u32,
}

impl Metadata {
    /// The resource's number in its pool, never used twice.
    pub fn id(&self) -> ResourceId {
        self.id
    }

    /// When it was created.
    pub fn created(&self) -> Instant {
        self.created
    }

    /// When the pool will let go of it for its age, if it has a maximum lifetime.
    pub fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// How often it has been lent, the present holder included. A shared resource counts the times
    /// that it came out of idleness.
    pub fn uses(&self) -> u32 {
        self.uses
    }
}

/// A resource with what the pool knows about it.
#[derive(Debug)]
pub struct Slot<R> {
    pub(crate) resource: R,
    pub(crate) meta: Metadata,
}
