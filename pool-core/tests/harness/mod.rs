//! What the tests on the scripted manager share: paused time, futures that are polled only when they
//! were woken, and the judge, who goes by the manager's books.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "test support")]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Once, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use pool_core::test_util::{ScriptedManager, ScriptedResource};
use pool_core::{
    Builder, Counters, Event, Exclusive, Kind, Observer, Pool, ResourceLease, ResourcePool, Shared,
    SharedPool, Snapshot,
};
use tokio::sync::Notify;

pub type PoolOf<K> = ResourcePool<ScriptedManager, K>;
pub type LeaseOf<K> = ResourceLease<'static, ScriptedManager, K>;

/// The two kinds of pool, for tests of both.
pub trait Side: Kind<ScriptedManager> + Sized {
    const SHARED: bool;

    fn builder(manager: ScriptedManager) -> Builder<ScriptedManager, Self>;

    /// Nothing, where a resource cannot be detached.
    fn detach(lease: LeaseOf<Self>) -> Option<ScriptedResource>;

    /// Nothing, where a resource cannot be replaced.
    fn replace(lease: &mut LeaseOf<Self>, by: ScriptedResource) -> Option<ScriptedResource>;

    /// Replaces the first resource that there is, where resources can be replaced under their holders.
    fn succeed(pool: &PoolOf<Self>) -> impl Future<Output = bool>;
}

impl Side for Exclusive {
    const SHARED: bool = false;

    fn builder(manager: ScriptedManager) -> Builder<ScriptedManager, Self> {
        Pool::builder(manager)
    }

    fn detach(lease: LeaseOf<Self>) -> Option<ScriptedResource> {
        Some(ResourceLease::<ScriptedManager, Self>::detach(lease))
    }

    fn replace(lease: &mut LeaseOf<Self>, by: ScriptedResource) -> Option<ScriptedResource> {
        Some(ResourceLease::<ScriptedManager, Self>::replace(lease, by))
    }

    async fn succeed(_pool: &PoolOf<Self>) -> bool {
        false
    }
}

impl Side for Shared {
    const SHARED: bool = true;

    fn builder(manager: ScriptedManager) -> Builder<ScriptedManager, Self> {
        SharedPool::builder(manager)
    }

    fn detach(_lease: LeaseOf<Self>) -> Option<ScriptedResource> {
        None
    }

    fn replace(_lease: &mut LeaseOf<Self>, _by: ScriptedResource) -> Option<ScriptedResource> {
        None
    }

    async fn succeed(pool: &PoolOf<Self>) -> bool {
        let Some(first) = pool.list().first().map(|first| first.id) else { return false };
        pool.replace(first, secs(2)).await.is_ok_and(|replaced| replaced)
    }
}

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs a test on a runtime of its own, whose clock stands still while anything can run.
pub fn paused<F: Future>(test: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

/// Runs a future in this thread, outside any runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Lets every task run until all of them wait, without letting time pass.
pub async fn rest() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// Lets this much time pass, and everything happen that it brings.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    rest().await;
}

pub fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Runs a test in a thread of its own, and fails when it does not end: on a paused clock, that is a busy
/// loop. The test says where it is.
pub fn ends(limit: Duration, test: impl FnOnce(&dyn Fn(String)) + Send + 'static) {
    let (at, progress) = mpsc::channel();
    let runner = thread::spawn(move || test(&|place| drop(at.send(place))));
    let mut place = "at the beginning".to_owned();
    loop {
        match progress.recv_timeout(limit) {
            Ok(next) => place = next,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs: {place}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Err(panic) = runner.join() {
        eprintln!("failed {place}");
        std::panic::resume_unwind(panic);
    }
}

/// Keeps the panics quiet that a script asked for.
pub fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            let scripted = text.is_some_and(|text| text.contains("scripted panic"));
            if !scripted {
                print(info);
            }
        }));
    });
}

/// Keeps every event.
#[derive(Default)]
pub struct Events(pub Mutex<Vec<Event>>);

impl Observer for Events {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// Rings whenever a future of its own is woken.
#[derive(Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

struct Flag {
    woken: AtomicBool,
    bell: Bell,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, SeqCst);
        self.bell.0.notify_one();
    }
}

/// A future that knows whether it was woken.
pub struct Driven<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    flag: Arc<Flag>,
}

impl<'a, T> Driven<'a, T> {
    pub fn new(future: impl Future<Output = T> + 'a, bell: &Bell) -> Self {
        let flag = Flag { woken: AtomicBool::new(true), bell: bell.clone() };
        Self { future: Box::pin(future), flag: Arc::new(flag) }
    }

    pub fn is_woken(&self) -> bool {
        self.flag.woken.load(SeqCst)
    }

    pub fn poll(&mut self) -> Poll<T> {
        self.flag.woken.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&self.flag));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Gets that have come to an end, whichever.
pub fn ended_gets(counters: &Counters) -> u64 {
    counters.gets_ended()
}

/// What the test knows, for the judge.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The largest maximum size that there was.
    pub max_size: usize,
    /// Gets that were polled at least once, and lucky `try_get`s.
    pub started: u64,
    /// Gets that have an outcome which they have not been polled for.
    pub unpolled: u64,
    /// Resources that were detached, and those of them that are alive.
    pub detached: usize,
    pub detached_alive: usize,
    /// Resources that the pool was given by a `replace`.
    pub given: u64,
    /// Resources beyond the first that gets of several have asked for: each may count as a get of its own.
    pub several: u64,
    /// Whether a hook looks at new resources before they are the pool's, and may refuse them.
    pub looked_at: bool,
}

/// What has to hold whenever nothing can happen without time passing: I1, I2, I3 and I14, by the
/// manager's books.
///
/// # Errors
///
/// What does not hold.
pub fn judge<K: Side>(
    pool: &PoolOf<K>,
    manager: &ScriptedManager,
    known: &Known,
) -> Result<(), String> {
    let (Snapshot { status, counters, .. }, counts) = (pool.snapshot(), manager.counts());
    let demand = |holds: bool, what: &str| {
        let seen = || format!("{what}\n  {status:?}\n  {counters:?}\n  {counts:?}\n  {known:?}");
        if holds { Ok(()) } else { Err(seen()) }
    };
    let Known { max_size, started, unpolled, detached, detached_alive, given, several, looked_at } =
        *known;
    let shared = K::SHARED;
    let most = if shared { 2 * max_size } else { max_size + detached };
    demand(counts.most_at_once <= most, "I1: more resources at once than the maximum")?;
    // What a hook looks at has been created for the manager, and for the pool is still to be.
    let creating = status.creating + status.replacing;
    let looking = if looked_at { creating.saturating_sub(counts.creating) } else { 0 };
    demand(counts.creating + looking == creating, "I14: creations that run")?;
    let kept = if shared {
        status.size - status.creating + status.draining
    } else {
        status.idle + status.in_use
    };
    demand(counts.live == kept + status.closing + detached_alive + looking, "I2: resources alive")?;
    let ended = counters.ended.total();
    let created = counts.created as u64 + given;
    demand(
        created == counters.created || looked_at && created > counters.created,
        "I14: creations that succeeded",
    )?;
    let attempts = counters.created + counters.create_failed + creating as u64;
    demand(counts.attempts as u64 + given == attempts, "I14: creations that ended and that go on")?;
    demand(counters.created == ended + kept as u64, "I2: every resource is kept or has ended")?;
    demand(counts.detached as u64 == ended, "I2: every end is told to the manager once")?;
    let is_served = shared || status.paused || status.waiting == 0 || status.idle == 0;
    demand(is_served, "I3: somebody waits while a resource is idle")?;
    let pending = (status.waiting + status.checking) as u64 + unpolled;
    let gets = ended_gets(&counters) + pending;
    demand((started..=started + several).contains(&gets), "I14: gets that ended and that go on")?;
    let begun = started - unpolled.min(started);
    demand((begun..=started + several).contains(&counters.gets_started), "I14: gets that began")?;
    let going_on = unpolled > 0 || several > 0 || counters.gets_pending() + unpolled == pending;
    demand(going_on, "I14: gets that go on")
}
