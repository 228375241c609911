//! Threads and runtimes that come and go, and what rests with them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::Barrier;
use std::task::Poll;
use std::thread;

use harness::{Known, Side, ended_gets, ends, judge, millis, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{CheckPolicy, Exclusive, GetOptions, Pool, Shared};
use tokio::runtime::{self, Runtime};
use tokio_test::task::spawn;

fn real(workers: usize) -> Runtime {
    runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
}

/// A pool whose resources rest with their threads for as long as they like.
fn resting(manager: &ScriptedManager, size: usize) -> Pool<ScriptedManager> {
    Pool::builder(manager.clone())
        .max_size(size)
        .max_creating(size)
        .check(CheckPolicy::Never)
        .idle_timeout(None)
        .max_lifetime(None)
        .build()
        .unwrap()
}

#[test]
fn what_rests_with_a_thread_is_found_by_the_others_when_it_ends() {
    ends(secs(30), |_| {
        let runtime = real(2);
        let manager = ScriptedManager::new();
        let pool = resting(&manager, 3);
        let leases = runtime.block_on(pool.get_many(3)).unwrap();
        thread::scope(|scope| {
            for lease in leases {
                let pool = &pool;
                scope.spawn(move || {
                    drop(lease);
                    drop(pool.try_get().unwrap());
                });
            }
        });
        // They are gone, and what rested with them is not.
        assert_eq!(pool.status().idle, 3);
        let all: Vec<_> = (0..3).map(|_| pool.try_get().unwrap()).collect();
        assert!(pool.try_get().is_none());
        drop(all);
        for _ in 0..100 {
            let pool = &pool;
            thread::scope(|scope| scope.spawn(move || drop(pool.try_get().unwrap())).join())
                .unwrap();
        }
        assert_eq!(runtime.block_on(pool.get_many(3)).unwrap().len(), 3);
        assert_eq!((manager.counts().created, pool.counters().gets_ok), (3, 3 + 3 + 3 + 100 + 3));
    });
}

#[test]
fn what_rests_with_a_thread_that_lives_is_found_by_whoever_waits() {
    ends(secs(30), |at| {
        let runtime = real(1);
        let manager = ScriptedManager::new();
        let pool = resting(&manager, 1);
        for round in 0..200 {
            at(format!("round {round}"));
            let lease = runtime.block_on(pool.get_owned()).unwrap();
            let barrier = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn(|| {
                    barrier.wait();
                    drop(lease);
                    barrier.wait();
                });
                let waiter = runtime.spawn({
                    let pool = pool.clone();
                    async move { pool.get().await.map(|lease| lease.number()) }
                });
                // The one joins while the other one puts it down.
                barrier.wait();
                assert_eq!(runtime.block_on(waiter).unwrap().unwrap(), 0);
                barrier.wait();
            });
        }
    });
}

#[test]
fn many_threads_that_come_and_go_share_one_resource() {
    ends(secs(60), |_| {
        let runtime = real(1);
        let manager = ScriptedManager::new();
        let pool = resting(&manager, 1);
        drop(runtime.block_on(pool.get()).unwrap());
        for _ in 0..20 {
            thread::scope(|scope| {
                for _ in 0..40 {
                    scope.spawn(|| {
                        let lease = pool.blocking_get_with(GetOptions::new().timeout(secs(20)));
                        assert_eq!(lease.unwrap().number(), 0);
                    });
                }
            });
        }
        assert_eq!((pool.counters().gets_ok, manager.counts().created), (801, 1));
        assert_eq!((pool.status().idle, pool.status().waiting), (1, 0));
    });
}

fn a_runtime_ends_while_the_pool_lives<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = K::builder(manager.clone())
        .max_size(4)
        .max_creating(4)
        .check(CheckPolicy::Never)
        .build()
        .unwrap();
    let first = real(2);
    let leases: Vec<_> = (0..4).map(|_| first.block_on(pool.get_owned()).unwrap()).collect();
    // They come to rest on the workers of a runtime that ends.
    for lease in leases {
        first.block_on(first.spawn(async move { drop(lease) })).unwrap();
    }
    let out = first.block_on(pool.get_owned()).unwrap();
    drop(first);
    assert_eq!((pool.status().idle, pool.status().size), (3, 4));
    // A lease that is dropped where there is no runtime comes home.
    drop(out);
    assert_eq!(pool.status().idle, 4);
    let here: Vec<_> = (0..4).map(|_| pool.try_get_owned().unwrap()).collect();
    drop(here);
    let second = real(2);
    second.block_on(async {
        let all = pool.get_many(4).await.unwrap();
        let late = spawn(pool.get_with(GetOptions::new().timeout(millis(20))));
        assert!(late.await.is_err(), "its timers are those of the second one");
        drop(all);
    });
    let known = Known { max_size: 4, started: 12, several: 3, ..Known::default() };
    judge(&pool, &manager, &known).unwrap();
    assert_eq!(manager.counts().created, 4);
    pool.close();
    second.block_on(manager.until(|counts| counts.live == 0));
}

#[test]
fn a_runtime_that_ends_takes_nothing_along_that_rests() {
    ends(secs(30), |_| {
        a_runtime_ends_while_the_pool_lives::<Exclusive>();
        a_runtime_ends_while_the_pool_lives::<Shared>();
    });
}

#[test]
fn a_runtime_that_ends_in_the_middle_of_everything_loses_no_place() {
    ends(secs(30), |at| {
        for hook in [Hook::Create, Hook::Check, Hook::Recycle, Hook::Destroy] {
            at(hook.as_str().into());
            let (manager, gate) = (ScriptedManager::new(), Gate::new());
            let pool = Pool::builder(manager.clone())
                .max_size(2)
                .keepalive(millis(1))
                .check(CheckPolicy::Never)
                .build()
                .unwrap();
            let first = real(1);
            if hook != Hook::Create {
                drop(first.block_on(pool.get()).unwrap());
            }
            manager.always(hook, Step::Wait(gate.clone()));
            let waiter = first.spawn({
                let pool = pool.clone();
                async move {
                    let lease = pool.get().await.unwrap();
                    if hook == Hook::Destroy {
                        pool_core::Lease::discard(lease);
                        std::future::pending::<()>().await;
                    }
                }
            });
            if hook != Hook::Check {
                first.block_on(gate.reached());
            }
            drop(first);
            drop(waiter);
            manager.heal();
            let (status, counts) = (pool.status(), manager.counts());
            assert_eq!((status.creating, status.closing, status.waiting), (0, 0, 0), "{hook:?}");
            assert_eq!((status.size, status.checking), (counts.live, 0), "{hook:?}");
            let second = real(1);
            let pair = second.block_on(pool.get_many(2)).unwrap();
            assert_eq!(manager.counts().live, 2, "{hook:?}");
            drop(pair);
            let counters = pool.counters();
            assert_eq!(ended_gets(&counters), counters.gets_ok + counters.gets_cancelled);
        }
    });
}

#[test]
fn two_runtimes_at_once_share_a_pool() {
    ends(secs(60), |_| {
        let (first, second) = (real(2), real(2));
        let manager = ScriptedManager::new();
        let pool = resting(&manager, 3);
        let work = |runtime: &Runtime| {
            let tasks = (0..8).map(|n| {
                let pool = pool.clone();
                runtime.spawn(async move {
                    for round in 0..300 {
                        let lease = pool.get().await.unwrap();
                        if (n + round) % 5 == 0 {
                            tokio::task::yield_now().await;
                        }
                        drop(lease);
                    }
                })
            });
            tasks.collect::<Vec<_>>()
        };
        let tasks: Vec<_> = work(&first).into_iter().chain(work(&second)).collect();
        for task in tasks {
            second.block_on(task).unwrap();
        }
        // The one in which its tasks live ends, and the other one takes over.
        drop(first);
        for task in work(&second) {
            second.block_on(task).unwrap();
        }
        let known = Known { max_size: 3, started: 24 * 300, ..Known::default() };
        judge(&pool, &manager, &known).unwrap();
        assert_eq!(pool.counters().gets_ok, 24 * 300);
        let mut idle = spawn(pool.get());
        assert!(matches!(idle.poll(), Poll::Ready(Ok(_))));
    });
}
