//! Many threads at once, at random, for a while. Judged by the manager's own books.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use harness::{Side, ended_gets, ends, millis, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{
    CheckPolicy, Error, Exclusive, GetOptions, Pause, Priority, ResourceLease, Shared, Snapshot,
};
use tokio::runtime;
use tokio::time::{Instant, timeout};

const MAX_SIZE: usize = 5;

/// What the callers have to tell.
#[derive(Default)]
struct Tally {
    started: AtomicU64,
    leases: AtomicU64,
    tries: AtomicU64,
    done: AtomicBool,
}

/// One caller: gets in every way there is, gives back in every way there is.
async fn call<K: Side>(pool: &harness::PoolOf<K>, tally: &Tally, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while !tally.done.load(SeqCst) {
        let options = GetOptions::new()
            .timeout(millis(rng.u64(0..20)))
            .priority(Priority::ALL[rng.usize(..3)]);
        let lease = match rng.u32(..10) {
            0 => {
                let tried = pool.try_get_owned();
                tally.tries.fetch_add(u64::from(tried.is_some()), SeqCst);
                tried
            }
            1 => {
                tally.started.fetch_add(1, SeqCst);
                // Given up at any time.
                let impatient = Duration::from_micros(rng.u64(0..300));
                timeout(impatient, pool.get_owned_with(options)).await.ok().and_then(Result::ok)
            }
            2 => {
                // Of one class, since each waits for what the other has gathered otherwise.
                tally.started.fetch_add(1, SeqCst);
                let options = options.priority(Priority::Normal);
                let several = pool.get_many_with(rng.usize(1..4), options).await;
                if let Ok(several) = several {
                    let beside = several.len() as u64 - 1;
                    tally.started.fetch_add(beside, SeqCst);
                    tally.leases.fetch_add(beside + 1, SeqCst);
                    tokio::task::yield_now().await;
                }
                None
            }
            3..6 => {
                tally.started.fetch_add(1, SeqCst);
                pool.get_owned_with(options).await.ok()
            }
            _ => {
                tally.started.fetch_add(1, SeqCst);
                match pool.get_owned().await {
                    Ok(lease) => Some(lease),
                    Err(Error::Closed | Error::Paused) => None,
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        let Some(lease) = lease else {
            tokio::task::yield_now().await;
            continue;
        };
        tally.leases.fetch_add(1, SeqCst);
        match rng.u32(..200) {
            0 => ResourceLease::discard(lease),
            1 => lease.mark_broken(),
            2 => lease.handle().broken("hammer"),
            3 => lease.handle().drain("hammer"),
            4 => drop(K::detach(lease)),
            5..40 => {
                tokio::task::yield_now().await;
                drop(lease);
            }
            40..44 => thread::scope(|scope| drop(scope.spawn(|| drop(lease)))),
            _ => drop(lease),
        }
    }
}

/// What is done to the whole pool meanwhile.
fn meddle<K: Side>(pool: &harness::PoolOf<K>, tally: &Tally, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while !tally.done.load(SeqCst) {
        match rng.u32(..12) {
            0 => drop(pool.reset()),
            1 | 2 => pool.resize(rng.usize(1..=MAX_SIZE)),
            3 => {
                pool.pause(if rng.bool() { Pause::Queue } else { Pause::Fail });
                thread::yield_now();
                pool.resume();
            }
            4 => {
                let mut limits = pool.limits();
                limits.min_idle = rng.usize(..=limits.max_size.min(2));
                limits.max_idle = rng.bool().then_some(limits.max_size);
                limits.max_creating = rng.usize(1..4);
                // Another thread may have changed the maximum meanwhile.
                pool.set_limits(limits).unwrap();
            }
            5 => {
                let retained = pool.retain(|resource, _| resource.number() % 4 != 0);
                assert!(retained.kept + retained.removed <= 3 * MAX_SIZE);
            }
            _ => {
                let Snapshot { status, counters, .. } = pool.snapshot();
                assert!(status.idle <= status.size, "{status:?}");
                assert!(K::SHARED || status.idle + status.in_use <= status.size, "{status:?}");
                assert!(counters.created >= counters.ended.total(), "{counters:?}");
            }
        }
        thread::yield_now();
    }
}

fn hammer<K: Side>(seed: u64, policy: CheckPolicy) {
    let manager = ScriptedManager::new();
    manager.set_places(if K::SHARED { Some(3) } else { None });
    let pool = K::builder(manager.clone())
        .max_size(MAX_SIZE)
        .max_creating(3)
        .check(policy)
        .wait_timeout(secs(20))
        .idle_timeout(millis(8))
        .max_lifetime(millis(30))
        .max_uses(500)
        .keepalive(millis(5))
        .shrink_delay(millis(2))
        .leak_threshold(millis(3))
        .build()
        .unwrap();
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let tally = Arc::new(Tally::default());
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (pool, tally) = (pool.clone(), tally.clone());
            runtime.spawn(async move { call(&pool, &tally, seed * 100 + n).await })
        })
        .collect();
    manager.script(Hook::Create, [Step::Ok, Step::Fail, Step::Ok, Step::Fail]);
    thread::scope(|scope| {
        for n in 0..3 {
            let (pool, tally, seed) = (&pool, &tally, seed * 100 + 50 + n);
            match n {
                0 => drop(scope.spawn(move || meddle(pool, tally, seed))),
                // Threads that are no tasks.
                _ => drop(scope.spawn(move || {
                    let runtime = runtime::Builder::new_current_thread().enable_all().build();
                    runtime.unwrap().block_on(call(pool, tally, seed));
                })),
            }
        }
        let until = Instant::now() + millis(600);
        while Instant::now() < until {
            thread::yield_now();
        }
        tally.done.store(true, SeqCst);
    });
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    // At rest: every place is home, and every get is accounted for.
    let Snapshot { status, counters, .. } = pool.snapshot();
    let counts = manager.counts();
    let seen = || format!("seed {seed}\n{status:?}\n{counters:?}\n{counts:?}");
    assert_eq!((status.in_use, status.waiting, status.checking), (0, 0, 0), "{}", seen());
    let started = tally.started.load(SeqCst) + tally.tries.load(SeqCst);
    assert_eq!(ended_gets(&counters), started, "{}", seen());
    assert_eq!(counters.gets_ok, tally.leases.load(SeqCst), "{}", seen());
    // One may have been detached and not be dropped yet, in each of the callers.
    let most = if K::SHARED { 2 * MAX_SIZE } else { MAX_SIZE + 10 };
    assert!(counts.most_at_once <= most, "{}", seen());
    pool.resize(MAX_SIZE);
    runtime.block_on(async {
        let all = timeout(secs(10), pool.get_many(MAX_SIZE)).await.unwrap().unwrap();
        assert_eq!(all.len(), MAX_SIZE);
    });
    let report = runtime.block_on(pool.drain(secs(10)));
    assert!(report.complete, "{report:?} {}", seen());
    runtime.block_on(manager.until(|counts| counts.live == 0 && counts.creating == 0));
    let Snapshot { status, counters, .. } = pool.snapshot();
    assert_eq!((status.size, status.draining, status.closing), (0, 0, 0), "{status:?}");
    assert_eq!(counters.created, counters.ended.total());
    assert_eq!(manager.counts().detached as u64, counters.ended.total());
}

#[test]
fn threads_at_random_lose_nothing_of_an_exclusive_pool() {
    ends(secs(60), |at| {
        for (seed, policy) in [(1, CheckPolicy::Never), (2, CheckPolicy::Always)] {
            at(format!("seed {seed}"));
            hammer::<Exclusive>(seed, policy);
        }
    });
}

#[test]
fn threads_at_random_lose_nothing_of_a_shared_pool() {
    ends(secs(60), |at| {
        for (seed, policy) in [(3, CheckPolicy::Never), (4, CheckPolicy::Always)] {
            at(format!("seed {seed}"));
            hammer::<Shared>(seed, policy);
        }
    });
}

/// Closing while everybody is at it.
fn close_among<K: Side>(seed: u64) {
    let manager = ScriptedManager::new();
    let pool = K::builder(manager.clone())
        .max_size(3)
        .check(CheckPolicy::Never)
        .idle_timeout(None)
        .build()
        .unwrap();
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            runtime.spawn(async move {
                let mut leases = 0_u64;
                while let Ok(lease) = pool.get().await {
                    leases += 1;
                    drop(lease);
                }
                leases
            })
        })
        .collect();
    while pool.counters().gets_ok < 10 * (seed % 40) {
        thread::yield_now();
    }
    pool.close();
    let mut leases = 0;
    for task in tasks {
        leases += runtime.block_on(task).unwrap();
    }
    runtime.block_on(manager.until(|counts| counts.live == 0 && counts.creating == 0));
    let counters = pool.counters();
    assert_eq!((counters.gets_ok, counters.gets_closed), (leases, 8));
    assert_eq!(pool.status().in_use, 0);
}

#[test]
fn closing_among_many_leaves_nothing_behind() {
    ends(secs(60), |at| {
        for seed in 0..60 {
            at(format!("seed {seed}"));
            close_among::<Exclusive>(seed);
            close_among::<Shared>(seed);
        }
    });
}
