//! How many connections there are, when they come and when they go.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{ask, client, until};
use memory::{Network, Peer, answer_all, eventually, in_memory, pass};
use pool_core::{CreateReason, EndReason, Event, Observer, Resize};
use pool_tonic::{ChannelPool, ChannelPoolBuilder, ConnectivityState};
use pool_tonic_testing::proto::{Answer, Do};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Response, Status};

const SECOND: Duration = Duration::from_secs(1);

type Call = JoinHandle<Result<Response<Answer>, Status>>;

/// A pool that does nothing by the passing of time but what a test sets.
fn timeless() -> (ChannelPoolBuilder, Network) {
    let (pool, network) = in_memory();
    (pool.keepalive_time(None).idle_timeout(None).max_connection_age(None), network)
}

fn unary(pool: &ChannelPool) -> Call {
    let mut client = client(pool);
    tokio::spawn(async move { client.unary(ask(Do::Echo)).await })
}

/// Begins calls one by one, each on a connection before the next.
async fn begin(pool: &ChannelPool, calls: usize) -> Vec<Call> {
    let mut begun = Vec::new();
    for _ in 0..calls {
        let streams = pool.status().streams;
        begun.push(unary(pool));
        until(|| pool.status().streams > streams).await;
    }
    begun
}

async fn finished(calls: Vec<Call>) {
    for call in calls {
        eventually(call).await.unwrap().unwrap();
    }
}

/// Keeps the decisions.
#[derive(Default)]
struct Records(Mutex<Vec<Resize>>);

impl Observer for Records {
    fn event(&self, event: &Event) {
        if let Event::Resized { change, sizing, .. } = event {
            assert!(sizing.size <= sizing.max_size, "{event:?}");
            assert!(sizing.idle + sizing.creating <= sizing.size, "{event:?}");
            self.0.lock().unwrap().push(*change);
        }
    }
}

impl Records {
    fn take(&self) -> Vec<Resize> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn load_grows_the_pool_in_the_background_and_no_further_than_it_may() {
    let (pool, mut network) = timeless();
    let records = Arc::new(Records::default());
    let pool = pool
        .target_streams_per_connection(2)
        .target_connections(3)
        .observer(records.clone())
        .build()
        .unwrap();
    let first = unary(&pool);
    let mut peers = vec![network.accept(100).await];
    until(|| pool.status().streams == 1).await;
    // Nobody answers the new connections yet, and no call waits for them.
    let mut calls = begin(&pool, 19).await;
    calls.push(first);
    let two = network.accept(100).await;
    peers.extend([two, network.accept(100).await]);
    until(|| pool.status().ready == 3).await;
    pass(60).await;
    assert!(network.is_quiet());
    assert_eq!(pool.counters().connections_opened, 3);
    assert_eq!(pool.connections().counters().waits, 1, "only the first call waited");
    let growth = Resize::Create(CreateReason::Growth);
    assert_eq!(records.take(), [Resize::Create(CreateReason::Demand), growth, growth]);
    let servers: Vec<_> = peers.into_iter().map(|peer| tokio::spawn(answer_all(peer))).collect();
    finished(calls).await;
    drop(pool);
    for server in servers {
        eventually(server).await.unwrap();
    }
}

/// Two connections with two calls each.
async fn two_by_two(pool: &ChannelPool, network: &mut Network) -> (Vec<Call>, [Peer; 2]) {
    let mut calls = vec![unary(pool)];
    let one = network.accept(2).await;
    until(|| pool.status().streams == 1).await;
    calls.extend(begin(pool, 1).await);
    calls.push(unary(pool));
    let other = network.accept(2).await;
    until(|| pool.status().streams == 3).await;
    calls.extend(begin(pool, 1).await);
    (calls, [one, other])
}

#[tokio::test(start_paused = true)]
async fn the_pool_shrinks_by_load_after_the_delay_and_takes_back_what_drains() {
    let (pool, mut network) = timeless();
    let records = Arc::new(Records::default());
    let pool = pool.shrink_delay(10 * SECOND).observer(records.clone()).build().unwrap();
    let (mut calls, mut peers) = two_by_two(&pool, &mut network).await;
    // One call each: one connection would do.
    let mut left = Vec::new();
    for peer in &mut peers {
        let (stream, _) = peer.request().await;
        left.push(peer.request().await.0);
        peer.answer(stream).await.unwrap();
    }
    until(|| pool.status().streams == 2).await;
    pass(9).await;
    assert_eq!((pool.status().ready, pool.status().draining), (2, 0), "the delay is not over");
    pass(2).await;
    assert_eq!((pool.status().ready, pool.status().draining), (1, 1));
    let list = pool.connection_list();
    assert_eq!(list.iter().filter(|connection| connection.draining).count(), 1);
    assert!(list.iter().all(|connection| connection.streams == 1), "{list:?}");
    assert_eq!(records.take().last(), Some(&Resize::Drain(EndReason::Excess)));
    // More load than one has room for: the other one is there still.
    calls.extend(begin(&pool, 2).await);
    assert_eq!((pool.status().ready, pool.status().draining), (2, 0));
    assert_eq!(records.take(), [Resize::Reclaim]);
    assert!(network.is_quiet());
    for (mut peer, stream) in peers.into_iter().zip(left) {
        peer.answer(stream).await.unwrap();
        tokio::spawn(answer_all(peer));
    }
    finished(calls).await;
}

#[tokio::test(start_paused = true)]
async fn load_that_comes_back_within_the_delay_shrinks_nothing() {
    let (pool, mut network) = timeless();
    let pool = pool.shrink_delay(10 * SECOND).build().unwrap();
    let (mut calls, peers) = two_by_two(&pool, &mut network).await;
    for peer in peers {
        tokio::spawn(answer_all(peer));
    }
    for _ in 0..20 {
        finished(std::mem::take(&mut calls)).await;
        pass(9).await;
        // Three at a time need both.
        calls = (0..3).map(|_| unary(&pool)).collect();
    }
    finished(calls).await;
    assert_eq!(pool.counters().connections_opened, 2);
    assert_eq!(pool.status().ready, 2);
}

#[tokio::test(start_paused = true)]
async fn a_minimum_is_ready_without_calls_and_outlasts_the_idle_timeout() {
    let (pool, network) = timeless();
    let server = network.serve(100);
    let pool = pool.min_connections(2).idle_timeout(60 * SECOND).build().unwrap();
    pool.warm_up(SECOND).await.unwrap();
    assert_eq!((pool.state(), pool.status().ready), (ConnectivityState::Ready, 2));
    pass(3600).await;
    assert_eq!((pool.state(), pool.status().ready), (ConnectivityState::Ready, 2));
    assert_eq!(pool.counters().connections_opened, 2);
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_ends_with_its_time_and_the_reason() {
    let (pool, network) = in_memory();
    drop(network);
    let pool = pool.min_connections(1).build().unwrap();
    let error = pool.warm_up(SECOND).await.unwrap_err();
    assert_eq!(error.state, ConnectivityState::TransientFailure);
    assert!(error.last_error.unwrap().to_string().contains("refused"));
}

#[tokio::test(start_paused = true)]
async fn the_idle_timeout_closes_the_last_connection_and_the_pool_is_idle() {
    let (pool, mut network) = timeless();
    let pool = pool.idle_timeout(80 * SECOND).build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    // Longer than the timeout, and not idle.
    pass(200).await;
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    pass(79).await;
    assert_eq!(pool.state(), ConnectivityState::Ready);
    pass(12).await;
    assert_eq!(pool.state(), ConnectivityState::Idle);
    peer.closed().await;
    assert!(pool.connection_list().is_empty());
    // The next call connects.
    let call = unary(&pool);
    tokio::spawn(answer_all(network.accept(100).await));
    eventually(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn idle_connections_above_their_maximum_go() {
    let (pool, mut network) = timeless();
    let pool = pool
        .min_connections(3)
        .max_idle_connections(3)
        .shrink_delay(10 * SECOND)
        .target_streams_per_connection(1)
        .target_connections(5)
        .build()
        .unwrap();
    for _ in 0..3 {
        tokio::spawn(answer_all(network.accept(100).await));
    }
    until(|| pool.status().ready == 3).await;
    let calls: Vec<_> = (0..5).map(|_| unary(&pool)).collect();
    tokio::spawn(answer_all(network.accept(100).await));
    tokio::spawn(answer_all(network.accept(100).await));
    finished(calls).await;
    until(|| pool.status().ready == 5).await;
    pass(60).await;
    assert_eq!((pool.status().ready, pool.status().idle), (3, 3));
}

/// Calls once in a second for ten minutes; the old connections are to be replaced by age meanwhile.
async fn ages(pool: ChannelPoolBuilder, network: Network) -> ChannelPool {
    let server = network.serve(100);
    let pool = pool.max_connection_age(60 * SECOND).max_connections(4).build().unwrap();
    let mut client = client(&pool);
    let end = Instant::now() + 600 * SECOND;
    while Instant::now() < end {
        eventually(client.unary(ask(Do::Echo))).await.unwrap();
        pass(1).await;
    }
    let replaced = pool.connections().counters().ended.get(EndReason::Lifetime);
    assert!(replaced >= 10, "{replaced}");
    server.abort();
    pool
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_age_has_a_successor_before_it_goes() {
    let (pool, network) = timeless();
    let pool = ages(pool, network).await;
    // But for the first call none has had to wait for a connection.
    assert_eq!(pool.connections().counters().waits, 1);
    assert_eq!(pool.counters().calls_ended.get(Code::Ok), pool.counters().calls_ended.total());

    let (pool, network) = timeless();
    let pool = ages(pool.min_connections(1), network).await;
    assert!(pool.connections().counters().waits <= 1);
    assert_eq!(pool.counters().calls_ended.get(Code::Ok), pool.counters().calls_ended.total());
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_age_finishes_its_calls() {
    let (pool, mut network) = timeless();
    let pool = pool.max_connection_age(60 * SECOND).build().unwrap();
    let old = unary(&pool);
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    let server = network.serve(100);
    pass(600).await;
    eventually(unary(&pool)).await.unwrap().unwrap();
    assert_eq!(pool.status().draining, 1);
    peer.answer(stream).await.unwrap();
    eventually(old).await.unwrap().unwrap();
    peer.closed().await;
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_this_side_gives_up_is_replaced_and_no_later_call_fails() {
    let (pool, mut network) = timeless();
    let pool = pool.max_connections(1).build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    let in_flight = unary(&pool);
    peer.request().await;
    pass(10).await;
    // SETTINGS belong to the connection, not to a stream: the client says GOAWAY.
    peer.frame(pool_tonic_testing::raw::kind::SETTINGS, 0, 1, &[]).await.unwrap();
    peer.closed().await;
    // It may have been processed.
    let failed = eventually(in_flight).await.unwrap().unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable, "{failed}");
    let call = unary(&pool);
    tokio::spawn(answer_all(network.accept(100).await));
    eventually(call).await.unwrap().unwrap();
    assert_eq!(pool.counters().goaways, 0);
}

/// Connections that were made together do not go together: not at the server, and not in one moment here.
#[tokio::test(start_paused = true)]
async fn the_ages_of_connections_differ() {
    let (pool, network) = timeless();
    let server = network.serve(100);
    let pool = pool.min_connections(8).max_connection_age(3600 * SECOND).build().unwrap();
    until(|| pool.status().ready == 8).await;
    let mut ends = Vec::new();
    while ends.len() < 8 {
        pass(1).await;
        ends.resize(
            usize::try_from(pool.counters().connections_opened - 8).unwrap(),
            Instant::now(),
        );
    }
    let ages: Vec<_> = ends.iter().map(|end| (*end - ends[0]).as_secs()).collect();
    let moments: std::collections::BTreeSet<_> = ages.iter().collect();
    assert!(moments.len() >= 6, "{ages:?}");
    assert!(ages[7] >= 60, "{ages:?}");
    server.abort();
}
