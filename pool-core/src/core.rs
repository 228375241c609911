//! What every handle, lease and task of a pool shares: the state under its lock, and everything that
//! is done after unlocking.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::{Limits, Times};
use crate::kind::Kind;
use crate::maintenance;
use crate::manager::{HandleTarget, Manager, ResourceHandle, ResourceId};
use crate::moment::{Clock, Moment};
use crate::observer::{EndReason, Event, Observer};
use crate::state::{Actions, Ended, Lent, State, Stillborn, Unserved, Work};

/// What a holder of `K`'s resources carries.
pub(crate) type Place<M, K> = <K as Kind<M>>::Place;

type StateOf<M, K> = State<<K as Kind<M>>::Store, <M as Manager>::Error>;

pub(crate) struct Core<M: Manager, K: Kind<M>> {
    /// Apart from the rest, since a creation needs no more than this.
    pub(crate) manager: Arc<M>,
    pub(crate) times: Times,
    pub(crate) clock: Clock,
    state: Mutex<StateOf<M, K>>,
    /// Wakes maintenance, which holds this and no `Core` while it sleeps.
    wakeup: Arc<Notify>,
    observer: Option<Arc<dyn Observer>>,
    runtime: Option<Handle>,
    /// Handles of the pool, leases not among them: without one there is nobody left to lend to.
    handles: AtomicUsize,
}

impl<M: Manager, K: Kind<M>> Core<M, K> {
    pub(crate) fn new(
        manager: M,
        limits: Limits,
        times: Times,
        observer: Option<Arc<dyn Observer>>,
        runtime: Option<Handle>,
    ) -> Arc<Self> {
        let state = State::new(limits, times, observer.is_some());
        Arc::new(Self {
            manager: Arc::new(manager),
            times,
            clock: Clock::new(),
            state: Mutex::new(state),
            wakeup: Arc::default(),
            observer,
            runtime,
            handles: AtomicUsize::new(0),
        })
    }

    /// Nothing of a user runs under this lock, so it is short, and nothing that panics does either.
    #[inline]
    pub(crate) fn state(&self) -> MutexGuard<'_, StateOf<M, K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then does what follows from that.
    pub(crate) fn update<T>(
        &self,
        change: impl FnOnce(&mut StateOf<M, K>, Moment, &mut Actions<M::Resource, M::Error>) -> T,
    ) -> T {
        let now = self.clock.now();
        let mut actions = Actions::default();
        let result = change(&mut self.state(), now, &mut actions);
        self.act(actions);
        result
    }

    fn act(&self, actions: Actions<M::Resource, M::Error>) {
        if actions.is_empty() {
            return;
        }
        let Actions { wake, ended, events, notify, error } = actions;
        for waker in wake {
            wake_up(waker);
        }
        if notify {
            self.wakeup.notify_one();
        }
        if let Some(observer) = &self.observer {
            for event in &events {
                contain(|| observer.event(event));
            }
        }
        contain(|| drop(error));
        for ended in ended {
            dispose_here(&*self.manager, ended);
            // Nobody destroys in the background now: `ended` above is all of it.
            self.disposed();
        }
    }

    /// Lends a place if that takes neither a clock nor a wait.
    #[inline]
    pub(crate) fn lend_hot(&self) -> Option<Lent<Place<M, K>>> {
        let (lent, settle) = self.state().lend_hot()?;
        if settle {
            self.settle();
        }
        Some(lent)
    }

    /// A holder gives its place back.
    #[inline]
    pub(crate) fn give_back(&self, place: Place<M, K>) {
        let hot = self.state().give_back_hot(place);
        match hot {
            Ok((waker, settle)) => {
                if let Some(waker) = waker {
                    wake_up(waker);
                }
                if settle {
                    self.settle();
                }
            }
            Err(place) => self.update(|state, now, actions| state.give_back(place, now, actions)),
        }
    }

    /// A holder gives a place back whose resource is no good.
    pub(crate) fn discard(&self, place: Place<M, K>, reason: EndReason) {
        self.update(|state, now, actions| state.discard(place, reason, now, actions));
    }

    /// The resource of a place that was lent is not fit for its holder, or the holder gave up.
    pub(crate) fn reject(&self, place: Place<M, K>, unserved: Unserved) {
        let end = match unserved {
            Unserved::GoesOn => Some(EndReason::CheckFailed),
            // Others hold it as well, or will: that one gives up says nothing about it.
            _ if K::IS_SHARED => None,
            _ => Some(EndReason::Discarded),
        };
        self.update(|state, now, actions| {
            state.check_failed(unserved);
            match end {
                Some(reason) => state.discard(place, reason, now, actions),
                None => state.give_back_unchecked(place, now, actions),
            }
        });
    }

    /// A threshold has been crossed by a hot path.
    #[cold]
    pub(crate) fn settle(&self) {
        self.update(State::settle);
    }

    /// Sees to it that maintenance lives. Says whether it does: it takes a runtime.
    pub(crate) fn ensure_maintenance(self: &Arc<Self>) -> bool {
        if self.state().is_maintained() {
            return true;
        }
        let Some(runtime) = self.runtime.clone().or_else(|| Handle::try_current().ok()) else {
            return false;
        };
        if !keeps_time(&runtime) {
            return false;
        }
        if self.state().adopt() {
            let task = maintenance::Maintenance::new(self, Arc::clone(&self.wakeup));
            runtime.spawn(task.run());
        }
        // In a runtime that has ended the task is dropped at once.
        self.state().is_maintained()
    }

    pub(crate) fn maintain(&self) -> Work<M::Resource> {
        self.update(State::maintain)
    }

    pub(crate) fn born(&self, id: ResourceId, resource: M::Resource) {
        self.update(|state, now, actions| state.born(id, resource, now, actions));
    }

    pub(crate) fn stillborn(&self, id: ResourceId, failed: Stillborn<M::Error>) {
        self.update(|state, now, actions| state.stillborn(id, failed, now, actions));
    }

    pub(crate) fn abandoned(&self, id: ResourceId) {
        self.update(|state, now, actions| state.abandoned(id, now, actions));
    }

    pub(crate) fn disposed(&self) {
        self.update(State::disposed);
    }

    fn end_resource(&self, id: ResourceId, reason: EndReason, text: Cow<'static, str>) {
        if let Some(observer) = &self.observer {
            contain(|| observer.event(&Event::Reported { id, reason, text }));
        }
        self.update(|state, now, actions| state.end_resource(id, reason, now, actions));
    }

    pub(crate) fn orphan(&self) {
        self.update(|state, _, actions| state.orphan(actions));
    }

    pub(crate) fn close(&self) {
        self.update(|state, _, actions| state.close(actions));
    }

    /// The handle of one of this pool's resources.
    pub(crate) fn handle_of(self: &Arc<Self>, id: ResourceId) -> ResourceHandle {
        let target: Weak<Self> = Arc::downgrade(self);
        ResourceHandle::new(id, target)
    }

    pub(crate) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Another handle, unless there is none left.
    pub(crate) fn try_add_handle(&self) -> bool {
        let add = |handles: usize| (handles > 0).then(|| handles + 1);
        self.handles.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// The last handle closes the pool.
    pub(crate) fn drop_handle(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }
}

impl<M: Manager, K: Kind<M>> HandleTarget for Core<M, K> {
    fn broken(self: Arc<Self>, id: ResourceId, text: Cow<'static, str>) {
        self.end_resource(id, EndReason::Broken, text);
    }

    fn set_places(self: Arc<Self>, id: ResourceId, places: usize) {
        self.update(|state, now, actions| state.set_places(id, places, now, actions));
    }

    fn drain(self: Arc<Self>, id: ResourceId, text: Cow<'static, str>) {
        self.end_resource(id, EndReason::Drained, text);
    }
}

impl<M: Manager, K: Kind<M>> Drop for Core<M, K> {
    /// Maintenance has nothing to hold on to any more: what it was to destroy is dropped here.
    fn drop(&mut self) {
        let mut actions = Actions::default();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.close(&mut actions);
        state.orphan(&mut actions);
        for ended in actions.ended {
            dispose_here(&*self.manager, ended);
        }
        self.wakeup.notify_one();
    }
}

/// Wakes a task. Its waker may be anybody's, and others are still to be woken.
fn wake_up(waker: Waker) {
    contain(|| waker.wake());
}

/// Whether a runtime has timers: there is no way to ask but to try.
fn keeps_time(runtime: &Handle) -> bool {
    let _entered = runtime.enter();
    contain(|| drop(tokio::time::sleep(Duration::ZERO))).is_some()
}

/// Destroys a resource without a task to do it in.
fn dispose_here<M: Manager>(manager: &M, ended: Ended<M::Resource>) {
    let mut resource = ended.slot.resource;
    contain(|| manager.detached(&mut resource));
    contain(|| drop(resource));
}

/// Runs code of a user whose panic must not get out, because there is nobody to get it. Its message
/// has been printed by then.
pub(crate) fn contain<T>(user: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(user)).ok()
}
