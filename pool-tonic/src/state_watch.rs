//! Watching a pool's connectivity state.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::sync::watch;

use crate::connectivity::ConnectivityState;

/// Watches the connectivity state of a pool: gRPC's `WaitForStateChange`. From
/// [`ChannelPool::watch`](crate::ChannelPool::watch); it does not keep the pool open.
///
/// It tells the latest state, so one that was followed by another at once may not be seen.
///
/// # Examples
///
/// ```
/// # use pool_tonic::ChannelPool;
/// async fn log(pool: &ChannelPool) {
///     let mut watch = pool.watch();
///     println!("is {}", watch.state());
///     while let Some(state) = watch.changed().await {
///         println!("is {state} now");
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct StateWatch(watch::Receiver<ConnectivityState>);

impl StateWatch {
    pub(crate) fn new(receiver: watch::Receiver<ConnectivityState>) -> Self {
        Self(receiver)
    }

    /// The state now, which counts as seen.
    pub fn state(&mut self) -> ConnectivityState {
        *self.0.borrow_and_update()
    }

    /// Whether there is a state that was not seen.
    pub fn has_changed(&self) -> bool {
        self.0.borrow().has_changed()
    }

    /// Waits for a state that was not seen; at its first call for one other than at its beginning. `None` when
    /// there will be no other: the pool is gone, with all that was under way in it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: what was not returned was not seen.
    pub async fn changed(&mut self) -> Option<ConnectivityState> {
        self.0.changed().await.ok()?;
        Some(self.state())
    }

    /// Waits for a state that `is_it` says is the one, the present one included. `None` when there will be no
    /// other.
    ///
    /// # Panics
    ///
    /// When `is_it` does.
    ///
    /// # Cancel safety
    ///
    /// What `is_it` was asked about counts as seen.
    pub async fn wait_for(
        &mut self,
        mut is_it: impl FnMut(ConnectivityState) -> bool,
    ) -> Option<ConnectivityState> {
        let mut state = self.state();
        while !is_it(state) {
            state = self.changed().await?;
        }
        Some(state)
    }

    /// What `future` comes to; `None` if the pool is closed, or gone, first.
    pub(crate) async fn until_closed<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut closed = pin!(self.wait_for(|state| state == ConnectivityState::Shutdown));
        let mut future = pin!(future);
        poll_fn(|cx| {
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }
}
