//! What is counted of a load.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::calls::{Failure, Kind};

/// Latencies are kept to three digits, which is finer than they repeat.
const DIGITS: u8 = 3;

/// The calls of one load, as they end. Shared by its callers and by those who look on.
#[derive(Debug)]
pub struct Stats(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    tally: Tally,
    /// As the tally's, of the calls since it was last asked for.
    lately: Histogram<u64>,
}

/// How long calls took that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Microseconds within which half of them succeeded.
    pub p50_us: u64,
    /// Microseconds within which 99 of 100 succeeded.
    pub p99_us: u64,
}

/// A state of the count.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Calls that ended, by kind in the order of [`Kind::ALL`].
    pub by_kind: [u64; Kind::ALL.len()],
    /// Failed calls by the name of their code.
    pub failed_by_code: BTreeMap<&'static str, u64>,
    /// The first failure, in words.
    pub first_failure: Option<String>,
    /// Microseconds from start to end of the calls that succeeded.
    pub latencies: Histogram<u64>,
}

impl Stats {
    /// Nothing counted yet.
    ///
    /// # Panics
    ///
    /// Never: the histogram's precision is a constant within its bounds.
    pub fn new() -> Self {
        let latencies = Histogram::new(DIGITS).expect("bug: a histogram has up to five digits");
        let lately = latencies.clone();
        let tally = Tally {
            by_kind: [0; Kind::ALL.len()],
            failed_by_code: BTreeMap::new(),
            first_failure: None,
            latencies,
        };
        Self(Mutex::new(Counted { tally, lately }))
    }

    /// A call of this kind ended after this time.
    pub fn record(&self, kind: Kind, took: Duration, result: Result<(), Failure>) {
        let Counted { tally, lately } = &mut *self.lock();
        tally.by_kind[kind as usize] += 1;
        match result {
            Ok(()) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                // Beyond what a histogram can hold: the count of calls has it all the same.
                let _ = tally.latencies.record(micros);
                let _ = lately.record(micros);
            }
            Err(failure) => {
                *tally.failed_by_code.entry(failure.code).or_default() += 1;
                tally.first_failure.get_or_insert_with(|| {
                    format!("{} ({}): {}", failure.code, kind.as_str(), failure.message)
                });
            }
        }
    }

    /// Calls that ended, and how many of them failed.
    pub fn progress(&self) -> (u64, u64) {
        let tally = &self.lock().tally;
        (tally.calls(), tally.failed())
    }

    /// How long the calls took that succeeded since this was last asked; `None` if none did.
    pub fn take_latency(&self) -> Option<Latency> {
        let lately = &mut self.lock().lately;
        let latency = (!lately.is_empty()).then(|| Latency {
            p50_us: lately.value_at_quantile(0.5),
            p99_us: lately.value_at_quantile(0.99),
        });
        lately.reset();
        latency
    }

    /// All that was counted.
    pub fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// A panic of a caller leaves whole numbers behind: each is one addition.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Calls that ended, one way or another.
    pub fn calls(&self) -> u64 {
        self.by_kind.iter().sum()
    }

    /// Calls that failed.
    pub fn failed(&self) -> u64 {
        self.failed_by_code.values().sum()
    }

    /// The time in microseconds within which this share of the calls (0 to 1) succeeded; `None` if
    /// none did.
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        (!self.latencies.is_empty()).then(|| self.latencies.value_at_quantile(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: &'static str) -> Result<(), Failure> {
        Err(Failure { code, message: "gone".to_owned() })
    }

    #[test]
    fn calls_are_counted_by_kind_and_failures_by_code() {
        let stats = Stats::new();
        for micros in 1..=100 {
            stats.record(Kind::Unary, Duration::from_micros(micros), Ok(()));
        }
        stats.record(Kind::ClientStreaming, Duration::from_secs(9), failure("UNAVAILABLE"));
        stats.record(Kind::Unary, Duration::from_secs(9), failure("CANCELLED"));
        stats.record(Kind::Unary, Duration::from_secs(9), failure("UNAVAILABLE"));

        assert_eq!(stats.progress(), (103, 3));
        let tally = stats.tally();
        assert_eq!(tally.by_kind, [102, 0, 1, 0]);
        assert_eq!(tally.failed_by_code, BTreeMap::from([("CANCELLED", 1), ("UNAVAILABLE", 2)]));
        assert_eq!(tally.first_failure.as_deref(), Some("UNAVAILABLE (client_streaming): gone"));
        assert_eq!(tally.quantile_us(0.5), Some(50), "failed calls have no latency");
        assert_eq!(tally.quantile_us(0.99), Some(99));
    }

    #[test]
    fn there_is_no_latency_without_a_success() {
        let stats = Stats::new();
        stats.record(Kind::Unary, Duration::from_secs(1), failure("UNAVAILABLE"));
        assert_eq!(stats.tally().quantile_us(0.5), None);
    }

    #[test]
    fn the_latency_is_that_of_the_calls_since_it_was_last_asked_for() {
        let stats = Stats::new();
        stats.record(Kind::Unary, Duration::from_micros(900), Ok(()));
        assert_eq!(stats.take_latency(), Some(Latency { p50_us: 900, p99_us: 900 }));
        stats.record(Kind::Unary, Duration::from_micros(700), failure("UNAVAILABLE"));
        assert_eq!(stats.take_latency(), None, "failed calls have no latency");
        for micros in 1..=100 {
            stats.record(Kind::Unary, Duration::from_micros(micros), Ok(()));
        }
        assert_eq!(stats.take_latency(), Some(Latency { p50_us: 50, p99_us: 99 }));
        assert_eq!(stats.tally().quantile_us(1.0), Some(900), "the tally has all of them");
    }
}
