//! When resources go: shrinking, idle timeout, lifetime, close, and the end of runtimes.

mod harness;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use harness::{Events, millis, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{CheckPolicy, ConfigError, EndReason, Error, Event, Lease, Pool};
use tokio_test::task::spawn;

async fn grow(pool: &Pool<ScriptedManager>, to: usize) {
    let mut held = Vec::new();
    for _ in 0..to {
        held.push(pool.get().await.expect("room for one more"));
    }
}

#[tokio::test(start_paused = true)]
async fn surplus_goes_after_the_delay_and_not_before() {
    let manager = ScriptedManager::new();
    let events = Arc::new(Events::default());
    let pool = Pool::builder(manager.clone())
        .max_idle(2)
        .shrink_delay(secs(30))
        .observer(events.clone())
        .build()
        .unwrap();
    grow(&pool, 6).await;
    pass(millis(29_990)).await;
    assert_eq!(pool.status().idle, 6);
    pass(millis(20)).await;
    assert_eq!(pool.status().idle, 4, "half of the surplus goes first");
    pass(secs(61)).await;
    assert_eq!((pool.status().idle, manager.counts().live), (2, 2));
    let reasons: Vec<_> = events
        .0
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            Event::Ended { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [EndReason::Excess; 4]);
    pass(secs(120)).await;
    assert_eq!(pool.status().idle, 2);
}

/// What rests outside the lock is surplus, too.
#[tokio::test(start_paused = true)]
async fn one_too_many_is_noticed_though_nothing_else_happens() {
    // More than threads have of their own.
    const MAX_IDLE: usize = 80;
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(MAX_IDLE + 10)
        .max_idle(MAX_IDLE)
        .shrink_delay(secs(30))
        .idle_timeout(None)
        .max_lifetime(None)
        .check(CheckPolicy::Never)
        .build()
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..=MAX_IDLE {
        held.push(pool.get().await.unwrap());
    }
    // No deadline is left that maintenance would wake for.
    pass(secs(60)).await;
    drop(held);
    pass(secs(60)).await;
    assert_eq!(manager.counts().live, MAX_IDLE);
}

#[tokio::test(start_paused = true)]
async fn a_burst_within_the_delay_cancels_the_shrinking() {
    let pool =
        Pool::builder(ScriptedManager::new()).max_idle(2).shrink_delay(secs(30)).build().unwrap();
    grow(&pool, 4).await;
    for _ in 0..10 {
        pass(secs(29)).await;
        assert_eq!(pool.status().idle, 4);
        grow(&pool, 3).await;
    }
    pass(secs(31)).await;
    assert_eq!(pool.status().idle, 3);
}

#[tokio::test(start_paused = true)]
async fn the_pool_never_shrinks_below_its_minimum() {
    let pool = Pool::builder(ScriptedManager::new())
        .min_size(3)
        .max_idle(1)
        .shrink_delay(secs(1))
        .idle_timeout(secs(10))
        .build()
        .unwrap();
    grow(&pool, 8).await;
    pass(secs(600)).await;
    assert_eq!(pool.status().size, 3);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_idle_goes_first() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_idle(1).shrink_delay(secs(5)).build().unwrap();
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(two);
    pass(secs(1)).await;
    drop(one);
    pass(secs(6)).await;
    assert_eq!(pool.get().await.unwrap().number(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_resource_goes_after_the_idle_timeout_and_not_before() {
    let pool = Pool::builder(ScriptedManager::new()).idle_timeout(secs(80)).build().unwrap();
    for _ in 0..3 {
        grow(&pool, 2).await;
        pass(secs(79)).await;
        assert_eq!(pool.status().idle, 2);
    }
    pass(secs(12)).await;
    assert_eq!(pool.status().idle, 0, "more than an eighth late");
    assert_eq!(pool.counters().ended.get(EndReason::Idle), 2);
}

#[tokio::test(start_paused = true)]
async fn a_resource_goes_at_the_end_of_its_life() {
    let manager = ScriptedManager::new();
    let pool =
        Pool::builder(manager.clone()).max_lifetime(secs(100)).idle_timeout(None).build().unwrap();
    let held = pool.get().await.unwrap();
    pass(secs(101)).await;
    assert_eq!(held.number(), 0, "a lent resource is left to its holder");
    drop(held);
    rest().await;
    assert_eq!(pool.counters().ended.get(EndReason::Lifetime), 1);
    assert_eq!(pool.get().await.unwrap().number(), 1);
    // An idle one goes by itself.
    pass(secs(89)).await;
    assert_eq!(manager.counts().live, 1);
    pass(secs(12)).await;
    assert_eq!((manager.counts().created, manager.counts().live), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn where_a_minimum_is_kept_a_resource_is_replaced_before_it_goes() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_lifetime(secs(100))
        .idle_timeout(None)
        .min_idle(1)
        .build()
        .unwrap();
    pass(secs(79)).await;
    assert_eq!(manager.counts().created, 1);
    for _ in 79..300 {
        pass(secs(1)).await;
        assert!(pool.status().idle >= 1, "nothing was there in place of the one that went");
    }
    assert!(pool.counters().ended.get(EndReason::Lifetime) >= 2);
    assert!(manager.counts().created <= 5, "{} created in 300 s", manager.counts().created);
}

#[tokio::test(start_paused = true)]
async fn close_fails_those_that_wait_and_ends_what_is_there() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Ok, Step::Ok, Step::Slow(secs(2))]);
    let pool = Pool::builder(manager.clone()).max_size(3).build().unwrap();
    let (held, idle) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(idle);
    let held_too = pool.get().await.unwrap();
    let mut waiting = spawn(pool.get());
    assert!(waiting.poll().is_pending());
    rest().await;
    drop(held_too);
    drop(waiting);
    let (held_too, mut waiting) = (pool.get().await.unwrap(), spawn(pool.get()));
    assert!(waiting.poll().is_pending());
    pool.close();
    pool.close();
    assert!(waiting.is_woken());
    assert!(matches!(waiting.await, Err(Error::Closed)));
    assert!(matches!(pool.get().await, Err(Error::Closed)));
    assert!(pool.try_get().is_none());
    drop((held, held_too));
    pass(secs(3)).await;
    assert_eq!((pool.status().size, manager.counts().live), (0, 0));
    assert_eq!(manager.counts().detached, manager.counts().created);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_everything() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Ok, Step::Never]);
    let pool = Pool::builder(manager.clone()).max_size(2).min_size(2).build().unwrap();
    let weak = pool.downgrade();
    let lease = pool.get_owned().await.unwrap();
    rest().await;
    assert_eq!(manager.counts().creating, 1);
    drop(pool);
    assert!(weak.upgrade().is_none());
    assert_eq!(manager.counts().live, 1, "a lease is its holder's");
    drop(lease);
    rest().await;
    assert_eq!((manager.counts().live, manager.counts().creating), (0, 0));
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks, 0, "a task outlives its pool");
}

#[test]
fn a_lease_dropped_outside_a_runtime_returns() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    let lease = runtime.block_on(pool.get_owned()).unwrap();
    let waiting = {
        let pool = pool.clone();
        runtime.spawn(async move { pool.get().await.map(|item| item.number()) })
    };
    std::thread::spawn(move || drop(lease)).join().unwrap();
    assert_eq!(runtime.block_on(waiting).unwrap().unwrap(), 0);
    let lease = runtime.block_on(pool.get_owned()).unwrap();
    lease.mark_broken();
    std::thread::spawn(move || drop(lease)).join().unwrap();
    assert_eq!(runtime.block_on(pool.get()).unwrap().number(), 1);
}

#[test]
fn a_pool_outlives_its_runtime() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Ok, Step::Never]);
    let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
    let first = tokio::runtime::Runtime::new().unwrap();
    let lease = first.block_on(pool.get_owned()).unwrap();
    first.block_on(async {
        let mut get = spawn(pool.get());
        assert!(get.poll().is_pending());
        while pool.status().creating == 0 {
            tokio::task::yield_now().await;
        }
    });
    drop(first);
    assert_eq!(pool.status().creating, 0, "the place of a creation went with its runtime");
    drop(lease);
    assert_eq!(pool.try_get().unwrap().number(), 0);
    let held = pool.try_get();
    let second = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(second.block_on(pool.get()).unwrap().number(), 1);
    drop(held);
}

#[test]
fn without_a_runtime_a_hit_is_served_and_a_miss_is_an_error() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let mut get = spawn(pool.get());
    assert!(matches!(get.poll(), std::task::Poll::Ready(Err(Error::NoRuntime))));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    drop(runtime.block_on(pool.get()).unwrap());
    drop(runtime);
    let mut get = spawn(pool.get());
    let std::task::Poll::Ready(Ok(item)) = get.poll() else { panic!("a hit needs no runtime") };
    assert_eq!(item.number(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_panics_has_its_resource_discarded() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    let lease = pool.get_owned().await.unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _lease = lease;
        panic!("holder");
    }));
    assert!(unwound.is_err());
    assert_eq!(pool.get().await.unwrap().number(), 1);
    assert_eq!(pool.counters().ended.get(EndReason::Broken), 1);
}

#[tokio::test(start_paused = true)]
async fn a_detached_resource_frees_its_place() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    let mine = Lease::detach(pool.get().await.unwrap());
    assert_eq!(pool.get().await.unwrap().number(), 1);
    assert_eq!((mine.number(), manager.counts().live), (0, 2));
    assert_eq!(manager.counts().detached, 1);
}

#[tokio::test(start_paused = true)]
async fn a_destruction_that_hangs_holds_its_place_for_its_timeout_only() {
    let manager = ScriptedManager::new();
    manager.always(Hook::Destroy, Step::Never);
    let pool = Pool::builder(manager.clone()).max_size(1).destroy_timeout(secs(4)).build().unwrap();
    Lease::discard(pool.get().await.unwrap());
    let started = tokio::time::Instant::now();
    assert_eq!(pool.get().await.unwrap().number(), 1);
    assert_eq!(started.elapsed().as_secs(), 4);
    assert_eq!(manager.counts().most_live, 1);
}

#[tokio::test(start_paused = true)]
async fn a_smaller_maximum_is_reached_as_leases_come_back() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(4).build().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.get().await.unwrap());
    }
    held.pop();
    pool.resize(2);
    rest().await;
    assert_eq!(pool.status().size, 3);
    held.clear();
    rest().await;
    assert_eq!((pool.status().size, manager.counts().live), (2, 2));
    pool.resize(3);
    grow(&pool, 3).await;
    assert_eq!(manager.counts().live, 3);
}

#[test]
fn settings_that_cannot_be_are_named() {
    let field = |built: Result<_, ConfigError>| built.err().map(|error: ConfigError| error.field());
    let builder = || Pool::builder(ScriptedManager::new());
    assert_eq!(field(builder().max_size(0).build()), Some("max_size"));
    assert_eq!(field(builder().max_creating(0).build()), Some("max_creating"));
    assert_eq!(field(builder().max_size(2).min_size(3).build()), Some("min_size"));
    assert_eq!(field(builder().min_idle(2).max_idle(1).build()), Some("min_idle"));
    assert_eq!(field(builder().idle_timeout(secs(0)).build()), Some("idle_timeout"));
    let extremes = builder()
        .max_size(usize::MAX)
        .max_idle(usize::MAX)
        .max_waiters(usize::MAX)
        .max_creating(usize::MAX)
        .wait_timeout(std::time::Duration::MAX)
        .create_timeout(std::time::Duration::MAX)
        .shrink_delay(std::time::Duration::MAX)
        .idle_timeout(std::time::Duration::MAX)
        .max_lifetime(std::time::Duration::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async move {
        let pool = extremes.build().unwrap();
        grow(&pool, 3).await;
        assert_eq!(pool.status().idle, 3);
    });
}
