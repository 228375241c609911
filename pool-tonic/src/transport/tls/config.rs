//! What the user sets.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use tokio_rustls::rustls;

use super::Pem;

/// How a [`ChannelPool`](crate::ChannelPool) does TLS: whom it trusts, and who it says it is. Given to
/// [`ChannelPoolBuilder::tls_config`](crate::ChannelPoolBuilder::tls_config).
///
/// **Roots.** The ones that are given, all together. If none are, the system's where the feature
/// `tls-native-roots` is on, else Mozilla's where `tls-webpki-roots` is; without either feature,
/// building the pool fails.
///
/// **Cryptography.** The first of: the one given to [`crypto_provider`](Self::crypto_provider), the
/// process's default ([`CryptoProvider::install_default`]), AWS-LC where the feature `tls-aws-lc` is on,
/// ring where `tls-ring` is. Without any, building the pool fails. It never panics for the lack of one.
///
/// **Files** are read again for each connection, so a certificate that is replaced on disk is used by the
/// next one; [`ChannelPool::rotate`](crate::ChannelPool::rotate) replaces those that are there.
///
/// TLS 1.2 and 1.3 are spoken; ALPN offers `h2`, and a server that does not choose it is refused.
///
/// # Examples
///
/// mTLS, with files that something renews:
///
/// ```
/// # #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
/// # fn main() -> Result<(), pool_tonic::ConfigError> {
/// use pool_tonic::{ChannelPool, Pem, TlsConfig};
///
/// let tls = TlsConfig::new()
///     .ca_certificate(Pem::file("/etc/orders/ca.crt"))
///     .identity(Pem::file("/etc/orders/tls.crt"), Pem::file("/etc/orders/tls.key"));
/// let pool = ChannelPool::builder("https://orders:50051").tls_config(tls).build()?;
/// # Ok(()) }
/// # #[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))] fn main() {}
/// ```
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    pub(super) domain_name: Option<String>,
    /// Instead of all that follows.
    pub(super) whole: Option<Arc<ClientConfig>>,
    pub(super) ca_certificates: Vec<Pem>,
    #[cfg(feature = "tls-native-roots")]
    pub(super) native_roots: bool,
    #[cfg(feature = "tls-webpki-roots")]
    pub(super) webpki_roots: bool,
    /// Certificate chain and key.
    pub(super) identity: Option<(Pem, Pem)>,
    pub(super) provider: Option<Arc<CryptoProvider>>,
}

impl TlsConfig {
    /// The default roots, and no certificate of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// A configuration of rustls, for what the methods here do not offer: versions, resumption, a
    /// verifier or a certificate resolver of one's own. Its ALPN protocols are replaced by `h2`.
    ///
    /// It is used as it is for every connection. A resumed session presents no certificate anew: where
    /// a resolver's certificates change, turn [resumption](ClientConfig::resumption) off.
    pub fn from_rustls(config: impl Into<Arc<ClientConfig>>) -> Self {
        Self { whole: Some(config.into()), ..Self::default() }
    }

    /// Trusts these certificates, one or several, instead of the default roots. May be called again.
    pub fn ca_certificate(mut self, pem: Pem) -> Self {
        self.ca_certificates.push(pem);
        self
    }

    /// Trusts the system's root certificates, also beside others. They are read once, when the pool is
    /// built.
    #[cfg(feature = "tls-native-roots")]
    pub fn with_native_roots(mut self) -> Self {
        self.native_roots = true;
        self
    }

    /// Trusts Mozilla's root certificates, as this program was built with them, also beside others.
    #[cfg(feature = "tls-webpki-roots")]
    pub fn with_webpki_roots(mut self) -> Self {
        self.webpki_roots = true;
        self
    }

    /// Presents this certificate, with the chain behind it, when the server asks for one.
    pub fn identity(mut self, certificates: Pem, key: Pem) -> Self {
        self.identity = Some((certificates, key));
        self
    }

    /// The name that the server's certificate has to bear, a DNS name or an IP address. It is also sent
    /// as SNI, if it is a DNS name. Default: the endpoint's host, `localhost` for a Unix socket.
    pub fn domain_name(mut self, name: impl Into<String>) -> Self {
        self.domain_name = Some(name.into());
        self
    }

    /// The implementation of cryptography to use.
    pub fn crypto_provider(mut self, provider: impl Into<Arc<CryptoProvider>>) -> Self {
        self.provider = Some(provider.into());
        self
    }
}
