//! What was reported once, and must not come back: runtimes that end, users' destructors, long queues.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use harness::{paused, rest, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{CheckPolicy, EndReason, Error, GetOptions, Lease, Pause, Pool};
use tokio::runtime::{self, Runtime};
use tokio_test::task::spawn;

fn runtime_with_timers() -> Runtime {
    runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

#[test]
fn draining_does_not_wait_in_a_runtime_that_has_ended() {
    let runtime = runtime_with_timers();
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let lease = runtime.block_on(pool.get_owned()).unwrap();
    drop(runtime);
    let Poll::Ready(report) = spawn(pool.drain(secs(1))).poll() else { panic!("it waits") };
    assert_eq!((report.complete, report.leases), (false, 1));
    drop(lease);
}

#[test]
fn a_drain_whose_runtime_ends_meanwhile_is_over() {
    let runtime = runtime_with_timers();
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let _lease = runtime.block_on(pool.get_owned()).unwrap();
    let mut drain = spawn(pool.drain(secs(3600)));
    assert!(drain.poll().is_pending());
    drop(runtime);
    let Poll::Ready(report) = drain.poll() else { panic!("nobody keeps its time") };
    assert_eq!((report.complete, report.leases), (false, 1));
}

#[test]
fn a_caller_s_runtime_without_timers_is_not_waited_in() {
    let runtime = runtime_with_timers();
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let lease = runtime.block_on(pool.get_owned()).unwrap();
    let without = runtime::Builder::new_current_thread().build().unwrap();
    let report = without.block_on(pool.drain(std::time::Duration::from_millis(1)));
    assert_eq!((report.complete, report.leases), (false, 1));
    drop(lease);
}

/// One that is turned away while nobody waits sees to it that there is one for the next.
#[tokio::test(start_paused = true)]
async fn a_pool_in_which_nobody_may_wait_fills_all_the_same() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(2).max_waiters(0).build().unwrap();
    for size in 1..=2 {
        assert!(matches!(pool.get().await, Err(Error::QueueFull { waiting: 0 })));
        rest().await;
        assert_eq!(pool.status().size, size);
        std::mem::forget(pool.get().await.unwrap());
    }
    assert!(matches!(pool.get().await, Err(Error::QueueFull { waiting: 0 })));
    rest().await;
    assert_eq!(manager.counts().attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_looked_at_when_the_last_handle_goes_is_told_of_its_end() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    manager.always(Hook::Check, Step::Wait(gate.clone()));
    let pool = Pool::builder(manager.clone()).max_size(1).keepalive(secs(1)).build().unwrap();
    drop(pool.get().await.unwrap());
    gate.reached().await;
    drop(pool);
    rest().await;
    let counts = manager.counts();
    assert_eq!((counts.live, counts.detached), (0, 1), "{counts:?}");
    assert_eq!(harness::alive_tasks(), 0);
}

#[test]
fn a_blocking_get_that_gives_up_by_itself_has_timed_out() {
    let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let _lease = runtime.block_on(pool.get_owned()).unwrap();
    // Nobody drives the pool's runtime meanwhile.
    let soon = GetOptions::new().timeout(std::time::Duration::from_millis(1));
    assert!(matches!(pool.blocking_get_with(soon), Err(Error::Timeout(_))));
    let counters = pool.counters();
    assert_eq!((counters.gets_timeout, counters.gets_cancelled), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_is_an_error_of_the_get_and_the_end_of_the_resource() {
    harness::hush();
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).check(CheckPolicy::Always);
    let pool = pool.build().unwrap();
    drop(pool.get().await.unwrap());
    manager.script(Hook::Check, [Step::Slow(secs(1)).then(Step::Panic)]);
    let got = tokio::spawn({
        let pool = pool.clone();
        async move { drop(pool.get().await) }
    });
    assert!(got.await.unwrap_err().is_panic());
    let counters = pool.counters();
    assert_eq!((counters.gets_error, counters.gets_cancelled), (1, 0));
    assert_eq!(counters.ended.get(EndReason::CheckFailed), 1);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("scripted panic of a destructor");
    }
}

#[tokio::test(start_paused = true)]
async fn data_that_panics_when_it_is_dropped_loses_no_resource() {
    harness::hush();
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
    let mut lease = pool.get().await.unwrap();
    Lease::data_mut(&mut lease).insert(Bomb);
    let other = Lease::detach(lease);
    let mut lease = pool.get().await.unwrap();
    Lease::data_mut(&mut lease).insert(Bomb);
    let before = Lease::replace(&mut lease, other);
    drop(before);
    drop(lease);
    assert_eq!(manager.counts().live, 1);
    assert_eq!((pool.status().idle, pool.status().size), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_whose_payload_panics_is_contained() {
    harness::hush();
    let told = Arc::new(AtomicUsize::new(0));
    let builder = Pool::builder(ScriptedManager::new()).max_size(1);
    let before_destroy = {
        let told = Arc::clone(&told);
        move |_: &mut _, _: &_, _: &_| {
            told.fetch_add(1, Ordering::Relaxed);
            panic_any(Bomb);
        }
    };
    let pool = builder.before_destroy(before_destroy).build().unwrap();
    Lease::discard(pool.get().await.unwrap());
    rest().await;
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(pool.get().await.is_ok(), "its place is free");
}

/// More than are failed under one lock.
const MANY: usize = 5_000;

#[test]
fn all_of_a_long_queue_fail_at_once() {
    let fails = |fail: &dyn Fn(&Pool<ScriptedManager>, &Gate), is_it: fn(&Error<_>) -> bool| {
        paused(async {
            let (manager, gate) = (ScriptedManager::new(), Gate::new());
            manager.always(Hook::Create, Step::Wait(gate.clone()).then(Step::Fatal));
            let pool = Pool::builder(manager).max_size(1).build().unwrap();
            let mut gets: Vec<_> = (0..MANY).map(|_| spawn(pool.get())).collect();
            for get in &mut gets {
                assert!(get.poll().is_pending());
            }
            gate.reached().await;
            fail(&pool, &gate);
            rest().await;
            for get in &mut gets {
                let got = get.poll();
                let failed = matches!(&got, Poll::Ready(Err(error)) if is_it(error));
                assert!(failed, "{:?}", got.map(|got| got.map(drop)));
            }
            assert_eq!(pool.status().waiting, 0);
        });
    };
    fails(&|pool, _| pool.close(), |error| matches!(error, Error::Closed));
    fails(&|pool, _| pool.pause(Pause::Fail), |error| matches!(error, Error::Paused));
    fails(&|_, gate| gate.open(), |error| matches!(error, Error::Create(_)));
}

#[tokio::test(start_paused = true)]
async fn a_large_minimum_is_created_in_steps_and_all_of_it() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(3000).min_size(3000);
    let pool = pool.max_creating(usize::MAX).build().unwrap();
    pool.warm_up(secs(1)).await.unwrap();
    assert_eq!((pool.status().idle, manager.counts().live), (3000, 3000));
}

#[test]
fn an_unwinding_caller_sees_its_own_panic() {
    harness::hush();
    paused(async {
        let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
        let lease = pool.get().await.unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _lease = lease;
            panic!("scripted panic of a holder");
        }));
        let payload = panicked.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"scripted panic of a holder"));
        assert_eq!(pool.counters().ended.get(EndReason::Broken), 1);
    });
}
