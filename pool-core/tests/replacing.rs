//! `replace`: a shared resource's successor is there before it goes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use harness::{Known, judge, millis, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{
    CreateContext, EndReason, Error, Event, Manager, Observer, Pause, SharedManager, SharedPool,
    SharedPoolBuilder,
};

fn pool_of(manager: &ScriptedManager, places: usize) -> SharedPoolBuilder<ScriptedManager> {
    manager.set_places(places);
    SharedPool::builder(manager.clone()).idle_timeout(None).max_lifetime(None)
}

/// How many may be lent, at every event of a pool.
#[derive(Default)]
struct Lendable {
    pool: OnceLock<SharedPool<ScriptedManager>>,
    seen: Mutex<Vec<usize>>,
}

impl Lendable {
    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

struct Watch(Arc<Lendable>);

impl Observer for Watch {
    fn event(&self, _event: &Event) {
        if let Some(pool) = self.0.pool.get() {
            let lendable = pool.list().iter().filter(|it| it.draining.is_none()).count();
            self.0.seen.lock().unwrap().push(lendable);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_as_before_may_be_lent_at_every_moment() {
    for min_size in [0, 3] {
        let manager = ScriptedManager::new();
        let lendable = Arc::new(Lendable::default());
        let pool = pool_of(&manager, 2).min_size(min_size).max_size(3);
        let pool = pool.observer(Arc::new(Watch(Arc::clone(&lendable)))).build().unwrap();
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(pool.get_owned().await.unwrap());
        }
        lendable.pool.set(pool.clone()).ok().unwrap();
        manager.always(Hook::Create, Step::Slow(millis(10)));
        for old in pool.list() {
            let mut replace = Box::pin(pool.replace(old.id, secs(1)));
            tokio::select! {
                biased;
                _ = &mut replace => unreachable!("it is slow"),
                () = rest() => {}
            }
            assert_eq!((pool.status().size, pool.status().replacing), (3, 1));
            assert!(replace.await.unwrap());
            assert_eq!((pool.status().size, pool.status().replacing), (3, 0));
        }
        let status = pool.status();
        assert_eq!((status.size, status.draining, status.in_use), (3, 3, 6));
        let seen = lendable.take();
        assert!(seen.len() > 6 && seen.iter().all(|&lendable| lendable >= 3), "{seen:?}");
        assert!(pool.get().await.unwrap().number() >= 3);
        drop(held);
        pass(secs(1)).await;
        assert_eq!(pool.counters().ended.get(EndReason::Removed), 3);
        judge(&pool, &manager, &Known { max_size: 3, started: 7, ..Known::default() }).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_cannot_be_made_leaves_all_as_it_was() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 1).max_size(1).build().unwrap();
    let old = pool.get().await.unwrap().id();
    for step in [Step::Fail, Step::Fatal, Step::Panic, Step::Never] {
        harness::hush();
        manager.script(Hook::Create, [step]);
        let error = pool.replace(old, secs(1)).await.unwrap_err();
        assert!(matches!(error, Error::Create(_)), "{error}");
        assert_eq!(pool.get().await.unwrap().id(), old);
    }
    // Nor does the pool take it for a reason to wait.
    assert!(pool.last_error().is_none());
    assert!(pool.replace(old, secs(1)).await.unwrap());
    // What is gone has no successor, and costs none.
    assert!(!pool.replace(old, secs(1)).await.unwrap());
    assert_eq!(manager.counts().attempts, 6);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_given_up_leaves_all_as_it_was() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 1).max_size(1).build().unwrap();
    let old = pool.get().await.unwrap().id();
    manager.always(Hook::Create, Step::Slow(secs(1)));
    tokio::select! {
        biased;
        _ = pool.replace(old, secs(1)) => unreachable!("it is slow"),
        () = pass(millis(500)) => {}
    }
    rest().await;
    assert_eq!((pool.status().replacing, manager.counts().creating), (0, 0));
    assert_eq!(pool.get().await.unwrap().id(), old);
    judge(&pool, &manager, &Known { max_size: 1, started: 2, ..Known::default() }).unwrap();
    // Nor does a pool that is closed wait for it.
    let replace = tokio::spawn({
        let pool = pool.clone();
        async move { pool.replace(old, secs(1)).await }
    });
    pass(millis(500)).await;
    let report = pool.drain(secs(10)).await;
    assert!(report.complete && report.waited < millis(100), "{report:?}");
    assert!(matches!(replace.await.unwrap(), Err(Error::Closed)));
    assert!(matches!(pool.replace(old, secs(1)).await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_maximum_go_at_once() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 1).max_size(1).build().unwrap();
    let first = pool.get_owned().await.unwrap();
    assert!(pool.replace(first.id(), secs(1)).await.unwrap());
    let second = pool.list()[1].id;
    let error = pool.replace(second, secs(1)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    let replace = tokio::spawn({
        let pool = pool.clone();
        async move { pool.replace(second, secs(10)).await }
    });
    rest().await;
    drop(first);
    assert!(replace.await.unwrap().unwrap());
    assert_eq!(manager.counts().most_at_once, 2);
}

#[tokio::test(start_paused = true)]
async fn a_successor_without_places_or_broken_takes_over_from_nobody() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 1).max_size(1).build().unwrap();
    let old = pool.get().await.unwrap().id();
    manager.set_places(0);
    assert!(!pool.replace(old, secs(1)).await.unwrap());
    assert_eq!(pool.get().await.unwrap().id(), old);
    rest().await;
    assert_eq!(manager.counts().live, 1);

    let pool = SharedPool::builder(Noting::default()).max_size(1).build().unwrap();
    let old = pool.get().await.unwrap().id();
    pool.manager().breaks.store(true, Ordering::SeqCst);
    assert!(!pool.replace(old, secs(1)).await.unwrap());
    assert_eq!(pool.get().await.unwrap().id(), old);
}

#[tokio::test(start_paused = true)]
async fn the_successor_of_one_that_is_gone_is_a_resource_like_any_other() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 1).max_size(1).build().unwrap();
    let old = pool.get().await.unwrap().id();
    manager.always(Hook::Create, Step::Slow(millis(10)));
    let replace = tokio::spawn({
        let pool = pool.clone();
        async move { pool.replace(old, secs(1)).await }
    });
    rest().await;
    manager.handle(0).broken("meanwhile");
    assert!(!replace.await.unwrap().unwrap());
    assert_eq!(pool.get().await.unwrap().number(), 1);
    assert_eq!((pool.status().size, manager.counts().attempts), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_paused_pool_replaces_nothing() {
    let manager = ScriptedManager::new();
    let pool = pool_of(&manager, 1).max_size(1).build().unwrap();
    let old = pool.get().await.unwrap().id();
    pool.pause(Pause::Fail);
    assert!(matches!(pool.replace(old, secs(1)).await, Err(Error::Paused)));
    pool.pause(Pause::Queue);
    assert!(matches!(pool.replace(old, secs(1)).await, Err(Error::Timeout(_))));
    pool.resume();
    assert!(pool.replace(old, secs(1)).await.unwrap());
}

/// Notes whose successors it makes, and says that they are broken if it is told to.
#[derive(Default)]
struct Noting {
    replaced: Mutex<Vec<u64>>,
    breaks: AtomicBool,
}

impl Manager for Noting {
    type Resource = ();
    type Error = std::convert::Infallible;

    async fn create(&self, cx: &CreateContext) -> Result<(), Self::Error> {
        let replaces = cx.replaces().map(|id| id.to_string().parse::<u64>().unwrap());
        self.replaced.lock().unwrap().extend(replaces);
        if self.breaks.load(Ordering::SeqCst) {
            cx.handle().broken("before it was there");
        }
        Ok(())
    }
}

impl SharedManager for Noting {}

#[tokio::test(start_paused = true)]
async fn the_manager_is_told_whose_successor_it_makes() {
    let pool = SharedPool::builder(Noting::default()).max_size(2).build().unwrap();
    let old = pool.get().await.unwrap().id();
    assert!(pool.replace(old, secs(1)).await.unwrap());
    assert_eq!(pool.manager().replaced.lock().unwrap()[..], [0]);
}
