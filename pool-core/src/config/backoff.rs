//! [`Backoff`]: how long to wait after a creation failed.

use std::time::Duration;

use super::ConfigError;

/// How long to wait after a creation failed, before the next attempt: `initial` after the first, each
/// time `multiplier` as long, at most `max`; each wait is off by up to `jitter` of itself, either way.
///
/// Default: 100 ms, times 1.6, at most 5 s, 20 % jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Backoff {
    /// The wait after the first failure, above zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub initial: Duration,
    /// The factor from one wait to the next, at least 1.
    pub multiplier: f64,
    /// The share of a wait that is random, from 0 to 1.
    pub jitter: f64,
    /// The longest wait, before jitter; at least `initial`.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max: Duration,
}

impl Backoff {
    /// The wait after this many failures in a row, with `random` in -1..=1.
    pub(crate) fn delay(&self, failures: u32, random: f64) -> Duration {
        let steps = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let nominal = self.initial.as_secs_f64() * self.multiplier.powi(steps);
        let nominal = nominal.min(self.max.as_secs_f64());
        let seconds = nominal * (1.0 + self.jitter * random);
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(self.max)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { initial, multiplier, jitter, max } = *self;
        if initial.is_zero() {
            return Err(ConfigError::new("backoff.initial", "must be above zero"));
        }
        // Of a NaN neither holds.
        if !(multiplier.is_finite() && multiplier >= 1.0) {
            let problem = format!("must be a number from 1 on, and is {multiplier}");
            return Err(ConfigError::new("backoff.multiplier", problem));
        }
        if !(0.0..=1.0).contains(&jitter) {
            let problem = format!("must be from 0 to 1, and is {jitter}");
            return Err(ConfigError::new("backoff.jitter", problem));
        }
        if max < initial {
            let problem = format!("{max:?} is below backoff.initial, which is {initial:?}");
            return Err(ConfigError::new("backoff.max", problem));
        }
        Ok(())
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            multiplier: 1.6,
            jitter: 0.2,
            max: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_maximum() {
        let backoff = Backoff {
            initial: Duration::from_secs(1),
            multiplier: 1.6,
            jitter: 0.2,
            max: Duration::from_secs(120),
        };
        assert_eq!(backoff.delay(1, 0.0), Duration::from_secs(1));
        assert_eq!(backoff.delay(2, 0.0), Duration::from_millis(1600));
        assert_eq!(backoff.delay(3, 0.5), Duration::from_millis(2816));
        assert_eq!(backoff.delay(u32::MAX, -1.0), Duration::from_secs(96));
    }

    #[test]
    fn the_longest_backoff_that_can_be_said_is_the_longest_there_is() {
        let longest = Duration::MAX;
        let backoff = Backoff { initial: longest, multiplier: f64::MAX, jitter: 1.0, max: longest };
        assert_eq!(backoff.check(), Ok(()));
        for random in [0.0, 1.0] {
            assert_eq!(backoff.delay(1, random), longest);
            assert_eq!(backoff.delay(u32::MAX, random), longest);
        }
        assert_eq!(backoff.delay(u32::MAX, -1.0), Duration::ZERO);
    }
}
