//! When the API server may be asked again. Pure: the clock and what is random come in.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff;

/// The longest delay, before jitter: that of client-go's reflectors. Until it is over changes are not seen.
const MAX: Duration = Duration::from_secs(30);

/// A watch that lasted this long has ended in good order: servers end them after some minutes.
const LASTING: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Of what was asked, since something was of use.
    in_vain: u32,
    not_before: Option<Instant>,
    /// When the watch began that runs.
    began: Option<Instant>,
    /// Has the watch brought something?
    progressed: bool,
}

impl Pace {
    /// Until when to wait.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// A question was not answered, or with an error.
    pub(super) fn failed(&mut self, now: Instant, random: f64) {
        (self.began, self.progressed) = (None, false);
        self.in_vain = self.in_vain.saturating_add(1);
        self.not_before = Some(now + backoff::up_to(MAX, self.in_vain, random));
    }

    /// A watch runs.
    pub(super) fn watching(&mut self, now: Instant) {
        (self.began, self.progressed) = (Some(now), false);
        self.not_before = None;
    }

    /// A watch brought something.
    pub(super) fn progressed(&mut self) {
        self.in_vain = 0;
        self.progressed = true;
    }

    /// A watch ended without an error, or with the news that its version is gone, perhaps before it began. What is next
    /// is asked at once, unless something before was in vain, too.
    pub(super) fn ended(&mut self, now: Instant, random: f64) {
        let lasted = self.began.take().is_some_and(|began| now - began >= LASTING);
        if std::mem::take(&mut self.progressed) || lasted {
            (self.in_vain, self.not_before) = (0, None);
            return;
        }
        let delay = (self.in_vain > 0).then(|| backoff::up_to(MAX, self.in_vain, random));
        self.not_before = delay.map(|delay| now + delay);
        self.in_vain = self.in_vain.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(pace: &Pace, now: Instant) -> Duration {
        pace.not_before().map_or(Duration::ZERO, |until| until - now)
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_waits() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let millis: Vec<_> = (0..12)
            .map(|_| {
                pace.failed(now, 0.5);
                waits(&pace, now).as_millis()
            })
            .collect();
        assert_eq!(millis[..3], [1000, 1600, 2560]);
        assert_eq!(millis[11], 30_000);
        pace.watching(now);
        pace.progressed();
        pace.failed(now, 0.5);
        assert_eq!(waits(&pace, now), Duration::from_secs(1));
    }

    #[test]
    fn a_watch_that_ends_is_begun_again_at_once_but_not_again_and_again() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let mut ends_after = |brings_something: bool, time: Duration| {
            pace.watching(now);
            if brings_something {
                pace.progressed();
            }
            pace.ended(now + time, 0.5);
            waits(&pace, now + time)
        };
        let at_once = Duration::ZERO;
        assert_eq!(ends_after(false, at_once), at_once);
        assert_eq!(ends_after(false, at_once), Duration::from_secs(1));
        assert_eq!(ends_after(false, at_once), Duration::from_millis(1600));
        assert_eq!(ends_after(true, at_once), at_once);
        assert_eq!(ends_after(false, at_once), at_once);
        assert_eq!(ends_after(false, LASTING), at_once);
        assert_eq!(ends_after(false, at_once), at_once);
        assert_eq!(ends_after(false, at_once), Duration::from_secs(1));
    }

    #[test]
    fn a_watch_that_is_refused_before_it_begins_is_in_vain() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.ended(now, 0.5);
        assert_eq!(waits(&pace, now), Duration::ZERO);
        pace.ended(now, 0.5);
        assert_eq!(waits(&pace, now), Duration::from_secs(1));
    }
}
