//! Gets of one group that end without a place of it, or nearly.

use std::task::Poll;

use pool_core::test_util::ScriptedManager;
use pool_core::{Error, GetOptions, GroupId, Pause, Pool, SharedPool, Shedding};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_test::task::spawn;

use crate::harness::{ended_gets, millis, pass, rest, secs};
use crate::servers::{
    A, B, C, Down, Fate, Lease, Servers, bound, bound_with, group, lend, retire, set, sizes, waiter,
};

fn of(id: GroupId) -> GetOptions {
    GetOptions::new().group(id)
}

async fn error(waits: JoinHandle<Result<Lease, Error<Down>>>) -> Error<Down> {
    waits.await.unwrap().err().unwrap()
}

#[tokio::test(start_paused = true)]
async fn its_time_ends_its_wait() {
    let servers = Servers::new(1);
    let pool = servers.pool().max_size(1).build().unwrap();
    set(&pool, [group(A, 1, 1)]);
    let held = lend(&pool, 1).await;
    let began = Instant::now();
    let times = [7, 3, 5].map(secs);
    let waits = times.map(|time| bound_with(&pool, of(A).timeout(time)));
    let any = waiter(&pool);
    for (wait, time) in waits.into_iter().zip(times) {
        let (error, over) = (error(wait).await, began.elapsed());
        let Error::Timeout(timeout) = error else { panic!("{error}") };
        // They are looked at in the order of their names, not of their ends.
        assert!(timeout.waited >= time && timeout.waited < time + millis(2), "{timeout}");
        assert!(over >= time);
    }
    assert_eq!((pool.counters().gets_timeout, pool.status().waiting), (3, 1));
    drop(held);
    assert!(any.await.unwrap().is_ok());
    let none = pool.get_with(of(A).no_wait()).await;
    assert!(none.is_ok());
    let none = pool.get_with(of(A).no_wait()).await;
    assert!(matches!(none, Err(Error::Timeout(_))));
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_up_loses_nothing_but_its_turn() {
    let servers = Servers::new(1);
    let pool = servers.pool().max_size(1).build().unwrap();
    set(&pool, [group(A, 1, 1)]);
    let held = lend(&pool, 1).await;
    let mut gets: Vec<_> = (0..5).map(|_| spawn(pool.get_owned_with(of(A)))).collect();
    let mut any = spawn(pool.get_owned());
    assert!(gets.iter_mut().all(|get| get.poll().is_pending()) && any.poll().is_pending());
    // Before it is served: in front, and in the middle.
    drop((gets.remove(0), gets.remove(1)));
    assert_eq!(pool.status().waiting, 4);
    drop(held);
    assert!(gets[0].is_woken() && !gets[1].is_woken());
    // And after it was.
    for _ in 0..2 {
        drop(gets.remove(0));
        assert!(gets[0].is_woken() && !any.is_woken());
    }
    drop(gets);
    assert!(any.is_woken());
    let Poll::Ready(Ok(lease)) = any.poll() else { panic!("it was served") };
    let counters = pool.counters();
    assert_eq!((counters.gets_cancelled, ended_gets(&counters), counters.waits), (5, 7, 7));
    drop(lease);
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn closing_and_pausing_are_for_those_as_well() {
    let servers = Servers::new(1);
    let pool = servers.pool().max_size(1).build().unwrap();
    set(&pool, [group(A, 1, 1)]);
    let held = lend(&pool, 1).await;
    let waits = bound(&pool, A);
    rest().await;
    pool.pause(Pause::Queue);
    drop(held);
    // One that comes finds a free place, and waits all the same.
    let second = bound(&pool, A);
    rest().await;
    assert_eq!(pool.status().waiting, 2);
    pool.resume();
    let held = waits.await.unwrap().unwrap();
    pool.pause(Pause::Fail);
    assert!(matches!(error(second).await, Error::Paused));
    assert!(matches!(pool.get_with(of(A)).await, Err(Error::Paused)));
    pool.resume();
    let many: Vec<_> = (0..3000).map(|_| bound(&pool, A)).collect();
    rest().await;
    assert_eq!(pool.status().waiting, 3000);
    pool.close();
    for waits in many {
        assert!(matches!(error(waits).await, Error::Closed));
    }
    assert!(matches!(pool.get_with(of(C)).await, Err(Error::Closed)));
    drop(held);
    assert_eq!((pool.counters().gets_closed, pool.counters().gets_paused), (3001, 2));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_retired_fails_those_that_wait_for_it() {
    let servers = Servers::new(1);
    let pool = servers.pool().max_size(2).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    let held = lend(&pool, 2).await;
    let many: Vec<_> = (0..3000).map(|at| bound(&pool, if at % 3 == 0 { B } else { A })).collect();
    let any = waiter(&pool);
    rest().await;
    // One that is there again in the end was not gone.
    let again = pool_core::GroupChange::Set(group(B, 1, 1));
    pool.update_groups([pool_core::GroupChange::Retire(B), again]);
    assert_eq!(pool.status().waiting, 3001);
    retire(&pool, A);
    assert_eq!(pool.status().waiting, 1001);
    let began = Instant::now();
    let mut left = Vec::new();
    for (at, wait) in many.into_iter().enumerate() {
        if at % 3 == 0 {
            left.push(wait);
        } else {
            assert!(matches!(error(wait).await, Error::NoGroup));
        }
    }
    assert_eq!(began.elapsed(), secs(0));
    assert_eq!(pool.counters().gets_error, 2000);
    drop(held);
    for wait in left {
        assert_eq!(wait.await.unwrap().unwrap().group, Some(B));
    }
    assert!(any.await.unwrap().is_ok());
    assert!(matches!(pool.get_with(of(A)).await, Err(Error::NoGroup)));
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_such_group_it_fails_at_once() {
    let servers = Servers::new(1);
    let pool = servers.pool().build().unwrap();
    // A pool without groups.
    drop(pool.get().await.unwrap());
    assert!(matches!(pool.get_with(of(A)).await, Err(Error::NoGroup)));
    set(&pool, [group(A, 1, 1)]);
    let error = pool.get_owned_with(of(B)).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no such group of resources");
    assert!(matches!(pool.get_many_with(2, of(A)).await, Err(Error::NoGroup)));
    assert_eq!(pool.get_many_with(1, of(A)).await.unwrap()[0].group, Some(A));
    assert_eq!(pool.blocking_get_with(of(A)).unwrap().group, Some(A));
    assert!(matches!(pool.blocking_get_with(of(B)), Err(Error::NoGroup)));
    let exclusive = Pool::builder(ScriptedManager::new()).build().unwrap();
    drop(exclusive.get().await.unwrap());
    assert!(matches!(exclusive.get_with(of(A)).await, Err(Error::NoGroup)));
    let counters = (pool.counters(), exclusive.counters());
    assert_eq!((counters.0.gets_error, counters.1.gets_error), (4, 1));
    assert_eq!((pool.status().waiting, counters.0.waits), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_fails_ends_the_wait_for_its_group_and_for_no_other() {
    let servers = Servers::new(1);
    servers.set(A, Fate::Fail);
    servers.set(B, Fate::Slow(secs(1)));
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 0, 1), group(B, 0, 1)]);
    let patient = bound_with(&pool, of(A).through_failures());
    let many: Vec<_> = (0..3000).map(|_| bound(&pool, A)).collect();
    let (other, any) = (bound(&pool, B), waiter(&pool));
    rest().await;
    for wait in many {
        let Error::Create(create) = error(wait).await else { panic!("it failed") };
        assert!(create.to_string().ends_with("down"));
    }
    assert_eq!(pool.counters().gets_error, 3000);
    assert!(!patient.is_finished() && !other.is_finished() && !any.is_finished());
    // Who comes now waits for the next attempt, when that is due.
    let began = Instant::now();
    assert!(matches!(pool.get_with(of(A)).await, Err(Error::Create(_))));
    assert_eq!(began.elapsed().as_secs(), 2);
    assert!(other.await.unwrap().is_ok() && any.await.unwrap().is_ok());
    servers.set(A, None);
    assert_eq!(patient.await.unwrap().unwrap().group, Some(A));
}

#[tokio::test(start_paused = true)]
async fn who_may_hope_for_what_is_there_fails_for_nothing_but_a_fatal_error() {
    let servers = Servers::new(1);
    let pool = servers.pool().max_size(4).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    let held = lend(&pool, 2).await;
    // For load, one after the other.
    servers.set(A, Fate::Fail);
    servers.set(B, Fate::Fatal);
    set(&pool, [group(B, 2, 1)]);
    let (of_a, of_b) = (bound(&pool, A), bound(&pool, B));
    let patient = bound_with(&pool, of(B).through_failures());
    pass(secs(3)).await;
    assert!(!servers.attempts_for(A).is_empty() && sizes(&pool, [A, B]) == [1, 1]);
    assert!(matches!(error(of_b).await, Error::Create(_)));
    assert!(!of_a.is_finished() && !patient.is_finished());
    drop(held);
    assert_eq!(of_a.await.unwrap().unwrap().group, Some(A));
    assert_eq!(patient.await.unwrap().unwrap().group, Some(B));
}

#[tokio::test(start_paused = true)]
async fn they_are_among_as_many_as_may_wait() {
    let servers = Servers::new(1);
    let pool = servers.pool().max_size(1).max_waiters(3).build().unwrap();
    set(&pool, [group(A, 1, 1)]);
    let held = lend(&pool, 1).await;
    let [first, second, third] = [bound(&pool, A), waiter(&pool), bound(&pool, A)];
    rest().await;
    assert!(matches!(pool.get_with(of(A)).await, Err(Error::QueueFull { waiting: 3 })));
    assert!(matches!(pool.get().await, Err(Error::QueueFull { waiting: 3 })));
    third.abort();
    rest().await;
    let last = waiter(&pool);
    rest().await;
    assert_eq!(pool.status().waiting, 3);
    drop(held);
    for wait in [first, second, last] {
        assert!(wait.await.unwrap().is_ok());
    }
    assert_eq!(pool.counters().gets_rejected, 2);
}

#[tokio::test(start_paused = true)]
async fn they_are_not_shed_and_no_sign_that_the_queue_stands() {
    let servers = Servers::new(1);
    let rule = Shedding { target: millis(50), interval: secs(1) };
    let pool = servers.pool().max_size(2).shed(rule).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    let mut held = lend(&pool, 2).await;
    let waits = bound(&pool, A);
    pass(secs(5)).await;
    let b = held.remove(held.iter().position(|it| it.group == Some(B)).unwrap());
    let any = waiter(&pool);
    pass(millis(500)).await;
    assert!(!waits.is_finished() && !any.is_finished());
    drop(b);
    assert!(any.await.unwrap().is_ok());
    drop(held);
    assert!(waits.await.unwrap().is_ok());
    assert_eq!(pool.counters().gets_shed, 0);
}

#[test]
fn a_runtime_that_ends_takes_none_of_them_along() {
    let servers = {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _entered = runtime.enter();
        Servers::new(1)
    };
    let pool: SharedPool<Servers> = servers.pool().max_size(1).build().unwrap();
    set(&pool, [group(A, 0, 1)]);
    let first = tokio::runtime::Runtime::new().unwrap();
    let held = first.block_on(pool.get_owned_with(of(A))).unwrap();
    let mut waits = spawn(pool.get_owned_with(of(A)));
    first.block_on(async { assert!(waits.poll().is_pending()) });
    drop(first);
    assert!(waits.is_woken());
    let second = tokio::runtime::Runtime::new().unwrap();
    second.block_on(async {
        assert!(waits.poll().is_pending());
        drop(held);
        assert!(waits.is_woken() && waits.poll().is_ready());
    });
}
