//! Bad input and bad code: the largest numbers, and users' code that panics, re-enters the pool or
//! blocks. Nothing is lost by it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use harness::{Known, Side, ends, hush, judge, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{
    CheckPolicy, CreateContext, EndReason, Error, Event, Exclusive, GetOptions, Kind, Manager,
    Observer, Pause, Pool, Priority, Shared, Shedding, WeakPool,
};
use tokio_test::task::spawn;

async fn the_longest_times_and_the_largest_numbers<K: Side>() {
    let manager = ScriptedManager::new();
    let most = usize::MAX;
    let ever = Duration::MAX;
    let pool = K::builder(manager.clone())
        .max_size(most)
        .max_idle(most)
        .max_waiters(most)
        .max_creating(most)
        .wait_timeout(ever)
        .create_timeout(ever)
        .check_timeout(ever)
        .recycle_timeout(ever)
        .destroy_timeout(ever)
        .shrink_delay(ever)
        .idle_timeout(ever)
        .max_lifetime(ever)
        .max_uses(u32::MAX)
        .check(CheckPolicy::IfIdleFor(ever))
        .keepalive(ever)
        .leak_threshold(ever)
        .shed(Shedding { target: ever, interval: ever })
        .build()
        .unwrap();
    let options = GetOptions::new().timeout(ever).check_timeout(ever).recycle_timeout(ever);
    drop(pool.get_with(options).await.unwrap());
    drop(pool.get_many_with(3, options.priority(Priority::High)).await.unwrap());
    pool.warm_up(ever).await.unwrap();
    let mut limits = pool.limits();
    (limits.soft_target, limits.soft_max_size, limits.places) = (most, most, most);
    pool.set_limits(limits).unwrap();
    pool.resize(most);
    assert!(pool.longest_holders(most).is_empty());
    pass(secs(1_000_000)).await;
    let lease = pool.get_owned_with(options).await.unwrap();
    pool.resize(1);
    pool.pause(Pause::Queue);
    let mut waiter = spawn(pool.get_with(options));
    assert!(waiter.poll().is_pending());
    pass(secs(1_000_000)).await;
    pool.resume();
    drop(lease);
    rest().await;
    assert!(matches!(waiter.poll(), Poll::Ready(Ok(_))));
    drop(waiter);
    assert!(pool.drain(ever).await.complete);
    assert_eq!(manager.counts().live, 0);
}

#[tokio::test(start_paused = true)]
async fn the_longest_times_and_the_largest_numbers_are_no_trouble() {
    the_longest_times_and_the_largest_numbers::<Exclusive>().await;
    the_longest_times_and_the_largest_numbers::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_is_no_trouble() {
    let manager = ScriptedManager::new();
    let none = Duration::ZERO;
    let pool = Pool::builder(manager.clone())
        .max_size(2)
        .wait_timeout(none)
        .shrink_delay(none)
        .destroy_timeout(none)
        .max_waiters(0)
        .max_idle(0)
        .check(CheckPolicy::IfIdleFor(none))
        .build()
        .unwrap();
    assert!(matches!(pool.get().await, Err(Error::Timeout(_))));
    let got = pool.get_with(GetOptions::new().timeout(secs(1))).await;
    assert!(matches!(got, Err(Error::QueueFull { waiting: 0 })), "{got:?}");
    rest().await;
    assert!(pool.warm_up(none).await.is_ok());
    assert!(pool.drain(none).await.leases == 0);
    pass(secs(1)).await;
    assert_eq!(manager.counts().live, 0);
}

/// Looks at its pool, changes it, and panics, whatever it is told.
struct Meddler<K: Kind<ScriptedManager>> {
    pool: OnceLock<WeakPool<ScriptedManager, K>>,
    told: AtomicUsize,
    panics: bool,
}

impl<K: Kind<ScriptedManager>> Observer for Meddler<K> {
    fn event(&self, event: &Event) {
        let told = self.told.fetch_add(1, SeqCst);
        if let Some(pool) = self.pool.get().and_then(WeakPool::upgrade) {
            assert!(pool.status().size <= 1000, "{event:?}");
            pool.retain(|_, _| true);
            pool.set_limits(pool.limits()).unwrap();
            drop(pool.try_get());
            drop((pool.counters(), pool.last_error(), pool.longest_holders(1)));
            if told.is_multiple_of(3) {
                pool.pause(Pause::Queue);
                pool.resume();
            }
        }
        assert!(!self.panics, "scripted panic");
    }
}

async fn an_observer_meddles<K: Side>(panics: bool) {
    hush();
    let manager = ScriptedManager::new();
    let meddler = Arc::new(Meddler { pool: OnceLock::new(), told: AtomicUsize::new(0), panics });
    manager.script(Hook::Create, [Step::Fail, Step::Panic]);
    let pool = K::builder(manager.clone())
        .max_size(2)
        .leak_threshold(secs(1))
        .observer(meddler.clone())
        .build()
        .unwrap();
    assert!(meddler.pool.set(pool.downgrade()).is_ok());
    let lease = pool.get_owned().await.unwrap();
    pass(secs(2)).await;
    manager.handle(0).broken("test");
    drop(lease);
    drop(pool.get().await.unwrap());
    pool.reset();
    rest().await;
    drop(pool.get().await.unwrap());
    rest().await;
    assert_eq!((pool.status().in_use, pool.status().paused), (0, false));
    let known = Known { max_size: 2, started: 3, several: 1000, ..Known::default() };
    judge(&pool, &manager, &known).unwrap();
    pool.close();
    rest().await;
    assert_eq!(manager.counts().live, 0);
    assert!(meddler.told.load(SeqCst) >= 12);
}

#[test]
fn an_observer_may_panic_and_use_the_pool() {
    ends(secs(30), |at| {
        for panics in [false, true] {
            at(format!("panics: {panics}"));
            harness::paused(async {
                // It pauses and resumes on every third event, which are events, too: that ends.
                an_observer_meddles::<Exclusive>(panics).await;
                an_observer_meddles::<Shared>(panics).await;
            });
        }
    });
}

/// Its destructor waits to be let through.
struct Heavy {
    gate: Arc<Mutex<mpsc::Receiver<()>>>,
    begun: mpsc::Sender<()>,
}

impl Drop for Heavy {
    fn drop(&mut self) {
        self.begun.send(()).unwrap();
        self.gate.lock().unwrap().recv().unwrap_or_default();
    }
}

struct Heavies {
    gate: Arc<Mutex<mpsc::Receiver<()>>>,
    begun: mpsc::Sender<()>,
}

impl Manager for Heavies {
    type Resource = Heavy;
    type Error = Infallible;

    async fn create(&self, _: &CreateContext) -> Result<Heavy, Infallible> {
        Ok(Heavy { gate: self.gate.clone(), begun: self.begun.clone() })
    }
}

#[test]
fn a_destructor_that_blocks_holds_nobody_else_up() {
    ends(secs(30), |at| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (open, gate) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        let manager = Heavies { gate: Arc::new(Mutex::new(gate)), begun };
        let pool = Pool::builder(manager).max_size(2).build().unwrap();
        let (one, other) = (
            runtime.block_on(pool.get_owned()).unwrap(),
            runtime.block_on(pool.get_owned()).unwrap(),
        );
        at("in a task of the pool".into());
        pool_core::Lease::discard(one);
        has_begun.recv().unwrap();
        drop(other);
        for _ in 0..100 {
            drop(runtime.block_on(pool.get()).unwrap());
        }
        assert_eq!((pool.status().closing, pool.status().size), (1, 2));
        open.send(()).unwrap();
        while pool.status().closing > 0 {
            thread::yield_now();
        }
        at("where there is no runtime any more".into());
        let lease = runtime.block_on(pool.get_owned()).unwrap();
        runtime.shutdown_background();
        while !matches!(pool.blocking_get(), Err(Error::NoRuntime)) {
            thread::yield_now();
        }
        thread::scope(|scope| {
            scope.spawn(|| pool_core::Lease::discard(lease));
            has_begun.recv().unwrap();
            assert_eq!(pool.status().closing, 1);
            assert!(pool.try_get().is_none());
            open.send(()).unwrap();
        });
        assert_eq!(pool.status().size, 0);
    });
}

/// Panics when it is dropped.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        assert!(thread::panicking(), "scripted panic");
    }
}

struct Explosives;

impl Manager for Explosives {
    type Resource = Explosive;
    type Error = Infallible;

    async fn create(&self, _: &CreateContext) -> Result<Explosive, Infallible> {
        Ok(Explosive)
    }
}

#[tokio::test(start_paused = true)]
async fn a_destructor_that_panics_frees_its_place() {
    hush();
    let pool = Pool::builder(Explosives).max_size(1).build().unwrap();
    for _ in 0..5 {
        pool_core::Lease::discard(pool.get().await.unwrap());
    }
    drop(pool.get().await.unwrap());
    pool.reset();
    rest().await;
    let mut lease = pool.get_owned().await.unwrap();
    pool_core::Lease::data_mut(&mut lease).insert(Mutex::new(Explosive));
    assert!(!pool.drain(secs(1)).await.complete);
    drop(lease);
    let report = pool.drain(secs(1)).await;
    assert!(report.complete, "{report:?}");
    assert_eq!(pool.counters().ended.get(EndReason::Discarded), 5);
}

#[test]
fn the_last_handle_may_be_dropped_by_the_code_of_a_user() {
    ends(secs(30), |_| {
        let barrier = Arc::new(Barrier::new(2));
        let manager = ScriptedManager::new();
        let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        drop(runtime.block_on(pool.get_many(2)).unwrap());
        let other = Mutex::new(Some(pool.clone()));
        thread::scope(|scope| {
            scope.spawn({
                let barrier = barrier.clone();
                move || {
                    pool.retain(|_, _| {
                        barrier.wait();
                        barrier.wait();
                        true
                    });
                }
            });
            barrier.wait();
            drop(other.lock().unwrap().take());
            barrier.wait();
            barrier.wait();
            barrier.wait();
        });
        runtime.block_on(manager.until(|counts| counts.live == 0));
    });
}
