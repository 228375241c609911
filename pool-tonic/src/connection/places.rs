//! How many streams a connection takes: the peer's limit, the pool's own cap, a stream that the pool has for
//! itself, and what was learned from refusals.
//!
//! Written by two sides: the driver reports the peer's limit, calls report refused streams. Either then
//! calls [`Places::publish`], which tells the pool until what it told is what holds, so that of two that
//! race the last word is the right one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use pool_core::ResourceHandle;
use tokio::time::Instant;

use crate::balance::{Monitor, Placed};

/// How long a refused stream keeps the places of its connection down. A server that counts later than
/// it announces catches up within a round trip; one that is overloaded refuses again, which renews it.
const REFUSAL_HOLDS: Duration = Duration::from_secs(1);

/// The places of one connection.
#[derive(Debug)]
pub(super) struct Places {
    handle: ResourceHandle,
    own_cap: usize,
    /// A stream of the pool's own watches the server's health.
    watched: AtomicBool,
    peer_limit: AtomicUsize,
    /// The server's health lets it take calls.
    serving: AtomicBool,
    /// Present where endpoints are compared: one that is ejected takes no calls.
    monitor: Option<Arc<Monitor>>,
    /// Places taken off since streams were refused.
    refused: AtomicUsize,
    /// When the last stream was refused, in milliseconds since `epoch`.
    refused_at: AtomicU64,
    epoch: Instant,
}

impl Places {
    pub(super) fn new(
        handle: ResourceHandle,
        own_cap: usize,
        monitor: Option<Arc<Monitor>>,
    ) -> Self {
        Self {
            monitor,
            handle,
            own_cap,
            watched: AtomicBool::new(false),
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
        let watch = usize::from(self.watched.load(Ordering::SeqCst));
        self.own_cap.min(peer_limit.saturating_sub(watch))
    }

    fn current(&self) -> usize {
        let is_ejected = self.monitor.as_ref().is_some_and(|monitor| monitor.is_ejected());
        if is_ejected || !self.serving.load(Ordering::SeqCst) {
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

    /// The peer announced a limit; one of these streams watches its health, or none does.
    pub(super) fn peer_limit(&self, limit: usize, watched: bool) {
        self.peer_limit.store(limit, Ordering::SeqCst);
        self.watched.store(watched, Ordering::SeqCst);
        self.publish();
    }

    /// A stream watches the server's health, or none does any more.
    pub(super) fn set_watched(&self, watched: bool) {
        if self.watched.swap(watched, Ordering::SeqCst) != watched {
            self.publish();
        }
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
        // Before it counts, or it would be given back at once.
        self.refused_at.store(self.millis(), Ordering::SeqCst);
        let limit = self.limit();
        let less = |refused: usize| Some((refused + 1).min(limit.saturating_sub(1)));
        let _ = self.refused.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        self.publish();
    }

    /// Gives back what was taken off, when no stream was refused for a while; says when that will be, if it
    /// is not yet. Reads no clock unless something was refused.
    pub(super) fn recover(&self) -> Option<Instant> {
        if self.refused.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let refused_at = Duration::from_millis(self.refused_at.load(Ordering::SeqCst));
        let over = self.epoch + refused_at + REFUSAL_HOLDS;
        if Instant::now() < over {
            return Some(over);
        }
        self.refused.store(0, Ordering::SeqCst);
        self.publish();
        None
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Placed for Places {
    fn look_again(&self) {
        self.publish();
    }
}
