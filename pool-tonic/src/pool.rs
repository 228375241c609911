//! [`ChannelPool`]: the handle.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::HeaderValue;
use pool_core::{Recent, SharedPool};
use tokio::time::Instant;
use tonic::Status;

use crate::address_book::{AddressBook, Side};
use crate::balance::EndpointEvent;
use crate::call;
use crate::channel::PooledChannel;
use crate::config::ChannelPoolBuilder;
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;
use crate::exclusive::ExclusiveChannel;
use crate::manager::ConnectionManager;
use crate::resolve::ResolverStatus;
use crate::retry::Rules;
use crate::state_watch::StateWatch;
use crate::stats::{
    AddressStatus, ChannelCounters, ChannelSnapshot, ChannelStatus, ConnectionStatus, Totals,
};

/// What calls need to know.
#[derive(Debug)]
pub(crate) struct CallConfig {
    pub(crate) user_agent: HeaderValue,
    pub(crate) retry_buffer_size: usize,
    pub(crate) max_transparent_retries: u32,
    pub(crate) wait_timeout: Duration,
    pub(crate) wait_for_ready: bool,
    pub(crate) retry: Option<Rules>,
    #[cfg(feature = "tracing")]
    pub(crate) propagate: Option<crate::trace::Propagate>,
}

/// What the handles, channels and calls of one pool share.
pub(crate) struct Shared {
    pool: SharedPool<ConnectionManager>,
    /// Connections that carry one call at a time.
    dedicated: SharedPool<ConnectionManager>,
    book: Arc<AddressBook>,
    totals: Arc<Totals>,
    calls: CallConfig,
}

impl Shared {
    pub(crate) fn pool(&self) -> &SharedPool<ConnectionManager> {
        &self.pool
    }

    pub(crate) fn dedicated(&self) -> &SharedPool<ConnectionManager> {
        &self.dedicated
    }

    pub(crate) fn side(&self, side: Side) -> &SharedPool<ConnectionManager> {
        match side {
            Side::Shared => &self.pool,
            Side::Dedicated => &self.dedicated,
        }
    }

    pub(crate) fn book(&self) -> &AddressBook {
        &self.book
    }

    pub(crate) fn totals(&self) -> &Arc<Totals> {
        &self.totals
    }

    pub(crate) fn calls(&self) -> &CallConfig {
        &self.calls
    }
}

/// A pool of gRPC connections to one server, or to several that are alike. Cheap to clone; closed when
/// its last handle, channel and call are gone. See [`close`](Self::close) for an end in good order.
///
/// Connections are made when calls need them and shared by many calls, never by more than the server
/// allows: further calls wait, first come, first served. A connection that the server ends with a GOAWAY
/// finishes its calls while a successor takes new ones.
///
/// # Examples
///
/// ```
/// use pool_tonic::ChannelPool;
///
/// let pool = ChannelPool::endpoints(["http://a:50051", "http://b:50051"])
///     .max_connections(8)
///     .build()?;
/// let channel = pool.channel(); // for `OrdersClient::new(channel)`
/// println!("{}", pool.state());
/// # Ok::<(), pool_tonic::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct ChannelPool {
    pub(crate) shared: Arc<Shared>,
}

impl ChannelPool {
    /// Begins a pool of connections to one server, `http://HOST[:PORT]`.
    pub fn builder(endpoint: impl Into<String>) -> ChannelPoolBuilder {
        ChannelPoolBuilder::new(vec![endpoint.into()])
    }

    /// Begins a pool of connections to several servers that are alike. Each new connection goes to the one
    /// with the fewest; one that cannot be connected to is left alone for its back-off.
    pub fn endpoints<I, S>(endpoints: I) -> ChannelPoolBuilder
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        ChannelPoolBuilder::new(endpoints.into_iter().map(Into::into).collect())
    }

    pub(crate) fn new(
        pool: SharedPool<ConnectionManager>,
        dedicated: SharedPool<ConnectionManager>,
        book: Arc<AddressBook>,
        totals: Arc<Totals>,
        calls: CallConfig,
    ) -> Self {
        Self::from_shared(Arc::new(Shared { pool, dedicated, book, totals, calls }))
    }

    pub(crate) fn from_shared(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A channel for generated clients.
    pub fn channel(&self) -> PooledChannel {
        PooledChannel::new(Arc::clone(&self.shared))
    }

    /// What the pool [is called](ChannelPoolBuilder::name).
    pub fn name(&self) -> &str {
        self.shared.book.name()
    }

    /// The connectivity state over all addresses.
    pub fn state(&self) -> ConnectivityState {
        self.shared.book.state()
    }

    /// Watches the connectivity state.
    pub fn watch(&self) -> StateWatch {
        self.shared.book.watch()
    }

    /// How the pool stands.
    pub fn status(&self) -> ChannelStatus {
        let Shared { pool, dedicated, .. } = &*self.shared;
        ChannelStatus::new(self.state(), &pool.status(), &dedicated.status())
    }

    /// All numbers at once: [`status`](Self::status), [`counters`](Self::counters), and those of the
    /// [`connections`](Self::connections) below.
    pub fn snapshot(&self) -> ChannelSnapshot {
        let pool_core::Snapshot {
            status: connections,
            counters: connection_counters,
            timings: connection_timings,
            ..
        } = self.shared.pool.snapshot();
        let pool_core::Snapshot {
            status: dedicated,
            counters: dedicated_counters,
            timings: dedicated_timings,
            ..
        } = self.shared.dedicated.snapshot();
        ChannelSnapshot {
            status: ChannelStatus::new(self.state(), &connections, &dedicated),
            counters: self.counters(),
            connections,
            connection_counters,
            connection_timings,
            dedicated,
            dedicated_counters,
            dedicated_timings,
        }
    }

    /// How each address stands, in the order in which they were given.
    pub fn addresses(&self) -> Vec<AddressStatus> {
        let groups = self.shared.pool.groups();
        let groups = groups.iter().filter(|group| !group.retired);
        let weights: BTreeMap<_, _> =
            groups.map(|group| (group.id.0, f64::from(group.weight.get()))).collect();
        let all: f64 = weights.values().sum();
        let share = |(key, status)| AddressStatus {
            share: weights.get(&key).map(|weight| weight / all),
            ..status
        };
        self.shared.book.snapshot().into_iter().map(share).collect()
    }

    /// The latest events of endpoints, 128 of them at most, the oldest first: what an
    /// [`EndpointObserver`](crate::EndpointObserver) was told, kept for those who come to look afterwards, a long text
    /// without its end. Those of connections are at [`connections`](Self::connections)`().recent_events()`.
    pub fn recent_endpoint_events(&self) -> Vec<Recent<EndpointEvent>> {
        self.shared.totals.recent.list()
    }

    /// The connectivity states that the pool was in last, 128 of them at most, the oldest first. It begins
    /// `Idle`, which is not among them.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn show(pool: &pool_tonic::ChannelPool) {
    /// for recent in pool.recent_states() {
    ///     println!("{:?} ago: {}", recent.at.elapsed(), recent.event);
    /// }
    /// # }
    /// ```
    pub fn recent_states(&self) -> Vec<Recent<ConnectivityState>> {
        self.shared.book.recent.list()
    }

    /// What the pool has done since it was built.
    pub fn counters(&self) -> ChannelCounters {
        self.shared.totals.snapshot()
    }

    /// How the [resolver](crate::resolve) stands, if the pool has one.
    pub fn resolver_status(&self) -> Option<ResolverStatus> {
        self.shared.pool.manager().resolver().map(|resolver| resolver.status())
    }

    /// Why the last attempt to connect failed, if the address has not been connected to since.
    pub fn last_error(&self) -> Option<ConnectError> {
        self.shared.book.last_error()
    }

    /// The pool of connections below, for its own numbers.
    pub fn connections(&self) -> &SharedPool<ConnectionManager> {
        &self.shared.pool
    }

    /// The pool of connections that carry one call at a time, for its own numbers.
    pub fn dedicated_connections(&self) -> &SharedPool<ConnectionManager> {
        &self.shared.dedicated
    }

    /// Takes a connection for oneself. Waits for one at most for the wait timeout; there are at most
    /// [`max_dedicated_connections`](ChannelPoolBuilder::max_dedicated_connections) of them, together with those of
    /// [`Dedicated`](crate::Dedicated) calls.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE`, if no address can be connected to or no connection became free in time;
    /// `RESOURCE_EXHAUSTED`, if too many wait already.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it gives up its turn. An attempt to connect that it has started goes on.
    ///
    /// # Examples
    ///
    /// See [`ExclusiveChannel`].
    pub async fn exclusive(&self) -> Result<ExclusiveChannel, Status> {
        let through_failures = self.shared.calls.wait_for_ready;
        let shared = &self.shared;
        let lease = if let Some(lease) = shared.dedicated.try_get_owned() {
            lease
        } else {
            let began = Instant::now();
            let until = began + shared.calls.wait_timeout;
            call::slot_until(shared, Side::Dedicated, until, through_failures)
                .await
                .map_err(|none| none.status(shared, None, began.elapsed()))?
        };
        Ok(ExclusiveChannel::new(Arc::clone(shared), lease))
    }

    /// Every connection, in the order in which they were begun: those that connect and those that close,
    /// too.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_tonic::ChannelPool;
    ///
    /// let pool = ChannelPool::builder("http://orders:50051").build()?;
    /// for connection in pool.connection_list() {
    ///     println!("{} {} {} calls", connection.address, connection.state, connection.streams);
    /// }
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn connection_list(&self) -> Vec<ConnectionStatus> {
        self.shared.book.register().list(&self.shared.pool.list(), &self.shared.dedicated.list())
    }

    /// Ends the back-off of every address: what is wanted is dialled at once. For when it is known that the
    /// servers, or the way to them, are there again.
    pub fn reset_backoff(&self) {
        self.shared.book.reset_backoff();
        self.shared.pool.reset_backoff();
        self.shared.dedicated.reset_backoff();
    }

    /// A handle that does not keep the pool open.
    pub fn downgrade(&self) -> WeakChannelPool {
        WeakChannelPool { shared: Arc::downgrade(&self.shared) }
    }

    /// Is the pool closed?
    pub fn is_closed(&self) -> bool {
        self.shared.pool.is_closed()
    }
}

/// A handle of a [`ChannelPool`] that does not keep it open.
#[derive(Clone)]
pub struct WeakChannelPool {
    shared: Weak<Shared>,
}

impl WeakChannelPool {
    /// The pool, unless its last handle, channel and call are gone.
    pub fn upgrade(&self) -> Option<ChannelPool> {
        self.shared.upgrade().map(ChannelPool::from_shared)
    }
}

impl fmt::Debug for WeakChannelPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakChannelPool")
    }
}

impl fmt::Debug for ChannelPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelPool")
            .field("addresses", &format_args!("{}", self.shared.book))
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
