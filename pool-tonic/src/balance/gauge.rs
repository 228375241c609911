//! What is averaged over time: how long an endpoint's answers take, and how many of its calls fail. Pure.
//!
//! Both fade, so that an endpoint that got no calls for being slow, or for failing, is tried again.

use std::time::Duration;

use tokio::time::Instant;

use super::monitor::Outcomes;
use super::policy::ErrorPenalty;

/// Latencies below this, in seconds, are the same, and fade no further.
pub(super) const LEAST: f64 = 10e-6;

/// What is left of one after this time has passed.
fn fading(passed: Duration, decay: Duration) -> f64 {
    (-passed.as_secs_f64() / decay.as_secs_f64().max(f64::MIN_POSITIVE)).exp()
}

/// How long answers take.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// In seconds, and when that was so; `None` before the first answer.
    average: Option<(f64, Instant)>,
    /// What was last read.
    told: f64,
}

impl Latency {
    /// An answer took this long: a longer one than the average counts at once, shorter ones by and by. Says whether what
    /// was read last is wrong by an eighth.
    pub(super) fn add(&mut self, time: Duration, now: Instant, decay: Duration) -> bool {
        let took = time.as_secs_f64().max(LEAST);
        let average = self.average.map_or(took, |(average, since)| {
            let weight = fading(now.saturating_duration_since(since), decay);
            took.max(average * weight + took * (1.0 - weight))
        });
        self.average = Some((average, now));
        (average - self.told).abs() > self.told / 8.0
    }

    /// An answer has not come for so long, and is not waited for any more: it would have taken longer.
    pub(super) fn add_at_least(&mut self, time: Duration, now: Instant, decay: Duration) -> bool {
        let is_more = self.faded(now, decay).is_none_or(|known| time.as_secs_f64() > known);
        is_more && self.add(time, now, decay)
    }

    /// How long they took when that was last confirmed, in seconds.
    pub(super) fn confirmed(&self) -> Option<f64> {
        self.average.map(|(average, _)| average)
    }

    /// How long they take by now, in seconds. Without an answer that confirms it, the average fades.
    pub(super) fn read(&mut self, now: Instant, decay: Duration) -> Option<f64> {
        self.told = self.faded(now, decay)?.max(LEAST);
        Some(self.told)
    }

    fn faded(&self, now: Instant, decay: Duration) -> Option<f64> {
        let (average, since) = self.average?;
        Some(average * fading(now.saturating_duration_since(since), decay))
    }
}

/// How many calls fail.
#[derive(Debug)]
pub(super) struct Failures {
    /// What had ended when it was last read.
    seen: Outcomes,
    at: Instant,
    /// Calls lately, and those of them that failed.
    calls: f64,
    failed: f64,
}

/// Calls that an endpoint is taken to have had beside those that it had: one of a few says little.
const UNKNOWN: f64 = 5.0;

/// A factor above this is this one.
const MOST: f32 = 1000.0;

/// Less than this is nothing.
const TRACE: f64 = 0.01;

impl Failures {
    /// Of an endpoint that nobody has called before `began`.
    pub(super) fn new(began: Instant) -> Self {
        Self { seen: Outcomes::default(), at: began, calls: 0.0, failed: 0.0 }
    }

    /// By how much the endpoint's weight is to be divided, after what has ended by now. 1 if nothing failed lately.
    pub(super) fn read(&mut self, outcomes: Outcomes, now: Instant, penalty: ErrorPenalty) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        let left = fading(passed, penalty.decay);
        let new = outcomes.since(self.seen);
        (self.seen, self.at) = (outcomes, now);
        // What went well came at any time since then; what failed is looked at when it has.
        let spans = passed.as_secs_f64() / penalty.decay.as_secs_f64().max(f64::MIN_POSITIVE);
        let fresh = if spans > 0.0 { (1.0 - left) / spans } else { 1.0 };
        let failed = f64::from(new.failed);
        self.calls = self.calls * left + f64::from(new.ok) * fresh + failed;
        self.failed = self.failed * left + failed;
        if self.failed < TRACE {
            self.failed = 0.0;
        }
        let factor = if penalty.factor > 0.0 { penalty.factor.min(MOST) } else { 0.0 };
        1.0 + f64::from(factor) * self.failed / (self.calls + UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
    const DECAY: Duration = Duration::from_secs(10);

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < right.abs() * 0.01 + 1e-6, "{left} is not {right}");
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let (start, mut latency) = (Instant::now(), Latency::default());
        assert_eq!(latency.read(start, DECAY), None);
        assert!(latency.add(MILLI, start, DECAY));
        close(latency.read(start, DECAY).unwrap(), 0.001);
        assert!(latency.add(100 * MILLI, start, DECAY));
        close(latency.read(start, DECAY).unwrap(), 0.100);
        assert!(!latency.add(99 * MILLI, start, DECAY), "nothing new");
        // After one time constant, 37 % of the old and 63 % of the new.
        latency.add(MILLI, start + DECAY, DECAY);
        close(latency.read(start + DECAY, DECAY).unwrap(), 0.100 * 0.3679 + 0.001 * 0.6321);
    }

    #[test]
    fn a_latency_that_nothing_confirms_fades() {
        let (start, mut latency) = (Instant::now(), Latency::default());
        latency.add(100 * MILLI, start, DECAY);
        close(latency.read(start + DECAY, DECAY).unwrap(), 0.03679);
        // Reading it changes nothing.
        close(latency.read(start + DECAY, DECAY).unwrap(), 0.03679);
        close(latency.read(start + 50 * DECAY, DECAY).unwrap(), LEAST);
    }

    #[test]
    fn a_penalty_is_for_the_share_of_calls_that_fail_and_fades() {
        let (start, penalty) = (Instant::now(), ErrorPenalty::default());
        let mut failures = Failures::new(start);
        let mut read = |ok, failed, now| failures.read(Outcomes { ok, failed }, now, penalty);
        close(read(0, 0, start), 1.0);
        // One of a hundred is next to nothing, and all of many nearly all of the factor.
        close(read(99, 1, start), 1.0 + 10.0 / 105.0);
        close(read(99, 10_001, start), 10.9);
        close(read(99, 10_001, start + 5 * SECOND), 10.9);
        // Others have come since that went well, of which 63 % count still.
        close(read(10_099, 10_001, start + 10 * SECOND), 1.0 + 10.0 * 0.1763);
        close(read(10_099, 10_001, start + 200 * SECOND), 1.0);
        // What went well for an hour is no excuse.
        close(read(1_010_099, 10_201, start + 3800 * SECOND), 1.0 + 10.0 * 0.1258);
    }

    #[test]
    fn one_failure_alone_is_no_great_matter() {
        let start = Instant::now();
        let failed = Outcomes { ok: 0, failed: 1 };
        let mut failures = Failures::new(start);
        let divisor = failures.read(failed, start, ErrorPenalty::default());
        assert!((2.0..3.0).contains(&divisor), "{divisor}");
    }
}
