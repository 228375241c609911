//! What a review found, and must not come back.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::collections::{BTreeSet, VecDeque};
use std::panic::panic_any;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use harness::{Events, millis, pass, paused, rest, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{
    CheckPolicy, CreateContext, EndReason, Error, Event, GetOptions, Manager, Pause, Pool,
    SharedManager, SharedPool,
};
use tokio_test::task::spawn;

/// A shared pool that checks what has been idle for a second.
fn shared_that_checks(manager: &ScriptedManager, places: usize) -> SharedPool<ScriptedManager> {
    manager.set_places(places);
    let builder = SharedPool::builder(manager.clone()).max_size(1);
    builder.check(CheckPolicy::IfIdleFor(secs(1))).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_that_was_idle_is_checked_however_it_is_lent() {
    let manager = ScriptedManager::new();
    let pool = shared_that_checks(&manager, 4);
    drop(pool.get().await.unwrap());
    pass(secs(20)).await;
    drop(pool.get_many(2).await.unwrap());
    let checks = manager.counts().checks;
    assert!(checks >= 1, "several at once");
    pass(secs(20)).await;
    pool.pause(Pause::Queue);
    let mut waiting = spawn(pool.get());
    assert!(waiting.poll().is_pending());
    pool.resume();
    rest().await;
    assert!(matches!(waiting.poll(), Poll::Ready(Ok(_))));
    assert_eq!(manager.counts().checks, checks + 1, "a waiter");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_lent_a_shared_resource_unchecked_while_it_is_being_checked() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    let pool = shared_that_checks(&manager, 2);
    drop(pool.get().await.unwrap());
    pass(secs(20)).await;
    manager.always(Hook::Check, Step::Wait(gate.clone()));
    let (mut one, mut other) = (spawn(pool.get()), spawn(pool.get()));
    assert!(one.poll().is_pending() && other.poll().is_pending());
    gate.open();
    rest().await;
    let (Poll::Ready(Ok(_one)), Poll::Ready(Ok(_other))) = (one.poll(), other.poll()) else {
        panic!("it has passed")
    };
    assert_eq!(manager.counts().checks, 2);
}

#[tokio::test(start_paused = true)]
async fn a_shared_pool_in_use_is_warm_when_its_free_places_are_there() {
    let manager = ScriptedManager::new();
    manager.set_places(10);
    let pool = SharedPool::builder(manager.clone()).max_size(8).min_idle(2).build().unwrap();
    let leases = pool.get_many(6).await.unwrap();
    pool.warm_up(secs(10)).await.unwrap();
    let status = pool.status();
    assert!(status.places >= leases.len() + 2 * 10, "{status:?}");
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("scripted panic of a destructor");
    }
}

/// Destroying its resources panics, with something that panics again.
struct Explosive;

impl Manager for Explosive {
    type Resource = u64;
    type Error = std::convert::Infallible;

    async fn create(&self, _: &CreateContext) -> Result<u64, Self::Error> {
        Ok(1)
    }

    async fn destroy(&self, _: u64) {
        panic_any(Bomb);
    }
}

#[tokio::test(start_paused = true)]
async fn a_destruction_that_panics_twice_ends_no_maintenance() {
    harness::hush();
    let pool = Pool::builder(Explosive).max_size(2).min_size(1).build().unwrap();
    pool.warm_up(secs(1)).await.unwrap();
    pool.reset();
    pass(secs(10)).await;
    let status = pool.status();
    assert_eq!((status.idle, status.size), (1, 1), "the minimum is there again");
}

#[tokio::test(start_paused = true)]
async fn several_that_came_to_nothing_are_no_gets_that_were_ok() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    let builder = Pool::builder(manager.clone()).max_size(3).min_size(3).max_creating(3);
    let pool = builder.check(CheckPolicy::Always).build().unwrap();
    pool.warm_up(secs(1)).await.unwrap();
    manager.script(Hook::Check, [Step::Wait(gate)]);
    let mut several = spawn(pool.get_many_with(3, GetOptions::new().timeout(secs(1))));
    assert!(several.poll().is_pending());
    assert_eq!(pool.counters().gets_ok, 0, "none of them has a lease");
    pass(secs(2)).await;
    assert!(matches!(several.poll(), Poll::Ready(Err(Error::Timeout(_)))));
    let counters = pool.counters();
    assert_eq!((counters.gets_ok, counters.gets_timeout), (0, 1));
    drop(pool.get_many(2).await.unwrap());
    assert_eq!(pool.counters().gets_ok, 2);
    assert_eq!(pool.status().checking, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shared_pool_is_resized_while_one_is_looked_at() {
    let manager = ScriptedManager::new();
    manager.set_places(1);
    let builder = SharedPool::builder(manager.clone()).max_size(4).min_size(4).max_creating(4);
    let pool = builder.build().unwrap();
    pool.warm_up(secs(1)).await.unwrap();
    let mut first = true;
    pool.retain(|_, _| {
        if std::mem::take(&mut first) {
            pool.resize(1);
        }
        true
    });
    rest().await;
    assert_eq!(pool.status().size, 1, "{:?}", pool.status());
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_came_back_grants_the_wish_for_one() {
    let manager = ScriptedManager::new();
    let builder = Pool::builder(manager.clone()).max_size(1).idle_timeout(secs(60));
    let pool = builder.build().unwrap();
    let lease = pool.get().await.unwrap();
    let no_wait = GetOptions::new().no_wait();
    assert!(pool.get_with(no_wait).await.is_err());
    drop(lease);
    assert!(pool.get_with(no_wait).await.is_ok());
    pass(secs(3600)).await;
    assert_eq!((manager.counts().created, pool.status().size), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_has_no_last_use() {
    let manager = ScriptedManager::new();
    let pool = SharedPool::builder(manager.clone()).max_size(1).build().unwrap();
    for _ in 0..3 {
        assert_eq!(pool.get().await.unwrap().metadata().last_used(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_what_is_being_created() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    manager.always(Hook::Create, Step::Wait(gate.clone()));
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    gate.reached().await;
    let report = pool.drain(secs(1)).await;
    assert_eq!((report.complete, report.resources, report.creating), (false, 0, 1));
    gate.open();
    assert!(pool.drain(secs(1)).await.complete);
}

/// Its check of a shared resource keeps nothing, and panics when it is told to.
struct Stateless;

impl Manager for Stateless {
    type Resource = u64;
    type Error = std::convert::Infallible;

    async fn create(&self, _: &CreateContext) -> Result<u64, Self::Error> {
        Ok(1)
    }
}

impl SharedManager for Stateless {
    fn check_shared(
        &self,
        _: &u64,
        _: &pool_core::Metadata,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        std::future::poll_fn(|_| panic!("scripted panic of a check"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_whose_check_panics_at_once_is_discarded() {
    harness::hush();
    let builder = SharedPool::builder(Stateless).max_size(1);
    let pool = builder.check(CheckPolicy::Always).build().unwrap();
    let got = tokio::spawn({
        let pool = pool.clone();
        async move { drop(pool.get().await) }
    });
    assert!(got.await.unwrap_err().is_panic());
    rest().await;
    let counters = pool.counters();
    assert_eq!((counters.gets_error, counters.gets_cancelled), (1, 0));
    assert_eq!(counters.ended.get(EndReason::CheckFailed), 1);
}

/// How many instructions a queue takes cannot be told here, but a queue that walks past all of itself at every
/// step does not end in time: 2^17 waiters are 2^33 steps then.
#[test]
fn a_queue_of_any_deadlines_is_served_and_left_in_order() {
    const MANY: usize = 1 << 17;
    let nearer_behind = |number: usize| if number == 0 { secs(3000) } else { secs(1000) };
    let never = |_| Duration::MAX;
    let timeouts: [&(dyn Fn(usize) -> Duration + Sync); 2] = [&nearer_behind, &never];
    for timeout in timeouts {
        paused(async {
            let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
            let lease = pool.get().await.unwrap();
            let get = |number| {
                let options = GetOptions::new().timeout(timeout(number));
                let mut get = spawn(pool.get_with(options));
                assert!(get.poll().is_pending());
                get
            };
            let mut gets: VecDeque<_> = (0..MANY).map(get).collect();
            // One half gives up, the one after the other, and the others are served.
            gets.drain(..MANY / 2);
            drop(lease);
            while let Some(mut get) = gets.pop_front() {
                assert!(matches!(get.poll(), Poll::Ready(Ok(_))), "{} are left", gets.len());
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn resources_that_are_born_together_do_not_go_together() {
    let builder = Pool::builder(ScriptedManager::new()).max_size(20).min_size(20);
    let pool = builder.max_creating(20).max_lifetime(secs(100)).build().unwrap();
    pool.warm_up(secs(1)).await.unwrap();
    let mut lifetimes = BTreeSet::new();
    pool.retain(|_, meta| lifetimes.insert(meta.expires().unwrap() - meta.created()));
    assert_eq!(lifetimes.len(), 20, "each has its own");
    let range = secs(90)..=secs(100);
    assert!(lifetimes.iter().all(|lifetime| range.contains(lifetime)), "{lifetimes:?}");
}

#[tokio::test(start_paused = true)]
async fn pools_that_fail_together_do_not_try_again_together() {
    let mut delays = BTreeSet::new();
    for _ in 0..10 {
        let (manager, events) = (ScriptedManager::new(), Arc::new(Events::default()));
        manager.script(Hook::Create, [Step::Fail]);
        let builder = Pool::builder(manager).max_size(1).observer(events.clone());
        let pool = builder.build().unwrap();
        drop(pool.get().await.unwrap());
        let retry_in = |event: &Event| match event {
            Event::CreateFailed { retry_in, .. } => Some(*retry_in),
            _ => None,
        };
        delays.extend(events.0.lock().unwrap().iter().filter_map(retry_in));
    }
    assert!(delays.len() > 5, "{delays:?}");
    let range = millis(80)..=millis(120);
    assert!(delays.iter().all(|delay| range.contains(delay)), "{delays:?}");
}

/// From hand to hand nobody looks at the clock.
#[tokio::test(start_paused = true)]
async fn a_shared_resource_whose_next_holder_gives_up_is_idle_from_its_last_use() {
    let manager = ScriptedManager::new();
    manager.set_places(1);
    let builder = SharedPool::builder(manager.clone()).max_size(1).idle_timeout(secs(80));
    let pool = builder.build().unwrap();
    let lease = pool.get().await.unwrap();
    pass(secs(100)).await;
    let mut next = spawn(pool.get());
    assert!(next.poll().is_pending());
    drop(lease);
    drop(next);
    pass(secs(70)).await;
    assert_eq!(pool.status().idle, 1, "its last use was 70 s ago");
    pass(secs(30)).await;
    assert_eq!(pool.status().idle, 0);
}
