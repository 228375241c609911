//! The attempts of a call, told to whom it bears.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use crate::user::contain;

/// Is told of the attempts of calls: each time that one is given to a connection, and how that ended. For metrics by
/// method, as those of gRFC A66 (attempts) and A96 (retries).
///
/// A call is observed if its request has an [`ObserveAttempts`] among its extensions. An observer is told in the midst of
/// the call, and should be quick; a panic in it is contained.
pub trait AttemptObserver: Send + Sync + 'static {
    /// A connection has the call.
    fn started(&self);

    /// That attempt is over: with the server's status, with that which the pool gives a call that ends like this (as
    /// `DEADLINE_EXCEEDED`, or `UNAVAILABLE` where the connection was lost), or with `CANCELLED` if the caller dropped the call
    /// or its answer.
    fn ended(&self, code: Code, elapsed: Duration);

    /// A call that was sent more than once will not be sent again.
    fn retried(&self, retries: Retries);
}

/// How often a call was sent beyond the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retries {
    /// Because its [`RetryPolicy`](crate::RetryPolicy) says so.
    pub configured: u32,
    /// Because no server had processed it. Also where nothing of it had been written when its connection ended, which is no
    /// [transparent retry](crate::ChannelCounters::transparent_retries) in gRPC's sense.
    pub transparent: u32,
}

/// An extension of a request: who is told of its attempts.
///
/// # Examples
///
/// ```
/// use pool_tonic::{AttemptObserver, ObserveAttempts, Retries};
/// use std::sync::Arc;
/// use std::time::Duration;
/// use tonic::Code;
///
/// struct Log;
///
/// impl AttemptObserver for Log {
///     fn started(&self) {}
///
///     fn ended(&self, code: Code, elapsed: Duration) {
///         println!("an attempt ended with {code:?} after {elapsed:?}");
///     }
///
///     fn retried(&self, retries: Retries) {
///         println!("{retries:?}");
///     }
/// }
///
/// let mut request = tonic::Request::new("message");
/// request.extensions_mut().insert(ObserveAttempts::new(Arc::new(Log)));
/// ```
#[derive(Clone)]
pub struct ObserveAttempts(Arc<dyn AttemptObserver>);

impl ObserveAttempts {
    /// This one is told.
    pub fn new(observer: Arc<dyn AttemptObserver>) -> Self {
        Self(observer)
    }

    fn tell(&self, what: impl FnOnce(&dyn AttemptObserver)) {
        contain(|| what(&*self.0));
    }
}

impl fmt::Debug for ObserveAttempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObserveAttempts")
    }
}

/// The attempts of a call. Dropped when it is sent no more.
pub(crate) struct Attempts {
    observer: ObserveAttempts,
    has_started: bool,
    /// The next one is a retry policy's.
    by_policy: bool,
    retries: Retries,
}

impl Attempts {
    pub(crate) fn new(observer: ObserveAttempts) -> Self {
        Self { observer, has_started: false, by_policy: false, retries: Retries::default() }
    }

    /// A connection has the call.
    pub(crate) fn start(&mut self) -> Attempt {
        let by_policy = std::mem::take(&mut self.by_policy);
        if std::mem::replace(&mut self.has_started, true) {
            let Retries { configured, transparent } = &mut self.retries;
            *(if by_policy { configured } else { transparent }) += 1;
        }
        self.observer.tell(AttemptObserver::started);
        Attempt {
            observer: self.observer.clone(),
            began: Instant::now(),
            has_ended: AtomicBool::new(false),
        }
    }

    /// A retry policy will have it sent again.
    pub(crate) fn retry(&mut self) {
        self.by_policy = true;
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        let retries = self.retries;
        if retries != Retries::default() {
            self.observer.tell(|observer| observer.retried(retries));
        }
    }
}

/// An attempt under way. Dropped before it has ended, it was cancelled.
pub(crate) struct Attempt {
    observer: ObserveAttempts,
    began: Instant,
    has_ended: AtomicBool,
}

impl Attempt {
    /// Only the first end counts.
    pub(crate) fn end(&self, code: Code) {
        if !self.has_ended.swap(true, Ordering::Relaxed) {
            let elapsed = self.began.elapsed();
            self.observer.tell(|observer| observer.ended(code, elapsed));
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Option<Retries>>);

    impl AttemptObserver for Told {
        fn started(&self) {}

        fn ended(&self, _: Code, _: Duration) {}

        fn retried(&self, retries: Retries) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(retries);
        }
    }

    /// What is told of a call that a policy has sent again where this is true.
    fn told(sent: impl IntoIterator<Item = bool>) -> Option<Retries> {
        let told = Arc::new(Told::default());
        let mut attempts = Attempts::new(ObserveAttempts::new(told.clone()));
        for by_policy in sent {
            if by_policy {
                attempts.retry();
            }
            drop(attempts.start());
        }
        // It comes to nothing any more.
        attempts.retry();
        drop(attempts);
        *told.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn a_retry_is_of_the_kind_by_which_it_was_sent() {
        assert_eq!(told([]), None);
        assert_eq!(told([false]), None);
        // A policy had the call try again before there was a connection.
        assert_eq!(told([true]), None);
        assert_eq!(told([true, false]), Some(Retries { configured: 0, transparent: 1 }));
        assert_eq!(
            told([false, true, false, true]),
            Some(Retries { configured: 2, transparent: 1 })
        );
    }
}
