//! Who gets a resource, who waits, and what is lost when one gives up: nothing.

mod harness;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use harness::{millis, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{Error, GetOptions, Pool, SharedPool};
use tokio_test::task::spawn;

#[tokio::test(start_paused = true)]
async fn many_tasks_never_exceed_the_maximum() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(3).build().unwrap();
    let held = Arc::new(AtomicUsize::new(0));
    let most_held = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let (pool, held, most_held) = (pool.clone(), held.clone(), most_held.clone());
            tokio::spawn(async move {
                for round in 0..10 {
                    let item = pool.get().await.unwrap();
                    most_held.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::time::sleep(millis((n + round) % 4)).await;
                    if (n + round) % 7 == 0 {
                        item.mark_broken();
                    }
                    held.fetch_sub(1, SeqCst);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(most_held.load(SeqCst), 3);
    assert_eq!(manager.counts().most_live, 3);
    assert_eq!(pool.counters().gets_ok, 2000);
    rest().await;
    assert_eq!(pool.status().in_use, 0);
    assert_eq!(pool.status().size, manager.counts().live);
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_are_served_in_order() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..50 {
        let (pool, order) = (pool.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let _item = pool.get().await.unwrap();
            order.lock().unwrap().push(n);
            tokio::task::yield_now().await;
        }));
        rest().await;
    }
    assert_eq!(pool.status().waiting, 50);
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_late_caller_does_not_overtake() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let mut first = spawn(pool.get());
    assert!(first.poll().is_pending());
    drop(held);
    // The resource is the first one's by now, though its task has not run.
    assert!(first.is_woken());
    assert!(pool.try_get().is_none());
    let mut second = spawn(pool.get());
    assert!(second.poll().is_pending());
    let Poll::Ready(Ok(item)) = first.poll() else { panic!("the first one was not served") };
    drop(item);
    assert!(second.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_by_the_wait_timeout_and_says_how_the_pool_stands() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager).max_size(1).wait_timeout(secs(2)).build().unwrap();
    let _held = pool.get().await.unwrap();
    let started = tokio::time::Instant::now();
    let Err(Error::Timeout(timeout)) = pool.get().await else { panic!("no timeout") };
    assert_eq!(started.elapsed().as_secs(), 2);
    assert_eq!(timeout.waited.as_secs(), 2);
    assert_eq!((timeout.status.in_use, timeout.status.max_size), (1, 1));
    assert_eq!(pool.counters().gets_timeout, 1);
    assert_eq!(pool.status().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn each_wait_has_its_own_deadline() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let started = tokio::time::Instant::now();
    let wait = |seconds| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let options = GetOptions::new().timeout(secs(seconds));
            assert!(matches!(pool.get_with(options).await, Err(Error::Timeout(_))));
            started.elapsed().as_secs()
        })
    };
    let waits: Vec<_> = [20, 5, 10, 5, 1].map(wait).into();
    let mut ended = Vec::new();
    for wait in waits {
        ended.push(wait.await.unwrap());
    }
    assert_eq!(ended, [20, 5, 10, 5, 1]);
    drop(held);
    assert!(pool.get().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_queue_has_a_limit() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).max_waiters(2).build().unwrap();
    let _held = pool.get().await.unwrap();
    let (mut one, mut two) = (spawn(pool.get()), spawn(pool.get()));
    assert!(one.poll().is_pending());
    assert!(two.poll().is_pending());
    assert!(matches!(pool.get().await, Err(Error::QueueFull { waiting: 2 })));
    assert_eq!(pool.counters().gets_rejected, 1);
    drop(one);
    let mut three = spawn(pool.get());
    assert!(three.poll().is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_anywhere_in_the_queue_loses_nothing() {
    for quits in 0..5 {
        let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
        let held = pool.get().await.unwrap();
        let mut waiters: Vec<_> = (0..5).map(|_| spawn(pool.get())).collect();
        for waiter in &mut waiters {
            assert!(waiter.poll().is_pending());
        }
        drop(waiters.remove(quits));
        assert_eq!(pool.status().waiting, 4);
        drop(held);
        for mut waiter in waiters {
            assert!(waiter.is_woken(), "place lost when waiter {quits} gave up");
            let Poll::Ready(Ok(item)) = waiter.poll() else { panic!("not served in order") };
            drop(item);
        }
        assert_eq!(pool.status().idle, 1);
        assert_eq!(pool.counters().gets_cancelled, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_after_it_was_served_passes_its_place_on() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let (mut first, mut second) = (spawn(pool.get()), spawn(pool.get()));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    drop(held);
    assert!(first.is_woken());
    assert!(!second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert!(second.poll().is_ready());
}

/// Drops a get after each of its polls, in every situation that makes it take several.
#[tokio::test(start_paused = true)]
async fn a_get_cancelled_at_any_poll_loses_nothing() {
    for polls in 0..8 {
        for scripted in [Step::Ok, Step::Slow(millis(5)), Step::Fail] {
            let manager = ScriptedManager::new();
            let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
            let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
            two.mark_dirty();
            manager.script(Hook::Recycle, [scripted.clone()]);
            {
                let mut get = pin!(pool.get());
                let mut give_back = Some((one, two));
                for poll in 0..polls {
                    if poll == 1 {
                        drop(give_back.take());
                    }
                    let polled =
                        std::future::poll_fn(|cx| Poll::Ready(get.as_mut().poll(cx).is_ready()));
                    if polled.await {
                        break;
                    }
                    tokio::time::sleep(millis(2)).await;
                }
            }
            pass(secs(1)).await;
            let status = pool.status();
            assert_eq!((status.in_use, status.waiting, status.creating), (0, 0, 0), "{status:?}");
            assert_eq!(status.size, manager.counts().live, "after {polls} polls, {scripted:?}");
            let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
            assert!(!one.is_dirty() && !two.is_dirty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn gets_cancelled_at_random_leave_a_pool_that_serves() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(3).build().unwrap();
    let mut tasks = Vec::new();
    for n in 0..5_000_u64 {
        let pool = pool.clone();
        let task = tokio::spawn(async move {
            let _item = pool.get().await.unwrap();
            tokio::time::sleep(millis(n % 3)).await;
        });
        if n % 3 != 0 {
            tasks.push(task);
        }
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
        if n % 5 == 0 {
            for task in tasks.drain(..) {
                task.abort();
            }
        }
    }
    pass(secs(20)).await;
    let status = pool.status();
    assert_eq!((status.in_use, status.waiting), (0, 0), "{status:?}");
    for _ in 0..10 {
        let _three =
            (pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap());
    }
    assert_eq!(manager.counts().most_live, 3);
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_is_lent_to_as_many_as_it_has_places() {
    let manager = ScriptedManager::new();
    manager.set_places(3);
    let pool = SharedPool::builder(manager.clone()).max_size(1).build().unwrap();
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.get().await.unwrap());
    }
    let mut fourth = spawn(pool.get());
    assert!(fourth.poll().is_pending());
    assert_eq!(pool.status().in_use, 3);
    leases.pop();
    assert!(fourth.is_woken());
    assert!(fourth.poll().is_ready());
    assert_eq!(manager.counts().created, 1);
}

#[tokio::test(start_paused = true)]
async fn counts_of_gets_add_up() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(1)
        .max_waiters(1)
        .wait_timeout(secs(1))
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    let mut waiting = spawn(pool.get());
    assert!(waiting.poll().is_pending());
    assert!(pool.get().await.is_err());
    drop(waiting);
    assert!(pool.get().await.is_err());
    manager.script(Hook::Recycle, [Step::Fail]);
    drop(held);
    drop(pool.get().await.unwrap());
    pool.close();
    assert!(matches!(pool.get().await, Err(Error::Closed)));
    let counters = pool.counters();
    assert_eq!(
        [
            counters.gets_ok,
            counters.gets_rejected,
            counters.gets_cancelled,
            counters.gets_timeout,
            counters.gets_closed,
            counters.gets_error
        ],
        [2, 1, 1, 1, 1, 0]
    );
}
