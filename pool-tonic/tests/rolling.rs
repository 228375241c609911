//! A rolling restart: five servers, each replaced by one at another address, under steady load of all four kinds of
//! calls.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;
#[path = "common/load.rs"]
mod load;

use std::collections::HashMap;
use std::net::SocketAddr;

use common::{all_slots_free, soon, until};
use load::{Load, seen};
use pool_tonic::resolve::{Endpoint, EndpointFeed, feed};
use pool_tonic::{ChannelPool, ConnectivityState};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::process::{ServerProcess, serve_if_asked};
use tonic::Code;

const PODS: u8 = 5;

/// Calls between two steps.
const STEADY: usize = 200;

/// The test that [`ServerProcess`] starts this program for.
const SERVER: &str = "a_process_that_serves";

#[test]
fn a_process_that_serves() {
    serve_if_asked();
}

/// The address of the pod of this number.
fn pod(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2 + number], port))
}

async fn start(addr: SocketAddr) -> EchoServer {
    EchoServer::start_with(addr, |server| server).await.unwrap()
}

fn set<'a>(feed: &EndpointFeed, pods: impl IntoIterator<Item = &'a SocketAddr>) {
    let endpoint = |addr: &SocketAddr| Endpoint::new(addr.ip().to_string());
    feed.set(pods.into_iter().map(endpoint).collect());
}

fn pool(port: u16) -> (EndpointFeed, ChannelPool) {
    let (feed, fed) = feed();
    let target = format!("http://orders.prod:{port}");
    (feed, ChannelPool::builder(target).resolver(fed).build().unwrap())
}

/// When the source of endpoints learns of a change.
#[derive(Clone, Copy, Debug)]
enum Learns {
    BeforeThePodStops,
    AfterThePodHasStopped,
}

async fn rolls(learns: Learns) {
    let mut pods = vec![start(pod(0, 0)).await];
    let port = pods[0].addr().port();
    for number in 1..PODS {
        pods.push(start(pod(number, port)).await);
    }
    let (feed, pool) = pool(port);
    let addrs = |pods: &[EchoServer]| pods.iter().map(EchoServer::addr).collect::<Vec<_>>();
    set(&feed, &addrs(&pods));
    let load = Load::start(&pool);
    load.more(STEADY).await;
    let mut books = Vec::new();
    for number in PODS..2 * PODS {
        let old = pods.remove(0);
        books.push(old.books().clone());
        pods.push(start(pod(number, port)).await);
        match learns {
            Learns::BeforeThePodStops => {
                set(&feed, &addrs(&pods));
                load.more(STEADY / 10).await;
                soon(old.stop()).await;
            }
            Learns::AfterThePodHasStopped => {
                soon(old.stop()).await;
                load.more(STEADY / 10).await;
                set(&feed, &addrs(&pods));
            }
        }
        load.more(STEADY).await;
    }
    let connected = |pool: &ChannelPool| pool.addresses().iter().filter(|it| it.ready > 0).count();
    soon(async {
        while connected(&pool) < pods.len() {
            load.more(1).await;
        }
    })
    .await;
    load.more(STEADY).await;
    let calls = load.end().await;
    books.extend(pods.iter().map(|pod| pod.books().clone()));
    assert!(calls.len() > usize::from(PODS) * STEADY);
    for (name, result) in &calls {
        result.as_ref().unwrap_or_else(|status| panic!("{name}: {status}"));
        let times: usize = books.iter().map(|books| books.calls_of(name)).sum();
        assert_eq!(times, 1, "{name}");
    }
    // All new pods have their share, and nothing is left of the old ones.
    until(|| connected(&pool) == pods.len() && pool.status().draining == 0).await;
    for pod in &pods {
        assert!(pod.books().now().calls > 0, "{} got no call", pod.addr());
    }
    let known: Vec<_> = pool.addresses().into_iter().map(|it| it.address).collect();
    let expected: Vec<_> = pods.iter().map(|pod| pod.addr().to_string()).collect();
    assert_eq!(known, expected);
    all_slots_free(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_that_the_resolver_knows_first_costs_no_call() {
    rolls(Learns::BeforeThePodStops).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_that_the_resolver_learns_of_late_costs_no_call() {
    rolls(Learns::AfterThePodHasStopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_are_killed_cost_only_the_calls_in_flight_on_them() {
    let mut pods = vec![ServerProcess::start_on(SERVER, pod(10, 0)).await.unwrap()];
    let port = pods[0].addr().port();
    for number in 11..10 + PODS {
        pods.push(ServerProcess::start_on(SERVER, pod(number, port)).await.unwrap());
    }
    let (feed, pool) = pool(port);
    let addrs = |pods: &[ServerProcess]| pods.iter().map(ServerProcess::addr).collect::<Vec<_>>();
    set(&feed, &addrs(&pods));
    let load = Load::start(&pool);
    load.more(STEADY).await;
    let mut killed: Vec<HashMap<String, usize>> = Vec::new();
    for number in 0..PODS {
        let old = pods.remove(0);
        let new = ServerProcess::start_on(SERVER, pod(10 + PODS + number, port));
        pods.push(new.await.unwrap());
        killed.push(soon(old.kill()).await.unwrap());
        load.more(STEADY / 10).await;
        set(&feed, &addrs(&pods));
        load.more(STEADY).await;
    }
    let calls = load.end().await;
    assert_eq!(pool.state(), ConnectivityState::Ready);
    let mut alive = Vec::new();
    for pod in pods {
        alive.push(pod.kill().await.unwrap());
    }
    let mut failed = 0;
    for (name, result) in &calls {
        match result {
            Ok(()) => assert_eq!(seen(&killed, name) + seen(&alive, name), 1, "{name}"),
            Err(status) => {
                failed += 1;
                assert_eq!(status.code(), Code::Unavailable, "{name} {status}");
                assert!(status.message().contains("was lost"), "{name} {status}");
                assert!(seen(&killed, name) <= 1, "{name}");
                assert_eq!(seen(&alive, name), 0, "{name} was in flight on one that was killed");
            }
        }
    }
    assert!(failed <= Load::CALLERS * usize::from(PODS), "{failed} of {}", calls.len());
}
