//! A reset begins a generation: whatever is of an older one goes, and is not lent again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::task::Poll;
use std::thread;

use harness::{Events, Known, Side, judge, millis, pass, rest, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{CheckPolicy, EndReason, Event, Exclusive, Pool, Shared};
use tokio::time::Instant;
use tokio_test::task::spawn;

async fn everything_of_an_older_generation_goes<K: Side>() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    let events = Arc::new(Events::default());
    let pool = K::builder(manager.clone()).max_size(3).observer(events.clone()).build().unwrap();
    let lent = pool.get_owned().await.unwrap();
    drop(pool.get_owned().await.unwrap());
    manager.script(Hook::Create, [Step::Wait(gate.clone())]);
    let (other, mut waiter) = (pool.get_owned().await.unwrap(), spawn(pool.get()));
    assert!(waiter.poll().is_pending());
    gate.reached().await;
    // One is being created, one is lent, one is idle.
    drop(other);
    let Poll::Ready(Ok(early)) = waiter.poll() else { panic!("the one that came back") };
    drop(early);
    assert_eq!(pool.reset(), 1);
    rest().await;
    assert_eq!((pool.status().generation, manager.counts().live), (1, 1), "the idle one is gone");
    gate.open();
    rest().await;
    assert_eq!(pool.counters().ended.get(EndReason::Stale), 2, "so is the new one");
    let fresh = pool.get_owned().await.unwrap();
    assert_eq!((fresh.number(), fresh.metadata().generation()), (3, 1));
    assert_eq!(lent.metadata().generation(), 0);
    drop(lent);
    rest().await;
    assert_eq!((pool.status().size, manager.counts().live), (1, 1));
    assert_eq!(pool.counters().ended.get(EndReason::Stale), 3);
    assert_eq!(pool.reset(), 2);
    drop(fresh);
    rest().await;
    assert_eq!(manager.counts().live, 0);
    let told = events.0.lock().unwrap().clone();
    assert!(told.contains(&Event::Reset { generation: 1 }));
    let stale = |event: &&Event| matches!(event, Event::Ended { reason: EndReason::Stale, .. });
    assert_eq!(told.iter().filter(stale).count(), 4);
    judge(&pool, &manager, &Known { max_size: 3, started: 5, ..Known::default() }).unwrap();
}

#[tokio::test(start_paused = true)]
async fn everything_of_an_older_generation_goes_from_either_kind() {
    everything_of_an_older_generation_goes::<Exclusive>().await;
    everything_of_an_older_generation_goes::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_get_one_of_the_new_generation() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    let old = pool.get().await.unwrap();
    let mut waiter = spawn(pool.get());
    assert!(waiter.poll().is_pending());
    pool.reset();
    assert!(!waiter.is_woken());
    drop(old);
    rest().await;
    let Poll::Ready(Ok(fresh)) = waiter.poll() else { panic!("a successor is created") };
    assert_eq!((fresh.number(), fresh.metadata().generation()), (1, 1));
    assert_eq!(manager.counts().most_at_once, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reset_ends_the_back_off() {
    let manager = ScriptedManager::new();
    manager.set_retry_in(secs(3600));
    manager.script(Hook::Create, [Step::Fail]);
    let pool = Pool::builder(manager.clone()).max_size(1).wait_timeout(secs(100)).build().unwrap();
    let mut waiter = spawn(pool.get());
    assert!(waiter.poll().is_pending());
    pass(secs(10)).await;
    assert_eq!(manager.counts().attempts, 1);
    pool.reset();
    rest().await;
    assert!(matches!(waiter.poll(), Poll::Ready(Ok(_))));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_being_looked_at_goes_when_that_is_over() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    let pool = Pool::builder(manager.clone())
        .max_size(1)
        .check(CheckPolicy::Never)
        .keepalive(secs(10))
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    manager.always(Hook::Check, Step::Wait(gate.clone()));
    gate.reached().await;
    pool.reset();
    gate.open();
    rest().await;
    assert_eq!((pool.counters().ended.get(EndReason::Stale), manager.counts().live), (1, 0));
    let retained = pool.retain(|_, _| true);
    assert_eq!(retained.kept, 0);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_resource_is_of_the_generation_in_which_it_came() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
    let other = pool_core::Lease::detach(pool.get().await.unwrap());
    let mut lease = pool.get().await.unwrap();
    pool.reset();
    drop(pool_core::Lease::replace(&mut lease, other));
    assert_eq!(lease.metadata().generation(), 1);
    drop(lease);
    assert_eq!(pool.get().await.unwrap().number(), 0, "it is no older one");
}

/// A resource that rests in the front cell of another thread.
#[test]
fn what_rests_with_another_thread_goes_too() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(4)
        .check(CheckPolicy::Never)
        .idle_timeout(None)
        .max_lifetime(None)
        .build()
        .unwrap();
    let leases = runtime.block_on(pool.get_many(3)).unwrap();
    let (ready, go) = (std::sync::Barrier::new(4), std::sync::Barrier::new(4));
    thread::scope(|scope| {
        for lease in leases {
            let (pool, ready, go) = (&pool, &ready, &go);
            scope.spawn(move || {
                drop(lease);
                // It rests with this thread, which gets it again without asking anybody.
                drop(pool.try_get().unwrap());
                ready.wait();
                go.wait();
                assert!(pool.try_get().is_none());
            });
        }
        ready.wait();
        assert_eq!(pool.status().idle, 3);
        pool.reset();
        go.wait();
    });
    runtime.block_on(manager.until(|counts| counts.live == 0));
    assert_eq!(pool.counters().ended.get(EndReason::Stale), 3);
}

fn no_older_one_is_lent_after_a_reset_returned<K: Side>() {
    let manager = ScriptedManager::new();
    if K::SHARED {
        manager.set_places(2);
    }
    let pool = K::builder(manager.clone())
        .max_size(4)
        .max_creating(4)
        .check(CheckPolicy::Never)
        .build()
        .unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let (generation, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let (pool, generation, done) = (pool.clone(), generation.clone(), done.clone());
            runtime.spawn(async move {
                let mut gets = 0_u64;
                while !done.load(SeqCst) {
                    let least = generation.load(SeqCst);
                    let lease = pool.get().await.unwrap();
                    assert!(lease.metadata().generation() >= least, "an older one than {least}");
                    gets += 1;
                    if gets % 7 == n {
                        tokio::task::yield_now().await;
                    }
                }
                gets
            })
        })
        .collect();
    let until = Instant::now() + millis(700);
    while Instant::now() < until {
        let next = pool.reset();
        generation.store(next, SeqCst);
        thread::yield_now();
    }
    done.store(true, SeqCst);
    let mut gets = 0;
    for task in tasks {
        gets += runtime.block_on(task).unwrap();
    }
    let counters = pool.counters();
    assert_eq!(counters.gets_ok, gets);
    assert!(counters.ended.get(EndReason::Stale) > 0);
    assert!(K::SHARED || manager.counts().most_at_once <= 4, "{:?}", manager.counts());
    pool.close();
    runtime.block_on(manager.until(|counts| counts.live == 0 && counts.creating == 0));
}

#[test]
fn no_older_resource_is_lent_after_a_reset_returned() {
    no_older_one_is_lent_after_a_reset_returned::<Exclusive>();
    no_older_one_is_lent_after_a_reset_returned::<Shared>();
}
