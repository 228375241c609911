//! What was reported once, and must not come back: places, deadlines, locks.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use harness::{Known, ended_gets, ends, judge, millis, pass, paused, rest, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{
    CheckPolicy, CreateContext, Error, GetOptions, Lease, Manager, Metadata, Pool, Priority,
    SharedPool,
};
use tokio::time::Instant;
use tokio_test::task::spawn;

/// Looks at its pool when it is dropped.
struct Looks(Pool<ScriptedManager>);

impl Drop for Looks {
    fn drop(&mut self) {
        self.0.status();
    }
}

#[test]
fn replaced_data_is_dropped_outside_the_lock() {
    ends(secs(10), |at| {
        paused(async {
            let pool = Pool::builder(ScriptedManager::new()).max_size(2).build().unwrap();
            let other = Lease::detach(pool.get().await.unwrap());
            let mut lease = pool.get().await.unwrap();
            Lease::data_mut(&mut lease).insert(Looks(pool.clone()));
            at("data that looks at the pool when it is dropped".to_owned());
            let before = Lease::replace(&mut lease, other);
            assert_eq!(before.number(), 1);
        });
    });
}

#[tokio::test(start_paused = true)]
async fn two_that_gather_in_different_classes_do_not_wait_for_each_other() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(2).build().unwrap();
    let (one, other) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let mut normal = spawn(pool.get_many(2));
    assert!(normal.poll().is_pending());
    drop(one);
    let mut high = spawn(pool.get_many_with(2, GetOptions::new().priority(Priority::High)));
    assert!(high.poll().is_pending());
    drop(other);
    rest().await;
    let ready = normal.poll().is_ready() || high.poll().is_ready();
    assert!(ready, "each has what the other one needs: {:?}", pool.status());
}

#[tokio::test(start_paused = true)]
async fn one_that_gathers_anew_does_not_wait_for_the_one_behind_it() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(2)
        .check(CheckPolicy::Always)
        .wait_timeout(secs(30))
        .build()
        .unwrap();
    let (one, other) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let served = Arc::new(Mutex::new(Vec::new()));
    let get = |name| {
        let (pool, served) = (pool.clone(), served.clone());
        tokio::spawn(async move {
            let leases = pool.get_many(2).await;
            served.lock().unwrap().push((name, leases.is_ok()));
        })
    };
    manager.script(Hook::Check, [Step::Slow(millis(1)).then(Step::Fail)]);
    let first = get("first");
    rest().await;
    let second = get("second");
    rest().await;
    drop((one, other));
    first.await.unwrap();
    second.await.unwrap();
    assert!(served.lock().unwrap().iter().all(|&(_, served)| served));
    let known = Known { max_size: 2, started: 4, several: 2, ..Known::default() };
    judge(&pool, &manager, &known).unwrap();
}

/// What one that gathers two gets, of which it had the first before `then`.
async fn gather(
    pool: &Pool<ScriptedManager>,
    then: impl AsyncFnOnce(),
) -> Vec<Lease<'_, ScriptedManager>> {
    let (one, other) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(one);
    let mut several = spawn(pool.get_many(2));
    assert!(several.poll().is_pending());
    then().await;
    drop(other);
    for _ in 0..10 {
        rest().await;
        if let Poll::Ready(leases) = several.poll() {
            return leases.unwrap();
        }
    }
    panic!("it is not served");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_lent_after_a_reset_what_was_gathered_before() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(2).build().unwrap();
    let leases = gather(&pool, async || assert_eq!(pool.reset(), 1)).await;
    let generations: Vec<_> = leases.iter().map(|it| it.metadata().generation()).collect();
    assert_eq!(generations, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_lent_what_broke_while_it_was_gathered() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
    let leases = gather(&pool, async || manager.handle(0).broken("test")).await;
    assert!(leases.iter().all(|lease| lease.number() != 0), "{leases:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_gathered_long_ago_is_checked() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(2)
        .check(CheckPolicy::IfIdleFor(secs(1)))
        .build()
        .unwrap();
    let leases = gather(&pool, async || pass(secs(20)).await).await;
    assert_eq!(leases.len(), 2);
    assert!(manager.counts().checks >= 1, "nobody has used it for 20 s");
}

#[tokio::test(start_paused = true)]
async fn more_places_than_can_be_counted_are_waited_for() {
    let pool = SharedPool::builder(ScriptedManager::new()).max_size(1).places(2).build().unwrap();
    let _held = pool.get().await.unwrap();
    let short = GetOptions::new().timeout(secs(1));
    let mut one = spawn(pool.get_many_with(usize::MAX, short));
    let mut other = spawn(pool.get_many_with(usize::MAX, short));
    assert!(one.poll().is_pending());
    assert!(other.poll().is_pending());
    pass(secs(2)).await;
    assert!(matches!(one.poll(), Poll::Ready(Err(Error::Timeout(_)))));
    assert!(matches!(other.poll(), Poll::Ready(Err(Error::Timeout(_)))));
}

/// A future without state that panics when it is polled.
struct Panics;

impl Future for Panics {
    type Output = Result<(), Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        panic!("scripted panic")
    }
}

struct Brittle;

impl Manager for Brittle {
    type Resource = ();
    type Error = Infallible;

    async fn create(&self, _: &CreateContext) -> Result<(), Infallible> {
        Ok(())
    }

    fn check(
        &self,
        (): &mut (),
        _: &Metadata,
    ) -> impl Future<Output = Result<(), Infallible>> + Send {
        Panics
    }
}

#[tokio::test(start_paused = true)]
async fn a_stateless_check_that_panics_ends_its_resource_and_its_get() {
    harness::hush();
    for several in [None, Some(1), Some(2)] {
        let pool = Pool::builder(Brittle).max_size(2).check(CheckPolicy::Always).build().unwrap();
        let task = tokio::spawn({
            let pool = pool.clone();
            async move {
                match several {
                    None => drop(pool.get().await),
                    Some(count) => drop(pool.get_many(count).await),
                }
            }
        });
        assert!(task.await.unwrap_err().is_panic());
        rest().await;
        let counters = pool.counters();
        assert_eq!((counters.ended.total(), ended_gets(&counters)), (1, 1), "{several:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_minimum_that_is_taken_back_is_left_to_the_idle_timeout() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(6)
        .min_size(4)
        .idle_timeout(secs(80))
        .max_lifetime(None)
        .build()
        .unwrap();
    pass(secs(100)).await;
    let mut limits = pool.limits();
    limits.min_size = 1;
    pool.set_limits(limits).unwrap();
    pass(secs(1000)).await;
    assert_eq!(manager.counts().live, 1);
}

#[tokio::test(start_paused = true)]
async fn warming_up_ends_when_a_return_makes_up_the_minimum() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(3)
        .min_idle(2)
        .check(CheckPolicy::Never)
        .idle_timeout(None)
        .max_lifetime(None)
        .create_timeout(secs(100))
        .build()
        .unwrap();
    pool.warm_up(secs(1)).await.unwrap();
    manager.always(Hook::Create, Step::Never);
    let lease = pool.get().await.unwrap();
    rest().await;
    let mut warm = spawn(pool.warm_up(secs(50)));
    assert!(warm.poll().is_pending());
    drop(lease);
    pass(secs(1)).await;
    assert!(warm.is_woken());
    assert!(matches!(warm.poll(), Poll::Ready(Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_complete_when_nothing_comes_any_more() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    manager.script(Hook::Create, [Step::Wait(gate.clone())]);
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    gate.reached().await;
    drop(get);
    let report = pool.drain(secs(1)).await;
    let created = manager.counts().created;
    gate.open();
    rest().await;
    let later = manager.counts().created;
    assert!(!report.complete || later == created, "{report:?}, and a resource came after it");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_joins_in_between_takes_no_time_from_those_before_it() {
    let pool = Pool::builder(ScriptedManager::new())
        .max_size(1)
        .wait_timeout(secs(1))
        .max_lifetime(None)
        .idle_timeout(None)
        .build()
        .unwrap();
    let _held = pool.get().await.unwrap();
    pass(millis(10)).await;
    // So many that those that join go by maintenance's clock.
    let mut crowd: Vec<_> = (0..6000).map(|_| spawn(pool.get())).collect();
    assert!(crowd.iter_mut().all(|get| get.poll().is_pending()));
    rest().await;
    // Time passes, and nobody gets to run.
    let mut advance = spawn(tokio::time::advance(millis(100)));
    assert!(advance.poll().is_pending());
    let began = Instant::now();
    let mut early = spawn(pool.get());
    assert!(early.poll().is_pending());
    let mut other = spawn(pool.get_with(GetOptions::new().deadline(began + secs(50))));
    assert!(other.poll().is_pending());
    advance.await;
    rest().await;
    tokio::time::sleep_until(began + millis(950)).await;
    rest().await;
    assert!(!early.is_woken(), "50 ms early");
    pass(millis(60)).await;
    assert!(early.poll().is_ready());
}

#[test]
fn nobody_is_early_who_joins_while_the_time_is_sampled() {
    const TIMEOUT: Duration = millis(60);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let pool =
        Pool::builder(ScriptedManager::new()).max_size(1).wait_timeout(TIMEOUT).build().unwrap();
    let held = runtime.block_on(pool.get_owned()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..15_000)
        .map(|_| {
            let (pool, done) = (pool.clone(), done.clone());
            runtime.spawn(async move {
                let mut shortest = Duration::MAX;
                while !done.load(SeqCst) {
                    let began = Instant::now();
                    assert!(pool.get().await.is_err());
                    shortest = shortest.min(Instant::now() - began);
                }
                shortest
            })
        })
        .collect();
    let until = Instant::now() + secs(2);
    while Instant::now() < until {
        thread::yield_now();
    }
    done.store(true, SeqCst);
    let shortest = tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).min().unwrap();
    drop(held);
    assert!(shortest >= TIMEOUT, "{shortest:?}");
}
