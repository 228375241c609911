//! Settings of TCP's sockets, by the names of tonic's `Endpoint`.

use std::net::IpAddr;
use std::time::Duration;

use super::ChannelPoolBuilder;
use crate::error::ConfigError;
use crate::transport::TcpOptions;

/// What Linux takes, in seconds (`tcp(7)`: `TCP_KEEPIDLE`, `TCP_KEEPINTVL`); sockets count in seconds.
const MIN_KEEPALIVE: Duration = Duration::from_secs(1);
const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);
/// The same of `TCP_KEEPCNT`.
const MAX_KEEPALIVE_RETRIES: u32 = 127;

/// `TCP_USER_TIMEOUT` counts in milliseconds, in a signed number of 32 bits.
const MIN_USER_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

pub(super) fn default() -> TcpOptions {
    TcpOptions {
        nodelay: true,
        keepalive: None,
        keepalive_interval: None,
        keepalive_retries: None,
        user_timeout: None,
        local_address: None,
    }
}

/// The user's choice of `TCP_USER_TIMEOUT`.
#[derive(Clone, Copy, Debug)]
pub(super) enum UserTimeout {
    /// None. As gRPC has it (gRFC A18), it is that of HTTP/2's keepalive then, if there is one: a peer is as dead when it does
    /// not acknowledge data as when it does not answer a ping, and the ping itself is data that the kernel would otherwise
    /// send again for a quarter of an hour.
    OfKeepalive,
    Chosen(Option<Duration>),
}

impl UserTimeout {
    pub(super) fn beside(self, keepalive: Option<Duration>) -> Option<Duration> {
        match self {
            Self::OfKeepalive => Some(keepalive?.clamp(MIN_USER_TIMEOUT, MAX_USER_TIMEOUT)),
            Self::Chosen(timeout) => timeout,
        }
    }
}

pub(super) fn check(options: &TcpOptions) -> Result<(), ConfigError> {
    let keepalive = (MIN_KEEPALIVE, MAX_KEEPALIVE);
    for (setting, time, (min, max)) in [
        ("tcp_keepalive", options.keepalive, keepalive),
        ("tcp_keepalive_interval", options.keepalive_interval, keepalive),
        ("tcp_user_timeout", options.user_timeout, (MIN_USER_TIMEOUT, MAX_USER_TIMEOUT)),
    ] {
        if let Some(time) = time.filter(|time| !(min..=max).contains(time)) {
            return Err(ConfigError::TimeOutOfRange { setting, time, min, max });
        }
    }
    let (min, max) = (1, MAX_KEEPALIVE_RETRIES);
    let retries = options.keepalive_retries;
    if let Some(value) = retries.filter(|retries| !(min..=max).contains(retries)) {
        return Err(ConfigError::OutOfRange { setting: "tcp_keepalive_retries", value, min, max });
    }
    Ok(())
}

impl ChannelPoolBuilder {
    /// Sends small segments at once (`TCP_NODELAY`). Default true.
    pub fn tcp_nodelay(mut self, nodelay: bool) -> Self {
        self.transport.tcp.nodelay = nodelay;
        self
    }

    /// Probes a connection by TCP when nothing was heard for this long (`SO_KEEPALIVE`), in whole
    /// seconds; `None` does not. Default `None`. Worth setting where a firewall forgets connections that
    /// are idle.
    pub fn tcp_keepalive(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.transport.tcp.keepalive = time.into();
        self
    }

    /// The time between two probes of [`tcp_keepalive`](Self::tcp_keepalive), in whole seconds. Default:
    /// the system's.
    pub fn tcp_keepalive_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.transport.tcp.keepalive_interval = interval.into();
        self
    }

    /// How many probes of [`tcp_keepalive`](Self::tcp_keepalive) go unanswered until the connection is
    /// lost. Default: the system's.
    pub fn tcp_keepalive_retries(mut self, retries: impl Into<Option<u32>>) -> Self {
        self.transport.tcp.keepalive_retries = retries.into();
        self
    }

    /// How long what was sent may go unacknowledged, or unread with the peer's buffer full, until the
    /// connection is lost (`TCP_USER_TIMEOUT`); `None` leaves it to the system, which takes a quarter
    /// of an hour. Default: the [`keepalive_timeout`](Self::keepalive_timeout), 20 s, as gRPC has it (gRFC A18), and `None`
    /// where there is no keepalive. Linux, Android and Fuchsia have it; elsewhere it does nothing.
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.transport.user_timeout = UserTimeout::Chosen(timeout.into());
        self
    }

    /// The address of this machine to connect from. Only addresses of the same kind, IPv4 or IPv6, are
    /// connected to then. Default: the system's choice.
    pub fn local_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.transport.tcp.local_address = address.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_timeout_is_that_of_keepalive_unless_it_is_chosen() {
        let seconds = Duration::from_secs;
        let of_keepalive = UserTimeout::OfKeepalive;
        assert_eq!(of_keepalive.beside(Some(seconds(60))), Some(seconds(60)));
        assert_eq!(of_keepalive.beside(Some(Duration::MAX)), Some(MAX_USER_TIMEOUT));
        assert_eq!(of_keepalive.beside(None), None);
        let chosen = |timeout| UserTimeout::Chosen(timeout).beside(Some(seconds(60)));
        assert_eq!((chosen(None), chosen(Some(seconds(5)))), (None, Some(seconds(5))));
    }
}
