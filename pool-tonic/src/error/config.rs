//! What a builder refuses.

use std::error::Error as StdError;
use std::time::Duration;

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
    /// An endpoint is a Unix socket, which this system does not have.
    #[error("{uri:?} is a Unix socket, and this system has none")]
    UnixUnsupported {
        /// The text given.
        uri: String,
    },
    /// An endpoint asks for TLS, and this crate was built without it.
    #[error(
        "{uri:?} asks for TLS, which pool-tonic was built without: enable its feature tls-ring or tls-aws-lc, \
         and tls-native-roots or tls-webpki-roots for the usual root certificates"
    )]
    TlsUnsupported {
        /// The text given.
        uri: String,
    },
    /// There is a `tls_config`, and an endpoint that would be connected to without TLS.
    #[error("{uri:?} is without TLS, but there is a tls_config: write https://")]
    TlsUnused {
        /// The text given.
        uri: String,
    },
    /// Nothing does the cryptography of TLS.
    #[error(
        "there is no crypto provider for TLS: enable pool-tonic's feature tls-ring or tls-aws-lc, give one to \
         TlsConfig::crypto_provider, or install a default of the process"
    )]
    NoCryptoProvider,
    /// There are no certificates to trust.
    #[error(
        "there are no root certificates for TLS: enable pool-tonic's feature tls-native-roots or \
         tls-webpki-roots, or give some to TlsConfig::ca_certificate"
    )]
    NoRoots,
    /// A certificate or key cannot be used.
    #[error("TLS cannot be done: {source}")]
    Tls {
        /// What is wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// What a server's certificate is to bear cannot be in one.
    #[error("{name:?} is no name that a certificate can bear: give one to TlsConfig::domain_name")]
    ServerName {
        /// The endpoint's host, or the `domain_name`.
        name: String,
        /// Why not.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The origin of requests is no URI of a server.
    #[error("the origin cannot be sent: {source}")]
    Origin {
        /// What is wrong with it.
        source: Box<Self>,
    },
    /// There is a resolver, and not one endpoint for it that has a name.
    #[error(
        "a resolver finds the servers behind one http:// or https:// endpoint, not of a Unix socket, and there are {given}"
    )]
    ResolverTarget {
        /// How many endpoints there are.
        given: usize,
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
    /// A number is not in its range.
    #[error("{setting} is {value}, and has to be from {min} to {max}")]
    OutOfRange {
        /// The builder's method.
        setting: &'static str,
        /// What it was given.
        value: u32,
        /// The smallest that can be.
        min: u32,
        /// The largest that can be.
        max: u32,
    },
    /// A time is not in its range.
    #[error("{setting} is {time:?}, and has to be from {min:?} to {max:?}")]
    TimeOutOfRange {
        /// The builder's method.
        setting: &'static str,
        /// What it was given.
        time: Duration,
        /// The shortest that can be.
        min: Duration,
        /// The longest that can be.
        max: Duration,
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
    /// The priming call's method is none.
    #[error("{method:?} is no method: write /package.Service/Method")]
    Method {
        /// The text given.
        method: String,
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
