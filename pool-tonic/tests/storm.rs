//! Everything at once: calls of all kinds that end in all ways, over networks that are cut and stalled, to
//! servers with few streams. Whatever happens to a call, it ends once, is seen once at most, and leaves nothing.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{all_slots_free, soon, until};
use kinds::{KINDS, Kind, ask, no_more, open};
use pool_tonic::ChannelPool;
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::proxy::{Cut, Mode, Proxy};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;

const CALLERS: usize = 48;
const ROUNDS: usize = 8;
/// Calls answered between two blows.
const QUIET: usize = 200;
const STREAMS: u32 = 10;

/// How a call of a caller ended.
#[derive(Debug)]
enum End {
    Answered,
    Failed(Code),
    /// The caller lost interest.
    Dropped,
}

/// One call, ended in the way that its number says.
async fn call(pool: &ChannelPool, kind: Kind, n: usize, name: &str) -> End {
    let result = match n % 5 {
        // Dropped at some point on its way, if it is not through by then.
        0 => {
            let call = kind.begin(pool.channel(), ask(Do::Echo, name), open(), None);
            tokio::select! {
                // The call first, so that it begins.
                biased;
                begun = call => begun.map(drop),
                () = steps(n % 64) => Ok(()),
            }
            .map(|()| End::Dropped)
        }
        // Dropped when its answer has begun, with the request open.
        1 => {
            let more = if kind == Kind::ClientStream { no_more() } else { open() };
            let begun = kind.begin(pool.channel(), ask(Do::Echo, name), more, None).await;
            begun.map(|_| End::Dropped)
        }
        // Ended by its deadline, unless something else does.
        2 if n.is_multiple_of(7) => {
            let timeout = Some(Duration::from_millis(20));
            let begun = kind.begin(pool.channel(), ask(Do::Hang, name), no_more(), timeout);
            match begun.await {
                Ok(begun) => begun.rest().await.map(|_| End::Answered),
                Err(status) => Err(status),
            }
        }
        _ => kind.call(pool.channel(), ask(Do::Echo, name)).await.map(|_| End::Answered),
    };
    result.unwrap_or_else(|status| End::Failed(status.code()))
}

async fn steps(steps: usize) {
    for _ in 0..steps {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_once_is_seen_once_and_leaves_nothing() {
    let (mut servers, mut proxies) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let limit = |server: tonic::transport::Server| server.max_concurrent_streams(STREAMS);
        let server = EchoServer::start_with(any, limit).await.unwrap();
        proxies.push(Proxy::start(server.addr()).await.unwrap());
        servers.push(server);
    }
    let pool =
        ChannelPool::endpoints(proxies.iter().map(Proxy::uri)).max_connections(4).build().unwrap();
    let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (pool, over, answered) = (pool.clone(), Arc::clone(&over), Arc::clone(&answered));
        callers.spawn(async move {
            let mut ends = HashMap::new();
            for n in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let name = format!("{caller}-{n}");
                let kind = KINDS[(caller + n) % KINDS.len()];
                let end = call(&pool, kind, caller + 3 * n, &name).await;
                match end {
                    End::Answered => _ = answered.fetch_add(1, Ordering::Relaxed),
                    End::Dropped => {}
                    End::Failed(_) => {
                        // Every address may be in back-off.
                        let deadline = Instant::now() + Duration::from_secs(10);
                        pool.wait_ready(deadline).await.unwrap();
                    }
                }
                ends.insert(name, end);
            }
            ends
        });
    }
    let mut enough = 0;
    for round in 0..ROUNDS {
        enough += QUIET;
        until(|| answered.load(Ordering::Relaxed) >= enough).await;
        let proxy = &proxies[round % proxies.len()];
        if round % 4 > 1 {
            proxy.set(Mode::STALL);
            steps(100).await;
            proxy.set(Mode::PASS);
        }
        proxy.cut(if round % 3 == 0 { Cut::Fin } else { Cut::Rst });
        enough = answered.load(Ordering::Relaxed);
    }
    over.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for (name, end) in soon(callers.join_all()).await.into_iter().flatten() {
        calls += 1;
        let seen: usize = servers.iter().map(|server| server.books().calls_of(&name)).sum();
        match end {
            End::Answered => assert_eq!(seen, 1, "{name}"),
            End::Dropped => assert!(seen <= 1, "{name}"),
            End::Failed(code) => {
                assert!(seen <= 1, "{name}");
                let expected = [Code::Unavailable, Code::DeadlineExceeded];
                assert!(expected.contains(&code), "{name} {code:?}");
            }
        }
    }

    all_slots_free(&pool).await;
    let counters = pool.counters();
    assert_eq!(counters.calls_started, calls);
    assert_eq!(counters.calls_ended.total(), calls, "{counters:?}");
    assert_eq!(pool.status().waiting, 0);
    // What a server does with a stream beyond its limit. (Its own books may run behind: a call that was reset
    // is over for the connection before it is for the service.)
    assert_eq!(counters.streams_refused, 0);
    for server in &servers {
        soon(server.books().until(|now| now.active == 0)).await;
    }
    drop(pool);
    for proxy in &proxies {
        soon(proxy.until(|traffic| traffic.open == 0)).await;
    }
}
