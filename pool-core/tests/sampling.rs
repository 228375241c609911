//! When so many join the queue that they go by maintenance's clock, nobody's time is over early.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use harness::{Side, ends, millis, pass, paused, rest, secs};
use pool_core::test_util::ScriptedManager;
use pool_core::{Error, Exclusive, GetOptions, Pool, Shared};
use tokio::runtime;
use tokio::time::Instant;
use tokio_test::task::spawn;

const TIMEOUT: Duration = millis(60);

/// The shortest and the longest wait of very many that time out, how many those were, and the shortest
/// time that one was told to have waited.
struct Waits {
    shortest: Duration,
    longest: Duration,
    told: Duration,
    number: u64,
}

async fn wait<K: Side>(pool: &harness::PoolOf<K>, done: &AtomicBool, own: bool) -> Waits {
    let (shortest, longest) = (Duration::MAX, Duration::ZERO);
    let mut waits = Waits { shortest, longest, told: Duration::MAX, number: 0 };
    loop {
        let began = Instant::now();
        let got = if own {
            pool.get_with(GetOptions::new().timeout(TIMEOUT)).await
        } else {
            pool.get().await
        };
        let waited = Instant::now() - began;
        let Err(Error::Timeout(timeout)) = got else { panic!("{got:?}") };
        waits.shortest = waits.shortest.min(waited);
        waits.longest = waits.longest.max(waited);
        waits.told = waits.told.min(timeout.waited);
        waits.number += 1;
        // Once at least, however late this task comes to its turn.
        if done.load(SeqCst) {
            return waits;
        }
    }
}

fn nobody_is_early<K: Side>(workers: usize) {
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
    let pool =
        K::builder(ScriptedManager::new()).max_size(1).wait_timeout(TIMEOUT).build().unwrap();
    let held = runtime.block_on(pool.get_owned()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let tasks: Vec<_> = (0..15_000)
        .map(|n| {
            let (pool, done) = (pool.clone(), done.clone());
            runtime.spawn(async move { wait(&pool, &done, n % 2 == 0).await })
        })
        .collect();
    while Instant::now() - began < millis(700) {
        std::thread::yield_now();
    }
    done.store(true, SeqCst);
    let mut number = 0;
    for task in tasks {
        let waits = runtime.block_on(task).unwrap();
        number += waits.number;
        assert!(waits.shortest >= TIMEOUT, "{:?} is early", waits.shortest);
        assert!(waits.told >= TIMEOUT, "{:?} is early, as it was told", waits.told);
        // Generously: the machine has other work.
        assert!(waits.longest < TIMEOUT + millis(10) + secs(2), "{:?} late", waits.longest);
    }
    let spent = (Instant::now() - began).as_millis();
    println!("{number} waits in {spent} ms");
    assert!(number >= 15_000);
    assert_eq!(pool.counters().gets_timeout, number);
    drop(held);
    assert_eq!((pool.status().idle, pool.status().waiting), (1, 0));
}

#[test]
fn very_many_that_wait_have_all_their_time() {
    ends(secs(60), |at| {
        at("exclusive".into());
        nobody_is_early::<Exclusive>(1);
        at("shared".into());
        nobody_is_early::<Shared>(1);
    });
}

/// As many as it takes for maintenance to keep the time of those that join.
const CROWD: usize = 5000;

/// Joins so many.
fn crowd(
    pool: &Pool<ScriptedManager>,
    number: usize,
    waits: &mut Vec<tokio_test::task::Spawn<Wait>>,
) {
    for _ in 0..number {
        let pool = pool.clone();
        let wait: Wait =
            Box::pin(async move { pool.get().await.map(drop).map_err(|e| e.to_string()) });
        let mut wait = spawn(wait);
        assert!(wait.poll().is_pending());
        waits.push(wait);
    }
}

type Wait = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

#[test]
fn those_that_wait_end_in_time_while_others_go_on_joining() {
    paused(async {
        const TIMEOUT_MS: usize = 20;
        const EACH_MS: usize = 500;
        let pool = Pool::builder(ScriptedManager::new())
            .max_size(1)
            .wait_timeout(millis(TIMEOUT_MS as u64))
            .build()
            .unwrap();
        let held = pool.get().await.unwrap();
        pass(millis(10)).await;
        let mut waits = Vec::new();
        crowd(&pool, CROWD, &mut waits);
        rest().await;
        for passed in 1..=3 * TIMEOUT_MS {
            crowd(&pool, EACH_MS, &mut waits);
            pass(millis(1)).await;
            // A span of the clock by which they join, and a tick of tokio's timer.
            let over = passed.checked_sub(TIMEOUT_MS + 2).map_or(0, |ms| CROWD + ms * EACH_MS);
            assert!(waits[..over].iter().all(tokio_test::task::Spawn::is_woken), "{passed} ms");
        }
        drop(held);
    });
}

#[test]
fn one_that_joins_while_maintenance_is_late_has_all_its_time_too() {
    paused(async {
        let pool = Pool::builder(ScriptedManager::new())
            .max_size(1)
            .wait_timeout(secs(1))
            .build()
            .unwrap();
        let held = pool.get().await.unwrap();
        pass(millis(10)).await;
        let mut waits = Vec::new();
        crowd(&pool, CROWD, &mut waits);
        rest().await;
        // Time passes, and nobody gets to run.
        let mut advance = spawn(tokio::time::advance(millis(100)));
        assert!(advance.poll().is_pending());
        let began = Instant::now();
        let mut late: Vec<_> = (0..10).map(|_| spawn(pool.get())).collect();
        assert!(late.iter_mut().all(|get| get.poll().is_pending()));
        advance.await;
        rest().await;
        tokio::time::sleep_until(began + millis(950)).await;
        rest().await;
        assert!(late.iter().all(|get| !get.is_woken()));
        // Nor where it is asked before it is woken, as one of several futures of a task.
        tokio::time::sleep_until(began + millis(990)).await;
        assert!(late.iter_mut().all(|get| get.poll().is_pending()));
        pass(millis(60)).await;
        for get in &mut late {
            let Poll::Ready(Err(Error::Timeout(timeout))) = get.poll() else {
                panic!("it is time")
            };
            assert!(timeout.waited >= secs(1));
        }
        drop(held);
    });
}
