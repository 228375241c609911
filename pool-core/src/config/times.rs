//! [`Times`]: how long everything, and the rules that go by it.

use std::time::Duration;

use super::{Backoff, ConfigError, Shedding};

/// When a resource is checked before it is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CheckPolicy {
    /// Each time.
    Always,
    /// When it has been idle for this long. Errs towards checking: from seven eighths of it on.
    IfIdleFor(#[cfg_attr(feature = "serde", serde(with = "humantime_serde"))] Duration),
    /// Never.
    Never,
}

/// How long everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) wait: Duration,
    pub(crate) create: Duration,
    pub(crate) check: Duration,
    pub(crate) recycle: Duration,
    pub(crate) destroy: Duration,
    pub(crate) shrink_delay: Duration,
    pub(crate) idle: Option<Duration>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) max_uses: Option<u32>,
    pub(crate) check_policy: CheckPolicy,
    /// How often idle resources are checked.
    pub(crate) keepalive: Option<Duration>,
    pub(crate) leak_threshold: Option<Duration>,
    pub(crate) time_leases: bool,
    pub(crate) shed: Option<Shedding>,
    pub(crate) discard_on_panic: bool,
    pub(crate) backoff: Backoff,
}

/// The share of the maximum lifetime by which each resource's own may be shorter, so that those
/// created together do not end together.
const LIFETIME_JITTER: f64 = 0.1;

impl Times {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let spans = [
            ("idle_timeout", self.idle),
            ("max_lifetime", self.lifetime),
            ("keepalive", self.keepalive),
            ("leak_threshold", self.leak_threshold),
        ];
        if let Some((field, _)) = spans.into_iter().find(|(_, span)| *span == Some(Duration::ZERO))
        {
            return Err(ConfigError::new(field, "must be above zero; None turns it off"));
        }
        if self.max_uses == Some(0) {
            return Err(ConfigError::new("max_uses", "must be at least 1; None turns it off"));
        }
        if let Some(shed) = &self.shed {
            shed.check()?;
        }
        self.backoff.check()
    }

    /// The lifetime of one resource, with `random` in 0..=1.
    pub(crate) fn draw_lifetime(&self, random: f64) -> Option<Duration> {
        let seconds = self.lifetime?.as_secs_f64() * (1.0 - LIFETIME_JITTER * random);
        // Longer than can be said is for ever.
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// How long before it expires a resource is replaced, where a minimum is kept.
    pub(crate) fn replacement_lead(&self) -> Option<Duration> {
        Some((self.lifetime? / 10).min(self.create))
    }

    /// How far apart the ticks of the coarse clock are, by which returns are stamped: an eighth of the
    /// shortest span that is measured by it. `None` when none is.
    pub(crate) fn tick(&self) -> Option<Duration> {
        let check = match self.check_policy {
            CheckPolicy::IfIdleFor(idle) => Some(idle),
            CheckPolicy::Always | CheckPolicy::Never => None,
        };
        let shortest = check.into_iter().chain(self.idle).chain(self.keepalive).min()?;
        Some((shortest / 8).max(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::PoolConfig;
    use super::*;

    fn times() -> Times {
        PoolConfig::default().times()
    }

    #[test]
    fn a_lifetime_is_up_to_a_tenth_shorter() {
        let times = Times { lifetime: Some(Duration::from_secs(100)), ..times() };
        assert_eq!(times.draw_lifetime(0.0), Some(Duration::from_secs(100)));
        assert_eq!(times.draw_lifetime(1.0), Some(Duration::from_secs(90)));
    }

    #[test]
    fn the_longest_lifetime_that_can_be_said_overflows_nothing() {
        let times = Times { lifetime: Some(Duration::MAX), ..times() };
        let a_tenth_shorter = Duration::from_secs(u64::MAX / 10 * 8);
        assert_eq!(times.draw_lifetime(0.0), None);
        assert!(times.draw_lifetime(1.0).is_some_and(|lifetime| lifetime > a_tenth_shorter));
    }

    #[test]
    fn the_coarse_clock_ticks_eight_times_in_the_shortest_span() {
        let idle = |idle, check_policy| Times { idle, check_policy, ..times() }.tick();
        let secs = Duration::from_secs;
        assert_eq!(idle(Some(secs(16)), CheckPolicy::IfIdleFor(secs(8))), Some(secs(1)));
        assert_eq!(idle(Some(secs(16)), CheckPolicy::Always), Some(secs(2)));
        assert_eq!(idle(None, CheckPolicy::Never), None);
        let longest = idle(Some(Duration::MAX), CheckPolicy::IfIdleFor(Duration::MAX));
        assert_eq!(longest, Some(Duration::MAX / 8));
    }
}
