//! What a holder can do with a lease, and what it is told about its resource.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::task::Poll;

use harness::{Known, hush, judge, millis, pass, rest, secs};
use pool_core::test_util::ScriptedManager;
use pool_core::{EndReason, Lease, Pool, SharedLease, SharedPool};
use tokio::time::Instant;
use tokio_test::task::spawn;

#[tokio::test(start_paused = true)]
async fn a_resource_is_told_by_its_number_age_and_use() {
    let pool = Pool::builder(ScriptedManager::new())
        .max_size(2)
        .max_lifetime(secs(1000))
        .idle_timeout(secs(80))
        .build()
        .unwrap();
    pass(secs(5)).await;
    let born = Instant::now();
    let lease = pool.get().await.unwrap();
    let meta = lease.metadata();
    assert_eq!(
        (meta.id(), meta.created(), meta.uses(), meta.generation()),
        (lease.id(), born, 1, 0)
    );
    assert_eq!(meta.last_used(), None, "nobody has had it");
    let life = meta.expires().unwrap() - born;
    assert!(life > secs(899) && life <= secs(1000), "{life:?}");
    pass(secs(7)).await;
    assert_eq!(lease.metadata().created(), born);
    drop(lease);
    let returned = Instant::now();
    pass(secs(20)).await;
    let lease = pool.get().await.unwrap();
    let meta = lease.metadata();
    assert_eq!((meta.uses(), meta.created(), meta.id()), (2, born, lease.id()));
    assert_eq!(meta.expires().unwrap() - born, life, "drawn once");
    let early = returned - meta.last_used().unwrap();
    assert!(early <= millis(125), "{early:?}: an eighth of the check policy's span");
    // From hand to hand it was used just now.
    let other = pool.get().await.unwrap();
    let mut waiter = spawn(pool.get());
    assert!(waiter.poll().is_pending());
    drop(lease);
    let Poll::Ready(Ok(lease)) = waiter.poll() else { panic!("it was handed over") };
    assert_eq!(lease.metadata().last_used(), Some(Instant::now()));
    assert_eq!(lease.metadata().uses(), 3);
    assert_ne!(other.id(), lease.id());
}

#[tokio::test(start_paused = true)]
async fn numbers_are_not_used_twice() {
    let pool =
        Pool::builder(ScriptedManager::new()).max_size(1).max_lifetime(None).build().unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        let lease = pool.get().await.unwrap();
        assert_eq!(lease.metadata().expires(), None);
        ids.push(lease.id());
        Lease::discard(lease);
    }
    let sorted = ids.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(sorted, "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn a_detached_resource_leaves_room_for_the_one_that_waits() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    let mut lease = pool.get().await.unwrap();
    Lease::data_mut(&mut lease).insert(7_u8);
    let mut waiter = spawn(pool.get());
    assert!(waiter.poll().is_pending());
    let resource = Lease::detach(lease);
    rest().await;
    let Poll::Ready(Ok(other)) = waiter.poll() else { panic!("there is room") };
    assert_eq!((resource.number(), other.number()), (0, 1));
    assert_eq!((manager.counts().live, manager.counts().detached), (2, 1));
    // What its manager says of it is nothing to the pool any more.
    resource.handle().broken("gone");
    assert_eq!(pool.counters().ended.get(EndReason::Broken), 0);
    drop((resource, other));
    let known = Known { max_size: 1, started: 2, detached: 1, ..Known::default() };
    judge(&pool, &manager, &known).unwrap();
    assert_eq!(manager.counts().destroyed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_discarded_resource_is_destroyed_and_its_successor_waited_for() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    let lease = pool.get().await.unwrap();
    let mut waiter = spawn(pool.get());
    assert!(waiter.poll().is_pending());
    Lease::discard(lease);
    rest().await;
    let Poll::Ready(Ok(other)) = waiter.poll() else { panic!("there is room") };
    assert_eq!((other.number(), manager.counts().destroyed), (1, 1));
    assert_eq!(manager.counts().most_at_once, 1);
    assert_eq!(pool.counters().ended.get(EndReason::Discarded), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_resource_begins_anew() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(2).max_uses(5).build().unwrap();
    let other = Lease::detach(pool.get().await.unwrap());
    for _ in 0..3 {
        drop(pool.get().await.unwrap());
    }
    pass(secs(9)).await;
    let mut lease = pool.get().await.unwrap();
    Lease::data_mut(&mut lease).insert("of the old one");
    let before = lease.metadata();
    assert_eq!(before.uses(), 4);
    let old = Lease::replace(&mut lease, other);
    let meta = lease.metadata();
    assert!(meta.id() > before.id());
    assert_eq!((old.number(), lease.number()), (1, 0));
    assert_eq!((meta.uses(), meta.created()), (1, Instant::now()));
    assert!(Lease::data(&lease).is_empty());
    drop(lease);
    // The old one is nobody's business, the new one is the pool's: for as many uses as any.
    drop(old);
    for uses in 2..=5 {
        let lease = pool.get().await.unwrap();
        assert_eq!((lease.number(), lease.metadata().uses()), (0, uses));
    }
    rest().await;
    assert_eq!(manager.counts().live, 0);
    let known = Known { max_size: 2, started: 9, detached: 2, given: 1, ..Known::default() };
    judge(&pool, &manager, &known).unwrap();
}

#[tokio::test(start_paused = true)]
async fn data_stays_with_its_resource() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(2).build().unwrap();
    let mut one = pool.get().await.unwrap();
    let mut other = pool.get().await.unwrap();
    Lease::data_mut(&mut one).insert(String::from("one"));
    Lease::data_mut(&mut other).insert(5_u32);
    let id = one.id();
    drop((one, other));
    for _ in 0..4 {
        let pair = pool.get_many(2).await.unwrap();
        for lease in &pair {
            let name = Lease::data(lease).get::<String>();
            assert_eq!(name.map(String::as_str), (lease.id() == id).then_some("one"));
            assert_eq!(Lease::data(lease).get::<u32>().is_some(), lease.id() != id);
        }
    }
    pool.reset();
    assert!(Lease::data(&pool.get().await.unwrap()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_resource_goes_after_its_last_use_and_is_lent_no_more() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).max_uses(3).build().unwrap();
    let mut numbers = Vec::new();
    for _ in 0..7 {
        numbers.push(pool.get().await.unwrap().number());
        rest().await;
    }
    assert_eq!(numbers, [0, 0, 0, 1, 1, 1, 2]);
    // Also from hand to hand.
    let mut last = pool.get().await.unwrap();
    for uses in [3, 1] {
        let mut waiter = spawn(pool.get());
        assert!(waiter.poll().is_pending());
        drop(last);
        rest().await;
        let Poll::Ready(lease) = waiter.poll() else { panic!("its turn has come") };
        last = lease.unwrap();
        assert_eq!(last.metadata().uses(), uses);
    }
    assert_eq!(pool.counters().ended.get(EndReason::Uses), 3);
    assert_eq!(manager.counts().most_at_once, 1);
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_goes_with_its_holders_after_its_last_use() {
    let manager = ScriptedManager::new();
    manager.set_places(10);
    let pool = SharedPool::builder(manager.clone()).max_size(1).max_uses(3).build().unwrap();
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(pool.get().await.unwrap());
    }
    let numbers: Vec<_> = leases.iter().map(|lease| lease.number()).collect();
    assert_eq!(numbers, [0, 0, 0, 1]);
    assert_eq!((pool.status().draining, manager.counts().live), (1, 2));
    leases.drain(..2);
    rest().await;
    assert_eq!(manager.counts().live, 2);
    drop(leases.remove(0));
    rest().await;
    assert_eq!(manager.counts().live, 1);
    let ids = SharedLease::closed(&leases[0]);
    drop(ids);
    assert_eq!(pool.counters().ended.get(EndReason::Uses), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resource_of_a_holder_that_panics_goes_or_stays_as_it_is_set() {
    hush();
    for discards in [true, false] {
        let manager = ScriptedManager::new();
        let pool = Pool::builder(manager.clone()).discard_on_panic(discards).build().unwrap();
        let task = tokio::spawn({
            let pool = pool.clone();
            async move {
                let _lease = pool.get().await.unwrap();
                panic!("scripted panic")
            }
        });
        let panicked: Result<(), _> = task.await;
        assert!(panicked.is_err());
        rest().await;
        assert_eq!(manager.counts().live, usize::from(!discards));
        // One that its manager calls broken goes either way.
        let task = tokio::spawn({
            let pool = pool.clone();
            async move {
                let lease = pool.get().await.unwrap();
                lease.mark_broken();
                panic!("scripted panic")
            }
        });
        let panicked: Result<(), _> = task.await;
        assert!(panicked.is_err());
        rest().await;
        assert_eq!(manager.counts().live, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_owned_lease_outlives_the_handle_and_a_shared_one_is_a_reference() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    let mut owned = pool.get_owned().await.unwrap();
    drop(pool);
    owned.mark_dirty();
    let resource: &mut pool_core::test_util::ScriptedResource = &mut owned;
    assert!(resource.is_dirty());
    assert_eq!(manager.counts().live, 1);
    drop(owned);
    rest().await;
    assert_eq!(manager.counts().live, 0);
    let pool = SharedPool::builder(ScriptedManager::new()).places(2).build().unwrap();
    let (one, other) = (pool.get().await.unwrap(), pool.try_get_owned().unwrap());
    assert!(std::ptr::eq(&raw const *one, &raw const *other));
}
