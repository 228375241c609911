//! Health: servers that say whether they serve, and pools that do.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;
#[cfg(feature = "health")]
#[path = "health/source.rs"]
mod source;

use std::time::Duration;

use common::{ask, client, until};
use memory::{Network, Peer, eventually, in_memory};
use pool_tonic::{ChannelPool, ChannelPoolBuilder, ConnectivityState};
use pool_tonic_testing::proto::{Answer, Do};
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
    assert!(status.message().contains("NOT_SERVING"), "{status}");
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    eventually(peer.closed()).await;
    // Left alone for the back-off, then asked again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let call = unary(&pool);
    let mut peer = network.accept(10).await;
    watched(&mut peer, SERVING).await;
    let (stream, _) = eventually(peer.request()).await;
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
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
    for trailers_only in [true, false] {
        let (pool, mut network) = checked();
        let pool = pool.build().unwrap();
        let call = unary(&pool);
        let mut peer = network.accept(10).await;
        let (watch, _) = eventually(peer.request()).await;
        if trailers_only {
            peer.trailers_only(watch, "12").await.unwrap();
        } else {
            peer.headers(watch).await.unwrap();
            peer.trailers(watch, "12").await.unwrap();
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
    let start = Instant::now();
    peer.trailers(watch, "13").await.unwrap();
    // It had said something.
    let (watch, _) = eventually(peer.request()).await;
    assert!(start.elapsed() < Duration::from_millis(100));
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    // It had not.
    peer.trailers_only(watch, "13").await.unwrap();
    watched(&mut peer, SERVING).await;
    assert!(start.elapsed() > Duration::from_millis(700), "{:?}", start.elapsed());
    until(|| pool.state() == ConnectivityState::Ready).await;
    answered(&pool, &mut peer).await;
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
