//! What is done to a whole pool, and to its model: limits, pausing, a new generation, looking at what is
//! there, closing.

use pool_core::{EndReason, Kind, Pause, Status};
use tokio::time::Instant;

use super::driver::Driver;
use super::ledger::Agent;
use super::plan::Limits;
use super::queue::{Outcome, Waiter};
use super::reference::{Model, Resource};

/// A resource that was looked at.
pub struct Seen {
    pub id: u64,
    pub expires: Option<Instant>,
    pub kept: bool,
}

impl Model {
    pub fn resize(&mut self, max_size: usize) {
        self.settings.limits.max_size = max_size;
        let idle = |r: &&Resource| r.holders == 0;
        let sure = self.resources.values().filter(|r| r.ends.is_empty()).filter(idle).count();
        let all = self.resources.values().filter(idle).count();
        let (least, most) = self.active();
        let shed = |active: usize, idle: usize| active.saturating_sub(max_size).min(idle);
        self.to_shed = (shed(least, sure), shed(most, all));
        if !self.shared {
            self.fail(|waiter| waiter.wants > max_size, |_| Outcome::TooMany);
        }
        self.serve();
        self.note();
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.settings.limits = limits;
        self.resize(limits.max_size);
    }

    pub fn close(&mut self) {
        self.closed = true;
        self.fail(|_| true, |_| Outcome::Closed);
        for resource in self.resources.values_mut() {
            resource.ends.push(EndReason::Closed);
        }
        self.note();
    }

    pub fn pause(&mut self, pause: Pause) {
        if self.closed {
            return;
        }
        self.paused = Some(pause);
        if pause == Pause::Fail {
            self.fail(|_| true, |_| Outcome::Paused);
        }
        self.note();
    }

    pub fn resume(&mut self) {
        self.paused = None;
        self.serve();
        self.note();
    }

    pub fn reset(&mut self, generation: u32) {
        self.generation += 1;
        assert_eq!(generation, self.generation);
        for resource in self.resources.values_mut() {
            resource.ends.push(EndReason::Stale);
        }
        for birth in self.births.values_mut() {
            birth.stale = true;
        }
        // Another peer is another matter.
        self.failures = 0;
        self.retry_at = self.now;
        self.holds_until = self.now;
        self.note();
    }

    /// The idle resources of an exclusive pool were looked at, all that are in service of a shared one.
    pub fn looked(&mut self, seen: &[Seen]) {
        for (id, resource) in &self.resources {
            let there = seen.iter().filter(|seen| seen.id == *id).count();
            let may = !self.closed
                && (resource.ends.is_empty() || self.is_vague(resource))
                && (self.shared || resource.holders == 0);
            let must = may && !self.is_vague(resource);
            let times = usize::from(must)..=usize::from(may);
            assert!(times.contains(&there), "{id} was seen {there} times: {self:?}");
        }
        for &Seen { id, expires, kept } in seen {
            assert!(self.resources.contains_key(&id), "{id} was seen and is not there: {self:?}");
            self.learn(id, expires);
            let resource = self.resources.get_mut(&id).unwrap();
            resource.ends.clear();
            if !kept {
                resource.ends.push(EndReason::Removed);
            } else if self.shared && self.oversize().1 {
                self.resources.get_mut(&id).unwrap().ends.push(EndReason::Excess);
            }
        }
        self.note();
    }

    /// Nobody waits for what only those have that wait.
    pub fn judge_waiters(&self) {
        let gathered: usize = self.queue.iter().map(|waiter| waiter.has.len()).sum();
        let stuck = gathered > 0
            && gathered >= self.settings.limits.max_size
            && gathered == self.resources.len()
            && self.queue.iter().all(|waiter: &Waiter| waiter.misses() > 0);
        assert!(!stuck || self.paused.is_some(), "they wait for each other: {self:?}");
    }

    pub fn judge_whole(&self, status: &Status) {
        assert_eq!((status.checking, status.closed), (0, self.closed));
        assert_eq!((status.paused, status.generation), (self.paused.is_some(), self.generation));
        assert_eq!(
            (status.max_size, status.min_size),
            (self.settings.limits.max_size, self.settings.limits.min_size)
        );
    }
}

impl<M: Agent, K: Kind<M>> Driver<M, K> {
    pub fn resize(&mut self, size: usize) {
        self.expect_at_most(size);
        self.pool.resize(size);
        self.foresee();
        self.model.resize(size);
    }

    fn expect_at_most(&mut self, size: usize) {
        let most = self.most(size);
        let mut books = self.ledger.books();
        // What was decided before may come.
        books.most = books.most.max(most);
    }

    pub fn set_limits(&mut self, new: Limits) {
        let mut limits = self.pool.limits();
        (limits.max_size, limits.min_size, limits.min_idle) =
            (new.max_size, new.min_size, new.min_idle);
        (limits.max_idle, limits.max_creating, limits.max_waiters) =
            (new.max_idle, new.max_creating, new.max_waiters);
        if new.can_be() {
            self.expect_at_most(new.max_size);
        }
        let set = self.pool.set_limits(limits);
        assert_eq!(set.is_ok(), new.can_be(), "{set:?}");
        if set.is_ok() {
            self.foresee();
            self.model.set_limits(new);
        }
    }

    pub fn pause(&mut self, pause: Pause) {
        self.pool.pause(pause);
        self.foresee();
        self.model.pause(pause);
    }

    pub fn resume(&mut self) {
        self.pool.resume();
        self.model.resume();
    }

    pub fn retain(&mut self, parity: Option<u64>) {
        let mut seen = Vec::new();
        let retained = self.pool.retain(|thing, meta| {
            let kept = parity.is_none_or(|parity| thing.id % 2 == parity);
            seen.push(Seen { id: thing.id, expires: meta.expires(), kept });
            kept
        });
        let kept = seen.iter().filter(|seen| seen.kept).count();
        assert_eq!((retained.kept, retained.removed), (kept, seen.len() - kept));
        self.model.looked(&seen);
    }

    pub fn close(&mut self) {
        self.pool.close();
        if !self.model.closed {
            self.foresee();
            self.model.close();
        }
    }
}
