//! Fail-fast calls, and those that wait through failures to connect (`doc/wait-for-ready.md` of gRPC).

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::time::Duration;

use common::acts::{Act, play};
use common::{ask, client, dead_uri, soon, until};
use h2::Reason;
use memory::{eventually, in_memory, in_memory_with};
use pool_tonic::{ChannelPool, ConnectivityState, WaitForReady};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::{Ask, Do};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Request, Status};

fn waiting(wait: bool) -> Request<Ask> {
    let mut request = Request::new(ask(Do::Echo));
    request.extensions_mut().insert(WaitForReady(wait));
    request
}

fn start(pool: &ChannelPool, request: Request<Ask>) -> JoinHandle<Result<String, Status>> {
    let mut client = client(pool);
    tokio::spawn(async move { Ok(client.unary(request).await?.into_inner().text) })
}

#[tokio::test]
async fn it_waits_through_failures_until_a_server_is_there() {
    let (uri, port) = dead_uri();
    let pool = ChannelPool::builder(uri).build().unwrap();
    let patient = start(&pool, waiting(true));
    until(|| pool.state() == ConnectivityState::TransientFailure).await;
    until(|| pool.status().waiting == 1).await;
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "others fail at once: {status}");
    assert!(!patient.is_finished());
    let addr = port.local_addr().unwrap();
    drop(port);
    let server = EchoServer::start_with(addr, |server| server).await.unwrap();
    assert_eq!(soon(patient).await.unwrap().unwrap(), "hello");
    assert_eq!(server.books().now().calls, 1);
    assert_eq!(pool.state(), ConnectivityState::Ready);
}

#[tokio::test]
async fn it_waits_until_its_deadline_and_says_why_there_was_no_connection() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri).build().unwrap();
    let mut request = waiting(true);
    request.set_timeout(Duration::from_millis(100));
    let status = soon(client(&pool).unary(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("the deadline of 100ms passed"), "{status}");
    assert!(status.message().contains("refused"), "{status}");
    assert_eq!(pool.status().waiting, 0);
}

#[tokio::test]
async fn without_a_deadline_it_waits_for_the_wait_timeout() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri).wait_timeout(Duration::from_millis(100)).build().unwrap();
    let status = soon(client(&pool).unary(waiting(true))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("no stream slot"), "{status}");
    assert!(status.message().contains("refused"), "{status}");
}

#[tokio::test]
async fn a_call_has_its_own_say_over_the_pools_default() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri)
        .wait_for_ready(true)
        .wait_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert!(status.message().contains("no stream slot"), "it waited: {status}");
    let status = soon(client(&pool).unary(waiting(false))).await.unwrap_err();
    assert!(status.message().starts_with("cannot connect to"), "it did not: {status}");
}

#[tokio::test]
async fn those_that_wait_are_counted_and_bounded() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri).max_waiting_calls(1).build().unwrap();
    let first = start(&pool, waiting(true));
    until(|| pool.state() == ConnectivityState::TransientFailure).await;
    until(|| pool.status().waiting == 1).await;
    let status = soon(client(&pool).unary(waiting(true))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    first.abort();
    until(|| pool.status().waiting == 0).await;
}

#[tokio::test]
async fn the_pool_is_waited_for_beside_a_full_queue() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_waiting_calls(1).build().unwrap();
    let first = start(&pool, waiting(true));
    until(|| pool.status().waiting == 1).await;
    let ready = tokio::spawn({
        let pool = pool.clone();
        async move { pool.wait_ready(Instant::now() + Duration::from_secs(30)).await }
    });
    until(|| pool.connections().counters().gets_rejected > 0).await;
    let _raw = soon(peer.accept_raw(100)).await.unwrap();
    soon(ready).await.unwrap().unwrap();
    first.abort();
}

/// The pool as a whole is READY all the time: the shared side is IDLE between two attempts.
#[tokio::test(start_paused = true)]
async fn the_pool_is_waited_for_beside_a_full_queue_and_a_dedicated_connection() {
    let (builder, mut network) = in_memory();
    let pool = builder.max_waiting_calls(1).keepalive_time(None).build().unwrap();
    let dedicated = start(&pool, common::dedicated(ask(Do::Echo)));
    let mut held = network.accept(100).await;
    eventually(held.request()).await;
    let first = start(&pool, waiting(true));
    // READY, without a stream, and lost at once, as are those that are made meanwhile; the next one waits for a back-off.
    while pool.addresses()[0].retry_in.is_none() || pool.addresses()[0].connecting > 0 {
        let none = network.accept(0).await;
        until(|| pool.status().ready > 0).await;
        drop(none);
        until(|| pool.status().ready == 0).await;
    }
    assert_eq!((pool.state(), pool.status().waiting), (ConnectivityState::Ready, 1));
    let began = Instant::now();
    let ready = tokio::spawn({
        let pool = pool.clone();
        async move { pool.wait_ready(began + Duration::from_secs(30)).await }
    });
    let _shared = network.accept(100).await;
    let connected = Instant::now();
    eventually(ready).await.unwrap().unwrap();
    assert!(connected.elapsed() <= Duration::from_millis(20), "{:?}", connected.elapsed());
    first.abort();
    dedicated.abort();
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_waits_beside_a_full_queue_and_not_for_longer_than_it_may() {
    const TAKES: Duration = Duration::from_secs(1);
    for (timeout, is_warm) in [(TAKES * 5, true), (TAKES / 2, false)] {
        let (builder, network) = in_memory_with(1 << 20, TAKES);
        let pool = builder.max_waiting_calls(1).keepalive_time(None).build().unwrap();
        network.serve(100);
        let first = start(&pool, waiting(true));
        until(|| pool.status().waiting == 1).await;
        let began = Instant::now();
        let warm = eventually(pool.warm_up(timeout)).await;
        assert_eq!(warm.is_ok(), is_warm);
        let late = began.elapsed().checked_sub(timeout.min(TAKES)).unwrap();
        assert!(late <= Duration::from_millis(20), "{late:?}");
        eventually(first).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_closed_pool_ends_the_wait() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri).build().unwrap();
    let patient = start(&pool, waiting(true));
    until(|| pool.state() == ConnectivityState::TransientFailure).await;
    until(|| pool.status().waiting == 1).await;
    pool.close_now();
    let status = soon(patient).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("closed"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_is_not_waited_for_between_two_attempts() {
    let (builder, mut network) = in_memory();
    let pool = builder.build().unwrap();
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.wait_ready(Instant::now() + Duration::from_secs(3600)).await }
    });
    drop(network.arrival().await);
    until(|| pool.addresses()[0].retry_in.is_some()).await;
    let began = Instant::now();
    pool.close_now();
    let not_ready = eventually(waits).await.unwrap().unwrap_err();
    assert_eq!(not_ready.state, ConnectivityState::Shutdown);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn it_says_nothing_of_what_happens_once_a_call_is_sent() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut calls = play(peer, &[Act::Reset(Reason::CANCEL), Act::Fail(Code::Unavailable)]);
    for _ in 0..2 {
        let status = soon(client(&pool).unary(waiting(true))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        soon(calls.recv()).await.unwrap();
    }
    assert!(calls.try_recv().is_err());
}
