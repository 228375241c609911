//! Which DNS servers are asked, and how.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use crate::resolve::ResolveError;

/// How long one try may take by default, so that there is time for a second one within what the pool allows.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Tries after the first.
const RETRIES: usize = 1;

/// Which DNS servers are asked, and how. The default is what the system says (`/etc/resolv.conf`).
///
/// # Examples
///
/// ```
/// use pool_tonic::ChannelPool;
/// use pool_tonic::resolve::{Dns, DnsConfig};
///
/// let consul = DnsConfig::servers([([127, 0, 0, 1], 8600).into()]);
/// let pool = ChannelPool::builder("http://orders.service.consul:50051")
///     .resolver(Dns::hickory_with(consul))
///     .build()?;
/// # Ok::<(), pool_tonic::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct DnsConfig {
    /// Empty for those of the system.
    servers: Vec<SocketAddr>,
    timeout: Option<Duration>,
}

impl DnsConfig {
    /// Those of the system, with its search domains. They are read again after a failure.
    pub fn system() -> Self {
        Self::default()
    }

    /// These, over UDP, and over TCP where an answer is too large for that. Names are taken as whole.
    pub fn servers(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { servers: servers.into_iter().collect(), timeout: None }
    }

    /// How long a server has for an answer, until it is asked once more. Default 2 s. The pool waits for no more than
    /// 5 s in all.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(super) fn build(&self) -> Result<TokioResolver, ResolveError> {
        let builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            Ok(TokioResolver::builder_with_config(self.given(), TokioRuntimeProvider::default()))
        };
        let built = builder.and_then(|mut builder| {
            self.set(builder.options_mut());
            builder.build()
        });
        let what = "the configuration of DNS cannot be used";
        built.map_err(|error| ResolveError::new(what).with_source(error))
    }

    fn given(&self) -> ResolverConfig {
        let server = |addr: &SocketAddr| {
            let mut ways = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for way in &mut ways {
                way.port = addr.port();
            }
            NameServerConfig::new(addr.ip(), true, ways)
        };
        ResolverConfig::from_name_servers(self.servers.iter().map(server).collect())
    }

    fn set(&self, options: &mut ResolverOpts) {
        options.timeout = self.timeout.unwrap_or_else(|| options.timeout.min(TIMEOUT));
        options.attempts = RETRIES;
        // A connection was lost, and the pool asks whether its server is still there: what was true before is no
        // answer. The pool itself does not ask before the TTL is over without a reason.
        options.cache_size = 0;
    }
}
