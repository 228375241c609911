//! Where the servers are: sources of endpoints.
//!
//! A resolver turns what a pool was given, `http://orders.prod:50051`, into the set of servers that stand behind it,
//! and says so again whenever that has changed. The URI still gives the scheme, the `:authority` of requests and the
//! name that a certificate has to bear; endpoints give only where to connect to.
//!
//! # A resolver of one's own
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
