//! Before a resolver's first set: who waits, who fails, and with what words.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/resolving.rs"]
mod resolving;

use std::error::Error as _;
use std::io;
use std::time::Duration;

use common::{ask, client};
use fleet::Fleet;
use pool_tonic::resolve::{self, ResolveError};
use pool_tonic::{ChannelPool, ConnectivityState, WaitForReady};
use pool_tonic_testing::proto::{Ask, Do};
use resolving::{Answer, Script, comes, fail, give, servers};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Request, Status};

const SECOND: Duration = Duration::from_secs(1);

fn scripted(fleet: &Fleet, answer: Answer) -> (ChannelPool, Script) {
    let (script, resolver) = Script::new(answer);
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(resolver);
    (fleet.connect(pool).build().unwrap(), script)
}

fn start(pool: &ChannelPool, request: Request<Ask>) -> JoinHandle<Result<(), Status>> {
    let mut client = client(pool);
    tokio::spawn(async move { client.unary(request).await.map(drop) })
}

fn failing_fast() -> Request<Ask> {
    Request::new(ask(Do::Echo))
}

fn patient() -> Request<Ask> {
    let mut request = failing_fast();
    request.extensions_mut().insert(WaitForReady(true));
    request
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_it() {
    let fleet = Fleet::new(1);
    let (pool, script) = scripted(&fleet, Answer::Hang);
    assert_eq!(pool.state(), ConnectivityState::Idle);
    let calls: Vec<_> = (0..3).map(|_| start(&pool, failing_fast())).collect();
    comes(|| script.asked() == 1).await;
    assert_eq!(pool.state(), ConnectivityState::Connecting);
    sleep(3 * SECOND).await;
    assert!(calls.iter().all(|call| !call.is_finished()));
    script.set(give([0]));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(pool.state(), ConnectivityState::Ready);
}

#[tokio::test(start_paused = true)]
async fn an_error_fails_calls_with_its_words_until_there_is_a_set() {
    let fleet = Fleet::new(1);
    let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "no server");
    let error = ResolveError::new("DNS was not reached").with_source(refused);
    let (pool, script) = scripted(&fleet, Answer::Fail(error));
    let words = "cannot resolve orders.prod:50051: DNS was not reached: no server";
    let first = start(&pool, failing_fast()).await.unwrap().unwrap_err();
    assert_eq!(first.code(), Code::Unavailable);
    assert!(first.message().contains(words), "{first}");
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    let waits = start(&pool, patient());

    let started = Instant::now();
    let second = start(&pool, failing_fast()).await.unwrap().unwrap_err();
    assert_eq!(second.message(), words);
    assert_eq!(started.elapsed(), Duration::ZERO, "it fails fast");
    let last = pool.last_error().unwrap();
    let resolver = last.source().unwrap().downcast_ref::<ResolveError>().unwrap();
    assert!(resolver.source().unwrap().is::<io::Error>());
    let not_ready = pool.wait_ready(Instant::now() + SECOND / 2).await.unwrap_err();
    assert_eq!(not_ready.last_error.unwrap().to_string(), words);

    // It is asked again by itself.
    script.set(give([0]));
    waits.await.unwrap().unwrap();
    assert!(started.elapsed() < 2 * SECOND, "{:?}", started.elapsed());
    start(&pool, failing_fast()).await.unwrap().unwrap();
    assert!(pool.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_empty_set_is_an_error() {
    let (pool, _) = scripted(&Fleet::new(1), give([]));
    let status = start(&pool, failing_fast()).await.unwrap().unwrap_err();
    assert!(status.message().contains("its resolver gave no endpoint"), "{status}");
    assert_eq!(pool.counters().resolve_empty, 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_fed_comes_at_once_after_an_empty_one() {
    let fleet = Fleet::new(1);
    let (feed, fed) = resolve::feed();
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(fed);
    let pool = fleet.connect(pool).build().unwrap();
    feed.set(servers([]));
    start(&pool, failing_fast()).await.unwrap().unwrap_err();
    let waits = start(&pool, patient());
    sleep(10 * SECOND).await;
    let started = Instant::now();
    feed.set(servers([0]));
    waits.await.unwrap().unwrap();
    assert!(started.elapsed() < SECOND / 10, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_resolver_is_an_error_of_it() {
    let fleet = Fleet::new(1);
    let (pool, script) = scripted(&fleet, Answer::Panic);
    let status = start(&pool, failing_fast()).await.unwrap().unwrap_err();
    assert!(status.message().contains("its resolver panicked"), "{status}");
    script.set(give([0]));
    pool.wait_ready(Instant::now() + 2 * SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_never_answers_keeps_patient_calls_until_their_deadline() {
    let (pool, script) = scripted(&Fleet::new(1), Answer::Hang);
    let mut request = patient();
    request.set_timeout(60 * SECOND);
    let status = start(&pool, request).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("orders.prod:50051"), "{status}");
    assert!(status.message().contains("no answer within 5s"), "{status}");
    assert!((5..=12).contains(&script.asked()), "{}", script.asked());
}

#[tokio::test(start_paused = true)]
async fn errors_are_followed_by_a_back_off() {
    let (pool, script) = scripted(&Fleet::new(1), fail("no"));
    start(&pool, failing_fast()).await.unwrap().unwrap_err();
    let hammer = tokio::spawn({
        let pool = pool.clone();
        async move {
            loop {
                let _ = start(&pool, failing_fast()).await;
                sleep(SECOND / 100).await;
            }
        }
    });
    sleep(600 * SECOND).await;
    hammer.abort();
    let asked = script.take_asked();
    let between: Vec<_> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    for (between, nominal) in between.iter().zip([1000, 1600, 2560, 4096]) {
        assert!((nominal * 8 / 10..=nominal * 12 / 10 + 2).contains(between), "{between}");
    }
    assert!(between.last().is_some_and(|last| (24_000..=36_002).contains(last)), "{between:?}");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_asked_again_at_the_interval() {
    let error = ResolveError::new("forbidden").permanent();
    let (pool, script) = scripted(&Fleet::new(1), Answer::Fail(error));
    start(&pool, failing_fast()).await.unwrap().unwrap_err();
    sleep(100 * SECOND).await;
    assert!((3..=5).contains(&script.asked()), "{}", script.asked());
}

#[tokio::test(start_paused = true)]
async fn a_reset_of_the_back_off_asks_at_once() {
    let fleet = Fleet::new(1);
    let error = ResolveError::new("forbidden").permanent();
    let (pool, script) = scripted(&fleet, Answer::Fail(error));
    start(&pool, failing_fast()).await.unwrap().unwrap_err();
    script.set(give([0]));
    sleep(SECOND).await;
    let started = Instant::now();
    pool.reset_backoff();
    pool.wait_ready(started + SECOND).await.unwrap();
    assert_eq!(script.asked(), 2);
    assert!(started.elapsed() < SECOND / 10);
}

#[tokio::test(start_paused = true)]
async fn a_minimum_of_connections_asks_at_once_and_a_dedicated_one_as_well() {
    let fleet = Fleet::new(1);
    let (script, resolver) = Script::new(give([0]));
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(resolver);
    let pool = fleet.connect(pool).min_connections(1).build().unwrap();
    timeout(SECOND, pool.warm_up(SECOND)).await.unwrap().unwrap();
    assert_eq!(script.asked(), 1);
    let (pool, script) = scripted(&fleet, give([0]));
    pool.exclusive().await.unwrap();
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_is_dropped_keeps_its_set_or_says_that_there_was_none() {
    let fleet = Fleet::new(1);
    let (feed, fed) = resolve::feed();
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(fed);
    let pool = fleet.connect(pool).build().unwrap();
    feed.set(servers([0]));
    drop(feed);
    for _ in 0..10 {
        start(&pool, failing_fast()).await.unwrap().unwrap();
        sleep(100 * SECOND).await;
    }
    assert_eq!(pool.counters().resolutions, 1);
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(resolve::feed().1);
    let status = start(&pool.build().unwrap(), failing_fast()).await.unwrap().unwrap_err();
    assert!(status.message().contains("its feed was dropped"), "{status}");
}
