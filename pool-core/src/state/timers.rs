//! What happens by the passing of time: deadlines, idle timeouts, lifetimes, shrinking, the coarse
//! clock.

use std::error::Error as StdError;
use std::time::Duration;

use super::births::BirthOrder;
use super::store::{Ended, Shrunk, Store};
use super::{ActionsOf, Failure, State};
use crate::config::CheckPolicy;
use crate::moment::Moment;
use crate::observer::EndReason;

/// How often the time is kept of those that join, if it is.
const SAMPLE: Duration = Duration::from_millis(1);

/// How many have to join in that time to make it worth while.
const BUSY: u128 = 100;

/// How many join before maintenance has a look at how many there are.
pub(super) const LOOK_AFTER: u64 = 4096;

/// How many waiters are failed under one lock, so that it stays short.
pub(super) const FAILED_AT_ONCE: usize = 1024;

/// What maintenance is to do.
pub(crate) struct Work<S: Store> {
    pub(crate) births: Vec<BirthOrder>,
    pub(crate) disposals: Vec<Ended<S::Resource>>,
    /// Idle resources to be checked.
    pub(crate) looks: Vec<S::Lent>,
    /// When to look again, if nothing comes up before.
    pub(crate) next: Moment,
    /// The pool is closed and empty: there will be nothing to do any more.
    pub(crate) over: bool,
}

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Does what is due.
    pub(crate) fn maintain(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) -> Work<S> {
        self.set_clock(now);
        self.sample(now);
        self.fail_expired(now, actions);
        if !self.closed {
            self.expire_idle(now, actions);
            self.expire_old(now, actions);
            self.shrink(now, actions);
        }
        self.settle(now, actions);
        let births = self.start_births(now, actions);
        let looks = self.start_looks(now);
        // All that maintenance can be notified of so far is done.
        self.notified = false;
        actions.notify = false;
        self.armed = self.next_deadline(now);
        let over = self.closed && self.is_empty() && self.waiters.waiting_in_all() == 0;
        Work { births, disposals: std::mem::take(&mut self.outbox), looks, next: self.armed, over }
    }

    /// Keeps the time for those that join while they are many: reading the clock once in a millisecond is
    /// less than reading it for each of them.
    ///
    /// Those that join are given the time of the last look, and when it is over the one of its end: nobody's
    /// deadline comes early, however late this is.
    fn sample(&mut self, now: Moment) {
        if self.sampling {
            self.waiters.join_later(self.sampled_from, self.sampled_at, now);
        }
        self.sampled_from = self.waiters.next_stand();
        let span = now.since(std::mem::replace(&mut self.sampled_at, now));
        let waits = self.waiters.joined();
        let joined = waits - std::mem::replace(&mut self.sampled_waits, waits);
        let spans = span.as_nanos() / SAMPLE.as_nanos() + 1;
        self.sampling = u128::from(joined) >= BUSY * spans && !self.closed;
        self.front.set_sampled(self.sampling.then_some(now));
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
            if self.notified {
                // It sets its timer anew when it has run, whenever that is: until then there is nothing more to say.
                self.armed = at;
            }
        }
    }

    /// The nearest of the deadlines that an event may bring nearer. Those of idle resources are left to
    /// maintenance, which is awake while the coarse clock ticks.
    pub(super) fn next_change(&self) -> Moment {
        let mut nearest = self.next_expiry.min(self.waiters.next_deadline());
        if let Some(since) = self.surplus_since {
            nearest = nearest.min(since.after(self.times.shrink_delay));
        }
        nearest = nearest.min(self.next_look).min(self.next_aging).min(self.next_retry());
        if self.sampling {
            nearest = nearest.min(self.sampled_at.after(SAMPLE));
        }
        if let (Some(shed), Some(joined)) = (&self.shed, self.waiters.earliest_joined())
            && self.paused.is_none()
        {
            nearest = nearest.min(shed.next(joined));
        }
        match self.times.tick() {
            Some(tick) if self.ticking => nearest.min(self.front.coarse().after(tick)),
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
            let coarse = self.front.coarse().max(now);
            self.front.set_coarse(coarse);
            self.front.set_fresh_after(self.stale_before(coarse));
        }
        if let (Some(interval), true) = (self.times.keepalive, self.next_look.is_never()) {
            self.next_look = now.after(interval);
        }
    }

    /// Sets the coarse clock, and stops it when no idle resource can turn from fresh to stale. While some are
    /// lent it goes on: their returns are stamped by it, and each one would start it anew.
    pub(super) fn set_clock(&mut self, now: Moment) {
        self.front.set_coarse(self.front.coarse().max(now));
        let Some(tick) = self.times.tick() else {
            // Nothing is measured by it.
            self.ticking = true;
            self.front.set_fresh_after(self.stale_before(now));
            return;
        };
        let span = match self.times.check_policy {
            CheckPolicy::IfIdleFor(idle) => idle,
            CheckPolicy::Always | CheckPolicy::Never => tick * 2,
        };
        // A look at each idle one, where it matters.
        let turns_stale = || self.store.latest_return().is_some_and(|at| at.after(span) > now);
        self.ticking = self.store.in_use() > 0 || turns_stale();
        self.front.set_fresh_after(self.stale_before(now));
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
        for _ in 0..FAILED_AT_ONCE {
            let expired = self.waiters.fail_expired(now, Failure::Timeout);
            let Some(refused) = expired else { return };
            self.refuse(refused, now, actions);
        }
    }

    fn expire_idle(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        while self.idle_deadline() <= now {
            let Some(ended) = self.store.end_oldest_idle(EndReason::Idle) else { return };
            self.end(Some(ended), now, actions);
        }
    }

    /// When the resource that has been idle for longest is to go. A return is stamped up to a tick
    /// early, and nothing goes early.
    pub(super) fn idle_deadline(&self) -> Moment {
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
        let surplus = self.store.surplus(&self.floors());
        if surplus == 0 || due.is_none_or(|due| due > now) {
            return;
        }
        for _ in 0..surplus.div_ceil(2) {
            match self.store.shrink() {
                Shrunk::Nothing => break,
                Shrunk::Ended(ended) => self.end(Some(ended), now, actions),
                Shrunk::Draining => {}
            }
        }
        // What is left of the surplus has a delay of its own.
        self.surplus_since = Some(now);
    }

    /// Begins to look at idle resources that have not been used since the look before, a few at a time.
    fn start_looks(&mut self, now: Moment) -> Vec<S::Lent> {
        let Some(interval) = self.times.keepalive else { return Vec::new() };
        if self.next_look <= now {
            self.looks = self.store.idle_since(now.before(interval));
            // Popped from the end: the one that has been idle for longest comes first.
            self.looks.reverse();
            let is_empty = self.store.size() == 0;
            self.next_look = if is_empty { Moment::NEVER } else { now.after(interval) };
        }
        let mut held = Vec::new();
        while self.looking < self.limits.max_creating {
            let Some(id) = self.looks.pop() else { break };
            if let Some(resource) = self.store.hold(id) {
                self.looking += 1;
                held.push(resource);
            }
        }
        held
    }

    fn next_deadline(&self, now: Moment) -> Moment {
        if self.closed {
            return Moment::NEVER;
        }
        let nearest = self.next_change();
        // What is missing and due did not all start at once.
        let retry = self.next_birth_at().max(now);
        nearest.min(retry).min(self.idle_deadline())
    }
}
