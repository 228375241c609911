//! A connection that one holder has for itself.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use pool_core::SharedLease;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::call::{self, Passed, Source, timer, within};
use crate::channel::ResponseFuture;
use crate::connection::Connection;
use crate::manager::ConnectionManager;
use crate::options::ServedBy;
use crate::pool::Shared;

/// A channel over one connection that nobody else uses, taken by
/// [`ChannelPool::exclusive`](crate::ChannelPool::exclusive): for a server that keeps something per connection, or for calls
/// that are to fail when that very connection does. Everybody else uses a
/// [`PooledChannel`](crate::PooledChannel).
///
/// A `tower` service as that one is, with the same deadlines and errors, and with these differences:
///
/// - All calls go on the one connection, one at a time: a call waits until the one before has ended, its response
///   read or dropped. At most [`max_waiting_calls`](crate::ChannelPoolBuilder::max_waiting_calls) wait for that, which are
///   their holder's affair and in no count.
/// - When the connection takes no more calls (lost, or a GOAWAY), calls fail with `UNAVAILABLE`: take
///   another one then. No call is sent again elsewhere.
///
/// The connection goes back when the channel, its clones and their calls are gone.
///
/// # Examples
///
/// ```no_run
/// use pool_tonic::ChannelPool;
/// # struct OrdersClient<T>(T);
/// # impl<T> OrdersClient<T> { fn new(channel: T) -> Self { Self(channel) } }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = ChannelPool::builder("http://orders:50051").max_dedicated_connections(4).build()?;
/// let mine = pool.exclusive().await?;
/// let orders = OrdersClient::new(mine);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ExclusiveChannel {
    shared: Arc<Shared>,
    exclusive: Arc<Exclusive>,
}

impl ExclusiveChannel {
    pub(crate) fn new(shared: Arc<Shared>, lease: SharedLease<'static, ConnectionManager>) -> Self {
        let exclusive = Arc::new(Exclusive::new(lease));
        Self { shared, exclusive }
    }

    /// The address at the other end.
    pub fn served_by(&self) -> &ServedBy {
        self.exclusive.lease.served_by()
    }
}

impl Service<Request<Body>> for ExclusiveChannel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = ResponseFuture;

    /// Always ready: only the call itself knows for how long it may wait.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        let source = Source::Exclusive(Arc::clone(&self.exclusive));
        ResponseFuture::new(call::call(Arc::clone(&self.shared), source, request))
    }
}

impl fmt::Debug for ExclusiveChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExclusiveChannel")
            .field("served_by", &format_args!("{}", self.served_by()))
            .finish_non_exhaustive()
    }
}

/// The connection, and whose turn it is.
pub(crate) struct Exclusive {
    lease: SharedLease<'static, ConnectionManager>,
    turn: Arc<Semaphore>,
    /// Calls that wait for their turn.
    waiting: AtomicUsize,
}

/// Why a call did not get its turn.
pub(crate) enum NoTurn {
    /// As many wait already as may.
    Full(usize),
    Late,
    NoRuntime,
}

/// One call that waits.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exclusive {
    fn new(lease: SharedLease<'static, ConnectionManager>) -> Self {
        Self { lease, turn: Arc::new(Semaphore::new(1)), waiting: AtomicUsize::new(0) }
    }

    /// The next turn, if nobody has one or waits.
    pub(crate) fn try_turn(self: &Arc<Self>) -> Option<Turn> {
        let permit = Arc::clone(&self.turn).try_acquire_owned().ok()?;
        Some(Turn { _permit: permit, exclusive: Arc::clone(self) })
    }

    /// The next turn, unless it does not come until `deadline`, or `most` wait for one already.
    pub(crate) async fn turn(
        self: &Arc<Self>,
        deadline: Instant,
        most: usize,
    ) -> Result<Turn, NoTurn> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        if waiting >= most {
            return Err(NoTurn::Full(waiting));
        }
        let mut timer = timer(|| sleep_until(deadline)).ok_or(NoTurn::NoRuntime)?;
        match within(Some(&mut timer), pin!(Arc::clone(&self.turn).acquire_owned())).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit, exclusive: Arc::clone(self) }),
            Ok(Err(_)) => unreachable!("bug: nobody closes the semaphore"),
            Err(Passed) => Err(NoTurn::Late),
        }
    }

    pub(crate) fn served_by(&self) -> &ServedBy {
        self.lease.served_by()
    }
}

/// The right to make a call on it.
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
    exclusive: Arc<Exclusive>,
}

impl Turn {
    pub(crate) fn connection(&self) -> &Connection {
        &self.exclusive.lease
    }
}
