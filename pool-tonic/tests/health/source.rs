//! The pool as a source of health.

use pool_tonic::health_source;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::server::{HealthReporter, HealthService};

use super::*;
use crate::common::dedicated;
use crate::memory::answer_all;

/// What a balancer is told about the service.
async fn is(reporter: &HealthReporter, status: ServingStatus) {
    let health = HealthService::from_health_reporter(reporter.clone());
    eventually(async {
        loop {
            let question = HealthCheckRequest { service: "front".to_owned() };
            let answer = health.check(Request::new(question)).await;
            if answer.is_ok_and(|answer| answer.into_inner().status() == status) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_is_as_healthy_as_the_pool_that_it_needs() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(None).build().unwrap();
    let reporter = HealthReporter::new();
    let source = tokio::spawn(health_source(&pool, reporter.clone(), "front"));
    is(&reporter, ServingStatus::Serving).await;
    // A call that is hung up on.
    let call = unary(&pool);
    drop(network.arrival().await);
    assert!(eventually(call).await.unwrap().is_err());
    is(&reporter, ServingStatus::NotServing).await;
    // Nobody calls a service that does not serve.
    tokio::spawn(answer_all(network.accept(100).await));
    is(&reporter, ServingStatus::Serving).await;
    assert_eq!(pool.counters().calls_started, 1);
    drop(pool);
    eventually(source).await.unwrap();
    is(&reporter, ServingStatus::NotServing).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_down_for_want_of_a_dedicated_connection_comes_back_too() {
    let (pool, mut network) = in_memory();
    let pool = pool.keepalive_time(None).build().unwrap();
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.unary(dedicated(ask(Do::Echo))).await });
    drop(network.arrival().await);
    assert!(eventually(call).await.unwrap().is_err());
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    tokio::spawn(answer_all(network.accept(100).await));
    until(|| pool.state() == ConnectivityState::Ready).await;
}
