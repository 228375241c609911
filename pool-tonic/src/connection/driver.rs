//! The task that drives one connection and tells the pool what happens to it.
//!
//! States:
//!
//! ```text
//!   open ---- GOAWAY read, or no stream ids left ---> draining --+
//!     |                                                 |        | connection ended
//!     +---------- connection dropped by the pool ----> closing --+----------------> ended
//!     |                                               (bounded)                       ^
//!     +-------------------------------------------------------------------------------+
//! ```
//!
//! After each poll of h2 the driver looks at what that poll may have read: a changed stream limit is
//! published as places; an error of the probe, a handle kept only for that, means that no stream can be
//! opened any more, and the pool is told to drain. Both happen in the very poll that read the frame.
//!
//! Invariants: while open, the driver holds the one handle beside the resource's own, and drops it on
//! leaving that state, since h2 keeps a connection open for as long as there is a handle. The address
//! counts the connection (`Live`) until it is closing or has ended, whatever ends the task: what the
//! pool has let go of is not READY.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use super::places::Places;
use crate::address_book::Live;
use crate::stats::Totals;

/// How long a connection that the pool has dropped may take for its last frames, when the peer does not
/// read them.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Driver<I> {
    connection: client::Connection<I, Bytes>,
    /// Present while open.
    probe: Option<client::SendRequest<Bytes>>,
    dropped: oneshot::Receiver<Infallible>,
    /// Present while closing.
    close_timeout: Option<Pin<Box<Sleep>>>,
    peer_limit: usize,
    places: Arc<Places>,
    /// Present until closing or ended.
    live: Option<Live>,
    totals: Arc<Totals>,
}

impl<I> Driver<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(
        connection: client::Connection<I, Bytes>,
        probe: client::SendRequest<Bytes>,
        dropped: oneshot::Receiver<Infallible>,
        places: Arc<Places>,
        live: Live,
        totals: Arc<Totals>,
    ) -> Self {
        let mut driver = Self {
            connection,
            probe: Some(probe),
            dropped,
            close_timeout: None,
            // No peer can announce this, so the first look publishes.
            peer_limit: usize::MAX - 1,
            places,
            live: Some(live),
            totals,
        };
        // Before the resource is lent.
        driver.observe_limit();
        driver
    }

    fn observe_limit(&mut self) {
        if let Some(probe) = &self.probe {
            let limit = probe.current_max_send_streams();
            if limit != self.peer_limit {
                self.peer_limit = limit;
                self.places.peer_limit(limit);
            }
        }
        self.places.recover();
    }

    /// open -> draining, if the connection takes no more streams.
    fn observe_goaway(&mut self, cx: &mut Context<'_>) {
        let Some(probe) = &mut self.probe else { return };
        let Poll::Ready(Err(error)) = probe.poll_ready(cx) else {
            return;
        };
        self.probe = None;
        // An I/O error is no farewell but the end, which `ended` reports.
        if error.is_io() {
            return;
        }
        if error.is_go_away() && error.is_remote() {
            self.totals.goaways.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(live) = &mut self.live {
            live.drain(error.to_string());
        }
        self.places.handle().drain(error.to_string());
    }

    /// -> ended.
    fn ended(&mut self, result: Result<(), h2::Error>, cx: &mut Context<'_>) {
        if self.close_timeout.is_some() {
            return;
        }
        // A GOAWAY may have been read by the same poll as the end.
        self.observe_goaway(cx);
        let reason = match result {
            Ok(()) => "the server closed the connection".to_owned(),
            Err(error) => error.to_string(),
        };
        if let Some(live) = self.live.take()
            && !live.is_draining()
        {
            self.totals.connections_lost.fetch_add(1, Ordering::Relaxed);
            live.lost(reason.clone());
        }
        self.places.handle().broken(reason);
    }
}

/// A task that is dropped, since its runtime ends, leaves a connection that nobody drives.
impl<I> Drop for Driver<I> {
    fn drop(&mut self) {
        if self.live.take().is_some() {
            self.places.handle().broken("the runtime that drove it ended");
        }
    }
}

impl<I> Future for Driver<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.close_timeout.is_none() && Pin::new(&mut this.dropped).poll(cx).is_ready() {
            this.probe = None;
            this.live = None;
            this.close_timeout = Some(Box::pin(sleep(CLOSE_TIMEOUT)));
        }
        if let Poll::Ready(result) = Pin::new(&mut this.connection).poll(cx) {
            this.ended(result, cx);
            return Poll::Ready(());
        }
        if let Some(timeout) = &mut this.close_timeout
            && timeout.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        this.observe_limit();
        this.observe_goaway(cx);
        Poll::Pending
    }
}
