//! The latest events of a pool, kept for those who come to look afterwards.
//!
//! Apart from the state and under a lock of its own, because no decision rests on it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
/// theirs. Adding costs a small allocation, a lock that is held for a move, and a reading of the clock; memory is taken as
/// events come, and never for more than 128 of them. Events are cloned and dropped outside of the lock.
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
    /// Shared with those that look, who clone them after unlocking: an event may be a user's type.
    kept: VecDeque<Recent<Arc<E>>>,
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
        let event = Arc::new(event);
        let at = Instant::now();
        let mut ring = self.ring();
        let forgotten = if ring.kept.len() < KEPT { None } else { ring.kept.pop_front() };
        let number = ring.number;
        ring.number += 1;
        ring.kept.push_back(Recent { number, at, event });
        drop(ring);
        // Its destructor may be a user's, too.
        drop(forgotten);
    }

    fn ring(&self) -> MutexGuard<'_, Ring<E>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Clone> RecentEvents<E> {
    /// What is kept, the oldest first.
    pub fn list(&self) -> Vec<Recent<E>> {
        let kept: Vec<_> = self.ring().kept.iter().cloned().collect();
        let own = |Recent { number, at, event }: Recent<Arc<E>>| Recent {
            number,
            at,
            event: Arc::unwrap_or_clone(event),
        };
        kept.into_iter().map(own).collect()
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Looks at the ring that it is kept in whenever it is cloned.
    struct Curious(Arc<RecentEvents<Curious>>);

    impl Clone for Curious {
        fn clone(&self) -> Self {
            assert!(format!("{:?}", self.0).contains("told"));
            Self(Arc::clone(&self.0))
        }
    }

    #[test]
    fn an_event_may_look_at_its_ring_when_it_is_cloned() {
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            let ring = Arc::new(RecentEvents::new());
            ring.add(Curious(Arc::clone(&ring)));
            let _ = done.send(ring.list().len());
        });
        assert_eq!(is_done.recv_timeout(Duration::from_secs(20)), Ok(1));
    }
}
