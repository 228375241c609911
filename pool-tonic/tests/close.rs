//! Closing: what becomes of calls, and that nothing is left.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::time::Duration;

use common::{ask, client, dedicated, tasks, until};
use memory::{eventually, in_memory, in_memory_with, pass};
use pool_tonic::{ChannelPool, ConnectivityState};
use pool_tonic_testing::proto::{Answer, Do};
use pool_tonic_testing::raw::{Heard, Raw};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

const SECOND: Duration = Duration::from_secs(1);

fn unary(pool: &ChannelPool) -> JoinHandle<Result<Response<Answer>, Status>> {
    let mut client = client(pool);
    tokio::spawn(async move { client.unary(ask(Do::Echo)).await })
}

fn assert_closed(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("closed"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn running_calls_finish_and_others_fail_at_once() {
    let before = tasks();
    let (pool, mut network) = in_memory();
    let pool = pool.max_connections(1).max_streams_per_connection(1).build().unwrap();
    let running = unary(&pool);
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    let waiting = unary(&pool);
    until(|| pool.status().waiting == 1).await;

    let start = Instant::now();
    let close = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close(60 * SECOND).await }
    });
    assert_closed(&eventually(waiting).await.unwrap().unwrap_err());
    assert_closed(&eventually(unary(&pool)).await.unwrap().unwrap_err());
    assert_eq!(pool.state(), ConnectivityState::Shutdown);
    assert!(start.elapsed() < SECOND);
    pass(10).await;
    peer.answer(stream).await.unwrap();
    eventually(running).await.unwrap().unwrap();
    let report = eventually(close).await.unwrap();
    assert_eq!(report.calls_cut, 0);
    assert!(report.waited < 11 * SECOND, "it ends with the last call: {report:?}");
    assert_eq!(eventually(peer.hear()).await, Heard::Goaway);
    assert_eq!(eventually(peer.hear()).await, Heard::Closed);
    assert!(pool.connection_list().is_empty());
    until(|| tasks() == before).await;
}

#[tokio::test(start_paused = true)]
async fn what_runs_when_the_grace_is_over_is_cut_and_counted() {
    let before = tasks();
    let (pool, mut network) = in_memory();
    let pool = pool.max_connections(1).build().unwrap();
    let unanswered = unary(&pool);
    let mut peer = network.accept(100).await;
    peer.request().await;
    let mut client = client(&pool);
    let streaming = tokio::spawn(async move {
        let mut answers = client.server_stream(ask(Do::Echo)).await?.into_inner();
        answers.message().await
    });
    let (stream, _) = peer.request().await;
    peer.headers(stream).await.unwrap();
    let report = eventually(pool.close(5 * SECOND)).await;
    assert_eq!(report.calls_cut, 2);
    assert!((5 * SECOND..6 * SECOND).contains(&report.waited), "{report:?}");
    assert_closed(&eventually(unanswered).await.unwrap().unwrap_err());
    assert_closed(&eventually(streaming).await.unwrap().unwrap_err());
    assert_eq!(eventually(peer.hear()).await, Heard::Closed, "which cancels them on the server");
    assert_eq!(pool.status().streams, 0);
    until(|| tasks() == before).await;
    // The second time there is nothing to do.
    assert_eq!(eventually(pool.close(5 * SECOND)).await.calls_cut, 0);
}

#[tokio::test(start_paused = true)]
async fn closing_at_once_cuts_every_call() {
    let before = tasks();
    let (pool, mut network) = in_memory();
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    peer.request().await;
    let start = Instant::now();
    pool.close_now();
    assert_closed(&eventually(call).await.unwrap().unwrap_err());
    assert_eq!(eventually(peer.hear()).await, Heard::Closed);
    until(|| tasks() == before).await;
    assert!(start.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_ends_with_the_pool() {
    let before = tasks();
    let (pool, mut network) = in_memory();
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    // It says nothing.
    let mut peer = Raw::mute(network.arrival().await).await.unwrap();
    assert_eq!(pool.connection_list()[0].state, ConnectivityState::Connecting);
    let report = eventually(pool.close(60 * SECOND)).await;
    assert!(report.waited < SECOND, "{report:?}");
    assert_closed(&eventually(call).await.unwrap().unwrap_err());
    peer.closed().await;
    until(|| tasks() == before).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_does_not_keep_a_connection_open() {
    let before = tasks();
    let (pool, mut network) = in_memory();
    let pool = pool.min_connections(1).build().unwrap();
    let _peer = network.accept(100).await;
    until(|| pool.status().ready == 1).await;
    // More than the network and both buffers hold.
    let mut client = client(&pool);
    let call = tokio::spawn(async move {
        let long = pool_tonic_testing::proto::Ask { text: "a".repeat(4 << 20), ..ask(Do::Echo) };
        client.unary(long).await
    });
    until(|| pool.status().streams == 1).await;
    let report = eventually(pool.close(SECOND)).await;
    assert_eq!(report.calls_cut, 1);
    assert!(report.waited < 2 * SECOND, "{report:?}");
    assert_closed(&eventually(call).await.unwrap().unwrap_err());
    until(|| tasks() == before).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_leaves_nothing_behind() {
    let before = tasks();
    let (pool, mut network) = in_memory();
    let pool = pool.min_connections(2).build().unwrap();
    let (mut one, mut other) = (network.accept(100).await, network.accept(100).await);
    until(|| pool.status().ready == 2).await;
    let call = unary(&pool);
    let weak = pool.downgrade();
    drop(pool);
    // The call keeps it.
    tokio::task::yield_now().await;
    assert!(weak.upgrade().is_some());
    let answer = async {
        tokio::select! {
            (stream, _) = one.request() => one.answer(stream).await.unwrap(),
            (stream, _) = other.request() => other.answer(stream).await.unwrap(),
        }
    };
    eventually(answer).await;
    eventually(call).await.unwrap().unwrap();
    eventually(one.closed()).await;
    eventually(other.closed()).await;
    until(|| tasks() == before).await;
    assert!(weak.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_the_attempts_to_connect() {
    for connects_for in [60 * SECOND, Duration::ZERO] {
        let before = tasks();
        let (pool, mut network) = in_memory_with(1 << 20, connects_for);
        let pool = pool.connect_timeout(600 * SECOND).build().unwrap();
        let begin = |dedicated| {
            let mut client = client(&pool);
            tokio::spawn(async move {
                let ask = ask(Do::Echo);
                let request = if dedicated { common::dedicated(ask) } else { Request::new(ask) };
                client.unary(request).await
            })
        };
        let calls = [begin(false), begin(true)];
        until(|| pool.connection_list().len() == 2).await;
        let mut peers = Vec::new();
        if connects_for.is_zero() {
            // They say nothing.
            for _ in &calls {
                peers.push(Raw::mute(network.arrival().await).await.unwrap());
            }
        }
        for call in calls {
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
        }
        assert_eq!(pool.addresses()[0].connecting, 2, "a call that is dropped ends no attempt");
        let (mut watch, dropped) = (pool.watch(), Instant::now());
        drop(pool);
        for peer in &mut peers {
            eventually(peer.closed()).await;
        }
        until(|| tasks() == before).await;
        assert!(dropped.elapsed() < SECOND, "{:?}", dropped.elapsed());
        // Nothing of it is there that could change its state.
        eventually(async { while watch.changed().await.is_some() {} }).await;
        assert!(network.is_quiet());
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_state_is_to_be_seen_when_the_pool_is_gone() {
    let (pool, _network) = in_memory();
    let pool = pool.build().unwrap();
    let mut watch = pool.watch();
    pool.close(SECOND).await;
    drop(pool);
    assert!(watch.has_changed());
    assert_eq!(watch.changed().await, Some(ConnectivityState::Shutdown));
    assert!(!watch.has_changed());
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_given_up_leaves_calls_running() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(None).build().unwrap();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    assert!(tokio::time::timeout(SECOND, pool.close(60 * SECOND)).await.is_err());
    pass(120).await;
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
    assert!(pool.is_closed());
}

#[tokio::test(start_paused = true)]
async fn connections_of_all_kinds_and_at_all_stages_end_with_the_pool() {
    let before = tasks();
    let (pool, mut network) = in_memory();
    let pool = pool.max_connections(1).max_dedicated_connections(3).build().unwrap();
    let call = unary(&pool);
    let mut shared = network.accept(100).await;
    shared.request().await;

    let exclusive = tokio::spawn({
        let pool = pool.clone();
        async move { pool.exclusive().await }
    });
    let exclusive_peer = network.accept(100).await;
    let exclusive = eventually(exclusive).await.unwrap().unwrap();

    let begin = || {
        let mut client = client(&pool);
        tokio::spawn(async move { client.unary(dedicated(ask(Do::Echo))).await })
    };
    let running = begin();
    let mut dedicated_peer = network.accept(100).await;
    dedicated_peer.request().await;
    // It says nothing.
    let dialling = begin();
    let mut mute = Raw::mute(network.arrival().await).await.unwrap();

    let report = eventually(pool.close(10 * SECOND)).await;
    assert_eq!(report.connections_left, 0);
    assert_eq!(report.calls_cut, 3, "two calls, and one who has a connection for itself");
    assert!((10..=11).contains(&report.waited.as_secs()), "{report:?}");
    for call in [call, running, dialling] {
        assert_closed(&eventually(call).await.unwrap().unwrap_err());
    }
    for mut peer in [shared, exclusive_peer, dedicated_peer] {
        eventually(peer.closed()).await;
    }
    eventually(mute.closed()).await;
    let mut client = pool_tonic_testing::proto::echo_client::EchoClient::new(exclusive);
    let status = eventually(client.unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    drop(client);
    assert!(pool.connection_list().is_empty());
    until(|| tasks() == before).await;
}

#[test]
fn what_nobody_drives_is_left_and_counted() {
    // Connections live in the runtime of the first call, which runs only while somebody waits in it.
    let (elsewhere, here) = (paused(), paused());
    let (pool, mut peer) = elsewhere.block_on(async {
        let (pool, mut network) = in_memory();
        let pool = pool.min_connections(1).build().unwrap();
        let peer = network.accept(100).await;
        until(|| pool.status().ready == 1).await;
        (pool, peer)
    });
    let report = here.block_on(pool.close(10 * SECOND));
    assert_eq!((report.calls_cut, report.connections_left), (0, 1));
    assert!((15..=16).contains(&report.waited.as_secs()), "{report:?}");
    elsewhere.block_on(async {
        assert_eq!(pool.close(10 * SECOND).await.connections_left, 0, "driven on, it goes");
        eventually(peer.closed()).await;
    });
}

fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}
