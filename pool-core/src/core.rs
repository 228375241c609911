//! What every handle, lease and task of a pool shares: the state under its lock, and everything that
//! is done after unlocking.

mod lending;

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use crossbeam_utils::CachePadded;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::{Settings, Times};
use crate::control::{Closing, Pause};
use crate::front::Front;
use crate::hooks::Hooks;
use crate::kind::Kind;
use crate::leaks::Leaks;
use crate::mailboxes::Mailboxes;
use crate::maintenance;
use crate::manager::{HandleTarget, Manager, ResourceHandle, ResourceId};
use crate::moment::{Clock, Moment};
use crate::observer::{EndReason, Event, Observer};
use crate::recent::RecentEvents;
use crate::state::{Actions, Newborn, State, Stillborn, Store, Work};
use crate::sync::{Mutex, MutexGuard};
use crate::timings::Spent;
use crate::trace;
use crate::user::{contain, dispose_here, keeps_time, wake_up};

/// What a holder of `K`'s resources carries.
pub(crate) type Place<M, K> = <K as Kind<M>>::Place;

type StateOf<M, K> = State<<K as Kind<M>>::Store, <M as Manager>::Error>;

pub(crate) struct Core<M: Manager, K: Kind<M>> {
    pub(crate) front: Front<K::Store>,
    pub(crate) clock: Clock,
    pub(crate) times: Times,
    /// Apart from the rest, since a creation needs no more than this.
    pub(crate) manager: Arc<M>,
    pub(crate) hooks: Arc<Hooks<M>>,
    pub(crate) mailboxes: Arc<Mailboxes<Place<M, K>>>,
    state: CachePadded<Mutex<StateOf<M, K>>>,
    /// Apart from the state, because no decision rests on it.
    pub(crate) spent: Arc<Spent>,
    /// Leases that are out, where those are looked for that are out for too long, or their times are taken.
    pub(crate) leaks: Option<Leaks>,
    /// Wakes maintenance, which holds this and no `Core` while it sleeps.
    wakeup: Arc<Notify>,
    /// Wakes those that wait for the pool to come to a certain state, after every change.
    pub(crate) changed: Notify,
    /// Wakes those that wait for the pool to close, who may outlive it.
    pub(crate) closed: Arc<Closing>,
    name: Option<Arc<str>>,
    observer: Option<Arc<dyn Observer>>,
    /// What the observer was told last, whether there is one or not.
    pub(crate) recent: RecentEvents<Event>,
    runtime: Option<Handle>,
    /// Where maintenance lives.
    home: Mutex<Option<Handle>>,
    /// Handles of the pool, leases not among them: without one there is nobody left to lend to.
    handles: AtomicUsize,
}

impl<M: Manager, K: Kind<M>> Core<M, K> {
    pub(crate) fn new(manager: M, settings: Settings<M>) -> Arc<Self> {
        let Settings { limits, times, pick, hooks, name, observer, runtime } = settings;
        let front = Front::new(times.max_uses);
        let mailboxes = Arc::new(Mailboxes::new());
        let mut state: StateOf<M, K> =
            State::new(limits, &times, front.clone(), Arc::clone(&mailboxes));
        if let Some(groups) = state.store.groups_mut() {
            groups.set_pick(pick);
        }
        Arc::new(Self {
            front,
            clock: Clock::new(),
            times,
            manager: Arc::new(manager),
            hooks: Arc::new(hooks),
            mailboxes,
            state: CachePadded::new(Mutex::new(state)),
            spent: Arc::new(Spent::new(times.time_leases)),
            leaks: Leaks::wanted(&times),
            wakeup: Arc::default(),
            changed: Notify::new(),
            closed: Arc::default(),
            name,
            observer,
            recent: RecentEvents::new(),
            runtime,
            home: Mutex::new(None),
            handles: AtomicUsize::new(0),
        })
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Nothing of a user runs under this lock, so it is short, and nothing that panics does either.
    ///
    /// What is decided here may not rest on what is idle, in the front or not: see
    /// [`update`](Self::update).
    #[inline]
    pub(crate) fn state(&self) -> MutexGuard<'_, StateOf<M, K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, with the front closed, then does what follows from that.
    pub(crate) fn update<T>(
        &self,
        change: impl FnOnce(&mut StateOf<M, K>, Moment, &mut Actions<M::Resource, M::Error>) -> T,
    ) -> T {
        let result = self.change(change);
        contain(|| self.changed.notify_waiters());
        result
    }

    /// Looks at the state, with the front closed. What has changed is not worth telling those that wait for
    /// changes, who look this way themselves.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut StateOf<M, K>) -> T) -> T {
        self.change(|state, _, _| look(state))
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut StateOf<M, K>, Moment, &mut Actions<M::Resource, M::Error>) -> T,
    ) -> T {
        let mut actions = Actions::default();
        let result = {
            let mut state = self.state();
            // Under the lock: who joined before has joined by then.
            let now = self.clock.now();
            state.close_front(now, &mut actions);
            let result = change(&mut state, now, &mut actions);
            state.publish(&mut actions);
            result
        };
        self.act(actions);
        result
    }

    fn act(&self, actions: Actions<M::Resource, M::Error>) {
        if actions.is_empty() {
            return;
        }
        let Actions { wake, ended, events, turned, notify, bare, closed, error } = actions;
        for waker in wake {
            wake_up(waker);
        }
        if notify {
            self.wakeup.notify_one();
        }
        if closed {
            self.closed.close();
        }
        for event in events {
            self.tell(event);
        }
        for id in turned {
            self.tell_aside(id);
        }
        contain(|| drop(error));
        for ended in ended {
            dispose_here(self, ended);
            // Nobody destroys in the background now: `ended` above is all of it.
            self.disposed();
        }
        if bare {
            self.keep_trying();
        }
    }

    /// Creates one though nobody waits, if there is none and the manager keeps trying. Says whether it does.
    pub(crate) fn keep_trying(&self) -> bool {
        let keeps_trying = contain(|| self.manager.keeps_trying()).unwrap_or(false);
        if keeps_trying {
            self.update(State::keep_trying);
        }
        keeps_trying
    }

    pub(crate) fn tell(&self, event: Event) {
        trace::event(self, &event);
        if let Some(observer) = &self.observer {
            contain(|| observer.event(&event));
        }
        self.recent.add(event.cut_short());
    }

    /// Tells the manager whether a resource is lent, until that is what holds: of two who tell it the last one is right.
    fn tell_aside(&self, id: ResourceId) {
        let is_aside = || !self.state().store.is_active(id);
        let mut aside = is_aside();
        loop {
            contain(|| K::set_aside(&self.manager, id, aside));
            let now = is_aside();
            if now == aside {
                return;
            }
            aside = now;
        }
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
        // The builder's, or that of the caller, which also takes over when the builder's has ended.
        let runtimes = [self.runtime.clone(), Handle::try_current().ok()];
        runtimes.into_iter().flatten().any(|runtime| self.maintain_in(&runtime))
    }

    /// Starts maintenance in a runtime, unless it lives. Says whether it does then.
    fn maintain_in(self: &Arc<Self>, runtime: &Handle) -> bool {
        if !keeps_time(runtime) {
            return false;
        }
        if self.state().adopt() {
            let task = maintenance::Maintenance::new(self, Arc::clone(&self.wakeup));
            let before = self.home().replace(runtime.clone());
            drop(before);
            runtime.spawn(task.run());
        }
        // In a runtime that has ended the task is dropped at once, and it is nobody's home.
        self.state().is_maintained()
    }

    /// The runtime in which maintenance lives.
    fn home(&self) -> MutexGuard<'_, Option<Handle>> {
        self.home.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runtime for those that have none of their own: where maintenance lives, or the builder's.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        self.home().clone().or_else(|| self.runtime.clone())
    }

    /// Does what is due, and says what else is to be done.
    pub(crate) fn maintain(&self) -> Work<K::Store> {
        let mut work = self.update(State::maintain);
        if let Some(leaks) = &self.leaks {
            let (events, next) = leaks.due(self.clock.now());
            work.next = work.next.min(next);
            for event in events {
                self.tell(event);
            }
        }
        work
    }

    pub(crate) fn born(&self, id: ResourceId, newborn: Newborn<M::Resource>) -> bool {
        self.update(|state, now, actions| state.born(id, newborn, now, actions))
    }

    pub(crate) fn stillborn(&self, id: ResourceId, failed: Stillborn<M::Error>) {
        let error = Arc::clone(&failed.error);
        let mut doomed =
            self.update(|state, now, actions| state.stillborn(id, failed, now, actions));
        while doomed.are_left() {
            doomed =
                self.update(|state, now, actions| state.fail_doomed(&error, doomed, now, actions));
        }
    }

    pub(crate) fn abandoned(&self, id: ResourceId) {
        self.update(|state, now, actions| state.abandoned(id, now, actions));
    }

    pub(crate) fn disposed(&self) {
        self.update(State::disposed);
    }

    fn end_resource(&self, id: ResourceId, reason: EndReason, text: Cow<'static, str>) {
        self.tell(Event::Reported { id, reason, text });
        self.update(|state, now, actions| state.end_resource(id, reason, now, actions));
    }

    pub(crate) fn orphan(&self) {
        let ended = self.home().take();
        drop(ended);
        self.update(|state, _, actions| state.orphan(actions));
    }

    pub(crate) fn close(&self) {
        while self.update(State::close) {}
    }

    pub(crate) fn pause(&self, pause: Pause) {
        let mut more = self.update(|state, now, actions| state.pause(pause, now, actions));
        while more {
            more = self.update(State::fail_paused);
        }
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
    fn known(self: Arc<Self>, id: ResourceId) {
        self.state().know(id);
    }

    fn broken(self: Arc<Self>, id: ResourceId, text: Cow<'static, str>) {
        self.end_resource(id, EndReason::Broken, text);
    }

    fn set_places(self: Arc<Self>, id: ResourceId, places: usize) {
        self.update(|state, now, actions| state.set_places(id, places, now, actions));
    }

    fn leases(self: Arc<Self>, id: ResourceId) -> usize {
        self.look(|state| state.store.leases_of(id))
    }

    fn drain(self: Arc<Self>, id: ResourceId, text: Cow<'static, str>) {
        self.end_resource(id, EndReason::Drained, text);
    }
}

impl<M: Manager, K: Kind<M>> Drop for Core<M, K> {
    /// Maintenance has nothing to hold on to any more: what it was to destroy is dropped here.
    fn drop(&mut self) {
        let mut actions = Actions::default();
        {
            let now = self.clock.now();
            let mut state = self.state();
            state.close_front(now, &mut actions);
            // A waiter borrows the pool, so there is none left.
            state.close(now, &mut actions);
            state.orphan(&mut actions);
            state.give_up_births(now, &mut actions);
        }
        for event in actions.events {
            self.tell(event);
        }
        for ended in actions.ended {
            dispose_here(self, ended);
        }
        self.wakeup.notify_one();
        self.closed.close();
    }
}
