//! What the pool knows about a resource.

use tokio::time::Instant;

use crate::data::Data;
use crate::manager::ResourceId;
use crate::moment::{Clock, Moment};

/// What the pool knows about a resource: its number, age and use.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    id: ResourceId,
    created: Moment,
    expires: Moment,
    returned: Moment,
    uses: u32,
    generation: u32,
    clock: Clock,
    /// It has several holders, of whom nobody says when the last one gave it back.
    is_shared: bool,
}

impl Metadata {
    /// Of a resource that nobody has had yet.
    pub(crate) fn of_newborn(id: ResourceId, generation: u32, clock: Clock) -> Self {
        let now = clock.now();
        let expires = Moment::NEVER;
        Self {
            id,
            created: now,
            expires,
            returned: now,
            uses: 0,
            generation,
            clock,
            is_shared: false,
        }
    }

    pub(crate) fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }

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

    /// When its last holder gave it back; `None` if it has had none yet. Not exact: up to an eighth
    /// of the check policy's span or of the idle timeout early, and without either it is only known to within
    /// the pool's last change. `None` for a shared resource, which has several holders.
    pub fn last_used(&self) -> Option<Instant> {
        if self.uses <= 1 || self.is_shared {
            return None;
        }
        // From hand to hand: just now.
        Some(self.clock.instant(self.returned).unwrap_or_else(Instant::now))
    }

    /// How often it has been lent, this time included.
    pub fn uses(&self) -> u32 {
        self.uses
    }

    /// The pool's generation when it was created: [`reset`](crate::ResourcePool::reset) begins a new one.
    pub fn generation(&self) -> u32 {
        self.generation
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
    pub(crate) generation: u32,
    /// What hooks and holders have put down about it.
    pub(crate) data: Data,
}

impl<R> Slot<R> {
    pub(crate) fn metadata(&self, uses: u32, clock: Clock) -> Metadata {
        let Self { id, created, expires, returned, generation, .. } = *self;
        Metadata { id, created, expires, returned, uses, generation, clock, is_shared: false }
    }
}
