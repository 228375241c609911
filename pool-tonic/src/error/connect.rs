//! Why there is no connection.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tonic::Status;

use crate::address::Address;
use crate::connection::Health;
use crate::connectivity::ConnectivityState;
use crate::resolve::ResolveError;

/// What became of the calls that the pool makes on a new connection.
const PRIMING: &str = "failed the first call that the pool made on a new connection";
const HEALTH_CHECK: &str = "is connected, and the call that asks for its health failed";

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
    Resolve(io::Error),
    Resolver(ResolveError),
    Tcp(io::Error),
    Connector(Box<dyn StdError + Send + Sync>),
    #[cfg(feature = "tls")]
    Credentials(Box<dyn StdError + Send + Sync>),
    #[cfg(feature = "tls")]
    Tls(io::Error),
    /// With the server's refusal, or without: it chose nothing.
    #[cfg(feature = "tls")]
    Alpn(Option<io::Error>),
    /// The stream broke while HTTP/2 was to begin on it.
    Broken {
        error: io::Error,
        secure: bool,
    },
    Http2 {
        error: h2::Error,
        secure: bool,
    },
    Ended {
        secure: bool,
    },
    /// A call of the pool's own, made before the connection is lent.
    OwnCall(&'static str, Status),
    Unhealthy(Health),
    TimedOut {
        after: Duration,
        is_part: bool,
        phase: &'static str,
    },
    Abandoned,
    NoRoom(Duration),
    Lost(String),
    BackingOff(Option<ConnectError>),
}

impl ConnectError {
    fn new(address: impl fmt::Display, kind: Kind) -> Self {
        Self(Arc::new(Inner { address: address.to_string(), kind }))
    }

    pub(crate) fn resolve(address: impl fmt::Display, error: io::Error) -> Self {
        Self::new(address, Kind::Resolve(error))
    }

    /// The resolver of the pool gave no endpoints.
    pub(crate) fn resolver(target: impl fmt::Display, error: ResolveError) -> Self {
        Self::new(target, Kind::Resolver(error))
    }

    pub(crate) fn tcp(address: impl fmt::Display, error: io::Error) -> Self {
        Self::new(address, Kind::Tcp(error))
    }

    pub(crate) fn connector(
        address: impl fmt::Display,
        error: Box<dyn StdError + Send + Sync>,
    ) -> Self {
        Self::new(address, Kind::Connector(error))
    }

    #[cfg(feature = "tls")]
    pub(crate) fn credentials(
        address: impl fmt::Display,
        error: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::new(address, Kind::Credentials(error.into()))
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(address: impl fmt::Display, error: io::Error) -> Self {
        Self::new(address, Kind::Tls(error))
    }

    #[cfg(feature = "tls")]
    pub(crate) fn alpn(address: impl fmt::Display, refusal: Option<io::Error>) -> Self {
        Self::new(address, Kind::Alpn(refusal))
    }

    /// The HTTP/2 handshake failed.
    pub(crate) fn handshake(address: &Address, error: h2::Error) -> Self {
        let secure = address.is_secure();
        if !error.is_io() {
            return Self::new(address, Kind::Http2 { error, secure });
        }
        let text = error.to_string();
        let error = error.into_io().unwrap_or_else(|| io::Error::other(text));
        // A server of TLS 1.3 looks at the client's certificate after the handshake has succeeded here.
        #[cfg(feature = "tls")]
        if crate::transport::tls::is_tls(&error) {
            return Self::tls(address, error);
        }
        Self::new(address, Kind::Broken { error, secure })
    }

    pub(crate) fn ended(address: &Address) -> Self {
        Self::new(address, Kind::Ended { secure: address.is_secure() })
    }

    pub(crate) fn priming(address: impl fmt::Display, status: Status) -> Self {
        Self::new(address, Kind::OwnCall(PRIMING, status))
    }

    pub(crate) fn health_check(address: impl fmt::Display, status: Status) -> Self {
        Self::new(address, Kind::OwnCall(HEALTH_CHECK, status))
    }

    pub(crate) fn unhealthy(address: impl fmt::Display, health: Health) -> Self {
        Self::new(address, Kind::Unhealthy(health))
    }

    pub(crate) fn timed_out(
        address: impl fmt::Display,
        after: Duration,
        is_part: bool,
        phase: &'static str,
    ) -> Self {
        Self::new(address, Kind::TimedOut { after, is_part, phase })
    }

    pub(crate) fn abandoned(address: impl fmt::Display) -> Self {
        Self::new(address, Kind::Abandoned)
    }

    /// As many connections went as may be there.
    pub(crate) fn no_room(address: impl fmt::Display, waited: Duration) -> Self {
        Self::new(address, Kind::NoRoom(waited))
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

    /// It is of what this side has to show, whatever it connects to.
    #[cfg(feature = "tls")]
    pub(crate) fn is_of_credentials(&self) -> bool {
        matches!(self.0.kind, Kind::Credentials(_))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address();
        match &self.0.kind {
            Kind::Resolve(error) => write!(f, "cannot resolve {address}: {error}"),
            Kind::Resolver(error) => write!(f, "cannot resolve {address}: {error}"),
            Kind::Tcp(error) => write!(f, "cannot connect to {address}: {error}"),
            Kind::Connector(error) => {
                write!(f, "cannot connect to {address}: its connector failed: {error}")
            }
            #[cfg(feature = "tls")]
            Kind::Credentials(error) => {
                write!(f, "cannot connect to {address}: the certificates for it: {error}")
            }
            #[cfg(feature = "tls")]
            Kind::Tls(error) => {
                write!(f, "TLS with {address} failed: {error}")?;
                if crate::transport::tls::is_no_tls(error) {
                    f.write_str(" (is it a server without TLS? then write http://)")?;
                }
                Ok(())
            }
            #[cfg(feature = "tls")]
            Kind::Alpn(_) => write!(
                f,
                "{address} does not speak HTTP/2 over TLS: it did not choose h2, which was all that ALPN offered"
            ),
            Kind::Broken { error, secure } => write!(
                f,
                "the connection to {address} broke before it sent its HTTP/2 settings: {error}{}",
                hint(*secure)
            ),
            Kind::Http2 { error, secure: true } => {
                write!(f, "{address} does not answer as an HTTP/2 server: {error}")
            }
            Kind::Http2 { error, secure: false } => {
                write!(f, "{address} does not answer as an HTTP/2 server: {error}{}", hint(false))
            }
            Kind::Ended { secure } => write!(
                f,
                "{address} closed the connection before it sent its HTTP/2 settings{}",
                hint(*secure)
            ),
            Kind::OwnCall(became, status) => {
                write!(f, "{address} {became}: {:?}: {}", status.code(), status.message())
            }
            Kind::Unhealthy(health) => {
                write!(f, "{address} is connected, and not healthy: {health}")
            }
            Kind::TimedOut { after, is_part, phase } => {
                let of = if *is_part { "this address's part of " } else { "" };
                let passed = format_args!("{of}the connect timeout of {after:?} passed");
                write!(f, "cannot connect to {address}: {passed} while {phase}")
            }
            Kind::Abandoned => write!(f, "the attempt to connect to {address} was given up"),
            Kind::NoRoom(waited) => write!(
                f,
                "no other connection to {address} was made: for {waited:?} as many as may be (max_draining_connections) were draining, with calls that run on"
            ),
            Kind::Lost(reason) => {
                write!(f, "the connection to {address} was lost right after it was made: {reason}")
            }
            Kind::BackingOff(Some(last)) => write!(f, "{last} (in back-off)"),
            Kind::BackingOff(None) => write!(f, "{address}: in back-off"),
        }
    }
}

/// What a server may have meant that ended the connection before HTTP/2 had begun.
fn hint(secure: bool) -> &'static str {
    if secure {
        " (it may ask for a client certificate, or refuse the one that it got)"
    } else {
        " (is it a server with TLS? then write https://)"
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.kind {
            Kind::Resolve(error) | Kind::Tcp(error) | Kind::Broken { error, .. } => Some(error),
            Kind::Resolver(error) => Some(error),
            Kind::Connector(error) => Some(&**error),
            #[cfg(feature = "tls")]
            Kind::Credentials(error) => Some(&**error),
            #[cfg(feature = "tls")]
            Kind::Tls(error) => Some(error),
            #[cfg(feature = "tls")]
            Kind::Alpn(refusal) => refusal.as_ref().map(|error| error as _),
            Kind::Http2 { error, .. } => Some(error),
            Kind::OwnCall(_, status) => Some(status),
            Kind::BackingOff(Some(last)) => Some(last),
            Kind::Ended { .. }
            | Kind::Unhealthy(_)
            | Kind::TimedOut { .. }
            | Kind::Abandoned
            | Kind::NoRoom(_)
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
