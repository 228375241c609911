//! How a connection is written to: with as few writes as will do, and what becomes of its calls when a write fails.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;
#[path = "common/memory.rs"]
mod memory;

use std::future::ready;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use kinds::{Kind, ask};
use memory::{Peer, answer_all, eventually, in_memory_with};
use pool_tonic::{ChannelPool, ChannelPoolBuilder};
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::raw::Raw;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;
use tower::service_fn;

/// What happens to a connection.
#[derive(Debug, Default)]
struct Wire {
    writes: AtomicUsize,
    /// Nothing can be written to it any more, and what came can be read.
    is_broken: AtomicBool,
}

impl Wire {
    fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }
}

/// A connection whose writes are counted.
struct Counted {
    stream: DuplexStream,
    wire: Arc<Wire>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.writes.fetch_add(1, Ordering::SeqCst);
        if self.wire.is_broken.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A pool with one connection, what happens to that, and where it arrives.
fn counted() -> (ChannelPoolBuilder, Arc<Wire>, mpsc::UnboundedReceiver<DuplexStream>) {
    let (send, arrivals) = mpsc::unbounded_channel();
    let wire = Arc::new(Wire::default());
    let mine = Arc::clone(&wire);
    let connector = service_fn(move |_: Uri| {
        let (stream, far) = duplex(1 << 20);
        let sent = send.send(far).map_err(io::Error::other);
        ready(sent.map(|()| Counted { stream, wire: Arc::clone(&mine) }))
    });
    let pool = ChannelPool::builder("http://memory").connector(connector).max_connections(1);
    (pool, wire, arrivals)
}

/// A call has been made over the pool's connection; this is its other end.
async fn warm(pool: &ChannelPool, arrivals: &mut mpsc::UnboundedReceiver<DuplexStream>) -> Peer {
    let call = Kind::Unary.spawn(pool, ask(Do::Echo, "warm"));
    let mut peer = Raw::greet(arrivals.recv().await.unwrap(), 100).await.unwrap();
    let (stream, _) = eventually(peer.request()).await;
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_that_begin_together_are_written_together() {
    const CALLS: usize = 64;
    let (pool, wire, mut arrivals) = counted();
    let pool = pool.build().unwrap();
    let peer = warm(&pool, &mut arrivals).await;
    let server = tokio::spawn(answer_all(peer));
    let before = wire.writes();
    // From a worker, as a server's handlers call.
    let calls = tokio::spawn(async move {
        let call = |_| Kind::Unary.call(pool.channel(), ask(Do::Echo, "hello"));
        (0..CALLS).map(call).collect::<JoinSet<_>>().join_all().await
    });
    for answered in eventually(calls).await.unwrap() {
        answered.unwrap();
    }
    let written = wire.writes() - before;
    assert!(written <= CALLS / 4, "{written} writes for {CALLS} calls");
    eventually(server).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_has_to_send_is_written_at_once() {
    // As much as the window has room for; in frames of 16 KiB.
    const BYTES: usize = 60_000;
    for kind in [Kind::Unary, Kind::ClientStream] {
        let (pool, wire, mut arrivals) = counted();
        let pool = pool.build().unwrap();
        let mut peer = warm(&pool, &mut arrivals).await;
        let before = wire.writes();
        let call = kind.spawn(&pool, ask(Do::Echo, "x".repeat(BYTES)));
        let (stream, request) = eventually(peer.request()).await;
        assert!(request.len() > BYTES);
        let written = wire.writes() - before;
        // A task of its own sends a stream's messages: its HEADERS may go before.
        assert!(written <= 2, "{kind:?}: {written} writes");
        peer.answer(stream).await.unwrap();
        eventually(call).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_connection_takes_little_by_little_is_whole() {
    const CALLS: usize = 10;
    let (pool, network) = in_memory_with(1000, Duration::ZERO);
    let pool = pool.max_connections(1).build().unwrap();
    let server = network.serve(100);
    let call = |_| Kind::Unary.call(pool.channel(), ask(Do::Echo, "x".repeat(5000)));
    let calls: JoinSet<_> = (0..CALLS).map(call).collect();
    for answered in eventually(calls.join_all()).await {
        answered.unwrap();
    }
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_before_a_write_fails_is_answered() {
    let (pool, wire, mut arrivals) = counted();
    let pool = pool.build().unwrap();
    let mut peer = warm(&pool, &mut arrivals).await;
    let answered = Kind::Unary.spawn(&pool, ask(Do::Echo, "in time"));
    let (stream, _) = eventually(peer.request()).await;
    // The answer is there when the next request is written, which fails.
    let failed = Kind::Unary.spawn(&pool, ask(Do::Echo, "too late"));
    wire.is_broken.store(true, Ordering::SeqCst);
    peer.answer(stream).await.unwrap();
    let status = eventually(failed).await.unwrap().unwrap_err();
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
async fn a_call_fails_with_the_write_of_its_request() {
    let (pool, wire, mut arrivals) = counted();
    let pool = pool.build().unwrap();
    let _peer = warm(&pool, &mut arrivals).await;
    wire.is_broken.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let status =
        eventually(Kind::Unary.call(pool.channel(), ask(Do::Echo, "hello"))).await.unwrap_err();
    assert!(status.message().contains("broken pipe"), "{status}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
