//! Managers of deadpool and bb8 on this pool: what is called when, and what becomes of their errors.
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod harness;

use std::cell::Cell;
use std::error::Error as StdError;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use harness::{millis, pass, rest, secs};
use pool_core::compat::{self, Bb8, Deadpool, Failure};
use pool_core::{
    CheckPolicy, CreateContext, CreateError, EndReason, Error, Lease, Manager, Metadata, Pool,
    PoolBuilder,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};
use tokio_test::task::spawn;

/// What was done, in order.
type Log = Arc<Mutex<Vec<String>>>;

fn calls(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

/// An error of which nothing can be asked, not even that two threads look at it.
struct Odd {
    code: Cell<u16>,
}

impl Odd {
    fn new(code: u16) -> Self {
        Self { code: Cell::new(code) }
    }
}

assert_not_impl_any!(Odd: Sync, std::fmt::Debug, std::fmt::Display);
assert_impl_all!(Failure<Odd>: StdError, Send, Sync);

/// A manager of deadpool that numbers what it makes.
#[derive(Clone, Default)]
struct Numbers {
    log: Log,
    next: Arc<AtomicUsize>,
    detached: Arc<AtomicUsize>,
    metrics: Arc<Mutex<Vec<Metrics>>>,
    refuses: Arc<AtomicBool>,
    slow: Arc<AtomicBool>,
    recycling: Arc<Mutex<Recycling>>,
}

#[derive(Clone, Copy, Default)]
enum Recycling {
    #[default]
    Works,
    Fails,
    FailsInWords,
    NeverEnds,
}

impl managed::Manager for Numbers {
    type Type = usize;
    type Error = Odd;

    async fn create(&self) -> Result<usize, Odd> {
        if self.refuses.load(SeqCst) {
            return Err(Odd::new(111));
        }
        if self.slow.load(SeqCst) {
            tokio::time::sleep(secs(1)).await;
        }
        let number = self.next.fetch_add(1, SeqCst);
        self.log.lock().unwrap().push(format!("create {number}"));
        Ok(number)
    }

    async fn recycle(&self, number: &mut usize, metrics: &Metrics) -> RecycleResult<Odd> {
        self.log.lock().unwrap().push(format!("recycle {number}"));
        self.metrics.lock().unwrap().push(*metrics);
        let recycling = *self.recycling.lock().unwrap();
        match recycling {
            Recycling::Works => Ok(()),
            Recycling::Fails => Err(RecycleError::Backend(Odd::new(32))),
            Recycling::FailsInWords => Err(RecycleError::message("the line is dead")),
            Recycling::NeverEnds => pending().await,
        }
    }

    fn detach(&self, number: &mut usize) {
        self.log.lock().unwrap().push(format!("detach {number}"));
        self.detached.fetch_add(1, SeqCst);
    }
}

fn numbers() -> (Numbers, PoolBuilder<Deadpool<Numbers>>) {
    let numbers = Numbers::default();
    (numbers.clone(), Pool::builder(Deadpool(numbers)))
}

#[tokio::test(start_paused = true)]
async fn a_deadpool_manager_is_called_as_deadpool_calls_it() {
    let (numbers, builder) = numbers();
    let pool = builder.build().unwrap();

    let mut lease = pool.get().await.unwrap();
    let resource: &mut usize = &mut lease;
    assert_eq!(*resource, 0, "the resource is the manager's own type");
    assert_eq!(calls(&numbers.log), ["create 0"], "a fresh one is not recycled");

    drop(lease);
    rest().await;
    assert!(calls(&numbers.log).is_empty(), "nothing is done on return");

    drop(pool.get().await.unwrap());
    drop(pool.get().await.unwrap());
    assert_eq!(calls(&numbers.log), ["recycle 0", "recycle 0"]);

    assert_eq!(Lease::detach(pool.get().await.unwrap()), 0);
    assert_eq!(calls(&numbers.log), ["recycle 0", "detach 0"]);
    assert_eq!(pool.manager().next.load(SeqCst), 1, "the wrapper shows the manager");
}

#[tokio::test(start_paused = true)]
async fn the_metrics_are_those_of_deadpool() {
    let (numbers, builder) = numbers();
    let pool = builder.build().unwrap();
    let created = pool.get().await.unwrap().metadata().created().into_std();
    let mut lent = vec![created];
    for _ in 0..3 {
        pass(secs(1)).await;
        drop(pool.get().await.unwrap());
        lent.push(tokio::time::Instant::now().into_std());
    }

    let metrics = numbers.metrics.lock().unwrap();
    let counts: Vec<_> = metrics.iter().map(|metrics| metrics.recycle_count).collect();
    assert_eq!(counts, [0, 1, 2], "this time is not counted yet");
    assert!(metrics.iter().all(|metrics| metrics.created == created));
    assert_eq!(metrics[0].recycled, None, "it never was");
    for (time, metrics) in metrics.iter().enumerate().skip(1) {
        let recycled = metrics.recycled.expect("it was before");
        assert!((created..=lent[time]).contains(&recycled), "no later than the last use");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_recycled_is_replaced() {
    for recycling in [Recycling::Fails, Recycling::FailsInWords, Recycling::NeverEnds] {
        let (numbers, builder) = numbers();
        let pool = builder.check_timeout(secs(1)).build().unwrap();
        drop(pool.get().await.unwrap());
        *numbers.recycling.lock().unwrap() = recycling;
        assert_eq!(*pool.get().await.unwrap(), 1);
        assert_eq!(calls(&numbers.log), ["create 0", "recycle 0", "detach 0", "create 1"]);
        assert_eq!(pool.counters().ended.get(EndReason::CheckFailed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_ends_a_recycling_and_no_creation() {
    let (numbers, builder) = numbers();
    let pool = builder.build().unwrap();
    numbers.slow.store(true, SeqCst);
    let mut first = spawn(pool.get());
    assert!(first.poll().is_pending());
    rest().await;
    drop(first);
    pass(secs(1)).await;
    assert_eq!(calls(&numbers.log), ["create 0"]);

    drop(pool.get().await.unwrap());
    *numbers.recycling.lock().unwrap() = Recycling::NeverEnds;
    let mut second = spawn(pool.get());
    assert!(second.poll().is_pending());
    drop(second);
    rest().await;
    assert_eq!(calls(&numbers.log), ["recycle 0", "detach 0"]);
}

/// Has one resource leave the pool, for this reason.
async fn end_one(reason: EndReason, pool: &Pool<Deadpool<Numbers>>) {
    let lease = pool.get_owned().await.unwrap();
    match reason {
        EndReason::Detached => drop(Lease::detach(lease)),
        EndReason::Discarded => Lease::discard(lease),
        EndReason::Excess => {
            let other = pool.get().await.unwrap();
            pool.resize(1);
            drop(lease);
            drop(other);
        }
        EndReason::Idle | EndReason::Lifetime => {
            drop(lease);
            pass(secs(12)).await;
        }
        EndReason::Broken => {
            let holder = tokio::spawn(async move {
                let _lease = lease;
                panic!("a holder that panics");
            });
            holder.await.unwrap_err();
        }
        EndReason::Closed => {
            drop(lease);
            pool.close();
        }
        other => panic!("nothing here ends a resource as {other:?}"),
    }
    rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadpool_manager_is_told_of_every_exit() {
    for reason in [
        EndReason::Detached,
        EndReason::Discarded,
        EndReason::Excess,
        EndReason::Idle,
        EndReason::Lifetime,
        EndReason::Broken,
        EndReason::Closed,
    ] {
        let (numbers, builder) = numbers();
        let builder = builder.max_size(2);
        let builder = match reason {
            EndReason::Idle => builder.idle_timeout(secs(10)),
            EndReason::Lifetime => builder.max_lifetime(secs(10)),
            _ => builder,
        };
        let pool = builder.build().unwrap();
        end_one(reason, &pool).await;
        let ended = pool.counters().ended;
        assert_eq!((ended.get(reason), ended.total()), (1, 1), "{reason:?}");
        assert_eq!(numbers.detached.load(SeqCst), 1, "told once: {reason:?}");

        // What is left goes with the pool.
        let created = pool.counters().created;
        drop(pool);
        rest().await;
        let detached = numbers.detached.load(SeqCst);
        assert_eq!(u64::try_from(detached).unwrap(), created, "each once: {reason:?}");
    }
}

/// The failure at the end of the chain of sources of a timeout.
fn cause<'a, E: 'static>(error: &'a (dyn StdError + 'static)) -> &'a Failure<E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref() {
            return failure;
        }
        next = error.source();
    }
    panic!("no failure among the sources of {error}")
}

#[tokio::test(start_paused = true)]
async fn a_timeout_has_the_error_of_a_deadpool_manager_as_its_source() {
    let numbers = Numbers::default();
    numbers.refuses.store(true, SeqCst);
    let pool = Pool::builder(Deadpool(numbers.clone())).wait_timeout(millis(500)).build().unwrap();
    let error = pool.get().await.unwrap_err();
    let failure = cause::<Odd>(&error);
    assert_eq!(failure.with(|odd| odd.code.get()), Some(111));
    let shown = failure.to_string();
    assert!(shown.contains("compat::Odd"), "at least the type is named: {shown}");

    let worded = Deadpool(numbers).text(|odd| format!("refused with {}", odd.code.get()));
    let pool = Pool::builder(worded).wait_timeout(millis(500)).build().unwrap();
    let Err(Error::Timeout(timeout)) = pool.get().await else { panic!("nothing to be had") };
    let last = timeout.last_error.unwrap();
    assert_eq!(last.to_string(), "the manager could not create a resource: refused with 111");
    assert!(matches!(&*last, CreateError::Failed(_)));
}

/// Wraps a wrapper, to see the errors that the pool has no use for.
struct Spy<M: Manager> {
    manager: M,
    errors: Arc<Mutex<Vec<M::Error>>>,
}

impl<M: Manager> Manager for Spy<M> {
    type Resource = M::Resource;
    type Error = M::Error;

    async fn create(&self, cx: &CreateContext) -> Result<M::Resource, M::Error> {
        self.manager.create(cx).await
    }

    async fn recycle(&self, resource: &mut M::Resource, meta: &Metadata) -> Result<(), M::Error> {
        let Err(error) = self.manager.recycle(resource, meta).await else { return Ok(()) };
        self.errors.lock().unwrap().push(error);
        // Once is enough.
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_recycling_keep_their_cause_or_their_words() {
    let numbers = Numbers::default();
    let errors = Arc::new(Mutex::new(Vec::new()));
    let manager = Deadpool(numbers.clone()).text(|odd| format!("refused with {}", odd.code.get()));
    let pool = Pool::builder(Spy { manager, errors: errors.clone() }).build().unwrap();
    drop(pool.get().await.unwrap());
    *numbers.recycling.lock().unwrap() = Recycling::Fails;
    drop(pool.get().await.unwrap());
    *numbers.recycling.lock().unwrap() = Recycling::FailsInWords;
    drop(pool.get().await.unwrap());

    let [backend, words] =
        <[_; 2]>::try_from(std::mem::take(&mut *errors.lock().unwrap())).unwrap();
    assert_eq!(backend.to_string(), "refused with 32");
    assert_eq!(format!("{backend:?}"), "Failure(\"refused with 32\")");
    assert_eq!(backend.into_inner().map(|odd| odd.code.get()), Some(32));
    assert_eq!(words.to_string(), "the line is dead");
    assert_eq!(words.with(|_odd| ()), None);
    assert!(words.into_inner().is_none());
}

#[test]
fn a_chain_says_each_thing_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    let chained = |texts: &[&'static str]| {
        let layers =
            texts.iter().rev().fold(None, |source, text| Some(Box::new(Layer(text, source))));
        compat::chain(&*layers.unwrap())
    };
    assert_eq!(chained(&["alone"]), "alone");
    assert_eq!(chained(&["cannot connect", "refused"]), "cannot connect: refused");
    assert_eq!(chained(&["cannot connect: refused", "refused"]), "cannot connect: refused");
    assert_eq!(chained(&["a: b", "b", "c"]), "a: b: c");
}

/// What a look at an error of bb8 costs it: that it is `Debug`.
#[derive(Debug)]
struct Lame {
    code: Cell<u16>,
}

assert_not_impl_any!(Lame: Sync, std::fmt::Display);
assert_impl_all!(Failure<Lame>: StdError, Send, Sync);

/// A manager of bb8 that numbers what it makes.
#[derive(Clone, Default)]
struct Links {
    log: Log,
    next: Arc<AtomicUsize>,
    refuses: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
    /// Connections below this number are no good.
    valid_from: Arc<AtomicUsize>,
}

impl bb8::ManageConnection for Links {
    type Connection = usize;
    type Error = Lame;

    async fn connect(&self) -> Result<usize, Lame> {
        if self.refuses.load(SeqCst) {
            return Err(Lame { code: Cell::new(111) });
        }
        let number = self.next.fetch_add(1, SeqCst);
        self.log.lock().unwrap().push(format!("connect {number}"));
        Ok(number)
    }

    async fn is_valid(&self, number: &mut usize) -> Result<(), Lame> {
        self.log.lock().unwrap().push(format!("is_valid {number}"));
        let valid = *number >= self.valid_from.load(SeqCst);
        valid.then_some(()).ok_or_else(|| Lame { code: Cell::new(32) })
    }

    fn has_broken(&self, number: &mut usize) -> bool {
        self.log.lock().unwrap().push(format!("has_broken {number}"));
        self.broken.load(SeqCst)
    }
}

fn links(policy: CheckPolicy) -> (Links, Pool<Bb8<Links>>) {
    let links = Links::default();
    (links.clone(), Pool::builder(Bb8(links)).check(policy).build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_bb8_manager_is_called_as_bb8_calls_it() {
    let (links, pool) = links(CheckPolicy::Always);

    let mut lease = pool.get().await.unwrap();
    let connection: &mut usize = &mut lease;
    assert_eq!(*connection, 0, "the resource is the manager's own connection");
    assert_eq!(calls(&links.log), ["connect 0", "is_valid 0"], "a fresh one is tested, too");

    drop(lease);
    assert_eq!(calls(&links.log), ["has_broken 0"], "at once, where the lease is dropped");

    drop(pool.get().await.unwrap());
    assert_eq!(calls(&links.log), ["is_valid 0", "has_broken 0"]);
    assert_eq!(pool.manager().next.load(SeqCst), 1, "the wrapper shows the manager");
}

#[tokio::test(start_paused = true)]
async fn when_a_bb8_manager_is_asked_whether_a_connection_is_valid_is_the_pools_policy() {
    async fn looks(policy: CheckPolicy, idle: Duration) -> usize {
        let (links, pool) = links(policy);
        drop(pool.get().await.unwrap());
        calls(&links.log);
        pass(idle).await;
        drop(pool.get().await.unwrap());
        calls(&links.log).iter().filter(|call| call.starts_with("is_valid")).count()
    }

    assert_eq!(looks(CheckPolicy::Never, secs(60)).await, 0);
    assert_eq!(looks(CheckPolicy::IfIdleFor(secs(10)), secs(1)).await, 0);
    assert_eq!(looks(CheckPolicy::IfIdleFor(secs(10)), secs(11)).await, 1);
    assert_eq!(looks(CheckPolicy::Always, Duration::ZERO).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_valid_is_replaced() {
    let (links, pool) = links(CheckPolicy::Always);
    drop(pool.get().await.unwrap());
    calls(&links.log);
    links.valid_from.store(1, SeqCst);
    assert_eq!(*pool.get().await.unwrap(), 1);
    let expected = ["is_valid 0", "connect 1", "is_valid 1", "has_broken 1"];
    assert_eq!(calls(&links.log), expected);
    assert_eq!(pool.counters().ended.get(EndReason::CheckFailed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_broken_is_not_lent_again() {
    let (links, pool) = links(CheckPolicy::Never);
    let lease = pool.get().await.unwrap();
    links.broken.store(true, SeqCst);
    drop(lease);
    links.broken.store(false, SeqCst);
    assert_eq!(pool.counters().ended.get(EndReason::Broken), 1);
    assert_eq!(*pool.get().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_has_the_error_of_a_bb8_manager_as_its_source() {
    let links = Links::default();
    links.refuses.store(true, SeqCst);
    let pool = Pool::builder(Bb8(links.clone())).wait_timeout(millis(500)).build().unwrap();
    let error = pool.get().await.unwrap_err();
    let failure = cause::<Lame>(&error);
    assert_eq!(failure.with(|lame| lame.code.get()), Some(111));
    assert_eq!(failure.to_string(), "Lame { code: Cell { value: 111 } }", "shown by Debug");

    let worded = Bb8(links).text(|lame| format!("refused with {}", lame.code.get()));
    let pool = Pool::builder(worded).wait_timeout(millis(500)).build().unwrap();
    let error = pool.get().await.unwrap_err();
    assert_eq!(cause::<Lame>(&error).to_string(), "refused with 111");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_the_wrapper_was_told_is_fatal_reaches_the_caller_at_once() {
    let links = Links::default();
    links.refuses.store(true, SeqCst);
    let pool = Pool::builder(Bb8(links).fatal(|_lame| true)).build().unwrap();
    let started = tokio::time::Instant::now();
    assert!(matches!(pool.get().await, Err(Error::Create(_))));
    assert!(started.elapsed().is_zero());
}
