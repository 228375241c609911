//! Endpoints that answer worse than the others get no calls for a while.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/fleet.rs"]
mod fleet;

use std::sync::Arc;
use std::time::Duration;

use common::{ask, client, until};
use fleet::{Events, Fleet};
use pool_tonic::{ChannelPool, EjectedBy, EndpointEvent, FailurePercentage, OutlierDetection};
use pool_tonic_testing::proto::Do;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
const SERVERS: usize = 5;

/// A pool with a connection to each of the servers.
async fn pool(fleet: &Fleet, outliers: OutlierDetection) -> (ChannelPool, Arc<Events>) {
    let events = Arc::new(Events::default());
    let pool = fleet
        .pool()
        .min_connections(SERVERS)
        .outlier_detection(outliers)
        .endpoint_observer(events.clone())
        .build()
        .unwrap();
    pool.warm_up(SECOND).await.unwrap();
    assert!(fleet.members().all(|member| member.connections() == 1));
    (pool, events)
}

/// Makes so many calls, one after the other; how many fail.
async fn calls(pool: &ChannelPool, calls: usize) -> usize {
    let mut client = client(pool);
    let mut failed = 0;
    for _ in 0..calls {
        failed += usize::from(client.unary(ask(Do::Echo)).await.is_err());
    }
    failed
}

/// All whose calls fail for the most part are ejected, if they may be.
fn strict() -> OutlierDetection {
    let mut failures = FailurePercentage::default();
    failures.minimum_hosts = 1;
    let mut outliers = OutlierDetection::default();
    outliers.success_rate = None;
    outliers.failure_percentage = Some(failures);
    outliers.max_ejection_percent = 100;
    outliers
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_its_calls_gets_none_for_a_while_and_then_again() {
    let fleet = Fleet::new(SERVERS);
    let (pool, events) = pool(&fleet, OutlierDetection::default()).await;
    let bad = fleet.member(3);
    bad.fail(true);
    assert!(calls(&pool, 1000).await > 100);
    sleep(11 * SECOND).await;
    let [EndpointEvent::Ejected { address, by, time }] = &events.take()[..] else {
        panic!("one server is ejected");
    };
    assert_eq!(Fleet::index_of(address), 3);
    assert_eq!((*by, *time), (EjectedBy::SuccessRate, 30 * SECOND));
    assert_eq!(pool.counters().endpoints_ejected, 1);
    assert!(pool.addresses()[3].ejected.is_some());

    bad.take_calls();
    assert_eq!(calls(&pool, 200).await, 0);
    assert_eq!(bad.take_calls(), 0);

    bad.fail(false);
    sleep(40 * SECOND).await;
    assert!(matches!(&events.take()[..], [EndpointEvent::Returned { .. }]));
    assert_eq!(pool.addresses()[3].ejected, None);
    assert_eq!(calls(&pool, 200).await, 0);
    assert!(bad.take_calls() > 10);
}

#[tokio::test(start_paused = true)]
async fn the_connection_of_an_ejected_endpoint_is_rotated_as_the_others_are() {
    let fleet = Fleet::new(SERVERS);
    let (pool, events) = pool(&fleet, strict()).await;
    fleet.member(3).fail(true);
    calls(&pool, 1000).await;
    sleep(11 * SECOND).await;
    assert!(matches!(&events.take()[..], [EndpointEvent::Ejected { .. }]));
    assert_eq!(pool.rotate().await.unwrap(), SERVERS);
    assert!(fleet.members().all(|member| member.dials() == 2));
    fleet.member(3).take_calls();
    assert_eq!(calls(&pool, 200).await, 0);
    assert_eq!(fleet.member(3).take_calls(), 0, "it is ejected all the same");
}

#[tokio::test(start_paused = true)]
async fn a_time_that_no_clock_could_hold_is_a_long_one() {
    let fleet = Fleet::new(SERVERS);
    let mut outliers = strict();
    outliers.base_ejection_time = Duration::MAX;
    outliers.max_ejection_time = Duration::MAX;
    let (pool, events) = pool(&fleet, outliers).await;
    fleet.member(3).fail(true);
    calls(&pool, 1000).await;
    sleep(11 * SECOND).await;
    assert!(matches!(&events.take()[..], [EndpointEvent::Ejected { .. }]));
    sleep(3600 * SECOND).await;
    assert!(pool.addresses()[3].ejected.is_some());
}

#[tokio::test(start_paused = true)]
async fn no_outlier_is_looked_for_after_a_time_that_no_clock_could_hold() {
    let fleet = Fleet::new(SERVERS);
    let mut outliers = strict();
    outliers.interval = Duration::MAX;
    let before = Handle::current().metrics().num_alive_tasks();
    let (pool, _) = pool(&fleet, outliers).await;
    let with = Handle::current().metrics().num_alive_tasks() - before;
    let other = fleet.pool().min_connections(SERVERS).build().unwrap();
    other.warm_up(SECOND).await.unwrap();
    let without = Handle::current().metrics().num_alive_tasks() - before - with;
    assert_eq!(with, without + 1, "the one that looks");
    assert_eq!(calls(&pool, 10).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_fault_of_the_server_ejects_nobody() {
    let fleet = Fleet::new(SERVERS);
    let (pool, events) = pool(&fleet, OutlierDetection::default()).await;
    // Calls that their callers give up.
    for _ in 0..500 {
        let call = tokio::time::timeout(Duration::ZERO, calls(&pool, 1));
        let _ = call.await;
    }
    calls(&pool, 500).await;
    sleep(30 * SECOND).await;
    assert_eq!(events.take(), []);
}

#[tokio::test(start_paused = true)]
async fn the_last_server_is_never_ejected_and_when_it_goes_the_others_are_back_at_once() {
    let fleet = Fleet::new(SERVERS);
    let (pool, events) = pool(&fleet, strict()).await;
    fleet.members().for_each(|member| member.fail(true));
    calls(&pool, 1000).await;
    sleep(11 * SECOND).await;
    assert_eq!(events.take().len(), SERVERS - 1);
    let last = pool.addresses().iter().position(|address| address.ejected.is_none()).unwrap();

    fleet.members().for_each(|member| member.fail(false));
    let before = Instant::now();
    fleet.member(last).set_gone(true);
    until(|| events.0.lock().unwrap().len() == SERVERS - 1).await;
    assert!(events.take().iter().all(|event| matches!(event, EndpointEvent::Returned { .. })));
    assert_eq!(calls(&pool, 100).await, 0);
    assert!(before.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_comes_while_its_endpoint_is_ejected_takes_no_calls_either() {
    let fleet = Fleet::new(SERVERS);
    let (pool, events) = pool(&fleet, OutlierDetection::default()).await;
    let bad = fleet.member(0);
    bad.fail(true);
    calls(&pool, 1000).await;
    sleep(11 * SECOND).await;
    assert_eq!(events.take().len(), 1);
    bad.take_calls();
    bad.cut();
    until(|| bad.dials() == 2).await;
    sleep(5 * SECOND).await;
    assert_eq!(bad.connections(), 1);
    assert!(pool.addresses()[0].ejected.is_some());
    assert_eq!(calls(&pool, 200).await, 0);
    assert_eq!(bad.take_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_task_that_looks_for_outliers_ends_with_the_pool() {
    let fleet = Fleet::new(SERVERS);
    let (pool, _) = pool(&fleet, OutlierDetection::default()).await;
    let tasks = Handle::current().metrics();
    assert!(tasks.num_alive_tasks() > 0);
    pool.close(SECOND).await;
    until(|| tasks.num_alive_tasks() == 0).await;
}
