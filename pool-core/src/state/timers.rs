//! What happens by the passing of time: deadlines, idle timeouts, lifetimes, shrinking, the coarse
//! clock.

use std::error::Error as StdError;
use std::time::Duration;

use tokio::time::Instant;

use super::store::{Ended, Shrunk, Store};
use super::supply::BirthOrder;
use super::{ActionsOf, Failure, State};
use crate::config::CheckPolicy;
use crate::observer::{EndReason, Event};

/// How many waiters are failed under one lock, so that it stays short.
const EXPIRED_AT_ONCE: usize = 1024;

/// What maintenance is to do.
pub(crate) struct Work<R> {
    pub(crate) births: Vec<BirthOrder>,
    pub(crate) disposals: Vec<Ended<R>>,
    /// When to look again, if nothing comes up before.
    pub(crate) next: Option<Instant>,
}

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Does what is due.
    pub(crate) fn maintain(
        &mut self,
        now: Instant,
        actions: &mut ActionsOf<S>,
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
    pub(super) fn notify(&mut self, actions: &mut ActionsOf<S>) {
        if self.maintained && !self.notified {
            self.notified = true;
            actions.notify = true;
        }
    }

    /// Sees to it that maintenance wakes by `at`.
    pub(super) fn arm(&mut self, at: Instant, actions: &mut ActionsOf<S>) {
        if self.armed.is_none_or(|armed| at < armed) {
            self.notify(actions);
        }
    }

    /// The nearest of the deadlines that an event may bring nearer. Those of idle resources are left to
    /// maintenance, which is awake while the coarse clock ticks.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let tick = self.times.tick().filter(|_| self.ticking);
        let tick = tick.and_then(|tick| self.coarse.checked_add(tick));
        let shrink = self.surplus_since.and_then(|at| at.checked_add(self.times.shrink_delay));
        [tick, shrink, self.next_expiry, self.waiters.next_deadline()].into_iter().flatten().min()
    }

    /// A resource is to go at this time.
    pub(super) fn expires_at(&mut self, expires: Option<Instant>) {
        self.next_expiry = self.next_expiry.into_iter().chain(expires).min();
    }

    /// A resource has come to rest: its return has to be told from later ones.
    pub(super) fn start_ticking(&mut self, now: Instant) {
        if !self.ticking && self.maintained {
            self.ticking = true;
            self.coarse = now;
            self.fresh_after = self.stale_before(now);
        }
    }

    /// Sets the coarse clock, and stops it when no idle resource can turn from fresh to stale.
    pub(super) fn set_clock(&mut self, now: Instant) {
        self.coarse = now;
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
        self.ticking = latest.and_then(|at| at.checked_add(span)).is_some_and(|at| at > now);
        self.fresh_after = self.stale_before(now);
    }

    /// Since when a resource must have been back to be fresh. The clock may be a tick behind; when it
    /// stands still, nothing is.
    pub(super) fn stale_before(&self, now: Instant) -> Option<Instant> {
        match self.times.check_policy {
            CheckPolicy::Never => None,
            CheckPolicy::IfIdleFor(idle) if self.ticking => {
                (now + self.times.tick().unwrap_or_default()).checked_sub(idle)
            }
            CheckPolicy::Always | CheckPolicy::IfIdleFor(_) => Some(far_from(now)),
        }
    }

    fn fail_expired(&mut self, now: Instant, actions: &mut ActionsOf<S>) {
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(waker) = self.waiters.fail_expired(now, Failure::Timeout) else { return };
            actions.wake.push(waker);
        }
    }

    fn expire_idle(&mut self, now: Instant, actions: &mut ActionsOf<S>) {
        while self.idle_deadline().is_some_and(|at| at <= now) {
            let ended = self.store.end_oldest_idle(EndReason::Idle);
            self.end(ended, actions);
        }
    }

    /// When the resource that has been idle for longest is to go. A return is stamped up to a tick
    /// early, and nothing goes early.
    fn idle_deadline(&self) -> Option<Instant> {
        let may_go =
            self.store.size() > self.limits.min_size && self.store.idle() > self.limits.min_idle;
        let timeout = self.times.idle.filter(|_| may_go)?;
        let tick = self.times.tick().unwrap_or_default();
        self.store.earliest_return()?.checked_add(timeout.saturating_add(tick))
    }

    fn expire_old(&mut self, now: Instant, actions: &mut ActionsOf<S>) {
        if self.next_expiry.is_some_and(|at| at <= now) {
            let mut ended = Vec::new();
            self.next_expiry = self.store.expire(now, &mut ended);
            for ended in ended {
                self.end(Some(ended), actions);
            }
        }
    }

    fn shrink(&mut self, now: Instant, actions: &mut ActionsOf<S>) {
        let delay = self.times.shrink_delay;
        let due = self.surplus_since.and_then(|at| at.checked_add(delay));
        let surplus = self.store.surplus(&self.limits);
        if surplus == 0 || due.is_none_or(|at| at > now) {
            return;
        }
        for _ in 0..surplus.div_ceil(2) {
            match self.store.shrink() {
                Shrunk::Nothing => break,
                Shrunk::Ended(ended) => self.end(Some(ended), actions),
                Shrunk::Draining(id) if self.observed => {
                    actions.events.push(Event::Draining { id, reason: EndReason::Excess });
                }
                Shrunk::Draining(_) => {}
            }
        }
        // What is left of the surplus has a delay of its own.
        self.surplus_since = Some(now);
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let retry = self.retry_at.filter(|&at| at > now && self.missing() > 0);
        let idle = if self.closed { None } else { self.idle_deadline() };
        [self.next_change(), retry, idle].into_iter().flatten().min()
    }
}

/// A time that does not come: as far ahead as a timer can be set.
pub(crate) fn far_from(now: Instant) -> Instant {
    now + Duration::from_secs(86400 * 365 * 30)
}
