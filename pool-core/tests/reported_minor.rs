//! What was reported once, and must not come back: what the pool says and counts, and what it needs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::Poll;

use harness::{Events, block_on, millis, pass, rest, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{
    CheckPolicy, CreateContext, EndReason, Error, Event, Lease, Manager, Pause, Pool, SharedPool,
};
use tokio_test::task::spawn;

#[test]
fn warming_up_outside_a_runtime_is_no_panic() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    manager.always(Hook::Create, Step::Wait(gate.clone()));
    let handle = runtime.handle().clone();
    let pool = Pool::builder(manager).min_size(1).runtime(handle).build().unwrap();
    let opener = runtime.spawn(async move {
        gate.reached().await;
        gate.open();
    });
    let warm = block_on(pool.warm_up(secs(5)));
    assert!(matches!(warm, Ok(()) | Err(Error::NoRuntime)));
    runtime.block_on(opener).unwrap();
}

#[test]
fn a_check_that_takes_time_in_a_runtime_without_timers_is_no_panic() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let manager = ScriptedManager::new();
    let pool =
        Pool::builder(manager.clone()).max_size(1).check(CheckPolicy::Always).build().unwrap();
    drop(runtime.block_on(pool.get()).unwrap());
    manager.always(Hook::Check, Step::Wait(Gate::new()));
    let timeless = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let got = timeless.block_on(pool.get());
    assert!(matches!(got, Err(Error::NoRuntime)));
}

#[test]
fn a_paused_pool_says_so_without_a_runtime() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let got = spawn(pool.get_many(2)).poll();
    assert!(matches!(got, Poll::Ready(Err(Error::TooMany { .. }))), "{got:?}");
    pool.pause(Pause::Fail);
    let got = spawn(pool.get()).poll();
    assert!(matches!(got, Poll::Ready(Err(Error::Paused))), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_nobody_had_is_fresh() {
    for max_uses in [None, Some(1)] {
        let (manager, gate) = (ScriptedManager::new(), Gate::new());
        manager.script(Hook::Create, [Step::Wait(gate.clone())]);
        let pool = Pool::builder(manager.clone()).max_size(1).max_uses(max_uses).build().unwrap();
        let mut get = spawn(pool.get());
        assert!(get.poll().is_pending());
        gate.reached().await;
        gate.open();
        rest().await;
        assert!(get.is_woken());
        drop(get);
        let lease = pool.get().await.unwrap();
        assert_eq!((lease.number(), lease.metadata().uses()), (0, 1), "{max_uses:?}");
        assert_eq!(manager.counts().recycles, 0, "{max_uses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_used_since_the_last_look_is_not_looked_at() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(1)
        .keepalive(secs(10))
        .check(CheckPolicy::Never)
        .idle_timeout(None)
        .max_lifetime(None)
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    pass(secs(9)).await;
    drop(pool.get().await.unwrap());
    pass(secs(2)).await;
    assert_eq!(manager.counts().checks, 0, "it was used two seconds ago");
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_that_is_used_up_from_now_on_is_an_event() {
    let events = Arc::new(Events::default());
    let pool = SharedPool::builder(ScriptedManager::new())
        .max_size(1)
        .places(4)
        .observer(events.clone())
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    pool.reset();
    let told = events.0.lock().unwrap().clone();
    let draining = Event::Draining { id: held.id(), reason: EndReason::Stale };
    assert!(told.contains(&draining), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_holder_is_listed_with_what_it_holds() {
    let pool =
        Pool::builder(ScriptedManager::new()).max_size(2).leak_threshold(secs(10)).build().unwrap();
    let other = Lease::detach(pool.get().await.unwrap());
    let mut lease = pool.get().await.unwrap();
    drop(Lease::replace(&mut lease, other));
    assert_eq!(pool.longest_holders(1)[0].id, lease.id());
}

/// Panics when it is dropped.
struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("scripted panic")
    }
}

struct Hanging;

impl Manager for Hanging {
    type Resource = ();
    type Error = Infallible;

    async fn create(&self, _: &CreateContext) -> Result<(), Infallible> {
        let _fragile = Fragile;
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_panics_when_it_is_given_up_has_failed() {
    harness::hush();
    let pool = Pool::builder(Hanging).create_timeout(secs(1)).build().unwrap();
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    pass(millis(1010)).await;
    assert_eq!(pool.counters().create_failed, 1);
}
