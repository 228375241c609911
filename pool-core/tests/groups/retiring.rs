//! Groups that are retired.

use std::ops::Range;

use pool_core::{EndReason, Error, GetOptions, GroupChange, GroupId, SharedStatus};

use tokio::time::Instant;

use crate::harness::{pass, rest, secs};
use crate::servers::{
    A, B, C, Fate, Pool, Servers, group, lend, retire, set, shares, status, waiter,
};

#[tokio::test(start_paused = true)]
async fn a_group_that_is_retired_is_lent_no_more() {
    let servers = Servers::new(10);
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 2, 1), group(B, 1, 1)]);
    pool.warm_up(secs(1)).await.unwrap();
    let busy = pool.try_get_owned_of(A).unwrap();
    retire(&pool, A);
    rest().await;
    // What is idle has gone, what is lent drains.
    let a = status(&pool, A);
    assert_eq!((a.size, a.draining, a.in_use, a.places, a.retired), (0, 1, 1, 0, true));
    assert_eq!(servers.destroyed(), [Some(A)]);
    assert_eq!(pool.counters().ended.get(EndReason::Removed), 1);
    assert_eq!(pool.status().size, 1);
    assert!(pool.try_get_owned_of(A).is_none());
    assert_eq!(shares(&lend(&pool, 10).await, [A, B]), [0, 10]);
    let more = lend(&pool, 12).await;
    assert_eq!(shares(&more, [A, B]), [0, 12]);
    // It is forgotten with the last of it.
    drop(busy);
    rest().await;
    assert_eq!(pool.groups().iter().map(|it| it.id).collect::<Vec<_>>(), [B]);
    assert_eq!(servers.destroyed(), [Some(A); 2]);
    assert_eq!(servers.attempts_for(A).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_born_for_a_retired_group_ends_at_once() {
    let servers = Servers::new(10);
    servers.set(A, Fate::Slow(secs(1)));
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    rest().await;
    retire(&pool, A);
    assert_eq!((status(&pool, A).creating, status(&pool, A).retired), (1, true));
    pass(secs(1)).await;
    assert_eq!(servers.destroyed(), [Some(A)]);
    assert_eq!(pool.groups().len(), 1);
    // Nor is a successor of use.
    servers.set(B, Fate::Slow(secs(1)));
    let old = pool.try_get_owned_of(B).unwrap();
    let replace = tokio::spawn({
        let (pool, id) = (pool.clone(), old.id());
        async move { pool.replace(id, secs(5)).await }
    });
    rest().await;
    retire(&pool, B);
    assert!(!replace.await.unwrap().unwrap());
    drop(old);
    rest().await;
    assert_eq!((pool.groups().len(), pool.status().size), (0, 0));
    // There is nothing to create for.
    let waits = pool.get_with(GetOptions::new().timeout(secs(1))).await;
    assert!(matches!(waits, Err(Error::Timeout(_))));
    assert_eq!(servers.attempts().len(), 3);
    // Until there is.
    let get = waiter(&pool);
    rest().await;
    set(&pool, [group(C, 0, 1)]);
    assert_eq!(get.await.unwrap().unwrap().group, Some(C));
}

#[tokio::test(start_paused = true)]
async fn a_retired_group_that_is_set_again_is_there_again() {
    let servers = Servers::new(10);
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    pool.warm_up(secs(1)).await.unwrap();
    let busy = pool.try_get_owned_of(A).unwrap();
    retire(&pool, A);
    set(&pool, [group(A, 1, 2)]);
    rest().await;
    let a = status(&pool, A);
    assert_eq!((a.size, a.draining, a.retired, a.weight.get()), (1, 1, false, 2));
    assert_ne!(pool.try_get_owned_of(A).unwrap().id(), busy.id());
    drop(busy);
    rest().await;
    assert_eq!((status(&pool, A).size, status(&pool, A).draining), (1, 0));
    // In one update it never goes.
    let before = pool.list();
    pool.update_groups([GroupChange::Retire(A), GroupChange::Set(group(A, 1, 1))]);
    rest().await;
    let ids = |list: &[SharedStatus]| list.iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(ids(&pool.list()), ids(&before));
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_the_first_group_goes() {
    let servers = Servers::new(10);
    let pool = servers.pool().build().unwrap();
    let before = pool.get_owned().await.unwrap();
    set(&pool, [group(A, 0, 1)]);
    assert_eq!(pool.status().draining, 1);
    let after = pool.get_owned().await.unwrap();
    assert_eq!((before.group, after.group), (None, Some(A)));
    drop((before, after));
    rest().await;
    assert_eq!((pool.list().len(), pool.list()[0].group), (1, Some(A)));
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_fails_for_a_retired_group_is_no_failure() {
    let servers = Servers::new(10);
    servers.set(A, Fate::Never);
    let pool = servers.pool().create_timeout(secs(1)).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    rest().await;
    retire(&pool, A);
    pass(secs(2)).await;
    assert_eq!(pool.counters().create_failed, 0);
    assert!(pool.last_error().is_none());
    assert_eq!((pool.groups().len(), pool.status().size), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_being_created_for_a_retired_group_is_not_waited_for() {
    let servers = Servers::new(10);
    for id in [A, B] {
        servers.set(id, Fate::Never);
    }
    // For load.
    let pool = servers.pool().max_size(1).build().unwrap();
    set(&pool, [group(A, 0, 1)]);
    let get = waiter(&pool);
    rest().await;
    assert_eq!(status(&pool, A).creating, 1);
    retire(&pool, A);
    set(&pool, [group(C, 0, 1)]);
    rest().await;
    assert!(get.is_finished());
    drop(get.await.unwrap().unwrap());
    // For minimums.
    let pool = servers.pool().max_size(1).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    rest().await;
    for id in [A, B] {
        assert_eq!(status(&pool, id).creating, 1);
        retire(&pool, id);
    }
    set(&pool, [group(C, 2, 1)]);
    rest().await;
    assert_eq!(status(&pool, C).size, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_being_created_again_for_a_retired_group_holds_up_no_other() {
    let servers = Servers::new(10);
    servers.set(A, Fate::Fail);
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 0, 1)]);
    let get = waiter(&pool);
    rest().await;
    // It failed, and its second creation does not come to an end.
    servers.set(A, Fate::Never);
    pass(secs(2)).await;
    assert_eq!((status(&pool, A).creating, servers.attempts_for(A).len()), (1, 2));
    retire(&pool, A);
    servers.set(C, Fate::Fail);
    set(&pool, [group(C, 0, 1)]);
    rest().await;
    assert_eq!(servers.attempts_for(C).len(), 1);
    servers.set(C, None);
    pass(secs(2)).await;
    assert!(get.is_finished());
    drop(get.await.unwrap().unwrap());
}

/// Retires as many groups as may have their minimums created at a time, with creations that never end.
async fn retired_while_created(servers: &Servers, pool: &Pool, ids: Range<u64>) {
    for id in ids.clone() {
        servers.set(GroupId(id), Fate::Never);
    }
    set(pool, ids.clone().map(|id| group(GroupId(id), 1, 1)));
    rest().await;
    for id in ids {
        assert_eq!(servers.attempts_for(GroupId(id)).len(), 1);
        retire(pool, GroupId(id));
    }
}

#[tokio::test(start_paused = true)]
async fn many_creations_for_retired_groups_hold_up_no_minimum_and_are_bounded() {
    let servers = Servers::new(10);
    let pool = servers.pool().max_size(1000).build().unwrap();
    retired_while_created(&servers, &pool, 100..164).await;
    set(&pool, [group(A, 1, 1)]);
    rest().await;
    assert_eq!(status(&pool, A).size, 1);
    retired_while_created(&servers, &pool, 200..264).await;
    set(&pool, [group(B, 1, 1)]);
    rest().await;
    assert_eq!(servers.attempts_for(B).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn many_creations_for_retired_groups_hold_up_nobody_who_waits_for_another() {
    let servers = Servers::new(10);
    let pool = servers.pool().max_size(1000).build().unwrap();
    retired_while_created(&servers, &pool, 100..164).await;
    set(&pool, [group(A, 0, 1)]);
    let began = Instant::now();
    drop(pool.get_with(GetOptions::new().group(A)).await.unwrap());
    assert_eq!(began.elapsed(), secs(0));
}
