//! Groups for which creations fail.

use std::collections::HashSet;
use std::time::Duration;

use pool_core::GroupId;
use tokio::time::Instant;

use crate::harness::{millis, pass, rest, secs};
use crate::servers::{A, B, C, Fate, Servers, group, lend, set, shares, sizes, status};

#[tokio::test(start_paused = true)]
async fn a_group_that_fails_holds_up_no_other() {
    let servers = Servers::new(1);
    servers.set(A, Fate::Fail);
    let pool = servers.pool().max_creating(1).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1), group(C, 0, 1)]);
    rest().await;
    assert_eq!(sizes(&pool, [A, B, C]), [0, 1, 0]);
    let retry_in = status(&pool, A).retry_in.unwrap();
    assert!(retry_in <= secs(2) && retry_in > secs(1), "{retry_in:?}");
    assert_eq!(status(&pool, B).retry_in, None);
    // What load asks for comes at once, and from the others.
    let started = Instant::now();
    let held = lend(&pool, 6).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(shares(&held, [A, B, C]), [0, 3, 3]);
    // It is asked again when it said, and not before.
    pass(secs(7)).await;
    let attempts = servers.attempts_for(A);
    assert_eq!(attempts.len(), 4, "{attempts:?}");
    for two in attempts.windows(2) {
        let apart = two[1].saturating_sub(two[0]);
        assert!(apart >= secs(2) && apart < millis(2010), "{attempts:?}");
    }
    let numbers: Vec<_> =
        servers.attempts().iter().filter(|it| it.group == Some(A)).map(|it| it.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    servers.set(A, None);
    pass(secs(2)).await;
    assert_eq!((status(&pool, A).size, status(&pool, A).retry_in), (1, None));
}

#[tokio::test(start_paused = true)]
async fn where_all_fail_one_is_asked_at_a_time_for_load_and_none_before_its_time() {
    let servers = Servers::new(1);
    for id in [A, B, C] {
        servers.set(id, Fate::Fail);
    }
    let pool = servers.pool().max_creating(3).build().unwrap();
    set(&pool, [group(A, 0, 1), group(B, 0, 1), group(C, 0, 1)]);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get_owned().await.map(|lease| lease.group) })
        })
        .collect();
    rest().await;
    for id in [A, B, C] {
        servers.set(id, Fate::Slow(millis(100)));
        assert_eq!(servers.attempts_for(id).len(), 1, "{:?}", servers.attempts());
    }
    servers.books.lock().unwrap().most_creating = 0;
    pass(millis(2050)).await;
    let most = servers.books.lock().unwrap().most_creating;
    assert_eq!(most, 1);
    // One has succeeded: no more of that.
    pass(millis(100)).await;
    let most = servers.books.lock().unwrap().most_creating;
    assert!(most >= 3, "{most}");
    pass(secs(5)).await;
    for waiter in waiting {
        assert!(waiter.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_is_not_waited_for_twice() {
    let servers = Servers::new(1);
    servers.set(A, Fate::Never);
    let pool = servers.pool().create_timeout(secs(5)).max_creating(1).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    // After its first failure it is known, and what is created for it is nothing that is to come.
    pass(millis(7500)).await;
    assert_eq!((servers.attempts_for(A).len(), status(&pool, A).creating), (2, 1));
    let started = Instant::now();
    let held = lend(&pool, 3).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(shares(&held, [A, B]), [0, 3]);
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_up_holds_up_no_other() {
    let servers = Servers::new(1);
    let pool = servers.pool().build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 0, 1)]);
    rest().await;
    for _ in 0..5 {
        if let Some(a) = servers.handle_in(&pool, A) {
            a.broken("hung up");
        }
        rest().await;
    }
    assert!(status(&pool, A).retry_in.is_some());
    let started = Instant::now();
    let held = lend(&pool, 3).await;
    assert_eq!((started.elapsed(), shares(&held, [A, B])), (Duration::ZERO, [0, 3]));
}

#[tokio::test(start_paused = true)]
async fn many_minimums_are_made_at_once_and_black_holes_take_half_of_that() {
    let servers = Servers::new(1);
    for id in 0..200 {
        servers.set(GroupId(id), Fate::Never);
    }
    let builder = servers.pool().max_size(1000).create_timeout(secs(1)).max_creating(1);
    let pool = builder.build().unwrap();
    set(&pool, (0..200).map(|id| group(GroupId(id), 1, 1)));
    rest().await;
    assert_eq!(pool.status().creating, 64);
    pass(secs(5)).await;
    // All have failed before: half of it is for them.
    assert!(servers.attempts().iter().map(|it| it.group).collect::<HashSet<_>>().len() == 200);
    assert_eq!(pool.status().creating, 32);
    // Others are there at once.
    let fine = 1000..1100;
    set(&pool, fine.clone().map(|id| group(GroupId(id), 1, 1)));
    rest().await;
    assert!(fine.clone().all(|id| status(&pool, GroupId(id)).size == 1));
    assert_eq!(servers.books.lock().unwrap().most_creating, 64);
    // And each of the others has its turn.
    pass(secs(60)).await;
    let attempts = (0..200).map(|id| servers.attempts_for(GroupId(id)).len());
    let (least, most) = (attempts.clone().min().unwrap(), attempts.max().unwrap());
    assert!(least >= 5 && most - least <= 2, "{least} to {most}");
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_takes_no_room_before_it_is_there() {
    let servers = Servers::new(1);
    servers.set(B, Fate::Fail);
    let pool = servers.pool().max_size(4).build().unwrap();
    set(&pool, [group(A, 1, 1), group(B, 1, 1)]);
    let held = lend(&pool, 4).await;
    pass(secs(21)).await;
    assert_eq!(servers.attempts_for(B).len(), 11);
    assert_eq!((sizes(&pool, [A, B]), pool.status().draining), ([4, 0], 0));
    // Nor while one takes long.
    servers.set(B, Fate::Slow(secs(1)));
    pass(millis(1500)).await;
    assert_eq!((sizes(&pool, [A, B]), status(&pool, B).creating), ([4, 0], 1));
    pass(secs(1)).await;
    assert_eq!((sizes(&pool, [A, B]), pool.status().draining), ([3, 1], 1));
    drop(held);
    rest().await;
    assert_eq!((sizes(&pool, [A, B]), pool.status().draining), ([3, 1], 0));
}
