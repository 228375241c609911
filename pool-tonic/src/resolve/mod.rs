//! Where the servers are: sources of endpoints.
//!
//! A resolver turns what a pool was given, `http://orders.prod:50051`, into the set of servers that stand behind it,
//! and says so again whenever that has changed. The URI still gives the scheme, the `:authority` of requests and the
//! name that a certificate has to bear; endpoints give only where to connect to.
//!
//! ```
//! use pool_tonic::ChannelPool;
//! use pool_tonic::resolve::Dns;
//!
//! // Was: ChannelPool::builder("http://10.0.0.7:50051")
//! let pool = ChannelPool::builder("http://orders.prod:50051").resolver(Dns::new()).build()?;
//! # Ok::<(), pool_tonic::ConfigError>(())
//! ```
//!
//! # Which one for which set-up
//!
//! | behind the URI there is | what to write instead of a fixed address | changes are seen |
//! |---|---|---|
//! | one server, or a balancer (a Kubernetes Service with a cluster address, a proxy) | nothing: `ChannelPool::builder("http://orders:50051")`; where connections are balanced, with several [`connections_per_endpoint`](crate::ChannelPoolBuilder::connections_per_endpoint) | by connections that are made anew, see [`max_connection_age`](crate::ChannelPoolBuilder::max_connection_age) |
//! | a few servers that do not change | nothing: `ChannelPool::endpoints(["http://a:50051", "http://b:50051"])` | never |
//! | a name with an address for each server: a headless Service, Compose, round-robin DNS | `.resolver(Dns::new())` | at the [interval](crate::ChannelPoolBuilder::resolve_interval), 30 s, and when a connection is lost |
//! | the same, in a DNS with short TTLs or other servers than the system's: Consul, Cloud Map, Route 53 | `.resolver(Dns::hickory())`, or `hickory_with`, feature `hickory` | when the TTL is over, and when a connection is lost |
//! | services with ports of their own, in SRV records: Consul, Nomad, named ports of a headless Service | `.resolver(Dns::srv("_grpc._tcp.orders.prod"))`, feature `hickory` | the same |
//! | the pods of a Kubernetes Service of any kind, with their ports and zones | `.resolver(Kubernetes::service("orders").port("grpc"))`, feature `kubernetes`, and a role that may watch them | at once |
//! | a registry or control plane with a client of its own: etcd, `ZooKeeper`, a file that is watched | `let (feed, fed) = resolve::feed();` and `.resolver(fed)`, then `feed.set(..)` | at once |
//! | a discovery that is made for tower | `.resolver(FromDiscover::new(discover))`, feature `discover` | at once |
//! | anything else that can be asked | `.resolver(..)` of a type that implements [`Resolve`] | as it says |
//!
//! # What it promises
//!
//! - A set is applied whole: what is new can be connected to before what is gone takes no more calls, and the calls that
//!   run there finish.
//! - The last set stays in use whenever the resolver fails or gives an empty one; both are
//!   [counted](crate::ChannelCounters), told to the [observer](crate::EndpointObserver), and shown by
//!   [`resolver_status`](crate::ChannelPool::resolver_status).
//! - It is asked by a task of the pool, from the first use on: not by calls, and not more often than the
//!   [gap](crate::ChannelPoolBuilder::resolve_min_gap) allows. The task ends with the pool.
//! - Before the first set calls wait for it; if there is an error instead, they fail with it, or wait on if they
//!   [are to](crate::WaitForReady).
//! - However many endpoints there are, no more than [`max_endpoints`](crate::ChannelPoolBuilder::max_endpoints) are used.
//!
//! # A resolver of one's own
//!
//! It is asked for the whole set, and says why if there is none:
//!
//! ```
//! use pool_tonic::resolve::{Endpoint, Endpoints, Resolve, ResolveError, ResolveTarget};
//!
//! /// One `HOST:PORT` a line, in a file.
//! struct Lines(std::path::PathBuf);
//!
//! impl Resolve for Lines {
//!     async fn resolve(&mut self, target: &ResolveTarget) -> Result<Endpoints, ResolveError> {
//!         let text = std::fs::read_to_string(&self.0).map_err(|error| {
//!             ResolveError::new(format!("cannot read the servers of {target}")).with_source(error)
//!         })?;
//!         text.lines().map(str::parse::<Endpoint>).collect()
//!     }
//! }
//! ```

#[cfg(feature = "discover")]
mod discover;
mod dns;
mod endpoints;
mod error;
mod feed;
#[cfg(feature = "hickory")]
mod hickory;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod schedule;
mod sites;
mod status;
mod target;
mod task;

use std::future::Future;

#[cfg(feature = "discover")]
pub use self::discover::FromDiscover;
pub use self::dns::Dns;
pub use self::endpoints::{Endpoint, Endpoints};
pub use self::error::ResolveError;
pub use self::feed::{EndpointFeed, Fed, feed};
#[cfg(feature = "hickory")]
pub use self::hickory::{DnsConfig, DnsSrv, HickoryDns};
#[cfg(feature = "kubernetes")]
pub use self::kubernetes::{Kubernetes, PodPort};
pub(crate) use self::schedule::Timing;
pub(crate) use self::sites::Locality;
pub use self::status::ResolverStatus;
pub use self::target::ResolveTarget;
pub(crate) use self::task::{Outlet, Resolver, Source};

/// How a resolver is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResolveMode {
    /// It is asked again at intervals, and when a connection was lost or could not be made. A question may take 5
    /// seconds.
    #[default]
    Poll,
    /// It is asked again at once, and answers when there is something new. A question may take any time.
    Push,
}

/// A source of endpoints.
///
/// It is driven by one task of the pool, which asks one question at a time, from the first use of the pool on. See
/// the [module](self) for an example.
pub trait Resolve: Send + 'static {
    /// Whether it is polled, or says by itself when there is something new. Asked once.
    fn mode(&self) -> ResolveMode {
        ResolveMode::Poll
    }

    /// The endpoints, all of them: what is missing in a set and was in the one before is used no more, and its
    /// connections finish their calls. Those given twice are one.
    ///
    /// In [push](ResolveMode::Push) mode the first question is answered as soon as a set is known, and each further
    /// one when there is another; `self` keeps what is needed between them.
    ///
    /// # Errors
    ///
    /// [`ResolveError`], if they are not known. The last set stays in use, as it does if the set is empty, and the
    /// question is asked again.
    ///
    /// # Cancel safety
    ///
    /// An implementation has to bear that the future is dropped: a question that is polled, when it takes too long,
    /// and each when the pool is closed. The pool asks again in the first case.
    fn resolve(
        &mut self,
        target: &ResolveTarget,
    ) -> impl Future<Output = Result<Endpoints, ResolveError>> + Send;
}
