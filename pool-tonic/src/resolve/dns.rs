//! DNS.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};

use tokio::task::{JoinHandle, spawn_blocking};

use super::{Endpoint, Endpoints, Resolve, ResolveError, ResolveTarget};

/// The addresses that the system finds for the host of the pool's URI, by DNS as a rule, with its port.
///
/// The system does not say for how long they are valid, so changes are seen at the
/// [interval](crate::ChannelPoolBuilder::resolve_interval). Behind a name there have to be several addresses for this to
/// be of use: in Kubernetes, those of a headless service.
///
/// The system blocks a thread while it asks: at most one for each pool, however long it takes.
///
/// # Examples
///
/// ```
/// use pool_tonic::ChannelPool;
/// use pool_tonic::resolve::Dns;
///
/// let pool = ChannelPool::builder("http://orders.prod:50051").resolver(Dns::new()).build()?;
/// # Ok::<(), pool_tonic::ConfigError>(())
/// ```
#[derive(Debug, Default)]
pub struct Dns {
    /// Of a question that was given up, and that the system goes on with.
    lookup: Option<JoinHandle<io::Result<Endpoints>>>,
}

impl Dns {
    /// By the system's resolver.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Resolve for Dns {
    async fn resolve(&mut self, target: &ResolveTarget) -> Result<Endpoints, ResolveError> {
        if let Ok(ip) = target.host().parse::<IpAddr>() {
            return Ok([Endpoint::from(ip)].into_iter().collect());
        }
        let lookup = self.lookup.get_or_insert_with(|| {
            let (host, port) = (target.host().to_owned(), target.port());
            spawn_blocking(move || {
                let found = (host, port).to_socket_addrs()?;
                Ok(found.map(|addr| Endpoint::from(addr.ip())).collect())
            })
        });
        let found = lookup.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.lookup = None;
        found.map_err(|error| ResolveError::new("the system found no address").with_source(error))
    }
}
