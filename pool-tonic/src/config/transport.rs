//! Settings of how connections are made.

use std::time::Duration;

use super::ChannelPoolBuilder;
use crate::error::ConfigError;

#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) connect_timeout: Duration,
}

impl Default for Transport {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(20) }
    }
}

impl Transport {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.connect_timeout.is_zero() {
            return Err(ConfigError::ZeroTime { setting: "connect_timeout" });
        }
        Ok(())
    }
}

impl ChannelPoolBuilder {
    /// How long an attempt to connect may take, from the name's resolution to the server's first HTTP/2
    /// settings. Default 20 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.transport.connect_timeout = timeout;
        self
    }
}
