//! Endpoints from a resolver: what becomes of its sets, and when it is asked.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/resolving.rs"]
mod resolving;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::{ask, call, client, soon, tasks, until};
use fleet::{Events, Fleet, used};
use pool_tonic::resolve::{self, Dns, Endpoint, ResolveTarget};
use pool_tonic::{ChannelPool, ChannelPoolBuilder, EndpointEvent};
use pool_tonic_testing::proto::Do;
use resolving::{Answer, Script, comes, fail, give, servers};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn builder(fleet: &Fleet) -> ChannelPoolBuilder {
    fleet.connect(ChannelPool::builder("http://orders.prod:50051"))
}

fn scripted(fleet: &Fleet, answer: Answer) -> (ChannelPoolBuilder, Script) {
    let (script, resolver) = Script::new(answer);
    (builder(fleet).resolver(resolver), script)
}

fn set(indices: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
    indices.into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn endpoints_come_and_go_and_no_call_fails() {
    let fleet = Fleet::new(6);
    let (feed, fed) = resolve::feed();
    let pool = builder(&fleet).resolver(fed).max_connections(6).min_connections(3).build().unwrap();
    feed.set(servers([0, 1]));
    let caller = tokio::spawn({
        let pool = pool.clone();
        async move {
            loop {
                call(&pool).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    for indices in [vec![0, 1], vec![0, 1, 2], vec![0, 2], vec![3, 4, 5], vec![1], vec![0, 5]] {
        feed.set(servers(indices.iter().copied()));
        comes(|| used(&pool) == set(indices.iter().copied())).await;
        let are_gone = || {
            let mut members = fleet.members().enumerate();
            members.all(|(at, it)| it.connections() == 0 || indices.contains(&at))
        };
        let started = Instant::now();
        comes(are_gone).await;
        assert!(started.elapsed() < 5 * SECOND, "{indices:?} after {:?}", started.elapsed());
    }
    assert!(!caller.is_finished(), "{:?}", caller.await);
    caller.abort();
    assert_eq!(pool.counters().calls_ended.get(tonic::Code::Unavailable), 0);
}

#[tokio::test]
async fn a_call_on_an_endpoint_that_goes_finishes() {
    let server = pool_tonic_testing::EchoServer::start().await.unwrap();
    let (feed, fed) = resolve::feed();
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(fed).build().unwrap();
    feed.set([Endpoint::from(server.addr())].into_iter().collect());
    let running = tokio::spawn({
        let mut client = client(&pool);
        async move { client.unary(ask(Do::Wait)).await }
    });
    soon(server.books().until(|now| now.active == 1)).await;
    let other = pool_tonic_testing::EchoServer::start().await.unwrap();
    feed.set([Endpoint::from(other.addr())].into_iter().collect());
    until(|| pool.status().draining == 1).await;
    call(&pool).await.unwrap();
    assert_eq!((other.books().now().calls, server.books().now().calls), (1, 1));
    server.open_gate();
    soon(running).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn those_given_twice_are_one() {
    let fleet = Fleet::new(2);
    let (pool, script) = scripted(&fleet, give([0, 1, 0, 1, 1]));
    let pool = pool.build().unwrap();
    call(&pool).await.unwrap();
    assert_eq!(pool.addresses().len(), 2);
    assert_eq!(pool.resolver_status().unwrap().endpoints, 2);
    assert_eq!(script.targets(), [ResolveTarget::new("orders.prod", 50051, false)]);
    let ports: BTreeSet<_> = pool.addresses().into_iter().map(|it| it.address).collect();
    assert_eq!(ports, ["server-0:50051", "server-1:50051"].map(str::to_owned).into());
}

#[tokio::test(start_paused = true)]
async fn an_error_and_an_empty_set_leave_the_last_in_use_and_are_counted() {
    let fleet = Fleet::new(3);
    let events = Arc::new(Events::default());
    let (pool, script) = scripted(&fleet, give([0, 1]));
    let pool = pool.endpoint_observer(events.clone()).build().unwrap();
    call(&pool).await.unwrap();
    let first = EndpointEvent::Resolved { endpoints: 2, used: 2, added: 2, removed: 0 };
    assert_eq!(events.take(), [first]);

    script.set(fail("NXDOMAIN"));
    until_asked(&script, 2).await;
    call(&pool).await.unwrap();
    let status = pool.resolver_status().unwrap();
    assert_eq!(status.last_error.unwrap().to_string(), "NXDOMAIN");
    assert_eq!(events.take(), [EndpointEvent::ResolveFailed { error: "NXDOMAIN".to_owned() }]);

    script.set(give([]));
    until_asked(&script, 3).await;
    call(&pool).await.unwrap();
    assert_eq!(used(&pool), set([0, 1]));
    let counters = pool.counters();
    let [resolutions, failures, empty] =
        [counters.resolutions, counters.resolve_failures, counters.resolve_empty];
    assert_eq!([resolutions, failures, empty], [1, 1, 1]);

    script.set(give([1, 2]));
    until_asked(&script, 4).await;
    assert_eq!(used(&pool), set([1, 2]));
    assert!(pool.resolver_status().unwrap().last_error.is_none());
    let last = EndpointEvent::Resolved { endpoints: 2, used: 2, added: 1, removed: 1 };
    assert_eq!(events.take().last(), Some(&last));
}

/// Lets the time pass until it was asked so often, and what follows happen.
async fn until_asked(script: &Script, times: usize) {
    comes(|| script.asked() >= times).await;
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_host_is_an_error_of_the_set() {
    let fleet = Fleet::new(1);
    let (pool, script) = scripted(&fleet, give([0]));
    let pool = pool.build().unwrap();
    call(&pool).await.unwrap();
    script.set(Answer::Give([Endpoint::new("a b")].into_iter().collect()));
    until_asked(&script, 2).await;
    assert_eq!(used(&pool), set([0]));
    let error = pool.resolver_status().unwrap().last_error.unwrap();
    assert!(error.to_string().contains(r#""a b" is no host"#), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_question_takes_5_seconds_at_most() {
    let fleet = Fleet::new(1);
    let (pool, script) = scripted(&fleet, give([0]));
    let pool = pool.build().unwrap();
    call(&pool).await.unwrap();
    script.take_asked();
    script.set(Answer::Hang);
    until_asked(&script, 2).await;
    let asked = script.take_asked();
    let between = asked[1] - asked[0];
    assert!((5 * SECOND..=7 * SECOND).contains(&between), "{between:?}");
    let error = pool.resolver_status().unwrap().last_error.unwrap().to_string();
    assert!(error.contains("no answer within 5s"), "{error}");
    call(&pool).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_at_the_interval_or_when_the_ttl_is_over() {
    let fleet = Fleet::new(1);
    let (pool, script) = scripted(&fleet, give([0]));
    let pool = pool.build().unwrap();
    sleep(100 * SECOND).await;
    assert_eq!(script.asked(), 0, "nobody has used the pool");
    call(&pool).await.unwrap();
    until_asked(&script, 5).await;
    for pair in script.take_asked().windows(2) {
        let between = pair[1] - pair[0];
        assert!((24 * SECOND..=36 * SECOND).contains(&between), "{between:?}");
    }
    for (ttl, least, most) in [(7, 7, 9), (0, 5, 6)] {
        script.set(Answer::Give(servers([0]).ttl(ttl * SECOND)));
        until_asked(&script, 1).await;
        script.take_asked();
        until_asked(&script, 3).await;
        let asked = script.take_asked();
        let between = asked[2] - asked[1];
        let right = least * SECOND..=most * SECOND;
        assert!(right.contains(&between), "{between:?} with a TTL of {ttl} s");
    }
    for _ in 0..100 {
        call(&pool).await.unwrap();
    }
    assert_eq!(script.asked(), 0, "calls do not ask");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_asks_again_with_the_gap() {
    let fleet = Fleet::new(2);
    let (pool, script) = scripted(&fleet, give([0, 1]));
    let pool = pool.min_connections(2).build().unwrap();
    pool.warm_up(SECOND).await.unwrap();
    let answered = script.take_asked()[0];
    sleep(SECOND).await;
    // One is left, so there is no hurry.
    fleet.member(0).cut();
    until_asked(&script, 1).await;
    let asked = script.take_asked()[0];
    assert_eq!((asked - answered).as_secs(), 5);
    // None is.
    sleep(SECOND / 2).await;
    fleet.member(0).set_gone(true);
    fleet.member(1).set_gone(true);
    until_asked(&script, 1).await;
    let between = script.take_asked()[0] - asked;
    assert!((SECOND..SECOND * 3 / 2).contains(&between), "{between:?}");
}

#[tokio::test(start_paused = true)]
async fn attempts_that_fail_ask_once_a_second_at_most() {
    let fleet = Fleet::new(3);
    fleet.members().for_each(|member| member.set_gone(true));
    let (pool, script) = scripted(&fleet, give(0..3));
    let pool = pool.build().unwrap();
    for _ in 0..300 {
        call(&pool).await.unwrap_err();
        sleep(Duration::from_millis(100)).await;
    }
    let asked = script.take_asked();
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= SECOND), "{asked:?}");
    assert!(asked.len() > 3);
    // The servers are elsewhere by now.
    let started = Instant::now();
    fleet.member(2).set_gone(false);
    script.set(give([2]));
    while call(&pool).await.is_err() {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(started.elapsed() < 40 * SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_endpoints_are_a_subset_in_no_time() {
    let fleet = Fleet::new(10_000);
    let (pool, script) = scripted(&fleet, give(0..10_000));
    let pool = pool.max_endpoints(50).build().unwrap();
    call(&pool).await.unwrap();
    let first = used(&pool);
    assert_eq!(first.len(), 50);
    let status = pool.resolver_status().unwrap();
    assert_eq!((status.endpoints, status.used), (10_000, 50));
    let gone = *first.first().unwrap();
    script.set(give((0..10_000).filter(|index| *index != gone)));
    until_asked(&script, 2).await;
    let now = used(&pool);
    assert_eq!((now.len(), now.difference(&first).count()), (50, 1));
    // Each of them has a connection, and nobody else has had one.
    comes(|| pool.addresses().iter().all(|it| it.ready > 0)).await;
    assert_eq!(fleet.members().map(fleet::Member::dials).sum::<usize>(), 51);
}

#[tokio::test(start_paused = true)]
async fn those_of_the_own_zone_are_used_while_one_of_them_works() {
    let fleet = Fleet::new(3);
    let zones = ["a", "b", "b"];
    let endpoints = servers(0..3).into_iter().zip(zones).map(|(it, zone)| it.zone(zone));
    let (pool, _) = scripted(&fleet, Answer::Give(endpoints.collect()));
    let pool = pool.zone("a").build().unwrap();
    call(&pool).await.unwrap();
    assert_eq!(used(&pool), set([0]));
    fleet.member(0).set_gone(true);
    comes(|| fleet.member(0).connections() == 0).await;
    call(&pool).await.unwrap();
    assert_eq!(used(&pool), set([0, 1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_close_drops_the_question_and_leaves_no_task() {
    let before = tasks();
    let fleet = Fleet::new(1);
    for hangs in [true, false] {
        let (pool, script) = scripted(&fleet, if hangs { Answer::Hang } else { give([0]) });
        let pool = pool.build().unwrap();
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { call(&pool).await }
        });
        comes(|| script.asked() == 1).await;
        if !hangs {
            waiting.await.unwrap().unwrap();
        }
        let started = Instant::now();
        pool.close(SECOND).await;
        comes(|| tasks() == before + usize::from(hangs)).await;
        assert!(started.elapsed() < SECOND / 100, "hangs: {hangs}");
        comes(|| tasks() == before).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_handle() {
    let before = tasks();
    let fleet = Fleet::new(1);
    let (pool, script) = scripted(&fleet, give([0]));
    let pool = pool.build().unwrap();
    call(&pool).await.unwrap();
    drop(pool);
    comes(|| tasks() == before).await;
    assert_eq!(script.asked(), 1);
    let (pool, script) = scripted(&fleet, Answer::Hang);
    let pool = pool.build().unwrap();
    let gives_up = timeout(SECOND, call(&pool)).await;
    assert!(gives_up.is_err());
    // Nor does what waits for the first set.
    let dropped = Instant::now();
    drop(pool);
    comes(|| tasks() == before).await;
    assert!(dropped.elapsed() < SECOND / 100, "{:?}", dropped.elapsed());
    assert_eq!(script.asked(), 1);
}

#[test]
fn a_runtime_that_ends_takes_the_task_along_and_the_next_use_begins_it_anew() {
    let fleet = Fleet::new(1);
    let (pool, script) = scripted(&fleet, give([0]));
    let pool = pool.build().unwrap();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    runtime().block_on(call(&pool)).unwrap();
    assert_eq!(script.asked(), 1);
    runtime().block_on(async {
        call(&pool).await.unwrap();
        until_asked(&script, 3).await;
    });
    // Also where it had not answered.
    let (pool, script) = scripted(&fleet, fail("no"));
    let pool = pool.build().unwrap();
    runtime().block_on(call(&pool)).unwrap_err();
    script.set(give([0]));
    runtime().block_on(call(&pool)).unwrap();
}

#[tokio::test]
async fn the_system_finds_localhost() {
    let server = pool_tonic_testing::EchoServer::start().await.unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let uri = format!("http://{host}:{}", server.addr().port());
        let pool = ChannelPool::builder(uri).resolver(Dns::new()).build().unwrap();
        call(&pool).await.unwrap();
        let used = pool.addresses().into_iter().map(|status| status.address);
        assert!(used.into_iter().any(|used| used == server.addr().to_string()));
    }
    // Longer than a label may be: nobody is asked for it.
    let host = "x".repeat(64);
    let pool = ChannelPool::builder(format!("http://{host}:1")).resolver(Dns::new());
    let status = soon(call(&pool.build().unwrap())).await.unwrap_err();
    let words = format!("cannot resolve {host}:1: the system found no address: ");
    assert!(status.message().contains(&words), "{status}");
}

/// A call waits for an endpoint that has said nothing yet, and for nothing when that is gone and the other is down.
#[tokio::test(start_paused = true)]
async fn a_call_fails_at_once_when_the_only_endpoint_to_hope_for_goes() {
    let connector = tower::service_fn(|uri: http::Uri| async move {
        if uri.host() == Some("server-0") {
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        }
        std::future::pending::<std::io::Result<tokio::io::DuplexStream>>().await
    });
    let (feed, fed) = resolve::feed();
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(fed).connector(connector);
    let pool = pool.build().unwrap();
    feed.set(servers([0, 1]));
    let call = tokio::spawn({
        let mut client = client(&pool);
        async move { client.unary(ask(Do::Echo)).await }
    });
    comes(|| pool.addresses().iter().any(|it| it.last_error.is_some())).await;
    assert_eq!(pool.status().waiting, 1);
    let began = Instant::now();
    feed.set(servers([0]));
    let status = timeout(SECOND, call).await.unwrap().unwrap().unwrap_err();
    assert!(status.message().contains("server-0"), "{status}");
    assert!(began.elapsed() < SECOND / 10, "{:?}", began.elapsed());
}
