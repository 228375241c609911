//! Networks that stall, delay and swallow, and are not said to.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;

use std::time::Duration;

use common::{all_slots_free, soon, until};
use kinds::{KINDS, Kind, ask, no_more};
use pool_tonic::ChannelPool;
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::proxy::{Cut, Flow, Mode, Proxy};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};

async fn line(connections: usize) -> (EchoServer, Proxy, ChannelPool) {
    let server = EchoServer::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let pool = ChannelPool::builder(proxy.uri())
        .min_connections(connections)
        .max_connections(connections)
        .connect_timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    until(|| pool.status().ready == connections).await;
    (server, proxy, pool)
}

/// A call of each kind, by a name of its own.
fn call_all(
    pool: &ChannelPool,
    name: &str,
    timeout: Option<Duration>,
) -> JoinSet<Result<(), Status>> {
    let mut calls = JoinSet::new();
    for kind in KINDS {
        let ask = ask(Do::Echo, format!("{name} {kind:?}"));
        let call = kind.begin(pool.channel(), ask, no_more(), timeout);
        calls.spawn(async move { call.await?.rest().await.map(drop) });
    }
    calls
}

/// All calls ended by their deadline, and say so.
async fn all_late(calls: JoinSet<Result<(), Status>>, proxy: &Proxy) {
    for result in soon(calls.join_all()).await {
        let status = result.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(status.message().contains(&proxy.addr().to_string()), "{status}");
        assert!(status.message().contains("to answer"), "{status}");
    }
}

async fn all_answered(calls: JoinSet<Result<(), Status>>) {
    for result in soon(calls.join_all()).await {
        result.unwrap();
    }
}

const SHORT: Option<Duration> = Some(Duration::from_millis(100));

#[tokio::test]
async fn a_stall_that_ends_costs_no_call() {
    for mode in [
        Mode::STALL,
        Mode { up: Flow::Stall, down: Flow::Pass },
        Mode { up: Flow::Pass, down: Flow::Stall },
    ] {
        let (server, proxy, pool) = line(1).await;
        proxy.set(mode);
        let calls = call_all(&pool, "stalled", None);
        until(|| pool.status().streams == KINDS.len()).await;
        if mode.up == Flow::Pass {
            soon(server.books().until(|now| now.messages == KINDS.len())).await;
        }
        proxy.set(Mode::PASS);
        all_answered(calls).await;
        all_slots_free(&pool).await;
        assert_eq!(server.books().now().calls, KINDS.len());
        assert_eq!(proxy.traffic().made, 1);
    }
}

#[tokio::test]
async fn calls_within_a_stall_end_by_their_deadline_and_later_ones_are_answered() {
    let (server, proxy, pool) = line(1).await;
    proxy.set(Mode { up: Flow::Pass, down: Flow::Stall });
    let late = call_all(&pool, "late", SHORT);
    soon(server.books().until(|now| now.messages == KINDS.len())).await;
    all_late(late, &proxy).await;
    all_slots_free(&pool).await;
    proxy.set(Mode::PASS);
    // The answers of those that have ended come first, and are nobody's.
    all_answered(call_all(&pool, "after", None)).await;
    for kind in KINDS {
        for name in ["late", "after"] {
            assert_eq!(server.books().calls_of(&format!("{name} {kind:?}")), 1);
        }
    }
    soon(server.books().until(|now| now.active == 0)).await;
    assert_eq!((proxy.traffic().made, pool.counters().connections_opened), (1, 1));
}

#[tokio::test]
async fn a_delay_costs_no_call() {
    let (server, proxy, pool) = line(1).await;
    proxy.set(Mode::both(Flow::Delay(Duration::from_millis(5))));
    all_answered(call_all(&pool, "delayed", None)).await;
    assert_eq!(server.books().now().calls, KINDS.len());
    assert_eq!(proxy.traffic().made, 1);
}

#[tokio::test]
async fn a_black_hole_takes_calls_until_it_is_cut() {
    let (server, proxy, pool) = line(1).await;
    proxy.set(Mode::BLACK_HOLE);
    let late = call_all(&pool, "swallowed", SHORT);
    all_late(late, &proxy).await;
    all_slots_free(&pool).await;
    assert_eq!(proxy.traffic().open, 1, "nothing has told it");
    proxy.set(Mode::PASS);
    // A hole in the stream stays one.
    all_late(call_all(&pool, "swallowed", SHORT), &proxy).await;
    proxy.cut(Cut::Rst);
    until(|| pool.counters().connections_lost == 1).await;
    soon(pool.wait_ready(Instant::now() + Duration::from_secs(10))).await.unwrap();
    assert_eq!(proxy.traffic().made, 2);
    all_answered(call_all(&pool, "after", None)).await;
    for kind in KINDS {
        assert_eq!(server.books().calls_of(&format!("swallowed {kind:?}")), 0);
        assert_eq!(server.books().calls_of(&format!("after {kind:?}")), 1);
    }
    assert_eq!(proxy.traffic().open, 1);
}

#[tokio::test]
async fn a_new_connection_into_a_black_hole_ends_by_the_connect_timeout() {
    let server = EchoServer::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    proxy.set(Mode::BLACK_HOLE);
    let pool = ChannelPool::builder(proxy.uri())
        .connect_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    for result in soon(call_all(&pool, "swallowed", None).join_all()).await {
        let status = result.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let message = status.message();
        assert!(message.contains(&proxy.addr().to_string()), "{status}");
        assert!(message.contains("the connect timeout of 100ms passed"), "{status}");
        assert!(message.contains("HTTP/2 settings were awaited"), "{status}");
    }
    soon(proxy.until(|traffic| traffic.open == 0)).await;
    assert!(proxy.traffic().up > 0);
    assert_eq!((proxy.traffic().down, server.books().now().calls), (0, 0));
}

#[tokio::test]
async fn one_connection_that_swallows_takes_its_own_calls_alone() {
    let (server, proxy, pool) = line(2).await;
    let links = proxy.links();
    assert_eq!(links.len(), 2);
    links[0].set(Mode::BLACK_HOLE);
    let mut calls = JoinSet::new();
    for _ in 0..40 {
        let call = Kind::Unary.begin(pool.channel(), ask(Do::Echo, "shared"), no_more(), SHORT);
        calls.spawn(async move { call.await?.rest().await.map(drop) });
    }
    let results = soon(calls.join_all()).await;
    let answered = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(server.books().calls_of("shared"), answered, "what arrived was answered");
    assert!(answered > 0);
    for status in results.into_iter().filter_map(Result::err) {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    }
    all_slots_free(&pool).await;
    links[0].cut(Cut::Fin);
    until(|| pool.counters().connections_lost == 1).await;
    all_answered(call_all(&pool, "after", None)).await;
}

#[tokio::test]
async fn a_pool_that_is_dropped_closes_sockets_that_nobody_answers_on() {
    for mode in [Mode::BLACK_HOLE, Mode::STALL] {
        let (_server, proxy, pool) = line(2).await;
        proxy.set(mode);
        all_late(call_all(&pool, "late", SHORT), &proxy).await;
        assert_eq!(proxy.traffic().open, 2);
        drop(pool);
        if mode == Mode::STALL {
            // What the client has done by itself is read now, its end included.
            proxy.set(Mode::PASS);
        }
        soon(proxy.until(|traffic| traffic.open == 0)).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_port_that_accepts_no_more_ends_by_the_connect_timeout() {
    // Nobody accepts, and the system holds one connection more than it is told to.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(soon(tokio::net::TcpStream::connect(addr)).await.unwrap());
    }
    let pool = ChannelPool::builder(format!("http://{addr}"))
        .connect_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    for result in soon(call_all(&pool, "unheard", None).join_all()).await {
        let status = result.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let message = status.message();
        assert!(message.contains(&addr.to_string()), "{status}");
        assert!(message.contains("the connect timeout of 100ms passed"), "{status}");
        assert!(message.contains("the TCP connection was being made"), "{status}");
    }
}
