//! Why connections are no more: each counts once, by the first reason that was seen.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::time::Duration;

use common::{soon, until};
use memory::{eventually, in_memory};
use pool_tonic::{ChannelPool, DisconnectError};
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::raw::{Raw, code};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// A pool with one connection, and the server's end of it.
async fn connected() -> (ChannelPool, Peer, Raw) {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_connections(1).build().unwrap();
    let until = Instant::now() + 20 * SECOND;
    let (ready, raw) = tokio::join!(pool.wait_ready(until), peer.accept_raw(100));
    ready.unwrap();
    (pool, peer, raw.unwrap())
}

fn reset(raw: Raw) {
    let stream = raw.into_stream();
    stream.set_zero_linger().unwrap();
    drop(stream);
}

fn total(pool: &ChannelPool) -> u64 {
    pool.counters().disconnections.total()
}

/// The connections that are gone, which are of one kind.
#[track_caller]
fn assert_disconnected(pool: &ChannelPool, error: DisconnectError, number: u64) {
    let disconnections = pool.counters().disconnections;
    let of = (disconnections.get(error), disconnections.total());
    assert_eq!(of, (number, number), "{error:?} of {disconnections:?}");
}

#[tokio::test]
async fn a_server_that_closes_without_a_word_has_no_reason() {
    let (pool, _peer, raw) = connected().await;
    assert_eq!(total(&pool), 0);
    // Dropped, it would be reset for what it has not read.
    let mut stream = raw.into_stream();
    stream.shutdown().await.unwrap();
    until(|| total(&pool) == 1).await;
    assert_disconnected(&pool, DisconnectError::Unknown, 1);
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let (pool, _peer, raw) = connected().await;
    reset(raw);
    until(|| total(&pool) == 1).await;
    assert_disconnected(&pool, DisconnectError::ConnectionReset, 1);
}

#[tokio::test]
async fn of_a_goaway_and_a_reset_after_it_the_goaway_counts_and_once() {
    for is_at_once in [false, true] {
        let (pool, _peer, mut raw) = connected().await;
        raw.goaway(0, code::ENHANCE_YOUR_CALM, "too_many_pings").await.unwrap();
        if !is_at_once {
            until(|| total(&pool) == 1).await;
            assert_disconnected(&pool, DisconnectError::GoawayEnhanceYourCalm, 1);
        }
        reset(raw);
        until(|| pool.connection_list().is_empty()).await;
        assert_disconnected(&pool, DisconnectError::GoawayEnhanceYourCalm, 1);
        let counters = pool.counters();
        let counts = (counters.connections_opened, counters.goaways, counters.connections_lost);
        assert_eq!(counts, (1, 1, 0), "{is_at_once}");
    }
}

#[tokio::test]
async fn a_pool_that_is_closed_shuts_its_connections_down() {
    let (pool, _peer, _stream) = connected().await;
    soon(pool.close(SECOND)).await;
    assert_disconnected(&pool, DisconnectError::SubchannelShutdown, 1);
    let counters = pool.counters();
    assert_eq!((counters.connections_opened, counters.connections_lost), (1, 0));
}

#[tokio::test]
async fn an_attempt_that_the_pool_gives_up_has_neither_succeeded_nor_failed() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.wait_ready(Instant::now() + 20 * SECOND).await }
    });
    let _mute = soon(peer.accept_tcp()).await.unwrap();
    soon(pool.close(SECOND)).await;
    assert!(soon(waits).await.unwrap().is_err());
    let counters = pool.counters();
    assert_eq!((counters.connections_opened, counters.connections_failed), (0, 0));
    assert_eq!(total(&pool), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_keepalive_gives_up_has_timed_out() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(10 * SECOND).keepalive_without_calls(true).build().unwrap();
    let until = Instant::now() + 20 * SECOND;
    let (ready, _peer): (_, Raw<_>) = tokio::join!(pool.wait_ready(until), network.accept(100));
    ready.unwrap();
    eventually(async {
        while total(&pool) == 0 {
            tokio::time::sleep(SECOND).await;
        }
    })
    .await;
    assert_disconnected(&pool, DisconnectError::ConnectionTimedOut, 1);
}
