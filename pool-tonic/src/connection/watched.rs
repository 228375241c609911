//! An IO that leaves word when something was read from it, for keepalive (a flag, and no clock), and how
//! often it was written to, by which a call can prove that nothing of it was.
//!
//! What is counted is that a write was *tried*, before it is. So nothing has to be known of the IO: whether one
//! that fails, or is not ready, has let some of the bytes out (TLS may), whose they were, or what a connector's
//! stream does with them. An error of the connection reaches a call through h2's lock, after the count.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What goes through an IO.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Bytes have come.
    read: AtomicBool,
    /// Changed by the one that writes.
    writes: AtomicU64,
}

impl Traffic {
    /// Have bytes come since this was asked last?
    pub(super) fn take_read(&self) -> bool {
        self.0.read.swap(false, Ordering::Relaxed)
    }

    /// How many writes were tried.
    pub(super) fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }

    fn note_read(&self) {
        if !self.0.read.load(Ordering::Relaxed) {
            self.0.read.store(true, Ordering::Relaxed);
        }
    }

    fn note_write(&self) {
        self.0.writes.store(self.writes().wrapping_add(1), Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Watched<I> {
    io: I,
    traffic: Traffic,
}

impl<I> Watched<I> {
    pub(super) fn new(io: I) -> (Self, Traffic) {
        let traffic = Traffic::default();
        (Self { io, traffic: traffic.clone() }, traffic)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.traffic.note_read();
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.traffic.note_write();
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.traffic.note_write();
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
