//! DNS by hickory, which tells TTLs and other records than addresses.
//!
//! - `config.rs`: whom it asks
//! - `lookup.rs`: questions to DNS, and what their answers mean
//! - `srv.rs`: services

mod config;
mod lookup;
mod srv;

use super::dns::Dns;
use super::{Endpoints, Resolve, ResolveError, ResolveTarget};
use lookup::{Client, Families};

pub use config::DnsConfig;
pub use srv::DnsSrv;

/// The addresses that DNS has for the host of the pool's URI, A and AAAA, with the URI's port. From
/// [`Dns::hickory`].
///
/// It is asked again when the first of their TTLs is over, or at the
/// [interval](crate::ChannelPoolBuilder::resolve_interval), whichever is sooner, and keeps no answers of its own. Each
/// address is an endpoint: a server that has one of either kind is two.
#[derive(Debug)]
pub struct HickoryDns {
    client: Client,
    families: Families,
}

impl Dns {
    /// By hickory instead of the system's resolver, from the servers that the system is set to: it follows TTLs, and
    /// blocks no thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::ChannelPool;
    /// use pool_tonic::resolve::Dns;
    ///
    /// let pool = ChannelPool::builder("http://orders.prod:50051").resolver(Dns::hickory()).build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn hickory() -> HickoryDns {
        Self::hickory_with(DnsConfig::system())
    }

    /// The same, from other servers.
    pub fn hickory_with(config: DnsConfig) -> HickoryDns {
        HickoryDns { client: Client::new(config), families: Families::default() }
    }

    /// Services: `_SERVICE._PROTO.NAME`, such as `_grpc._tcp.orders.prod` (RFC 2782). They say the ports, so that of the
    /// pool's URI is not used.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::ChannelPool;
    /// use pool_tonic::resolve::Dns;
    ///
    /// let pool = ChannelPool::builder("http://orders.prod")
    ///     .resolver(Dns::srv("_grpc._tcp.orders.prod"))
    ///     .build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn srv(name: impl Into<String>) -> DnsSrv {
        Self::srv_with(name, DnsConfig::system())
    }

    /// The same, from other servers.
    pub fn srv_with(name: impl Into<String>, config: DnsConfig) -> DnsSrv {
        DnsSrv::new(name.into(), Client::new(config))
    }
}

impl Resolve for HickoryDns {
    async fn resolve(&mut self, target: &ResolveTarget) -> Result<Endpoints, ResolveError> {
        let resolver = self.client.take()?;
        let found = lookup::addresses(&resolver, target.host(), &mut self.families).await?;
        self.client.keep(resolver);
        let endpoints: Endpoints = found.ips.into_iter().collect();
        Ok(match found.ttl {
            Some(ttl) => endpoints.ttl(ttl),
            None => endpoints,
        })
    }
}
