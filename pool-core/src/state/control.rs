//! What is done to a whole pool: limits, closing, pausing, a new generation, looking at idle resources.

use std::error::Error as StdError;
use std::sync::Arc;

use super::timers::FAILED_AT_ONCE;
use super::waiters::Whom;
use super::{ActionsOf, Failure, Groups, State, Store, Ticket};
use crate::config::Limits;
use crate::control::Pause;
use crate::error::CreateError;
use crate::manager::ResourceId;
use crate::moment::Moment;
use crate::observer::{EndReason, Event};

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Changes the limits. What is idle above the maximum size goes at once, what is lent when it comes back.
    pub(crate) fn set_limits(
        &mut self,
        limits: Limits,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        self.limits = limits;
        // More may go by its age than before.
        self.notify(actions);
        while self.is_oversize() {
            let before = self.store.size();
            let ended = self.store.end_oldest_idle(EndReason::Excess);
            // One that is being looked at drains.
            if ended.is_none() && self.store.size() == before {
                break;
            }
            self.end(ended, now, actions);
        }
        if S::CLOSING_HOLDS_PLACE {
            let max_size = limits.max_size;
            for refused in self.waiters.fail_larger(max_size, || Failure::TooMany(max_size)) {
                self.refuse(refused, now, actions);
            }
        }
        self.settle(now, actions);
    }

    /// Fails those that wait, ends what is idle, and what is lent when it comes back. Says whether there are
    /// more that wait, for whom it is to be called again.
    pub(crate) fn close(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) -> bool {
        if !std::mem::replace(&mut self.closed, true) {
            actions.closed = true;
            self.end_all(now, actions);
        }
        self.fail_first(usize::MAX, Whom::All, || Failure::Closed, now, actions) > 0
    }

    fn end_all(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        self.end_older(u64::MAX, EndReason::Closed, now, actions);
        // Nothing is left to be timed.
        self.next_expiry = Moment::NEVER;
        self.next_aging = Moment::NEVER;
        self.next_look = Moment::NEVER;
        self.looks.clear();
        self.surplus_since = None;
        self.ticking = false;
        actions.events.push(Event::Closed);
    }

    /// Lends nothing and creates nothing from now on; those that wait fail or wait on.
    ///
    /// Says whether there are more to [fail](Self::fail_paused).
    pub(crate) fn pause(
        &mut self,
        pause: Pause,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> bool {
        if self.closed {
            return false;
        }
        let before = self.paused.replace(pause);
        if before.is_none() {
            actions.events.push(Event::Paused);
        }
        let more = self.fail_paused(now, actions);
        self.settle(now, actions);
        more
    }

    /// Fails those that wait while they are to fail. Says whether there are more.
    pub(crate) fn fail_paused(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) -> bool {
        self.paused == Some(Pause::Fail)
            && self.fail_first(usize::MAX, Whom::All, || Failure::Paused, now, actions) > 0
    }

    /// Fails `most` of those that wait, as many of them as may be under one lock. Says how many are left to fail.
    pub(super) fn fail_first(
        &mut self,
        most: usize,
        whom: Whom,
        failure: impl Fn() -> Failure<E>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> usize {
        let most = most.min(self.waiters.waiting_in_all());
        let tickets = self.waiters.first_of(most.min(FAILED_AT_ONCE), whom);
        self.fail_these(&tickets, failure, now, actions);
        if tickets.len() < FAILED_AT_ONCE { 0 } else { most - FAILED_AT_ONCE }
    }

    pub(super) fn fail_these(
        &mut self,
        tickets: &[Ticket],
        failure: impl Fn() -> Failure<E>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        for ticket in tickets {
            if let Some(refused) = self.waiters.fail(*ticket, failure()) {
                self.refuse(refused, now, actions);
            }
        }
    }

    pub(crate) fn resume(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        if self.paused.take().is_some() {
            actions.events.push(Event::Resumed);
            if let Some(shed) = &mut self.shed {
                shed.resumed(now);
            }
        }
        self.settle(now, actions);
    }

    /// Begins a generation: all resources that are there or being created are of an older one.
    pub(crate) fn reset(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) -> u32 {
        self.generation = self.generation.saturating_add(1);
        self.oldest = self.next_id;
        self.front.set_oldest(self.oldest);
        let generation = self.generation;
        actions.events.push(Event::Reset { generation });
        self.end_older(self.oldest, EndReason::Stale, now, actions);
        // The peer that did not answer may not be the one that will be asked now.
        self.reset_backoff(now, actions);
        generation
    }

    /// The next creation, if one is wanted, is due now.
    pub(crate) fn reset_backoff(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        self.pace.reset();
        if let Some(groups) = self.store.groups_mut() {
            groups.reset_paces();
        }
        self.settle(now, actions);
    }

    fn end_older(
        &mut self,
        id: u64,
        reason: EndReason,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        let mut ended = Vec::new();
        self.store.end_older(id, reason, &mut ended);
        for ended in ended {
            self.end(Some(ended), now, actions);
        }
    }

    /// Holds a resource to look at it.
    pub(crate) fn hold(&mut self, id: ResourceId) -> Option<S::Lent> {
        if self.closed { None } else { self.store.hold(id) }
    }

    /// Lets go of a resource that was held; it is to end for a reason, or stays.
    pub(crate) fn let_go(
        &mut self,
        held: S::Lent,
        end: Option<EndReason>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        // Of a shared one, others may be holders, whom a look is not to cost their successors.
        let is_due = |&reason: &EndReason| S::HAS_FRONT || reason != EndReason::Excess;
        let end = end.or_else(|| self.end_of(&held, now).filter(is_due));
        let expires = S::slot(&held).expires;
        let ended = self.store.let_go(held, end);
        if ended.is_none() {
            self.expires_at(expires);
            // While it was held it was not among the idle ones that maintenance looked at.
            self.arm(self.idle_deadline(), actions);
        }
        self.end(ended, now, actions);
        self.settle(now, actions);
    }

    /// A look at an idle resource is over.
    pub(crate) fn looked(
        &mut self,
        held: S::Lent,
        end: Option<EndReason>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        self.looking -= 1;
        self.let_go(held, end, now, actions);
        if !self.looks.is_empty() {
            self.notify(actions);
        }
    }

    /// How many creations have failed so far.
    pub(crate) fn failed(&self) -> u64 {
        self.counters.create_failed
    }

    /// The error of the last creation, if it is fatal and not among the first `failed`.
    pub(crate) fn fatal_error_since(&self, failed: u64) -> Option<Arc<CreateError<E>>> {
        let last = self.last_error.as_ref()?;
        let is_new = last.fatal && self.counters.create_failed > failed;
        is_new.then(|| Arc::clone(&last.error))
    }

    /// Whether resources are missing to the minimum, or there is none although groups keep some.
    pub(crate) fn misses_minimum(&self) -> bool {
        let Limits { min_size, max_size, .. } = self.limits;
        let size = self.store.size();
        let misses_idle = size < max_size && self.store.shortage(&self.limits, 0, 0) > 0;
        let has_none = size == 0 && self.groups().is_some_and(|groups| groups.minimum() > 0);
        size < min_size.min(max_size) || misses_idle || has_none
    }

    /// Whether resources are missing to the minimum of a group for which creations do not fail.
    pub(crate) fn misses_minimum_of_groups(&self) -> bool {
        self.groups().is_some_and(Groups::misses_minimum)
    }
}
