//! Calls with the same key go to the same endpoint.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/resolving.rs"]
mod resolving;

use std::time::Duration;

use common::{ask, call, client, until};
use fleet::{Fleet, Member, used};
use pool_tonic::resolve::{self, Endpoint, Endpoints};
use pool_tonic::{
    Affinity, ChannelPool, ConnectivityState, Dedicated, MethodName, RetryPolicy, ServedBy,
    WaitForReady,
};
use pool_tonic_testing::proto::Do;
use resolving::comes;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Status};

const SERVERS: usize = 3;
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A pool with a connection to each server.
async fn pool(fleet: &Fleet) -> ChannelPool {
    pool_of(fleet, 1000).await
}

async fn pool_of(fleet: &Fleet, streams: usize) -> ChannelPool {
    let pool = fleet.pool().max_streams_per_connection(streams).max_connections(SERVERS);
    let pool = pool.min_connections(SERVERS).build().unwrap();
    pool.warm_up(SECOND).await.unwrap();
    pool
}

/// Makes a call. Which server answers?
async fn served(pool: &ChannelPool, affinity: Affinity) -> Result<usize, Status> {
    let mut request = Request::new(ask(Do::Echo));
    request.extensions_mut().insert(affinity);
    served_by(pool, request).await
}

async fn served_by(
    pool: &ChannelPool,
    request: Request<pool_tonic_testing::proto::Ask>,
) -> Result<usize, Status> {
    let response = client(pool).unary(request).await?;
    let served_by = response.extensions().get::<ServedBy>().unwrap();
    Ok(Fleet::index_of(served_by.address()))
}

/// A key that belongs to this server.
async fn key_of(pool: &ChannelPool, server: usize) -> String {
    for n in 0.. {
        let key = format!("key {n}");
        if served(pool, Affinity::soft(&key)).await.unwrap() == server {
            return key;
        }
    }
    unreachable!()
}

/// Makes a call that nobody waits for here.
fn begin(pool: &ChannelPool, affinity: Affinity) -> JoinHandle<Result<usize, Status>> {
    let pool = pool.clone();
    tokio::spawn(async move { served(&pool, affinity).await })
}

#[tokio::test(start_paused = true)]
async fn a_key_has_one_home_the_same_for_every_client_and_keys_are_spread() {
    let fleet = Fleet::new(SERVERS);
    let pools = [pool(&fleet).await, pool(&fleet).await];
    let mut homes = [0; SERVERS];
    for n in 0..300 {
        let key = format!("customer {n}");
        let home = served(&pools[0], Affinity::soft(&key)).await.unwrap();
        for pool in &pools {
            for affinity in [Affinity::soft(&key), Affinity::hard(&key)] {
                assert_eq!(served(pool, affinity).await.unwrap(), home);
            }
        }
        homes[home] += 1;
    }
    // Five deviations of a random choice.
    assert!(homes.iter().all(|keys| (60..140).contains(keys)), "{homes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_soft_key_takes_any_endpoint_where_its_own_is_full_or_gone() {
    let fleet = Fleet::new(SERVERS);
    let pool = pool_of(&fleet, 1).await;
    let key = key_of(&pool, 1).await;
    fleet.member(1).delay(SECOND);
    let first = begin(&pool, Affinity::soft(&key));
    until(|| pool.status().streams == 1).await;
    assert_ne!(served(&pool, Affinity::soft(&key)).await.unwrap(), 1);
    assert_eq!(first.await.unwrap().unwrap(), 1);

    fleet.member(1).set_gone(true);
    until(|| pool.addresses()[1].ready == 0).await;
    assert_ne!(served(&pool, Affinity::soft(&key)).await.unwrap(), 1);
    fleet.member(1).set_gone(false);
    fleet.member(1).delay(MILLI);
    sleep(5 * SECOND).await;
    assert_eq!(served(&pool, Affinity::soft(&key)).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hard_key_waits_for_its_endpoint_in_turn_and_holds_up_no_other() {
    let fleet = Fleet::new(SERVERS);
    let pool = pool_of(&fleet, 1).await;
    let key = key_of(&pool, 2).await;
    fleet.member(2).delay(SECOND);
    fleet.member(2).take_calls();
    let began = Instant::now();
    let calls: Vec<_> = (0..4).map(|_| begin(&pool, Affinity::hard(&key))).collect();
    until(|| pool.status().waiting == 3).await;
    // The others' slots are free for whoever takes any.
    for _ in 0..20 {
        call(&pool).await.unwrap();
    }
    assert!(began.elapsed() < SECOND);
    assert_eq!(fleet.member(2).take_calls(), 1);
    for (n, call) in (1..).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap(), 2);
        assert!((n * SECOND..n * SECOND + 10 * MILLI).contains(&began.elapsed()), "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hard_key_waits_under_the_deadline() {
    let fleet = Fleet::new(SERVERS);
    let pool = pool_of(&fleet, 1).await;
    let key = key_of(&pool, 0).await;
    fleet.member(0).delay(10 * SECOND);
    let first = begin(&pool, Affinity::hard(&key));
    until(|| pool.status().streams == 1).await;
    let mut request = Request::new(ask(Do::Echo));
    request.extensions_mut().insert(Affinity::hard(&key));
    request.set_timeout(SECOND);
    let began = Instant::now();
    let status = served_by(&pool, request).await.unwrap_err();
    assert_eq!((status.code(), began.elapsed().as_secs()), (Code::DeadlineExceeded, 1));
    assert!(status.message().contains("waiting for a stream slot"), "{}", status.message());
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hard_key_fails_where_its_endpoint_cannot_be_connected_to_unless_it_waits() {
    let fleet = Fleet::new(SERVERS);
    let pool = pool(&fleet).await;
    let key = key_of(&pool, 1).await;
    fleet.member(1).set_gone(true);
    comes(|| pool.addresses()[1].state == ConnectivityState::TransientFailure).await;
    let began = Instant::now();
    let status = served(&pool, Affinity::hard(&key)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("server-1"), "{}", status.message());
    assert!(began.elapsed() < 10 * MILLI);
    // All others are well.
    call(&pool).await.unwrap();

    let mut request = Request::new(ask(Do::Echo));
    request.extensions_mut().insert(Affinity::hard(&key));
    request.extensions_mut().insert(WaitForReady(true));
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { served_by(&pool, request).await }
    });
    sleep(5 * SECOND).await;
    assert!(!waits.is_finished());
    fleet.member(1).set_gone(false);
    assert_eq!(waits.await.unwrap().unwrap(), 1);
}

fn servers(indices: impl IntoIterator<Item = usize>) -> Endpoints {
    indices.into_iter().map(|index| Endpoint::new(format!("server-{index}"))).collect()
}

#[tokio::test(start_paused = true)]
async fn keys_of_an_endpoint_that_goes_move_and_few_others() {
    let fleet = Fleet::new(10);
    let (feed, fed) = resolve::feed();
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(fed);
    let pool = fleet.connect(pool).max_connections(10).build().unwrap();
    feed.set(servers(0..10));
    // The first call of all is for a key, and nobody knows an endpoint yet.
    served(&pool, Affinity::hard("first")).await.unwrap();
    let homes = async || {
        let mut homes = Vec::new();
        for n in 0..500 {
            homes.push(served(&pool, Affinity::hard(format!("key {n}"))).await.unwrap());
        }
        homes
    };
    let before = homes().await;
    feed.set(servers((0..10).filter(|index| *index != 4)));
    comes(|| used(&pool).len() == 9).await;
    let after = homes().await;
    let (mut moved, mut others) = (0, 0);
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(*after, 4);
        moved += usize::from(*before == 4);
        others += usize::from(*before != 4 && before != after);
    }
    assert!(moved > 20 && others < 50, "{moved} of the one that went, {others} others");
    // It is back, and so are they.
    feed.set(servers(0..10));
    comes(|| used(&pool).len() == 10).await;
    assert_eq!(homes().await, before);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_endpoint_that_goes_is_served_by_its_successor() {
    let fleet = Fleet::new(SERVERS);
    let (feed, fed) = resolve::feed();
    let pool = ChannelPool::builder("http://orders.prod:50051").resolver(fed);
    let pool =
        fleet.connect(pool).max_streams_per_connection(1).max_connections(SERVERS).build().unwrap();
    feed.set(servers(0..SERVERS));
    call(&pool).await.unwrap();
    until(|| fleet.members().all(|member| member.connections() == 1)).await;
    let key = key_of(&pool, 1).await;
    fleet.member(1).delay(5 * SECOND);
    let began = Instant::now();
    let first = begin(&pool, Affinity::hard(&key));
    until(|| pool.status().streams == 1).await;
    let second = begin(&pool, Affinity::hard(&key));
    until(|| pool.status().waiting == 1).await;
    feed.set(servers([0, 2]));
    assert_ne!(second.await.unwrap().unwrap(), 1);
    assert!(began.elapsed() < SECOND);
    assert_eq!(first.await.unwrap().unwrap(), 1, "what was begun is finished");
}

#[tokio::test(start_paused = true)]
async fn a_call_on_a_connection_of_its_own_has_a_home_too() {
    let fleet = Fleet::new(SERVERS);
    let pool = pool(&fleet).await;
    let key = key_of(&pool, 2).await;
    fleet.members().for_each(|member| _ = member.take_calls());
    for affinity in [Affinity::hard(&key), Affinity::hard(&key), Affinity::soft(&key)] {
        let mut request = Request::new(ask(Do::Echo));
        request.extensions_mut().insert(Dedicated);
        request.extensions_mut().insert(affinity);
        assert_eq!(served_by(&pool, request).await.unwrap(), 2);
    }
    assert_eq!(pool.dedicated_connections().status().size, 1);
    let calls: Vec<_> = fleet.members().map(Member::take_calls).collect();
    assert_eq!(calls, [0, 0, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_one_address_has_one_home() {
    let fleet = Fleet::new(1);
    let pool = fleet.pool().build().unwrap();
    for affinity in [Affinity::hard("a"), Affinity::soft("b"), Affinity::hard("c")] {
        assert_eq!(served(&pool, affinity).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hard_key_on_connections_of_their_own_has_as_many_as_there_may_be() {
    let fleet = Fleet::new(SERVERS);
    let pool = pool(&fleet).await;
    let key = key_of(&pool, 2).await;
    fleet.member(2).delay(20 * SECOND);
    let dedicated = || {
        let pool = pool.clone();
        let mut request = Request::new(ask(Do::Echo));
        request.extensions_mut().insert(Dedicated);
        request.extensions_mut().insert(Affinity::hard(&key));
        tokio::spawn(async move { served_by(&pool, request).await })
    };
    let first = dedicated();
    sleep(SECOND).await;
    fleet.member(2).delay(MILLI);
    let began = Instant::now();
    assert_eq!(dedicated().await.unwrap().unwrap(), 2);
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hard_key_has_the_pool_grow() {
    let fleet = Fleet::new(SERVERS);
    let pool = fleet.pool().max_streams_per_connection(10).max_connections(12).build().unwrap();
    call(&pool).await.unwrap();
    until(|| fleet.members().all(|member| member.connections() == 1)).await;
    let key = key_of(&pool, 2).await;
    fleet.member(2).delay(10 * SECOND);
    let began = Instant::now();
    let calls: Vec<_> = (0..30).map(|_| begin(&pool, Affinity::hard(&key))).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), 2);
    }
    assert!(began.elapsed() < 11 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_soft_key_is_retried_elsewhere() {
    let fleet = Fleet::new(SERVERS);
    let policy = RetryPolicy::new(2, [Code::Unavailable]);
    let pool = fleet.pool().max_connections(SERVERS).min_connections(SERVERS);
    let pool = pool.retry_policy(MethodName::all(), policy).build().unwrap();
    pool.warm_up(SECOND).await.unwrap();
    let key = key_of(&pool, 1).await;
    fleet.member(1).fail(true);
    fleet.member(1).take_calls();
    for _ in 0..20 {
        assert_ne!(served(&pool, Affinity::soft(&key)).await.unwrap(), 1);
    }
    assert_eq!(fleet.member(1).take_calls(), 20);
}

/// A connection that was lost soon has its endpoint left alone for a while, and is no failure of it.
#[tokio::test(start_paused = true)]
async fn a_hard_key_waits_for_an_endpoint_that_has_not_failed_and_names_the_one_that_has() {
    let fleet = Fleet::new(SERVERS);
    let pool = pool_of(&fleet, 1).await;
    let key = key_of(&pool, 1).await;
    fleet.member(1).delay(5 * SECOND);
    for fails in [false, true] {
        let first = begin(&pool, Affinity::hard(&key));
        until(|| pool.status().streams == 1).await;
        let second = begin(&pool, Affinity::hard(&key));
        until(|| pool.status().waiting == 1).await;
        if fails {
            fleet.member(1).set_gone(true);
        } else {
            fleet.member(1).delay(Duration::ZERO);
            fleet.member(1).cut();
        }
        first.await.unwrap().unwrap_err();
        let second = second.await.unwrap();
        if fails {
            let status = second.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable);
            let message = status.message();
            assert!(message.contains("server-1"), "{message}");
            assert!(!message.contains("server-0"), "{message}");
        } else {
            assert_eq!(second.unwrap(), 1);
            fleet.member(1).delay(5 * SECOND);
        }
    }
}
