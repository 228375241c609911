//! How long connections that carry one call at a time are kept: by their age, without calls, and by how many are needed.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::time::Duration;

use common::{ask, client, dedicated, until};
use memory::{Network, Peer, answer_all, eventually, in_memory, pass};
use pool_core::EndReason;
use pool_tonic::{ChannelPool, ChannelPoolBuilder, ConnectivityState, ExclusiveChannel};
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::proto::echo_client::EchoClient;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// A pool that does nothing by the passing of time but what a test sets.
fn timeless() -> (ChannelPoolBuilder, Network) {
    let (pool, network) = in_memory();
    (pool.keepalive_time(None).idle_timeout(None).max_connection_age(None), network)
}

async fn call(pool: &ChannelPool) {
    eventually(client(pool).unary(dedicated(ask(Do::Echo)))).await.unwrap();
    until(|| pool.status().dedicated.in_use == 0).await;
}

/// A connection of one's own, and its other end.
async fn exclusive(pool: &ChannelPool, network: &mut Network) -> (ExclusiveChannel, Peer) {
    let begun = tokio::spawn({
        let pool = pool.clone();
        async move { pool.exclusive().await }
    });
    let peer = network.accept(100).await;
    (eventually(begun).await.unwrap().unwrap(), peer)
}

fn ready(pool: &ChannelPool) -> usize {
    pool.status().dedicated.ready
}

fn ended(pool: &ChannelPool, reason: EndReason) -> u64 {
    pool.dedicated_connections().counters().ended.get(reason)
}

#[tokio::test(start_paused = true)]
async fn one_without_calls_goes_after_the_idle_timeout_and_one_that_is_held_does_not() {
    let (pool, mut network) = timeless();
    let pool = pool.idle_timeout(80 * SECOND).build().unwrap();
    let (held, mut peer) = exclusive(&pool, &mut network).await;
    pass(600).await;
    assert_eq!((ready(&pool), ended(&pool, EndReason::Idle)), (1, 0));
    drop(held);
    let returned = Instant::now();
    eventually(peer.closed()).await;
    // Never early, and at most an eighth late.
    let idle = returned.elapsed();
    assert!((80 * SECOND..=91 * SECOND).contains(&idle), "{idle:?}");
    assert_eq!((ready(&pool), ended(&pool, EndReason::Idle)), (0, 1));
    assert_eq!(pool.state(), ConnectivityState::Idle);
    // The next call makes another one.
    network.serve(100);
    call(&pool).await;
    assert_eq!((ready(&pool), pool.counters().connections_opened), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn one_of_age_goes_and_the_next_call_has_another() {
    let (pool, network) = timeless();
    let pool = pool.max_connection_age(60 * SECOND).build().unwrap();
    network.serve(100);
    let began = Instant::now();
    while ended(&pool, EndReason::Lifetime) == 0 {
        // None of these fails, whenever it comes.
        call(&pool).await;
        pass(1).await;
    }
    // The age is less by up to a tenth.
    let age = began.elapsed();
    assert!((54 * SECOND..=61 * SECOND).contains(&age), "{age:?}");
    for _ in 0..600 {
        call(&pool).await;
        pass(1).await;
    }
    let ages = ended(&pool, EndReason::Lifetime);
    assert!((10..=14).contains(&ages), "{ages}");
    assert!(ready(&pool) <= 2, "and one that succeeds another before that goes");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_held_when_it_is_of_age_goes_when_its_holder_does() {
    let (pool, mut network) = timeless();
    let pool = pool.max_connection_age(60 * SECOND).build().unwrap();
    let (held, mut peer) = exclusive(&pool, &mut network).await;
    network.serve(100);
    pass(300).await;
    assert_eq!(pool.addresses()[0].draining, 1, "its holder has it, and nobody else will");
    let answers = tokio::spawn(async move {
        let (stream, _) = peer.request().await;
        peer.answer(stream).await.unwrap();
        peer.closed().await;
    });
    eventually(EchoClient::new(held).unary(ask(Do::Echo))).await.unwrap();
    // The channel is gone with the client.
    let returned = Instant::now();
    eventually(answers).await.unwrap();
    assert!(returned.elapsed() < SECOND);
    assert_eq!(pool.addresses()[0].draining, 0);
}

#[tokio::test(start_paused = true)]
async fn more_than_are_needed_go_after_the_delay_and_the_last_stays() {
    let (pool, mut network) = timeless();
    let pool = pool.shrink_delay(10 * SECOND).build().unwrap();
    let mut held = Vec::new();
    for _ in 0..5 {
        let (channel, peer) = exclusive(&pool, &mut network).await;
        tokio::spawn(answer_all(peer));
        held.push(channel);
    }
    pass(100).await;
    assert_eq!(ready(&pool), 5, "all are needed");
    // Two are: of those that are too many a half goes after each delay.
    held.truncate(2);
    until(|| pool.status().dedicated.in_use == 2).await;
    pass(5).await;
    for left in [5, 3, 2, 2] {
        assert_eq!(ready(&pool), left);
        pass(10).await;
    }
    for channel in held {
        eventually(EchoClient::new(channel).unary(ask(Do::Echo))).await.unwrap();
    }
    pass(100).await;
    assert_eq!((ready(&pool), ended(&pool, EndReason::Excess)), (1, 4));
    // A need that comes back within the delay keeps them.
    network.serve(100);
    for _ in 0..20 {
        let one = eventually(pool.exclusive()).await.unwrap();
        let other = eventually(pool.exclusive()).await.unwrap();
        drop((one, other));
        pass(9).await;
    }
    assert_eq!((ready(&pool), ended(&pool, EndReason::Excess)), (2, 4));
}
