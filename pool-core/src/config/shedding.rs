//! [`Shedding`]: when to turn callers away.

use std::time::Duration;

use super::ConfigError;

/// When to turn callers away, since the queue has stood for too long: once no caller has been served
/// within `target` for a whole `interval`, until one is again. `CoDel`'s rule.
///
/// A burst that the pool works off within the interval costs nobody anything. The target may be longer
/// than the interval: then the queue is judged more often than a caller waits.
///
/// Default: 50 ms in 1 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Shedding {
    /// The wait that is good enough, above zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub target: Duration,
    /// For how long every wait has to be longer than that, above zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub interval: Duration,
}

impl Shedding {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let spans = [("shed.target", self.target), ("shed.interval", self.interval)];
        match spans.into_iter().find(|(_, span)| span.is_zero()) {
            None => Ok(()),
            Some((field, _)) => Err(ConfigError::new(field, "must be above zero")),
        }
    }
}

impl Default for Shedding {
    fn default() -> Self {
        Self { target: Duration::from_millis(50), interval: Duration::from_secs(1) }
    }
}
