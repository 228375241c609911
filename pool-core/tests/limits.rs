//! Limits that change while the pool runs: with callers that wait, with leases out, in both kinds of
//! pool.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::Arc;
use std::task::Poll;

use harness::{Events, Known, LeaseOf, PoolOf, Side, judge, pass, rest, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{EndReason, Error, Event, Exclusive, Limits, Pool, Shared, SharedPool};
use tokio_test::task::{Spawn, spawn};

type Change = fn(&mut Limits);

fn set<K: Side>(pool: &PoolOf<K>, change: impl FnOnce(&mut Limits)) {
    let mut limits = pool.limits();
    change(&mut limits);
    pool.set_limits(limits).unwrap();
    assert_eq!(pool.limits(), limits);
}

async fn lend<K: Side>(pool: &PoolOf<K>, leases: usize) -> Vec<LeaseOf<K>> {
    let mut lent = Vec::new();
    for _ in 0..leases {
        lent.push(pool.get_owned().await.unwrap());
    }
    lent
}

async fn a_larger_maximum_serves_those_that_wait<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = K::builder(manager.clone()).max_size(1).max_creating(10).build().unwrap();
    let held = lend(&pool, 1).await;
    let mut waiting: Vec<_> = (0..3).map(|_| spawn(pool.get())).collect();
    assert!(waiting.iter_mut().all(|get| get.poll().is_pending()));
    set(&pool, |limits| limits.max_size = 3);
    rest().await;
    let polled: Vec<_> = waiting.iter_mut().map(Spawn::poll).collect();
    let numbers: Vec<_> = polled
        .into_iter()
        .filter_map(|polled| match polled {
            Poll::Ready(lease) => Some(lease.unwrap()),
            Poll::Pending => None,
        })
        .collect();
    assert_eq!(numbers.iter().map(|it| it.number()).collect::<Vec<_>>(), [1, 2]);
    assert!(!waiting[2].is_woken());
    assert_eq!(manager.counts().live, 3);
    let known = Known { max_size: 3, started: 4, ..Known::default() };
    judge(&pool, &manager, &known).unwrap();
    drop((numbers, waiting, held));
}

#[tokio::test(start_paused = true)]
async fn a_larger_maximum_serves_those_that_wait_for_either_kind() {
    a_larger_maximum_serves_those_that_wait::<Exclusive>().await;
    a_larger_maximum_serves_those_that_wait::<Shared>().await;
}

async fn a_smaller_maximum_takes_what_is_idle_and_then_what_comes_back<K: Side>() {
    let manager = ScriptedManager::new();
    let events = Arc::new(Events::default());
    let pool = K::builder(manager.clone()).max_size(5).observer(events.clone()).build().unwrap();
    let mut leases = lend(&pool, 5).await;
    let keep = leases.split_off(2);
    drop(leases);
    set(&pool, |limits| limits.max_size = 1);
    rest().await;
    assert_eq!(manager.counts().live, 3, "the two that were idle have gone");
    // Nobody is served while more are out than there may be.
    let mut waiter = spawn(pool.get());
    assert!(waiter.poll().is_pending());
    let mut keep = keep.into_iter();
    drop(keep.next());
    drop(keep.next());
    rest().await;
    assert!(!waiter.is_woken());
    assert_eq!((pool.status().size, manager.counts().live), (1, 1));
    let last = keep.next().unwrap();
    let number = last.number();
    drop(last);
    rest().await;
    let Poll::Ready(Ok(lease)) = waiter.poll() else { panic!("its turn has come") };
    assert_eq!(lease.number(), number);
    assert_eq!(pool.counters().ended.get(EndReason::Excess), 4);
    let told = events.0.lock().unwrap().clone();
    let excess = |event: &&Event| matches!(event, Event::Ended { reason: EndReason::Excess, .. });
    assert_eq!(told.iter().filter(excess).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_smaller_maximum_is_reached_by_either_kind() {
    a_smaller_maximum_takes_what_is_idle_and_then_what_comes_back::<Exclusive>().await;
    a_smaller_maximum_takes_what_is_idle_and_then_what_comes_back::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn a_maximum_that_is_lowered_and_raised_again_loses_nothing() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(4).build().unwrap();
    let leases = lend(&pool, 4).await;
    pool.resize(1);
    pool.resize(4);
    drop(leases);
    rest().await;
    assert_eq!((pool.status().idle, manager.counts().created), (4, 4));
    pool.resize(0);
    rest().await;
    assert_eq!((pool.limits().max_size, pool.status().size), (1, 1), "at least one");
    pool.resize(usize::MAX);
    assert_eq!(lend(&pool, 3).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_minimum_is_created_and_outlives_the_idle_timeout() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(6)
        .idle_timeout(secs(80))
        .max_lifetime(None)
        .build()
        .unwrap();
    set(&pool, |limits| limits.min_size = 4);
    rest().await;
    assert_eq!((pool.status().size, pool.status().min_size), (4, 4));
    pass(secs(100)).await;
    assert_eq!(manager.counts().live, 4);
    set(&pool, |limits| limits.min_size = 0);
    // A return, and the others are as old as before.
    drop(pool.get().await.unwrap());
    pass(secs(1)).await;
    assert_eq!(manager.counts().live, 1);
}

#[tokio::test(start_paused = true)]
async fn a_minimum_of_idle_ones_comes_beside_the_leases() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(5).build().unwrap();
    let leases = lend(&pool, 2).await;
    set(&pool, |limits| limits.min_idle = 2);
    rest().await;
    assert_eq!((pool.status().idle, manager.counts().live), (2, 4));
    set(&pool, |limits| limits.min_idle = 5);
    rest().await;
    assert_eq!((pool.status().idle, manager.counts().live), (3, 5), "as far as the maximum allows");
    drop(leases);
    rest().await;
    assert_eq!(manager.counts().live, 5);
}

#[tokio::test(start_paused = true)]
async fn a_minimum_that_is_set_without_a_runtime_is_left_to_the_first_call() {
    let manager = ScriptedManager::new();
    let pool = std::thread::spawn({
        let manager = manager.clone();
        move || {
            let pool = Pool::builder(manager).max_size(3).build().unwrap();
            set(&pool, |limits| limits.min_size = 2);
            pool
        }
    })
    .join()
    .unwrap();
    assert_eq!(manager.counts().attempts, 0);
    drop(pool.get().await.unwrap());
    rest().await;
    assert_eq!(manager.counts().live, 2);
}

#[tokio::test(start_paused = true)]
async fn fewer_may_stay_idle_after_the_shrink_delay() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(4)
        .shrink_delay(secs(10))
        .idle_timeout(None)
        .max_lifetime(None)
        .build()
        .unwrap();
    drop(lend(&pool, 4).await);
    set(&pool, |limits| limits.max_idle = Some(3));
    pass(secs(9)).await;
    assert_eq!(manager.counts().live, 4);
    pass(secs(2)).await;
    assert_eq!(manager.counts().live, 3);
    set(&pool, |limits| limits.max_idle = Some(0));
    pass(secs(5)).await;
    // It is taken back before the delay is over.
    set(&pool, |limits| limits.max_idle = None);
    pass(secs(100)).await;
    assert_eq!(manager.counts().live, 3);
}

async fn the_queue_is_as_long_as_it_may_be_now<K: Side>() {
    let pool = K::builder(ScriptedManager::new()).max_size(1).max_waiters(3).build().unwrap();
    let _held = lend(&pool, 1).await;
    let mut waiting: Vec<_> = (0..3).map(|_| spawn(pool.get())).collect();
    assert!(waiting.iter_mut().all(|get| get.poll().is_pending()));
    set(&pool, |limits| limits.max_waiters = 1);
    // Those that wait stay.
    let refused = pool.get().await;
    assert!(matches!(refused, Err(Error::QueueFull { waiting: 3 })), "{refused:?}");
    waiting.truncate(1);
    let refused = pool.get().await;
    assert!(matches!(refused, Err(Error::QueueFull { waiting: 1 })), "{refused:?}");
    set(&pool, |limits| limits.max_waiters = 2);
    let mut late = spawn(pool.get());
    assert!(late.poll().is_pending());
    set(&pool, |limits| limits.max_waiters = 0);
    drop((waiting, late));
    let refused = pool.get().await;
    assert!(matches!(refused, Err(Error::QueueFull { waiting: 0 })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_either_kind_is_as_long_as_it_may_be_now() {
    the_queue_is_as_long_as_it_may_be_now::<Exclusive>().await;
    the_queue_is_as_long_as_it_may_be_now::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn creations_in_flight_follow_their_limit() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    manager.always(Hook::Create, Step::Wait(gate.clone()));
    let pool = Pool::builder(manager.clone()).max_size(10).max_creating(1).build().unwrap();
    let mut waiting: Vec<_> = (0..6).map(|_| spawn(pool.get())).collect();
    assert!(waiting.iter_mut().all(|get| get.poll().is_pending()));
    rest().await;
    assert_eq!(manager.counts().creating, 1);
    set(&pool, |limits| limits.max_creating = 3);
    rest().await;
    assert_eq!(manager.counts().creating, 3);
    set(&pool, |limits| limits.max_creating = 2);
    rest().await;
    assert_eq!(manager.counts().creating, 3, "what runs goes on");
    gate.open();
    rest().await;
    assert_eq!((manager.counts().created, manager.counts().most_creating), (6, 3));
    assert!(waiting.iter().all(Spawn::is_woken));
}

#[tokio::test(start_paused = true)]
async fn a_shared_pool_grows_for_speed_as_its_targets_say_now() {
    let manager = ScriptedManager::new();
    let pool = SharedPool::builder(manager.clone()).max_size(8).places(100).build().unwrap();
    let _held = lend(&pool, 6).await;
    rest().await;
    assert_eq!(manager.counts().live, 1, "places enough, and no target");
    set(&pool, |limits| {
        limits.soft_target = 2;
        limits.soft_max_size = 2;
    });
    rest().await;
    assert_eq!(manager.counts().live, 2);
    set(&pool, |limits| limits.soft_max_size = usize::MAX);
    rest().await;
    assert_eq!(manager.counts().live, 3);
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_gets_the_places_that_are_set_when_it_is_born() {
    let manager = ScriptedManager::new();
    let pool = SharedPool::builder(manager.clone()).max_size(2).places(2).build().unwrap();
    let _held = lend(&pool, 2).await;
    set(&pool, |limits| limits.places = 5);
    assert_eq!(pool.status().places, 2, "those of the first one are its own");
    let _more = lend(&pool, 1).await;
    assert_eq!((pool.status().places, manager.counts().live), (7, 2));
}

#[tokio::test(start_paused = true)]
async fn limits_that_cannot_be_change_nothing() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(3).min_size(1).build().unwrap();
    let _held = lend(&pool, 2).await;
    let mut waiter = spawn(pool.get_many(2));
    assert!(waiter.poll().is_pending());
    rest().await;
    let before = (pool.limits(), pool.snapshot(), manager.counts());
    let refused: [(&str, Change); 8] = [
        ("max_size", |limits| limits.max_size = 0),
        ("max_creating", |limits| limits.max_creating = 0),
        ("places", |limits| limits.places = 0),
        ("soft_target", |limits| limits.soft_target = 0),
        ("soft_max_size", |limits| limits.soft_max_size = 0),
        ("min_size", |limits| limits.min_size = 4),
        ("min_idle", |limits| limits.min_idle = usize::MAX),
        ("min_idle", |limits| (limits.min_idle, limits.max_idle) = (1, Some(0))),
    ];
    for (field, change) in refused {
        let mut limits = pool.limits();
        change(&mut limits);
        let error = pool.set_limits(limits).unwrap_err();
        assert_eq!(error.field(), field);
        rest().await;
        assert_eq!((pool.limits(), pool.snapshot(), manager.counts()), before, "{field}");
    }
    assert!(!waiter.is_woken());
}
