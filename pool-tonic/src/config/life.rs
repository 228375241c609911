//! Settings of how long connections live.

use std::time::Duration;

use super::ChannelPoolBuilder;
use crate::error::ConfigError;

#[derive(Debug)]
pub(super) struct Life {
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_connection_age: Option<Duration>,
    pub(super) shrink_delay: Option<Duration>,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            max_connection_age: Some(Duration::from_secs(30 * 60)),
            shrink_delay: None,
        }
    }
}

impl Life {
    /// The pool below would refuse these too, by names that are not this builder's.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (setting, time) in
            [("idle_timeout", self.idle_timeout), ("max_connection_age", self.max_connection_age)]
        {
            if time == Some(Duration::ZERO) {
                return Err(ConfigError::ZeroTime { setting });
            }
        }
        Ok(())
    }
}

impl ChannelPoolBuilder {
    /// How long a connection without calls is kept; `None` keeps it. Default 10 min.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.life.idle_timeout = timeout.into();
        self
    }

    /// After this time (less a jitter) a connection takes no more calls and is replaced; `None` never
    /// does so. Default 30 min. Below the age at which the server ends connections it
    /// spares calls that server's ways of doing so.
    pub fn max_connection_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.life.max_connection_age = age.into();
        self
    }

    /// For how long there have to be more connections than the calls need until one goes. Default: the
    /// pool's own, 30 s.
    pub fn shrink_delay(mut self, delay: Duration) -> Self {
        self.life.shrink_delay = Some(delay);
        self
    }
}
