//! A pool and its model side by side: carries out a plan on both, and compares them.

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use pool_core::{Counters, EndReason, Error, GetOptions, Kind, ResourceLease, ResourcePool};
use tokio::time::{Instant, sleep};

use super::compare::run_tasks;
use super::ledger::{Agent, Ledger, Refused, Thing, number};
use super::plan::{Birth, Limit, Op, Report, Settings, Step};
use super::reference::{Fresh, Model, Outcome, TICK, millis};

pub type Lease<M, K> = ResourceLease<'static, M, K>;
type Got<M, K> = Result<Lease<M, K>, Error<Refused>>;

/// Notes when it was woken first.
#[derive(Default)]
pub struct Alarm(Mutex<Option<Instant>>);

impl Alarm {
    pub fn rang(&self) -> Option<Instant> {
        *self.0.lock().unwrap()
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().get_or_insert_with(Instant::now);
    }
}

/// A get that waits, or does not know yet that it has waited long enough.
pub struct Get<M: Agent, K: Kind<M>> {
    pub number: u64,
    pub started: Instant,
    future: Pin<Box<dyn Future<Output = Got<M, K>>>>,
    pub alarm: Arc<Alarm>,
}

impl<M: Agent, K: Kind<M>> Get<M, K> {
    /// With a new waker each time.
    fn poll(&mut self) -> Poll<Got<M, K>> {
        self.alarm = Arc::default();
        let waker = Waker::from(Arc::clone(&self.alarm));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

pub struct Driver<M: Agent, K: Kind<M>> {
    pub ledger: Arc<Ledger>,
    pub pool: ResourcePool<M, K>,
    pub model: Model,
    pub gets: Vec<Get<M, K>>,
    pub held: Vec<Lease<M, K>>,
    pub detached: Vec<Thing>,
    pub detach: fn(Lease<M, K>) -> Option<Thing>,
    pub started: u64,
    pub counters: Counters,
    pub recycled: u64,
}

impl<M: Agent, K: Kind<M>> Driver<M, K> {
    pub async fn new(
        plan: Settings,
        shared: bool,
        ledger: Arc<Ledger>,
        pool: ResourcePool<M, K>,
        detach: fn(Lease<M, K>) -> Option<Thing>,
    ) -> Self {
        let model = Model::new(plan, shared, Instant::now());
        let mut driver = Self {
            ledger,
            pool,
            model,
            gets: Vec::new(),
            held: Vec::new(),
            detached: Vec::new(),
            detach,
            started: 0,
            counters: Counters::default(),
            recycled: 0,
        };
        let most = driver.most(plan.max_size);
        driver.ledger.books().most = most;
        driver.rest().await;
        driver
    }

    pub async fn step(&mut self, step: Step) {
        match step.op {
            Op::Get(limit) => self.get(limit),
            Op::GetUnpolled => drop(self.pool.get()),
            Op::TryGet => self.try_get(),
            Op::Poll(at) => self.poll_any(at),
            Op::PollWoken => self.poll_woken(),
            Op::Cancel(at) => self.cancel(at),
            Op::Return(at) => self.give_back(at, None),
            Op::ReturnBroken(at) => self.give_back(at, Some(EndReason::Broken)),
            Op::Discard(at) => self.give_back(at, Some(EndReason::Discarded)),
            Op::Detach(at) => self.detach(at),
            Op::Finish(at, birth) => self.finish(at, birth),
            Op::Fill(gets) => self.fill(gets).await,
            Op::ReturnAll => self.return_all(),
            Op::Report(at, report) => self.report(at, report),
            Op::Advance(time) => self.advance(time).await,
            Op::Resize(size) => self.resize(size),
            Op::Close => self.close(),
        }
        self.compare();
        if !step.hurry {
            self.rest().await;
        }
    }

    pub fn get(&mut self, limit: Limit) {
        let now = Instant::now();
        let (options, wait) = match limit {
            Limit::Pool => (GetOptions::new(), self.model.settings.wait_timeout),
            Limit::Timeout(wait) => (GetOptions::new().timeout(millis(wait)), wait),
            Limit::Deadline(wait) => (GetOptions::new().deadline(now + millis(wait)), wait),
        };
        let due = now + millis(wait);
        let expected = self.model.fresh(due);
        let pool = self.pool.clone();
        let future = Box::pin(async move { pool.get_owned_with(options).await });
        self.started += 1;
        let mut get = Get { number: self.started, started: now, future, alarm: Arc::default() };
        let checked = self.ledger.books().checked;
        let counters = &mut self.counters;
        match (get.poll(), expected) {
            (Poll::Ready(Ok(lease)), Fresh::Served | Fresh::Either) => {
                counters.gets_ok += 1;
                self.served_at_once(lease, checked);
            }
            (Poll::Pending, Fresh::Queued | Fresh::Either) => {
                counters.waits += 1;
                self.model.join(get.number, due);
                self.gets.push(get);
            }
            (Poll::Ready(Err(Error::Timeout(timeout))), Fresh::Timeout | Fresh::Either) => {
                counters.gets_timeout += 1;
                assert!(timeout.waited.is_zero());
                self.model.wish();
            }
            (Poll::Ready(Err(Error::Closed)), Fresh::Closed) => counters.gets_closed += 1,
            (Poll::Ready(Err(Error::QueueFull { waiting })), Fresh::Full) => {
                counters.gets_rejected += 1;
                assert_eq!(waiting, self.model.queue.len());
            }
            (got, _) => {
                panic!("{:?}, and not {expected:?}: {:?}", got.map(Result::err), self.model)
            }
        }
    }

    /// By what rested, so it may have been looked at.
    fn served_at_once(&mut self, lease: Lease<M, K>, checked_before: u64) {
        let resource = &self.model.resources[&lease.id];
        if resource.holders == 0 {
            let idle_for = Instant::now() - resource.rested;
            let limit = millis(self.model.settings.check_after);
            let checked = self.ledger.books().checked > checked_before;
            let must = M::LOOKS && idle_for >= limit;
            // An eighth for the stamp of its return, one for the reading of the clock.
            let may = M::LOOKS && idle_for + TICK >= limit / 4 * 3;
            assert!(if checked { may } else { !must }, "checked {checked} after {idle_for:?}");
        }
        self.count_recycling(&lease);
        self.hold(lease, None);
    }

    fn count_recycling(&mut self, lease: &Lease<M, K>) {
        let used = lease.metadata().uses() > 1;
        self.recycled += u64::from(M::LOOKS && !self.model.shared && used);
    }

    fn hold(&mut self, lease: Lease<M, K>, handed: Option<u64>) {
        let (id, meta) = (lease.id, lease.metadata());
        assert_eq!(id, number(ResourceLease::id(&lease)));
        match handed {
            None => self.model.lend(id, meta.expires()),
            Some(get) => self.model.handed(get, id, meta.expires()),
        }
        let resource = &self.model.resources[&id];
        assert_eq!(meta.created(), resource.born);
        // Of one that was taken back into service, others may not know yet that they have it.
        let others = if self.model.shared { self.gets.len() } else { 0 };
        let others = u32::try_from(others).unwrap();
        let uses = resource.grants..=resource.grants + others;
        assert!(uses.contains(&meta.uses()), "{} uses, not {uses:?}", meta.uses());
        self.held.push(lease);
    }

    fn try_get(&mut self) {
        let expected = self.model.fresh(Instant::now());
        match (self.pool.try_get_owned(), expected) {
            (Some(lease), Fresh::Served | Fresh::Either) => {
                self.started += 1;
                self.counters.gets_ok += 1;
                self.hold(lease, None);
            }
            (None, Fresh::Timeout | Fresh::Closed | Fresh::Either) => {}
            (got, _) => panic!("{:?}, and not {expected:?}: {:?}", got.is_some(), self.model),
        }
    }

    fn poll_any(&mut self, at: usize) {
        if let Some(at) = at.checked_rem(self.gets.len()) {
            self.poll(at);
        }
    }

    pub fn poll_woken(&mut self) {
        let mut at = 0;
        while let Some(get) = self.gets.get(at) {
            let woken = get.alarm.rang().is_some();
            // One that has ended is not in the list any more.
            if !(woken && self.poll(at)) {
                at += 1;
            }
        }
    }

    /// Whether that was the end of it.
    fn poll(&mut self, at: usize) -> bool {
        let get = &mut self.gets[at];
        let number = get.number;
        let Poll::Ready(got) = get.poll() else {
            let outcome = self.model.outcomes.get(&number);
            assert_eq!(outcome, None, "get {number} does not come to it");
            return false;
        };
        let waited = Instant::now() - get.started;
        drop(self.gets.remove(at));
        let counters = &mut self.counters;
        let error = match got {
            Ok(lease) => {
                counters.gets_ok += 1;
                self.count_recycling(&lease);
                self.hold(lease, Some(number));
                return true;
            }
            Err(error) => error,
        };
        let outcome = self.model.outcomes.remove(&number);
        match (error, outcome) {
            (Error::Timeout(timeout), Some(Outcome::Timeout(_))) => {
                counters.gets_timeout += 1;
                assert_eq!(timeout.waited, waited);
                assert_eq!(timeout.last_error.is_some(), self.model.last_error);
            }
            (Error::Closed, Some(Outcome::Closed)) => counters.gets_closed += 1,
            (Error::Create(_), Some(Outcome::Fatal)) => counters.gets_error += 1,
            (error, _) => panic!("get {number}: {error}, not {outcome:?}: {:?}", self.model),
        }
        true
    }

    pub fn cancel(&mut self, at: usize) {
        let Some(at) = at.checked_rem(self.gets.len()) else { return };
        let get = self.gets.remove(at);
        let number = get.number;
        drop(get);
        self.counters.gets_cancelled += 1;
        if let Some(id) = self.model.cancel(number) {
            let seen = self.end_of(id);
            self.model.give_back(id, None, seen);
        }
    }

    pub fn give_back(&mut self, at: usize, cause: Option<EndReason>) {
        let Some(at) = at.checked_rem(self.held.len()) else { return };
        let lease = self.held.swap_remove(at);
        let id = lease.id;
        let breaks = cause == Some(EndReason::Broken);
        lease.broken.store(breaks, Relaxed);
        // Of a shared one, the manager is not asked.
        let cause = cause.filter(|_| !(breaks && self.model.shared));
        if cause == Some(EndReason::Discarded) {
            ResourceLease::discard(lease);
        } else {
            drop(lease);
        }
        let seen = self.end_of(id);
        self.model.give_back(id, cause, seen);
    }

    fn detach(&mut self, at: usize) {
        let Some(at) = at.checked_rem(self.held.len()) else { return };
        if self.model.shared {
            return self.give_back(at, None);
        }
        let lease = self.held.swap_remove(at);
        let id = lease.id;
        let mut thing = (self.detach)(lease).unwrap();
        thing.detach();
        self.detached.push(thing);
        self.model.detach(id);
    }

    pub fn finish(&mut self, at: usize, birth: Birth) {
        let mut books = self.ledger.books();
        let open = books.gates.iter_mut().filter(|(_, gate)| gate.is_some()).count();
        let Some(at) = at.checked_rem(open) else { return };
        let gate = books.gates.iter_mut().filter(|(_, gate)| gate.is_some()).nth(at);
        let (&id, gate) = gate.unwrap();
        gate.take().unwrap().send(birth).unwrap();
        self.model.births.get_mut(&id).unwrap().decided = Some(birth);
    }

    async fn fill(&mut self, gets: usize) {
        for _ in 0..gets {
            self.get(Limit::Pool);
            self.compare();
        }
        for _ in 0..gets {
            self.rest().await;
            self.finish(0, Birth::Ok(None));
        }
        self.rest().await;
        self.poll_woken();
    }

    pub fn return_all(&mut self) {
        while !self.held.is_empty() {
            self.give_back(0, None);
            self.compare();
        }
    }

    /// About a resource that there is, is being created, or was.
    fn report(&mut self, at: usize, report: Report) {
        let handles = self.ledger.books().handles.clone();
        let Some(at) = at.checked_rem(handles.len()) else { return };
        // The latest first: they are more likely to be there.
        let (&id, handle) = handles.iter().rev().nth(at).unwrap();
        match report {
            Report::Broken => {
                handle.broken("planned");
                self.model.report(id, EndReason::Broken);
            }
            Report::Drain => {
                handle.drain("planned");
                self.model.report(id, EndReason::Drained);
            }
            Report::Places(places) => {
                handle.set_places(places);
                self.model.set_places(id, places);
            }
        }
    }

    pub async fn advance(&mut self, time: u64) {
        self.rest().await;
        sleep(millis(time)).await;
        run_tasks().await;
    }

    fn resize(&mut self, size: usize) {
        let most = self.most(size);
        let mut books = self.ledger.books();
        // What was decided before may come.
        books.most = books.most.max(most);
        drop(books);
        self.pool.resize(size);
        self.model.resize(size);
    }

    fn close(&mut self) {
        self.pool.close();
        if !self.model.closed {
            self.model.close();
        }
    }
}
