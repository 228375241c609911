//! Places out and in: lending, waiting, giving back.

use std::error::Error as StdError;
use std::task::Waker;
use std::time::Duration;

use super::tickets::{Ask, Left, Places, Polled, Ticket};
use super::timers::LOOK_AFTER;
use super::{ActionsOf, Failure, Key, State, Store};
use crate::control::Pause;
use crate::group::GroupId;
use crate::moment::Moment;
use crate::observer::EndReason;

/// A place that was lent.
pub(crate) struct Lent<L> {
    pub(crate) place: L,
    /// The waiter that it was granted to, and whether it is stale. In one word, as [marks](crate::lease) are.
    grant: u64,
}

impl<L> Lent<L> {
    const STALE: u64 = 1;

    #[inline]
    pub(crate) fn new(place: L, stale: bool, waiter: Key) -> Self {
        Self { place, grant: u64::from(waiter.bits()) << 32 | u64::from(stale) }
    }

    /// It is to be checked first.
    #[inline]
    pub(crate) fn is_stale(&self) -> bool {
        self.grant & Self::STALE != 0
    }

    /// The waiter that it was granted to, to be freed when it comes back.
    #[inline]
    pub(crate) fn waiter(&self) -> Key {
        Key::from_bits((self.grant >> 32) as u32)
    }
}

/// What becomes of a get that is not served by a place, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// It gets another one.
    GoesOn,
    Cancelled,
    /// What was to make its resource ready panicked.
    Panicked,
    NoRuntime,
    TimedOut,
}

/// The answer to a request for a place.
pub(crate) enum Answer<L> {
    Lent(Lent<L>),
    Several(Vec<L>),
    Queued(Ticket),
    QueueFull(usize),
    TooMany(usize),
    NoGroup,
    Timeout,
    Paused,
    Closed,
}

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Lends a place if that takes neither a clock nor a wait: one is free, nobody waits, maintenance
    /// lives. The flag asks for [`settle`](Self::settle).
    #[inline]
    pub(crate) fn lend_hot(&mut self) -> Option<(Lent<S::Lent>, bool)> {
        if !self.fast.plain || !self.waiters.is_empty() || self.counts_shared_uses() {
            return None;
        }
        let lent = self.lend()?;
        Some((lent, self.crossed()))
    }

    /// Puts the caller at the end of a queue that stands already, which takes its waker.
    #[inline]
    pub(crate) fn join_hot(
        &mut self,
        now: Moment,
        deadline: Moment,
        sampled: bool,
        waker: &mut Option<Waker>,
        spare: &mut Option<Key>,
    ) -> Option<Ticket> {
        let waiting = self.waiters.waiting();
        // What is free is not to be had past those that wait, and nothing more is to come. Their deadlines
        // are known to maintenance.
        let stands = self.fast.full && waiting > 0 && self.armed <= deadline;
        if !stands || waiting >= self.fast.max_waiters || deadline <= now {
            return None;
        }
        // Maintenance may have looked at the clock since.
        if sampled && !(self.sampling && now == self.sampled_at) {
            return None;
        }
        let joined = if sampled { now } else { self.joins_at(now) };
        match self.waiters.join(joined, Ask::one(deadline), waker.take()?, *spare) {
            Ok(ticket) => {
                *spare = None;
                if !self.sampling && self.waiters.joined().is_multiple_of(LOOK_AFTER) {
                    // The next one goes the slow way and wakes maintenance, to see how many there are.
                    self.armed = Moment::NEVER;
                }
                Some(ticket)
            }
            Err(refused) => {
                *waker = Some(refused);
                None
            }
        }
    }

    /// When one that waits has joined, and its deadline, as the queue has them.
    pub(crate) fn times_of(&self, ticket: Ticket) -> Option<(Moment, Moment)> {
        self.waiters.times_of(ticket)
    }

    /// Lends what is asked for, or puts the caller into the queue, which takes its waker.
    pub(crate) fn request(
        &mut self,
        now: Moment,
        ask: Ask,
        waker: &mut Option<Waker>,
        actions: &mut ActionsOf<S, E>,
    ) -> Answer<S::Lent> {
        if let Some(refusal) = self.refusal(ask) {
            return refusal;
        }
        if ask.places == 1 {
            if let Some(lent) = self.try_get_from(ask.group, now, actions) {
                return Answer::Lent(lent);
            }
        } else if let Some(several) = self.try_get_several(ask.places, now, actions) {
            return Answer::Several(several);
        }
        if ask.deadline <= now {
            self.wish(ask, now, actions);
            self.counters.gets_timeout += 1;
            return Answer::Timeout;
        }
        let waiting = self.waiters.waiting_in_all();
        let is_first = self.waiters.is_empty() && ask.group.is_none();
        let joined = if waiting < self.limits.max_waiters || ask.again {
            let waker = waker.take().unwrap_or_else(|| Waker::noop().clone());
            self.waiters.join(self.joins_at(now), ask, waker, None).map_err(Some)
        } else {
            Err(None)
        };
        match joined {
            Ok(ticket) => {
                if let (true, Some(shed)) = (is_first, &mut self.shed) {
                    shed.begin(now);
                }
                if let Some(group) = ask.group {
                    self.set_awaited(group, true);
                }
                // One that wants several takes what is free already.
                self.serve(now, actions);
                self.supply(now, actions);
                self.arm(self.next_change(), actions);
                Answer::Queued(ticket)
            }
            Err(refused) => {
                // One that was not taken stays where it is: it is dropped outside the lock.
                if refused.is_some() {
                    *waker = refused;
                }
                if waiting == 0 {
                    self.wish(ask, now, actions);
                }
                self.counters.gets_rejected += 1;
                Answer::QueueFull(waiting)
            }
        }
    }

    /// Nobody waits for a resource, but the next caller will be glad of it: of any group, or nobody knows of which.
    fn wish(&mut self, ask: Ask, now: Moment, actions: &mut ActionsOf<S, E>) {
        if ask.group.is_none() {
            self.wished = true;
            self.supply(now, actions);
        }
    }

    /// When one joins that has looked at the clock itself: maintenance may have looked since, and those
    /// behind stand in the order of time.
    fn joins_at(&self, now: Moment) -> Moment {
        let kept = if self.sampling { self.sampled_at.after(Duration::from_nanos(1)) } else { now };
        now.max(kept)
    }

    /// The answer to what cannot be had, however long one waits.
    fn refusal(&mut self, ask: Ask) -> Option<Answer<S::Lent>> {
        if self.closed {
            self.counters.gets_closed += 1;
            Some(Answer::Closed)
        } else if self.paused == Some(Pause::Fail) {
            self.counters.gets_paused += 1;
            Some(Answer::Paused)
        } else if S::CLOSING_HOLDS_PLACE && ask.places > self.limits.max_size {
            self.counters.gets_rejected += 1;
            Some(Answer::TooMany(self.limits.max_size))
        } else if let Some(group) = ask.group
            && (ask.places != 1 || !self.groups().is_some_and(|groups| groups.is_live(group)))
        {
            self.counters.gets_error += 1;
            Some(Answer::NoGroup)
        } else {
            None
        }
    }

    /// Lends a place if one is free and nobody waits.
    pub(crate) fn try_get(
        &mut self,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Option<Lent<S::Lent>> {
        self.try_get_from(None, now, actions)
    }

    /// The same of one group. Nobody waits for it while it has a free place, and nobody else matters to that.
    fn try_get_from(
        &mut self,
        group: Option<GroupId>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Option<Lent<S::Lent>> {
        if self.closed || self.paused.is_some() || group.is_none() && !self.waiters.is_empty() {
            return None;
        }
        let lent = self.lend_from(group).or_else(|| {
            let has_room = self.size() < self.limits.max_size;
            let id = if has_room { self.store.reclaim(group) } else { None }?;
            self.reclaimed(id, actions);
            self.lend_from(group)
        })?;
        self.use_up(&lent.place);
        self.settle(now, actions);
        Some(lent)
    }

    fn try_get_several(
        &mut self,
        places: usize,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Option<Vec<S::Lent>> {
        let free = self.store.free(self.times.max_uses.unwrap_or(u32::MAX));
        if self.paused.is_some() || !self.waiters.is_empty() || free < places {
            return None;
        }
        let mut several = Vec::with_capacity(places);
        while several.len() < places {
            let Some(lent) = self.lend() else { break };
            self.use_up(&lent.place);
            several.push(lent.place);
        }
        self.settle(now, actions);
        Some(several)
    }

    /// Lends a place where there is no maintenance, and cannot be: nobody may wait.
    pub(crate) fn request_unmaintained(
        &mut self,
        ask: Ask,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Option<Answer<S::Lent>> {
        let refusal = self.refusal(ask);
        if refusal.is_some() {
            return refusal;
        }
        let answer = if ask.places == 1 {
            self.try_get_from(ask.group, now, actions).map(Answer::Lent)
        } else {
            self.try_get_several(ask.places, now, actions).map(Answer::Several)
        };
        self.counters.gets_error += u64::from(answer.is_none());
        answer
    }

    /// The outcome of a wait.
    pub(crate) fn poll_waiter(
        &mut self,
        ticket: Ticket,
        waker: &Waker,
        spare: &mut Option<Waker>,
    ) -> Polled<S::Lent, Failure<E>> {
        let polled = self.waiters.poll(ticket, waker, spare);
        match &polled {
            Polled::Waiting | Polled::NeedsWaker => {}
            Polled::Granted(Places::One(_)) => self.count_waited(1),
            Polled::Granted(Places::Several(places)) => self.count_waited(places.len()),
            Polled::Failed(Failure::Timeout) => self.counters.gets_timeout += 1,
            Polled::Failed(Failure::Closed) => self.counters.gets_closed += 1,
            Polled::Failed(Failure::Paused) => self.counters.gets_paused += 1,
            Polled::Failed(Failure::Shed) => self.counters.gets_shed += 1,
            Polled::Failed(Failure::TooMany(_)) => self.counters.gets_rejected += 1,
            Polled::Failed(Failure::NoGroup | Failure::Create(_)) => self.counters.gets_error += 1,
        }
        polled
    }

    /// A place was taken from a mailbox by a thread that has nowhere to count it.
    pub(crate) fn picked_up(&mut self) {
        self.count_waited(1);
    }

    /// A waiter gives up.
    pub(crate) fn leave(
        &mut self,
        ticket: Ticket,
        unserved: Unserved,
    ) -> Left<S::Lent, Failure<E>> {
        self.count_unserved(unserved);
        self.waiters.leave(ticket)
    }

    /// Frees a waiter whose place was taken from its mailbox.
    #[inline]
    pub(crate) fn free(&mut self, waiter: Key) {
        self.waiters.free(waiter);
    }

    /// A get has been lent a place, and is not served by it before its resource has passed.
    pub(crate) fn check_begins(&mut self) {
        self.checking += 1;
    }

    pub(crate) fn check_passed(&mut self) {
        self.checking -= 1;
    }

    /// How many gets of several are counted as having ended with a lease that have not yet.
    pub(crate) fn withhold(&mut self, change: impl FnOnce(usize) -> usize) {
        self.withheld = change(self.withheld);
    }

    /// A get did not end with the place that it was lent, whose check has begun.
    pub(crate) fn check_failed(&mut self, unserved: Unserved) {
        self.checking -= 1;
        self.counters.gets_ok = self.counters.gets_ok.wrapping_sub(1);
        self.count_unserved(unserved);
    }

    fn count_unserved(&mut self, unserved: Unserved) {
        match unserved {
            Unserved::GoesOn => {}
            Unserved::Cancelled => self.counters.gets_cancelled += 1,
            Unserved::NoRuntime | Unserved::Panicked => self.counters.gets_error += 1,
            Unserved::TimedOut => self.counters.gets_timeout += 1,
        }
    }

    #[inline]
    pub(super) fn count_ok(&mut self, gets: usize) {
        self.counters.gets_ok = self.counters.gets_ok.wrapping_add(gets as u64);
    }

    /// The same of those that have waited, which are counted apart.
    #[inline]
    fn count_waited(&mut self, gets: usize) {
        self.counters.waits_ok = self.counters.waits_ok.wrapping_add(gets as u64);
    }

    /// Some have to go, beside those that are going or may not come.
    #[inline]
    pub(super) fn is_oversize(&self) -> bool {
        self.store.size() > self.most()
    }

    /// Each lease of a shared resource has to be counted, since it may be the last one.
    #[inline]
    pub(super) fn counts_shared_uses(&self) -> bool {
        !S::HAS_FRONT && self.times.max_uses.is_some()
    }

    /// A shared resource that was lent as often as it may has no new holders.
    pub(super) fn use_up(&mut self, place: &S::Lent) {
        if self.is_used_up(place) {
            self.store.use_up(place, EndReason::Uses);
        }
    }

    #[inline]
    fn lend(&mut self) -> Option<Lent<S::Lent>> {
        self.lend_from(None)
    }

    /// Lends a place of one group, or of any.
    #[inline]
    pub(super) fn lend_from(&mut self, group: Option<GroupId>) -> Option<Lent<S::Lent>> {
        let (rng, fresh_after) = (&mut self.rng, self.front.fresh_after());
        let (place, stale) = match group {
            None => self.store.lend(rng, fresh_after),
            Some(group) => self.store.lend_of(group, rng, fresh_after),
        }?;
        self.count_ok(1);
        Some(Lent::new(place, stale, Key::NIL))
    }
}
