//! What h2 reads from and writes to.
//!
//! # Batches
//!
//! h2 writes, and flushes, each frame of a stream by itself. A write of 16 KiB costs the system half as much again per
//! byte as one of 128 KiB, and the peer is woken by each. So once the connection has a driver, what h2 writes in one
//! poll makes a batch, of up to [`BATCH`] bytes, and flushing it is the driver's ([`Outbox::send`]), after the poll.
//! It is copied once, which costs less than what is saved.
//!
//! While the IO takes no more h2 cannot write either: what it has is still its own then, to be put into another order or
//! dropped.
//!
//! Where sending has failed, or the IO takes more after h2 was told that it does not, the driver polls h2 again at
//! once. It reads what the peer has said before it learns of a failure, from its next write or flush.
//!
//! # Traffic
//!
//! It leaves word when something was read, for keepalive (a flag, and no clock), and how often it was written to, by
//! which a call can prove that nothing of it was. What is counted is that a write was *tried*, before it is. So nothing
//! has to be known of the IO: whether one that fails, or is not ready, has let some of the bytes out (TLS may), whose they
//! were, or what a connector's stream does with them. An error of the connection reaches a call through h2's lock, after
//! the count.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The largest batch: as much as h2 keeps of a stream.
pub(super) const BATCH: usize = 128 << 10;

/// What is kept of that while there are no calls.
const KEPT: usize = 16 << 10;

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

/// The end of h2; see the module. Never locked when its other end is. Not vectored: a part more is one copy more, which costs
/// less than a list of parts.
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
    batches: bool,
    batch: Vec<u8>,
    /// How much of the batch was written.
    sent: usize,
    /// The IO did not take all of the batch when that was tried last: h2 may have been told so.
    is_blocked: bool,
    /// Something was written, and not flushed.
    is_unflushed: bool,
    /// Why sending failed, until h2 is told.
    failure: Option<io::Error>,
}

/// A wire whose writes go straight through, until its outbox is told to make [batches](Outbox::batch) of them.
pub(super) fn wire<I>(io: I) -> (Wire<I>, Outbox<I>, Traffic) {
    let traffic = Traffic::default();
    let inner = Arc::new(Mutex::new(Inner {
        io,
        traffic: traffic.clone(),
        batches: false,
        batch: Vec::new(),
        sent: 0,
        is_blocked: false,
        is_unflushed: false,
        failure: None,
    }));
    (Wire(Arc::clone(&inner)), Outbox(inner), traffic)
}

impl<I> Outbox<I> {
    /// From now on what h2 writes waits for [`send`](Self::send).
    pub(super) fn batch(&self) {
        lock(&self.0).batches = true;
    }

    /// Gives back most of the memory of a large batch, which is not needed for now.
    pub(super) fn shrink(&self) {
        let mut inner = lock(&self.0);
        if inner.batch.is_empty() {
            inner.batch.shrink_to(KEPT);
        }
    }
}

impl<I: AsyncWrite + Unpin> Outbox<I> {
    /// Writes and flushes the batch, as far as that can be done now; the rest when this is called again, for which the
    /// task is woken. False if h2 has to be polled again first.
    pub(super) fn send(&self, cx: &mut Context<'_>) -> bool {
        let mut inner = lock(&self.0);
        if inner.batch.is_empty() && !inner.is_unflushed {
            return true;
        }
        let held_up = inner.is_blocked;
        match inner.poll_flush(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => !held_up,
            Poll::Ready(Err(error)) => {
                inner.failure = Some(error);
                // Not to be tried again.
                inner.forget();
                inner.is_unflushed = false;
                false
            }
        }
    }
}

impl<I> Inner<I> {
    /// The batch is done with.
    fn forget(&mut self) {
        self.batch.clear();
        self.sent = 0;
        self.is_blocked = false;
    }

    /// The failure that h2 was not told yet.
    fn check(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

impl<I: AsyncWrite + Unpin> Inner<I> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.batch.len() {
            self.traffic.note_write();
            self.is_unflushed = true;
            let rest = &self.batch[self.sent..];
            let polled = Pin::new(&mut self.io).poll_write(cx, rest);
            self.is_blocked = polled.is_pending();
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.forget();
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Adds to the batch what there is room for.
    fn poll_add(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        if self.is_blocked || self.batch.len() >= BATCH {
            ready!(self.poll_send(cx))?;
        }
        let added = buf.len().min(BATCH - self.batch.len());
        let length = self.batch.len() + added;
        if length > self.batch.capacity() {
            let capacity = length.next_power_of_two().min(BATCH);
            self.batch.reserve_exact(capacity - self.batch.len());
        }
        self.batch.extend_from_slice(&buf[..added]);
        Poll::Ready(Ok(added))
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
        let mut inner = lock(&self.0);
        if inner.batches {
            return inner.poll_add(cx, buf);
        }
        inner.traffic.note_write();
        inner.is_unflushed = true;
        Pin::new(&mut inner.io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.batches {
            return Poll::Ready(inner.check());
        }
        inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        inner.check()?;
        ready!(inner.poll_flush(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}
