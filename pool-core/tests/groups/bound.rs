//! Gets of one group: who is served first, and with what.

use std::task::Poll;

use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{
    CheckPolicy, CreateReason, EndReason, GetOptions, GroupChange, GroupId, Priority, SharedPool,
};
use tokio::task::JoinHandle;
use tokio_test::task::spawn;

use crate::harness::{pass, rest, secs};
use crate::servers::{
    A, B, C, Down, Fate, Lease, Pool, Servers, bound, bound_with, group, lend, set, sizes, status,
    waiter,
};

type Got = JoinHandle<Result<Lease, pool_core::Error<Down>>>;

/// A pool of groups with one resource each, that is lent.
async fn busy<const N: usize>(servers: &Servers, ids: [GroupId; N]) -> (Pool, [Lease; N]) {
    let pool = servers.pool().max_size(N).build().unwrap();
    set(&pool, ids.map(|id| group(id, 1, 1)));
    pool.warm_up(secs(1)).await.unwrap();
    let held = ids.map(|id| pool.try_get_owned_of(id).unwrap());
    (pool, held)
}

/// Those join one after the other.
async fn in_turn(mut join: impl FnMut(usize) -> Got, gets: usize) -> Vec<Got> {
    let mut joined = Vec::new();
    for at in 0..gets {
        joined.push(join(at));
        rest().await;
    }
    joined
}

/// Those that are served one after the other, each with the place of the one before.
async fn service(first: Lease, mut waits: Vec<Got>) -> Vec<usize> {
    let (mut held, mut order) = (Some(first), Vec::new());
    let mut numbers: Vec<_> = (0..waits.len()).collect();
    while !waits.is_empty() {
        drop(held.take());
        rest().await;
        let served: Vec<_> = (0..waits.len()).filter(|&at| waits[at].is_finished()).collect();
        let &[at] = &served[..] else { panic!("{served:?} were served with one place") };
        held = Some(waits.remove(at).await.unwrap().unwrap());
        order.push(numbers.remove(at));
    }
    order
}

#[tokio::test(start_paused = true)]
async fn a_place_goes_to_whoever_has_waited_for_longest() {
    for bound_comes in [0, 1] {
        let (pool, [a, b]) = busy(&Servers::new(1), [A, B]).await;
        let join = |at| if at % 2 == bound_comes { bound(&pool, A) } else { waiter(&pool) };
        let waits = in_turn(join, 6).await;
        assert_eq!(service(a, waits).await, [0, 1, 2, 3, 4, 5], "{bound_comes}");
        drop(b);
        assert_eq!(pool.counters().waits, 6);
    }
}

#[tokio::test(start_paused = true)]
async fn high_priority_comes_before_and_low_after_whatever_its_own() {
    let (pool, [a]) = busy(&Servers::new(1), [A]).await;
    let with = |priority, of: Option<GroupId>| {
        let options = GetOptions::new().priority(priority);
        bound_with(&pool, of.map_or(options, |of| options.group(of)))
    };
    let join = |at| match at {
        0 => with(Priority::Low, None),
        1 => with(Priority::Low, Some(A)),
        2 => with(Priority::High, None),
        4 => with(Priority::Normal, None),
        _ => with(Priority::High, Some(A)),
    };
    let waits = in_turn(join, 6).await;
    assert_eq!(service(a, waits).await, [2, 1, 3, 4, 5, 0]);
}

#[tokio::test(start_paused = true)]
async fn groups_do_not_hold_up_each_other() {
    let (pool, [a, b, c]) = busy(&Servers::new(1), [A, B, C]).await;
    let waits = in_turn(|at| bound(&pool, [A, B, A, B][at]), 4).await;
    let [first_a, first_b, second_a, second_b] = waits.try_into().unwrap();
    drop(c);
    rest().await;
    assert_eq!(pool.status().waiting, 4);
    drop(b);
    rest().await;
    assert!(first_b.is_finished() && !first_a.is_finished() && !second_b.is_finished());
    drop(a);
    rest().await;
    let first_a = first_a.await.unwrap().unwrap();
    assert_eq!(first_a.group, Some(A));
    assert!(!second_a.is_finished());
    drop((first_a, first_b.await));
    rest().await;
    assert_eq!(second_a.await.unwrap().unwrap().group, Some(A));
    assert_eq!(second_b.await.unwrap().unwrap().group, Some(B));
}

#[tokio::test(start_paused = true)]
async fn others_are_lent_at_once_what_is_free_elsewhere() {
    let (pool, [a, b]) = busy(&Servers::new(1), [A, B]).await;
    drop(b);
    let waits = bound(&pool, A);
    rest().await;
    for _ in 0..100 {
        let mut get = spawn(pool.get());
        let Poll::Ready(Ok(lease)) = get.poll() else { panic!("B has a free place") };
        assert_eq!(lease.group, Some(B));
        drop(lease);
        assert_eq!(pool.try_get().unwrap().group, Some(B));
        assert_eq!(pool.try_get_owned_of(B).unwrap().group, Some(B));
    }
    assert_eq!((pool.counters().waits, pool.status().waiting), (1, 1));
    let others = lend(&pool, 1).await;
    // Those that wait for any group, too, are not behind it.
    let any = waiter(&pool);
    rest().await;
    drop(others);
    rest().await;
    assert_eq!(any.await.unwrap().unwrap().group, Some(B));
    drop(a);
    assert_eq!(waits.await.unwrap().unwrap().group, Some(A));
}

#[tokio::test(start_paused = true)]
async fn several_places_that_come_at_once_go_by_turns() {
    let servers = Servers::new(1);
    let (pool, [a, b]) = busy(&servers, [A, B]).await;
    let join = |at| match at {
        0 | 3 => bound(&pool, A),
        1 | 4 => bound(&pool, B),
        _ => waiter(&pool),
    };
    let waits = in_turn(join, 6).await;
    // Two more each.
    for id in [A, B] {
        servers.handle_in(&pool, id).unwrap().set_places(3);
        rest().await;
    }
    let done: Vec<_> = waits.iter().map(JoinHandle::is_finished).collect();
    // Of A's one to its first, one to the first for any. Of B's both to its own, since who is left waits for less.
    assert_eq!(done, [true, true, true, false, true, false]);
    drop((a, b));
    rest().await;
    assert!(waits.iter().all(JoinHandle::is_finished));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_keeps_none_is_created_for() {
    let servers = Servers::new(1);
    servers.set(B, Fate::Slow(secs(1)));
    let pool = servers.pool().max_size(5).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 0, 1), group(C, 0, 1)]);
    rest().await;
    let waits = [bound(&pool, B), bound(&pool, B), bound(&pool, C)];
    rest().await;
    // One for each, and none for load.
    assert_eq!(servers.attempts_for(B).len(), 1);
    assert_eq!(servers.attempts_for(C).len(), 1);
    assert!(servers.attempts().iter().skip(1).all(|it| it.reason == CreateReason::Demand));
    pass(secs(1)).await;
    let [first, second, other] = waits;
    let first = first.await.unwrap().unwrap();
    assert_eq!((first.group, other.await.unwrap().unwrap().group), (Some(B), Some(C)));
    // The group has one now, which is full: another one comes.
    assert_eq!(second.await.unwrap().unwrap().group, Some(B));
    assert_eq!(sizes(&pool, [A, B, C]), [1, 2, 1]);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_created_for_one_that_is_gone() {
    let servers = Servers::new(1);
    servers.set(A, Fate::Fail);
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 0, 1), group(B, 1, 1)]);
    let waits = bound(&pool, A);
    rest().await;
    assert!(waits.await.unwrap().is_err());
    let waits = bound_with(&pool, GetOptions::new().group(A).through_failures().timeout(secs(5)));
    pass(secs(30)).await;
    assert!(waits.is_finished());
    assert_eq!(servers.attempts_for(A).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_group_grows_for_those_that_wait_for_it() {
    let servers = Servers::new(2);
    let pool = servers.pool().max_size(10).build().unwrap();
    set(&pool, [group(A, 1, 1)]);
    let waits: Vec<_> = (0..10).map(|_| bound(&pool, A)).collect();
    rest().await;
    assert_eq!(status(&pool, A).size, 5);
    assert!(waits.iter().all(JoinHandle::is_finished));
    // And no more than that: nothing is created over and over in the place of what does not come.
    servers.set(B, Fate::Fail);
    set(&pool, [group(B, 0, 1), group(C, 0, 1)]);
    let options = GetOptions::new().group(B).through_failures().timeout(secs(100));
    let waits = bound_with(&pool, options);
    pass(secs(59)).await;
    assert_eq!((sizes(&pool, [A, B, C]), waits.is_finished()), ([5, 0, 0], false));
    assert_eq!(servers.attempts_for(B).len(), 30);
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_an_idle_one_goes_and_no_busy_one() {
    let servers = Servers::new(1);
    let pool = servers.pool().max_size(2).build().unwrap();
    set(&pool, [group(A, 0, 1), group(B, 1, 1)]);
    let (mut held, of_b) = (lend(&pool, 2).await, |it: &Lease| it.group == Some(B));
    set(&pool, [group(C, 0, 1)]);
    let waits = bound(&pool, C);
    pass(secs(5)).await;
    assert_eq!((sizes(&pool, [A, B, C]), waits.is_finished()), ([1, 1, 0], false));
    // One that is the last of a minimum does not go.
    drop(held.remove(held.iter().position(of_b).unwrap()));
    pass(secs(5)).await;
    assert_eq!((sizes(&pool, [A, B, C]), waits.is_finished()), ([1, 1, 0], false));
    assert!(servers.attempts_for(C).is_empty());
    held.clear();
    assert_eq!(waits.await.unwrap().unwrap().group, Some(C));
    assert_eq!(sizes(&pool, [A, B, C]), [0, 1, 1]);
    assert_eq!(pool.counters().ended.get(EndReason::Excess), 1);
}

#[tokio::test(start_paused = true)]
async fn more_places_of_its_group_serve_it() {
    let servers = Servers::new(1);
    let (pool, [a, b]) = busy(&servers, [A, B]).await;
    let waits = bound(&pool, A);
    rest().await;
    servers.handle(b.id()).set_places(2);
    rest().await;
    assert!(!waits.is_finished());
    servers.handle(a.id()).set_places(2);
    assert_eq!(waits.await.unwrap().unwrap().group, Some(A));
    // One that has no places at all for a while.
    drop(a);
    servers.handle_in(&pool, A).unwrap().set_places(0);
    let waits = bound(&pool, A);
    pass(secs(5)).await;
    assert!(!waits.is_finished());
    servers.handle_in(&pool, A).unwrap().set_places(1);
    assert_eq!(waits.await.unwrap().unwrap().group, Some(A));
}

/// A pool of which A's resource drains because it was one too many, and has a holder and free places; and that is full.
async fn with_a_draining_one(servers: &Servers) -> (Pool, Lease, Lease) {
    let pool = servers.pool().max_size(2).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    pool.warm_up(secs(1)).await.unwrap();
    let [a, a_too, b] = [A, A, B].map(|id| pool.try_get_owned_of(id).unwrap());
    set(&pool, [group(A, 0, 1), group(B, 0, 1)]);
    pool.resize(1);
    drop(a_too);
    rest().await;
    assert_eq!((status(&pool, A).draining, status(&pool, B).size), (1, 1));
    (pool, a, b)
}

#[tokio::test(start_paused = true)]
async fn one_that_drains_is_taken_back_for_it() {
    let servers = Servers::new(9);
    let (pool, a, _b) = with_a_draining_one(&servers).await;
    pool.resize(2);
    assert_eq!(status(&pool, A).draining, 1, "there is no load for it");
    let again = bound(&pool, A).await.unwrap().unwrap();
    assert_eq!(again.id(), a.id());

    // Also while it waits.
    let servers = Servers::new(9);
    let (pool, a, _b) = with_a_draining_one(&servers).await;
    let waits = bound(&pool, A);
    rest().await;
    assert!(!waits.is_finished());
    pool.resize(2);
    assert_eq!(waits.await.unwrap().unwrap().id(), a.id());
    assert_eq!(servers.attempts_for(A).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_is_unfit_is_followed_by_another_of_the_group_before_others_have_their_turn()
 {
    let manager = ScriptedManager::new();
    let builder = SharedPool::builder(manager.clone()).check(CheckPolicy::Always);
    let pool = builder.places(1).max_size(1).build().unwrap();
    pool.update_groups([GroupChange::Set(group(A, 0, 1))]);
    let of_a = GetOptions::new().group(A);
    let first = pool.get_owned_with(of_a).await.unwrap();
    let mut waits = [of_a, GetOptions::new(), of_a].map(|it| spawn(pool.get_owned_with(it)));
    for wait in &mut waits {
        assert!(wait.poll().is_pending());
    }
    manager.script(Hook::Check, [Step::Fail]);
    drop(first);
    assert!(waits[0].is_woken() && waits[0].poll().is_pending());
    pass(secs(5)).await;
    for wait in &mut waits {
        let Poll::Ready(Ok(lease)) = wait.poll() else { panic!("it was its turn") };
        assert_eq!(lease.number(), 1);
    }
    assert_eq!(pool.counters().ended.get(EndReason::CheckFailed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_group_grows_up_to_the_maximum_and_no_other_does_for_it() {
    for min in [0, 1] {
        let servers = Servers::new(1);
        let pool = servers.pool().max_size(10).build().unwrap();
        set(&pool, [A, B, C].map(|id| group(id, min, 1)));
        let all = in_turn(|_| bound(&pool, A), 12).await;
        pass(secs(5)).await;
        let served = all.iter().filter(|get| get.is_finished()).count();
        // What is idle in the others stays, since they keep it.
        assert_eq!(sizes(&pool, [A, B, C]), [10 - 2 * min, min, min]);
        assert_eq!((served, pool.status().waiting), (10 - 2 * min, 2 + 2 * min));
        // Nothing is made over and over for those that wait.
        let created = pool.counters().created;
        pass(secs(600)).await;
        assert_eq!(pool.counters().created, created);
        all.iter().for_each(JoinHandle::abort);
    }
}
