//! What happens by the passing of time: deadlines, idle timeouts, lifetimes, shrinking, the coarse
//! clock.

use std::error::Error as StdError;

use super::store::{Ended, Shrunk, Store};
use super::supply::BirthOrder;
use super::{ActionsOf, Failure, State};
use crate::config::CheckPolicy;
use crate::moment::Moment;
use crate::observer::{EndReason, Event};

/// How many waiters are failed under one lock, so that it stays short.
const EXPIRED_AT_ONCE: usize = 1024;

/// What maintenance is to do.
pub(crate) struct Work<R> {
    pub(crate) births: Vec<BirthOrder>,
    pub(crate) disposals: Vec<Ended<R>>,
    /// When to look again, if nothing comes up before.
    pub(crate) next: Moment,
}

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Does what is due.
    pub(crate) fn maintain(
        &mut self,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Work<S::Resource> {
        self.set_clock(now);
        self.fail_expired(now, actions);
        if !self.closed {
            self.expire_idle(now, actions);
            self.expire_old(now, actions);
            self.shrink(now, actions);
        }
        self.settle(now, actions);
        let births = self.start_births(now, actions);
        // All that maintenance can be notified of so far is done.
        self.notified = false;
        actions.notify = false;
        self.armed = self.next_deadline(now);
        Work { births, disposals: std::mem::take(&mut self.outbox), next: self.armed }
    }

    /// Wakes maintenance, if there is one.
    pub(super) fn notify(&mut self, actions: &mut ActionsOf<S, E>) {
        if self.maintained && !self.notified {
            self.notified = true;
            actions.notify = true;
        }
    }

    /// Sees to it that maintenance wakes by `at`.
    pub(super) fn arm(&mut self, at: Moment, actions: &mut ActionsOf<S, E>) {
        if at < self.armed {
            self.notify(actions);
        }
    }

    /// The nearest of the deadlines that an event may bring nearer. Those of idle resources are left to
    /// maintenance, which is awake while the coarse clock ticks.
    pub(super) fn next_change(&self) -> Moment {
        let mut nearest = self.next_expiry.min(self.waiters.next_deadline());
        if let Some(since) = self.surplus_since {
            nearest = nearest.min(since.after(self.times.shrink_delay));
        }
        match self.times.tick() {
            Some(tick) if self.ticking => nearest.min(self.coarse.after(tick)),
            _ => nearest,
        }
    }

    /// A resource is to go at this time.
    pub(super) fn expires_at(&mut self, expires: Moment) {
        self.next_expiry = self.next_expiry.min(expires);
    }

    /// A resource has come to rest: its return has to be told from later ones.
    pub(super) fn note_time(&mut self, now: Moment) {
        if self.maintained {
            self.ticking = true;
            // Returns are stamped in order: never before one that knew the time.
            self.coarse = self.coarse.max(now);
            self.fresh_after = self.stale_before(self.coarse);
        }
    }

    /// Sets the coarse clock, and stops it when no idle resource can turn from fresh to stale.
    pub(super) fn set_clock(&mut self, now: Moment) {
        self.coarse = self.coarse.max(now);
        let Some(tick) = self.times.tick() else {
            // Nothing is measured by it.
            self.ticking = true;
            self.fresh_after = self.stale_before(now);
            return;
        };
        let span = match self.times.check_policy {
            CheckPolicy::IfIdleFor(idle) => idle,
            CheckPolicy::Always | CheckPolicy::Never => tick * 2,
        };
        let latest = self.store.latest_return();
        self.ticking = latest.is_some_and(|at| at.after(span) > now);
        self.fresh_after = self.stale_before(now);
    }

    /// Since when a resource must have been back to be fresh. The clock may be a tick behind; when it
    /// stands still, nothing is.
    pub(super) fn stale_before(&self, now: Moment) -> Moment {
        match self.times.check_policy {
            CheckPolicy::Never => Moment::default(),
            CheckPolicy::IfIdleFor(idle) if self.ticking => {
                now.after(self.times.tick().unwrap_or_default()).before(idle)
            }
            CheckPolicy::Always | CheckPolicy::IfIdleFor(_) => Moment::NEVER,
        }
    }

    fn fail_expired(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(waker) = self.waiters.fail_expired(now, Failure::Timeout) else { return };
            actions.wake.push(waker);
        }
    }

    fn expire_idle(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        while self.idle_deadline() <= now {
            let ended = self.store.end_oldest_idle(EndReason::Idle);
            self.end(ended, now, actions);
        }
    }

    /// When the resource that has been idle for longest is to go. A return is stamped up to a tick
    /// early, and nothing goes early.
    fn idle_deadline(&self) -> Moment {
        let may_go = self.store.may_lose_idle(&self.limits);
        let (Some(timeout), Some(tick), true) = (self.times.idle, self.times.tick(), may_go) else {
            return Moment::NEVER;
        };
        let earliest = self.store.earliest_return();
        earliest.map_or(Moment::NEVER, |at| at.after(timeout).after(tick))
    }

    fn expire_old(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        if self.next_expiry <= now {
            let mut ended = Vec::new();
            self.next_expiry = self.store.expire(now, &mut ended);
            for ended in ended {
                self.end(Some(ended), now, actions);
            }
        }
    }

    fn shrink(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        let due = self.surplus_since.map(|since| since.after(self.times.shrink_delay));
        let surplus = self.store.surplus(&self.limits);
        if surplus == 0 || due.is_none_or(|due| due > now) {
            return;
        }
        for _ in 0..surplus.div_ceil(2) {
            match self.store.shrink() {
                Shrunk::Nothing => break,
                Shrunk::Ended(ended) => self.end(Some(ended), now, actions),
                Shrunk::Draining(id) if self.observed => {
                    actions.events.push(Event::Draining { id, reason: EndReason::Excess });
                }
                Shrunk::Draining(_) => {}
            }
        }
        // What is left of the surplus has a delay of its own.
        self.surplus_since = Some(now);
    }

    fn next_deadline(&self, now: Moment) -> Moment {
        if self.closed {
            return Moment::NEVER;
        }
        let nearest = self.next_change();
        let waits_for_retry = self.retry_at > now && self.missing() > 0;
        let retry = if waits_for_retry { self.retry_at } else { Moment::NEVER };
        nearest.min(retry).min(self.idle_deadline())
    }
}
