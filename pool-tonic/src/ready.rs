//! Waiting until a pool is ready.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use pool_core::{Error, GetOptions};
use tokio::time::{Instant, sleep, timeout_at};

use crate::address_book::Side;
use crate::connectivity::ConnectivityState;
use crate::error::NotReady;
use crate::pool::ChannelPool;

/// Those that fill the queue see to it that there is a connection. It is looked for so often: the state of the pool as a
/// whole does not change if dedicated connections were READY before.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);

impl ChannelPool {
    /// Connects if need be, and waits until a connection is READY, also through failures.
    ///
    /// # Errors
    ///
    /// [`NotReady`], if `deadline` passed first or the pool is closed.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it gives up its turn. An attempt to connect that it has started goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), pool_tonic::ConfigError> {
    /// use pool_tonic::ChannelPool;
    /// use std::time::Duration;
    /// use tokio::time::Instant;
    ///
    /// let pool = ChannelPool::builder("http://127.0.0.1:1").build()?;
    /// let error = pool.wait_ready(Instant::now() + Duration::from_millis(50)).await.unwrap_err();
    /// assert!(error.last_error.is_some());
    /// # Ok(()) }
    /// ```
    pub async fn wait_ready(&self, deadline: Instant) -> Result<(), NotReady> {
        let ready = timeout_at(deadline, async {
            loop {
                if self.shared.book().is_ready(Side::Shared) {
                    return true;
                }
                let options = GetOptions::new().deadline(deadline);
                match self.shared.pool().get_with(options).await {
                    Ok(_) => return true,
                    Err(Error::Create(_)) => {
                        // Every address failed: the next attempt is due when one leaves its back-off,
                        // unless somebody else's succeeds before, or the pool is closed.
                        let mut watch = self.watch();
                        let ready = watch.wait_for(|state| {
                            matches!(state, ConnectivityState::Ready | ConnectivityState::Shutdown)
                        });
                        let (mut ready, mut due) =
                            (pin!(ready), pin!(self.shared.book().retry_due()));
                        poll_fn(|cx| match ready.as_mut().poll(cx) {
                            Poll::Ready(_) => Poll::Ready(()),
                            Poll::Pending => due.as_mut().poll(cx),
                        })
                        .await;
                    }
                    Err(Error::QueueFull { .. }) => sleep(FULL_QUEUE_PAUSE).await,
                    Err(_) => return false,
                }
            }
        })
        .await;
        if let Ok(true) = ready {
            return Ok(());
        }
        Err(self.not_ready())
    }

    /// Connects, and waits until what the pool keeps is READY, at most for `timeout`. For a service that shall not be
    /// ready before its connections are.
    ///
    /// What it keeps are [`min_connections`](crate::ChannelPoolBuilder::min_connections), or one if that is 0, and
    /// [`connections_per_endpoint`](crate::ChannelPoolBuilder::connections_per_endpoint). An endpoint that cannot be
    /// connected to is waited for until its first attempt has failed; for one that does not answer that takes a
    /// [`connect_timeout`](crate::ChannelPoolBuilder::connect_timeout). If the time is over before that, `min_connections`,
    /// or one, are enough.
    ///
    /// # Errors
    ///
    /// [`NotReady`], if fewer than `min_connections`, or none, are READY when the time is over, and as soon as every address
    /// has failed while that is so, or the pool is closed.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the pool goes on connecting.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), pool_tonic::ConfigError> {
    /// use pool_tonic::ChannelPool;
    /// use std::time::Duration;
    ///
    /// let pool = ChannelPool::builder("http://127.0.0.1:1").min_connections(2).build()?;
    /// if let Err(error) = pool.warm_up(Duration::from_millis(50)).await {
    ///     println!("started without connections: {error}");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn warm_up(&self, timeout: Duration) -> Result<(), NotReady> {
        let began = Instant::now();
        let (pool, book) = (self.shared.pool(), self.shared.book());
        // Where nothing is kept, or nothing is yet, the first get connects.
        let may_come = loop {
            if book.is_ready(Side::Shared) {
                break true;
            }
            let left = timeout.saturating_sub(began.elapsed());
            match pool.get_with(GetOptions::new().timeout(left)).await {
                Ok(_) => break true,
                Err(Error::QueueFull { .. }) if !left.is_zero() => {
                    sleep(left.min(FULL_QUEUE_PAUSE)).await;
                }
                Err(_) => break false,
            }
        };
        let left = timeout.saturating_sub(began.elapsed());
        if may_come && pool.warm_up(left).await.is_ok() && book.is_ready(Side::Shared) {
            return Ok(());
        }
        Err(self.not_ready())
    }

    fn not_ready(&self) -> NotReady {
        NotReady { state: self.state(), last_error: self.last_error() }
    }
}
