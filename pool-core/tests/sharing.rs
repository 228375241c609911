//! Shared resources: places, growth, shrinking by load, draining.

mod harness;

use std::sync::Arc;
use std::task::Poll;

use harness::{Events, millis, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{EndReason, Event, SharedLease, SharedPool, SharedPoolBuilder};
use tokio_test::task::spawn;

fn pool_of(manager: &ScriptedManager, places: usize) -> SharedPoolBuilder<ScriptedManager> {
    manager.set_places(places);
    SharedPool::builder(manager.clone()).idle_timeout(None).max_lifetime(None)
}

async fn lend(
    pool: &SharedPool<ScriptedManager>,
    leases: usize,
) -> Vec<SharedLease<'static, ScriptedManager>> {
    let mut held = Vec::new();
    for _ in 0..leases {
        held.push(pool.get_owned().await.expect("room for one more"));
    }
    held
}

#[tokio::test(start_paused = true)]
async fn as_many_are_created_as_the_waiting_ask_for() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, vec![Step::Slow(millis(10)); 10]);
    let pool = pool_of(&manager, 10).max_size(20).build().unwrap();
    let gets: Vec<_> = (0..35)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get_owned().await.unwrap() })
        })
        .collect();
    let mut held = Vec::new();
    for get in gets {
        held.push(get.await.unwrap());
    }
    let mut carried = [0; 20];
    for lease in &held {
        carried[lease.number()] += 1;
    }
    assert!(carried.iter().all(|&leases| leases <= 10), "{carried:?}");
    pass(secs(1)).await;
    assert!((4..=5).contains(&manager.counts().created), "{}", manager.counts().created);
}

#[tokio::test(start_paused = true)]
async fn load_is_spread_over_the_resources() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 100).min_size(4).build().unwrap();
    pass(secs(1)).await;
    let held = lend(&pool, 40).await;
    let mut carried = [0; 4];
    for lease in &held {
        carried[lease.number()] += 1;
    }
    // Two choices keep a resource within a few leases of the mean; one choice would not.
    assert!(carried.iter().all(|leases| (7..=13).contains(leases)), "{carried:?}");
}

#[tokio::test(start_paused = true)]
async fn the_pool_grows_for_speed_in_the_background() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 100).soft_target(8).soft_max_size(3).build().unwrap();
    let held = lend(&pool, 8).await;
    rest().await;
    assert_eq!(manager.counts().created, 1);
    let more = lend(&pool, 1).await;
    rest().await;
    assert_eq!(manager.counts().created, 2);
    let most = lend(&pool, 60).await;
    rest().await;
    assert_eq!(manager.counts().created, 3, "more than the soft maximum");
    drop((held, more, most));
}

#[tokio::test(start_paused = true)]
async fn the_least_loaded_drains_when_the_load_has_fitted_on_fewer_for_the_delay() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 100)
        .soft_target(4)
        .soft_max_size(2)
        .shrink_delay(secs(30))
        .build()
        .unwrap();
    let mut held = lend(&pool, 2).await;
    let more = lend(&pool, 6).await;
    rest().await;
    assert_eq!(pool.status().size, 2);
    held.extend(lend(&pool, 2).await);
    drop(more);
    pass(secs(29)).await;
    assert_eq!(pool.status().size, 2);
    // A burst within the delay starts it anew.
    drop(lend(&pool, 1).await);
    pass(secs(29)).await;
    assert_eq!(pool.status().size, 2);
    pass(secs(2)).await;
    let status = pool.status();
    assert_eq!((status.size, status.in_use), (1, 4));
    drop(held);
    rest().await;
    let status = pool.status();
    assert_eq!((status.size, status.draining, manager.counts().live), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_to_go_is_taken_back_before_another_is_created() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 2).max_size(2).shrink_delay(secs(5)).build().unwrap();
    let mut held = lend(&pool, 4).await;
    held.sort_by_key(|lease| lease.number());
    drop((held.remove(3), held.remove(0)));
    // Each carries one, which would fit on one.
    pass(secs(6)).await;
    assert_eq!((pool.status().size, pool.status().draining), (1, 1));
    held.extend(lend(&pool, 2).await);
    assert_eq!((pool.status().size, pool.status().draining), (2, 0));
    assert_eq!(manager.counts().created, 2);
}

#[tokio::test(start_paused = true)]
async fn as_many_drain_as_is_said_beside_the_maximum() {
    for (most, set) in [(1, None), (3, Some(3))] {
        let manager = ScriptedManager::new();
        let mut builder = pool_of(&manager, 5).max_size(1);
        if let Some(resources) = set {
            builder = builder.max_draining(resources);
        }
        let pool = builder.build().unwrap();
        assert_eq!(pool.status().max_draining, most);
        let mut held = Vec::new();
        for draining in 0..=most {
            let lease = pool.get().await.unwrap();
            manager.handle(lease.number()).drain("planned");
            rest().await;
            assert_eq!(pool.status().draining, draining + 1);
            held.push(lease);
        }
        let mut next = spawn(pool.get());
        assert!(next.poll().is_pending());
        rest().await;
        assert_eq!((pool.status().size, pool.status().creating), (0, 0), "{most} may drain");
        held.pop();
        rest().await;
        assert!(next.poll().is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn a_draining_resource_is_used_up_and_its_successor_is_there_at_once() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 10).max_size(1).build().unwrap();
    let held = lend(&pool, 3).await;
    manager.handle(0).drain("the peer asked for it");
    rest().await;
    let status = pool.status();
    assert_eq!((status.size, status.draining, status.in_use), (1, 1, 3));
    let new = lend(&pool, 1).await;
    assert_eq!((new[0].number(), held[0].number()), (1, 0));
    drop(held);
    rest().await;
    assert_eq!((pool.status().draining, manager.counts().live), (0, 1));
    assert_eq!(pool.counters().ended.get(EndReason::Drained), 1);
}

#[tokio::test(start_paused = true)]
async fn resources_that_drain_are_bounded_too() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 1).max_size(2).build().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        let lease = lend(&pool, 1).await.remove(0);
        manager.handle(lease.number()).drain("again");
        held.push(lease);
        rest().await;
    }
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    rest().await;
    assert_eq!((pool.status().draining, manager.counts().live), (4, 4));
    held.pop();
    rest().await;
    assert!(get.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn places_change_while_they_are_lent() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 2).max_size(1).build().unwrap();
    let mut held = lend(&pool, 2).await;
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    manager.handle(0).set_places(3);
    assert!(get.is_woken());
    let Poll::Ready(Ok(third)) = get.poll() else { panic!("the new place went to nobody") };
    manager.handle(0).set_places(1);
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    drop(third);
    held.pop();
    assert!(!get.is_woken(), "over the limit");
    held.pop();
    assert!(get.is_woken());
    manager.handle(0).set_places(0);
    drop(get);
    assert!(pool.try_get().is_none());
    manager.handle(0).set_places(1);
    assert!(pool.try_get().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_that_breaks_goes_with_its_last_holder() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 4).build().unwrap();
    let mut held = lend(&pool, 2).await;
    manager.handle(0).broken("reset");
    assert_eq!(lend(&pool, 1).await[0].number(), 1);
    held.pop();
    rest().await;
    assert_eq!(manager.counts().live, 2);
    held.pop();
    rest().await;
    assert_eq!(manager.counts().live, 1);
    assert_eq!(pool.counters().ended.get(EndReason::Broken), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_manager_says_before_the_resource_is_there_counts() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Slow(secs(1))]);
    let pool = SharedPool::builder(manager.clone()).max_size(1).build().unwrap();
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    rest().await;
    manager.attempts()[0].set_places(7);
    pass(secs(2)).await;
    assert_eq!(pool.status().places, 7);
    drop(get);
    manager.handle(0).broken("idle");
    manager.script(Hook::Create, [Step::Slow(secs(1))]);
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    rest().await;
    manager.attempts()[1].broken("dead on arrival");
    pass(secs(2)).await;
    let Poll::Ready(Ok(item)) = get.poll() else { panic!("not replaced") };
    assert_eq!(item.number(), 2);
}

#[tokio::test(start_paused = true)]
async fn resources_that_are_being_destroyed_are_bounded_too() {
    let manager = ScriptedManager::new();
    manager.always(Hook::Destroy, Step::Never);
    let pool = pool_of(&manager, 1).max_size(2).destroy_timeout(secs(4)).build().unwrap();
    for _ in 0..20 {
        SharedLease::discard(pool.get().await.unwrap());
        rest().await;
    }
    assert_eq!(manager.counts().most_live, 4);
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_what_a_manager_reports() {
    let manager = ScriptedManager::new();
    let events = Arc::new(Events::default());
    let pool = pool_of(&manager, 2).observer(events.clone()).build().unwrap();
    let lease = pool.get().await.unwrap();
    manager.handle(0).drain("GOAWAY");
    drop(lease);
    let events = events.0.lock().unwrap();
    let id = manager.handle(0).id();
    let reason = EndReason::Drained;
    let told = [
        Event::Reported { id, reason, text: "GOAWAY".into() },
        Event::Draining { id, reason },
        Event::Ended { id, reason },
    ];
    let of_its_end: Vec<_> = events.iter().filter(|event| told.contains(event)).cloned().collect();
    assert_eq!(of_its_end, told);
}

#[tokio::test(start_paused = true)]
async fn a_holder_gets_another_resource_than_the_one_that_refused_it() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 2).max_size(3).min_size(3).build().unwrap();
    pool.warm_up(secs(1)).await.unwrap();
    let first = pool.get().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        let other = pool.try_get_owned_other(first.id()).unwrap();
        assert_ne!(other.id(), first.id());
        held.push(other);
    }
    // All others are full: it is for the holder to say whether the same will do.
    assert!(pool.try_get_owned_other(first.id()).is_none());
    let again = pool.try_get_owned().unwrap();
    assert_eq!(again.id(), first.id());
    assert!(pool.try_get().is_none());
    drop((first, again, held));
    let status = pool.status();
    assert_eq!((status.size, status.idle, status.places, status.in_use), (3, 3, 6, 0));
    assert_eq!(lend(&pool, 6).await.len(), 6);
    assert_eq!(pool.counters().gets_ok, 1 + 4 + 1 + 6);
}
