//! Errors of a get, and of a creation.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use crate::status::Status;

/// Why a get did not end with a lease.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E: StdError + 'static> {
    /// The wait ran into its deadline. Raise the maximum size or the wait timeout, or see why holders
    /// keep their leases; where resources cannot be created, the source says why.
    #[error(transparent)]
    Timeout(Box<Timeout<E>>),
    /// The pool is closed.
    #[error("the pool is closed")]
    Closed,
    /// As many callers wait already as may. Raise `max_waiters`, or shed load before the pool.
    #[error("{waiting} callers wait for a resource already, as many as may")]
    QueueFull {
        /// How many wait.
        waiting: usize,
    },
    /// More resources were asked for at once than there may be. Ask for fewer, or raise the maximum size.
    #[error("{asked} resources asked for at once, and there may be at most {max_size}")]
    TooMany {
        /// How many were asked for.
        asked: usize,
        /// The maximum size.
        max_size: usize,
    },
    /// The pool is paused, and its callers are not to wait. Try again when it has been resumed.
    #[error("the pool is paused")]
    Paused,
    /// The queue has stood for too long, and this caller had waited for too long in it: shed by the
    /// [`Shedding`](crate::Shedding) rule. Lower the load, or raise the maximum size.
    #[error("the pool is overloaded: its queue stands, and this caller was shed")]
    Shed,
    /// A resource could not be created, and trying again would not help; or it was to be of
    /// [one group](crate::GetOptions::group), and nothing of that is there.
    #[error("no resource could be created")]
    Create(#[source] Arc<CreateError<E>>),
    /// There is no [group](crate::GetOptions::group) of this name, or there is no more: it has been retired. Also of a
    /// pool that has no groups, and of a get of several.
    #[error("there is no such group of resources")]
    NoGroup,
    /// The call needed a tokio runtime, to create a resource or to wait for one, and there is none.
    /// Call it in a runtime, or give the builder a handle of one.
    #[error("a resource has to be created or waited for, and there is no tokio runtime to do so")]
    NoRuntime,
}

/// What a caller waited for, and for how long.
#[derive(Debug, thiserror::Error)]
#[error(
    "no resource within {waited:?}: {} of at most {}, {} idle, {} leases out, {} being created, {} waiting",
    status.size, status.max_size, status.idle, status.in_use, status.creating, status.waiting
)]
pub struct Timeout<E: StdError + 'static> {
    /// How long it waited.
    pub waited: Duration,
    /// How the pool stood when the wait ended.
    pub status: Status,
    /// The error of the last creation, if none has succeeded since.
    #[source]
    pub last_error: Option<Arc<CreateError<E>>>,
}

/// Why a resource could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError<E: StdError + 'static> {
    /// The manager said so.
    #[error("the manager could not create a resource: {0}")]
    Failed(#[source] E),
    /// The [`after_create`](crate::Builder::after_create) hook did not let it pass.
    #[error("the hook after a creation refused the resource: {0}")]
    Refused(#[source] Box<dyn StdError + Send + Sync>),
    /// It took longer than the create timeout.
    #[error("the manager did not create a resource within the create timeout of {0:?}")]
    TimedOut(Duration),
    /// The manager panicked.
    #[error("the manager panicked while it created a resource: {0}")]
    Panicked(String),
}
