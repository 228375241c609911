//! Settings of where endpoints come from.

use std::sync::Arc;
use std::time::Duration;

use super::endpoints::Endpointing;
use super::{ChannelPoolBuilder, FAR};
use crate::address::{Address, Target};
use crate::address_book::AddressBook;
use crate::error::ConfigError;
use crate::manager::Choice;
use crate::resolve::{Locality, Outlet, Resolve, ResolveTarget, Resolver, Source, Timing};
use crate::stats::Totals;

#[derive(Debug)]
pub(super) struct Resolving {
    source: Option<Source>,
    interval: Duration,
    min_gap: Duration,
    locality: Locality,
}

impl Default for Resolving {
    fn default() -> Self {
        Self {
            source: None,
            interval: Duration::from_secs(30),
            min_gap: Duration::from_secs(5),
            locality: Locality::default(),
        }
    }
}

impl Resolving {
    /// `None` without a resolver.
    pub(super) fn build(&mut self, addresses: &[Address]) -> Result<Option<Found>, ConfigError> {
        let timing = self.timing()?;
        let Some(source) = self.source.take() else { return Ok(None) };
        let target = target(addresses)?;
        let locality = std::mem::take(&mut self.locality);
        Ok(Some(Found { source, target, timing, locality }))
    }

    fn timing(&self) -> Result<Timing, ConfigError> {
        for (setting, time) in
            [("resolve_interval", self.interval), ("resolve_min_gap", self.min_gap)]
        {
            if time.is_zero() {
                return Err(ConfigError::ZeroTime { setting });
            }
        }
        if self.interval < self.min_gap {
            return Err(ConfigError::TimeOutOfRange {
                setting: "resolve_interval",
                time: self.interval,
                min: self.min_gap,
                max: Duration::MAX,
            });
        }
        let (interval, min_gap) = (self.interval.min(FAR), self.min_gap.min(FAR));
        Ok(Timing { interval, min_gap })
    }
}

/// What finds the endpoints.
pub(super) struct Found {
    source: Source,
    target: (ResolveTarget, Address),
    timing: Timing,
    locality: Locality,
}

impl Found {
    /// It chooses among what the resolver gives, also where that is little.
    pub(super) fn choice(
        self,
        endpointing: &Endpointing,
        weighs: bool,
        book: &Arc<AddressBook>,
        totals: &Arc<Totals>,
    ) -> Choice {
        let spread = endpointing.spread(book);
        let groups = endpointing.groups(weighs);
        let outlet = Outlet {
            book: Arc::clone(book),
            spread: Arc::clone(&spread),
            groups: Arc::clone(&groups),
            totals: Arc::clone(totals),
            observer: endpointing.observer.clone(),
            locality: self.locality,
        };
        let resolver = Resolver::new(self.source, self.target, self.timing, outlet);
        let (spread, resolver, groups) = (Some(spread), Some(resolver), Some(groups));
        Choice { spread, resolver, groups, ..Choice::default() }
    }
}

/// What a resolver is asked for: the pool's one URI.
fn target(addresses: &[Address]) -> Result<(ResolveTarget, Address), ConfigError> {
    if let [address] = addresses
        && let Target::Tcp { host, port, .. } = address.target()
    {
        return Ok((ResolveTarget::new(host, *port, address.is_secure()), address.clone()));
    }
    Err(ConfigError::ResolverTarget { given: addresses.len() })
}

impl ChannelPoolBuilder {
    /// Finds the servers behind the pool's URI: `http://HOST[:PORT]` or `https://HOST[:PORT]`, one alone. What finds
    /// them is said in [`resolve`](crate::resolve).
    ///
    /// The URI gives the scheme, the `:authority` of requests and the name that certificates have to bear; the
    /// endpoints give only where to connect to. The resolver is asked when the pool is first used, or at once if there
    /// is a minimum of connections. Until it has answered, calls wait; if it fails before it has ever answered, they
    /// fail with its error. What it gave last stays in use whenever it fails later.
    ///
    /// # Panics
    ///
    /// When the resolver's [`mode`](Resolve::mode) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::ChannelPool;
    /// use pool_tonic::resolve::{Endpoint, Endpoints, Resolve, ResolveError, ResolveTarget};
    ///
    /// struct Ports(std::ops::Range<u16>);
    ///
    /// impl Resolve for Ports {
    ///     async fn resolve(&mut self, target: &ResolveTarget) -> Result<Endpoints, ResolveError> {
    ///         Ok(self.0.clone().map(|port| Endpoint::new(target.host()).port(port)).collect())
    ///     }
    /// }
    ///
    /// let pool = ChannelPool::builder("http://orders.prod:50051").resolver(Ports(50051..50054)).build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolving.source = Some(Source::new(resolver));
        self
    }

    /// How often a resolver that is [polled](crate::resolve::ResolveMode::Poll) is asked, up to 20 % sooner or later.
    /// Default 30 s, and no less than [`resolve_min_gap`](Self::resolve_min_gap).
    ///
    /// Sooner if an answer says that it is valid for less, or if a connection was lost or could not be made. If it
    /// fails, it is asked again after 1 s, 1.6 s, 2.56 s, ... up to this interval.
    pub fn resolve_interval(mut self, interval: Duration) -> Self {
        self.resolving.interval = interval;
        self
    }

    /// The least time between an answer of the resolver and the next question, for whatever reason. Default 5 s. While
    /// nothing is READY it is no longer than 1 s.
    pub fn resolve_min_gap(mut self, gap: Duration) -> Self {
        self.resolving.min_gap = gap;
        self
    }

    /// The zone that this client runs in: endpoints that their resolver says are in the same zone are used, and others
    /// only while all of those fail. Default: none is nearer.
    ///
    /// Calls go to those of the zone alone, however many clients there are in it: make sure that they can bear it.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.resolving.locality.zone = Some(zone.into());
        self
    }

    /// The region that this client runs in: endpoints in it come after those of its [`zone`](Self::zone) and before
    /// the others. Default: none is nearer.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.resolving.locality.region = Some(region.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChannelPool;
    use crate::resolve::{Endpoint, Endpoints, ResolveError};

    struct Nowhere;

    impl Resolve for Nowhere {
        async fn resolve(&mut self, _: &ResolveTarget) -> Result<Endpoints, ResolveError> {
            Ok([Endpoint::new("10.0.0.1")].into_iter().collect())
        }
    }

    fn error(builder: ChannelPoolBuilder) -> String {
        builder.resolver(Nowhere).build().unwrap_err().to_string()
    }

    #[test]
    fn a_resolver_takes_one_name_and_times_that_fit() {
        let ok = || ChannelPool::builder("http://orders:50051").resolver(Nowhere);
        assert!(ok().build().is_ok());
        assert!(ok().resolve_interval(Duration::MAX).build().is_ok());
        let several = ChannelPool::endpoints(["http://a", "http://b"]);
        assert!(error(several).contains("and there are 2"));
        #[cfg(unix)]
        assert!(error(ChannelPool::builder("unix:a")).contains("not of a Unix socket"));
        assert!(error(ok().resolve_interval(Duration::ZERO)).contains("resolve_interval is zero"));
        assert!(error(ok().resolve_min_gap(Duration::ZERO)).contains("resolve_min_gap is zero"));
        let short = error(ok().resolve_interval(Duration::from_secs(1)));
        assert!(short.contains("resolve_interval is 1s, and has to be from 5s"), "{short}");
    }
}
