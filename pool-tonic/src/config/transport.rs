//! Settings of how connections are made.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::ChannelPoolBuilder;
use super::tcp::UserTimeout;
use crate::address::{Address, Target};
use crate::address_book::Side;
use crate::connection::{DialConfig, Http2, Upkeep};
use crate::error::ConfigError;
#[cfg(feature = "tls")]
use crate::transport::tls::{Tls, TlsConfig};
use crate::transport::{Connect, Connector, TcpOptions};

pub(super) struct Transport {
    pub(super) connect_timeout: Duration,
    pub(super) tcp: TcpOptions,
    pub(super) user_timeout: UserTimeout,
    pub(super) http2: Http2,
    connector: Option<Arc<dyn Connect>>,
    origin: Option<Uri>,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(20),
            tcp: super::tcp::default(),
            user_timeout: UserTimeout::OfKeepalive,
            http2: Http2::default(),
            connector: None,
            origin: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Transport");
        debug
            .field("connect_timeout", &self.connect_timeout)
            .field("tcp", &self.tcp)
            .field("user_timeout", &self.user_timeout)
            .field("http2", &self.http2)
            .field("connector", &self.connector.is_some())
            .field("origin", &self.origin);
        #[cfg(feature = "tls")]
        debug.field("tls", &self.tls);
        debug.finish()
    }
}

impl Transport {
    /// The addresses, and how to connect to them.
    pub(super) fn build(
        mut self,
        endpoints: &[String],
        max_streams: usize,
        upkeep: Upkeep,
    ) -> Result<(Vec<Address>, DialConfig), ConfigError> {
        if self.connect_timeout.is_zero() {
            return Err(ConfigError::ZeroTime { setting: "connect_timeout" });
        }
        let keepalive = upkeep.keepalive.map(|keepalive| keepalive.timeout);
        self.tcp.user_timeout = self.user_timeout.beside(keepalive);
        super::tcp::check(&self.tcp)?;
        super::http2::check(&self.http2)?;
        let addresses: Vec<_> =
            endpoints.iter().map(|endpoint| self.address(endpoint)).collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        #[cfg(feature = "tls")]
        let tls = self.tls(&addresses)?;
        let config = DialConfig {
            max_streams,
            side: Side::Shared,
            upkeep,
            connect_timeout: self.connect_timeout,
            tcp: self.tcp,
            http2: self.http2,
            connector: self.connector,
            #[cfg(feature = "tls")]
            tls,
        };
        Ok((addresses, config))
    }

    fn address(&self, endpoint: &str) -> Result<Address, ConfigError> {
        let mut address = Address::parse(endpoint)?;
        let is_socket = matches!(address.target(), Target::Unix { .. });
        if is_socket && self.connector.is_some() {
            let reason = "a connector is given http:// and https:// endpoints only".to_owned();
            return Err(ConfigError::Uri { uri: endpoint.to_owned(), reason });
        }
        #[cfg(feature = "tls")]
        if is_socket && self.tls.is_some() {
            address = address.with_tls();
        }
        #[cfg(feature = "tls")]
        if self.tls.is_some() && !address.is_secure() {
            return Err(ConfigError::TlsUnused { uri: endpoint.to_owned() });
        }
        #[cfg(not(feature = "tls"))]
        if address.is_secure() {
            return Err(ConfigError::TlsUnsupported { uri: endpoint.to_owned() });
        }
        if let Some(origin) = &self.origin {
            let origin = Address::parse(&origin.to_string())
                .map_err(|error| ConfigError::Origin { source: Box::new(error) })?;
            address = address.with_origin(&origin);
        }
        Ok(address)
    }

    #[cfg(feature = "tls")]
    fn tls(&self, addresses: &[Address]) -> Result<Option<Arc<Tls>>, ConfigError> {
        if !addresses.iter().any(Address::is_secure) {
            return Ok(None);
        }
        let default = TlsConfig::new();
        let tls = Tls::new(self.tls.as_ref().unwrap_or(&default))?;
        for address in addresses.iter().filter(|address| address.is_secure()) {
            tls.check(address)?;
        }
        Ok(Some(Arc::new(tls)))
    }
}

impl ChannelPoolBuilder {
    /// How long an attempt to connect may take, from the name's resolution over TCP and TLS to the
    /// server's first HTTP/2 settings. Default 20 s.
    ///
    /// Of a name with several addresses, one that takes the connection and says nothing more has no more than a part of
    /// it while others are left that have not failed: an even share, or 5 s where that is more, up to half.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.transport.connect_timeout = timeout;
        self
    }

    /// What requests carry as `:scheme` and `:authority`, instead of the endpoint's own: where a proxy
    /// or a connector stands between. What is connected to, and the name that a certificate has to
    /// bear, are the endpoint's.
    pub fn origin(mut self, origin: Uri) -> Self {
        self.transport.origin = Some(origin);
        self
    }

    /// How to do TLS with endpoints that are `https://`, and with Unix sockets. Without this, the
    /// former have the [default](TlsConfig) and the latter no TLS. Together with an `http://` endpoint it is refused.
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: TlsConfig) -> Self {
        self.transport.tls = Some(config);
        self
    }

    /// Connects through a service of one's own instead of TCP: a proxy, a tunnel, a network of a test,
    /// a stream in memory. It is given the endpoint's URI, and gives what can be read and written by
    /// tokio's traits. TLS, where the endpoint is `https://`, is done over that, as is HTTP/2. The
    /// options of TCP do not apply.
    ///
    /// Each attempt has a clone of the service, which may fail to become ready without harm to the next
    /// one. Errors count as failures to connect, with gRPC's back-off.
    ///
    /// Connectors that are made for hyper give streams with hyper's traits: wrap them in `TokioIo` of
    /// `hyper-util`, `ServiceExt::map_response(connector, TokioIo::new)`, or if they are such a wrapper,
    /// take them out with `TokioIo::into_inner`. A boxed service has to be `tower`'s
    /// `BoxCloneSyncService`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::ChannelPool;
    /// use tokio::net::TcpStream;
    ///
    /// // Everything goes to a tunnel's end on this machine.
    /// let tunnel = tower::service_fn(|_endpoint: http::Uri| TcpStream::connect("127.0.0.1:4000"));
    /// let pool = ChannelPool::builder("http://orders:50051").connector(tunnel).build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn connector<C>(mut self, connector: C) -> Self
    where
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        C::Error: Into<Box<dyn StdError + Send + Sync>>,
        C::Future: Send,
    {
        self.transport.connector = Some(Arc::new(Connector(connector)));
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::ChannelPool;

    #[cfg(not(feature = "tls"))]
    #[test]
    fn without_tls_an_endpoint_with_it_is_refused_with_the_features_to_enable() {
        let error = ChannelPool::builder("https://orders").build().unwrap_err().to_string();
        for feature in ["tls-ring", "tls-aws-lc", "tls-native-roots", "tls-webpki-roots"] {
            assert!(error.contains(feature), "{error}");
        }
    }

    #[cfg(all(feature = "tls", not(any(feature = "tls-ring", feature = "tls-aws-lc"))))]
    #[test]
    fn without_a_provider_the_features_and_methods_are_named() {
        let error = ChannelPool::builder("https://orders").build().unwrap_err().to_string();
        for way in ["tls-ring", "tls-aws-lc", "crypto_provider", "default of the process"] {
            assert!(error.contains(way), "{error}");
        }
    }

    #[cfg(all(
        any(feature = "tls-ring", feature = "tls-aws-lc"),
        not(any(feature = "tls-native-roots", feature = "tls-webpki-roots"))
    ))]
    #[test]
    fn without_roots_the_features_and_methods_are_named() {
        let error = ChannelPool::builder("https://orders").build().unwrap_err().to_string();
        for way in ["tls-native-roots", "tls-webpki-roots", "ca_certificate"] {
            assert!(error.contains(way), "{error}");
        }
    }

    #[cfg(all(any(feature = "tls-ring", feature = "tls-aws-lc"), feature = "tls-webpki-roots"))]
    #[test]
    fn mozillas_roots_make_https_work_whatever_the_system_has() {
        let tls = crate::TlsConfig::new().with_webpki_roots();
        ChannelPool::builder("https://orders").tls_config(tls).build().unwrap();
    }
}
