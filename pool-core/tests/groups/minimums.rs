//! What groups keep, and who succeeds whom.

use pool_core::{CreateReason, Error, GetOptions, GroupId, Pause};
use tokio::time::Instant;

use crate::harness::{millis, pass, rest, secs};
use crate::servers::{A, B, C, Fate, Servers, group, lend, retire, set, shares, sizes, status};

#[tokio::test(start_paused = true)]
async fn minimums_come_without_a_get_and_stay() {
    let servers = Servers::new(10);
    let builder = servers.pool().idle_timeout(secs(60)).shrink_delay(secs(5)).max_idle(1);
    let pool = builder.soft_target(1).build().unwrap();
    set(&pool, [group(A, 2, 1), group(B, 1, 1), group(C, 0, 1)]);
    rest().await;
    assert_eq!(sizes(&pool, [A, B, C]), [2, 1, 0]);
    assert!(servers.attempts().iter().all(|it| it.reason == CreateReason::Minimum));
    // Load makes more of them, of the group first that has fewest, and all of those go again.
    let held = lend(&pool, 12).await;
    rest().await;
    assert_eq!(pool.status().size, 12);
    assert_eq!(sizes(&pool, [A, B, C]), [4, 4, 4]);
    drop(held);
    pass(secs(600)).await;
    assert_eq!(sizes(&pool, [A, B, C]), [2, 1, 0]);
    // One that breaks is made anew, in its group.
    servers.handle_in(&pool, B).unwrap().broken("test");
    rest().await;
    assert_eq!(sizes(&pool, [A, B, C]), [2, 1, 0]);
    // A minimum that is less lets them go.
    set(&pool, [group(A, 1, 1)]);
    pass(secs(600)).await;
    assert_eq!(sizes(&pool, [A, B, C]), [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_minimum_that_is_taken_back_is_left_to_the_idle_timeout() {
    let servers = Servers::new(10);
    let pool = servers.pool().idle_timeout(secs(60)).max_lifetime(None).build().unwrap();
    set(&pool, [group(A, 1, 1)]);
    pass(secs(200)).await;
    assert_eq!(pool.status().size, 1);
    set(&pool, [group(A, 0, 1)]);
    pass(secs(200)).await;
    assert_eq!(pool.status().size, 0);
}

#[tokio::test(start_paused = true)]
async fn resize_takes_no_minimum_away() {
    let pool = Servers::new(1).pool().soft_target(1).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1), group(C, 1, 1)]);
    let held = lend(&pool, 9).await;
    rest().await;
    assert_eq!(sizes(&pool, [A, B, C]), [3, 3, 3]);
    pool.resize(1);
    drop(held);
    pass(secs(1)).await;
    assert_eq!(sizes(&pool, [A, B, C]), [1, 1, 1]);
    // They are lent as before, and nobody waits for want of them.
    let held = lend(&pool, 3).await;
    assert_eq!(shares(&held, [A, B, C]), [1, 1, 1]);
    drop(held);
    rest().await;
    assert_eq!(sizes(&pool, [A, B, C]), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn minimums_may_come_to_more_than_the_maximum_and_load_may_not() {
    let pool = Servers::new(1).pool().max_size(3).soft_target(1).build().unwrap();
    set(&pool, (0..5).map(|id| group(GroupId(id), 1, 1)));
    rest().await;
    assert_eq!(pool.status().size, 5);
    let held = lend(&pool, 5).await;
    let waits = pool.get_with(GetOptions::new().timeout(secs(1))).await;
    assert!(matches!(waits, Err(Error::Timeout(_))));
    assert_eq!(pool.status().size, 5);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_load_asked_for_makes_room_for_a_minimum() {
    let pool = Servers::new(10).pool().max_size(4).soft_target(1).build().unwrap();
    set(&pool, [group(A, 1, 1)]);
    let mut held = lend(&pool, 8).await;
    rest().await;
    assert_eq!(sizes(&pool, [A]), [4]);
    held.extend(lend(&pool, 20).await);
    set(&pool, [group(B, 1, 1), group(C, 1, 1)]);
    rest().await;
    assert_eq!(sizes(&pool, [A, B, C]), [2, 1, 1]);
    assert_eq!((pool.status().size, pool.status().draining), (4, 2));
    drop(held);
    pass(secs(1)).await;
    assert_eq!(pool.status().draining, 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_generation_has_its_minimums() {
    let servers = Servers::new(10);
    servers.set(A, Fate::Fail);
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 2, 1)]);
    rest().await;
    servers.set(A, None);
    // Which also ends the back-offs.
    pool.reset();
    rest().await;
    assert_eq!(sizes(&pool, [A, B]), [1, 2]);
    // A pool that is paused or closed makes none.
    pool.pause(Pause::Queue);
    set(&pool, [group(C, 1, 1)]);
    pass(secs(5)).await;
    assert_eq!(sizes(&pool, [C]), [0]);
    pool.resume();
    rest().await;
    assert_eq!(sizes(&pool, [C]), [1]);
    pool.close();
    set(&pool, [group(GroupId(4), 1, 1)]);
    pass(secs(5)).await;
    assert_eq!(pool.groups().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_successor_is_of_the_same_group() {
    let servers = Servers::new(10);
    let pool = servers.pool().build().unwrap();
    set(&pool, (0..8).map(|id| group(GroupId(id), 1, 1)));
    pool.warm_up(secs(1)).await.unwrap();
    for old in pool.list() {
        assert!(pool.replace(old.id, secs(1)).await.unwrap());
        let last = servers.attempts().pop().unwrap();
        assert_eq!((last.group, last.replaces), (old.group, Some(old.id)));
    }
    rest().await;
    assert!((0..8).all(|id| status(&pool, GroupId(id)).size == 1));
}

#[tokio::test(start_paused = true)]
async fn one_that_ages_is_succeeded_in_its_group_before_it_goes() {
    for (min, leases) in [(1, 0), (1, 4), (0, 4)] {
        let servers = Servers::new(1);
        let pool = servers.pool().max_lifetime(secs(100)).build().unwrap();
        let ids = [A, B, C, GroupId(4)];
        let mut held = Vec::new();
        for (number, &id) in ids.iter().enumerate() {
            set(&pool, [group(id, min, 1)]);
            rest().await;
            if leases > 0 {
                held.extend(lend(&pool, 1).await);
                assert_eq!(held[number].group, Some(id));
            }
            pass(secs(12)).await;
        }
        // For each there is one at every moment, and never many.
        let mut ages = 0;
        for _ in 0..3000 {
            let sizes = sizes(&pool, ids);
            assert!(
                sizes.iter().all(|size| (1..=2).contains(size)),
                "{sizes:?} of {min}, {leases}"
            );
            ages += usize::from(sizes.contains(&2));
            if leases > 0 {
                // The load goes over to the successors.
                held = std::mem::take(&mut held)
                    .into_iter()
                    .filter(|lease| {
                        pool.list().iter().any(|it| it.id == lease.id() && it.draining.is_none())
                    })
                    .collect();
                while held.len() < leases {
                    let missing =
                        ids.iter().find(|&&id| held.iter().all(|it| it.group != Some(id)));
                    held.extend(pool.try_get_owned_of(*missing.unwrap()));
                }
            }
            pass(millis(100)).await;
        }
        assert!(ages > 0, "none had a successor");
    }
}

#[tokio::test(start_paused = true)]
async fn successors_of_those_that_age_take_no_room_of_a_group_that_has_nothing() {
    let servers = Servers::new(10);
    let pool = servers.pool().max_size(3).max_lifetime(secs(100)).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1), group(C, 1, 1)]);
    pool.warm_up(secs(1)).await.unwrap();
    for second in 0..120 {
        pass(secs(1)).await;
        let new = GroupId(1000 + second);
        set(&pool, [group(new, 1, 1)]);
        rest().await;
        assert_eq!(status(&pool, new).size, 1, "after {second} s");
        retire(&pool, new);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_warm_without_the_groups_that_fail_or_do_not_answer_and_not_without_any() {
    let servers = Servers::new(10);
    servers.set(B, Fate::Fail);
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 2, 1), group(B, 1, 1)]);
    let began = Instant::now();
    pool.warm_up(secs(9)).await.unwrap();
    assert_eq!((sizes(&pool, [A, B]), began.elapsed()), ([2, 0], secs(0)));
    servers.set(C, Fate::Never);
    set(&pool, [group(C, 1, 1)]);
    pool.warm_up(secs(9)).await.unwrap();
    assert_eq!((sizes(&pool, [A, B, C]), began.elapsed()), ([2, 0, 0], secs(9)));

    // What the pool keeps by itself has to be there.
    let pool = servers.pool().min_size(3).max_size(3).build().unwrap();
    set(&pool, [group(B, 1, 1), group(C, 1, 1)]);
    assert!(matches!(pool.warm_up(secs(5)).await, Err(Error::Timeout(_))));
    // So has at least one of what the groups keep, and those that keep none ask for nothing.
    servers.set(C, Fate::Fail);
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(B, 1, 1), group(C, 1, 1)]);
    let Err(Error::Timeout(timeout)) = pool.warm_up(secs(5)).await else { panic!("none is there") };
    assert!(timeout.last_error.is_some());
    set(&pool, [group(B, 0, 1), group(C, 0, 1)]);
    pool.warm_up(secs(5)).await.unwrap();
}
