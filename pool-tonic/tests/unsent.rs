//! Calls of which nothing was sent: their connection had ended when they were given to it, and nobody knew yet.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;
#[path = "common/memory.rs"]
mod memory;

use std::time::Duration;

use common::until;
use kinds::{Asks, KINDS, Kind, STREAMED, ask};
use memory::{Network, Peer, eventually, in_memory, in_memory_with, pass};
use pool_tonic::{ChannelPool, ChannelPoolBuilder};
use pool_tonic_testing::proto::{Ask, Do};
use pool_tonic_testing::raw::kind;
use tokio::io::AsyncReadExt as _;
use tokio_stream::StreamExt as _;
use tonic::Code;

/// A pool with one connection, over which a call was made; nothing may be sent twice by a limit.
async fn connected(pool: ChannelPoolBuilder, network: &mut Network) -> (ChannelPool, Peer) {
    let pool = pool.max_connections(1).max_transparent_retries(0).build().unwrap();
    let call = Kind::Unary.spawn(&pool, ask(Do::Echo, "warm"));
    let mut peer = network.accept(100).await;
    let (stream, _) = eventually(peer.request()).await;
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    (pool, peer)
}

#[tokio::test(start_paused = true)]
async fn they_go_over_another_connection() {
    for kind in KINDS {
        let (pool, mut network) = in_memory();
        let (pool, peer) = connected(pool, &mut network).await;
        drop(peer);
        // Given to the connection before its task runs, and reads the end.
        let call = kind.call(pool.channel(), ask(Do::Echo, "hello"));
        let server = network.serve(100);
        eventually(call).await.unwrap();
        let counters = pool.counters();
        assert_eq!((counters.connections_opened, counters.connections_lost), (2, 1), "{kind:?}");
        assert_eq!((counters.transparent_retries, counters.retries), (0, 0));
        assert_eq!(counters.calls_ended.get(Code::Ok), 2);
        assert_eq!(pool.status().streams, 0);
        server.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn they_do_so_as_often_as_it_takes() {
    let (pool, mut network) = in_memory();
    let (pool, mut peer) = connected(pool, &mut network).await;
    for _ in 0..20 {
        let mut call = Box::pin(Kind::Unary.call(pool.channel(), ask(Do::Echo, "hello")));
        drop(peer);
        let answered = async { eventually(call.as_mut()).await.unwrap() };
        let served = async {
            let mut peer = network.accept(100).await;
            let (stream, _) = eventually(peer.request()).await;
            peer.answer(stream).await.unwrap();
            peer
        };
        (_, peer) = tokio::join!(answered, served);
    }
    assert_eq!(pool.counters().calls_ended.get(Code::Ok), 21);
    assert_eq!(pool.counters().transparent_retries, 0);
}

#[tokio::test(start_paused = true)]
async fn of_which_a_byte_was_written_is_sent() {
    for kind in KINDS {
        let (pool, mut network) = in_memory();
        let (pool, mut peer) = connected(pool, &mut network).await;
        let call = kind.spawn(&pool, ask(Do::Echo, "hello"));
        eventually(peer.opened()).await;
        drop(peer);
        let status = eventually(call).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{kind:?} {status}");
        assert!(status.message().contains("was lost"), "{status}");
        assert!(network.is_quiet(), "nobody asked for another connection");
    }
}

/// The peer does not read, and what was written before is in the way of all that begins.
#[tokio::test(start_paused = true)]
async fn behind_a_request_that_the_connection_does_not_take_they_are_not_sent() {
    for kind in KINDS {
        let (pool, mut network) = in_memory_with(1000, Duration::ZERO);
        let (pool, peer) = connected(pool, &mut network).await;
        let large = Kind::Unary.spawn(&pool, ask(Do::Echo, "x".repeat(60_000)));
        // The pipe is full by then.
        pass(1).await;
        let small = kind.spawn(&pool, ask(Do::Echo, "hello"));
        pass(1).await;
        assert_eq!(pool.status().streams, 2, "{kind:?}");
        drop(peer);
        let server = network.serve(100);
        eventually(small).await.unwrap().unwrap();
        let status = eventually(large).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{kind:?} {status}");
        let counters = pool.counters();
        assert_eq!((counters.connections_opened, counters.transparent_retries), (2, 0), "{kind:?}");
        server.abort();
    }
}

/// The streams that are opened in these frames, the last of which may be cut short.
fn opened(mut frames: &[u8]) -> Vec<u32> {
    let mut opened = Vec::new();
    while let Some((head, rest)) = frames.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if head[3] == kind::HEADERS {
            opened.push(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        }
        frames = rest.get(length..).unwrap_or_default();
    }
    opened
}

/// A connection that is over says goodbye, and nothing else that h2 still has.
#[tokio::test(start_paused = true)]
async fn behind_one_that_is_over_they_do_not_follow_when_the_peer_reads_on() {
    for (kind, is_ended) in KINDS.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let (pool, mut network) = in_memory_with(1000, Duration::ZERO);
        let (pool, mut peer) = connected(pool, &mut network).await;
        let large = Kind::Unary.spawn(&pool, ask(Do::Echo, "x".repeat(60_000)));
        pass(1).await;
        let small = kind.spawn(&pool, ask(Do::Echo, "hello"));
        pass(1).await;
        if is_ended {
            peer.fall_silent().await.unwrap();
        } else {
            // On no stream.
            peer.frame(kind::DATA, 0, 0, b"what?").await.unwrap();
        }
        let server = network.serve(100);
        eventually(small).await.unwrap().unwrap();
        eventually(large).await.unwrap().unwrap_err();
        let mut rest = Vec::new();
        eventually(peer.into_stream().read_to_end(&mut rest)).await.unwrap();
        assert_eq!(opened(&rest).len(), 1, "{kind:?}, {is_ended}: the large one");
        assert_eq!(pool.counters().calls_ended.get(Code::Ok), 2);
        server.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_of_their_requests_cannot_be_sent_again() {
    for kind in STREAMED {
        let (pool, mut network) = in_memory();
        let (pool, peer) = connected(pool.retry_buffer_size(10), &mut network).await;
        drop(peer);
        // The pump has taken of it what it can before the end is read.
        let more = Asks::new(tokio_stream::iter(vec![ask(Do::Echo, "more"); 3]).chain(open()));
        let call = kind.begin(pool.channel(), ask(Do::Echo, "hello"), more, None);
        let status = eventually(call).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{kind:?} {status}");
        until(|| pool.status().streams == 0).await;
    }
}

fn open() -> impl tokio_stream::Stream<Item = Ask> {
    tokio_stream::pending()
}

#[tokio::test(start_paused = true)]
async fn on_an_exclusive_connection_they_fail_and_say_so() {
    let (pool, mut network) = in_memory();
    let pool = pool.build().unwrap();
    let (mine, peer) = tokio::join!(eventually(pool.exclusive()), network.accept(100));
    let mine = mine.unwrap();
    drop(peer);
    let mut client = pool_tonic_testing::proto::echo_client::EchoClient::new(mine);
    let status = eventually(client.unary(ask(Do::Echo, "hello"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("takes no more calls"), "{status}");
    assert!(network.is_quiet());
}
