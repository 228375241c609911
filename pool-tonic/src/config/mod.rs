//! The builder of a [`ChannelPool`].

mod balancing;
mod calls;
mod endpoints;
mod http2;
mod life;
mod resolving;
#[cfg(feature = "service-config")]
mod service;
mod tcp;
mod transport;

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{CheckPolicy, Observer, SharedPool};

use crate::address_book::{AddressBook, Side};
use crate::balance::Ejector;
use crate::connection::DialConfig;
use crate::error::ConfigError;
use crate::manager::ConnectionManager;
use crate::pool::ChannelPool;
use crate::stats::Totals;

use self::balancing::Balancing;
use self::calls::Calls;
use self::endpoints::Endpointing;
pub use self::endpoints::Subset;
use self::life::Life;
use self::resolving::Resolving;
use self::transport::Transport;

/// What a pool makes of more than this is unlikely to be faster: connections are served by cores.
const MOST_TARGET_CONNECTIONS: usize = 4;

/// Connections that drain beside the maximum: more than calls of hours keep where servers end connections every few minutes.
const MAX_DRAINING: usize = 100;

/// Streams a connection is expected to take until its server says so: what RFC 9113, section 6.5.2 asks
/// servers not to go below.
const EXPECTED_STREAMS: usize = 100;

/// Longer times are as good as this one, and a clock could not hold them.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// Builds a [`ChannelPool`].
///
/// Made by [`ChannelPool::builder`] or [`ChannelPool::endpoints`]. The defaults are meant to be kept; the
/// settings that depend on a deployment are the maximum of connections and the timeouts.
///
/// # Examples
///
/// ```
/// use pool_tonic::ChannelPool;
/// use std::time::Duration;
///
/// let pool = ChannelPool::builder("http://orders:50051")
///     .max_connections(8)
///     .wait_timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok::<(), pool_tonic::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ChannelPoolBuilder {
    endpoints: Vec<String>,
    max_connections: usize,
    max_draining: Option<usize>,
    min_connections: usize,
    max_idle_connections: Option<usize>,
    max_streams: usize,
    target_streams: usize,
    target_connections: Option<usize>,
    transport: Transport,
    life: Life,
    calls: Calls,
    endpointing: Endpointing,
    balancing: Box<Balancing>,
    resolving: Box<Resolving>,
    name: Option<Arc<str>>,
    observer: Option<ObserverDebug>,
    runtime: Option<tokio::runtime::Handle>,
}

struct ObserverDebug(Arc<dyn Observer>);

impl std::fmt::Debug for ObserverDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl ChannelPoolBuilder {
    pub(crate) fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            max_connections: 10,
            max_draining: None,
            min_connections: 0,
            max_idle_connections: None,
            max_streams: 1000,
            target_streams: 8,
            target_connections: None,
            transport: Transport::default(),
            life: Life::default(),
            calls: Calls::default(),
            endpointing: Endpointing::default(),
            balancing: Box::default(),
            resolving: Box::default(),
            name: None,
            observer: None,
            runtime: None,
        }
    }

    /// The most connections at a time, over all endpoints, those that [drain](Self::max_draining_connections) not counted;
    /// or as many as the endpoints have [at least](Self::connections_per_endpoint), all together, where that is more.
    /// Default 10.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// How many connections may drain, close or be replaced beside [`max_connections`](Self::max_connections): all together
    /// are at most as many as both. For [`Dedicated`](crate::Dedicated) calls there are as many again. Default 100, or as
    /// many as `max_connections` if that is more.
    ///
    /// A connection that the server has ended with a GOAWAY, or that has become too old, closes with the last of its calls,
    /// which may be a stream of hours. When there are as many, no successor is made until one has closed.
    pub fn max_draining_connections(mut self, connections: usize) -> Self {
        self.max_draining = Some(connections);
        self
    }

    /// Connections kept READY without calls, over all endpoints; what each has at least is
    /// [`connections_per_endpoint`](Self::connections_per_endpoint). Default 0: the first call connects.
    pub fn min_connections(mut self, connections: usize) -> Self {
        self.min_connections = connections;
        self
    }

    /// The most connections without calls that are kept. Default: as many as there may be.
    pub fn max_idle_connections(mut self, connections: usize) -> Self {
        self.max_idle_connections = Some(connections);
        self
    }

    /// The most calls at a time on one connection, where its server allows that many. Default 1,000.
    pub fn max_streams_per_connection(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// Calls in flight per connection over which another connection is made in the background, up to
    /// [`target_connections`](Self::target_connections). Calls do not wait for it. Default 8.
    pub fn target_streams_per_connection(mut self, streams: usize) -> Self {
        self.target_streams = streams;
        self
    }

    /// How many connections are made for speed alone; more only come when the stream limit is reached.
    /// Default: as many as there are cores, at most 4.
    pub fn target_connections(mut self, connections: usize) -> Self {
        self.target_connections = Some(connections);
        self
    }

    /// What the pool is called in traces. Default: its first endpoint, and how many more there are.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Is told what happens to connections.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(ObserverDebug(observer));
        self
    }

    /// The runtime that the connections run on. Default: that of the first call.
    pub fn runtime(mut self, handle: tokio::runtime::Handle) -> Self {
        self.runtime = Some(handle);
        self
    }

    /// Builds the pool. It connects when it is first used, or at once if there is a minimum of
    /// connections.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], if an endpoint is no URI of a server, there is none, a number is out of its
    /// range, or TLS is asked for and cannot be done.
    pub fn build(mut self) -> Result<ChannelPool, ConfigError> {
        self.check()?;
        let name = self.name.unwrap_or_else(|| default_name(&self.endpoints).into());
        self.endpointing.observer.pool = Arc::clone(&name);
        let calls = self.calls.build()?;
        let upkeep = self.life.upkeep()?;
        let (addresses, dial) = self.transport.build(&self.endpoints, self.max_streams, upkeep)?;
        let found = self.resolving.build(&addresses)?;
        let most = if found.is_some() { usize::MAX } else { addresses.len() };
        let outliers = self.endpointing.build(most)?;
        self.balancing.check()?;
        // One alone is compared with nobody.
        let bell = Arc::default();
        let compares = most > 1 && (outliers.is_some() || self.balancing.weighs());
        let book =
            AddressBook::new(Arc::clone(&name), compares.then(|| self.balancing.measures(&bell)));
        let weighs = compares && self.balancing.weighs();
        let totals = Arc::new(Totals { throttle: self.calls.throttle()?, ..Totals::default() });
        let mut choice = match found {
            Some(found) => found.choice(&self.endpointing, weighs, &book, &totals),
            None => self.endpointing.choose(&book, addresses, weighs),
        };
        choice.ejector = outliers.map(|outliers| {
            let observer = self.endpointing.observer.clone();
            Arc::new(Ejector::new(outliers, Arc::clone(&totals), observer))
        });
        if let Some(groups) = choice.groups.as_ref().filter(|_| weighs) {
            choice.weigher = self.balancing.weigher(groups, bell);
        }
        let manager = |dial| {
            let (book, totals) = (Arc::clone(&book), Arc::clone(&totals));
            ConnectionManager::new(book, dial, totals, choice.clone())
        };
        let max_draining =
            self.max_draining.unwrap_or_else(|| MAX_DRAINING.max(self.max_connections));
        // One call at a time on each.
        let dedicated = DialConfig { max_streams: 1, side: Side::Dedicated, ..dial.clone() };
        let mut dedicated = SharedPool::builder(manager(dedicated))
            .name(format!("{name} (dedicated)"))
            .pick(self.balancing.pick())
            .max_size(self.calls.max_dedicated)
            .max_draining(max_draining)
            .places(1)
            .check(CheckPolicy::Never)
            .idle_timeout(self.life.idle_timeout)
            .max_lifetime(self.life.max_connection_age)
            .wait_timeout(self.calls.wait_timeout)
            // Each attempt has the connect timeout, and a creation that is overtaken by a rotation makes another one.
            .create_timeout(Duration::MAX);
        let target_connections =
            self.target_connections.unwrap_or_else(|| cores().min(MOST_TARGET_CONNECTIONS));
        let mut pool = SharedPool::builder(manager(dial))
            .name(name)
            .pick(self.balancing.pick())
            .max_size(self.max_connections)
            .max_draining(max_draining)
            .min_size(self.min_connections)
            .places(self.max_streams.min(EXPECTED_STREAMS))
            .soft_target(self.target_streams)
            .soft_max_size(target_connections.min(self.max_connections))
            // A connection says itself what becomes of it.
            .check(CheckPolicy::Never)
            .idle_timeout(self.life.idle_timeout)
            .max_lifetime(self.life.max_connection_age)
            .wait_timeout(self.calls.wait_timeout)
            // Each attempt has the connect timeout, and a creation that is overtaken by a rotation makes another one.
            .create_timeout(Duration::MAX);
        if let Some(connections) = self.max_idle_connections {
            pool = pool.max_idle(connections);
        }
        if let Some(calls) = self.calls.max_waiting {
            pool = pool.max_waiters(calls);
            dedicated = dedicated.max_waiters(calls);
        }
        if let Some(delay) = self.life.shrink_delay {
            pool = pool.shrink_delay(delay);
            dedicated = dedicated.shrink_delay(delay);
        }
        if let Some(ObserverDebug(observer)) = self.observer {
            pool = pool.observer(Arc::clone(&observer));
            dedicated = dedicated.observer(observer);
        }
        if let Some(handle) = self.runtime {
            pool = pool.runtime(handle.clone());
            dedicated = dedicated.runtime(handle);
        }
        let (pool, dedicated) = (pool.build()?, dedicated.build()?);
        let pools = [pool.downgrade(), dedicated.downgrade()];
        if let Some(groups) = &choice.groups {
            groups.attach(pools.clone());
        }
        book.attach(pools);
        Ok(ChannelPool::new(pool, dedicated, book, totals, calls))
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (setting, value) in [
            ("max_connections", self.max_connections),
            ("max_draining_connections", self.max_draining.unwrap_or(1)),
            ("max_streams_per_connection", self.max_streams),
            ("target_streams_per_connection", self.target_streams),
            ("target_connections", self.target_connections.unwrap_or(1)),
            ("max_dedicated_connections", self.calls.max_dedicated),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero { setting });
            }
        }
        if self.min_connections > self.max_connections {
            let (min, max) = (self.min_connections, self.max_connections);
            return Err(ConfigError::MinAboveMax { min, max });
        }
        self.life.check()
    }
}

fn default_name(endpoints: &[String]) -> String {
    match endpoints {
        [] => String::new(),
        [only] => only.clone(),
        [first, more @ ..] => format!("{first} and {} more", more.len()),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(builder: ChannelPoolBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_work_is_refused_when_it_is_built() {
        let ok = || ChannelPool::builder("http://orders:50051");
        assert!(ok().build().is_ok());
        assert!(error(ChannelPool::endpoints::<_, String>([])).contains("no endpoint"));
        assert!(error(ChannelPool::builder("orders")).contains("no scheme"));
        assert!(error(ok().max_connections(0)).contains("max_connections is 0"));
        assert!(error(ok().max_streams_per_connection(0)).contains("max_streams_per_connection"));
        let age = error(ok().max_connection_age(Duration::ZERO));
        assert!(age.contains("max_connection_age is zero"), "{age}");
        assert!(error(ok().idle_timeout(Duration::ZERO)).contains("idle_timeout is zero"));
        assert!(error(ok().connect_timeout(Duration::ZERO)).contains("connect_timeout is zero"));
        let timeout = error(ok().keepalive_timeout(Duration::ZERO));
        assert!(timeout.contains("keepalive_timeout is zero"), "{timeout}");
        for method in ["", "/", "no slash", "/a b", "/shop.Orders/Ping?now"] {
            let request = tonic::Request::new(bytes::Bytes::new());
            assert!(error(ok().priming(method, request)).contains("method"), "{method}");
        }
        assert!(error(ok().user_agent("a\nb")).contains("user agent"));
        let min = error(ok().min_connections(11));
        assert_eq!(min, "min_connections is 11, which is above max_connections, 10");
    }
}
