//! What must not happen when something goes wrong: hangs, busy loops, storms, user code under the lock.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod harness;

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use harness::{block_on, millis, pass, paused, rest, secs};
use pool_core::test_util::{Hook, ScriptedError, ScriptedManager, Step};
use pool_core::{
    CheckPolicy, CreateContext, EndReason, Error, Event, GetOptions, Manager, Metadata, Observer,
    Pool, SharedPool,
};
use tokio::runtime;
use tokio::time::Instant;
use tokio_test::task::spawn;

/// Runs `test` in a thread of its own and fails when it hangs: a deadlock, a busy loop, a lost wake-up.
fn ends(what: &'static str, test: impl FnOnce() + Send + 'static) {
    harness::ends(secs(5), move |at| {
        at(what.to_owned());
        test();
    });
}

/// Waits for what another thread is about to do.
fn until(happened: impl Fn() -> bool) {
    while !happened() {
        thread::yield_now();
    }
}

fn real() -> runtime::Runtime {
    runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

// --- busy loops ---

#[test]
fn a_closed_pool_with_a_handle_left_sleeps_past_the_lifetime() {
    ends("maintenance spins on `next_expiry` once closed", || {
        paused(async {
            let pool = Pool::builder(ScriptedManager::new()).build().unwrap();
            drop(pool.get().await.unwrap());
            pool.close();
            pass(secs(2 * 3600)).await;
        });
    });
}

#[test]
fn a_lease_that_outlives_all_handles_leaves_maintenance_asleep() {
    ends("maintenance spins on `next_expiry` once closed", || {
        paused(async {
            let pool = Pool::builder(ScriptedManager::new()).build().unwrap();
            let lease = pool.get_owned().await.unwrap();
            drop(pool);
            pass(secs(2 * 3600)).await;
            drop(lease);
        });
    });
}

#[test]
fn a_pool_closed_with_a_surplus_sleeps() {
    ends("maintenance spins on `surplus_since` once closed", || {
        paused(async {
            let pool = Pool::builder(ScriptedManager::new())
                .max_idle(0)
                .max_lifetime(None)
                .build()
                .unwrap();
            drop(pool.get().await.unwrap());
            pool.close();
            pass(secs(3600)).await;
        });
    });
}

struct Stubborn(AtomicUsize);

impl Manager for Stubborn {
    type Resource = ();
    type Error = ScriptedError;

    async fn create(&self, _cx: &CreateContext) -> Result<(), Self::Error> {
        assert!(self.0.fetch_add(1, SeqCst) < 1000, "asked a thousand times");
        tokio::time::sleep(millis(1)).await;
        Err(ScriptedError::new(Hook::Create))
    }

    fn retry_in(&self, _error: &Self::Error, _cx: &CreateContext) -> Option<Duration> {
        Some(Duration::MAX)
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_says_never_again_is_not_asked_again_at_once() {
    let pool = Pool::builder(Stubborn(AtomicUsize::new(0))).build().unwrap();
    drop(pool.get_with(GetOptions::new().timeout(secs(1))).await);
    let attempts = pool.manager().0.load(SeqCst);
    assert_eq!(attempts, 1, "`retry_in` of Duration::MAX means at once");
}

#[tokio::test(start_paused = true)]
async fn resources_that_never_pass_their_first_check_are_not_created_in_a_storm() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, std::iter::repeat_n(Step::Slow(millis(1)), 100_000));
    manager.script(Hook::Check, std::iter::repeat_n(Step::Fail, 100_000));
    let pool = Pool::builder(manager.clone()).check(CheckPolicy::Always).build().unwrap();
    assert!(matches!(pool.get().await, Err(Error::Timeout(_))));
    assert!(manager.counts().attempts < 100, "{} creations in 30 s", manager.counts().attempts);
}

struct Doomed(AtomicUsize);

impl Manager for Doomed {
    type Resource = ();
    type Error = ScriptedError;

    async fn create(&self, cx: &CreateContext) -> Result<(), Self::Error> {
        tokio::time::sleep(millis(1)).await;
        self.0.fetch_add(1, SeqCst);
        let handle = cx.handle();
        tokio::spawn(async move {
            tokio::time::sleep(millis(1)).await;
            handle.broken("the peer hangs up at once");
        });
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn resources_that_die_as_soon_as_they_live_are_not_created_in_a_storm() {
    let pool = Pool::builder(Doomed(AtomicUsize::new(0))).min_size(1).build().unwrap();
    pass(secs(30)).await;
    let attempts = pool.manager().0.load(SeqCst);
    assert!(attempts < 100, "{attempts} creations in 30 s");
}

// --- runtimes ---

#[test]
fn a_runtime_that_has_ended_is_no_hang_and_the_caller_s_takes_its_place() {
    ends("queued behind maintenance that was dropped as it was spawned", || {
        let gone = real();
        let handle = gone.handle().clone();
        drop(gone);
        let pool = Pool::builder(ScriptedManager::new())
            .runtime(handle)
            .wait_timeout(millis(100))
            .build()
            .unwrap();
        let without_any = block_on(pool.get()).map(drop);
        assert!(matches!(without_any, Err(Error::NoRuntime)));
        assert!(real().block_on(async { pool.get().await.is_ok() }));
    });
}

#[test]
fn the_end_of_a_runtime_reaches_waiters_behind_one_that_is_not_polled() {
    ends("only the first waiter is woken", || {
        let (first, second) = (real(), real());
        let pool = Pool::builder(ScriptedManager::new())
            .max_size(1)
            .wait_timeout(millis(500))
            .build()
            .unwrap();
        let _held = first.block_on(pool.get_owned()).unwrap();
        let mut idler = spawn(pool.get());
        assert!(idler.poll().is_pending());
        let waiter = {
            let pool = pool.clone();
            second.spawn(async move { pool.get().await.is_err() })
        };
        until(|| pool.status().waiting == 2);
        drop(first);
        assert!(second.block_on(waiter).unwrap());
    });
}

#[test]
fn a_waiter_outside_a_runtime_learns_that_the_last_one_has_ended() {
    ends("nobody keeps its deadline any more", || {
        let runtime = real();
        let pool = Pool::builder(ScriptedManager::new())
            .max_size(1)
            .wait_timeout(millis(500))
            .build()
            .unwrap();
        let _held = runtime.block_on(pool.get_owned()).unwrap();
        let observed = pool.clone();
        thread::spawn(move || {
            until(|| observed.status().waiting == 1);
            drop(runtime);
        });
        assert!(block_on(pool.get()).is_err());
    });
}

#[test]
fn a_runtime_without_timers_is_an_error_and_no_busy_loop() {
    ends("maintenance panics, is started anew, panics", || {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        let pool = Pool::builder(ScriptedManager::new()).build().unwrap();
        assert!(runtime.block_on(pool.get()).is_err());
    });
}

// --- user code under the lock ---

static ASKED: OnceLock<Mutex<Option<Pool<Curious>>>> = OnceLock::new();

fn ask() {
    let asked = ASKED.get_or_init(Mutex::default).lock().unwrap().clone();
    if let Some(pool) = asked {
        assert!(pool.status().max_size > 0);
    }
}

/// A manager whose error looks at the pool when it is shown and when it is dropped.
struct Curious(AtomicUsize);

#[derive(Debug)]
struct CuriousError;

impl fmt::Display for CuriousError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ask();
        f.write_str("curious")
    }
}

impl std::error::Error for CuriousError {}

impl Drop for CuriousError {
    fn drop(&mut self) {
        ask();
    }
}

impl Manager for Curious {
    type Resource = ();
    type Error = CuriousError;

    async fn create(&self, _cx: &CreateContext) -> Result<(), CuriousError> {
        if self.0.fetch_add(1, SeqCst) == 0 { Err(CuriousError) } else { Ok(()) }
    }
}

struct Deaf;

impl Observer for Deaf {
    fn event(&self, _event: &Event) {}
}

fn be_curious(observed: bool) {
    paused(async {
        let builder = Pool::builder(Curious(AtomicUsize::new(0)));
        let builder = if observed { builder.observer(Arc::new(Deaf)) } else { builder };
        let pool = builder.build().unwrap();
        *ASKED.get_or_init(Mutex::default).lock().unwrap() = Some(pool.clone());
        drop(pool.get().await.unwrap());
    });
}

#[test]
fn an_error_is_shown_outside_the_lock() {
    ends("Display of the error under the lock", || be_curious(true));
}

#[test]
fn an_error_is_dropped_outside_the_lock() {
    ends("Drop of the error under the lock", || be_curious(false));
}

struct CuriousWaker(Pool<ScriptedManager>);

impl Wake for CuriousWaker {
    fn wake(self: Arc<Self>) {}
}

impl Drop for CuriousWaker {
    fn drop(&mut self) {
        assert!(self.0.status().max_size > 0);
    }
}

#[test]
fn a_waker_is_dropped_outside_the_lock() {
    ends("the old waker is dropped under the lock", || {
        paused(async {
            let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
            let _held = pool.get().await.unwrap();
            let waker = Waker::from(Arc::new(CuriousWaker(pool.clone())));
            let mut get = pin!(pool.get());
            assert!(get.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            assert!(get.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        });
    });
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("scripted panic of a waker");
    }
}

#[test]
fn a_waker_that_panics_takes_nobody_else_along() {
    paused(async {
        let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
        let _held = pool.get().await.unwrap();
        let waker = Waker::from(Arc::new(PanickingWaker));
        let mut bad = pin!(pool.get());
        assert!(bad.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let mut good = spawn(pool.get());
        assert!(good.poll().is_pending());
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.close())));
        assert!(good.is_woken());
    });
}

#[test]
fn a_waker_that_panics_costs_no_place_where_it_waits_for_something_else() {
    paused(async {
        let manager = ScriptedManager::new();
        manager.script(Hook::Create, [Step::Ok, Step::Never]);
        let pool = SharedPool::builder(manager.clone()).max_size(2).min_size(2).build().unwrap();
        pass(millis(1)).await;
        let waker = Waker::from(Arc::new(PanickingWaker));
        let mut cx = Context::from_waker(&waker);
        let mut warm_up = pin!(pool.warm_up(secs(60)));
        for _ in 0..3 {
            assert!(warm_up.as_mut().poll(&mut cx).is_pending());
            drop(pool.try_get().unwrap());
        }
        assert_eq!((pool.status().idle, pool.status().in_use), (1, 0));
        let mut closed = pin!(pool.closed());
        assert!(closed.as_mut().poll(&mut cx).is_pending());
        pool.close();
        pass(millis(1)).await;
        assert_eq!(manager.counts().live, 0);
    });
}

// --- deadlines ---

#[tokio::test(start_paused = true)]
async fn a_get_ends_by_its_timeout_also_while_a_check_hangs() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).build().unwrap();
    drop(pool.get().await.unwrap());
    pass(secs(2)).await;
    manager.script(Hook::Recycle, [Step::Never]);
    let started = Instant::now();
    drop(pool.get_with(GetOptions::new().timeout(millis(100))).await);
    let took = started.elapsed();
    assert!(took <= millis(200), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_get_ends_by_its_timeout_when_all_idle_ones_hang() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).min_size(10).wait_timeout(secs(30)).build().unwrap();
    pass(secs(10)).await;
    manager.script(Hook::Check, vec![Step::Never; 20]);
    let started = Instant::now();
    drop(pool.get().await);
    let took = started.elapsed();
    assert!(took <= secs(30), "{took:?}");
}

// --- growth and shrinking ---

#[tokio::test(start_paused = true)]
async fn growth_goes_on_after_a_failure_that_nobody_needed_any_more() {
    let manager = ScriptedManager::new();
    manager.set_places(100);
    let pool = SharedPool::builder(manager.clone())
        .soft_target(8)
        .idle_timeout(None)
        .max_lifetime(None)
        .build()
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(pool.get().await.unwrap());
    }
    manager.script(Hook::Create, [Step::Fail]);
    held.push(pool.get().await.unwrap());
    rest().await;
    assert_eq!(pool.counters().create_failed, 1);
    held.truncate(5);
    pass(secs(10)).await;
    for _ in 0..50 {
        held.push(pool.get().await.unwrap());
    }
    pass(secs(3600)).await;
    assert!(pool.status().size > 1, "{:?}", pool.status());
}

#[tokio::test(start_paused = true)]
async fn a_shared_pool_keeps_its_minimum_of_idle_ones_without_churn() {
    let manager = ScriptedManager::new();
    manager.set_places(100);
    let pool = SharedPool::builder(manager.clone()).min_idle(2).max_lifetime(None).build().unwrap();
    pass(secs(600)).await;
    assert_eq!((pool.status().idle, manager.counts().created), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_shared_pool_with_a_minimum_of_idle_ones_does_not_dial_for_every_call() {
    let manager = ScriptedManager::new();
    manager.set_places(100);
    let pool = SharedPool::builder(manager.clone()).min_idle(1).build().unwrap();
    let mut held = Vec::new();
    for _ in 0..9 {
        held.push(pool.get().await.unwrap());
        rest().await;
    }
    assert!(
        manager.counts().created <= 3,
        "{} resources of 100 places for 9 leases",
        manager.counts().created
    );
}

#[tokio::test(start_paused = true)]
async fn a_small_resource_among_large_ones_does_not_make_the_pool_grow() {
    let manager = ScriptedManager::new();
    manager.set_places(100);
    let pool = SharedPool::builder(manager.clone()).min_size(2).build().unwrap();
    pass(secs(1)).await;
    manager.handle(1).set_places(1);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(pool.get().await.unwrap());
        rest().await;
    }
    assert!(manager.counts().created <= 3, "{} resources for 10 leases", manager.counts().created);
}

#[tokio::test(start_paused = true)]
async fn one_that_expired_while_it_drained_is_not_taken_back() {
    let manager = ScriptedManager::new();
    manager.set_places(2);
    let pool = SharedPool::builder(manager.clone())
        .max_size(2)
        .shrink_delay(secs(5))
        .idle_timeout(None)
        .max_lifetime(secs(100))
        .build()
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.get().await.unwrap());
    }
    held.sort_by_key(|lease| lease.number());
    drop((held.remove(3), held.remove(0)));
    pass(secs(6)).await;
    assert_eq!((pool.status().size, pool.status().draining), (1, 1));
    pass(secs(110)).await;
    for _ in 0..3 {
        let lease = pool.get().await.unwrap();
        let expires = lease.metadata().expires().unwrap();
        assert!(expires > Instant::now(), "lent {:?} after its end", expires.elapsed());
        held.push(lease);
    }
}

#[tokio::test(start_paused = true)]
async fn places_without_a_limit_are_no_overflow() {
    let manager = ScriptedManager::new();
    manager.set_places(usize::MAX);
    let pool = SharedPool::builder(manager.clone()).min_size(2).build().unwrap();
    pass(secs(1)).await;
    assert_eq!((pool.status().idle, manager.counts().live), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_during_a_check_does_not_end_what_others_share() {
    let manager = ScriptedManager::new();
    manager.set_places(100);
    let pool = SharedPool::builder(manager.clone()).build().unwrap();
    drop(pool.get().await.unwrap());
    pass(secs(2)).await;
    manager.script(Hook::Check, [Step::Slow(millis(50))]);
    let mut impatient = spawn(pool.get());
    assert!(impatient.poll().is_pending());
    let other = pool.get().await.unwrap();
    drop(impatient);
    assert_eq!(pool.status().draining, 0, "a caller's cancellation ends a shared resource");
    drop(other);
}

// --- counts ---

#[tokio::test(start_paused = true)]
async fn counters_only_grow() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    drop(pool.get().await.unwrap());
    manager.script(Hook::Recycle, [Step::Slow(secs(1)), Step::Never]);
    manager.script(Hook::Create, [Step::Never]);
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    let before = pool.counters().gets_ok;
    drop(get);
    assert!(pool.counters().gets_ok >= before);
}

#[test]
fn a_get_that_needs_a_runtime_for_its_check_is_counted() {
    let pool = Pool::builder(ScriptedManager::new()).build().unwrap();
    real().block_on(async { drop(pool.get().await.unwrap()) });
    pool.manager().script(Hook::Recycle, [Step::Never]);
    assert!(matches!(block_on(pool.get()), Err(Error::NoRuntime)));
    let counters = pool.counters();
    assert_eq!((counters.gets_ok, counters.gets_error), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_shared_resource_counts_its_uses() {
    let pool = SharedPool::builder(ScriptedManager::new()).build().unwrap();
    drop(pool.get().await.unwrap());
    assert_eq!(pool.get().await.unwrap().metadata().uses(), 2);
}

// --- callers in a hurry, long streams, eager managers ---

#[tokio::test(start_paused = true)]
async fn an_impatient_get_does_not_use_up_all_idle_ones() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).min_size(10).idle_timeout(None).build().unwrap();
    pass(secs(10)).await;
    manager.script(Hook::Check, vec![Step::Slow(millis(50)); 10]);
    assert!(pool.get_with(GetOptions::new().timeout(millis(10))).await.is_err());
    let ended = pool.counters().ended;
    assert_eq!((ended.get(EndReason::Discarded), ended.total()), (1, 1));
}

/// A manager whose `recycle` does its work before it returns its future.
#[derive(Default)]
struct Eager(AtomicUsize);

impl Manager for Eager {
    type Resource = ();
    type Error = ScriptedError;

    async fn create(&self, _cx: &CreateContext) -> Result<(), Self::Error> {
        Ok(())
    }

    fn recycle(
        &self,
        _resource: &mut (),
        _meta: &Metadata,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.0.fetch_add(1, SeqCst);
        std::future::ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn recycle_is_called_once_a_get() {
    let pool = Pool::builder(Eager::default()).build().unwrap();
    drop(pool.get().await.unwrap());
    drop(pool.get().await.unwrap());
    assert_eq!(pool.manager().0.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_successor_of_one_that_drains_is_not_replaced_again_and_again() {
    let manager = ScriptedManager::new();
    manager.set_places(10);
    let pool = SharedPool::builder(manager.clone())
        .idle_timeout(secs(60))
        .max_lifetime(None)
        .build()
        .unwrap();
    let stream = pool.get().await.unwrap();
    manager.handle(0).drain("the peer goes away");
    pass(secs(3600)).await;
    assert!(
        manager.counts().created <= 3,
        "{} resources for one long lease",
        manager.counts().created
    );
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn an_impatient_get_does_not_end_what_others_share() {
    let manager = ScriptedManager::new();
    manager.set_places(100);
    let pool = SharedPool::builder(manager.clone()).min_size(4).idle_timeout(None).build().unwrap();
    pass(secs(10)).await;
    manager.script(Hook::Check, vec![Step::Slow(millis(50)); 10]);
    assert!(pool.get_with(GetOptions::new().timeout(millis(10))).await.is_err());
    let ended = pool.counters().ended.get(EndReason::CheckFailed);
    assert_eq!(ended, 0, "one get of 10 ms discarded {ended} resources whose check takes 50 ms");
}

#[tokio::test(start_paused = true)]
async fn a_resource_whose_check_was_given_up_is_not_lent_as_fresh() {
    let manager = ScriptedManager::new();
    manager.set_places(100);
    let pool = SharedPool::builder(manager.clone()).max_size(1).build().unwrap();
    drop(pool.get().await.unwrap());
    pass(secs(2)).await;
    manager.script(Hook::Check, [Step::Never]);
    let mut impatient = spawn(pool.get());
    assert!(impatient.poll().is_pending());
    pass(millis(100)).await;
    drop(impatient);
    let before = manager.counts().checks;
    drop(pool.get().await.unwrap());
    assert_eq!(manager.counts().checks, before + 1, "lent unchecked");
}

/// A manager whose check says no without looking: a future that has no state.
struct Strict(AtomicUsize);

struct No;

impl Future for No {
    type Output = Result<(), ScriptedError>;

    fn poll(self: std::pin::Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err(ScriptedError::new(Hook::Create)))
    }
}

impl Manager for Strict {
    type Resource = ();
    type Error = ScriptedError;

    async fn create(&self, _cx: &CreateContext) -> Result<(), Self::Error> {
        Ok(())
    }

    fn recycle(
        &self,
        _resource: &mut (),
        _meta: &Metadata,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.0.fetch_add(1, SeqCst);
        No
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_says_no_at_once_is_asked_once() {
    let pool = Pool::builder(Strict(AtomicUsize::new(0))).max_size(1).build().unwrap();
    drop(pool.get().await.unwrap());
    drop(pool.get().await.unwrap());
    assert_eq!(pool.manager().0.load(SeqCst), 1);
    let counters = pool.counters();
    assert_eq!((counters.gets_ok, counters.ended.get(EndReason::CheckFailed)), (2, 1));
    assert_eq!(pool.status().checking, 0);
}
