//! Whose share of the leases is whose.

use std::collections::HashSet;

use pool_core::{GroupId, Pause, Pick};

use crate::harness::{rest, secs};
use crate::servers::{
    A, B, C, Lease, Servers, about, group, lend, one_by_one, retire, set, shares, sizes, status,
    waiter,
};

#[tokio::test(start_paused = true)]
async fn a_pool_without_groups_tells_of_none() {
    let servers = Servers::new(10);
    let pool = servers.pool().build().unwrap();
    let lease = pool.get().await.unwrap();
    assert_eq!(lease.group, None);
    assert_eq!((pool.groups(), pool.list()[0].group), (Vec::new(), None));
    assert!(pool.try_get_owned_of(A).is_none());
    // What there is not is not retired.
    retire(&pool, A);
    assert!(pool.try_get().is_some() && pool.groups().is_empty());
}

#[tokio::test(start_paused = true)]
async fn shares_are_by_group_and_not_by_resource() {
    for pick in [Pick::PowerOfTwo, Pick::LeastLoaded, Pick::RoundRobin] {
        let pool = Servers::new(1000).pool().pick(pick).build().unwrap();
        set(&pool, [group(A, 2, 1), group(B, 1, 1), group(C, 1, 1)]);
        pool.warm_up(secs(1)).await.unwrap();
        assert_eq!(sizes(&pool, [A, B, C]), [2, 1, 1]);
        // One after the other, and held all together.
        let [a, b, c] = one_by_one(&pool, 3000, [A, B, C]);
        for share in [a, b, c] {
            about(share, 1000, 150);
        }
        let held = lend(&pool, 300).await;
        let [a, b, c] = shares(&held, [A, B, C]);
        for share in [a, b, c] {
            about(share, 100, 10);
        }
        // Those of the larger group are on both of its resources.
        let list = pool.list();
        let of_a = list.iter().filter(|it| it.group == Some(A)).map(|it| it.in_use);
        assert!(of_a.clone().all(|in_use| in_use > 35), "{:?}", of_a.collect::<Vec<_>>());
        assert_eq!(status(&pool, A).in_use, a);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_has_the_share_of_its_weight() {
    for pick in [Pick::PowerOfTwo, Pick::LeastLoaded, Pick::RoundRobin] {
        let pool = Servers::new(1000).pool().pick(pick).build().unwrap();
        set(&pool, [group(A, 1, 1), group(B, 1, 3)]);
        pool.warm_up(secs(1)).await.unwrap();
        let [a, _] = one_by_one(&pool, 4000, [A, B]);
        about(a, 1000, 150);
        let held = lend(&pool, 400).await;
        let [a, _] = shares(&held, [A, B]);
        about(a, 100, 2);
        drop(held);
        // Another weight holds at once.
        set(&pool, [group(A, 1, 3)]);
        let [a, _] = one_by_one(&pool, 2000, [A, B]);
        about(a, 1000, 120);
    }
}

#[tokio::test(start_paused = true)]
async fn groups_come_in_turn() {
    let pool = Servers::new(4).pool().pick(Pick::RoundRobin).build().unwrap();
    let ids: Vec<_> = (0..7).map(GroupId).collect();
    set(&pool, ids.iter().map(|&id| group(id, 1, 1)));
    pool.warm_up(secs(1)).await.unwrap();
    let mut held = Vec::new();
    for _round in 0..4 {
        let round = lend(&pool, 7).await;
        let seen: HashSet<_> = round.iter().map(|lease| lease.group).collect();
        assert_eq!(seen.len(), 7, "each once in a round");
        held.extend(round);
    }
    // One that is full is passed over, and comes again.
    drop(held.split_off(14));
    let full: Vec<_> = (0..2).map(|_| pool.try_get_owned_of(ids[3]).unwrap()).collect();
    assert!(pool.try_get_owned_of(ids[3]).is_none());
    let round = lend(&pool, 6).await;
    assert!(round.iter().all(|lease| lease.group != Some(ids[3])));
    drop((full, round));
    let round = lend(&pool, 7).await;
    assert!(round.iter().any(|lease| lease.group == Some(ids[3])));
}

#[tokio::test(start_paused = true)]
async fn turns_are_smooth_and_by_weight() {
    let pool = Servers::new(1000).pool().pick(Pick::RoundRobin).build().unwrap();
    set(&pool, [group(A, 1, 4), group(B, 1, 1), group(C, 1, 1)]);
    pool.warm_up(secs(1)).await.unwrap();
    let turns: Vec<_> = (0..60).map(|_| pool.try_get().unwrap().group.unwrap()).collect();
    assert_eq!(turns.iter().filter(|&&id| id == A).count(), 40);
    for round in turns.chunks(6) {
        assert!((3..=5).contains(&round.iter().filter(|&&id| id == A).count()), "{turns:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_all_groups_the_least_loaded_comes_next() {
    let pool = Servers::new(1000).pool().pick(Pick::LeastLoaded).build().unwrap();
    let ids: Vec<_> = (0..50).map(GroupId).collect();
    set(&pool, ids.iter().map(|&id| group(id, 1, 1)));
    pool.warm_up(secs(1)).await.unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut held, mut loads) = (Vec::new(), vec![0; ids.len()]);
    for _ in 0..20_000 {
        // Leases come back from anywhere, and some are of a group that their holders chose.
        if rng.bool() && !held.is_empty() {
            let lease: Lease = held.swap_remove(rng.usize(..held.len()));
            loads[usize::try_from(lease.group.unwrap().0).unwrap()] -= 1;
        } else if rng.u8(..4) == 0 {
            let at = rng.usize(..ids.len());
            held.push(pool.try_get_owned_of(ids[at]).unwrap());
            loads[at] += 1;
        } else {
            let lease = pool.try_get_owned().unwrap();
            let at = usize::try_from(lease.group.unwrap().0).unwrap();
            assert_eq!(Some(&loads[at]), loads.iter().min());
            held.push(lease);
            loads[at] += 1;
        }
    }
    // Where nobody holds any they come in turn.
    drop(held);
    let mut gets = vec![0; ids.len()];
    for _ in 0..10 * ids.len() {
        gets[usize::try_from(pool.try_get().unwrap().group.unwrap().0).unwrap()] += 1;
    }
    assert!(gets.iter().all(|gets| (9..=11).contains(gets)), "{gets:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_allows_fewer_holders_gets_fewer() {
    let servers = Servers::new(100);
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    pool.warm_up(secs(1)).await.unwrap();
    servers.handle_in(&pool, B).unwrap().set_places(20);
    let held = lend(&pool, 60).await;
    let [_, b] = shares(&held, [A, B]);
    about(b, 10, 2);
    // And one that allows none gets none.
    servers.handle_in(&pool, A).unwrap().set_places(0);
    assert!(pool.try_get_owned_of(A).is_none());
    assert_eq!(shares(&lend(&pool, 10).await, [A, B]), [0, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_place_of_one_group_is_lent_as_fairly_as_any() {
    let servers = Servers::new(2);
    let pool = servers.pool().max_size(2).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    pool.warm_up(secs(1)).await.unwrap();
    let of_a: Vec<_> = (0..2).map(|_| pool.try_get_owned_of(A).unwrap()).collect();
    assert_eq!(shares(&of_a, [A, B]), [2, 0]);
    assert!(pool.try_get_owned_of(A).is_none());
    assert!(pool.try_get_owned_of(GroupId(9)).is_none());
    let of_b = lend(&pool, 2).await;
    assert_eq!(shares(&of_b, [A, B]), [0, 2]);
    // While somebody waits, nobody has a place before.
    let waiter = waiter(&pool);
    rest().await;
    assert_eq!(pool.status().waiting, 1);
    drop(of_a);
    // One of the places has been passed on, the other one is free again.
    assert_eq!(waiter.await.unwrap().unwrap().group, Some(A));
    pool.pause(Pause::Queue);
    assert!(pool.try_get_owned_of(A).is_none());
    pool.resume();
    assert!(pool.try_get_owned_of(A).is_some());
    pool.close();
    assert!(pool.try_get_owned_of(A).is_none());
}

#[tokio::test(start_paused = true)]
async fn gets_of_one_group_leave_the_turns_of_the_others() {
    let pool = Servers::new(1000).pool().pick(Pick::RoundRobin).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 10), group(C, 1, 1)]);
    pool.warm_up(secs(1)).await.unwrap();
    let mut gets = [0; 3];
    for _ in 0..1100 {
        drop(pool.try_get_owned_of(A).unwrap());
        let group = pool.try_get().unwrap().group.unwrap();
        gets[usize::try_from(group.0 - A.0).unwrap()] += 1;
    }
    assert!(gets[1] > 5 * gets[2], "{gets:?}");
}

#[tokio::test(start_paused = true)]
async fn a_weight_that_was_small_holds_at_once_and_large_ones_are_told_apart() {
    let pool = Servers::new(1000).pool().pick(Pick::RoundRobin).build().unwrap();
    set(&pool, [group(A, 1, 1024), group(B, 1, 1)]);
    pool.warm_up(secs(1)).await.unwrap();
    one_by_one(&pool, 5000, [A, B]);
    set(&pool, [group(B, 1, 1024)]);
    about(one_by_one(&pool, 1000, [A, B])[0], 500, 20);
    set(&pool, [group(A, 1, 3_000_000_000), group(B, 1, 4_200_000_000)]);
    about(one_by_one(&pool, 7200, [A, B])[0], 3000, 100);
}

#[tokio::test(start_paused = true)]
async fn a_heavy_group_without_a_place_leaves_the_weights_of_the_others() {
    let servers = Servers::new(1000);
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 1, 1024), group(B, 1, 10), group(C, 1, 1)]);
    pool.warm_up(secs(1)).await.unwrap();
    servers.handle_in(&pool, A).unwrap().set_places(0);
    about(one_by_one(&pool, 1100, [B, C])[0], 1000, 50);
}
