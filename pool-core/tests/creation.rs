//! Creation belongs to the pool: bounded, detached from callers, and what becomes of its failures.

mod harness;

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;

use harness::{Events, millis, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{
    CheckPolicy, CreateContext, CreateError, Error, Event, Lease, Manager, Pool, ResourceHandle,
};
use tokio::time::Instant;
use tokio_test::task::spawn;

#[tokio::test(start_paused = true)]
async fn a_creation_that_outlives_its_caller_is_used() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Slow(secs(3))]);
    let pool = Pool::builder(manager.clone()).build().unwrap();
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    rest().await;
    drop(get);
    pass(secs(4)).await;
    assert_eq!(pool.status().idle, 1);
    drop(pool.get().await.unwrap());
    assert_eq!(manager.counts().attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_takes_whichever_comes_first() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Ok, Step::Slow(secs(5))]);
    let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
    let held = pool.get().await.unwrap();
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    rest().await;
    assert_eq!(pool.status().creating, 1);
    drop(held);
    let Poll::Ready(Ok(item)) = get.poll() else { panic!("the return did not serve the waiter") };
    assert_eq!(item.number(), 0);
    pass(secs(6)).await;
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn creations_in_flight_are_bounded_and_follow_demand() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, vec![Step::Slow(secs(1)); 100]);
    let pool = Pool::builder(manager.clone()).max_size(50).max_creating(2).build().unwrap();
    let gets: Vec<_> = (0..7)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get_owned().await.unwrap() })
        })
        .collect();
    let mut held = Vec::new();
    for get in gets {
        held.push(get.await.unwrap());
    }
    assert_eq!(manager.counts().most_creating, 2);
    assert_eq!(manager.counts().created, 7);
    pass(secs(5)).await;
    assert_eq!(manager.counts().attempts, 7, "more was created than was asked for");
}

#[tokio::test(start_paused = true)]
async fn a_failed_creation_is_tried_again_after_the_back_off() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Fail, Step::Panic, Step::Fail]);
    let events = Arc::new(Events::default());
    let pool = Pool::builder(manager.clone()).observer(events.clone()).build().unwrap();
    let started = Instant::now();
    drop(pool.get().await.unwrap());
    // 100, 160 and 256 ms, each off by at most a fifth.
    let took = started.elapsed();
    assert!(took >= millis(412) && took <= millis(625), "{took:?}");
    assert_eq!(manager.counts().attempts, 4);
    assert_eq!(pool.counters().create_failed, 3);
    assert!(pool.last_error().is_none());
    let events = events.0.lock().unwrap();
    let failed = events.iter().filter(|event| matches!(event, Event::CreateFailed { .. }));
    assert_eq!(failed.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_always_fails_is_asked_at_the_pace_of_the_back_off() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, std::iter::repeat_n(Step::Fail, 10_000));
    let pool = Pool::builder(manager.clone()).wait_timeout(secs(60)).build().unwrap();
    let gets: Vec<_> = (0..100)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get().await.map(drop) })
        })
        .collect();
    for get in gets {
        let Err(error) = get.await.unwrap() else { panic!("served by nothing") };
        let source = error.source().and_then(|source| source.source());
        assert_eq!(source.unwrap().to_string(), "scripted failure of create");
    }
    // To 5 s in nine steps that take 11 s, then every 5 s, each off by at most a fifth.
    assert!((15..=24).contains(&manager.counts().attempts), "{}", manager.counts().attempts);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_fails_those_that_wait_and_not_those_that_come() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Fatal]);
    let pool = Pool::builder(manager.clone()).build().unwrap();
    let (one, other) = tokio::join!(pool.get(), pool.get());
    for failed in [one.map(drop), other.map(drop)] {
        let Err(Error::Create(error)) = failed else { panic!("not failed at once") };
        assert!(matches!(&*error, CreateError::Failed(error) if error.is_fatal()));
    }
    assert!(pool.get().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_hangs_ends_by_its_timeout() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Never]);
    let pool = Pool::builder(manager.clone()).create_timeout(secs(3)).build().unwrap();
    let started = Instant::now();
    drop(pool.get().await.unwrap());
    assert_eq!(started.elapsed().as_secs(), 3);
    assert_eq!(manager.counts().creating, 0);
}

#[tokio::test(start_paused = true)]
async fn a_minimum_is_kept_in_the_background() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Ok, Step::Fail, Step::Ok]);
    let pool = Pool::builder(manager.clone()).min_size(3).min_idle(2).build().unwrap();
    pass(secs(1)).await;
    assert_eq!((pool.status().idle, pool.status().size), (3, 3));
    let (_one, _two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    rest().await;
    assert_eq!((pool.status().idle, pool.status().size), (2, 4));
    let third = pool.get().await.unwrap();
    Lease::discard(third);
    rest().await;
    assert_eq!((pool.status().idle, pool.status().size), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn a_broken_resource_is_replaced_for_the_one_that_waits() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    held.mark_broken();
    drop(held);
    rest().await;
    let Poll::Ready(Ok(item)) = get.poll() else { panic!("nobody was told of the free place") };
    assert_eq!(item.number(), 1);
    assert_eq!(manager.counts().most_live, 1, "the place was free before its resource was gone");
    assert_eq!((manager.counts().detached, manager.counts().destroyed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_manager_may_say_that_a_resource_is_broken() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(one);
    // One is idle and goes at once, the other goes when it comes back.
    manager.handle(0).broken("gone");
    manager.handle(1).broken("gone");
    rest().await;
    assert_eq!((pool.status().idle, manager.counts().live), (0, 1));
    drop(two);
    rest().await;
    assert_eq!((pool.status().size, manager.counts().live), (0, 0));
    assert_eq!(pool.get().await.unwrap().number(), 2);
    // Of one that is gone it may say what it likes.
    manager.handle(0).broken("still gone");
    assert_eq!(pool.get().await.unwrap().number(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_used_resource_is_recycled_and_a_fresh_one_is_not() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    pool.get().await.unwrap().mark_dirty();
    assert_eq!(manager.counts().recycles, 0);
    assert!(!pool.get().await.unwrap().is_dirty());
    assert_eq!(manager.counts().recycles, 1);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_discarded_and_the_caller_served_by_another() {
    for step in [Step::Fail, Step::Never] {
        let manager = ScriptedManager::new();
        let pool =
            Pool::builder(manager.clone()).max_size(1).check_timeout(secs(2)).build().unwrap();
        drop(pool.get().await.unwrap());
        manager.script(Hook::Recycle, [step.clone()]);
        assert_eq!(pool.get().await.unwrap().number(), 1, "{step:?}");
        rest().await;
        assert_eq!(manager.counts().live, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_check_reaches_its_caller_and_nobody_else() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    drop(pool.get().await.unwrap());
    manager.script(Hook::Recycle, [Step::Panic]);
    let caller = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.get().await.map(drop) })
    };
    assert!(caller.await.unwrap_err().is_panic());
    assert_eq!(pool.get().await.unwrap().number(), 1);
}

#[tokio::test(start_paused = true)]
async fn resources_are_checked_as_the_policy_says() {
    let cases = [
        (CheckPolicy::Always, millis(0), 1),
        (CheckPolicy::IfIdleFor(secs(1)), millis(800), 0),
        (CheckPolicy::IfIdleFor(secs(1)), millis(1000), 1),
        (CheckPolicy::IfIdleFor(secs(1)), secs(60), 1),
        (CheckPolicy::Never, secs(60), 0),
    ];
    for (policy, idle, checks) in cases {
        let manager = ScriptedManager::new();
        let pool = Pool::builder(manager.clone()).check(policy).build().unwrap();
        drop(pool.get().await.unwrap());
        let before = manager.counts().checks;
        pass(idle).await;
        drop(pool.get().await.unwrap());
        let checked = manager.counts().checks - before;
        assert_eq!(checked, checks, "{policy:?} after {idle:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_time_leaves_a_resource_to_the_next() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).wait_timeout(millis(0)).build().unwrap();
    assert!(matches!(pool.get().await, Err(Error::Timeout(_))));
    rest().await;
    assert!(pool.get().await.is_ok());
    rest().await;
    assert_eq!(manager.counts().attempts, 1);
}

/// Makes nothing for a while, and keeps trying if it is told to.
struct Down {
    keeps_trying: bool,
    fails: AtomicUsize,
}

impl Manager for Down {
    type Resource = ResourceHandle;
    type Error = std::io::Error;

    async fn create(&self, cx: &CreateContext) -> Result<ResourceHandle, std::io::Error> {
        let left = self.fails.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        left.map_or(Ok(cx.handle()), |_| Err(std::io::ErrorKind::ConnectionRefused.into()))
    }

    fn is_fatal(&self, _: &std::io::Error) -> bool {
        true
    }

    fn keeps_trying(&self) -> bool {
        self.keeps_trying
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_keeps_trying_is_asked_without_a_caller_until_a_resource_is_there() {
    for keeps_trying in [true, false] {
        let pool = Pool::builder(Down { keeps_trying, fails: AtomicUsize::new(3) });
        let pool = pool.build().unwrap();
        assert!(matches!(pool.get().await, Err(Error::Create(_))));
        pass(secs(600)).await;
        let (failed, size) = if keeps_trying { (3, 1) } else { (1, 0) };
        assert_eq!((pool.counters().create_failed, pool.status().size), (failed, size));
        if keeps_trying {
            // The last one is made anew, whether it breaks in the pool or in somebody's hands.
            let broken = pool.get().await.unwrap().clone();
            broken.broken("cut");
            pass(secs(1)).await;
            assert_eq!((pool.counters().created, pool.status().size), (2, 1));
            let lent = pool.get().await.unwrap();
            lent.broken("cut");
            drop(lent);
            pass(secs(1)).await;
            assert_eq!((pool.counters().created, pool.status().size), (3, 1));
            drop(Lease::detach(pool.get().await.unwrap()));
            pass(secs(1)).await;
            assert_eq!((pool.counters().created, pool.status().size), (4, 1));
        } else {
            pool.reset_backoff();
            pass(secs(600)).await;
            assert_eq!((pool.counters().create_failed, pool.status().size), (1, 0));
        }
        // Closed, it asks no more.
        let attempts = pool.counters();
        pool.close();
        pass(secs(600)).await;
        assert_eq!(pool.counters().create_failed, attempts.create_failed);
    }
}

/// The first attempt fails after a second, all others succeed after two.
struct Flaky(AtomicUsize);

impl Manager for Flaky {
    type Resource = ();
    type Error = std::io::Error;

    async fn create(&self, _: &CreateContext) -> Result<(), std::io::Error> {
        if self.0.fetch_add(1, SeqCst) == 0 {
            tokio::time::sleep(secs(1)).await;
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        tokio::time::sleep(secs(2)).await;
        Ok(())
    }

    fn is_fatal(&self, _: &std::io::Error) -> bool {
        true
    }

    fn keeps_trying(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_enough_for_a_manager_that_keeps_trying() {
    let pool = Pool::builder(Flaky(AtomicUsize::new(0))).build().unwrap();
    let (first, second) = tokio::join!(pool.get(), pool.get());
    assert!(matches!((first, second), (Err(Error::Create(_)), Err(Error::Create(_)))));
    pass(secs(600)).await;
    assert_eq!((pool.counters().created, pool.status().size), (1, 1));
}
