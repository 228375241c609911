//! Decisions about the size on record, and what a shared pool says of each resource.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::Arc;

use harness::{Events, alive_tasks, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{
    CreateReason, EndReason, Event, Pool, Resize, SharedPool, SharedPoolBuilder, Sizing,
};

fn pool_of(manager: &ScriptedManager, places: usize) -> SharedPoolBuilder<ScriptedManager> {
    manager.set_places(places);
    SharedPool::builder(manager.clone()).idle_timeout(None).max_lifetime(None)
}

/// The decisions since this was asked last.
fn decisions(events: &Events) -> Vec<(Resize, Sizing)> {
    let told = std::mem::take(&mut *events.0.lock().unwrap());
    let decided = told.into_iter().filter_map(|event| match event {
        Event::Resized { change, sizing, .. } => Some((change, sizing)),
        _ => None,
    });
    decided.collect()
}

#[tokio::test(start_paused = true)]
async fn each_decision_is_told_with_its_rule_and_its_numbers() {
    let manager = ScriptedManager::new();
    let events = Arc::new(Events::default());
    let pool =
        pool_of(&manager, 2).shrink_delay(secs(10)).observer(events.clone()).build().unwrap();
    let first = pool.get().await.unwrap();
    let created = decisions(&events);
    let (change, sizing) = created[0];
    assert_eq!((created.len(), change), (1, Resize::Create(CreateReason::Demand)));
    assert_eq!((sizing.size, sizing.creating, sizing.wanted), (1, 1, 1));
    assert_eq!((change.as_str(), change.rule()), ("create", "demand"));

    let second = pool.get().await.unwrap();
    let third = pool.get().await.unwrap();
    assert_eq!(decisions(&events).len(), 1);
    // Two leases, one on each: one resource would do.
    drop(second);
    pass(secs(11)).await;
    let (change, sizing) = decisions(&events)[0];
    assert_eq!(change, Resize::Drain(EndReason::Excess));
    assert_eq!((sizing.size, sizing.draining, sizing.leases, sizing.places), (1, 1, 2, 2));

    // Three leases do not fit on the one that is left.
    let (second, fourth) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let reclaimed = decisions(&events);
    assert_eq!((reclaimed.len(), reclaimed[0].0), (1, Resize::Reclaim));
    assert_eq!((reclaimed[0].1.size, reclaimed[0].1.draining), (2, 0));

    drop((first, second, third, fourth));
    pass(secs(11)).await;
    let (change, sizing) = decisions(&events)[0];
    assert_eq!(change, Resize::End(EndReason::Excess));
    assert_eq!((sizing.size, sizing.idle, sizing.leases), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_ends_for_no_reason_of_size_is_no_decision_about_it() {
    let manager = ScriptedManager::new();
    let events = Arc::new(Events::default());
    let pool = pool_of(&manager, 2).observer(events.clone()).build().unwrap();
    let lease = pool.get().await.unwrap();
    decisions(&events);
    manager.handle(0).broken("gone");
    drop(lease);
    rest().await;
    let drained = [Resize::Drain(EndReason::Broken)];
    assert_eq!(decisions(&events).iter().map(|(change, _)| *change).collect::<Vec<_>>(), drained);
    drop(pool.get().await.unwrap());
    decisions(&events);
    manager.handle(1).broken("gone");
    rest().await;
    assert_eq!(decisions(&events), []);
}

#[tokio::test(start_paused = true)]
async fn each_resource_is_listed_as_it_stands() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 2).build().unwrap();
    assert!(pool.list().is_empty());
    let held = [pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap()];
    pass(secs(5)).await;
    manager.handle(0).drain("GOAWAY");
    manager.handle(1).set_places(7);
    rest().await;
    let list = pool.list();
    let of = |at: usize| (list[at].in_use, list[at].places, list[at].draining, list[at].uses);
    assert_eq!(of(0), (2, 2, Some(EndReason::Drained), 2));
    assert_eq!(of(1), (1, 7, None, 1));
    assert!(list[0].id < list[1].id);
    assert!(list.iter().all(|resource| resource.age == secs(5)), "{list:?}");
    assert_eq!((manager.handle(0).leases(), manager.handle(1).leases()), (2, 1));
    drop(held);
    rest().await;
    assert_eq!(manager.handle(0).leases(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handle_knows_whether_an_exclusive_resource_is_lent() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).build().unwrap();
    let lease = pool.get().await.unwrap();
    assert_eq!(manager.handle(0).leases(), 1);
    drop(lease);
    assert_eq!(manager.handle(0).leases(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_back_off_creates_at_once() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Fail, Step::Fail, Step::Fail]);
    let pool = pool_of(&manager, 1).min_size(1).build().unwrap();
    rest().await;
    assert_eq!(manager.counts().attempts, 1);
    for attempts in 2..=4 {
        pool.reset_backoff();
        rest().await;
        assert_eq!(manager.counts().attempts, attempts);
    }
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_has_a_successor_before_it_is_too_old_and_what_is_not_has_none() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 10).max_lifetime(secs(100)).build().unwrap();
    let lease = pool.get().await.unwrap();
    // Nine tenths at the earliest, and a tenth of the lifetime before that.
    pass(secs(79)).await;
    assert_eq!(pool.status().size, 1);
    pass(secs(22)).await;
    // It is drained, its successor is there and made in time.
    let status = pool.status();
    assert_eq!((status.size, status.draining, status.creating), (1, 1, 0));
    assert!(pool.list()[1].age > secs(0), "{:?}", pool.list());
    drop(lease);
    // Nobody has used that one.
    pass(secs(101)).await;
    assert_eq!((pool.status().size, manager.counts().created), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_that_is_empty_has_no_task() {
    let before = alive_tasks();
    let manager = ScriptedManager::new();
    manager.script(Hook::Destroy, [Step::Slow(secs(1))]);
    let pool = pool_of(&manager, 2).build().unwrap();
    let lease = pool.get().await.unwrap();
    pool.close();
    pass(secs(10)).await;
    assert!(alive_tasks() > before);
    drop(lease);
    pass(secs(2)).await;
    assert_eq!(alive_tasks(), before);
    // Nor do calls bring one back.
    for _ in 0..3 {
        assert!(pool.get().await.is_err());
    }
    assert_eq!(alive_tasks(), before);
}
