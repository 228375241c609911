//! Getting from threads that are no tasks, without a wait, and without any runtime.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use harness::{PoolOf, Side, ends, millis, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{CheckPolicy, Error, Exclusive, GetOptions, Pause, Pool, Shared, SharedPool};
use tokio::runtime::{self, Runtime};
use tokio::time::Instant;
use tokio_test::task::spawn;

fn real() -> Runtime {
    runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn until(happened: impl Fn() -> bool) {
    while !happened() {
        thread::yield_now();
    }
}

fn threads_share_a_few<K: Side>(pool: &PoolOf<K>, manager: &ScriptedManager) {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let lease = pool.blocking_get().unwrap();
                    assert!(!lease.is_broken());
                }
            });
        }
    });
    assert_eq!(pool.counters().gets_ok, 1600);
    assert_eq!((pool.status().in_use, pool.status().waiting), (0, 0));
    let counts = manager.counts();
    assert!((1..=2).contains(&counts.live) && counts.most_at_once <= 2, "{counts:?}");
}

#[test]
fn plain_threads_get_and_wait_like_tasks() {
    ends(secs(30), |at| {
        let runtime = real();
        at("exclusive".into());
        let manager = ScriptedManager::new();
        let handle = runtime.handle().clone();
        let pool = Pool::builder(manager.clone()).max_size(2).runtime(handle.clone());
        threads_share_a_few::<Exclusive>(&pool.build().unwrap(), &manager);
        at("shared".into());
        let manager = ScriptedManager::new();
        let pool = SharedPool::builder(manager.clone()).max_size(2).places(2).runtime(handle);
        threads_share_a_few::<Shared>(&pool.build().unwrap(), &manager);
    });
}

#[test]
fn a_thread_that_waits_is_served_in_its_turn() {
    ends(secs(30), |_| {
        let runtime = real();
        let manager = ScriptedManager::new();
        let pool = Pool::builder(manager).max_size(1).build().unwrap();
        let held = runtime.block_on(pool.get_owned()).unwrap();
        let (served, order) = mpsc::channel();
        thread::scope(|scope| {
            for n in 0..4 {
                let (pool, served) = (&pool, served.clone());
                scope.spawn(move || {
                    let _lease = pool.blocking_get().unwrap();
                    served.send(n).unwrap();
                });
                until(|| pool.status().waiting == n + 1);
            }
            drop(held);
        });
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    });
}

#[test]
fn a_saturated_pool_ends_a_blocking_get_by_its_timeout() {
    ends(secs(30), |_| {
        let runtime = real();
        let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
        let _held = runtime.block_on(pool.get_owned()).unwrap();
        let (began, limit) = (Instant::now(), millis(40));
        let got = pool.blocking_get_with(GetOptions::new().timeout(limit));
        let Err(Error::Timeout(timeout)) = got else { panic!("{got:?}") };
        assert!(Instant::now() - began >= limit && timeout.waited >= limit, "early");
        assert_eq!(pool.counters().gets_timeout, 1);
        let past = GetOptions::new().deadline(began);
        assert!(matches!(pool.blocking_get_with(past), Err(Error::Timeout(_))));
        let no_wait = GetOptions::new().no_wait();
        assert!(matches!(pool.blocking_get_with(no_wait), Err(Error::Timeout(_))));
    });
}

#[test]
fn a_blocking_get_fails_with_those_that_wait() {
    ends(secs(30), |_| {
        let runtime = real();
        let manager = ScriptedManager::new();
        let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
        let held = runtime.block_on(pool.get_owned()).unwrap();
        let patient = GetOptions::new().timeout(Duration::MAX);
        let wait = || {
            thread::scope(|scope| {
                let waiter = scope.spawn(|| pool.blocking_get_with(patient).map(|it| it.number()));
                until(|| pool.status().waiting == 1);
                if pool.is_paused() {
                    pool.pause(Pause::Fail);
                } else {
                    pool.close();
                }
                waiter.join().unwrap()
            })
        };
        pool.pause(Pause::Queue);
        assert!(matches!(wait(), Err(Error::Paused)));
        pool.resume();
        assert!(matches!(wait(), Err(Error::Closed)));
        drop(held);
    });
}

/// What it waits for would have to run on the thread that it blocks.
#[test]
fn a_runtime_that_is_blocked_by_its_own_get_ends_it_by_its_timeout() {
    ends(secs(30), |at| {
        let short = GetOptions::new().timeout(millis(30));
        for flavor in ["nothing yet", "saturated", "a check"] {
            at(flavor.into());
            let manager = ScriptedManager::new();
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let pool = Pool::builder(manager.clone())
                    .max_size(1)
                    .check(CheckPolicy::Always)
                    .build()
                    .unwrap();
                let held = match flavor {
                    "nothing yet" => None,
                    "saturated" => Some(pool.get().await.unwrap()),
                    _ => {
                        drop(pool.get().await.unwrap());
                        manager.always(Hook::Check, Step::Wait(Gate::new()));
                        None
                    }
                };
                let began = Instant::now();
                let got = pool.blocking_get_with(short);
                assert!(matches!(got, Err(Error::Timeout(_))), "{flavor}: {got:?}");
                assert!(Instant::now() - began >= millis(30), "{flavor}");
                drop(held);
                // Nothing is lost: the same is had when the runtime runs.
                manager.heal();
                assert!(pool.get().await.is_ok(), "{flavor}");
                assert_eq!(pool.status().waiting, 0);
            });
        }
        at("a hit".into());
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
            drop(pool.get().await.unwrap());
            assert_eq!(pool.blocking_get().unwrap().number(), 0);
        });
    });
}

#[test]
fn a_multi_threaded_runtime_serves_the_worker_that_it_is_blocked_on() {
    ends(secs(30), |_| {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
        // Maintenance lives by then, so that it is not the blocked worker's own.
        drop(runtime.block_on(pool.get()).unwrap());
        let held = runtime.block_on(pool.get_owned()).unwrap();
        let waiter = runtime.spawn({
            let pool = pool.clone();
            async move { pool.blocking_get().map(|lease| lease.number()) }
        });
        until(|| pool.status().waiting == 1);
        drop(held);
        assert_eq!(runtime.block_on(waiter).unwrap().unwrap(), 0);
    });
}

#[test]
fn without_any_runtime_what_is_there_is_lent_and_the_rest_is_an_error() {
    ends(secs(30), |_| {
        let manager = ScriptedManager::new();
        let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
        assert!(matches!(pool.blocking_get(), Err(Error::NoRuntime)));
        assert!(pool.try_get().is_none());
        let runtime = real();
        drop(runtime.block_on(pool.get()).unwrap());
        drop(runtime);
        let lease = pool.blocking_get().unwrap();
        assert_eq!(lease.number(), 0);
        assert!(matches!(pool.blocking_get(), Err(Error::NoRuntime)));
        assert!(matches!(spawn(pool.get_many(2)).poll(), Poll::Ready(Err(Error::NoRuntime))));
        drop(lease);
        assert_eq!(pool.try_get().unwrap().number(), 0);
        // What is discarded is dropped here and now.
        pool_core::Lease::discard(pool.try_get().unwrap());
        assert_eq!((manager.counts().live, pool.status().size), (0, 0));
        let counters = pool.counters();
        assert_eq!((counters.gets_ok, counters.gets_error), (4, 3));
    });
}

#[tokio::test(start_paused = true)]
async fn trying_neither_waits_nor_creates_nor_overtakes() {
    let manager = ScriptedManager::new();
    let pool =
        Pool::builder(manager.clone()).max_size(2).check(CheckPolicy::Always).build().unwrap();
    assert!(pool.try_get().is_none());
    harness::rest().await;
    assert_eq!(manager.counts().attempts, 0);
    let pair = pool.get_many(2).await.unwrap();
    let mut several = spawn(pool.get_many(2));
    assert!(several.poll().is_pending());
    let mut pair = pair.into_iter();
    drop(pair.next());
    assert!(pool.try_get().is_none(), "somebody waits");
    drop(several);
    let checks = manager.counts().checks;
    let lease = pool.try_get().unwrap();
    assert_eq!((lease.metadata().uses(), manager.counts().checks), (2, checks), "as it is");
    assert_eq!(manager.counts().recycles, 0);
    drop((pair, lease));
    assert_eq!(pool.counters().gets_ok, 3, "tries without luck are not counted");
}

#[tokio::test(start_paused = true)]
async fn a_get_that_does_not_wait_takes_what_is_ready_and_wishes_for_the_next() {
    let manager = ScriptedManager::new();
    let pool =
        Pool::builder(manager.clone()).max_size(1).check(CheckPolicy::Always).build().unwrap();
    let no_wait = GetOptions::new().no_wait();
    assert!(matches!(pool.get_with(no_wait).await, Err(Error::Timeout(_))));
    harness::rest().await;
    assert_eq!(manager.counts().live, 1, "for the next one");
    manager.script(Hook::Check, [Step::Slow(secs(1))]);
    let lease = pool.get_with(no_wait).await.unwrap();
    assert_eq!(manager.counts().checks, 1, "it is made ready, for which there is time");
    let began = Instant::now();
    assert!(matches!(pool.get_with(no_wait).await, Err(Error::Timeout(_))));
    assert!(matches!(pool.get_many_with(1, no_wait).await, Err(Error::Timeout(_))));
    assert_eq!((Instant::now(), pool.counters().gets_timeout), (began, 3));
    // One that is in the past is no different, and what is free is lent all the same.
    let past = GetOptions::new().deadline(began - secs(10));
    assert!(matches!(pool.get_with(past).await, Err(Error::Timeout(_))));
    drop(lease);
    assert!(pool.get_with(past).await.is_ok(), "what is ready at once is lent all the same");
}
