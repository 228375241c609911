//! Endpoints of one pool, some of which cannot be reached.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{ask, client, until};
use memory::{answer_all, eventually, pass};
use pool_tonic::{ChannelPool, ChannelPoolBuilder, ConnectivityState};
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::raw::Raw;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// A pool of endpoints by their names: `silent-` ones never answer, `down-` ones refuse, the others are up.
fn of<const N: usize>(hosts: [&str; N]) -> ChannelPoolBuilder {
    let connector = tower::service_fn(|uri: http::Uri| async move {
        let host = uri.host().unwrap();
        if host.starts_with("silent-") {
            return pending().await;
        }
        if host.starts_with("down-") {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move { answer_all(Raw::greet(far, 100).await.unwrap()).await });
        Ok::<_, io::Error>(near)
    });
    let endpoints = hosts.map(|host| format!("http://{host}:1"));
    ChannelPool::endpoints(endpoints).connector(connector).keepalive_time(None)
}

#[tokio::test(start_paused = true)]
async fn a_dedicated_call_does_not_wait_for_an_endpoint_that_is_known_to_be_silent() {
    let pool = of(["silent-0", "up-1"]).build().unwrap();
    eventually(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    // The first attempt has failed by now, and another one goes on.
    pass(25).await;
    assert_eq!((pool.addresses()[0].connecting, pool.addresses()[1].ready), (1, 1));
    let began = Instant::now();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(eventually(pool.exclusive()).await.unwrap());
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// Nothing is known of the silent one but that its first attempt goes on.
#[tokio::test(start_paused = true)]
async fn a_dedicated_call_does_not_wait_for_a_silent_endpoint_while_another_one_is_there() {
    // Which endpoint comes first is chosen at random.
    for _ in 0..20 {
        let pool = of(["silent-0", "up-1"]).build().unwrap();
        let began = Instant::now();
        eventually(client(&pool).unary(ask(Do::Echo))).await.unwrap();
        until(|| pool.addresses()[0].connecting == 1).await;
        eventually(client(&pool).unary(common::dedicated(ask(Do::Echo)))).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(pool.addresses()[0].connecting, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_down_for_dedicated_calls_come_back_without_calls() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let connector = tower::service_fn(move |_: http::Uri| {
        let is_up = is_up.load(Ordering::SeqCst);
        async move {
            if !is_up {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move { answer_all(Raw::greet(far, 100).await.unwrap()).await });
            Ok::<_, io::Error>(near)
        }
    });
    let pool = ChannelPool::endpoints(["http://one:1", "http://two:1"]).connector(connector);
    let pool = pool.keepalive_time(None).build().unwrap();
    eventually(client(&pool).unary(common::dedicated(ask(Do::Echo)))).await.unwrap_err();
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    up.store(true, Ordering::SeqCst);
    let mut watch = pool.watch();
    eventually(watch.wait_for(|state| state == ConnectivityState::Ready)).await.unwrap();
    assert_eq!(pool.counters().calls_started, 1);
}

/// How long it took to warm up, or to fail to.
async fn warmed(pool: &ChannelPool, timeout: Duration) -> (bool, Duration) {
    let began = Instant::now();
    let warm = eventually(pool.warm_up(timeout)).await;
    (warm.is_ok(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_connects_to_every_endpoint_that_can_be_connected_to() {
    let pool = of(["up-0", "up-1", "up-2"]).connections_per_endpoint(2).build().unwrap();
    assert_eq!(warmed(&pool, SECOND).await, (true, Duration::ZERO));
    assert_eq!(pool.addresses().iter().map(|it| it.ready).collect::<Vec<_>>(), [2, 2, 2]);
    // One that is down has failed once by then.
    let pool = of(["up-0", "down-1", "up-2", "down-3"]).build().unwrap();
    assert_eq!(warmed(&pool, SECOND).await, (true, Duration::ZERO));
    assert_eq!(pool.addresses().iter().map(|it| it.ready).collect::<Vec<_>>(), [1, 0, 1, 0]);
    assert!([1, 3].iter().all(|&at| pool.addresses()[at].last_error.is_some()));
    // Without an endpoint to choose, nor a minimum, there is one.
    let pool = of(["up-0"]).build().unwrap();
    assert_eq!(warmed(&pool, SECOND).await, (true, Duration::ZERO));
    assert_eq!(pool.status().ready, 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_endpoint_holds_up_a_warm_up_and_does_not_fail_it() {
    for min in [0, 2] {
        let hosts = ["up-0", "silent-1", "up-2"];
        let pool = of(hosts).min_connections(min).build().unwrap();
        assert_eq!(warmed(&pool, 5 * SECOND).await, (true, 5 * SECOND));
        assert_eq!(pool.addresses().iter().map(|it| it.ready).collect::<Vec<_>>(), [1, 0, 1]);
        // At most until its first attempt has failed.
        let pool = of(hosts).min_connections(min).connect_timeout(7 * SECOND).build().unwrap();
        assert_eq!(warmed(&pool, 60 * SECOND).await, (true, 7 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_fails_when_every_endpoint_has_and_when_too_few_are_there_in_time() {
    for min in [0, 2] {
        let pool = of(["down-0", "down-1", "down-2"]).min_connections(min).build().unwrap();
        assert_eq!(warmed(&pool, 5 * SECOND).await, (false, Duration::ZERO));
        let error = pool.warm_up(SECOND).await.unwrap_err();
        assert_eq!(error.state, ConnectivityState::TransientFailure);
        assert!(error.last_error.is_some());

        let pool = of(["silent-0", "down-1"]).min_connections(min).build().unwrap();
        assert_eq!(warmed(&pool, 5 * SECOND).await, (false, 5 * SECOND));
        // The silent one has failed as well by the time of its connect timeout.
        assert_eq!(warmed(&pool, 60 * SECOND).await, (false, 15 * SECOND));
    }
    let pool = of(["up-0"]).max_connections(2).min_connections(2).build().unwrap();
    assert_eq!(warmed(&pool, SECOND).await, (true, Duration::ZERO));
    pool.close_now();
    assert_eq!(warmed(&pool, SECOND).await, (false, Duration::ZERO));
}
