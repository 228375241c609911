//! What can be done to a whole pool, beside lending: pausing, warming up, draining, looking at its
//! resources.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::core::{Core, Place};
use crate::error::{Error, Timeout};
use crate::kind::Kind;
use crate::manager::Manager;
use crate::metadata::Metadata;
use crate::moment::Moment;
use crate::observer::EndReason;
use crate::state::{State, Store};
use crate::status::Status;
use crate::user::{contain, keeps_time};

/// What becomes of gets while a pool is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pause {
    /// They wait, up to their deadlines, and are served when the pool resumes.
    Queue,
    /// They fail at once with [`Error::Paused`], those that wait already, too.
    Fail,
}

/// What [`retain`](crate::ResourcePool::retain) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retained {
    /// Resources that were looked at and stay.
    pub kept: usize,
    /// Resources that were looked at and go.
    pub removed: usize,
}

/// How a [`drain`](crate::ResourcePool::drain) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Whether every lease has come home, every creation is over and every resource is destroyed.
    pub complete: bool,
    /// How long it took.
    pub waited: Duration,
    /// Leases that were still out when it ended.
    pub leases: usize,
    /// Resources that were still there, lent or being destroyed.
    pub resources: usize,
    /// Creations that were still under way. What comes of them is destroyed.
    pub creating: usize,
}

/// Waits until `came` says what came of it, or the time is over.
pub(crate) async fn until<M: Manager, K: Kind<M>, T>(
    core: &Core<M, K>,
    timeout: Duration,
    mut came: impl FnMut(&mut State<K::Store, M::Error>) -> Option<T>,
) -> Option<T> {
    let deadline = core.clock.instant_or_far(core.clock.now().after(timeout));
    let _watcher = Watcher::new(core);
    let mut timer = None;
    loop {
        let mut changed = pin!(core.changed.notified());
        // From here on no change is missed.
        changed.as_mut().enable();
        let came = core.look(|state| came(state));
        if came.is_some() {
            return came;
        }
        if timer.is_none() {
            timer = Timer::start(core, deadline);
        }
        let mut over = &mut timer.as_mut()?.0.0;
        // However the timer ends: its runtime may have.
        let is_over = poll_fn(|cx| {
            if Pin::new(&mut over).poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            changed.as_mut().poll(cx).map(|()| false)
        });
        if is_over.await {
            return None;
        }
    }
}

/// A timer in a task of its own: the one that waits for it may be in no runtime, and outlive the timer's.
struct Timer(Task<()>);

impl Timer {
    /// In the caller's runtime, or in the pool's.
    fn start<M: Manager, K: Kind<M>>(core: &Core<M, K>, deadline: Instant) -> Option<Self> {
        let runtimes = [Handle::try_current().ok(), core.runtime()];
        let runtime = runtimes.into_iter().flatten().find(keeps_time)?;
        Some(Self(Task(runtime.spawn(async move { sleep_until(deadline).await }))))
    }
}

/// A task that ends with the one who waits for it.
pub(crate) struct Task<T>(pub(crate) JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One that is to be told of every change.
struct Watcher<'a, M: Manager, K: Kind<M>>(&'a Core<M, K>);

impl<'a, M: Manager, K: Kind<M>> Watcher<'a, M, K> {
    fn new(core: &'a Core<M, K>) -> Self {
        core.look(|state| state.watchers += 1);
        Self(core)
    }
}

impl<M: Manager, K: Kind<M>> Drop for Watcher<'_, M, K> {
    fn drop(&mut self) {
        self.0.look(|state| state.watchers -= 1);
    }
}

pub(crate) async fn warm_up<M: Manager, K: Kind<M>>(
    core: &Arc<Core<M, K>>,
    timeout: Duration,
) -> Result<(), Error<M::Error>> {
    let started = core.clock.now();
    let failed = core.state().failed();
    if !core.ensure_maintenance() {
        return Err(Error::NoRuntime);
    }
    core.settle();
    let warm = until(core, timeout, |state| {
        if state.is_closed() {
            Some(Err(Error::Closed))
        } else if state.misses_minimum() {
            state.fatal_error_since(failed).map(|error| Err(Error::Create(error)))
        } else {
            (!state.misses_minimum_of_groups()).then_some(Ok(()))
        }
    });
    match warm.await {
        Some(warm) => warm,
        None if core.look(|state| state.misses_minimum()) => Err(timed_out(core, started)),
        // One of the peers that has not answered yet holds up none that the others are enough for.
        None => Ok(()),
    }
}

pub(crate) fn timed_out<M: Manager, K: Kind<M>>(
    core: &Core<M, K>,
    started: Moment,
) -> Error<M::Error> {
    let waited = core.clock.now().since(started);
    let (status, last_error) = core.look(|state| (state.status(), state.last_error()));
    Error::Timeout(Box::new(Timeout { waited, status, last_error }))
}

pub(crate) async fn drain<M: Manager, K: Kind<M>>(
    core: &Core<M, K>,
    timeout: Duration,
) -> DrainReport {
    let started = core.clock.now();
    core.close();
    let complete = until(core, timeout, |state| state.is_empty().then_some(())).await;
    let (status, resources) = core.look(|state| (state.status(), state.resources()));
    let Status { in_use: leases, creating, replacing, .. } = status;
    let creating = creating + replacing;
    let waited = core.clock.now().since(started);
    DrainReport { complete: complete.is_some(), waited, leases, resources, creating }
}

/// Holds every resource that can be held, one after the other, and lets those go that `keep` does not
/// want. A panic in it leaves as it is what it has not seen.
pub(crate) fn retain<M: Manager, K: Kind<M>>(
    core: &Core<M, K>,
    mut keep: impl FnMut(&M::Resource, &Metadata) -> bool,
) -> Retained {
    let mut retained = Retained::default();
    let ids = core.look(|state| state.store.holdable());
    for id in ids {
        let Some(place) = core.look(|state| state.hold(id)) else { continue };
        let mut held = Held { core, place: Some(place), end: Some(EndReason::Broken) };
        if let Some(place) = &held.place {
            let meta = K::Store::metadata(place, core.clock);
            if keep(K::resource(place), &meta) {
                held.end = None;
                retained.kept += 1;
            } else {
                held.end = Some(EndReason::Removed);
                retained.removed += 1;
            }
        }
    }
    retained
}

/// A resource that is held; one whose look at it panics is broken.
struct Held<'a, M: Manager, K: Kind<M>> {
    core: &'a Core<M, K>,
    place: Option<Place<M, K>>,
    end: Option<EndReason>,
}

impl<M: Manager, K: Kind<M>> Drop for Held<'_, M, K> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let end = self.end;
            self.core.update(|state, now, actions| state.let_go(place, end, now, actions));
        }
    }
}

/// Whether a pool is closed, for those that may outlive it.
#[derive(Default)]
pub(crate) struct Closing {
    closed: AtomicBool,
    notify: Notify,
}

impl Closing {
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        contain(|| self.notify.notify_waiters());
    }

    pub(crate) async fn wait(self: Arc<Self>) {
        let mut notified = pin!(self.notify.notified());
        notified.as_mut().enable();
        if !self.closed.load(Ordering::Acquire) {
            notified.await;
        }
    }
}
