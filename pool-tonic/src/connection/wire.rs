//! What h2 reads from and writes to.
//!
//! # Batches
//!
//! h2 writes, and flushes, each frame of a stream by itself. A write of 16 KiB costs the system half as much again per
//! byte as one of 128 KiB, and the peer is woken by each. So what h2 writes in one poll makes a batch, of up to
//! [`BATCH`] bytes, which is written and flushed after the poll ([`Outbox::poll`]). It is copied once, which costs less
//! than what is saved.
//!
//! While the IO takes no more, or is not done with flushing, h2 cannot write either: what it has is still its own then, to
//! be put into another order or dropped.
//!
//! Where the IO takes more after h2 was told that it does not, h2 is polled again at once.
//!
//! # Failures
//!
//! h2 keeps one error of a connection, the last. So what the peer has said is looked at before h2 learns of a failure: one of
//! sending, from its next write or flush, or one of reading behind something that was read in the same poll (a GOAWAY, say).
//! Then the task is woken, and h2 polled again, with the failure, when it comes to its turn. Until then nothing is written.
//!
//! # Traffic
//!
//! It leaves word when something was read, for keepalive (a flag, and no clock), and how often it was given something
//! to write, by which a call can prove that nothing of it was. What is counted is that a write of something new was *tried*,
//! before it is. So nothing has to be known of the IO: whether one that fails, or is not ready, has let some of the bytes
//! out (TLS may), whose they were, or what a connector's stream does with them. What is tried again is not counted again:
//! while the IO takes no more, nothing of the calls that begin comes here.
//!
//! h2 has put some of it into frames by then, which it would still write when it says goodbye on a connection that is over.
//! So the proof [*seals*](Traffic::seal) the wire: either something new was tried before, or it never will be. What h2
//! writes after that is dropped, and it ends as if that were on its way.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The largest batch: as much as h2 keeps of a stream.
pub(super) const BATCH: usize = 128 << 10;

/// What is kept of that while there are no calls.
const KEPT: usize = 16 << 10;

/// Beside the number of writes: there will be no more.
const SEALED: u64 = 1 << 63;

/// What goes through an IO.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Bytes have come.
    read: AtomicBool,
    /// And whether they are [`SEALED`].
    writes: AtomicU64,
}

impl Traffic {
    /// Have bytes come since this was asked last?
    pub(super) fn take_read(&self) -> bool {
        self.0.read.swap(false, Ordering::Relaxed)
    }

    /// How many writes of something new were tried.
    pub(super) fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed) & !SEALED
    }

    /// Nothing new is written any more, if nothing was since so many writes were tried. Says whether that is so. For a
    /// connection that is over.
    pub(super) fn seal(&self, writes: u64) -> bool {
        let sealed = writes | SEALED;
        let exchanged =
            self.0.writes.compare_exchange(writes, sealed, Ordering::Relaxed, Ordering::Relaxed);
        exchanged.is_ok() || exchanged == Err(sealed)
    }

    fn note_read(&self) {
        if !self.0.read.load(Ordering::Relaxed) {
            self.0.read.store(true, Ordering::Relaxed);
        }
    }

    /// A write of something new is tried. False if there are to be none.
    fn note_write(&self) -> bool {
        let next = |writes| (writes & SEALED == 0).then_some(writes + 1);
        self.0.writes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// The end of h2; see the module. Never locked when its other end is. Not vectored: a part more is one copy more, which
/// costs less than a list of parts.
#[derive(Debug)]
pub(super) struct Wire<I>(Arc<Mutex<Inner<I>>>);

/// The end of whoever polls h2. Both ends have to go for the IO to be dropped.
#[derive(Debug)]
pub(super) struct Outbox<I>(Arc<Mutex<Inner<I>>>);

#[derive(Debug)]
struct Inner<I> {
    io: I,
    traffic: Traffic,
    batch: Vec<u8>,
    /// Something was added to the batch, and no write was tried since.
    is_new: bool,
    /// How much of the batch was written.
    sent: usize,
    /// Not all could be written, or flushed, when that was tried last: h2 may have been told so.
    is_blocked: bool,
    /// Something was written, and not flushed.
    is_unflushed: bool,
    /// Why sending failed, until h2 is told.
    failure: Option<io::Error>,
    reading: Reading,
}

#[derive(Debug, Default)]
struct Reading {
    /// Something was read in this poll.
    has_read: bool,
    /// Why it failed behind that, until the next poll.
    failure: Option<io::Error>,
}

impl Reading {
    /// In this poll: what was read before is looked at first.
    fn has_failed_behind(&self) -> bool {
        self.has_read && self.failure.is_some()
    }

    /// The failure that h2 was not told yet. It learns of it by writing where it reads no more, since it is closing.
    fn check(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// Both ends of a wire over `io`, and what goes through it.
pub(super) fn wire<I>(io: I) -> (Wire<I>, Outbox<I>, Traffic) {
    let traffic = Traffic::default();
    let inner = Arc::new(Mutex::new(Inner {
        io,
        traffic: traffic.clone(),
        batch: Vec::new(),
        is_new: false,
        sent: 0,
        is_blocked: false,
        is_unflushed: false,
        failure: None,
        reading: Reading::default(),
    }));
    (Wire(Arc::clone(&inner)), Outbox(inner), traffic)
}

impl<I> Outbox<I> {
    /// Gives back most of the memory of a large batch, which is not needed for now.
    pub(super) fn shrink(&self) {
        let mut inner = lock(&self.0);
        if inner.batch.is_empty() {
            inner.batch.shrink_to(KEPT);
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Outbox<I> {
    /// Polls the connection on the other end, and sends what it has written.
    pub(super) fn poll(
        &self,
        connection: &mut Connection<Wire<I>, Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), h2::Error>> {
        lock(&self.0).reading.has_read = false;
        loop {
            let polled = Pin::new(&mut *connection).poll(cx);
            if polled.is_ready() || self.send(cx) {
                return polled;
            }
        }
    }
}

impl<I: AsyncWrite + Unpin> Outbox<I> {
    /// Writes and flushes the batch, as far as that can be done now; the rest when this is called again, for which the
    /// task is woken. False if h2 can write again, and has to be polled for that.
    fn send(&self, cx: &mut Context<'_>) -> bool {
        let mut inner = lock(&self.0);
        let is_idle = inner.batch.is_empty() && !inner.is_unflushed;
        if is_idle || inner.reading.failure.is_some() {
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
                cx.waker().wake_by_ref();
                true
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
            if std::mem::take(&mut self.is_new) && !self.traffic.note_write() {
                break;
            }
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
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.is_blocked = polled.is_pending();
        ready!(polled)?;
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Adds to the batch what there is room for.
    fn poll_add(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        if self.reading.has_failed_behind() {
            return Poll::Pending;
        }
        self.reading.check()?;
        if self.is_blocked {
            ready!(self.poll_flush(cx))?;
        } else if self.batch.len() >= BATCH {
            ready!(self.poll_send(cx))?;
        }
        let added = buf.len().min(BATCH - self.batch.len());
        let length = self.batch.len() + added;
        if length > self.batch.capacity() {
            let capacity = if length > KEPT { BATCH } else { length.next_power_of_two() };
            self.batch.reserve_exact(capacity - self.batch.len());
        }
        self.batch.extend_from_slice(&buf[..added]);
        self.is_new = true;
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
        let polled = match inner.reading.check() {
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => Pin::new(&mut inner.io).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            inner.traffic.note_read();
            inner.reading.has_read = true;
        }
        match polled {
            Poll::Ready(Err(error)) if inner.reading.has_read => {
                inner.reading.failure = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_add(cx, buf)
    }

    /// Only says what has failed: the outbox flushes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(lock(&self.0).check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        inner.check()?;
        ready!(inner.poll_flush(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// What an IO does next, and never tells anybody that it would do something else by now.
    #[derive(Clone, Debug, Default)]
    struct Moody(Arc<Mutex<Mood>>);

    #[derive(Debug, Default)]
    struct Mood {
        takes: usize,
        flushes: bool,
        written: Vec<u8>,
    }

    impl Moody {
        fn lock(&self) -> MutexGuard<'_, Mood> {
            self.0.lock().unwrap()
        }
    }

    impl AsyncWrite for Moody {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let mut mood = self.lock();
            let taken = mood.takes.min(buf.len());
            if taken == 0 {
                return Poll::Pending;
            }
            mood.takes -= taken;
            mood.written.extend_from_slice(&buf[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.lock().flushes { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn wired() -> (Wire<Moody>, Outbox<Moody>, Moody) {
        let moody = Moody::default();
        let (wire, outbox, _) = wire(moody.clone());
        (wire, outbox, moody)
    }

    fn write(wire: &mut Wire<Moody>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(wire).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
    }

    fn send(outbox: &Outbox<Moody>) -> bool {
        outbox.send(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn nothing_is_added_while_the_io_does_not_get_it_out() {
        // Nothing is taken, half, and all, but that is not flushed.
        for takes in [0, 2, 4] {
            let (mut wire, outbox, moody) = wired();
            moody.lock().takes = takes;
            assert!(matches!(write(&mut wire, b"one "), Poll::Ready(Ok(4))));
            assert!(send(&outbox), "it has not failed");
            assert_eq!(moody.lock().written, b"one "[..takes]);
            assert!(write(&mut wire, b"two ").is_pending());
            moody.lock().takes = 100;
            moody.lock().flushes = true;
            assert!(!send(&outbox), "whoever could not write has to know that it can");
            assert!(matches!(write(&mut wire, b"two "), Poll::Ready(Ok(4))));
            assert!(send(&outbox));
            assert_eq!(moody.lock().written, b"one two ");
        }
    }

    #[test]
    fn memory_is_kept_for_batches_and_not_for_good() {
        let (mut wire, outbox, moody) = wired();
        *moody.lock() = Mood { takes: usize::MAX, flushes: true, ..Mood::default() };
        assert!(matches!(write(&mut wire, &vec![1; 2 * BATCH]), Poll::Ready(Ok(BATCH))));
        outbox.shrink();
        assert_eq!(lock(&outbox.0).batch.capacity(), BATCH, "it is not out");
        assert!(send(&outbox));
        assert_eq!(lock(&outbox.0).batch.capacity(), BATCH);
        outbox.shrink();
        assert_eq!(lock(&outbox.0).batch.capacity(), KEPT);
    }
}
