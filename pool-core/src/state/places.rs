//! Places out and in: lending, waiting, giving back.

use std::error::Error as StdError;
use std::task::Waker;

use super::waiters::{Left, Polled};
use super::{Actions, ActionsOf, Failure, IdleStore, Key, State, Store};
use crate::manager::ResourceId;
use crate::moment::Moment;
use crate::observer::{EndReason, Event};

/// A place that was lent.
pub(crate) struct Lent<L> {
    pub(crate) place: L,
    /// It is to be checked first.
    pub(crate) stale: bool,
}

/// What becomes of a get that is not served by a place, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// It gets another one.
    GoesOn,
    Cancelled,
    NoRuntime,
    TimedOut,
}

/// The answer to a request for a place.
pub(crate) enum Answer<L> {
    Lent(Lent<L>),
    Queued(Key),
    QueueFull(usize),
    Timeout,
    Closed,
}

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Lends a place if that takes neither a clock nor a wait: one is free, nobody waits, maintenance
    /// lives. The flag asks for [`settle`](Self::settle).
    #[inline]
    pub(crate) fn lend_hot(&mut self) -> Option<(Lent<S::Lent>, bool)> {
        if self.closed || !self.maintained || !self.waiters.is_empty() {
            return None;
        }
        let lent = self.lend()?;
        Some((lent, self.crossed()))
    }

    /// Takes a place back if that takes no clock: from a resource that stays, to the oldest waiter or
    /// to rest while the coarse clock ticks. The flag asks for [`settle`](Self::settle).
    #[inline]
    pub(crate) fn give_back_hot(
        &mut self,
        place: S::Lent,
    ) -> Result<(Option<Waker>, bool), S::Lent> {
        let expires = S::slot(&place).expires;
        let is_known = self.next_expiry <= expires;
        if self.closed || !is_known || self.is_oversize() {
            return Err(place);
        }
        if !self.waiters.is_empty() {
            let place = self.store.pass(place)?;
            let waker = self.waiters.grant(place)?;
            return Ok((Some(waker), false));
        }
        if !self.ticking || !self.store.stays(&place) {
            return Err(place);
        }
        let ended = self.store.take_back(place, Some(self.coarse));
        debug_assert!(ended.is_none(), "bug: a resource that stays has ended");
        Ok((None, self.crossed()))
    }

    /// Lends a place, or puts the caller at the end of the queue, which takes its waker.
    pub(crate) fn request(
        &mut self,
        now: Moment,
        deadline: Moment,
        waker: &mut Option<Waker>,
        actions: &mut ActionsOf<S, E>,
    ) -> Answer<S::Lent> {
        if self.closed {
            self.counters.gets_closed += 1;
            return Answer::Closed;
        }
        if let Some(lent) = self.try_get(now, actions) {
            return Answer::Lent(lent);
        }
        if deadline <= now {
            // Nobody waits for one, but the next caller will be glad of it.
            self.wished = true;
            self.supply(now, actions);
            self.counters.gets_timeout += 1;
            return Answer::Timeout;
        }
        let waiting = self.waiters.waiting();
        if waiting >= self.limits.max_waiters {
            self.counters.gets_rejected += 1;
            return Answer::QueueFull(waiting);
        }
        self.counters.waits += 1;
        let waker = waker.take().unwrap_or_else(|| Waker::noop().clone());
        let key = self.waiters.join(deadline, waker);
        self.supply(now, actions);
        self.arm(deadline, actions);
        Answer::Queued(key)
    }

    /// Lends a place if one is free and nobody waits.
    pub(crate) fn try_get(
        &mut self,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Option<Lent<S::Lent>> {
        if self.closed || !self.waiters.is_empty() {
            return None;
        }
        let lent = self.lend().or_else(|| {
            let reclaimed = self.size() < self.limits.max_size && self.store.reclaim();
            if reclaimed { self.lend() } else { None }
        })?;
        self.settle(now, actions);
        Some(lent)
    }

    /// Lends a place where there is no maintenance, and cannot be: nobody may wait.
    pub(crate) fn request_unmaintained(
        &mut self,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Option<Answer<S::Lent>> {
        if self.closed {
            self.counters.gets_closed += 1;
            return Some(Answer::Closed);
        }
        let lent = self.try_get(now, actions);
        self.counters.gets_error += u64::from(lent.is_none());
        lent.map(Answer::Lent)
    }

    /// The outcome of a wait.
    pub(crate) fn poll_waiter(
        &mut self,
        key: Key,
        waker: &Waker,
        spare: &mut Option<Waker>,
    ) -> Polled<S::Lent, Failure<E>> {
        let polled = self.waiters.poll(key, waker, spare);
        match &polled {
            Polled::Waiting | Polled::NeedsWaker => {}
            Polled::Ready(Ok(_)) => self.counters.gets_ok += 1,
            Polled::Ready(Err(Failure::Timeout)) => self.counters.gets_timeout += 1,
            Polled::Ready(Err(Failure::Closed)) => self.counters.gets_closed += 1,
            Polled::Ready(Err(Failure::Fatal(_))) => self.counters.gets_error += 1,
        }
        polled
    }

    /// A waiter gives up.
    pub(crate) fn leave(&mut self, key: Key, unserved: Unserved) -> Left<S::Lent, Failure<E>> {
        self.count_unserved(unserved);
        self.waiters.leave(key)
    }

    /// Takes a place back.
    pub(crate) fn give_back(&mut self, place: S::Lent, now: Moment, actions: &mut ActionsOf<S, E>) {
        let expires = S::slot(&place).expires;
        let end = if self.closed {
            Some(EndReason::Closed)
        } else if expires <= now {
            Some(EndReason::Lifetime)
        } else if self.is_oversize() {
            Some(EndReason::Excess)
        } else {
            None
        };
        let ended = if let Some(reason) = end {
            self.store.take_back_ended(place, reason)
        } else {
            self.expires_at(expires);
            self.store.take_back(place, Some(now))
        };
        self.end(ended, now, actions);
        self.note_time(now);
        self.settle(now, actions);
    }

    /// Takes a place back of a shared resource whose check was given up: it is as stale as it was.
    pub(crate) fn give_back_unchecked(
        &mut self,
        place: S::Lent,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        let ended = self.store.take_back(place, None);
        self.end(ended, now, actions);
        self.settle(now, actions);
    }

    /// Takes a place back whose resource is no good.
    pub(crate) fn discard(
        &mut self,
        place: S::Lent,
        reason: EndReason,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        let ended = self.store.take_back_ended(place, reason);
        self.end(ended, now, actions);
        self.settle(now, actions);
    }

    /// A get has been lent a place, and is not served by it before its resource has passed.
    pub(crate) fn check_begins(&mut self) {
        self.checking += 1;
    }

    pub(crate) fn check_passed(&mut self) {
        self.checking -= 1;
    }

    /// A get did not end with the place that it was lent, whose check has begun.
    pub(crate) fn check_failed(&mut self, unserved: Unserved) {
        self.checking -= 1;
        self.counters.gets_ok -= 1;
        self.count_unserved(unserved);
    }

    fn count_unserved(&mut self, unserved: Unserved) {
        match unserved {
            Unserved::GoesOn => {}
            Unserved::Cancelled => self.counters.gets_cancelled += 1,
            Unserved::NoRuntime => self.counters.gets_error += 1,
            Unserved::TimedOut => self.counters.gets_timeout += 1,
        }
    }

    /// Some have to go, beside those that are going or may not come.
    pub(super) fn is_oversize(&self) -> bool {
        self.store.size() > self.limits.max_size
    }

    fn lend(&mut self) -> Option<Lent<S::Lent>> {
        let (place, stale) = self.store.lend(&mut self.rng, self.fresh_after)?;
        self.counters.gets_ok += 1;
        Some(Lent { place, stale })
    }
}

impl<R: Send + 'static, E: StdError + 'static> State<IdleStore<R>, E> {
    /// A lent resource leaves the pool with its holder.
    pub(crate) fn detach(&mut self, id: ResourceId, now: Moment, actions: &mut Actions<R, E>) {
        self.store.detach(id);
        self.counters.ended.count(EndReason::Detached);
        if self.observed {
            actions.events.push(Event::Ended { id, reason: EndReason::Detached });
        }
        self.settle(now, actions);
    }
}
