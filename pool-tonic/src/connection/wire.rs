//! What h2 reads from and writes to.
//!
//! # Gathering
//!
//! h2 writes, and flushes, each frame of a stream by itself. A write of 16 KiB costs the system half as much again per
//! byte as one of 128 KiB, and the peer is woken by each. So once the connection has a driver, what h2 writes is
//! gathered, up to [`GATHERED`] bytes, and a flush does nothing: the driver sends it ([`Outbox::send`]) after each
//! poll of h2, which has no more to write then. Gathered frames are copied once, which costs less than what is saved.
//!
//! An error of sending is told to h2 by the flush of its next poll, which the driver makes at once: after that has read
//! what the peer had said before.
//!
//! # Traffic
//!
//! It leaves word when something was read, for keepalive (a flag, and no clock), and how often it was written to, by
//! which a call can prove that nothing of it was. What is counted is that a write was *tried*, before it is. So nothing
//! has to be known of the IO: whether one that fails, or is not ready, has let some of the bytes out (TLS may), whose they
//! were, or what a connector's stream does with them. An error of the connection reaches a call through h2's lock, after
//! the count.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is gathered for one write: as much as h2 keeps of a stream.
pub(super) const GATHERED: usize = 128 << 10;

/// What goes through an IO.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
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

/// The end of h2; see the module. Never locked when its other end is.
#[derive(Debug)]
pub(super) struct Wire<I>(Arc<Mutex<Inner<I>>>);

/// The driver's end of a [`Wire`]. Both have to go for the IO to be dropped.
#[derive(Debug)]
pub(super) struct Outbox<I>(Arc<Mutex<Inner<I>>>);

#[derive(Debug)]
struct Inner<I> {
    io: I,
    traffic: Traffic,
    /// There is a driver that sends.
    gathers: bool,
    gathered: Vec<u8>,
    /// How much of that was sent.
    sent: usize,
    /// Why sending failed, until h2 is told.
    failure: Option<io::Error>,
}

/// A wire whose writes go straight through, until its outbox is told to [gather](Outbox::gather) them.
pub(super) fn wire<I>(io: I) -> (Wire<I>, Outbox<I>, Traffic) {
    let traffic = Traffic::default();
    let inner = Arc::new(Mutex::new(Inner {
        io,
        traffic: traffic.clone(),
        gathers: false,
        gathered: Vec::new(),
        sent: 0,
        failure: None,
    }));
    (Wire(Arc::clone(&inner)), Outbox(inner), traffic)
}

impl<I> Outbox<I> {
    /// From now on what h2 writes waits for [`send`](Self::send).
    pub(super) fn gather(&self) {
        lock(&self.0).gathers = true;
    }
}

impl<I: AsyncWrite + Unpin> Outbox<I> {
    /// Sends what was gathered, as far as it can be sent now; the rest when this is called again, for which the
    /// task is woken. False if that has failed, with which the next poll of h2 ends.
    pub(super) fn send(&self, cx: &mut Context<'_>) -> bool {
        let mut inner = lock(&self.0);
        if inner.gathered.is_empty() {
            return true;
        }
        let Poll::Ready(Err(error)) = inner.poll_flush(cx) else { return true };
        inner.failure = Some(error);
        // Not to be tried again.
        inner.gathered.clear();
        inner.sent = 0;
        false
    }
}

impl<I: AsyncWrite + Unpin> Inner<I> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.gathered.len() {
            self.traffic.note_write();
            let rest = &self.gathered[self.sent..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.gathered.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        if self.gathered.len() >= GATHERED {
            ready!(self.poll_send(cx))?;
        }
        let before = self.gathered.len();
        for buf in bufs {
            let room = GATHERED - self.gathered.len();
            self.gathered.extend_from_slice(&buf[..buf.len().min(room)]);
        }
        Poll::Ready(Ok(self.gathered.len() - before))
    }

    /// The failure that h2 was not told yet.
    fn check(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

fn lock<I>(inner: &Mutex<Inner<I>>) -> MutexGuard<'_, Inner<I>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<I: AsyncRead + Unpin> AsyncRead for Wire<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        let before = buf.filled().len();
        let polled = Pin::new(&mut inner.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            inner.traffic.note_read();
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = lock(&self.0);
        if inner.gathers {
            return inner.poll_gather(cx, bufs);
        }
        inner.traffic.note_write();
        Pin::new(&mut inner.io).poll_write_vectored(cx, bufs)
    }

    /// Whatever the IO does: parts are gathered as well as one.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.gathers {
            return Poll::Ready(inner.check());
        }
        Pin::new(&mut inner.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        inner.check()?;
        ready!(inner.poll_flush(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}
