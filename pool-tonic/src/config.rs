//! The builder of a [`ChannelPool`].

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use pool_core::{CheckPolicy, Observer, SharedPool};

use crate::address::Address;
use crate::address_book::AddressBook;
use crate::connection::DialConfig;
use crate::error::ConfigError;
use crate::manager::ConnectionManager;
use crate::pool::{CallConfig, ChannelPool};
use crate::stats::Totals;

/// What a pool makes of more than this is unlikely to be faster: connections are served by cores.
const MOST_TARGET_CONNECTIONS: usize = 4;

/// Streams a connection is expected to take until its server says so: what RFC 9113, section 6.5.2 asks
/// servers not to go below.
const EXPECTED_STREAMS: usize = 100;

/// How much longer than the connect timeout the pool below waits, so that the error that names the
/// address and the phase comes first.
const CONNECT_SLACK: Duration = Duration::from_secs(1);

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
    min_connections: usize,
    max_idle_connections: Option<usize>,
    max_streams: usize,
    target_streams: usize,
    target_connections: Option<usize>,
    max_waiting: Option<usize>,
    wait_timeout: Duration,
    connect_timeout: Duration,
    idle_timeout: Option<Duration>,
    max_connection_age: Option<Duration>,
    shrink_delay: Option<Duration>,
    retry_buffer_size: usize,
    max_transparent_retries: u32,
    user_agent: Option<String>,
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
            min_connections: 0,
            max_idle_connections: None,
            max_streams: 1000,
            target_streams: 8,
            target_connections: None,
            max_waiting: None,
            wait_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            max_connection_age: Some(Duration::from_secs(30 * 60)),
            shrink_delay: None,
            retry_buffer_size: 256 * 1024,
            max_transparent_retries: 16,
            user_agent: None,
            observer: None,
            runtime: None,
        }
    }

    /// The most connections at a time, over all endpoints, those that drain not counted. Default 10.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Connections kept READY without calls. Default 0: the first call connects.
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

    /// The most calls that may wait for a stream slot; further ones fail with `RESOURCE_EXHAUSTED`.
    /// Default: the pool's own, which is a limit against faults.
    pub fn max_waiting_calls(mut self, calls: usize) -> Self {
        self.max_waiting = Some(calls);
        self
    }

    /// How long a call without a deadline waits for a stream slot, before it fails with `UNAVAILABLE`.
    /// Default 30 s. A call with a deadline (`grpc-timeout`) waits until that.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.wait_timeout = timeout;
        self
    }

    /// How long an attempt to connect may take, from the name's resolution to the server's first HTTP/2
    /// settings. Default 20 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a connection without calls is kept; `None` keeps it. Default 10 min.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// After this time (less a jitter) a connection takes no more calls and is replaced; `None` never
    /// does so. Default 30 min. Below the age at which the server ends connections it
    /// spares calls that server's ways of doing so.
    pub fn max_connection_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_connection_age = age.into();
        self
    }

    /// For how long there have to be more connections than the calls need until one goes. Default: the
    /// pool's own, 30 s.
    pub fn shrink_delay(mut self, delay: Duration) -> Self {
        self.shrink_delay = Some(delay);
        self
    }

    /// How much of a streaming request is kept so that it can be sent again, in bytes. Default 256 KiB.
    /// A request of one message is kept whatever its size.
    pub fn retry_buffer_size(mut self, bytes: usize) -> Self {
        self.retry_buffer_size = bytes;
        self
    }

    /// How often a call that provably was not processed is sent again. Default 16. A call that never
    /// left the client is not counted.
    pub fn max_transparent_retries(mut self, retries: u32) -> Self {
        self.max_transparent_retries = retries;
        self
    }

    /// What the `user-agent` header begins with; this crate's name and version follow.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
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
    /// [`ConfigError`], if an endpoint is no URI of a server without TLS, there is none, or a number is
    /// out of its range.
    pub fn build(self) -> Result<ChannelPool, ConfigError> {
        let addresses: Vec<Address> = self
            .endpoints
            .iter()
            .map(|endpoint| Address::parse(endpoint))
            .collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        for (setting, value) in [
            ("max_connections", self.max_connections),
            ("max_streams_per_connection", self.max_streams),
            ("target_streams_per_connection", self.target_streams),
            ("target_connections", self.target_connections.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero { setting });
            }
        }
        // The pool below would refuse these too, by names that are not this builder's.
        for (setting, time) in [
            ("connect_timeout", Some(self.connect_timeout)),
            ("idle_timeout", self.idle_timeout),
            ("max_connection_age", self.max_connection_age),
        ] {
            if time == Some(Duration::ZERO) {
                return Err(ConfigError::ZeroTime { setting });
            }
        }
        if self.min_connections > self.max_connections {
            let (min, max) = (self.min_connections, self.max_connections);
            return Err(ConfigError::MinAboveMax { min, max });
        }
        let calls = CallConfig {
            user_agent: user_agent(self.user_agent.as_deref())?,
            retry_buffer_size: self.retry_buffer_size,
            max_transparent_retries: self.max_transparent_retries,
        };
        let book = AddressBook::new(addresses);
        let totals = Arc::new(Totals::default());
        let dial =
            DialConfig { connect_timeout: self.connect_timeout, max_streams: self.max_streams };
        let manager = ConnectionManager::new(Arc::clone(&book), dial, Arc::clone(&totals));
        let target_connections =
            self.target_connections.unwrap_or_else(|| cores().min(MOST_TARGET_CONNECTIONS));
        let mut pool = SharedPool::builder(manager)
            .max_size(self.max_connections)
            .min_size(self.min_connections)
            .places(self.max_streams.min(EXPECTED_STREAMS))
            .soft_target(self.target_streams)
            .soft_max_size(target_connections.min(self.max_connections))
            // A connection says itself what becomes of it.
            .check(CheckPolicy::Never)
            .idle_timeout(self.idle_timeout)
            .max_lifetime(self.max_connection_age)
            .wait_timeout(self.wait_timeout)
            .create_timeout(self.connect_timeout.saturating_add(CONNECT_SLACK));
        if let Some(connections) = self.max_idle_connections {
            pool = pool.max_idle(connections);
        }
        if let Some(calls) = self.max_waiting {
            pool = pool.max_waiters(calls);
        }
        if let Some(delay) = self.shrink_delay {
            pool = pool.shrink_delay(delay);
        }
        if let Some(ObserverDebug(observer)) = self.observer {
            pool = pool.observer(observer);
        }
        if let Some(handle) = self.runtime {
            pool = pool.runtime(handle);
        }
        Ok(ChannelPool::new(pool.build()?, book, totals, calls))
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn user_agent(name: Option<&str>) -> Result<HeaderValue, ConfigError> {
    const OWN: &str = concat!("pool-tonic/", env!("CARGO_PKG_VERSION"));
    let Some(name) = name else {
        return Ok(HeaderValue::from_static(OWN));
    };
    HeaderValue::try_from(format!("{name} {OWN}"))
        .map_err(|_| ConfigError::UserAgent { value: name.to_owned() })
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
        assert!(error(ChannelPool::builder("https://orders")).contains("TLS"));
        assert!(error(ok().max_connections(0)).contains("max_connections is 0"));
        assert!(error(ok().max_streams_per_connection(0)).contains("max_streams_per_connection"));
        let age = error(ok().max_connection_age(Duration::ZERO));
        assert!(age.contains("max_connection_age is zero"), "{age}");
        assert!(error(ok().idle_timeout(Duration::ZERO)).contains("idle_timeout is zero"));
        assert!(error(ok().connect_timeout(Duration::ZERO)).contains("connect_timeout is zero"));
        assert!(error(ok().user_agent("a\nb")).contains("user agent"));
        let min = error(ok().min_connections(11));
        assert_eq!(min, "min_connections is 11, which is above max_connections, 10");
    }

    #[test]
    fn the_user_agent_begins_with_the_users_name() {
        let agent = user_agent(Some("shop/2")).unwrap();
        assert!(agent.to_str().unwrap().starts_with("shop/2 pool-tonic/"));
    }
}
