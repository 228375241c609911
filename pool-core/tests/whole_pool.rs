//! What is done to a whole pool: pausing, closing, draining, warming up, looking at what there is.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::error::Error as _;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use harness::{Events, Side, alive_tasks, millis, pass, rest, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{
    EndReason, Error, Event, Exclusive, GetOptions, Pause, Pool, ResourceLease, Shared,
};
use tokio_test::task::spawn;

async fn a_pause_queues_or_fails<K: Side>() {
    let manager = ScriptedManager::new();
    let events = Arc::new(Events::default());
    let pool = K::builder(manager.clone()).max_size(1).observer(events.clone()).build().unwrap();
    let held = pool.get_owned().await.unwrap();
    pool.pause(Pause::Queue);
    assert!(pool.is_paused() && pool.status().paused);
    drop(held);
    assert!(pool.try_get().is_none(), "it is idle, and stays there");
    let no_wait = pool.get_with(GetOptions::new().no_wait()).await;
    assert!(matches!(no_wait, Err(Error::Timeout(_))), "{no_wait:?}");
    let (mut first, mut second) = (spawn(pool.get()), spawn(pool.get_many(1)));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    rest().await;
    assert!(!first.is_woken());
    pool.resume();
    assert!(!pool.is_paused());
    let Poll::Ready(Ok(lease)) = first.poll() else { panic!("the first is served first") };
    assert!(second.poll().is_pending());
    // Those that wait fail, and those that come.
    pool.pause(Pause::Queue);
    pool.pause(Pause::Fail);
    assert!(matches!(second.poll(), Poll::Ready(Err(Error::Paused))));
    assert!(matches!(pool.get().await, Err(Error::Paused)));
    assert!(matches!(pool.get_many(1).await, Err(Error::Paused)));
    assert!(pool.try_get().is_none());
    // From failing to queueing, without a resume in between.
    pool.pause(Pause::Queue);
    let mut third = spawn(pool.get());
    assert!(third.poll().is_pending());
    drop(lease);
    rest().await;
    assert!(!third.is_woken());
    pool.resume();
    pool.resume();
    assert!(matches!(third.poll(), Poll::Ready(Ok(_))));
    assert_eq!(pool.counters().gets_paused, 3);
    let told = events.0.lock().unwrap().clone();
    let pauses = told.iter().filter(|event| matches!(event, Event::Paused | Event::Resumed));
    assert_eq!(pauses.count(), 4, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_paused_pool_wait_or_fail() {
    a_pause_queues_or_fails::<Exclusive>().await;
    a_pause_queues_or_fails::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_pool_creates_nothing_and_keeps_what_is_being_created() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    manager.always(Hook::Create, Step::Wait(gate.clone()));
    let pool = Pool::builder(manager.clone()).max_size(4).min_size(2).build().unwrap();
    gate.reached().await;
    rest().await;
    pool.pause(Pause::Queue);
    let mut limits = pool.limits();
    limits.min_size = 4;
    pool.set_limits(limits).unwrap();
    let mut waiters: Vec<_> = (0..3).map(|_| spawn(pool.get())).collect();
    assert!(waiters.iter_mut().all(|get| get.poll().is_pending()));
    gate.open();
    pass(secs(5)).await;
    assert_eq!((manager.counts().attempts, pool.status().idle), (2, 2));
    pool.resume();
    rest().await;
    assert_eq!(manager.counts().attempts, 4);
    assert!(waiters.iter_mut().all(|get| get.poll().is_ready()));
}

async fn closing_wakes_everybody<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = K::builder(manager.clone()).max_size(2).build().unwrap();
    let lease = pool.get_owned().await.unwrap();
    drop(pool.get_many(1).await.unwrap());
    let other = pool.get_owned().await.unwrap();
    let mut waiters: Vec<_> = (0..20).map(|_| spawn(pool.get())).collect();
    assert!(waiters.iter_mut().all(|get| get.poll().is_pending()));
    let mut told: Vec<_> = (0..20).map(|_| spawn(pool.closed())).collect();
    let mut holders = [spawn(ResourceLease::closed(&lease)), spawn(ResourceLease::closed(&other))];
    assert!(told.iter_mut().all(|closed| closed.poll().is_pending()));
    assert!(holders.iter_mut().all(|closed| closed.poll().is_pending()));
    pool.close();
    assert!(told.iter_mut().all(|closed| closed.is_woken() && closed.poll().is_ready()));
    assert!(holders.iter_mut().all(|closed| closed.is_woken() && closed.poll().is_ready()));
    for waiter in &mut waiters {
        assert!(waiter.is_woken());
        assert!(matches!(waiter.poll(), Poll::Ready(Err(Error::Closed))));
    }
    // Whoever asks afterwards is told at once.
    assert!(spawn(pool.closed()).poll().is_ready());
    assert!(spawn(ResourceLease::closed(&lease)).poll().is_ready());
    assert!(matches!(pool.get().await, Err(Error::Closed)));
    assert!(pool.is_closed() && pool.try_get().is_none());
    assert_eq!(pool.counters().gets_closed, 21);
    assert_eq!(manager.counts().live, 2);
    drop((lease, other));
    pool.close();
    rest().await;
    assert_eq!((manager.counts().live, manager.counts().destroyed), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn closing_wakes_those_that_wait_and_those_that_hold() {
    closing_wakes_everybody::<Exclusive>().await;
    closing_wakes_everybody::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_last_handle_is_the_close_that_is_told() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
    let lease = pool.get_owned().await.unwrap();
    drop(pool.get().await.unwrap());
    let (weak, other) = (pool.downgrade(), pool.clone());
    let mut closed = spawn(pool.closed());
    drop(pool);
    assert!(closed.poll().is_pending() && weak.upgrade().is_some());
    drop(other);
    assert!(closed.poll().is_ready());
    assert!(weak.upgrade().is_none(), "a lease is no handle");
    drop(lease);
    rest().await;
    assert_eq!((manager.counts().live, alive_tasks()), (0, 0));
}

async fn a_drain_says_how_far_it_came<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = K::builder(manager.clone()).max_size(3).build().unwrap();
    let (one, other) = (pool.get_owned().await.unwrap(), pool.get_owned().await.unwrap());
    drop(pool.get_owned().await.unwrap());
    let report = pool.drain(secs(3)).await;
    assert!(!report.complete);
    assert_eq!((report.leases, report.resources, report.waited), (2, 2, secs(3)));
    assert!(pool.is_closed());
    // It can be waited for again.
    let task = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drain(Duration::MAX).await }
    });
    pass(secs(1)).await;
    manager.always(Hook::Destroy, Step::Slow(secs(1)));
    drop(one);
    pass(secs(1)).await;
    assert!(!task.is_finished());
    drop(other);
    let report = task.await.unwrap();
    assert!(report.complete);
    assert_eq!((report.leases, report.resources, report.waited), (0, 0, secs(3)));
    assert_eq!(manager.counts().live, 0);
    assert!(pool.drain(Duration::ZERO).await.complete);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_the_last_resource_or_by_its_deadline() {
    a_drain_says_how_far_it_came::<Exclusive>().await;
    a_drain_says_how_far_it_came::<Shared>().await;
}

async fn warming_up<K: Side>() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Slow(secs(1)), Step::Fail, Step::Ok]);
    let pool = K::builder(manager.clone()).max_size(4).min_size(2).min_idle(2).build().unwrap();
    pool.warm_up(secs(5)).await.unwrap();
    assert!(pool.status().size >= 2 && pool.status().idle >= 2);
    // It is warm, so there is nothing to wait for.
    manager.always(Hook::Create, Step::Never);
    pool.warm_up(Duration::ZERO).await.unwrap();
    pool.warm_up(Duration::MAX).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn warming_up_ends_when_the_minimum_is_there() {
    warming_up::<Exclusive>().await;
    warming_up::<Shared>().await;
    let pool = Pool::builder(ScriptedManager::new()).build().unwrap();
    pool.warm_up(Duration::ZERO).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn warming_up_that_takes_too_long_says_why() {
    let manager = ScriptedManager::new();
    manager.always(Hook::Create, Step::Fail);
    let pool = Pool::builder(manager.clone()).max_size(2).min_size(2).build().unwrap();
    let error = pool.warm_up(secs(3)).await.unwrap_err();
    assert!(error.source().unwrap().to_string().contains("scripted failure of create"));
    let Error::Timeout(timeout) = error else { panic!("{error:?}") };
    assert_eq!((timeout.waited, timeout.status.min_size), (secs(3), 2));
    // The pool goes on, and so does the next one that waits.
    manager.heal();
    pool.warm_up(secs(10)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn warming_up_ends_at_once_by_a_fatal_error_and_by_the_close() {
    let manager = ScriptedManager::new();
    manager.always(Hook::Create, Step::Slow(secs(1)).then(Step::Fatal));
    let pool = Pool::builder(manager.clone()).max_size(2).min_size(1).build().unwrap();
    let mut warm = spawn(pool.warm_up(secs(100)));
    assert!(warm.poll().is_pending());
    pass(millis(1001)).await;
    assert!(matches!(warm.poll(), Poll::Ready(Err(Error::Create(_)))));
    // One that begins later does not fail by an error from before.
    let mut warm = spawn(pool.warm_up(secs(100)));
    assert!(warm.poll().is_pending());
    pool.close();
    assert!(matches!(warm.poll(), Poll::Ready(Err(Error::Closed))));
    assert!(matches!(pool.warm_up(secs(1)).await, Err(Error::Closed)));
}

#[test]
fn warming_up_without_a_runtime_is_an_error() {
    let pool = Pool::builder(ScriptedManager::new()).min_size(1).build().unwrap();
    let mut warm = spawn(pool.warm_up(secs(1)));
    assert!(matches!(warm.poll(), Poll::Ready(Err(Error::NoRuntime))));
}

#[tokio::test(start_paused = true)]
async fn retaining_looks_at_what_is_idle_and_serves_nobody_meanwhile() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(4).build().unwrap();
    let held = pool.get().await.unwrap();
    drop(pool.get_many(3).await.unwrap());
    let mut seen = Vec::new();
    let retained = pool.retain(|resource, meta| {
        assert_eq!(meta.id(), resource.id());
        seen.push(resource.number());
        let others = pool.try_get_owned();
        assert!(others.is_none_or(|other| other.number() != resource.number()));
        resource.number() != 2
    });
    seen.sort_unstable();
    assert_eq!((seen, retained.kept, retained.removed), (vec![1, 2, 3], 2, 1));
    rest().await;
    assert_eq!((manager.counts().live, manager.counts().destroyed), (3, 1));
    assert_eq!(pool.counters().ended.get(EndReason::Removed), 1);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_predicate_that_panics_ends_what_it_looked_at_and_nothing_else() {
    harness::hush();
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(3).build().unwrap();
    drop(pool.get_many(3).await.unwrap());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.retain(|_, _| panic!("scripted panic"))
    }));
    assert!(panicked.is_err());
    rest().await;
    assert_eq!((pool.status().idle, manager.counts().live), (2, 2));
    assert_eq!(pool.counters().ended.get(EndReason::Broken), 1);
    let retained = pool.retain(|_, _| true);
    assert_eq!((retained.kept, retained.removed), (2, 0));
}

async fn a_predicate_may_use_the_pool<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = K::builder(manager.clone()).max_size(3).build().unwrap();
    let leases = [pool.get_owned().await.unwrap(), pool.get_owned().await.unwrap()];
    drop(leases);
    let mut looks = 0;
    let retained = pool.retain(|resource, _| {
        looks += 1;
        let nested = pool.retain(|other, _| other.number() != resource.number());
        assert!(nested.kept + nested.removed >= 1);
        drop(pool.try_get());
        pool.resize(3);
        pool.pause(Pause::Fail);
        pool.resume();
        pool.status().size > 0
    });
    assert_eq!(looks, retained.kept + retained.removed);
    rest().await;
    let (status, counts) = (pool.status(), manager.counts());
    assert_eq!((status.size, status.in_use), (counts.live, 0));
    // Even to close it.
    pool.retain(|_, _| {
        pool.close();
        true
    });
    rest().await;
    assert_eq!(manager.counts().live, 0);
}

#[tokio::test(start_paused = true)]
async fn a_predicate_may_use_the_pool_that_asks_it() {
    a_predicate_may_use_the_pool::<Exclusive>().await;
    a_predicate_may_use_the_pool::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_that_is_not_retained_is_used_up() {
    let manager = ScriptedManager::new();
    manager.set_places(2);
    let pool = Shared::builder(manager.clone()).max_size(2).build().unwrap();
    let held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let mut waiter = spawn(pool.get_many(2));
    assert!(waiter.poll().is_pending());
    let retained = pool.retain(|_, meta| meta.uses() == 0);
    assert_eq!((retained.kept, retained.removed), (0, 1));
    rest().await;
    let Poll::Ready(Ok(leases)) = waiter.poll() else { panic!("a successor has places") };
    assert!(leases.iter().all(|lease| lease.number() != held[0].number()));
    assert_eq!((pool.status().draining, pool.status().in_use), (1, 4));
    drop(held);
    rest().await;
    assert_eq!((pool.status().draining, manager.counts().dropped), (0, 1));
    assert_eq!(pool.counters().ended.get(EndReason::Removed), 1);
}
