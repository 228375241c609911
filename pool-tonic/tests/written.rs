//! How a connection is written to: with as few writes as will do, and what becomes of its calls when a write fails.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;
#[path = "common/memory.rs"]
mod memory;

use std::collections::HashMap;
use std::future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use common::soon;
use http::Uri;
use kinds::{Kind, ask, open};
use memory::{Peer, answer_all, eventually, in_memory_with, pass};
use pool_tonic::ChannelPool;
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::raw::{Heard, Raw, code, setting};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_test::task;
use tonic::Code;
use tower::service_fn;

/// What happens to a connection.
#[derive(Debug, Default)]
struct Wire {
    writes: AtomicUsize,
    /// A write fails from now on, and what came before it can be read only then.
    breaks: AtomicBool,
    is_broken: AtomicBool,
    /// The next read fails for which nothing has come.
    resets: AtomicBool,
    /// What is written is kept until it is flushed, for which it takes a second try.
    is_lazy: bool,
}

impl Wire {
    fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }
}

/// A connection to which something happens.
struct Wired {
    stream: DuplexStream,
    wire: Arc<Wire>,
    kept: Vec<u8>,
    is_asked: bool,
}

impl AsyncRead for Wired {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let breaks = self.wire.breaks.load(Ordering::SeqCst);
        if breaks && !self.wire.is_broken.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_pending() && self.wire.resets.swap(false, Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        polled
    }
}

impl AsyncWrite for Wired {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.writes.fetch_add(1, Ordering::SeqCst);
        if self.wire.breaks.load(Ordering::SeqCst) {
            self.wire.is_broken.store(true, Ordering::SeqCst);
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.wire.is_lazy {
            self.kept.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.kept.is_empty() {
            this.is_asked = !this.is_asked;
            if this.is_asked {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &this.kept))?;
            assert_eq!(written, this.kept.len(), "the stream has room for what a test sends");
            this.kept.clear();
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A pool with one connection, to which something happens, and where that arrives.
fn wired(wire: Wire) -> (ChannelPool, Arc<Wire>, mpsc::UnboundedReceiver<DuplexStream>) {
    let (send, arrivals) = mpsc::unbounded_channel();
    let wire = Arc::new(wire);
    let mine = Arc::clone(&wire);
    let connector = service_fn(move |_: Uri| {
        let (stream, far) = duplex(1 << 20);
        let wire = Arc::clone(&mine);
        let sent = send.send(far).map_err(io::Error::other);
        future::ready(sent.map(|()| Wired { stream, wire, kept: Vec::new(), is_asked: false }))
    });
    let pool = ChannelPool::builder("http://memory").connector(connector).max_connections(1);
    (pool.build().unwrap(), wire, arrivals)
}

/// A call has been made over the pool's connection; this is its other end.
async fn warm(pool: &ChannelPool, arrivals: &mut mpsc::UnboundedReceiver<DuplexStream>) -> Peer {
    let call = Kind::Unary.spawn(pool, ask(Do::Echo, "warm"));
    let mut peer = Raw::greet(arrivals.recv().await.unwrap(), 100).await.unwrap();
    let (stream, _) = peer.request().await;
    peer.answer(stream).await.unwrap();
    call.await.unwrap().unwrap();
    peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_that_begin_together_are_written_together() {
    const CALLS: usize = 64;
    let (pool, wire, mut arrivals) = wired(Wire::default());
    let peer = soon(warm(&pool, &mut arrivals)).await;
    let server = tokio::spawn(answer_all(peer));
    let before = wire.writes();
    // From a worker, as a server's handlers call.
    let calls = tokio::spawn(async move {
        let call = |_| Kind::Unary.call(pool.channel(), ask(Do::Echo, "hello"));
        (0..CALLS).map(call).collect::<JoinSet<_>>().join_all().await
    });
    for answered in soon(calls).await.unwrap() {
        answered.unwrap();
    }
    let written = wire.writes() - before;
    assert!(written <= CALLS / 4, "{written} writes for {CALLS} calls");
    soon(server).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_has_to_send_is_written_at_once() {
    // As much as the window has room for; in frames of 16 KiB.
    const BYTES: usize = 60_000;
    // A task of its own sends a stream's messages: its HEADERS may go before.
    for (kind, most) in [(Kind::Unary, 1), (Kind::ClientStream, 2)] {
        let (pool, wire, mut arrivals) = wired(Wire::default());
        let mut peer = eventually(warm(&pool, &mut arrivals)).await;
        let before = wire.writes();
        let call = kind.spawn(&pool, ask(Do::Echo, "x".repeat(BYTES)));
        let (stream, request) = eventually(peer.request()).await;
        assert!(request.len() > BYTES);
        let written = wire.writes() - before;
        assert!(written <= most, "{kind:?}: {written} writes");
        peer.answer(stream).await.unwrap();
        eventually(call).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_larger_than_one_write_arrives_whole() {
    const WINDOW: u32 = 1 << 20;
    const CALLS: usize = 3;
    let text = |call: usize| format!("{call} ").repeat(200_000);
    // Into a connection that takes little at a time, and one that takes it all.
    for bytes in [1000, 1 << 20] {
        let (pool, mut network) = in_memory_with(bytes, Duration::ZERO);
        let pool = pool.max_connections(1).build().unwrap();
        let calls: JoinSet<_> = (0..CALLS)
            .map(|call| Kind::Unary.call(pool.channel(), ask(Do::Echo, text(call))))
            .collect();
        let mut peer = network.accept(100).await;
        peer.settings(&[(setting::INITIAL_WINDOW_SIZE, WINDOW)]).await.unwrap();
        peer.window_update(0, 4 * WINDOW).await.unwrap();
        let mut arrived = Vec::new();
        for _ in 0..CALLS {
            let (stream, request) = eventually(peer.request()).await;
            let request = String::from_utf8_lossy(&request);
            arrived.extend((0..CALLS).find(|&call| request.contains(&text(call))));
            peer.answer(stream).await.unwrap();
        }
        arrived.sort_unstable();
        assert_eq!(arrived, (0..CALLS).collect::<Vec<_>>(), "{bytes}");
        for answered in eventually(calls.join_all()).await {
            answered.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_is_not_sent_once_the_connection_takes_more() {
    for kind in [Kind::Unary, Kind::ClientStream] {
        cancelled_before_it_is_sent(kind).await;
    }
}

async fn cancelled_before_it_is_sent(kind: Kind) {
    const BYTES: usize = 60_000;
    let (pool, mut network) = in_memory_with(1000, Duration::ZERO);
    let pool = pool.max_connections(1).build().unwrap();
    let first = Kind::Unary.spawn(&pool, ask(Do::Echo, "x".repeat(BYTES)));
    let mut peer = network.accept(100).await;
    peer.window_update(0, 1 << 20).await.unwrap();
    // The pipe is full by then.
    pass(1).await;
    // Of the second one something leaves its queue; the third one waits behind it to be opened.
    let mut others = Vec::new();
    for text in ["y", "z"] {
        let ask = ask(Do::Echo, text.repeat(BYTES));
        // Where it may be sent in parts, its end is still to come.
        others.push(tokio::spawn(kind.begin(pool.channel(), ask, open(), None)));
        pass(1).await;
    }
    for other in &others {
        other.abort();
    }
    let (mut opened, mut bytes, mut resets) = (Vec::new(), HashMap::new(), 0);
    while resets < others.len() {
        match eventually(peer.hear()).await {
            Heard::Open(stream) => opened.push(stream),
            Heard::Data(stream, data) => *bytes.entry(stream).or_insert(0) += data.len(),
            Heard::End(ended) if ended == opened[0] => peer.answer(ended).await.unwrap(),
            Heard::End(ended) => panic!("all of {ended} has come: {opened:?}"),
            Heard::Reset(..) => resets += 1,
            Heard::Closed => panic!("it is not over"),
            Heard::Goaway => {}
        }
    }
    let of = |call: usize| opened.get(call).and_then(|stream| bytes.get(stream)).unwrap_or(&0);
    assert!(*of(0) > BYTES);
    // A frame.
    assert!(*of(1) <= 16_384, "{kind:?}: {bytes:?}");
    assert_eq!(*of(2), 0, "{kind:?}: {bytes:?}");
    eventually(first).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_flushed_until_it_is_out() {
    let wire = Wire { is_lazy: true, ..Wire::default() };
    let (pool, _, mut arrivals) = wired(wire);
    let mut peer = eventually(warm(&pool, &mut arrivals)).await;
    let call = Kind::Unary.spawn(&pool, ask(Do::Echo, "hello"));
    let begun = Instant::now();
    let (stream, _) = eventually(peer.request()).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_before_a_write_fails_is_answered() {
    let (pool, wire, mut arrivals) = wired(Wire::default());
    let mut peer = eventually(warm(&pool, &mut arrivals)).await;
    let answered = Kind::Unary.spawn(&pool, ask(Do::Echo, "in time"));
    let (stream, _) = eventually(peer.request()).await;
    wire.breaks.store(true, Ordering::SeqCst);
    peer.answer(stream).await.unwrap();
    let failed = Kind::Unary.call(pool.channel(), ask(Do::Echo, "too late"));
    let status = eventually(failed).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("broken pipe"), "{status}");
    eventually(answered).await.unwrap().unwrap();
    eventually(peer.closed()).await;
    let counters = pool.counters();
    // Something of it may have got through, for all that is known.
    assert_eq!((counters.connections_lost, counters.transparent_retries), (1, 0));
    assert_eq!(pool.status().streams, 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_behind_a_read_that_has_failed() {
    let (pool, wire, mut arrivals) = wired(Wire::default());
    let mut peer = eventually(warm(&pool, &mut arrivals)).await;
    // It is given to the connection before its task runs, which reads something first.
    let mut call = task::spawn(Kind::Unary.call(pool.channel(), ask(Do::Echo, "hello")));
    assert!(call.poll().is_pending());
    peer.ping([1; 8]).await.unwrap();
    wire.resets.store(true, Ordering::SeqCst);
    let next = eventually(arrivals.recv()).await.unwrap();
    tokio::spawn(answer_all(Raw::greet(next, 100).await.unwrap()));
    eventually(call).await.unwrap();
    assert_eq!(pool.counters().transparent_retries, 0);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_behind_a_goaway_ends_a_connection_without_calls_at_once() {
    let (pool, wire, mut arrivals) = wired(Wire::default());
    let mut peer = eventually(warm(&pool, &mut arrivals)).await;
    let begun = Instant::now();
    wire.resets.store(true, Ordering::SeqCst);
    peer.goaway(1, code::NO_ERROR, "").await.unwrap();
    eventually(peer.closed()).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let counters = pool.counters();
    assert_eq!((counters.goaways, counters.connections_lost), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_fails_with_the_write_of_its_request() {
    let (pool, wire, mut arrivals) = wired(Wire::default());
    let _peer = eventually(warm(&pool, &mut arrivals)).await;
    wire.breaks.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let call = Kind::Unary.call(pool.channel(), ask(Do::Echo, "hello"));
    let status = eventually(call).await.unwrap_err();
    assert!(status.message().contains("broken pipe"), "{status}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
