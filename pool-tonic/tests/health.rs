//! Health: servers that say whether they serve, and pools that do.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;
#[cfg(feature = "health")]
#[path = "health/source.rs"]
mod source;

use std::error::Error as _;
use std::iter::successors;
use std::time::Duration;

use common::{ask, client, until};
use memory::{Network, Peer, eventually, in_memory};
use pool_tonic::{ChannelPool, ChannelPoolBuilder, ConnectivityState};
use pool_tonic_testing::proto::{Answer, Do};
use pool_tonic_testing::raw::{Raw, block, flag, kind};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Response, Status};

const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

fn unary(pool: &ChannelPool) -> JoinHandle<Result<Response<Answer>, Status>> {
    let mut client = client(pool);
    tokio::spawn(async move { client.unary(ask(Do::Echo)).await })
}

fn checked() -> (ChannelPoolBuilder, Network) {
    let (pool, network) = in_memory();
    (pool.health_check("shop").keepalive_time(None), network)
}

/// The connection's question, answered.
async fn watched(peer: &mut Peer, status: u8) -> u32 {
    let (watch, question) = eventually(peer.request()).await;
    assert_eq!(question, b"\0\0\0\0\x06\x0a\x04shop");
    peer.headers(watch).await.unwrap();
    say(peer, watch, status).await;
    watch
}

async fn say(peer: &mut Peer, watch: u32, status: u8) {
    peer.data(watch, &[0, 0, 0, 0, 2, 8, status]).await.unwrap();
}

async fn answered(pool: &ChannelPool, peer: &mut Peer) {
    let call = unary(pool);
    let (stream, _) = eventually(peer.request()).await;
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_serves_is_ready_and_the_question_takes_a_slot() {
    let (pool, mut network) = checked();
    let pool = pool.min_connections(1).build().unwrap();
    let mut peer = network.accept(10).await;
    assert_eq!(pool.state(), ConnectivityState::Connecting);
    watched(&mut peer, SERVING).await;
    until(|| pool.state() == ConnectivityState::Ready).await;
    assert_eq!(pool.status().capacity, 9);
    answered(&pool, &mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_to_a_server_that_does_not_serve_is_a_failed_attempt() {
    let (pool, mut network) = checked();
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(10).await;
    watched(&mut peer, NOT_SERVING).await;
    let status = eventually(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("memory is connected, and not healthy"), "{status}");
    assert!(status.message().contains("NOT_SERVING"), "{status}");
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    eventually(peer.closed()).await;
    // At once, and for the same reason.
    let start = Instant::now();
    let status = eventually(unary(&pool)).await.unwrap().unwrap_err();
    assert_eq!((status.code(), start.elapsed()), (Code::Unavailable, Duration::ZERO));
    assert!(status.message().contains("memory is connected, and not healthy"), "{status}");
    assert!(status.message().contains("NOT_SERVING"), "{status}");
    // Left alone for the back-off, then asked again.
    let mut peer = network.accept(10).await;
    assert!(start.elapsed() >= Duration::from_millis(800), "{:?}", start.elapsed());
    watched(&mut peer, SERVING).await;
    until(|| pool.state() == ConnectivityState::Ready).await;
    answered(&pool, &mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_fails_with_what_the_question_failed_with() {
    let (pool, mut network) = checked();
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(10).await;
    let (watch, _) = eventually(peer.request()).await;
    peer.trailers_only(watch, "16").await.unwrap();
    let status = eventually(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("asks for its health failed: Unauthenticated"), "{status}");
    let mut causes = successors(status.source(), |&error| error.source());
    let cause = causes.find_map(|error| error.downcast_ref::<Status>()).unwrap();
    assert_eq!(cause.code(), Code::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn a_connection_gets_no_calls_while_its_server_does_not_serve() {
    let (pool, mut network) = checked();
    let pool = pool.max_connections(1).build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(10).await;
    let watch = watched(&mut peer, SERVING).await;
    let (running, _) = eventually(peer.request()).await;

    say(&mut peer, watch, NOT_SERVING).await;
    until(|| pool.state() == ConnectivityState::TransientFailure).await;
    let list = pool.connection_list();
    assert_eq!((list[0].state, list[0].limit), (ConnectivityState::TransientFailure, 0));
    let status = eventually(unary(&pool)).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("NOT_SERVING"), "{status}");
    // What runs goes on.
    peer.answer(running).await.unwrap();
    eventually(call).await.unwrap().unwrap();

    say(&mut peer, watch, SERVING).await;
    until(|| pool.state() == ConnectivityState::Ready).await;
    answered(&pool, &mut peer).await;
    assert_eq!(pool.counters().connections_opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_say_counts_as_healthy() {
    enum How {
        TrailersOnly,
        Trailers,
        /// As a proxy does that has no route for the question.
        NotFound,
    }
    for how in [How::TrailersOnly, How::Trailers, How::NotFound] {
        let (pool, mut network) = checked();
        let pool = pool.build().unwrap();
        let call = unary(&pool);
        let mut peer = network.accept(10).await;
        let (watch, _) = eventually(peer.request()).await;
        match how {
            How::TrailersOnly => peer.trailers_only(watch, "12").await.unwrap(),
            How::Trailers => {
                peer.headers(watch).await.unwrap();
                peer.trailers(watch, "12").await.unwrap();
            }
            How::NotFound => {
                let block = block(false, &[(":status", "404"), ("content-type", "text/html")]);
                let flags = flag::END_HEADERS | flag::END_STREAM;
                peer.frame(kind::HEADERS, flags, watch, &block).await.unwrap();
            }
        }
        let (stream, _) = eventually(peer.request()).await;
        assert_eq!(pool.status().capacity, 10);
        peer.answer(stream).await.unwrap();
        eventually(call).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_breaks_is_asked_again_at_once_and_then_with_back_off() {
    let (pool, mut network) = checked();
    let pool = pool.min_connections(1).build().unwrap();
    let mut peer = network.accept(10).await;
    let watch = watched(&mut peer, SERVING).await;
    until(|| pool.state() == ConnectivityState::Ready).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = Instant::now();
    peer.trailers(watch, "13").await.unwrap();
    // It had lasted.
    let (watch, _) = eventually(peer.request()).await;
    assert!(start.elapsed() < Duration::from_millis(100));
    // It had not, whether it said something or not.
    say_at_once_and_end(&mut peer, watch, SERVING).await;
    let (watch, _) = eventually(peer.request()).await;
    assert!(start.elapsed() > Duration::from_millis(700), "{:?}", start.elapsed());
    let start = Instant::now();
    peer.trailers_only(watch, "13").await.unwrap();
    watched(&mut peer, SERVING).await;
    assert!(start.elapsed() > Duration::from_millis(700), "{:?}", start.elapsed());
    answered(&pool, &mut peer).await;
}

async fn say_at_once_and_end(peer: &mut Peer, watch: u32, status: u8) {
    peer.headers(watch).await.unwrap();
    say(peer, watch, status).await;
    peer.trailers(watch, "14").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_said_last_holds_when_the_stream_ends() {
    let (pool, mut network) = checked();
    let pool = pool.max_connections(1).build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(10).await;
    let watch = watched(&mut peer, SERVING).await;
    let (stream, _) = eventually(peer.request()).await;
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    // Whatever the stream ends with, and as often as it does: calls go on, on the same connection.
    let mut states = pool.watch();
    assert_eq!(states.state(), ConnectivityState::Ready);
    let mut watch = Some(watch);
    for status in ["0", "1", "13", "14"] {
        if let Some(watch) = watch.take() {
            peer.trailers(watch, status).await.unwrap();
        } else {
            let (watch, _) = eventually(peer.request()).await;
            peer.trailers_only(watch, status).await.unwrap();
        }
        peer.settled().await;
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.state(), ConnectivityState::Ready, "after {status}");
        assert_eq!(pool.status().capacity, 9);
    }
    assert!(!states.has_changed());
    // Nor does it serve again because a stream ended.
    let watch = watched(&mut peer, NOT_SERVING).await;
    until(|| pool.state() == ConnectivityState::TransientFailure).await;
    peer.trailers(watch, "14").await.unwrap();
    let (watch, _) = eventually(peer.request()).await;
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    peer.headers(watch).await.unwrap();
    say(&mut peer, watch, SERVING).await;
    until(|| pool.state() == ConnectivityState::Ready).await;
    answered(&pool, &mut peer).await;
    assert_eq!(pool.counters().connections_opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_to_allow_a_single_stream_has_it_for_calls() {
    let (pool, mut network) = checked();
    let pool = pool.max_connections(1).build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(10).await;
    let watch = watched(&mut peer, SERVING).await;
    let (stream, _) = eventually(peer.request()).await;
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    assert_eq!(pool.status().capacity, 9);
    // Also while it does not serve: nothing would be heard of its serving again.
    for status in [SERVING, NOT_SERVING] {
        say(&mut peer, watch, status).await;
    }
    until(|| pool.state() == ConnectivityState::TransientFailure).await;
    peer.limit(1).await.unwrap();
    eventually(peer.reset_of(watch)).await;
    until(|| pool.status().capacity == 1).await;
    assert_eq!(pool.state(), ConnectivityState::Ready);
    answered(&pool, &mut peer).await;
    // It is asked again as soon as there is room, and calls do not wait for what it says.
    peer.limit(5).await.unwrap();
    let (watch, question) = eventually(peer.request()).await;
    assert_eq!(question, b"\0\0\0\0\x06\x0a\x04shop");
    assert_eq!(pool.status().capacity, 4);
    answered(&pool, &mut peer).await;
    peer.headers(watch).await.unwrap();
    say(&mut peer, watch, NOT_SERVING).await;
    until(|| pool.state() == ConnectivityState::TransientFailure).await;
    say(&mut peer, watch, SERVING).await;
    until(|| pool.state() == ConnectivityState::Ready).await;
    answered(&pool, &mut peer).await;
    assert_eq!(pool.counters().connections_opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_of_a_single_stream_is_not_asked() {
    let (pool, mut network) = checked();
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(1).await;
    let (stream, question) = eventually(peer.request()).await;
    assert_ne!(question, b"\0\0\0\0\x06\x0a\x04shop");
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    // Until it takes two.
    peer.limit(2).await.unwrap();
    watched(&mut peer, SERVING).await;
    assert_eq!(pool.status().capacity, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_no_question_is_bounded_by_the_connect_timeout() {
    let (pool, mut network) = checked();
    let pool = pool.build().unwrap();
    let start = Instant::now();
    let call = unary(&pool);
    let _peer = network.accept(10).await;
    let status = eventually(call).await.unwrap().unwrap_err();
    assert!(status.message().contains("healthy"), "{status}");
    assert!(start.elapsed() < Duration::from_secs(21));
}

#[tokio::test(start_paused = true)]
async fn a_hard_key_fails_where_its_server_says_that_it_does_not_serve() {
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let connector = tower::service_fn(move |uri: http::Uri| {
        let send = send.clone();
        async move {
            let (near, far) = tokio::io::duplex(1 << 20);
            send.send((uri.host().unwrap_or_default().to_owned(), far)).unwrap();
            Ok::<_, std::io::Error>(near)
        }
    });
    let pool = ChannelPool::endpoints(["http://a", "http://b"])
        .connector(connector)
        .health_check("shop")
        .keepalive_time(None)
        .min_connections(2)
        .build()
        .unwrap();
    let mut kept = Vec::new();
    for _ in 0..2 {
        let (host, stream) = eventually(receive.recv()).await.unwrap();
        let mut peer: Peer = Raw::greet(stream, 10).await.unwrap();
        let is_a = host == "a";
        let watch = watched(&mut peer, SERVING).await;
        if is_a {
            kept.push((peer, watch));
        } else {
            tokio::spawn(memory::answer_all(peer));
        }
    }
    until(|| pool.state() == ConnectivityState::Ready).await;
    until(|| pool.addresses().iter().all(|it| it.ready == 1)).await;
    let (mut a, watch) = kept.pop().unwrap();
    say(&mut a, watch, NOT_SERVING).await;
    until(|| pool.addresses()[0].ready == 0).await;
    let mut failed = 0;
    for n in 0..10 {
        let mut request = tonic::Request::new(ask(Do::Echo));
        request.extensions_mut().insert(pool_tonic::Affinity::hard(format!("key {n}")));
        let began = Instant::now();
        failed += usize::from(client(&pool).unary(request).await.is_err());
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    assert!((1..10).contains(&failed), "those of one of the two");
}
