//! What an endpoint's calls tell of it, and that it is ejected for that.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use tonic::Code;

/// Of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    ok: AtomicU32,
    failed: AtomicU32,
    ejected: AtomicBool,
    /// The connections, whose places rest on `ejected`.
    placed: Mutex<Vec<Weak<dyn Placed>>>,
}

/// A connection, which takes no calls while its endpoint is ejected.
pub(crate) trait Placed: fmt::Debug + Send + Sync {
    /// Its endpoint is ejected, or is not any more.
    fn look_again(&self);
}

impl Monitor {
    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::SeqCst)
    }

    fn placed(&self) -> MutexGuard<'_, Vec<Weak<dyn Placed>>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a connection more. It looks for itself when this is done.
    pub(crate) fn add(&self, connection: Weak<dyn Placed>) {
        let mut placed = self.placed();
        placed.retain(|connection| connection.strong_count() > 0);
        placed.push(connection);
    }

    pub(crate) fn set_ejected(&self, ejected: bool) {
        self.ejected.store(ejected, Ordering::SeqCst);
        // Outside the lock: it tells the pool, whose observer is the user's.
        let placed: Vec<_> = self.placed().iter().filter_map(Weak::upgrade).collect();
        for connection in placed {
            connection.look_again();
        }
    }

    /// An attempt has ended.
    pub(crate) fn ended(&self, code: Code) {
        let counter = if is_failure(code) { &self.failed } else { &self.ok };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Successes and failures since they were last taken.
    pub(crate) fn take_outcomes(&self) -> (u32, u32) {
        (self.ok.swap(0, Ordering::Relaxed), self.failed.swap(0, Ordering::Relaxed))
    }
}

/// Does this say something about the server? Not what the caller did, or asked for.
fn is_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_about_the_server_is_no_failure() {
        let monitor = Monitor::default();
        for code in (0..17).map(Code::from_i32) {
            monitor.ended(code);
        }
        assert_eq!(monitor.take_outcomes(), (11, 6));
        assert_eq!(monitor.take_outcomes(), (0, 0));
    }
}
