//! Many of everything: no order is lost in a long queue, and no place in a long storm of cancellations.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use harness::{Known, PoolOf, Side, ends, judge, millis, pass, paused, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{Error, Pool, SharedPool};
use tokio::time::Instant;

const WAITERS: usize = 25_000;
const GETS: u64 = 200_000;

fn known(started: u64) -> Known {
    Known { max_size: 3, started, ..Known::default() }
}

/// Every waiter of a long queue is served, and each after those that came before it.
async fn serve_in_order<K: Side>(pool: PoolOf<K>, manager: ScriptedManager) {
    let places = pool.status().places;
    let mut held = Vec::new();
    while let Some(lease) = pool.try_get_owned() {
        held.push(lease);
    }
    assert_eq!(held.len(), places);
    let order = Arc::new(Mutex::new(Vec::with_capacity(WAITERS)));
    let holders = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..WAITERS)
        .map(|number| {
            let (pool, order, holders) = (pool.clone(), Arc::clone(&order), Arc::clone(&holders));
            tokio::spawn(async move {
                let _lease = pool.get().await.unwrap();
                order.lock().unwrap().push(number);
                assert!(holders.fetch_add(1, SeqCst) < places, "I10: more holders than places");
                tokio::task::yield_now().await;
                holders.fetch_sub(1, SeqCst);
            })
        })
        .collect();
    while pool.status().waiting < WAITERS {
        rest().await;
    }
    drop(held);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert!(order.lock().unwrap().iter().copied().eq(0..WAITERS), "I4: not in their order");
    assert_eq!(manager.counts().created, 3);
    let started = (places + WAITERS) as u64;
    judge(&pool, &manager, &known(started)).unwrap();
}

#[test]
fn twenty_five_thousand_waiters_over_three_resources_are_served_in_order() {
    ends(secs(60), |_| {
        paused(async {
            let manager = ScriptedManager::new();
            let pool = Pool::builder(manager.clone()).max_size(3).min_size(3).build().unwrap();
            rest().await;
            serve_in_order(pool, manager).await;
        });
    });
}

#[test]
fn twenty_five_thousand_waiters_over_three_shared_resources_are_served_in_order() {
    ends(secs(60), |_| {
        paused(async {
            let manager = ScriptedManager::new();
            let builder = SharedPool::builder(manager.clone()).places(2).max_size(3).min_size(3);
            let pool = builder.idle_timeout(None).build().unwrap();
            rest().await;
            serve_in_order(pool, manager).await;
        });
    });
}

#[test]
fn after_two_hundred_thousand_gets_aborted_at_random_ten_succeed() {
    ends(secs(60), |_| {
        paused(async {
            let manager = ScriptedManager::new();
            let pool = Pool::builder(manager.clone()).max_size(3).build().unwrap();
            let mut rng = Rng::with_seed(25);
            let mut tasks = Vec::new();
            let polled = Arc::new(AtomicUsize::new(0));
            for number in 0..GETS {
                let (pool, polled) = (pool.clone(), Arc::clone(&polled));
                let hold = rng.u64(..3);
                tasks.push(tokio::spawn(async move {
                    polled.fetch_add(1, SeqCst);
                    let lease = pool.get().await.unwrap();
                    tokio::time::sleep(millis(hold)).await;
                    if hold == 2 && number % 50 == 0 {
                        lease.mark_broken();
                    }
                }));
                if number % 10_000 == 0 {
                    // What is slow or fails is aborted as well.
                    manager.script(Hook::Create, [Step::Slow(millis(1)), Step::Fail]);
                    manager.script(Hook::Recycle, [Step::Slow(millis(1)), Step::Fail]);
                }
                match rng.u8(..16) {
                    0 => tokio::task::yield_now().await,
                    1 => tokio::time::sleep(millis(1)).await,
                    2..6 if tasks.len() > 100 => {
                        for _ in 0..tasks.len() / 2 {
                            tasks.swap_remove(rng.usize(..tasks.len())).abort();
                        }
                    }
                    _ => {}
                }
            }
            for task in tasks {
                task.abort();
            }
            rest().await;
            let status = pool.status();
            assert_eq!((status.in_use, status.waiting, status.checking), (0, 0, 0), "{status:?}");
            manager.heal();
            pass(secs(10)).await;
            for _ in 0..10 {
                let (one, two, three) = tokio::join!(pool.get(), pool.get(), pool.get());
                drop((one.unwrap(), two.unwrap(), three.unwrap()));
            }
            let started = polled.load(SeqCst) as u64 + 30;
            assert!(started > GETS / 10, "most were aborted before they began");
            judge(&pool, &manager, &known(started)).unwrap();
            let counters = pool.counters();
            assert!(counters.gets_cancelled > 1_000 && counters.gets_ok > 1_000, "{counters:?}");
        });
    });
}

#[test]
fn ten_thousand_waits_that_end_at_once_leave_nothing() {
    ends(secs(60), |_| {
        paused(async {
            let manager = ScriptedManager::new();
            let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
            let held = pool.get().await.unwrap();
            let started = Instant::now();
            let waits: Vec<_> = (0..10_000)
                .map(|_| {
                    let pool = pool.clone();
                    tokio::spawn(async move { pool.get().await.map(drop) })
                })
                .collect();
            for wait in waits {
                assert!(matches!(wait.await.unwrap(), Err(Error::Timeout(_))));
            }
            // All of them at their deadline, 30 s after they began.
            assert!(started.elapsed() < millis(30_010), "{:?}", started.elapsed());
            drop(held);
            assert_eq!(pool.get().await.unwrap().number(), 0);
            judge(&pool, &manager, &known(10_002)).unwrap();
        });
    });
}
