//! How many streams a connection takes: the peer's limit, the pool's own cap, and what was learned from
//! refusals.
//!
//! Written by two sides: the driver reports the peer's limit, calls report refused streams. Either then
//! calls [`Places::publish`], which tells the pool until what it told is what holds, so that of two that
//! race the last word is the right one.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use pool_core::ResourceHandle;
use tokio::time::Instant;

/// How long a refused stream keeps the places of its connection down. A server that counts later than
/// it announces catches up within a round trip; one that is overloaded refuses again, which renews it.
const REFUSAL_HOLDS: Duration = Duration::from_secs(1);

/// The places of one connection.
#[derive(Debug)]
pub(super) struct Places {
    handle: ResourceHandle,
    own_cap: usize,
    /// Streams that the pool needs for itself.
    reserved: usize,
    peer_limit: AtomicUsize,
    /// The server's health lets it take calls.
    serving: AtomicBool,
    /// Places taken off since streams were refused.
    refused: AtomicUsize,
    /// When the last stream was refused, in milliseconds since `epoch`.
    refused_at: AtomicU64,
    epoch: Instant,
}

impl Places {
    /// Of a connection whose health is `watched` by a stream of the pool's own, or not.
    pub(super) fn new(handle: ResourceHandle, own_cap: usize, watched: bool) -> Self {
        Self {
            handle,
            own_cap,
            reserved: usize::from(watched),
            peer_limit: AtomicUsize::new(0),
            serving: AtomicBool::new(true),
            refused: AtomicUsize::new(0),
            refused_at: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }

    pub(super) fn handle(&self) -> &ResourceHandle {
        &self.handle
    }

    fn limit(&self) -> usize {
        let peer_limit = self.peer_limit.load(Ordering::SeqCst);
        self.own_cap.min(peer_limit.saturating_sub(self.reserved))
    }

    fn current(&self) -> usize {
        if !self.serving.load(Ordering::SeqCst) {
            return 0;
        }
        let limit = self.limit();
        let refused = self.refused.load(Ordering::SeqCst);
        // One stays, or nothing would ever find out that the server takes streams again.
        limit.saturating_sub(refused).max(limit.min(1))
    }

    fn publish(&self) {
        let mut places = self.current();
        loop {
            self.handle.set_places(places);
            let now = self.current();
            if now == places {
                return;
            }
            places = now;
        }
    }

    /// The peer announced a limit.
    pub(super) fn peer_limit(&self, limit: usize) {
        self.peer_limit.store(limit, Ordering::SeqCst);
        self.publish();
    }

    /// The server is healthy, or not. Says whether that is news.
    pub(super) fn set_serving(&self, serving: bool) -> bool {
        let is_news = self.serving.swap(serving, Ordering::SeqCst) != serving;
        if is_news {
            self.publish();
        }
        is_news
    }

    /// The peer refused a stream though it was within the limit.
    pub(super) fn refuse(&self) {
        let limit = self.limit();
        let less = |refused: usize| Some((refused + 1).min(limit.saturating_sub(1)));
        let _ = self.refused.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        self.refused_at.store(self.millis(), Ordering::SeqCst);
        self.publish();
    }

    /// Gives back what was taken off, when no stream was refused for a while. Called by the driver
    /// whenever it runs; reads no clock unless something was refused.
    pub(super) fn recover(&self) {
        if self.refused.load(Ordering::Relaxed) == 0 {
            return;
        }
        let since = self.millis().saturating_sub(self.refused_at.load(Ordering::SeqCst));
        if u128::from(since) >= REFUSAL_HOLDS.as_millis() {
            self.refused.store(0, Ordering::SeqCst);
            self.publish();
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
