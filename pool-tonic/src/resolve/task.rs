//! The task that asks a resolver, and what it does with the answers.
//!
//! # States
//!
//! ```text
//!   asleep --- due -------------> asking ---+--- a set ---------------> settled --+
//!     ^                             |       +--- an error, empty, late --> failing -+
//!     |                             |                                             |
//!     +--------------- until the next question is due (schedule.rs) <-------------+
//!
//!   asleep, asking ---- the pool is closed, or its last handle is gone ----> over
//! ```
//!
//! # Events
//!
//! *Begin*: a connection is to be made ([`Resolver::first_set`]), and no task is there. Calls never ask.
//! *Due*: the time is over. *Disconnected*: a connection was lost or drained by its server, or an attempt failed
//! ([`Asks`]); the next question is due sooner. *Reset*: the user says so; it is due now. *Over*. What comes while the
//! source is being asked is seen after that, except for the end, which drops the question.
//!
//! # Invariants
//!
//! 1. There is one task at most, since it has the source and there is one source; it gives the source back when it is
//!    dropped, with a runtime that ends, and the next creation begins it anew. When the pool is closed the source goes.
//! 2. A set is applied whole. Without a set, after an error or an empty one, the last stays.
//! 3. Between two questions there is time, whatever the source does.
//! 4. Asleep or asking, the task keeps nothing of the pool alive.
//! 5. The source is the user's: it may panic, and it runs, and is dropped, outside every lock.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::schedule::{Schedule, Timing};
use super::sites::{Locality, sites};
use super::status::{ResolverStatus, Standing};
use super::{Endpoints, Resolve, ResolveError, ResolveMode, ResolveTarget};
use crate::address::Address;
use crate::address_book::{AddressBook, Asks};
use crate::balance::{Chosen, EndpointEvent, Groups, Observed, Site, Spread};
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;
use crate::state_watch::StateWatch;
use crate::stats::Totals;
use crate::user::contain;

/// How long a question may take to a source that is polled.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// A resolver of any type.
trait DynResolve: Send {
    fn resolve<'a>(&'a mut self, target: &'a ResolveTarget) -> Question<'a>;
}

type Question<'a> = Pin<Box<dyn Future<Output = Result<Endpoints, ResolveError>> + Send + 'a>>;

impl<R: Resolve> DynResolve for R {
    fn resolve<'a>(&'a mut self, target: &'a ResolveTarget) -> Question<'a> {
        // Its beginning is a part of the future, which is polled with care.
        Box::pin(async move { Resolve::resolve(self, target).await })
    }
}

/// What the builder is given.
pub(crate) struct Source {
    mode: ResolveMode,
    /// Absent while a task has it.
    resolve: Mutex<Option<Box<dyn DynResolve>>>,
}

impl Source {
    pub(crate) fn new(resolver: impl Resolve) -> Self {
        Self { mode: resolver.mode(), resolve: Mutex::new(Some(Box::new(resolver))) }
    }

    fn place(&self) -> MutexGuard<'_, Option<Box<dyn DynResolve>>> {
        self.resolve.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// What becomes of the answers.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) book: Arc<AddressBook>,
    pub(crate) spread: Arc<Spread>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) observer: Observed,
    pub(crate) locality: Locality,
}

/// The resolver of a pool; see the module.
#[derive(Debug)]
pub(crate) struct Resolver {
    source: Source,
    target: ResolveTarget,
    /// That of the target.
    origin: Address,
    timing: Timing,
    outlet: Outlet,
    standing: Mutex<Standing>,
}

impl Resolver {
    pub(crate) fn new(
        source: Source,
        (target, origin): (ResolveTarget, Address),
        timing: Timing,
        outlet: Outlet,
    ) -> Arc<Self> {
        outlet.book.expect_endpoints(origin.name());
        Arc::new(Self { source, target, origin, timing, outlet, standing: Mutex::default() })
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> ResolverStatus {
        self.standing().status(Instant::now())
    }

    /// Waits until there are endpoints. Called in the pool's runtime, where the task is begun if there is none.
    ///
    /// # Errors
    ///
    /// The source has failed and is left alone for a while, or it takes longer than `timeout`.
    pub(crate) async fn first_set(self: &Arc<Self>, timeout: Duration) -> Result<(), ConnectError> {
        self.begin();
        let endpoints = self.outlet.book.endpoints();
        tokio::time::timeout(timeout, endpoints).await.unwrap_or_else(|_| {
            let phase = "its resolver was being asked";
            Err(ConnectError::timed_out(self.origin.name(), timeout, false, phase))
        })
    }

    fn begin(self: &Arc<Self>) {
        let taken = self.source.place().take();
        if let Some(source) = taken {
            let book = &self.outlet.book;
            let task = Task {
                source: Some(source),
                mode: self.source.mode,
                target: self.target.clone(),
                asks: book.asks(),
                watch: book.watch(),
                resolver: Arc::downgrade(self),
            };
            tokio::spawn(task.run(self.timing));
        }
    }

    /// Makes of an answer what it is.
    fn settle(&self, answer: Result<Endpoints, ResolveError>, schedule: &mut Schedule) {
        let sites = answer.and_then(|set| {
            let ttl = set.valid_for();
            let sites = sites(&set, &self.target, &self.origin, &self.outlet.locality)?;
            Ok((sites, ttl))
        });
        let totals = &self.outlet.totals;
        match sites {
            Ok((sites, ttl)) if !sites.is_empty() => {
                totals.resolutions.fetch_add(1, Ordering::Relaxed);
                schedule.answered(Instant::now(), ttl, fastrand::f64());
                self.apply(sites, schedule.due());
            }
            Ok(_) => {
                totals.resolve_empty.fetch_add(1, Ordering::Relaxed);
                schedule.empty(Instant::now(), fastrand::f64());
                self.fail(ResolveError::new("its resolver gave no endpoint"), schedule);
            }
            Err(error) => {
                totals.resolve_failures.fetch_add(1, Ordering::Relaxed);
                schedule.failed(Instant::now(), error.is_temporary(), fastrand::f64());
                self.fail(error, schedule);
            }
        }
    }

    fn apply(&self, sites: Vec<Site>, due: Instant) {
        let Chosen { of, taken, added, removed } =
            self.outlet.spread.set(sites, |changes| self.outlet.groups.note(changes));
        let totals = &self.outlet.totals;
        totals.endpoints_added.fetch_add(added as u64, Ordering::Relaxed);
        totals.endpoints_removed.fetch_add(removed as u64, Ordering::Relaxed);
        self.outlet.groups.tell();
        self.outlet.book.settle();
        // What is replaced has a destructor of the user's, perhaps.
        let replaced = self.standing().answered((of, taken), due);
        drop(replaced);
        self.outlet.book.resolved();
        if added + removed > 0 {
            let event = EndpointEvent::Resolved { endpoints: of, used: taken, added, removed };
            self.outlet.observer.tell(&self.outlet.totals.recent, event);
        }
    }

    fn fail(&self, error: ResolveError, schedule: &Schedule) {
        let event = EndpointEvent::ResolveFailed { error: error.to_string() };
        // What is replaced has a destructor of the user's, perhaps.
        let replaced = self.standing().failed(error.clone(), schedule.due());
        drop(replaced);
        let error = ConnectError::resolver(self.origin.name(), error);
        self.outlet.book.not_resolved(&error, schedule.due());
        self.outlet.observer.tell(&self.outlet.totals.recent, event);
    }
}

struct Task {
    /// Present until this is dropped.
    source: Option<Box<dyn DynResolve>>,
    mode: ResolveMode,
    target: ResolveTarget,
    asks: Arc<Asks>,
    watch: StateWatch,
    resolver: Weak<Resolver>,
}

impl Drop for Task {
    fn drop(&mut self) {
        let Some(resolver) = self.resolver.upgrade() else { return };
        if resolver.outlet.book.state() == ConnectivityState::Shutdown {
            // What it has open is of no use any more.
            return;
        }
        let replaced = std::mem::replace(&mut *resolver.source.place(), self.source.take());
        drop(replaced);
        resolver.outlet.book.asked_no_more();
    }
}

impl Task {
    async fn run(mut self, timing: Timing) {
        let mut schedule = Schedule::new(timing, self.mode, Instant::now());
        loop {
            if self.sleep(&mut schedule).await.is_none() {
                return;
            }
            match self.resolver.upgrade() {
                Some(resolver) => resolver.outlet.book.asked(),
                None => return,
            }
            let Some(answer) = self.ask().await else { return };
            match self.resolver.upgrade() {
                Some(resolver) => resolver.settle(answer, &mut schedule),
                None => return,
            }
        }
    }

    /// `None` when it is over.
    async fn sleep(&mut self, schedule: &mut Schedule) -> Option<()> {
        loop {
            let mut asked = pin!(self.asks.next());
            let mut due = pin!(sleep_until(schedule.due()));
            let at_once = poll_fn(|cx| match asked.as_mut().poll(cx) {
                Poll::Ready(at_once) => Poll::Ready(Some(at_once)),
                Poll::Pending => due.as_mut().poll(cx).map(|()| None),
            });
            match self.watch.until_closed(at_once).await? {
                None => return Some(()),
                Some(true) => schedule.reset(Instant::now()),
                Some(false) => {
                    let book = Arc::clone(&self.resolver.upgrade()?.outlet.book);
                    let is_ready = book.state() == ConnectivityState::Ready;
                    schedule.disconnected(Instant::now(), is_ready);
                }
            }
        }
    }

    /// `None` when it is over.
    async fn ask(&mut self) -> Option<Result<Endpoints, ResolveError>> {
        let source = self.source.as_mut().expect("bug: a task of a resolver without its source");
        let mut question = source.resolve(&self.target);
        let question = poll_fn(|cx| {
            let polled = contain(|| question.as_mut().poll(cx));
            polled.unwrap_or_else(|| Poll::Ready(Err(ResolveError::new("its resolver panicked"))))
        });
        let mode = self.mode;
        let bounded = async {
            match mode {
                ResolveMode::Push => question.await,
                ResolveMode::Poll => {
                    timeout(QUESTION_TIMEOUT, question).await.unwrap_or_else(|_| Err(late()))
                }
            }
        };
        self.watch.until_closed(bounded).await
    }
}

fn late() -> ResolveError {
    ResolveError::new(format!("its resolver gave no answer within {QUESTION_TIMEOUT:?}"))
}
