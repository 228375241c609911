//! When the next question is due. Pure: the clock and what is random come in.

use std::time::Duration;

use tokio::time::Instant;

use super::ResolveMode;
use crate::backoff::{self, JITTER, jittered};

/// The least time between questions while nothing is ready: calls wait, or fail.
const URGENT_GAP: Duration = Duration::from_secs(1);

/// A source that says by itself when there is something new is heard at most this often, whatever it does.
const PUSH_GAP: Duration = Duration::from_millis(20);

/// What the user sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) interval: Duration,
    pub(crate) min_gap: Duration,
}

impl Timing {
    fn gap(&self, is_ready: bool) -> Duration {
        if is_ready { self.min_gap } else { self.min_gap.min(URGENT_GAP) }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Schedule {
    timing: Timing,
    mode: ResolveMode,
    /// When the last question was answered.
    settled: Instant,
    due: Instant,
    /// Since the last answer.
    failures: u32,
}

impl Schedule {
    /// The first question is due now.
    pub(super) fn new(timing: Timing, mode: ResolveMode, now: Instant) -> Self {
        Self { timing, mode, settled: now, due: now, failures: 0 }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// There is a set, which is valid for `ttl`. `random` is uniform in `0.0..1.0`.
    pub(super) fn answered(&mut self, now: Instant, ttl: Option<Duration>, random: f64) {
        self.failures = 0;
        self.settled = now;
        self.due = match self.mode {
            ResolveMode::Push => now + PUSH_GAP,
            ResolveMode::Poll => {
                let interval = jittered(self.timing.interval, random);
                // Later by as much as the jitter may be: many clients may have their answers from one cache.
                let ttl = ttl.map(|ttl| ttl.max(self.timing.min_gap).min(self.timing.interval));
                let ttl = ttl.map(|ttl| ttl.mul_f64(1.0 + JITTER * random));
                now + ttl.map_or(interval, |ttl| ttl.min(interval))
            }
        };
    }

    /// There is a set without an endpoint.
    pub(super) fn empty(&mut self, now: Instant, random: f64) {
        match self.mode {
            // The next one may come at once.
            ResolveMode::Push => self.answered(now, None, random),
            ResolveMode::Poll => self.failed(now, true, random),
        }
    }

    /// There is none. To ask again soon may help, or not.
    pub(super) fn failed(&mut self, now: Instant, temporary: bool, random: f64) {
        self.failures = self.failures.saturating_add(1);
        self.settled = now;
        let interval = self.timing.interval;
        let delay = if temporary {
            backoff::up_to(interval, self.failures, random)
        } else {
            jittered(interval, random)
        };
        self.due = now + delay;
    }

    /// A connection was lost, or could not be made: perhaps its server is not there any more. Where the source itself
    /// fails, its back-off stands.
    pub(super) fn disconnected(&mut self, now: Instant, is_ready: bool) {
        if self.failures == 0 && self.mode == ResolveMode::Poll {
            let at = (self.settled + self.timing.gap(is_ready)).max(now);
            self.due = self.due.min(at);
        }
    }

    /// The user says that it is time.
    pub(super) fn reset(&mut self, now: Instant) {
        self.failures = 0;
        self.due = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule(mode: ResolveMode) -> (Schedule, Instant) {
        let now = Instant::now();
        let timing = Timing { interval: 30 * SECOND, min_gap: 5 * SECOND };
        (Schedule::new(timing, mode, now), now)
    }

    #[test]
    fn the_interval_has_a_jitter_of_a_fifth() {
        let (mut schedule, now) = schedule(ResolveMode::Poll);
        assert_eq!(schedule.due(), now);
        for (random, seconds) in [(0.0, 24), (0.5, 30), (1.0, 36)] {
            schedule.answered(now, None, random);
            assert_eq!(schedule.due() - now, seconds * SECOND);
        }
    }

    #[test]
    fn a_ttl_shortens_the_interval_but_not_below_the_gap() {
        let (mut schedule, now) = schedule(ResolveMode::Poll);
        for (ttl, seconds) in [(0, 5), (3, 5), (10, 10), (30, 24), (100_000, 24)] {
            schedule.answered(now, Some(ttl * SECOND), 0.0);
            assert_eq!(schedule.due() - now, seconds * SECOND, "a TTL of {ttl}");
        }
        schedule.answered(now, Some(10 * SECOND), 1.0);
        assert_eq!(schedule.due() - now, 12 * SECOND);
        schedule.answered(now, Some(Duration::MAX), 1.0);
        assert_eq!(schedule.due() - now, 36 * SECOND);
    }

    #[test]
    fn failures_are_followed_by_a_back_off_up_to_the_interval() {
        let (mut schedule, now) = schedule(ResolveMode::Poll);
        let mut delays = Vec::new();
        for _ in 0..12 {
            schedule.failed(now, true, 0.5);
            delays.push((schedule.due() - now).as_millis());
        }
        assert_eq!(delays[..3], [1000, 1600, 2560]);
        assert_eq!(delays[9..], [30_000; 3]);
        schedule.answered(now, None, 0.5);
        schedule.failed(now, true, 0.5);
        assert_eq!(schedule.due() - now, SECOND);
        schedule.answered(now, None, 0.5);
        schedule.failed(now, false, 0.5);
        assert_eq!(schedule.due() - now, 30 * SECOND, "there is no hurry");
    }

    #[test]
    fn a_disconnect_asks_again_after_the_gap() {
        let (mut schedule, now) = schedule(ResolveMode::Poll);
        schedule.answered(now, None, 0.5);
        schedule.disconnected(now + SECOND, true);
        assert_eq!(schedule.due() - now, 5 * SECOND);
        schedule.disconnected(now + SECOND, false);
        assert_eq!(schedule.due() - now, SECOND);
        schedule.answered(now, None, 0.5);
        schedule.disconnected(now + 20 * SECOND, true);
        assert_eq!(schedule.due() - now, 20 * SECOND);
        schedule.disconnected(now + 25 * SECOND, true);
        assert_eq!(schedule.due() - now, 20 * SECOND, "never later");
    }

    #[test]
    fn a_disconnect_does_not_end_the_back_off_and_a_reset_does() {
        let (mut schedule, now) = schedule(ResolveMode::Poll);
        for _ in 0..5 {
            schedule.failed(now, true, 0.5);
        }
        let due = schedule.due();
        schedule.disconnected(now, false);
        assert_eq!(schedule.due(), due);
        schedule.reset(now);
        assert_eq!(schedule.due(), now);
    }

    #[test]
    fn a_source_that_pushes_is_asked_at_once_and_fails_with_a_back_off() {
        let (mut schedule, now) = schedule(ResolveMode::Push);
        schedule.answered(now, Some(10 * SECOND), 0.5);
        assert_eq!(schedule.due() - now, PUSH_GAP);
        schedule.empty(now, 0.5);
        assert_eq!(schedule.due() - now, PUSH_GAP);
        schedule.failed(now, true, 0.5);
        assert_eq!(schedule.due() - now, SECOND);
    }
}
