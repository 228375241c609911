//! The pool's time: nanoseconds since it was built, in one word.
//!
//! A resource carries three of them and the hot path compares them, so they are small and plain.
//! Arithmetic saturates, and the end of time means never.

use std::time::Duration;

use tokio::time::Instant;

/// A moment of one pool's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Later than every other.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    pub(crate) fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn is_never(self) -> bool {
        self == Self::NEVER
    }
}

fn nanos(span: Duration) -> u64 {
    // `as_nanos` would calculate in 128 bits.
    span.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(span.subsec_nanos()))
}

/// Turns tokio's time into the pool's and back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    built: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { built: Instant::now() }
    }

    pub(crate) fn now(self) -> Moment {
        self.moment(Instant::now())
    }

    pub(crate) fn moment(self, instant: Instant) -> Moment {
        Moment(nanos(instant.saturating_duration_since(self.built)))
    }

    /// `None` for never, and for what is too far to be said.
    pub(crate) fn instant(self, moment: Moment) -> Option<Instant> {
        if moment.is_never() {
            return None;
        }
        self.built.checked_add(Duration::from_nanos(moment.0))
    }

    /// For a timer that has to be set to something.
    pub(crate) fn instant_or_far(self, moment: Moment) -> Instant {
        self.instant(moment).unwrap_or_else(|| Instant::now() + A_YEAR)
    }
}

const A_YEAR: Duration = Duration::from_secs(86400 * 365);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_neither_overflows_nor_runs_backwards() {
        let clock = Clock::new();
        assert_eq!(clock.moment(clock.built), Moment::default());
        assert!(Moment::default().after(Duration::MAX).is_never());
        assert_eq!(Moment::NEVER.before(Duration::MAX), Moment::default());
        assert_eq!(Moment::default().since(Moment::NEVER), Duration::ZERO);
        assert_eq!(clock.instant(Moment::NEVER), None);
        let second = Moment::default().after(Duration::from_secs(1));
        assert_eq!(clock.instant(second), Some(clock.built + Duration::from_secs(1)));
    }
}
