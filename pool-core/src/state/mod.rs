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
//! Shared resources may be in groups. How many are wanted for the load is the pool's affair then, too; which group a
//! birth is for, what a group keeps beside that, and how long a group that fails waits, is in `groups.rs`.
//!
//! # Invariants
//!
//! 1. idle + lent + births + closing ≤ `max_size`, or what groups keep if that is more, but for what `resize` leaves
//!    over. In a shared pool the closing count beside that, with the draining and the successors that are made for those
//!    that are to be replaced: at most `max_draining` when one is created. Births for groups that failed before, and for
//!    retired ones, count nowhere: what the former make takes its room when it comes.
//! 2. Nobody waits while a place may be lent: waiters ⇒ no lendable place. A fresh get takes one only
//!    if nobody waits, so service is in order of arrival. Of those that wait for one group (`waiters/bound.rs`) this is so
//!    for the places of that group; they hold up nobody else.
//! 3. Waiters ⇒ a birth under way, a birth due (`next_start`, or maintenance notified), no room, or no group to make
//!    one for. Those that wait for one group ⇒ it has a resource, or the same.
//! 4. What has to happen later has a deadline in [`State::next_deadline`]; maintenance sleeps until the
//!    nearest, and is notified when a nearer one comes up.
//! 5. The front is open only while nothing that a thread does there could matter to a decision: nobody
//!    waits, no threshold can be crossed, nothing that is out has to go when it comes back.
//! 6. The level decides, not the edge: how many births are wanted is computed from the state each time.
//! 7. No group goes below what it keeps for idleness, for want of load or for the size; nothing of a retired one is lent
//!    or begun.

mod actions;
mod births;
mod control;
mod exclusive;
mod fast;
mod groups;
mod line;
mod numbers;
mod pace;
mod places;
mod replacing;
mod returns;
mod share;
mod shared;
mod shed;
mod store;
mod supply;
mod tickets;
mod timers;
mod waiters;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Arc;

pub(crate) use self::actions::{Actions, Failure, LastError};
use self::births::Birth;
pub(crate) use self::births::{BirthOrder, Newborn, Stillborn};
pub(crate) use self::exclusive::IdleStore;
use self::fast::{Fast, NEVER_STEADY, Returns};
use self::pace::Pace;
pub(crate) use self::places::{Answer, Lent, Unserved};
pub(crate) use self::replacing::Replacing;
pub(crate) use self::share::Share;
pub(crate) use self::shared::ShareStore;
use self::shared::{Errand, Groups, Origin};
use self::shed::Shed;
pub(crate) use self::store::Ended;
pub(crate) use self::store::Store;
pub(crate) use self::tickets::{Ask, Key, Left, Outcome, Places, Polled, STANDS_FOR, Ticket};
pub(crate) use self::timers::Work;
use self::waiters::Waiters;
use crate::config::{Limits, Times};
use crate::control::Pause;
use crate::error::CreateError;
use crate::front::Front;
use crate::mailboxes::Mailboxes;
use crate::manager::ResourceId;
use crate::moment::Moment;
use crate::observer::{EndReason, Event, Resize};
use crate::status::Counters;

/// In the order of the fields. What every wait of the usual priority changes is first, in the line of the cache that the
/// lock is in, so that it comes along with the lock; behind it is what every wait looks at.
#[repr(C)]
pub(crate) struct State<S: Store, E: StdError + 'static> {
    waiters: Waiters<S::Lent, Failure<E>>,
    fast: Fast,
    /// No resource in the store expires before this.
    next_expiry: Moment,
    /// When maintenance wakes by itself.
    armed: Moment,
    /// Resources with smaller numbers are of an older generation.
    oldest: u64,
    pub(crate) store: S,
    pub(crate) limits: Limits,
    times: Times,
    front: Front<S>,
    front_open: bool,
    /// Creations under way.
    births: HashMap<ResourceId, Birth>,
    /// Creations under way of successors, with the predecessors, which go on until then.
    replacements: HashMap<ResourceId, (ResourceId, Birth)>,
    /// Resources that left the store and are not destroyed yet.
    closing: usize,
    /// Somebody who had no time to wait found nothing.
    wished: bool,
    /// When creations may start. Where there are groups, each has its own.
    pace: Pace,
    last_error: Option<LastError<E>>,
    /// Since when there has been a surplus, without a moment in between.
    surplus_since: Option<Moment>,
    /// Idle resources that are to be replaced before they expire, and when there will be more of them.
    aging: usize,
    next_aging: Moment,
    /// It ticks while a resource is lent, or idle and may still turn stale. The coarse clock itself, by which
    /// returns are stamped, is in the front; it is set by every event that knows the time.
    ticking: bool,
    /// Whether the time is kept for those that join, since when, how many had joined then, and the stand of the next one.
    sampling: bool,
    sampled_at: Moment,
    sampled_waits: u64,
    sampled_from: u64,
    /// When idle resources are to be looked at next, those to be looked at now, and how many are.
    next_look: Moment,
    looks: Vec<ResourceId>,
    looking: usize,
    /// Maintenance is notified, and has not run yet.
    notified: bool,
    /// Maintenance lives.
    maintained: bool,
    /// Resources for maintenance to destroy.
    outbox: Vec<Ended<S::Resource>>,
    closed: bool,
    /// Those that wait for the pool to come to a certain state, and are to be told of every change.
    pub(crate) watchers: usize,
    paused: Option<Pause>,
    shed: Option<Shed>,
    generation: u32,
    next_id: u64,
    rng: fastrand::Rng,
    /// Without what the front has counted, and how many have waited. Who was served after a wait is in `waits_ok` alone.
    counters: Counters,
    /// Gets that have been lent a place whose resource has not passed its check yet. They are among
    /// `gets_ok` meanwhile.
    checking: usize,
    /// Of those that want several, which are checked one after the other.
    withheld: usize,
    /// The most gets that were said to have ended with a lease, and to have begun.
    served: u64,
    started: u64,
}

type ActionsOf<S, E> = Actions<<S as Store>::Resource, E>;

impl<S: Store, E: StdError + 'static> State<S, E> {
    pub(crate) fn new(
        limits: Limits,
        times: &Times,
        front: Front<S>,
        mailboxes: Arc<Mailboxes<S::Lent>>,
    ) -> Self {
        let mut state = Self {
            fast: Fast::default(),
            next_expiry: Moment::NEVER,
            armed: Moment::NEVER,
            oldest: 0,
            waiters: Waiters::new(mailboxes),
            store: S::default(),
            limits,
            times: *times,
            front,
            front_open: false,
            births: HashMap::new(),
            replacements: HashMap::new(),
            closing: 0,
            wished: false,
            pace: Pace::default(),
            last_error: None,
            surplus_since: None,
            aging: 0,
            next_aging: Moment::NEVER,
            ticking: false,
            sampling: false,
            sampled_at: Moment::default(),
            sampled_waits: 0,
            sampled_from: 0,
            next_look: Moment::NEVER,
            looks: Vec::new(),
            looking: 0,
            notified: false,
            maintained: false,
            outbox: Vec::new(),
            closed: false,
            watchers: 0,
            paused: None,
            shed: times.shed.map(Shed::new),
            generation: 0,
            next_id: 0,
            rng: fastrand::Rng::new(),
            counters: Counters::default(),
            checking: 0,
            withheld: 0,
            served: 0,
            started: 0,
        };
        state.set_clock(Moment::default());
        state
    }

    fn birth(&mut self, id: ResourceId) -> Option<&mut Birth> {
        let (births, replacements) = (&mut self.births, &mut self.replacements);
        births.get_mut(&id).or_else(|| Some(&mut replacements.get_mut(&id)?.1))
    }

    /// A manager speaks of its resource, born or not.
    pub(crate) fn set_places(
        &mut self,
        id: ResourceId,
        places: usize,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        match self.birth(id) {
            Some(birth) => birth.places = Some(places),
            None => self.store.set_places(id, places),
        }
        self.settle(now, actions);
    }

    /// Somebody gets a handle of this resource, which is not born yet.
    pub(crate) fn know(&mut self, id: ResourceId) {
        if let Some(birth) = self.birth(id) {
            birth.known = true;
        }
    }

    /// A manager says that its resource, born or not, is to end.
    pub(crate) fn end_resource(
        &mut self,
        id: ResourceId,
        reason: EndReason,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        if let Some(birth) = self.birth(id) {
            birth.end.get_or_insert(reason);
            return;
        }
        let ended = self.store.end(id, reason);
        self.end(ended, now, actions);
        self.settle(now, actions);
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
        self.front.set_fresh_after(self.stale_before(self.front.coarse()));
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

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    pub(crate) fn last_error(&self) -> Option<Arc<CreateError<E>>> {
        self.last_error.as_ref().map(|last| Arc::clone(&last.error))
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
            self.infant_death(ended.group, ended.slot.created, now);
        }
        self.counters.ended.count(ended.reason);
        actions.bare |= self.store.size() == 0;
        if !ended.drained && ended.is_for_size() {
            self.decided(ended.slot.id, Resize::End(ended.reason), actions);
        }
        actions.events.push(Event::Ended { id: ended.slot.id, reason: ended.reason });
        self.closing += 1;
        if self.maintained {
            self.outbox.push(ended);
            self.notify(actions);
        } else {
            actions.ended.push(ended);
        }
    }
}
