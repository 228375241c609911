//! What is resolved.

use std::fmt;

/// What a pool was given: host and port of its URI.
///
/// # Examples
///
/// ```
/// use pool_tonic::resolve::ResolveTarget;
///
/// // As of a pool to `https://orders.prod:50051`, for the test of a resolver.
/// let target = ResolveTarget::new("orders.prod", 50051, true);
/// assert_eq!((target.host(), target.port()), ("orders.prod", 50051));
/// assert_eq!(target.to_string(), "orders.prod:50051");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResolveTarget {
    host: String,
    port: u16,
    secure: bool,
}

impl ResolveTarget {
    /// Of `http://HOST:PORT`, or if `secure` of `https://HOST:PORT`. The host is without brackets.
    pub fn new(host: impl Into<String>, port: u16, secure: bool) -> Self {
        Self { host: host.into(), port, secure }
    }

    /// A name or an IP address, the latter without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, which endpoints have that name none; 80 or 443 where the URI names none either.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Is it `https://`?
    pub fn is_secure(&self) -> bool {
        self.secure
    }
}

impl fmt::Display for ResolveTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::endpoints::write_host(f, &self.host)?;
        write!(f, ":{}", self.port)
    }
}
