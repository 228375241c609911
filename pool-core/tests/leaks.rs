//! Leases that are out for too long: told once, with the place in the code that took them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::panic::Location;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use harness::{Events, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{Event, GetOptions, Lease, Pool, ResourceId, ResourceLease, SharedPool};
use tokio_test::task::spawn;

/// The line that this is called from.
#[track_caller]
fn here() -> u32 {
    Location::caller().line()
}

fn pool_of(size: usize) -> (Arc<Events>, Pool<ScriptedManager>) {
    let events = Arc::new(Events::default());
    let pool = Pool::builder(ScriptedManager::new())
        .max_size(size)
        .leak_threshold(secs(10))
        .observer(events.clone())
        .build()
        .unwrap();
    (events, pool)
}

/// What was told of leaks: which, the line, after how long, and whether it was on its return.
fn told(events: &Events) -> Vec<(ResourceId, u32, Duration, bool)> {
    let all = std::mem::take(&mut *events.0.lock().unwrap());
    let leaks = all.into_iter().filter_map(|event| match event {
        Event::Leaked { id, held_for, taken_at } => Some((id, taken_at, held_for, false)),
        Event::LeakReturned { id, held_for, taken_at } => Some((id, taken_at, held_for, true)),
        _ => None,
    });
    leaks
        .map(|(id, at, held_for, returned)| {
            assert_eq!(at.file(), file!());
            (id, at.line(), held_for, returned)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_way_to_take_a_lease_is_told_with_its_line() {
    let (events, pool) = pool_of(20);
    let patient = GetOptions::new();
    drop(pool.get_many(12).await.unwrap());
    let mut lines = Vec::new();
    let mut leases = Vec::new();
    let mut take = |line, lease: Lease<'static, _>| {
        lines.push(line);
        leases.push(lease);
    };
    take(here(), pool.get_owned().await.unwrap());
    take(here(), pool.get_owned_with(patient).await.unwrap());
    take(here(), pool.try_get_owned().unwrap());
    let (first, get) = (here(), pool.get().await.unwrap());
    let (second, get_with) = (here(), pool.get_with(patient).await.unwrap());
    let (third, try_get) = (here(), pool.try_get().unwrap());
    let (fourth, get_many) = (here(), pool.get_many(2).await.unwrap());
    let (fifth, get_many_with) = (here(), pool.get_many_with(1, patient).await.unwrap());
    let (sixth, blocking) = (here(), pool.blocking_get().unwrap());
    let (last, blocking_with) = (here(), pool.blocking_get_with(patient).unwrap());
    lines.extend([first, second, third, fourth, fourth, fifth, sixth, last]);
    lines.sort_unstable();
    pass(secs(9)).await;
    assert_eq!(told(&events), []);
    let mut holders: Vec<_> =
        pool.longest_holders(99).iter().map(|holder| holder.taken_at.line()).collect();
    holders.sort_unstable();
    assert_eq!(holders, lines);
    assert!(pool.longest_holders(99).iter().all(|holder| !holder.leaked));
    pass(secs(2)).await;
    assert!(pool.longest_holders(99).iter().all(|holder| holder.leaked));
    let first = told(&events);
    assert!(first.iter().all(|&(_, _, held_for, returned)| held_for >= secs(10) && !returned));
    let mut seen: Vec<_> = first.iter().map(|&(_, line, ..)| line).collect();
    seen.sort_unstable();
    assert_eq!(seen, lines);
    pass(secs(100)).await;
    assert_eq!(told(&events), [], "once is enough");
    drop((get, get_with, try_get, get_many, get_many_with, blocking, blocking_with, leases));
    let mut back: Vec<_> = told(&events).iter().map(|&(_, line, _, back)| (line, back)).collect();
    back.sort_unstable();
    assert_eq!(back, lines.iter().map(|&line| (line, true)).collect::<Vec<_>>());
    assert!(pool.longest_holders(99).is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_waited_is_told_from_when_it_was_served() {
    let (events, pool) = pool_of(1);
    let held = pool.get().await.unwrap();
    let (line, mut waiter) = (here(), spawn(pool.get()));
    assert!(waiter.poll().is_pending());
    pass(secs(8)).await;
    drop(held);
    let Poll::Ready(Ok(lease)) = waiter.poll() else { panic!("its turn has come") };
    pass(secs(9)).await;
    assert_eq!(told(&events), [], "the wait does not count");
    pass(secs(2)).await;
    assert_eq!(told(&events), [(lease.id(), line, secs(10), false)]);
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_lease_ends_what_is_told_of_it() {
    let (events, pool) = pool_of(4);
    let leases = pool.get_many(3).await.unwrap();
    pass(secs(11)).await;
    assert_eq!(told(&events).len(), 3);
    let mut leases = leases.into_iter();
    let (discarded, detached) = (leases.next().unwrap(), leases.next().unwrap());
    let ids = [discarded.id(), detached.id()];
    Lease::discard(discarded);
    drop(Lease::detach(detached));
    let back: Vec<_> = told(&events).iter().map(|&(id, _, _, back)| (id, back)).collect();
    assert_eq!(back, [(ids[0], true), (ids[1], true)]);
    assert_eq!(pool.longest_holders(9).len(), 1);
    // One that is closed under a holder is still out.
    pool.close();
    pass(secs(5)).await;
    drop(leases);
    assert_eq!(told(&events).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_longest_come_first_and_as_many_as_asked_for() {
    let (_, pool) = pool_of(5);
    let mut leases = Vec::new();
    for _ in 0..5 {
        leases.push(pool.get().await.unwrap());
        pass(secs(1)).await;
    }
    let ids: Vec<_> = leases.iter().map(ResourceLease::id).collect();
    let longest = |most| pool.longest_holders(most).iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(longest(0), []);
    assert_eq!(longest(2), ids[..2]);
    assert_eq!(longest(usize::MAX), ids);
    assert_eq!(pool.longest_holders(1)[0].held_for, secs(5));
    drop(leases.remove(0));
    assert_eq!(longest(1), ids[1..2]);
}

#[tokio::test(start_paused = true)]
async fn each_holder_of_a_shared_resource_is_told() {
    let events = Arc::new(Events::default());
    let pool = SharedPool::builder(ScriptedManager::new())
        .max_size(1)
        .places(3)
        .leak_threshold(secs(10))
        .observer(events.clone())
        .build()
        .unwrap();
    let (first, one) = (here(), pool.get().await.unwrap());
    pass(secs(4)).await;
    let (second, other) = (here(), pool.get().await.unwrap());
    drop(pool.get().await.unwrap());
    pass(secs(7)).await;
    assert_eq!(told(&events), [(one.id(), first, secs(10), false)]);
    pass(secs(4)).await;
    assert_eq!(told(&events), [(other.id(), second, secs(10), false)]);
    drop(one);
    assert_eq!(told(&events), [(other.id(), first, secs(15), true)]);
}

#[tokio::test(start_paused = true)]
async fn nobody_writes_down_who_holds_what_unless_it_is_asked_for() {
    let events = Arc::new(Events::default());
    let pool = Pool::builder(ScriptedManager::new()).observer(events.clone()).build().unwrap();
    let _lease = pool.get().await.unwrap();
    pass(secs(100_000)).await;
    assert_eq!(told(&events), []);
    assert!(pool.longest_holders(9).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_had_in_the_end_is_not_written_down() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).leak_threshold(secs(10)).build().unwrap();
    drop(pool.get().await.unwrap());
    manager.script(Hook::Recycle, [Step::Never]);
    let mut given_up = spawn(pool.get());
    assert!(given_up.poll().is_pending());
    drop(given_up);
    drop(pool.get().await.unwrap());
    manager.script(Hook::Recycle, [Step::Fail]);
    let lease = pool.get().await.unwrap();
    let holders = pool.longest_holders(9);
    assert_eq!((holders.len(), holders[0].id), (1, lease.id()));
}

#[test]
fn a_lease_that_comes_back_in_another_thread_is_told() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (events, pool) = pool_of(1);
    runtime.block_on(async {
        let (line, lease) = (here(), pool.get_owned().await.unwrap());
        let id = lease.id();
        pass(secs(11)).await;
        let first = told(&events);
        assert_eq!((first.len(), first[0].0, first[0].1), (1, id, line));
        thread::spawn(move || drop(lease)).join().unwrap();
        rest().await;
        let back = told(&events);
        assert_eq!((back.len(), back[0].1, back[0].3), (1, line, true));
    });
}
