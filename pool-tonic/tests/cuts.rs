//! Connections that a network cuts, at each phase of theirs: which calls fail and how, how often the server
//! saw each, and what is left open.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;
#[path = "common/memory.rs"]
mod memory;

use std::net::SocketAddr;
use std::time::Duration;

use common::{all_slots_free, soon, until};
use kinds::{Asks, KINDS, Kind, ask, no_more};
use memory::{answer_all, eventually, in_memory_with, pass};
use pool_tonic::{ChannelPool, ConnectivityState};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::{Ask, Do};
use pool_tonic_testing::proxy::{Cut, Flow, Mode, Proxy};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

const CUTS: [Cut; 2] = [Cut::Fin, Cut::Rst];

struct Line {
    server: EchoServer,
    proxy: Proxy,
    pool: ChannelPool,
}

impl Line {
    async fn new() -> Self {
        let server = EchoServer::start().await.unwrap();
        let proxy = Proxy::start(server.addr()).await.unwrap();
        let pool = ChannelPool::builder(proxy.uri()).max_connections(1).build().unwrap();
        Self { server, proxy, pool }
    }

    /// READY, with a call made.
    async fn ready() -> Self {
        let line = Self::new().await;
        soon(Kind::Unary.call(line.pool.channel(), ask(Do::Echo, "warm"))).await.unwrap();
        line
    }

    /// A call of each kind, by its name.
    fn call_all(&self) -> JoinSet<Result<(), Status>> {
        let mut calls = JoinSet::new();
        for kind in KINDS {
            let call = kind.call(self.pool.channel(), ask(Do::Echo, format!("{kind:?}")));
            calls.spawn(async move { call.await.map(drop) });
        }
        calls
    }

    /// Each call failed for the loss of its connection, none was sent twice, and nothing is left open.
    async fn all_failed(&self, calls: JoinSet<Result<(), Status>>, seen: usize, happened: &[&str]) {
        let expected = calls.len();
        for result in soon(calls.join_all()).await {
            self.failed(&result.unwrap_err(), happened);
        }
        for kind in KINDS {
            assert_eq!(self.server.books().calls_of(&format!("{kind:?}")), seen, "{kind:?}");
        }
        let counters = self.pool.counters();
        assert_eq!(counters.calls_ended.get(Code::Unavailable), expected as u64);
        self.nothing_left().await;
    }

    fn failed(&self, status: &Status, happened: &[&str]) {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let message = status.message();
        assert!(message.contains(&self.proxy.addr().to_string()), "{status}");
        assert!(happened.iter().any(|happened| message.contains(happened)), "{status}");
        assert!(std::error::Error::source(status).is_some());
    }

    async fn nothing_left(&self) {
        all_slots_free(&self.pool).await;
        soon(self.proxy.until(|traffic| traffic.open == 0)).await;
        soon(self.server.books().until(|now| now.active == 0)).await;
        until(|| self.pool.status().ready == 0 && self.pool.status().connecting == 0).await;
        assert_eq!(self.proxy.traffic().made, 1, "nobody asked for another connection");
        assert_eq!(self.pool.counters().transparent_retries, 0);
    }
}

const NO_SETTINGS: &[&str] =
    &["closed the connection before it sent its HTTP/2 settings", "reset", "broken pipe"];

#[tokio::test]
async fn before_the_preface_is_through() {
    for cut in CUTS {
        let line = Line::new().await;
        line.proxy.set(Mode::STALL);
        let calls = line.call_all();
        soon(line.proxy.until(|traffic| traffic.made == 1)).await;
        until(|| line.pool.status().waiting == KINDS.len()).await;
        line.proxy.cut(cut);
        line.all_failed(calls, 0, NO_SETTINGS).await;
        assert_eq!(line.pool.state(), ConnectivityState::TransientFailure);
        let counters = line.pool.counters();
        assert_eq!((counters.connections_failed, counters.connections_opened), (1, 0));
    }
}

#[tokio::test]
async fn before_the_settings() {
    for cut in CUTS {
        let line = Line::new().await;
        line.proxy.set(Mode { up: Flow::Pass, down: Flow::Stall });
        let calls = line.call_all();
        // The preface and the client's own settings.
        soon(line.proxy.until(|traffic| traffic.up > 24)).await;
        until(|| line.pool.status().waiting == KINDS.len()).await;
        line.proxy.cut(cut);
        line.all_failed(calls, 0, NO_SETTINGS).await;
        let counters = line.pool.counters();
        assert_eq!((counters.connections_failed, counters.connections_opened), (1, 0));
    }
}

#[tokio::test]
async fn before_the_request_is_through() {
    for cut in CUTS {
        let line = Line::ready().await;
        line.proxy.set(Mode { up: Flow::Stall, down: Flow::Pass });
        let calls = line.call_all();
        until(|| line.pool.status().streams == KINDS.len()).await;
        line.proxy.cut(cut);
        // It was sent as far as the client knows.
        line.all_failed(calls, 0, &["was lost"]).await;
        assert_eq!(line.pool.counters().connections_lost, 1);
    }
}

#[tokio::test]
async fn before_the_headers_of_the_answer() {
    for cut in CUTS {
        let line = Line::ready().await;
        line.proxy.set(Mode { up: Flow::Pass, down: Flow::Stall });
        let calls = line.call_all();
        soon(line.server.books().until(|now| now.messages == 1 + KINDS.len())).await;
        line.proxy.cut(cut);
        line.all_failed(calls, 1, &["was lost"]).await;
        assert_eq!(line.pool.counters().connections_lost, 1);
    }
}

#[tokio::test]
async fn within_the_body() {
    for cut in CUTS {
        let line = Line::ready().await;
        let (send, receive) = mpsc::channel::<Ask>(1);
        let more = Asks::new(ReceiverStream::new(receive));
        let mut begun = Vec::new();
        for (kind, more) in [(Kind::ServerStream, no_more()), (Kind::Bidi, more)] {
            let r#do = if kind == Kind::Bidi { Do::Echo } else { Do::Hang };
            let call = kind.begin(line.pool.channel(), ask(r#do, format!("{kind:?}")), more, None);
            let mut call = soon(call).await.unwrap();
            soon(call.next()).await.unwrap().unwrap();
            begun.push(call);
        }
        line.proxy.cut(cut);
        for mut call in begun {
            line.failed(&soon(call.next()).await.unwrap_err(), &["was lost"]);
        }
        soon(send.closed()).await;
        for kind in [Kind::ServerStream, Kind::Bidi] {
            assert_eq!(line.server.books().calls_of(&format!("{kind:?}")), 1);
        }
        line.nothing_left().await;
        assert_eq!(line.pool.counters().connections_lost, 1);
    }
}

#[tokio::test]
async fn within_the_request_stream() {
    for cut in CUTS {
        let line = Line::ready().await;
        let (send, receive) = mpsc::channel::<Ask>(1);
        let more = Asks::new(ReceiverStream::new(receive));
        let call =
            Kind::ClientStream.begin(line.pool.channel(), ask(Do::Echo, "stream"), more, None);
        let call = tokio::spawn(call);
        for _ in 0..3 {
            send.send(ask(Do::Echo, "stream")).await.unwrap();
        }
        soon(line.server.books().until(|now| now.messages == 1 + 4)).await;
        line.proxy.cut(cut);
        line.failed(&soon(call).await.unwrap().unwrap_err(), &["was lost"]);
        soon(send.closed()).await;
        assert_eq!(line.server.books().calls_of("stream"), 1);
        line.nothing_left().await;
    }
}

#[tokio::test]
async fn while_nobody_calls() {
    for cut in CUTS {
        let line = Line::ready().await;
        let mut state = line.pool.watch();
        line.proxy.cut(cut);
        soon(state.wait_for(|state| state != ConnectivityState::Ready)).await.unwrap();
        line.nothing_left().await;
        soon(line.pool.wait_ready(Instant::now() + Duration::from_secs(10))).await.unwrap();
        for result in soon(line.call_all().join_all()).await {
            result.unwrap();
        }
        assert_eq!(line.pool.counters().calls_ended.get(Code::Unavailable), 0);
    }
}

#[tokio::test]
async fn a_server_behind_that_is_not_there_looks_like_one_that_closes() {
    let (_uri, port) = common::dead_uri();
    let dead: SocketAddr = port.local_addr().unwrap();
    let proxy = Proxy::start(dead).await.unwrap();
    let pool = ChannelPool::builder(proxy.uri()).build().unwrap();
    let call = Kind::Unary.call(pool.channel(), ask(Do::Echo, "hello"));
    let status = soon(call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&proxy.addr().to_string()), "{status}");
    assert!(NO_SETTINGS.iter().any(|what| status.message().contains(what)), "{status}");
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    soon(proxy.until(|traffic| traffic.open == 0)).await;
}

/// The server closes its side, and does not read what is written to it: nothing could be told to it, or by it.
#[tokio::test(start_paused = true)]
async fn a_server_that_closes_and_reads_no_more_is_left_at_once() {
    // No more than this is written to one who does not read.
    let (pool, mut network) = in_memory_with(4096, Duration::ZERO);
    let pool = pool.build().unwrap();
    let call = Kind::Unary.spawn(&pool, ask(Do::Echo, "x".repeat(60_000)));
    let mut raw = network.accept(100).await;
    raw.opened().await;
    raw.fall_silent().await.unwrap();
    let status = eventually(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(pool.state(), ConnectivityState::Idle);
    assert_eq!(pool.counters().connections_lost, 1);

    let call = Kind::Unary.spawn(&pool, ask(Do::Echo, "hello"));
    let second = tokio::spawn(answer_all(network.accept(100).await));
    eventually(call).await.unwrap().unwrap();
    // Its last frames have their time, and no more.
    pass(6).await;
    assert_eq!(pool.connection_list().len(), 1);
    eventually(pool.close(Duration::from_secs(1))).await;
    eventually(second).await.unwrap();
}
