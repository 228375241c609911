//! The priming call, and what `reset_backoff` is for.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::time::Duration;

use bytes::Bytes;
use common::{ask, client, until};
use memory::{Network, answer_all, eventually, in_memory, in_memory_with};
use pool_tonic::{ChannelPool, ChannelPoolBuilder, ConnectivityState};
use pool_tonic_testing::proto::{Answer, Do};
use pool_tonic_testing::raw::Raw;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

fn unary(pool: &ChannelPool) -> JoinHandle<Result<Response<Answer>, Status>> {
    let mut client = client(pool);
    tokio::spawn(async move { client.unary(ask(Do::Echo)).await })
}

fn primed() -> (ChannelPoolBuilder, Network) {
    let (pool, network) = in_memory();
    (primed_by(pool), network)
}

fn primed_by(pool: ChannelPoolBuilder) -> ChannelPoolBuilder {
    pool.priming("/shop.Orders/Ping", Request::new(Bytes::from_static(b"hello")))
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_lent_when_its_priming_call_has_been_answered() {
    let (pool, mut network) = primed();
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let (priming, body) = eventually(peer.request()).await;
    assert_eq!(body, b"\0\0\0\0\x05hello");
    assert_eq!(pool.state(), ConnectivityState::Connecting);
    assert_eq!(pool.connection_list()[0].state, ConnectivityState::Connecting);
    peer.answer(priming).await.unwrap();
    let (stream, _) = eventually(peer.request()).await;
    assert_eq!(stream, priming + 2);
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    assert_eq!(pool.counters().calls_started, 1, "the pool's own calls are not the user's");
}

#[tokio::test(start_paused = true)]
async fn a_priming_call_that_fails_is_a_failed_attempt() {
    let (pool, mut network) = primed();
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let (priming, _) = eventually(peer.request()).await;
    peer.trailers_only(priming, "7").await.unwrap();
    let status = eventually(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("PermissionDenied"), "{status}");
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    eventually(peer.closed()).await;
    assert_eq!(pool.counters().connections_failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_during_its_priming_call_is_a_failed_attempt() {
    let (pool, mut network) = primed();
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    eventually(peer.request()).await;
    drop(peer);
    let status = eventually(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(pool.counters().connections_failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_priming_call_is_bounded_by_the_connect_timeout() {
    let (pool, mut network) = primed();
    let pool = pool.connect_timeout(Duration::from_secs(3)).build().unwrap();
    let start = Instant::now();
    let call = unary(&pool);
    let _peer = network.accept(100).await;
    let status = eventually(call).await.unwrap().unwrap_err();
    assert!(status.message().contains("priming"), "{status}");
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn resetting_the_back_off_dials_at_once_what_is_wanted() {
    let (pool, mut network) = in_memory();
    let pool = pool.min_connections(1).build().unwrap();
    for _ in 0..5 {
        // Hung up on: longer back-off each time.
        drop(network.arrival().await);
    }
    let is_long = |left: Duration| left > Duration::from_secs(5);
    until(|| pool.addresses()[0].retry_in.is_some_and(is_long)).await;
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.wait_ready(Instant::now() + Duration::from_secs(60)).await }
    });
    let start = Instant::now();
    pool.reset_backoff();
    tokio::spawn(answer_all(network.accept(100).await));
    eventually(waiting).await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    eventually(unary(&pool)).await.unwrap().unwrap();
}

/// What a slow network costs in one phase is not there for the next.
#[tokio::test(start_paused = true)]
async fn one_timeout_bounds_all_phases_of_connecting_together() {
    let slow = Duration::from_secs(8);
    let (pool, mut network) = in_memory_with(1 << 20, slow);
    let pool = primed_by(pool).build().unwrap();
    let began = Instant::now();
    let call = unary(&pool);
    let mut peer = Raw::mute(network.arrival().await).await.unwrap();
    tokio::time::sleep(slow).await;
    peer.limit(100).await.unwrap();
    eventually(peer.request()).await;
    let status = eventually(call).await.unwrap().unwrap_err();
    assert!(
        status.message().contains("20s passed while the answer to the priming call"),
        "{status}"
    );
    assert_eq!(began.elapsed().as_secs(), 20);
}
