//! Keep-alive: what stays idle is looked at from time to time.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::task::Poll;
use std::time::Duration;

use harness::{Known, PoolOf, Side, judge, millis, pass, rest, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{Builder, CheckPolicy, EndReason, Exclusive, Shared};
use tokio_test::task::spawn;

fn builder<K: Side>(manager: &ScriptedManager, size: usize) -> Builder<ScriptedManager, K> {
    K::builder(manager.clone())
        .max_size(size)
        .max_creating(size)
        .keepalive(secs(10))
        .check(CheckPolicy::Never)
        .check_timeout(secs(2))
        .idle_timeout(None)
        .max_lifetime(None)
}

/// This many idle resources.
async fn fill<K: Side>(pool: &PoolOf<K>, resources: usize) {
    let mut leases = Vec::new();
    for _ in 0..resources {
        leases.push(pool.get().await.unwrap());
    }
}

async fn idle_ones_are_looked_at<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = builder::<K>(&manager, 3).max_idle(3).shrink_delay(Duration::MAX).build().unwrap();
    fill(&pool, 3).await;
    pass(secs(9)).await;
    assert_eq!(manager.counts().checks, 0);
    pass(millis(1100)).await;
    assert_eq!(manager.counts().checks, 3);
    pass(secs(10)).await;
    assert_eq!(manager.counts().checks, 6, "and again, at the interval");
    manager.script(Hook::Check, [Step::Fail]);
    pass(secs(10)).await;
    assert_eq!((manager.counts().checks, manager.counts().live), (9, 2));
    assert_eq!(pool.counters().ended.get(EndReason::CheckFailed), 1);
    let known = Known { max_size: 3, started: 3, ..Known::default() };
    judge(&pool, &manager, &known).unwrap();
}

#[tokio::test(start_paused = true)]
async fn idle_ones_are_looked_at_at_the_interval_and_those_that_fail_end() {
    idle_ones_are_looked_at::<Exclusive>().await;
    idle_ones_are_looked_at::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_used_all_the_time_is_not_looked_at() {
    let manager = ScriptedManager::new();
    let pool = builder::<Exclusive>(&manager, 2)
        .idle_timeout(secs(800))
        .check(CheckPolicy::IfIdleFor(secs(8)))
        .build()
        .unwrap();
    fill(&pool, 2).await;
    for _ in 0..20 {
        drop(pool.get().await.unwrap());
        pass(secs(5)).await;
    }
    // Always the same one was used: the other one was looked at, every interval.
    let checks = manager.counts().checks;
    assert!((8..=10).contains(&checks), "{checks}");
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_is_not_looked_at() {
    let manager = ScriptedManager::new();
    let pool = builder::<Exclusive>(&manager, 2).build().unwrap();
    let held = pool.get().await.unwrap();
    pass(secs(100)).await;
    assert_eq!(manager.counts().checks, 0);
    drop(held);
    pass(secs(21)).await;
    assert!((1..=2).contains(&manager.counts().checks), "{:?}", manager.counts());
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_is_bounded_and_one_that_panics_ends_its_resource() {
    harness::hush();
    let manager = ScriptedManager::new();
    let pool = builder::<Exclusive>(&manager, 3).build().unwrap();
    fill(&pool, 3).await;
    manager.script(Hook::Check, [Step::Never, Step::Panic]);
    pass(secs(11)).await;
    assert_eq!((pool.status().size, manager.counts().live), (2, 2), "the panic");
    assert_eq!(pool.status().idle, 2, "what is looked at is idle still");
    pass(millis(1100)).await;
    assert_eq!((pool.status().size, manager.counts().live), (1, 1), "the hang");
    assert_eq!(pool.counters().ended.get(EndReason::CheckFailed), 2);
}

#[tokio::test(start_paused = true)]
async fn others_are_lent_while_one_is_looked_at_and_whoever_waits_gets_it_then() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    let pool = builder::<Exclusive>(&manager, 2).max_creating(1).build().unwrap();
    fill(&pool, 2).await;
    manager.script(Hook::Check, [Step::Wait(gate.clone())]);
    gate.reached().await;
    let other = pool.get().await.unwrap();
    let mut waiter = spawn(pool.get());
    assert!(waiter.poll().is_pending());
    rest().await;
    assert!(!waiter.is_woken());
    gate.open();
    rest().await;
    let Poll::Ready(Ok(lease)) = waiter.poll() else { panic!("the look is over") };
    assert_ne!(lease.id(), other.id());
    assert_eq!(manager.counts().created, 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_looked_at_at_a_time_than_may_be_created() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    let pool = builder::<Exclusive>(&manager, 7).build().unwrap();
    fill(&pool, 7).await;
    let mut limits = pool.limits();
    limits.max_creating = 2;
    pool.set_limits(limits).unwrap();
    manager.always(Hook::Check, Step::Wait(gate.clone()));
    pass(secs(11)).await;
    assert_eq!((gate.waiting(), manager.counts().checks), (2, 2));
    gate.open();
    rest().await;
    assert_eq!(manager.counts().checks, 7, "the others, as soon as these are through");
    gate.close();
    pass(secs(10)).await;
    assert_eq!((gate.waiting(), manager.counts().checks), (2, 9));
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_is_lent_while_it_is_looked_at() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    manager.set_places(3);
    let pool = builder::<Shared>(&manager, 1).build().unwrap();
    drop(pool.get().await.unwrap());
    manager.script(Hook::Check, [Step::Wait(gate.clone()).then(Step::Fail)]);
    gate.reached().await;
    let held = pool.get().await.unwrap();
    assert_eq!(held.number(), 0);
    gate.open();
    rest().await;
    // It did not pass: its holder keeps it, and nobody else gets it.
    assert_eq!((pool.status().draining, manager.counts().live), (1, 2));
    assert_eq!(pool.get().await.unwrap().number(), 1);
    drop(held);
    rest().await;
    assert_eq!(manager.counts().live, 1);
}

async fn looks_keep_nothing_from_going<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = builder::<K>(&manager, 2).idle_timeout(secs(80)).build().unwrap();
    fill(&pool, 1).await;
    pass(secs(79)).await;
    assert_eq!(manager.counts().live, 1);
    assert!(manager.counts().checks >= 6, "{:?}", manager.counts());
    pass(secs(12)).await;
    assert_eq!(manager.counts().live, 0);
    assert_eq!(pool.counters().ended.get(EndReason::Idle), 1);
    let checks = manager.counts().checks;
    pass(secs(1000)).await;
    assert_eq!(manager.counts().checks, checks, "there is nothing to look at");
    // And with the next one it begins anew.
    fill(&pool, 1).await;
    pass(secs(11)).await;
    assert_eq!(manager.counts().checks, checks + 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_looked_at_goes_by_its_idle_timeout_all_the_same() {
    looks_keep_nothing_from_going::<Exclusive>().await;
    looks_keep_nothing_from_going::<Shared>().await;
}

async fn looks_put_off_no_idle_timeout<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = builder::<K>(&manager, 1).keepalive(secs(50)).idle_timeout(secs(80));
    let pool = pool.build().unwrap();
    fill(&pool, 1).await;
    // An eighth late at most.
    pass(secs(91)).await;
    assert_eq!((manager.counts().checks, manager.counts().live), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_look_shortly_before_the_idle_timeout_puts_it_off_no_further() {
    looks_put_off_no_idle_timeout::<Exclusive>().await;
    looks_put_off_no_idle_timeout::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn closing_ends_what_is_being_looked_at() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    let pool = builder::<Exclusive>(&manager, 1).build().unwrap();
    fill(&pool, 1).await;
    manager.always(Hook::Check, Step::Wait(gate.clone()));
    gate.reached().await;
    let report = pool.drain(secs(1)).await;
    assert!(report.complete);
    assert_eq!(report.waited, Duration::ZERO);
    assert_eq!(manager.counts().live, 0);
    assert_eq!(pool.counters().ended.get(EndReason::Closed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_longest_interval_looks_at_nothing() {
    let manager = ScriptedManager::new();
    let pool = builder::<Exclusive>(&manager, 1).keepalive(Duration::MAX).build().unwrap();
    fill(&pool, 1).await;
    pass(secs(1_000_000)).await;
    assert_eq!((manager.counts().checks, manager.counts().live), (0, 1));
}
