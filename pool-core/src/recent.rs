//! The latest events of a pool, kept for those who come to look afterwards.
//!
//! Apart from the state and under a lock of its own, because no decision rests on it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// How many events a pool keeps.
const KEPT: usize = 128;

/// One of the latest events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recent<E> {
    /// How many there were before it, so that it can be told which ones are missing between two looks.
    pub number: u64,
    /// When it was told.
    pub at: Instant,
    /// The event.
    pub event: E,
}

/// Keeps the latest 128 of something that happens.
///
/// A pool has one for its [events](crate::ResourcePool::recent_events); those who build on a pool may have one for
/// theirs. Adding costs a lock that is held for a move, and a reading of the clock; memory is taken as events come,
/// and never for more than 128 of them.
///
/// # Examples
///
/// ```
/// use pool_core::RecentEvents;
///
/// let failovers = RecentEvents::new();
/// failovers.add("to the second site");
/// failovers.add("back to the first one");
/// let recent = failovers.list();
/// assert_eq!((recent[1].number, recent[1].event), (1, "back to the first one"));
/// ```
pub struct RecentEvents<E> {
    ring: Mutex<Ring<E>>,
}

struct Ring<E> {
    kept: VecDeque<Recent<E>>,
    /// The next one's.
    number: u64,
}

impl<E> RecentEvents<E> {
    /// Without any yet.
    pub fn new() -> Self {
        Self { ring: Mutex::new(Ring { kept: VecDeque::new(), number: 0 }) }
    }

    /// This happened now. Of more than 128 the oldest is forgotten.
    pub fn add(&self, event: E) {
        let at = Instant::now();
        let mut ring = self.ring();
        let forgotten = if ring.kept.len() < KEPT { None } else { ring.kept.pop_front() };
        let number = ring.number;
        ring.number += 1;
        ring.kept.push_back(Recent { number, at, event });
        drop(ring);
        // An event may be a user's type, and so is its destructor.
        drop(forgotten);
    }

    fn ring(&self) -> MutexGuard<'_, Ring<E>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Clone> RecentEvents<E> {
    /// What is kept, the oldest first.
    pub fn list(&self) -> Vec<Recent<E>> {
        self.ring().kept.iter().cloned().collect()
    }
}

impl<E> Default for RecentEvents<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for RecentEvents<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentEvents").field("told", &self.ring().number).finish_non_exhaustive()
    }
}
