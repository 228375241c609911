//! Servers in processes of their own that are killed, stopped and started again.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;
#[path = "common/load.rs"]
mod load;

use std::time::Duration;

use common::{all_slots_free, soon, until};
use kinds::{KINDS, Kind, ask, no_more};
use load::{Load, seen};
use pool_tonic::{ChannelPool, ConnectivityState};
use pool_tonic_testing::process::{ServerProcess, serve_if_asked};
use pool_tonic_testing::proto::Do;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;

/// The test that [`ServerProcess`] starts this program for.
const SERVER: &str = "a_process_that_serves_and_is_killed";

#[test]
fn a_process_that_serves_and_is_killed() {
    if serve_if_asked() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = ServerProcess::start(SERVER).await.unwrap();
        let pool = ChannelPool::builder(server.uri()).build().unwrap();
        for kind in KINDS {
            soon(kind.call(pool.channel(), ask(Do::Echo, format!("{kind:?}")))).await.unwrap();
        }
        let seen = soon(server.kill()).await.unwrap();
        assert_eq!(seen.len(), KINDS.len());
        assert!(seen.values().all(|calls| *calls == 1), "{seen:?}");
        until(|| pool.status().ready == 0).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_beside_another_costs_only_what_was_in_flight_on_it() {
    let killed = ServerProcess::start(SERVER).await.unwrap();
    let other = ServerProcess::start(SERVER).await.unwrap();
    let address = killed.addr().to_string();
    let pool = ChannelPool::endpoints([killed.uri(), other.uri()])
        .min_connections(2)
        .max_connections(2)
        .build()
        .unwrap();
    until(|| pool.status().ready == 2).await;
    let load = Load::start(&pool);
    load.more(400).await;
    let gone = soon(killed.kill()).await.unwrap();
    load.more(400).await;
    let calls = load.end().await;
    all_slots_free(&pool).await;

    assert!(gone.len() > 10, "it had its share: {}", gone.len());
    let servers = [gone, other.kill().await.unwrap()];
    let mut failed = 0;
    for (name, result) in calls {
        match result {
            Ok(()) => assert_eq!(seen(&servers, &name), 1, "{name}"),
            Err(status) => {
                failed += 1;
                assert_eq!(status.code(), Code::Unavailable, "{name} {status}");
                let lost = format!("the connection to {address} was lost");
                assert!(status.message().contains(&lost), "{name} {status}");
                assert!(seen(&servers[..1], &name) <= 1, "{name}");
                assert_eq!(seen(&servers[1..], &name), 0, "{name} was not sent again");
            }
        }
    }
    // Each caller has one call at a time, and the one connection was lost once.
    assert!(failed <= Load::CALLERS, "{failed}");
    let counters = pool.counters();
    assert_eq!(counters.calls_ended.get(Code::Unavailable), failed as u64);
    assert_eq!(counters.calls_ended.total(), counters.calls_started);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_with_calls_of_every_kind_in_flight_fails_just_those() {
    let server = ServerProcess::start(SERVER).await.unwrap();
    let pool = ChannelPool::builder(server.uri()).max_connections(1).build().unwrap();
    let mut calls = JoinSet::new();
    for kind in KINDS {
        let call = kind.call(pool.channel(), ask(Do::Hang, format!("{kind:?}")));
        calls.spawn(call);
    }
    soon(server.until(|seen| seen.len() == KINDS.len())).await;
    let address = server.addr().to_string();
    let seen = soon(server.kill()).await.unwrap();
    for result in soon(calls.join_all()).await {
        let status = result.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains(&format!("{address} was lost")), "{status}");
    }
    assert!(seen.values().all(|calls| *calls == 1), "{seen:?}");
    all_slots_free(&pool).await;
    until(|| pool.status().ready == 0).await;
    // From now on the reason is the port.
    let status = soon(Kind::Unary.call(pool.channel(), ask(Do::Echo, "late"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains(&address), "{status}");
    assert_eq!(pool.counters().transparent_retries, 0);
}

#[tokio::test]
async fn a_server_started_again_on_its_port_is_found_again() {
    let server = ServerProcess::start(SERVER).await.unwrap();
    let (addr, uri) = (server.addr(), server.uri());
    let pool = ChannelPool::builder(uri).build().unwrap();
    let mut state = pool.watch();
    soon(Kind::Unary.call(pool.channel(), ask(Do::Echo, "before"))).await.unwrap();
    soon(server.kill()).await.unwrap();
    soon(state.wait_for(|state| state != ConnectivityState::Ready)).await.unwrap();
    let server = ServerProcess::start_on(SERVER, addr).await.unwrap();
    soon(pool.wait_ready(Instant::now() + Duration::from_secs(15))).await.unwrap();
    for kind in KINDS {
        soon(kind.call(pool.channel(), ask(Do::Echo, format!("{kind:?}")))).await.unwrap();
    }
    let seen = soon(server.kill()).await.unwrap();
    assert_eq!(seen.len(), KINDS.len(), "{seen:?}");
    assert_eq!(pool.counters().calls_ended.get(Code::Ok), 1 + KINDS.len() as u64);
}

#[tokio::test]
async fn a_stopped_server_lets_calls_end_by_their_deadline_and_goes_on_when_it_does() {
    let server = ServerProcess::start(SERVER).await.unwrap();
    let pool = ChannelPool::builder(server.uri()).max_connections(1).build().unwrap();
    soon(Kind::Unary.call(pool.channel(), ask(Do::Echo, "before"))).await.unwrap();
    server.stop().unwrap();
    let mut calls = JoinSet::new();
    for kind in KINDS {
        let timeout = Some(Duration::from_millis(200));
        let ask = ask(Do::Echo, format!("stopped {kind:?}"));
        calls.spawn(kind.begin(pool.channel(), ask, no_more(), timeout));
    }
    // One without a deadline waits for the server.
    let patient = Kind::Unary.spawn(&pool, ask(Do::Echo, "patient"));
    for result in soon(calls.join_all()).await {
        let status = result.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(status.message().contains(&server.addr().to_string()), "{status}");
        assert!(status.message().contains("200ms"), "{status}");
    }
    assert_eq!(pool.status().streams, 1);
    server.go_on().unwrap();
    soon(patient).await.unwrap().unwrap();
    for kind in KINDS {
        soon(kind.call(pool.channel(), ask(Do::Echo, format!("after {kind:?}")))).await.unwrap();
    }
    all_slots_free(&pool).await;
    let seen = soon(server.kill()).await.unwrap();
    assert!(seen.values().all(|calls| *calls == 1), "{seen:?}");
    assert!(KINDS.iter().all(|kind| seen.contains_key(&format!("after {kind:?}"))));
    assert_eq!(pool.counters().connections_opened, 1);
}

#[tokio::test]
async fn a_stopped_server_beside_another_costs_only_calls_that_are_sent_to_it() {
    let stopped = ServerProcess::start(SERVER).await.unwrap();
    let other = ServerProcess::start(SERVER).await.unwrap();
    let pool = ChannelPool::endpoints([stopped.uri(), other.uri()])
        .min_connections(2)
        .max_connections(2)
        .build()
        .unwrap();
    until(|| pool.status().ready == 2).await;
    stopped.stop().unwrap();
    let mut calls = JoinSet::new();
    for n in 0..40 {
        let (name, timeout) = (n.to_string(), Some(Duration::from_millis(500)));
        let call =
            Kind::Unary.begin(pool.channel(), ask(Do::Echo, name.clone()), no_more(), timeout);
        calls.spawn(async move { (name, call.await.map(drop)) });
    }
    let calls = soon(calls.join_all()).await;
    let address = stopped.addr().to_string();
    let seen = soon(other.kill()).await.unwrap();
    for (name, result) in calls {
        assert_eq!(seen.contains_key(&name), result.is_ok(), "{name}");
        if let Err(status) = result {
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
            assert!(status.message().contains(&address), "{status}");
        }
    }
    all_slots_free(&pool).await;
}
