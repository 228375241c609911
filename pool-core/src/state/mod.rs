//! The decisions of a pool: who gets a place, who waits, what is created and what goes.
//!
//! # Implementation details
//!
//! One [`State`] per pool, under one short lock. It takes no clock, does no I/O, spawns nothing, and
//! calls nothing of a user: `now` comes in, [`Actions`] go out and are done after unlocking. What differs
//! between an exclusive and a shared pool is behind [`Store`].
//!
//! A *place* is the unit that is handed over: an idle resource, a free place of a shared one, or the
//! right to create. Every path that frees one ends in [`State::settle`], which hands it to the waiter
//! that came first; the hot ones in [`State::give_back_hot`], which does the same without a clock.
//!
//! A resource's life, with who moves it on:
//!
//! ```text
//!   right to create ── start_births ──▶ birth ── born ──▶ idle ◀──── give_back ────┐
//!         ▲                               │                │ │                     │
//!         │◀──────────── stillborn ───────┘                │ └─── lend/grant ──▶ lent
//!         │                                 expire, shrink,│                       │
//!         │                                   end, close   ▼        broken, stale, │
//!         └───────────── disposed ──────────────────── closing ◀────  discarded ───┘
//! ```
//!
//! # Invariants
//!
//! 1. idle + lent + births + closing ≤ `max_size`, but for what `resize` leaves over. In a shared pool
//!    the closing count beside that, with the draining, and all together are at most twice as many.
//! 2. Nobody waits while a place may be lent: waiters ⇒ no lendable place. A fresh get takes one only
//!    if nobody waits, so service is in order of arrival.
//! 3. Waiters ⇒ a birth under way, a birth due (`retry_at`, or maintenance notified), or no room.
//! 4. What has to happen later has a deadline in [`State::next_deadline`]; maintenance sleeps until the
//!    nearest, and is notified when a nearer one comes up.
//! 5. The level decides, not the edge: how many births are wanted is computed from the state each time.

mod exclusive;
mod places;
mod shared;
mod store;
mod supply;
mod timers;
mod waiters;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::task::Waker;

pub(crate) use self::exclusive::IdleStore;
pub(crate) use self::places::{Answer, Lent, Unserved};
pub(crate) use self::shared::{Share, ShareStore};
pub(crate) use self::store::Ended;
pub(crate) use self::store::Store;
use self::supply::Birth;
pub(crate) use self::supply::{BirthOrder, Stillborn};
pub(crate) use self::timers::Work;
use self::waiters::Waiters;
pub(crate) use self::waiters::{Key, Left, Polled};
use crate::config::{Limits, Times};
use crate::error::CreateError;
use crate::manager::ResourceId;
use crate::moment::Moment;
use crate::observer::{EndReason, Event};
use crate::status::{Counters, Status};

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a mode")]
pub(crate) struct State<S: Store, E: StdError + 'static> {
    pub(crate) store: S,
    pub(crate) limits: Limits,
    times: Times,
    waiters: Waiters<S::Lent, Failure<E>>,
    /// Creations under way.
    births: HashMap<ResourceId, Birth>,
    /// Resources that left the store and are not destroyed yet.
    closing: usize,
    /// Somebody who had no time to wait found nothing.
    wished: bool,
    /// Failed creations in a row.
    failures: u32,
    /// Resources in a row that died before they were of use, and when the last one did.
    infant_deaths: u32,
    infant_died: Moment,
    /// No creation before this.
    retry_at: Moment,
    last_error: Option<Arc<CreateError<E>>>,
    /// Since when there has been a surplus, without a moment in between.
    surplus_since: Option<Moment>,
    /// No resource in the store expires before this.
    next_expiry: Moment,
    /// The coarse clock, by which returns are stamped. It ticks while a resource is idle that may
    /// still turn stale, and is set by every event that knows the time.
    coarse: Moment,
    ticking: bool,
    /// Idle resources that came back before this are stale, by the check policy.
    fresh_after: Moment,
    /// When maintenance wakes by itself.
    armed: Moment,
    /// Maintenance is notified, and has not run yet.
    notified: bool,
    /// Maintenance lives.
    maintained: bool,
    /// Resources for maintenance to destroy.
    outbox: Vec<Ended<S::Resource>>,
    closed: bool,
    observed: bool,
    next_id: u64,
    rng: fastrand::Rng,
    pub(crate) counters: Counters,
    /// Gets that have been lent a place whose resource has not passed its check yet. They are among
    /// `gets_ok` meanwhile.
    checking: usize,
    /// The most gets that were said to have ended with a lease.
    served: u64,
}

/// Why a waiter got no place.
#[derive(Debug)]
pub(crate) enum Failure<E: StdError + 'static> {
    Timeout,
    Closed,
    Fatal(Arc<CreateError<E>>),
}

/// What is to be done after unlocking.
#[derive(Debug)]
pub(crate) struct Actions<R, E: StdError + 'static> {
    pub(crate) wake: Vec<Waker>,
    /// To be destroyed by the one who unlocks, since there is no maintenance to do it.
    pub(crate) ended: Vec<Ended<R>>,
    pub(crate) events: Vec<Event>,
    pub(crate) notify: bool,
    /// To be dropped: an error is a user's, and so is its destructor.
    pub(crate) error: Option<Arc<CreateError<E>>>,
}

impl<R, E: StdError + 'static> Default for Actions<R, E> {
    fn default() -> Self {
        Self { wake: Vec::new(), ended: Vec::new(), events: Vec::new(), notify: false, error: None }
    }
}

impl<R, E: StdError + 'static> Actions<R, E> {
    pub(crate) fn is_empty(&self) -> bool {
        self.wake.is_empty()
            && self.ended.is_empty()
            && self.events.is_empty()
            && !self.notify
            && self.error.is_none()
    }
}

type ActionsOf<S, E> = Actions<<S as Store>::Resource, E>;

impl<S: Store, E: StdError + 'static> State<S, E> {
    pub(crate) fn new(limits: Limits, times: Times, observed: bool) -> Self {
        let mut state = Self {
            store: S::default(),
            limits,
            times,
            waiters: Waiters::default(),
            births: HashMap::new(),
            closing: 0,
            wished: false,
            failures: 0,
            infant_deaths: 0,
            infant_died: Moment::default(),
            retry_at: Moment::default(),
            last_error: None,
            surplus_since: None,
            next_expiry: Moment::NEVER,
            coarse: Moment::default(),
            ticking: false,
            fresh_after: Moment::NEVER,
            armed: Moment::NEVER,
            notified: false,
            maintained: false,
            outbox: Vec::new(),
            closed: false,
            observed,
            next_id: 0,
            rng: fastrand::Rng::new(),
            counters: Counters::default(),
            checking: 0,
            served: 0,
        };
        state.set_clock(Moment::default());
        state
    }

    /// A manager speaks of its resource, born or not.
    pub(crate) fn set_places(
        &mut self,
        id: ResourceId,
        places: usize,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        match self.births.get_mut(&id) {
            Some(birth) => birth.places = Some(places),
            None => self.store.set_places(id, places),
        }
        self.settle(now, actions);
    }

    /// A manager says that its resource, born or not, is to end.
    pub(crate) fn end_resource(
        &mut self,
        id: ResourceId,
        reason: EndReason,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        if let Some(birth) = self.births.get_mut(&id) {
            birth.end.get_or_insert(reason);
            return;
        }
        let draining = self.store.draining();
        let ended = self.store.end(id, reason);
        if self.observed && self.store.draining() > draining {
            actions.events.push(Event::Draining { id, reason });
        }
        self.end(ended, now, actions);
        self.settle(now, actions);
    }

    /// Changes the maximum size.
    pub(crate) fn resize(&mut self, max_size: usize, now: Moment, actions: &mut ActionsOf<S, E>) {
        self.limits.max_size = max_size;
        while self.is_oversize() && self.store.idle() > 0 {
            let ended = self.store.end_oldest_idle(EndReason::Excess);
            self.end(ended, now, actions);
        }
        self.settle(now, actions);
    }

    /// Fails those that wait, ends what is idle, and what is lent when it comes back.
    pub(crate) fn close(&mut self, actions: &mut ActionsOf<S, E>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        while let Some(waker) = self.waiters.fail_first(Failure::Closed) {
            actions.wake.push(waker);
        }
        let mut ended = Vec::new();
        self.store.end_all(EndReason::Closed, &mut ended);
        for ended in ended {
            self.end(Some(ended), self.coarse, actions);
        }
        // Nothing is left to be timed.
        self.next_expiry = Moment::NEVER;
        self.surplus_since = None;
        self.ticking = false;
        if self.observed {
            actions.events.push(Event::Closed);
        }
    }

    /// A resource has been destroyed: its place is free.
    pub(crate) fn disposed(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        self.closing -= 1;
        self.settle(now, actions);
    }

    /// Maintenance is about to live, unless it does.
    pub(crate) fn adopt(&mut self) -> bool {
        !std::mem::replace(&mut self.maintained, true)
    }

    /// Maintenance has ended, with its runtime. What it was to destroy is returned; those that wait are
    /// woken, so that one of them starts maintenance anew in a runtime that lives.
    pub(crate) fn orphan(&mut self, actions: &mut ActionsOf<S, E>) {
        self.maintained = false;
        self.notified = false;
        self.ticking = false;
        self.fresh_after = self.stale_before(self.coarse);
        self.armed = Moment::NEVER;
        actions.ended.append(&mut self.outbox);
        self.waiters.take_wakers(&mut actions.wake);
    }

    pub(crate) fn is_maintained(&self) -> bool {
        self.maintained
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn last_error(&self) -> Option<Arc<CreateError<E>>> {
        self.last_error.clone()
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            max_size: self.limits.max_size,
            min_size: self.limits.min_size,
            size: self.size(),
            idle: self.store.idle(),
            lent: self.store.size() - self.store.idle(),
            in_use: self.store.in_use(),
            creating: self.births.len(),
            waiting: self.waiters.waiting(),
            checking: self.checking,
            draining: self.store.draining(),
            closing: self.closing,
            places: self.store.places(),
            closed: self.closed,
        }
    }

    pub(crate) fn counters(&mut self) -> Counters {
        // A get may be looked at between being lent a place and the begin of its check: what was said
        // is not taken back.
        self.served = self.served.max(self.counters.gets_ok - self.checking as u64);
        Counters { gets_ok: self.served, ..self.counters }
    }

    /// What counts towards the maximum size.
    fn size(&self) -> usize {
        let closing = if S::CLOSING_HOLDS_PLACE { self.closing } else { 0 };
        self.store.size() + self.births.len() + closing
    }

    /// What there is beside that.
    fn beside(&self) -> usize {
        let closing = if S::CLOSING_HOLDS_PLACE { 0 } else { self.closing };
        self.store.draining() + closing
    }

    /// A resource has left the store.
    fn end(
        &mut self,
        ended: Option<Ended<S::Resource>>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        let Some(ended) = ended else { return };
        if ended.is_infant() {
            self.infant_death(ended.slot.created, now);
        }
        self.counters.ended.count(ended.reason);
        if self.observed {
            actions.events.push(Event::Ended { id: ended.slot.id, reason: ended.reason });
        }
        self.closing += 1;
        if self.maintained {
            self.outbox.push(ended);
            self.notify(actions);
        } else {
            actions.ended.push(ended);
        }
    }
}
