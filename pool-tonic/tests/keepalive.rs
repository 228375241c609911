//! Keepalive: is anybody there?

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::time::Duration;

use common::{ask, client};
use memory::{Peer, eventually, in_memory, pass};
use pool_tonic::{ChannelPool, ConnectivityState};
use pool_tonic_testing::proto::{Answer, Do};
use pool_tonic_testing::raw::{MAX_STREAM, code, message};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::{Code, Response, Status};

const SECOND: Duration = Duration::from_secs(1);

fn unary(pool: &ChannelPool) -> JoinHandle<Result<Response<Answer>, Status>> {
    let mut client = client(pool);
    tokio::spawn(async move { client.unary(ask(Do::Echo)).await })
}

/// Nothing but what was said already is asked.
async fn is_not_pinged(peer: &mut Peer) -> bool {
    timeout(Duration::from_millis(1), peer.pinged()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_ended_within_the_time_and_the_timeout_and_made_anew() {
    let (pool, mut network) = in_memory();
    // Less than 10 s is taken as 10 s.
    let pool = pool.keepalive_time(SECOND).keepalive_timeout(5 * SECOND).build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    peer.request().await;
    let start = Instant::now();
    let status = eventually(call).await.unwrap().unwrap_err();
    let elapsed = start.elapsed();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("keepalive"), "{status}");
    assert!(elapsed > 10 * SECOND && elapsed <= 15 * SECOND, "{elapsed:?}");
    assert!(peer.pinged().await.is_some());
    assert_eq!(peer.pinged().await, None, "one ping, and then the end");
    let counters = pool.counters();
    assert_eq!((counters.keepalive_timeouts, counters.connections_lost), (1, 1));

    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_may_take_its_time() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(10 * SECOND).build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    let mut pings = 0;
    let hour = Instant::now() + 3600 * SECOND;
    while Instant::now() < hour {
        let ping = eventually(peer.pinged()).await.unwrap();
        pings += 1;
        peer.pong(ping).await.unwrap();
    }
    assert!((350..=361).contains(&pings), "one in ten seconds, not {pings}");
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    assert_eq!(pool.counters().keepalive_timeouts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_one_and_so_is_anything_else_that_comes() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(10 * SECOND).keepalive_timeout(5 * SECOND).build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    for _ in 0..10 {
        let ping = eventually(peer.pinged()).await.unwrap();
        pass(4).await;
        // No answer to the ping, but a sign of life.
        peer.window_update(0, 1).await.unwrap();
        pass(4).await;
        // Later than it might be by itself.
        peer.pong(ping).await.unwrap();
    }
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_time_of_more_than_a_day_is_waited_for() {
    const HOUR: u64 = 3600;
    let (pool, mut network) = in_memory();
    let pool = pool
        .keepalive_time(Duration::from_secs(48 * HOUR))
        .max_connection_age(None)
        .build()
        .unwrap();
    let _call = unary(&pool);
    let mut peer = network.accept(100).await;
    peer.request().await;
    pass(47 * HOUR).await;
    assert!(is_not_pinged(&mut peer).await);
    eventually(peer.pinged()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_data_comes_nobody_is_asked() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(10 * SECOND).build().unwrap();
    let mut client = client(&pool);
    let call = tokio::spawn(async move {
        let mut answers = client.server_stream(ask(Do::Echo)).await?.into_inner();
        let mut messages = 0;
        while answers.message().await?.is_some() {
            messages += 1;
        }
        Ok::<_, Status>(messages)
    });
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    peer.headers(stream).await.unwrap();
    for _ in 0..100 {
        pass(9).await;
        peer.data(stream, &message("here")).await.unwrap();
    }
    assert!(is_not_pinged(&mut peer).await);
    peer.finish(stream).await.unwrap();
    assert_eq!(eventually(call).await.unwrap().unwrap(), 101);
}

#[tokio::test(start_paused = true)]
async fn without_calls_nobody_is_asked_until_one_begins() {
    let (pool, mut network) = in_memory();
    let pool = pool.min_connections(1).max_connection_age(None).build().unwrap();
    let mut peer = network.accept(100).await;
    pass(3600).await;
    assert!(is_not_pinged(&mut peer).await);
    let call = unary(&pool);
    let start = Instant::now();
    let (stream, _) = peer.request().await;
    // It went out with the call, which does not have to wait for a minute to learn whether anybody is there.
    let ping = peer.pinged().await.unwrap();
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    peer.pong(ping).await.unwrap();
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_without_calls_fails_the_next_one_within_the_timeout() {
    let (pool, mut network) = in_memory();
    let pool = pool.min_connections(1).max_connection_age(None).build().unwrap();
    let _mute = network.accept(100).await;
    pass(3600).await;
    let start = Instant::now();
    let status = eventually(unary(&pool)).await.unwrap().unwrap_err();
    assert!(status.message().contains("keepalive"), "{status}");
    assert!(start.elapsed() <= 20 * SECOND, "{:?}", start.elapsed());
    // The minimum is made anew.
    network.accept(100).await;
}

#[tokio::test(start_paused = true)]
async fn without_calls_it_is_asked_when_told() {
    let (pool, mut network) = in_memory();
    let pool = pool
        .min_connections(1)
        .keepalive_time(30 * SECOND)
        .keepalive_without_calls(true)
        .build()
        .unwrap();
    let mut peer = network.accept(100).await;
    let start = Instant::now();
    assert!(eventually(peer.pinged()).await.is_some());
    assert!((30 * SECOND..33 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    let mut state = pool.watch();
    // Nobody answers.
    eventually(state.wait_for(|state| state != ConnectivityState::Ready)).await.unwrap();
    assert!(start.elapsed() <= 50 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn turned_off_nobody_is_asked() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(None).max_connection_age(None).build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    pass(3600).await;
    assert!(is_not_pinged(&mut peer).await);
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_complaint_counts_also_after_a_goaway_that_was_none() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(10 * SECOND).build().unwrap();
    for factor in [1, 2] {
        let call = unary(&pool);
        let mut peer = network.accept(100).await;
        let (stream, _) = peer.request().await;
        // In good order, and its calls go on.
        peer.goaway(MAX_STREAM, code::NO_ERROR, "").await.unwrap();
        let start = Instant::now();
        eventually(peer.pinged()).await.unwrap();
        let least = factor * 10 * SECOND;
        assert!((least..least + 2 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
        peer.goaway(stream, code::ENHANCE_YOUR_CALM, "too_many_pings").await.unwrap();
        peer.answer(stream).await.unwrap();
        eventually(call).await.unwrap().unwrap();
        peer.closed().await;
    }
    assert_eq!(pool.counters().goaways, 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_finds_pings_too_many_is_asked_half_as_often_from_then_on() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(10 * SECOND).build().unwrap();
    for factor in [1, 2, 4] {
        let call = unary(&pool);
        let mut peer = network.accept(100).await;
        let (stream, _) = peer.request().await;
        let start = Instant::now();
        eventually(peer.pinged()).await.unwrap();
        let least = factor * 10 * SECOND;
        assert!((least..least + 2 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
        peer.goaway(stream, code::ENHANCE_YOUR_CALM, "too_many_pings").await.unwrap();
        peer.answer(stream).await.unwrap();
        eventually(call).await.unwrap().unwrap();
        peer.closed().await;
    }
    assert_eq!(pool.counters().goaways, 3);
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_complained_of_together_count_once() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(10 * SECOND).max_streams_per_connection(1).build().unwrap();
    let calls = [unary(&pool), unary(&pool)];
    let mut peers = [network.accept(100).await, network.accept(100).await];
    for peer in &mut peers {
        let (stream, _) = peer.request().await;
        eventually(peer.pinged()).await.unwrap();
        peer.goaway(stream, code::ENHANCE_YOUR_CALM, "too_many_pings").await.unwrap();
        peer.answer(stream).await.unwrap();
    }
    for call in calls {
        eventually(call).await.unwrap().unwrap();
    }
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    let start = Instant::now();
    eventually(peer.pinged()).await.unwrap();
    assert!((20 * SECOND..22 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_connection_without_a_call_is_not_pinged() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(10 * SECOND).build().unwrap();
    let held = tokio::spawn({
        let pool = pool.clone();
        async move { pool.exclusive().await }
    });
    let mut peer = network.accept(100).await;
    let held = eventually(held).await.unwrap().unwrap();
    pass(3600).await;
    assert!(is_not_pinged(&mut peer).await);
    drop(held);
}
