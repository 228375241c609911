//! A resource that several may hold.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::metadata::{Metadata, Slot};
use crate::moment::Clock;

/// A resource that several may hold.
pub struct Share<R> {
    pub(crate) slot: Slot<R>,
    /// Written under the lock only.
    pub(super) uses: AtomicU32,
    /// It was idle for too long, and has not passed a check since.
    pub(super) unchecked: AtomicBool,
    pub(super) key: usize,
}

impl<R> Share<R> {
    pub(super) fn new(slot: Slot<R>, key: usize) -> Self {
        Self { slot, uses: AtomicU32::new(0), unchecked: AtomicBool::new(false), key }
    }

    /// One more lease, under the lock.
    #[inline]
    pub(super) fn is_used(&self) {
        self.set_uses(self.uses.load(Ordering::Relaxed).saturating_add(1));
    }

    #[inline]
    pub(super) fn set_uses(&self, uses: u32) {
        self.uses.store(uses, Ordering::Relaxed);
    }

    pub(crate) fn metadata(&self, clock: Clock) -> Metadata {
        self.slot.metadata(self.uses.load(Ordering::Relaxed), clock).shared()
    }
}
