//! Random operations on pools over random managers, judged by the manager's own ledger: what is alive,
//! who holds what, who came first. Time is paused, a seed is replayed by `SEED=n`, and `SEEDS=n` runs
//! that many of them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use pool_core::{
    CheckPolicy, CreateContext, Error, Exclusive, GetOptions, Kind, Manager, Metadata, Pool,
    ResourceHandle, ResourceId, ResourceLease, ResourcePool, Shared, SharedManager, SharedPool,
};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tokio_test::task::{Spawn, spawn};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What the manager knows of one resource.
struct Entry {
    handle: ResourceHandle,
    /// The most places that it has had.
    most_places: usize,
    places: usize,
    /// In the pool, by the word of `detached`.
    pooled: bool,
}

#[derive(Default)]
struct Books {
    entries: BTreeMap<u64, Entry>,
    creating: usize,
    /// Not dropped yet.
    alive: usize,
}

struct Chaos {
    books: Mutex<Books>,
    rng: Mutex<Rng>,
    faults: Mutex<u8>,
    /// Whether checks take time or fail.
    checks: bool,
    places: usize,
}

#[derive(Clone)]
struct Keeper(Arc<Chaos>);

struct Thing {
    number: u64,
    chaos: Arc<Chaos>,
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.chaos.books.lock().unwrap_or_else(PoisonError::into_inner).alive -= 1;
    }
}

#[derive(Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

struct Creating<'a>(&'a Chaos);

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner).creating -= 1;
    }
}

fn number(id: ResourceId) -> u64 {
    id.to_string().parse().unwrap()
}

impl Chaos {
    fn below(&self, limit: u64) -> u64 {
        self.rng.lock().unwrap().u64(..limit)
    }

    fn fault(&self) -> bool {
        self.below(100) < u64::from(*self.faults.lock().unwrap())
    }

    async fn check(&self) -> Result<(), Failed> {
        if !self.checks {
            return Ok(());
        }
        if self.below(2) == 0 {
            sleep(millis(self.below(20))).await;
        }
        if self.fault() { Err(Failed) } else { Ok(()) }
    }
}

impl Manager for Keeper {
    type Resource = Thing;
    type Error = Failed;

    async fn create(&self, cx: &CreateContext) -> Result<Thing, Failed> {
        let chaos = &self.0;
        chaos.books.lock().unwrap().creating += 1;
        let _creating = Creating(chaos);
        match chaos.below(3) {
            0 => {}
            1 => sleep(millis(chaos.below(300))).await,
            _ => yield_now().await,
        }
        if chaos.fault() {
            return Err(Failed);
        }
        assert!(!(chaos.fault() && chaos.fault()), "scripted panic");
        if chaos.fault() && chaos.fault() {
            std::future::pending::<()>().await;
        }
        let places = 1 + usize::try_from(chaos.below(chaos.places as u64)).unwrap();
        cx.handle().set_places(places);
        let number = number(cx.handle().id());
        let mut books = chaos.books.lock().unwrap();
        books.alive += 1;
        let entry = Entry { handle: cx.handle(), most_places: places, places, pooled: true };
        books.entries.insert(number, entry);
        drop(books);
        Ok(Thing { number, chaos: Arc::clone(chaos) })
    }

    async fn check(&self, _thing: &mut Thing, _meta: &Metadata) -> Result<(), Failed> {
        self.0.check().await
    }

    async fn recycle(&self, _thing: &mut Thing, _meta: &Metadata) -> Result<(), Failed> {
        self.0.check().await
    }

    fn is_broken(&self, _thing: &mut Thing) -> bool {
        self.0.fault()
    }

    fn is_fatal(&self, _error: &Failed) -> bool {
        self.0.below(10) == 0
    }

    fn detached(&self, thing: &mut Thing) {
        let mut books = self.0.books.lock().unwrap();
        let entry = books.entries.get_mut(&thing.number).unwrap();
        assert!(entry.pooled, "{} left the pool twice", thing.number);
        entry.pooled = false;
    }

    async fn destroy(&self, thing: Thing) {
        if self.0.below(2) == 0 {
            sleep(millis(self.0.below(100))).await;
        }
        drop(thing);
    }
}

impl SharedManager for Keeper {
    async fn check_shared(&self, _thing: &Thing, _meta: &Metadata) -> Result<(), Failed> {
        self.0.check().await
    }
}

type Got<K> = Result<ResourceLease<'static, Keeper, K>, Error<Failed>>;
type Get<K> = Spawn<Pin<Box<dyn Future<Output = Got<K>>>>>;

struct Pending<K: Kind<Keeper>> {
    get: Get<K>,
    /// Its number among those that had to wait.
    order: u64,
    /// When it has to be over.
    due: Instant,
}

struct Run<K: Kind<Keeper>> {
    chaos: Arc<Chaos>,
    rng: Rng,
    pool: ResourcePool<Keeper, K>,
    shared: bool,
    max_size: usize,
    wait: Duration,
    lifetime: Option<Duration>,
    pending: Vec<Pending<K>>,
    held: Vec<ResourceLease<'static, Keeper, K>>,
    started: u64,
    order: u64,
    detach: fn(ResourceLease<'static, Keeper, K>) -> Option<Thing>,
    detached: Vec<Thing>,
    /// Since when somebody waits and nothing is under way, and how many had been created then.
    stuck: Option<(Instant, u64)>,
}

async fn rest() {
    for _ in 0..48 {
        yield_now().await;
    }
}

impl<K: Kind<Keeper>> Run<K> {
    fn start_get(&mut self) {
        let pool = self.pool.clone();
        let mut options = GetOptions::new();
        let mut wait = self.wait;
        if self.rng.u8(..4) == 0 {
            wait = millis(self.rng.u64(..500));
            options = options.timeout(wait);
        }
        let get: Pin<Box<dyn Future<Output = Got<K>>>> =
            Box::pin(async move { pool.get_owned_with(options).await });
        let mut get = spawn(get);
        self.started += 1;
        match get.poll() {
            Poll::Ready(got) => {
                if self.take(got) {
                    self.judge_fresh();
                }
            }
            Poll::Pending => {
                self.order += 1;
                let due = Instant::now() + wait;
                self.pending.push(Pending { get, order: self.order, due });
            }
        }
    }

    /// Whether it was served.
    fn take(&mut self, got: Got<K>) -> bool {
        let Ok(lease) = got else { return false };
        let id = number(lease.id());
        assert_eq!(lease.number, id);
        let before = self.held.iter().filter(|lease| number(lease.id()) == id).count();
        let books = self.chaos.books.lock().unwrap();
        let entry = &books.entries[&id];
        assert!(entry.pooled, "{id} was lent after it had left");
        let places = if self.shared { entry.most_places } else { 1 };
        assert!(before < places, "{id} has {places} places and {before} holders before this one");
        drop(books);
        self.held.push(lease);
        true
    }

    /// The last one was lent at this moment.
    fn judge_fresh(&self) {
        let expires = self.held.last().and_then(|lease| lease.metadata().expires());
        let over = expires.map_or(Duration::ZERO, |expires| Instant::now() - expires);
        assert!(over < millis(1), "lent {over:?} after its end");
    }

    /// Polls whoever was woken, and nobody else.
    async fn poll_woken(&mut self) {
        loop {
            rest().await;
            let woken = self.pending.iter().position(|pending| pending.get.is_woken());
            let Some(mut woken) = woken else { break };
            let mut served = None;
            // All of one moment, before the order is looked at.
            while let Some(pending) = self.pending.get_mut(woken) {
                if !pending.get.is_woken() {
                    woken += 1;
                    continue;
                }
                if let Poll::Ready(got) = pending.get.poll() {
                    let order = pending.order;
                    drop(self.pending.remove(woken));
                    if self.take(got) {
                        served = served.max(Some(order));
                    }
                } else {
                    woken += 1;
                }
            }
            if let (false, Some(served), Some(first)) =
                (self.chaos.checks, served, self.pending.first())
            {
                assert!(first.order > served, "{} still waits, {served} was served", first.order);
            }
        }
    }

    fn judge(&mut self) {
        let (status, counters) = (self.pool.status(), self.pool.counters());
        let now = Instant::now();
        let seen = format!("{status:?} {counters:?}");
        for pending in &self.pending {
            assert!(pending.due + millis(2) >= now, "a get is overdue: {seen}");
        }
        assert_eq!(
            status.in_use + status.waiting,
            self.held.len() + self.pending.len(),
            "leases and waiters: {seen}"
        );
        let books = self.chaos.books.lock().unwrap();
        assert_eq!(status.creating, books.creating, "creations: {seen}");
        let ended = counters.gets_ok
            + counters.gets_timeout
            + counters.gets_cancelled
            + counters.gets_closed
            + counters.gets_error
            + counters.gets_rejected;
        let pending = (status.waiting + status.checking) as u64;
        assert_eq!(ended + pending, self.started, "gets: {seen}");
        if status.closed {
            return;
        }
        let pooled = books.entries.values().filter(|entry| entry.pooled).count();
        let alive = books.alive - self.detached.len();
        if self.shared {
            assert_eq!(
                pooled,
                status.size + status.draining - status.creating,
                "resources: {seen}"
            );
            assert!(status.size <= self.max_size, "too many: {seen}");
            assert!(status.size + status.draining <= 2 * self.max_size, "draining: {seen}");
            if status.draining == 0 && status.waiting > 0 && !self.chaos.checks {
                for (&id, entry) in books.entries.iter().filter(|(_, entry)| entry.pooled) {
                    let holders = self.held.iter().filter(|lease| number(lease.id()) == id).count();
                    assert!(
                        holders >= entry.places,
                        "somebody waits while {id} has {} places and {holders} holders: {seen}",
                        entry.places
                    );
                }
            }
        } else {
            assert_eq!(alive, status.idle + status.in_use + status.closing, "resources: {seen}");
            assert_eq!(
                status.size,
                status.idle + status.in_use + status.creating + status.closing,
                "{seen}"
            );
            assert!(status.size <= self.max_size, "too many: {seen}");
            assert!(status.waiting == 0 || status.idle == 0, "a place is kept back: {seen}");
        }
        // Whoever waits has something to wait for: a return, a creation, a destruction or the back-off.
        let is_stuck = status.waiting > 0
            && status.creating == 0
            && status.size + status.draining < self.max_size
            && !self.shared
            && self.pool.last_error().is_none();
        if !is_stuck {
            self.stuck = None;
            return;
        }
        // A back-off of its own follows on a resource that died before it was of use.
        let now = Instant::now();
        let (since, created) = *self.stuck.get_or_insert((now, counters.created));
        if created != counters.created {
            self.stuck = Some((now, counters.created));
            return;
        }
        assert!(now - since <= millis(1_100), "nothing comes: {seen}");
    }

    fn any_handle(&mut self) -> Option<(u64, ResourceHandle)> {
        let books = self.chaos.books.lock().unwrap();
        let entries: Vec<_> = books.entries.iter().filter(|(_, entry)| entry.pooled).collect();
        let (&id, entry) = self.rng.choice(entries)?;
        Some((id, entry.handle.clone()))
    }

    async fn step(&mut self) {
        let op = self.rng.u8(..100);
        match op {
            0..30 => self.start_get(),
            30..35 => {
                if let Some(lease) = self.pool.try_get_owned() {
                    self.started += 1;
                    self.take(Ok(lease));
                    self.judge_fresh();
                }
            }
            35..65 if !self.held.is_empty() => {
                let at = self.rng.usize(..self.held.len());
                drop(self.held.swap_remove(at));
            }
            65..68 if !self.held.is_empty() => {
                let at = self.rng.usize(..self.held.len());
                ResourceLease::discard(self.held.swap_remove(at));
            }
            68..70 if !self.held.is_empty() && self.detached.len() < 3 => {
                let at = self.rng.usize(..self.held.len());
                let lease = self.held.swap_remove(at);
                self.detached.extend((self.detach)(lease));
            }
            70..78 if !self.pending.is_empty() => {
                let at = self.rng.usize(..self.pending.len());
                drop(self.pending.remove(at));
            }
            78..84 => {
                if let Some((id, handle)) = self.any_handle() {
                    match self.rng.u8(..4) {
                        0 => handle.broken("chaos"),
                        1 => handle.drain("chaos"),
                        _ => {
                            let places = self.rng.usize(..=self.chaos.places);
                            let mut books = self.chaos.books.lock().unwrap();
                            let entry = books.entries.get_mut(&id).unwrap();
                            entry.places = places;
                            entry.most_places = entry.most_places.max(places);
                            drop(books);
                            handle.set_places(places);
                        }
                    }
                }
            }
            84..98 => sleep(millis(self.rng.u64(..400))).await,
            98 => sleep(millis(self.rng.u64(..60_000))).await,
            _ => {}
        }
        if self.rng.u8(..3) > 0 {
            self.poll_woken().await;
            self.judge();
        }
    }

    async fn run(&mut self) {
        for _ in 0..200 {
            self.step().await;
        }
        *self.chaos.faults.lock().unwrap() = 0;
        self.held.clear();
        self.pending.clear();
        self.poll_woken().await;
        self.judge();
        // Recovery: no resource is left without places, and the back-off is over.
        for entry in self.chaos.books.lock().unwrap().entries.values_mut() {
            entry.places = 1;
        }
        let handles: Vec<_> = {
            let books = self.chaos.books.lock().unwrap();
            books.entries.values().map(|entry| entry.handle.clone()).collect()
        };
        for handle in handles {
            handle.set_places(1);
        }
        sleep(millis(30_000)).await;
        self.poll_woken().await;
        self.judge();
        let status = self.pool.status();
        assert_eq!((status.in_use, status.waiting, status.draining), (0, 0, 0), "{status:?}");
        assert!(status.size >= status.min_size || status.creating > 0, "{status:?}");
        self.started += 1;
        let get = self.pool.get_owned_with(GetOptions::new().timeout(millis(5_000))).await;
        assert!(self.take(get), "does not serve any more: {:?}", self.pool.status());
        if self.shared || self.rng.bool() {
            self.held.clear();
        }
        // A long quiet time, during which nothing may spin or churn.
        let before = self.pool.counters().created;
        sleep(Duration::from_secs(3600)).await;
        let created = self.pool.counters().created - before;
        // Each is replaced at the end of its life, and no sooner.
        let lives = self.lifetime.map_or(0, |life| 3_600_000 / (life.as_millis() * 9 / 10) + 1);
        let most = (lives + 2) * self.max_size as u128;
        assert!(u128::from(created) <= most, "{created} creations in a quiet hour, not {most}");
        if self.rng.bool() {
            self.pool.close();
            sleep(Duration::from_secs(3600)).await;
            let alive = self.chaos.books.lock().unwrap().alive;
            assert_eq!(alive, self.held.len() + self.detached.len(), "left after closing");
        }
        self.held.clear();
        self.detached.clear();
    }
}

/// What the judge has to know.
struct Settings {
    max_size: usize,
    wait: Duration,
    lifetime: Option<Duration>,
}

fn settings<K: Kind<Keeper>>(
    mut builder: pool_core::Builder<Keeper, K>,
    rng: &mut Rng,
    checks: bool,
) -> (pool_core::Builder<Keeper, K>, Settings) {
    let max_size = rng.usize(1..6);
    let wait = millis(rng.u64(100..10_000));
    let lifetime = rng.bool().then(|| millis(rng.u64(2_000..60_000)));
    builder = builder
        .max_size(max_size)
        .min_size(rng.usize(..=max_size))
        .max_creating(rng.usize(1..4))
        .create_timeout(millis(1_000))
        .check_timeout(millis(rng.u64(1..100)))
        .destroy_timeout(millis(200))
        .shrink_delay(millis(rng.u64(..5_000)))
        .max_waiters(rng.usize(1..30))
        .wait_timeout(wait)
        .idle_timeout(rng.bool().then(|| millis(rng.u64(1..20_000))))
        .max_lifetime(lifetime)
        .check(match rng.u8(..3) {
            0 if checks => CheckPolicy::Always,
            1 => CheckPolicy::Never,
            _ => CheckPolicy::IfIdleFor(millis(rng.u64(1..2_000))),
        });
    (builder, Settings { max_size, wait, lifetime })
}

fn chaos(rng: &mut Rng) -> Keeper {
    Keeper(Arc::new(Chaos {
        books: Mutex::default(),
        rng: Mutex::new(rng.fork()),
        faults: Mutex::new(*rng.choice(&[0, 0, 5, 30]).unwrap()),
        checks: rng.bool(),
        places: rng.usize(1..5),
    }))
}

async fn play<K: Kind<Keeper>>(
    agent: Keeper,
    mut rng: Rng,
    shared: bool,
    (pool, settings): (ResourcePool<Keeper, K>, Settings),
    detach: fn(ResourceLease<'static, Keeper, K>) -> Option<Thing>,
) {
    let Settings { max_size, wait, lifetime } = settings;
    let mut run = Run {
        chaos: Arc::clone(&agent.0),
        rng: rng.fork(),
        pool,
        shared,
        max_size,
        wait,
        lifetime,
        pending: Vec::new(),
        held: Vec::new(),
        started: 0,
        order: 0,
        detach,
        detached: Vec::new(),
        stuck: None,
    };
    run.run().await;
    drop(run);
    rest().await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks, 0, "tasks outlive their pool");
    assert_eq!(agent.0.books.lock().unwrap().alive, 0, "resources outlive their pool");
}

fn exclusive(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let agent = chaos(&mut rng);
    paused(async move {
        let (builder, settings) = settings(Pool::builder(agent.clone()), &mut rng, agent.0.checks);
        let max_size = settings.max_size;
        let min_idle = rng.usize(..=max_size);
        let builder = builder.min_idle(min_idle).max_idle(rng.usize(min_idle..=max_size));
        let built = (builder.build().unwrap(), settings);
        let detach = |lease| Some(ResourceLease::<Keeper, Exclusive>::detach(lease));
        play(agent, rng, false, built, detach).await;
    });
}

fn shared(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let agent = chaos(&mut rng);
    paused(async move {
        let (builder, settings) =
            settings(SharedPool::builder(agent.clone()), &mut rng, agent.0.checks);
        let min_idle = rng.usize(..=settings.max_size.min(2));
        let builder =
            builder.min_idle(min_idle).soft_target(rng.usize(1..6)).soft_max_size(rng.usize(1..4));
        let built = (builder.build().unwrap(), settings);
        let detach = |lease: ResourceLease<'static, Keeper, Shared>| {
            drop(lease);
            None
        };
        play(agent, rng, true, built, detach).await;
    });
}

fn paused(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test);
}

/// Runs the seeds, and fails when one hangs: with a paused clock, that is a busy loop.
fn all_seeds(one: fn(u64)) {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = number("SEED").map_or(0..number("SEEDS").unwrap_or(100), |seed| seed..seed + 1);
    let at = Arc::new(AtomicU64::new(0));
    let (done, wait) = mpsc::channel();
    let runner = {
        let at = Arc::clone(&at);
        thread::spawn(move || {
            for seed in seeds {
                at.store(seed, SeqCst);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| one(seed))) {
                    eprintln!("to replay: SEED={seed}");
                    resume_unwind(panic);
                }
                let _ = done.send(());
            }
        })
    };
    loop {
        match wait.recv_timeout(Duration::from_secs(20)) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs: SEED={}", at.load(SeqCst)),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Err(panic) = runner.join() {
        resume_unwind(panic);
    }
}

#[test]
fn random_operations_on_an_exclusive_pool() {
    all_seeds(exclusive);
}

#[test]
fn random_operations_on_a_shared_pool() {
    all_seeds(shared);
}
