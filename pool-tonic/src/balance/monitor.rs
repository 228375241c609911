//! What an endpoint's calls tell of it, and that it is ejected for that.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::Code;

use super::gauge::Latency;
use super::policy::PeakEwma;

/// What is to be known of endpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measures {
    pub(crate) latency: Option<PeakEwma>,
    /// Something happened that may change how calls are spread.
    pub(crate) stirred: Option<Arc<Notify>>,
}

/// How many attempts have ended so far, as numbers that begin anew when they are too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) ok: u32,
    pub(crate) failed: u32,
}

impl Outcomes {
    /// Those since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            ok: self.ok.wrapping_sub(earlier.ok),
            failed: self.failed.wrapping_sub(earlier.failed),
        }
    }
}

/// Of one endpoint.
#[derive(Debug)]
pub(crate) struct Monitor {
    measures: Measures,
    began: Instant,
    ok: AtomicU32,
    failed: AtomicU32,
    latency: Mutex<Latency>,
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
    pub(crate) fn new(measures: Measures) -> Self {
        Self {
            measures,
            began: Instant::now(),
            ok: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            latency: Mutex::default(),
            ejected: AtomicBool::new(false),
            placed: Mutex::default(),
        }
    }

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
        if is_failure(code) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            self.stir();
        } else {
            self.ok.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        let [ok, failed] = [&self.ok, &self.failed].map(|counter| counter.load(Ordering::Relaxed));
        Outcomes { ok, failed }
    }

    /// When it was made.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// An attempt begins. `None` if it does not matter how long its answer takes.
    #[inline]
    pub(crate) fn time(self: &Arc<Self>) -> Option<Stopwatch> {
        let PeakEwma { decay } = self.measures.latency?;
        Some(Stopwatch { monitor: Some(Arc::clone(self)), decay, began: Instant::now() })
    }

    /// How long answers take by now, in seconds, if that is known.
    pub(super) fn read_latency(&self, now: Instant) -> Option<f64> {
        let PeakEwma { decay } = self.measures.latency?;
        self.latency().read(now, decay)
    }

    /// How long they took when there was the last one, in seconds.
    pub(super) fn confirmed_latency(&self) -> Option<f64> {
        self.latency().confirmed()
    }

    fn took(&self, began: Instant, add: impl FnOnce(&mut Latency, Duration, Instant) -> bool) {
        let now = Instant::now();
        let is_news = add(&mut self.latency(), now.saturating_duration_since(began), now);
        if is_news {
            self.stir();
        }
    }

    fn latency(&self) -> MutexGuard<'_, Latency> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stir(&self) {
        if let Some(stirred) = &self.measures.stirred {
            stirred.notify_one();
        }
    }
}

/// Times an attempt. Dropped before it is stopped, the answer is not waited for any more: its caller has given up, or its
/// deadline has passed.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    /// Until it is stopped.
    monitor: Option<Arc<Monitor>>,
    decay: Duration,
    began: Instant,
}

impl Stopwatch {
    /// The answer is there. A failure says nothing of how fast answers are.
    pub(crate) fn stop(mut self, is_failure: bool) {
        if let Some(monitor) = self.monitor.take()
            && !is_failure
        {
            monitor.took(self.began, |latency, time, now| latency.add(time, now, self.decay));
        }
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        if let Some(monitor) = self.monitor.take() {
            monitor
                .took(self.began, |latency, time, now| latency.add_at_least(time, now, self.decay));
        }
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
        let monitor = Monitor::new(Measures::default());
        for code in (0..17).map(Code::from_i32) {
            monitor.ended(code);
        }
        let seen = monitor.outcomes();
        assert_eq!(seen, Outcomes { ok: 11, failed: 6 });
        monitor.ended(Code::Ok);
        assert_eq!(monitor.outcomes().since(seen), Outcomes { ok: 1, failed: 0 });
    }
}
