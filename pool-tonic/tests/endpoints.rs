//! Endpoints of one pool, some of which cannot be reached.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::future::pending;
use std::io;
use std::time::Duration;

use common::{ask, client};
use memory::{answer_all, eventually, pass};
use pool_tonic::ChannelPool;
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::raw::Raw;
use tokio::time::Instant;

/// A pool of two endpoints, one of which never answers.
fn half_silent() -> ChannelPool {
    let connector = tower::service_fn(|uri: http::Uri| async move {
        if uri.host() == Some("silent") {
            return pending().await;
        }
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move { answer_all(Raw::greet(far, 100).await.unwrap()).await });
        Ok::<_, io::Error>(near)
    });
    let endpoints = ["http://silent:1", "http://up:1"];
    ChannelPool::endpoints(endpoints).connector(connector).keepalive_time(None).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_dedicated_call_does_not_wait_for_an_endpoint_that_is_known_to_be_silent() {
    let pool = half_silent();
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
