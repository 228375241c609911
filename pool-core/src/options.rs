//! What one get may ask for.

use std::time::Duration;

use tokio::time::Instant;

/// What one get asks for, beside the pool's settings.
///
/// There is no create timeout among it: a creation is not the caller's, but the pool's. It goes on when
/// the caller has given up, and what it makes goes to whoever waits then, so the pool's
/// [`create_timeout`](crate::Builder::create_timeout) bounds it.
///
/// # Examples
///
/// ```
/// use pool_core::{GetOptions, Priority};
/// use std::time::Duration;
///
/// let impatient = GetOptions::new().timeout(Duration::from_millis(50));
/// let background = GetOptions::new().priority(Priority::Low);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOptions {
    pub(crate) limit: Limit,
    pub(crate) check_timeout: Option<Duration>,
    pub(crate) recycle_timeout: Option<Duration>,
    pub(crate) priority: Priority,
    pub(crate) through_failures: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Limit {
    /// The pool's wait timeout.
    #[default]
    Pool,
    Timeout(Duration),
    Deadline(Instant),
    NoWait,
}

/// Who is served first of those that wait. A class waits until nobody of a higher one does, however
/// long that takes; within a class, service is in order of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before all others.
    High,
    /// What a get has that asks for nothing else.
    #[default]
    Normal,
    /// When nobody else waits.
    Low,
}

impl Priority {
    /// Every class, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

impl GetOptions {
    /// What `get` asks for.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long this get may take in all, instead of the pool's wait timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Limit::Timeout(timeout);
        self
    }

    /// When this get has to be over, instead of the pool's wait timeout.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Deadline(deadline);
        self
    }

    /// This get does not wait for a resource: if none is free, it fails with a timeout. One that is free is
    /// recycled and checked as usual, for which it has the pool's wait timeout.
    pub fn no_wait(mut self) -> Self {
        self.limit = Limit::NoWait;
        self
    }

    /// How long one check may take for this get, instead of the pool's check timeout.
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.check_timeout = Some(timeout);
        self
    }

    /// How long recycling one resource may take for this get, instead of the pool's recycle timeout.
    pub fn recycle_timeout(mut self, timeout: Duration) -> Self {
        self.recycle_timeout = Some(timeout);
        self
    }

    /// The class that this get waits in.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// This get waits on when a creation fails with a [fatal](crate::Manager::is_fatal) error, and keeps its turn:
    /// only its time ends its wait.
    pub fn through_failures(mut self) -> Self {
        self.through_failures = true;
        self
    }
}

/// The options of a get that has none: nothing to carry.
#[derive(Clone, Copy)]
pub(crate) struct Defaults;

impl From<Defaults> for GetOptions {
    fn from(_: Defaults) -> Self {
        Self::new()
    }
}
