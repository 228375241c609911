//! A pool and its model side by side: carries out a plan on both, and compares them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use pool_core::{Counters, EndReason, Error, GetOptions, Kind, ResourceLease, ResourcePool};
use tokio::time::{Instant, sleep};

use super::compare::run_tasks;
use super::get::{Get, Got, Lease};
use super::ledger::{Agent, Ledger, Thing, number};
use super::plan::{Ask, Birth, Limit, Op, Report, Settings, Step};
use super::queue::{Fresh, Outcome};
use super::reference::{Model, millis};

pub struct Driver<M: Agent, K: Kind<M>> {
    pub ledger: Arc<Ledger>,
    pub pool: ResourcePool<M, K>,
    pub model: Model,
    pub gets: Vec<Get<M, K>>,
    pub held: Vec<Lease<M, K>>,
    pub detached: Vec<Thing>,
    pub detach: fn(Lease<M, K>) -> Option<Thing>,
    /// Gets, and how many resources they asked for as far as they got them.
    pub started: u64,
    pub asked: u64,
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
            asked: 0,
            counters: Counters::default(),
            recycled: 0,
        };
        let most = driver.most(plan.limits.max_size);
        driver.ledger.books().most = most;
        driver.rest().await;
        driver
    }

    pub async fn step(&mut self, step: Step) {
        match step.op {
            Op::Get(ask) => self.get(ask),
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
            Op::Advance(time) => self.advance(millis(time)).await,
            Op::Age => self.age().await,
            Op::Resize(size) => self.resize(size),
            Op::SetLimits(limits) => self.set_limits(limits),
            Op::Pause(pause) => self.pause(pause),
            Op::Resume => self.resume(),
            Op::Reset => self.model.reset(self.pool.reset()),
            Op::Retain(parity) => self.retain(parity),
            Op::Close => self.close(),
        }
        self.compare();
        if !step.hurry {
            self.rest().await;
        }
    }

    pub fn get(&mut self, ask: Ask) {
        let Ask { class, wants, .. } = ask;
        let waits = wants == 1 || !self.model.shared;
        let limit = if waits { ask.limit } else { Limit::Timeout(0) };
        let now = Instant::now();
        let options = GetOptions::new().priority(class);
        let (options, wait) = match limit {
            Limit::Pool => (options, self.model.settings.wait_timeout),
            Limit::Timeout(wait) => (options.timeout(millis(wait)), wait),
            Limit::Deadline(wait) => (options.deadline(now + millis(wait)), wait),
        };
        let due = now + millis(wait);
        let expected = self.model.fresh(due, wants);
        self.started += 1;
        self.asked += 1;
        let (number, future) = (self.started, self.future(wants, options));
        let mut get = Get { number, wants, started: now, future, alarm: Arc::default() };
        let checked = self.ledger.books().checked;
        let counters = &mut self.counters;
        match (get.poll(), expected) {
            (Poll::Ready(Ok(leases)), Fresh::Served | Fresh::Either) => {
                self.served_at_once(&leases, checked);
                let alone = if let [lease] = &leases[..] { Some(lease.id) } else { None };
                self.hold(leases, None);
                if let Some(id) = alone {
                    // It has been checked, or there was no need to.
                    self.model.resources.get_mut(&id).unwrap().suspect = false;
                }
            }
            (Poll::Pending, Fresh::Queued | Fresh::Either) => {
                counters.waits += 1;
                self.model.join(number, due, ask);
                self.gets.push(get);
            }
            (Poll::Ready(Err(Error::Timeout(timeout))), Fresh::Timeout | Fresh::Either) => {
                counters.gets_timeout += 1;
                assert!(timeout.waited.is_zero());
                self.model.wish();
            }
            (Poll::Ready(Err(Error::Closed)), Fresh::Closed) => counters.gets_closed += 1,
            (Poll::Ready(Err(Error::Paused)), Fresh::Paused) => counters.gets_paused += 1,
            (Poll::Ready(Err(Error::TooMany { asked, max_size })), Fresh::TooMany) => {
                counters.gets_rejected += 1;
                assert_eq!((asked, max_size), (wants, self.model.settings.limits.max_size));
            }
            (Poll::Ready(Err(Error::QueueFull { waiting })), Fresh::Full | Fresh::Either) => {
                counters.gets_rejected += 1;
                assert_eq!(waiting, self.model.queue.len());
                assert!(waiting >= self.model.settings.limits.max_waiters);
                if waiting == 0 {
                    self.model.wish();
                }
            }
            (got, _) => {
                let got = got.map(|got| got.map(|leases| leases.len()));
                panic!("{got:?}, and not {expected:?}: {:?}", self.model)
            }
        }
    }

    fn future(
        &self,
        wants: usize,
        options: GetOptions,
    ) -> Pin<Box<dyn Future<Output = Got<M, K>>>> {
        let pool = self.pool.clone();
        if wants == 1 {
            return Box::pin(async move { Ok(vec![pool.get_owned_with(options).await?]) });
        }
        Box::pin(async move { pool.get_many_owned_with(wants, options).await })
    }

    /// By what rested, so it may have been looked at.
    fn served_at_once(&self, leases: &[Lease<M, K>], checked_before: u64) {
        let [lease] = leases else { return };
        let resource = &self.model.resources[&lease.id];
        if resource.holders == 0 {
            let idle_for = Instant::now() - resource.rested;
            let settings = &self.model.settings;
            let checked = self.ledger.books().checked > checked_before;
            let must = M::LOOKS && idle_for >= millis(settings.check_after);
            let may_be_stale = Model::may_be_stale(settings, Instant::now() - resource.unused);
            let suspect = self.model.shared && resource.suspect;
            let may = M::LOOKS && (may_be_stale || suspect);
            assert!(if checked { may } else { !must }, "checked {checked} after {idle_for:?}");
        }
    }

    /// What a get was served with, that has waited or not.
    fn hold(&mut self, leases: Vec<Lease<M, K>>, handed: Option<u64>) {
        self.counters.gets_ok += leases.len() as u64;
        if handed.is_some() {
            self.counters.waits_ok += leases.len() as u64;
        }
        self.asked += leases.len() as u64 - 1;
        for lease in &leases {
            let used = lease.metadata().uses() > 1;
            self.recycled += u64::from(M::LOOKS && !self.model.shared && used);
        }
        self.take(leases, handed);
    }

    fn take(&mut self, leases: Vec<Lease<M, K>>, handed: Option<u64>) {
        let expires = |lease: &Lease<M, K>| (lease.id, lease.metadata().expires());
        let got: Vec<_> = leases.iter().map(expires).collect();
        match handed {
            Some(get) => self.model.handed(get, &got),
            None => got.iter().for_each(|&(id, expires)| self.model.lend(id, expires)),
        }
        // Of one that was taken back into service, others may not know yet that they have it.
        let others = if self.model.shared { self.gets.len() } else { 0 };
        let others = u32::try_from(others).unwrap();
        for lease in leases {
            let (id, meta) = (lease.id, lease.metadata());
            assert_eq!(id, number(ResourceLease::id(&lease)));
            let resource = &self.model.resources[&id];
            assert_eq!(meta.created(), resource.born);
            let uses = resource.grants..=resource.grants + others;
            assert!(uses.contains(&meta.uses()), "{} uses, not {uses:?}", meta.uses());
            self.held.push(lease);
        }
    }

    fn try_get(&mut self) {
        let expected = self.model.fresh(Instant::now(), 1);
        match (self.pool.try_get_owned(), expected) {
            (Some(lease), Fresh::Served | Fresh::Either) => {
                self.asked += 1;
                self.counters.gets_ok += 1;
                self.take(vec![lease], None);
            }
            (None, Fresh::Timeout | Fresh::Closed | Fresh::Paused | Fresh::Either) => {}
            (got, _) => panic!("{:?}, and not {expected:?}: {:?}", got.is_some(), self.model),
        }
    }

    fn poll_any(&mut self, at: usize) {
        if let Some(at) = at.checked_rem(self.gets.len()) {
            self.poll(at);
        }
    }

    /// In the order of service, as far as there are any to be told apart.
    pub fn poll_woken(&mut self) {
        let order = self.model.order();
        let woken = self.gets.iter().filter(|get| get.alarm.rang().is_some());
        let mut woken: Vec<_> = woken.map(|get| get.number).collect();
        woken.sort_by_key(|number| order.get(number));
        for number in woken {
            let at = self.gets.iter().position(|get| get.number == number);
            self.poll(at.unwrap());
        }
    }

    fn poll(&mut self, at: usize) {
        let get = &mut self.gets[at];
        let number = get.number;
        let Poll::Ready(got) = get.poll() else {
            let outcome = self.model.outcomes.get(&number);
            assert_eq!(outcome, None, "get {number} does not come to it");
            return;
        };
        let waited = Instant::now() - get.started;
        let wants = self.gets.remove(at).wants;
        let error = match got {
            Ok(leases) => {
                assert_eq!(leases.len(), wants);
                return self.hold(leases, Some(number));
            }
            Err(error) => error,
        };
        let counters = &mut self.counters;
        let outcome = self.model.outcomes.remove(&number);
        match (error, outcome) {
            (Error::Timeout(timeout), Some(Outcome::Timeout(_))) => {
                counters.gets_timeout += 1;
                assert_eq!(timeout.waited, waited);
                assert_eq!(timeout.last_error.is_some(), self.model.last_error);
            }
            (Error::Closed, Some(Outcome::Closed)) => counters.gets_closed += 1,
            (Error::Paused, Some(Outcome::Paused)) => counters.gets_paused += 1,
            (Error::TooMany { .. }, Some(Outcome::TooMany)) => counters.gets_rejected += 1,
            (Error::Create(_), Some(Outcome::Fatal)) => counters.gets_error += 1,
            (error, outcome) => panic!("get {number}: {error}, not {outcome:?}: {:?}", self.model),
        }
    }

    pub fn cancel(&mut self, at: usize) {
        let Some(at) = at.checked_rem(self.gets.len()) else { return };
        let get = self.gets.remove(at);
        let number = get.number;
        drop(get);
        self.counters.gets_cancelled += 1;
        self.foresee();
        self.model.cancel(number);
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
        self.foresee();
        self.model.give_back(id, cause);
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
            self.get(Ask::one(Limit::Pool));
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

    pub async fn advance(&mut self, time: Duration) {
        self.rest().await;
        sleep(time).await;
        run_tasks().await;
    }

    async fn age(&mut self) {
        self.rest().await;
        let old = self.model.old_at().and_then(|at| at.checked_duration_since(Instant::now()));
        if let Some(time) = old {
            self.advance(time).await;
        }
    }
}
