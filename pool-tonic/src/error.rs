//! Errors of the configuration and of connecting. Calls fail with a [`tonic::Status`].

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::connectivity::ConnectivityState;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An endpoint is no URI of a server.
    #[error("{uri:?} is no endpoint: {reason}")]
    Uri {
        /// The text given.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An endpoint asks for TLS.
    #[error(
        "{uri:?} asks for TLS, which is not supported yet: use http:// where the network may be trusted"
    )]
    TlsUnsupported {
        /// The text given.
        uri: String,
    },
    /// There is no endpoint.
    #[error("there is no endpoint: give at least one URI")]
    NoEndpoint,
    /// A number that has to be at least 1 is 0.
    #[error("{setting} is 0, and has to be at least 1")]
    Zero {
        /// The builder's method.
        setting: &'static str,
    },
    /// A time that has to be above zero is not.
    #[error("{setting} is zero: it has to be some time")]
    ZeroTime {
        /// The builder's method.
        setting: &'static str,
    },
    /// More connections are to be kept than there may be.
    #[error("min_connections is {min}, which is above max_connections, {max}")]
    MinAboveMax {
        /// What `min_connections` was given.
        min: usize,
        /// What `max_connections` is.
        max: usize,
    },
    /// A rule of retries breaks the specification (gRFC A6).
    #[error("retries of {name}: {field} {reason}")]
    Retry {
        /// The methods that it is for.
        name: String,
        /// What of it.
        field: &'static str,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A service config is not what it should be.
    #[cfg(feature = "service-config")]
    #[error("the service config: {reason}")]
    ServiceConfig {
        /// What is wrong with it, and where.
        reason: String,
    },
    /// The user agent is no header value.
    #[error("{value:?} cannot be sent as user agent: only visible ASCII characters and spaces can")]
    UserAgent {
        /// The text given.
        value: String,
    },
    /// The pool below refused its settings, and names them its own way. What the builder can be given
    /// is checked before that.
    #[error(transparent)]
    Pool(#[from] pool_core::ConfigError),
}

/// Why there is no connection to an address. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectError(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(io::Error),
    Http2(h2::Error),
    Ended,
    TimedOut { after: Duration, phase: &'static str },
    Abandoned,
    Lost(String),
    BackingOff(Option<ConnectError>),
}

impl ConnectError {
    fn new(address: impl fmt::Display, kind: Kind) -> Self {
        Self(Arc::new(Inner { address: address.to_string(), kind }))
    }

    pub(crate) fn tcp(address: impl fmt::Display, error: io::Error) -> Self {
        Self::new(address, Kind::Tcp(error))
    }

    pub(crate) fn http2(address: impl fmt::Display, error: h2::Error) -> Self {
        Self::new(address, Kind::Http2(error))
    }

    pub(crate) fn ended(address: impl fmt::Display) -> Self {
        Self::new(address, Kind::Ended)
    }

    pub(crate) fn timed_out(
        address: impl fmt::Display,
        after: Duration,
        phase: &'static str,
    ) -> Self {
        Self::new(address, Kind::TimedOut { after, phase })
    }

    pub(crate) fn abandoned(address: impl fmt::Display) -> Self {
        Self::new(address, Kind::Abandoned)
    }

    pub(crate) fn lost(address: impl fmt::Display, reason: String) -> Self {
        Self::new(address, Kind::Lost(reason))
    }

    pub(crate) fn backing_off(addresses: impl fmt::Display, last: Option<Self>) -> Self {
        Self::new(addresses, Kind::BackingOff(last))
    }

    /// The address, `host:port`; several, if all of them are in back-off.
    pub fn address(&self) -> &str {
        &self.0.address
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address();
        match &self.0.kind {
            Kind::Tcp(error) => write!(f, "cannot connect to {address}: {error}"),
            Kind::Http2(error) => {
                write!(f, "{address} does not answer as an HTTP/2 server: {error}")
            }
            Kind::Ended => {
                write!(f, "{address} closed the connection before it sent its HTTP/2 settings")
            }
            Kind::TimedOut { after, phase } => write!(
                f,
                "cannot connect to {address}: the connect timeout of {after:?} passed while {phase}"
            ),
            Kind::Abandoned => write!(f, "the attempt to connect to {address} was given up"),
            Kind::Lost(reason) => {
                write!(f, "the connection to {address} was lost right after it was made: {reason}")
            }
            Kind::BackingOff(Some(last)) => write!(f, "{last} (in back-off)"),
            Kind::BackingOff(None) => write!(f, "{address}: in back-off"),
        }
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.kind {
            Kind::Tcp(error) => Some(error),
            Kind::Http2(error) => Some(error),
            Kind::BackingOff(Some(last)) => Some(last),
            Kind::Ended
            | Kind::TimedOut { .. }
            | Kind::Abandoned
            | Kind::Lost(_)
            | Kind::BackingOff(None) => None,
        }
    }
}

/// The pool was not READY in time, or cannot be any more.
#[derive(Debug, thiserror::Error)]
#[error("no connection was ready in time: the pool is {state}")]
pub struct NotReady {
    /// The state when the wait ended.
    pub state: ConnectivityState,
    /// Why the last attempt to connect failed, if none has succeeded since.
    #[source]
    pub last_error: Option<ConnectError>,
}
