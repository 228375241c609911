//! What the pool did of itself, and what it left undone: the rules by which the model judges that.

use std::time::Duration;

use pool_core::{EndReason, Status};
use tokio::time::Instant;

use super::counts::backoff;
use super::ledger::{Entry, What};
use super::plan::Birth as Decision;
use super::queue::Outcome;
use super::reference::{Birth, Model, Resource, TICK, millis};

impl Model {
    // What the pool did.

    /// `dies` is why a resource that is born here ends at once.
    pub fn did(&mut self, entry: Entry, dies: Option<EndReason>) {
        self.pass(entry.at);
        match entry.what {
            What::Started => self.started(entry.id),
            What::Created => self.created(entry.id, dies),
            What::Failed { retry_in } => self.failed(entry.id, retry_in),
            What::Draining(reason) => self.drains(entry.id, reason),
            What::Ended(reason) => self.ended(entry.id, reason),
            What::Gone => {
                let since = self.closing.remove(&entry.id);
                assert!(since.is_some(), "{} was destroyed and had not ended", entry.id);
            }
        }
        self.note();
    }

    fn started(&mut self, id: u64) {
        let now = self.now;
        let max_size = self.settings.limits.max_size;
        assert!(!self.closed, "{id} is created for a closed pool");
        assert!(self.paused.is_none(), "{id} is created for a paused pool");
        let starts = self.retry_at.max(self.holds_until);
        assert!(now >= starts, "{id} is created during the back-off: {self:?}");
        let creating = self.births.len();
        let most = if self.failures == 0 { self.settings.limits.max_creating } else { 1 };
        assert!(creating < most, "{id} is created beside {creating} others: {self:?}");
        let closing = if self.shared { 0 } else { self.closing.len() };
        let size = self.active().0 + creating + closing;
        assert!(size < max_size, "{id} is created beside {size}: {self:?}");
        let in_all = self.resources.len() + creating + self.closing.len();
        assert!(in_all < max_size * 2, "{id} is created beside {in_all}: {self:?}");
        let aging = self.aging().1;
        let wanted = self.wants_one(self.just_left, self.wished, 0, aging);
        assert!(wanted, "nobody wants {id}: {self:?}");
        self.wished = false;
        let birth = Birth { started: now, places: None, ends: None, stale: false, decided: None };
        assert!(self.births.insert(id, birth).is_none(), "{id} is created twice");
    }

    /// Whether there is a reason to create one more, if what waiters missed that `left` still counted, and
    /// `closing` resources, and so many are to be replaced.
    fn wants_one(&self, left: usize, wished: bool, closing: usize, aging: usize) -> bool {
        let creating = self.births.len();
        let waiting = self.wanted() + left;
        let coming = self.active().0 + creating;
        // What ages is replaced only as far as a minimum asks for it.
        let kept = |least: usize| if least > 0 { least + aging } else { 0 };
        if wished && creating == 0 || coming + closing < kept(self.settings.limits.min_size) {
            return true;
        }
        let limits = &self.settings.limits;
        let keeps = limits.min_size > 0 || limits.min_idle > 0;
        let comes_and_goes = usize::from(aging > 0 && self.in_use() == 0);
        let min_idle =
            if self.shared && !keeps { aging + comes_and_goes } else { kept(limits.min_idle) };
        if self.shared {
            let sure = |r: &Resource| r.ends.is_empty();
            let load = self.in_use() + waiting;
            return waiting > creating
                || self.lacks_places(load, min_idle, sure)
                || self.lacks_places(load, min_idle, |r| sure(r) || self.is_vague(r));
        }
        let for_rest = creating.saturating_sub(waiting);
        waiting > creating || min_idle > self.idle() + for_rest
    }

    /// Whether this many leases ask for more resources than these and those that come: each has as many
    /// places as the others on average.
    fn lacks_places(
        &self,
        load: usize,
        min_idle: usize,
        which: impl Fn(&Resource) -> bool,
    ) -> bool {
        let active: Vec<_> = self.resources.values().filter(|r| which(r)).collect();
        let places: usize = active.iter().map(|resource| resource.places).sum();
        let each = places.checked_div(active.len()).unwrap_or(0).max(1);
        load.div_ceil(each) + min_idle > active.len() + self.births.len()
    }

    fn created(&mut self, id: u64, dies: Option<EndReason>) {
        let now = self.now;
        let birth = self.births.remove(&id).unwrap_or_else(|| panic!("{id} was not expected"));
        let Some(Decision::Ok(places)) = birth.decided else {
            panic!("{id} was created, and was to be {birth:?}")
        };
        self.created += 1;
        let places = places.or(birth.places).unwrap_or(self.settings.places);
        let mut ends = Vec::new();
        if self.closed {
            ends.push(EndReason::Closed);
        }
        let closing = if self.shared { 0 } else { self.closing.len() };
        let (least, most) = self.active();
        if least >= self.settings.limits.max_size
            || most + self.births.len() + closing >= self.settings.limits.max_size
                && dies == Some(EndReason::Excess)
        {
            ends.push(EndReason::Excess);
        }
        ends.extend(birth.ends);
        ends.extend(birth.stale.then_some(EndReason::Stale));
        if birth.ends.is_some() {
            self.failures += 1;
            self.retry_at = now + backoff(self.failures);
        } else if ends.is_empty() {
            self.failures = 0;
            self.retry_at = now;
            self.last_error = false;
        }
        assert_eq!(!ends.is_empty(), dies.is_some(), "{id}: {dies:?}, not one of {ends:?}");
        self.turn += 1;
        let resource = Resource {
            born: now,
            expires: None,
            places: if self.shared { places } else { 1 },
            holders: 0,
            grants: 0,
            rested: now,
            unused: now,
            suspect: false,
            turn: self.turn,
            ends,
        };
        self.resources.insert(id, resource);
        self.serve();
    }

    fn failed(&mut self, id: u64, retry_in: Duration) {
        let now = self.now;
        let birth = self.births.remove(&id).unwrap_or_else(|| panic!("{id} was not expected"));
        let fatal = match birth.decided {
            Some(Decision::Err) => false,
            Some(Decision::Fatal) => true,
            Some(Decision::Ok(_)) => panic!("{id} failed, and was to be created"),
            None => {
                let late = now - (birth.started + millis(self.settings.create_timeout));
                assert!(late < TICK, "{id} ran into its timeout {late:?} late");
                false
            }
        };
        self.create_failed += 1;
        self.failures += 1;
        self.last_error = true;
        let expected = backoff(self.failures);
        let off = retry_in.abs_diff(expected);
        assert!(off < TICK, "the next is tried in {retry_in:?}, not {expected:?}");
        self.retry_at = now + retry_in;
        if fatal {
            self.fail(|_| true, |_| Outcome::Fatal);
        }
    }

    fn drains(&mut self, id: u64, reason: EndReason) {
        if reason == EndReason::Excess {
            self.judge_excess(id);
            let resource = self.resources.get_mut(&id).unwrap();
            assert!(resource.holders > 0, "{id} drains and has no holder");
            resource.ends.push(reason);
        }
        let ends = &self.resources[&id].ends;
        assert!(ends.contains(&reason), "{id} drains for {reason:?}, not {ends:?}");
    }

    fn ended(&mut self, id: u64, reason: EndReason) {
        self.sift(|model, kept| {
            !model.resources[&kept].ends.is_empty() || (kept == id && reason == EndReason::Lifetime)
        });
        let resource = self.resources.get(&id);
        let resource = resource.unwrap_or_else(|| panic!("{id} ended and is not there"));
        assert_eq!(resource.holders, 0, "{id} ended before its holders: {resource:?}");
        if resource.ends.contains(&reason) {
            // Foretold.
        } else {
            assert!(resource.ends.is_empty(), "{id} ended for {reason:?}: {resource:?}");
            match reason {
                EndReason::Idle => self.judge_idle(id),
                EndReason::Lifetime => self.judge_lifetime(id),
                EndReason::Excess => self.judge_excess(id),
                _ => panic!("{id} ended for {reason:?}: {resource:?}"),
            }
        }
        let resource = self.resources.remove(&id).unwrap();
        *self.ended.entry(reason.as_str()).or_default() += 1;
        if reason != EndReason::Detached {
            self.closing.insert(id, self.now);
        }
        if resource.grants == 0 && matches!(reason, EndReason::Broken | EndReason::Drained) {
            self.died_unused(resource.born);
        }
    }

    /// Never early, and only as long as the minimum stays.
    fn judge_idle(&self, id: u64) {
        let timeout = millis(self.settings.idle_timeout.unwrap());
        let idle_for = self.now - self.resources[&id].unused;
        assert!(idle_for >= timeout, "{id} ended after {idle_for:?}, not {timeout:?}");
        assert!(
            self.active().1 > self.settings.limits.min_size,
            "{id} ended of the minimum: {self:?}"
        );
        let min_idle = self.settings.limits.min_idle;
        assert!(self.shared || self.idle() > min_idle, "{id} ended of the idle: {self:?}");
    }

    fn judge_lifetime(&self, id: u64) {
        let resource = &self.resources[&id];
        let lifetime = millis(self.settings.max_lifetime.unwrap());
        if let Some(expires) = resource.expires {
            let late = self.now.checked_duration_since(expires);
            assert!(late.is_some_and(|late| late < TICK), "{id} ended {late:?} late");
        } else {
            let age = self.now - resource.born;
            let in_time = age + TICK >= lifetime / 10 * 9 && age < lifetime + TICK;
            assert!(in_time, "{id} ended with {age:?}");
        }
    }

    fn judge_excess(&mut self, id: u64) {
        if self.to_shed.1 > 0 {
            self.to_shed = (self.to_shed.0.saturating_sub(1), self.to_shed.1 - 1);
        } else if self.shared && self.active().1 > self.settings.limits.max_size {
            // There are too many, and one was given back.
            return;
        } else if self.shared {
            let idle_for = self.now - self.full_at;
            assert!(idle_for >= millis(self.settings.shrink_delay), "{id} ended early");
            return;
        } else {
            if self.shrinking == 0 {
                let since = self.surplus_since;
                let since = since.unwrap_or_else(|| panic!("{id} is no surplus: {self:?}"));
                let late = self.now.checked_duration_since(since + self.shrink_delay());
                // Those that are about to go for their age raise the minimum, so the delay may have begun anew.
                let in_time = late.is_some_and(|late| late < TICK || self.settings.may_age());
                assert!(in_time, "{id} ended {late:?} late");
                self.shrinking = self.surplus().div_ceil(2);
            }
            self.shrinking -= 1;
            if self.shrinking == 0 {
                self.surplus_since = Some(self.now);
            }
        }
        if self
            .settings
            .limits
            .max_idle
            .is_some_and(|max_idle| max_idle < self.settings.limits.max_size)
            && !self.shared
        {
            // By what they were last used for, or came back from unused.
            let idle = || self.resources.iter().filter(|(_, r)| r.holders == 0);
            let oldest = idle().min_by_key(|(_, r)| (r.unused, r.turn));
            let first_back = idle().min_by_key(|(_, r)| r.turn);
            let oldest = [oldest, first_back].map(|oldest| oldest.map(|(&id, _)| id));
            assert!(oldest.contains(&Some(id)), "not the oldest went: {self:?}");
        }
    }

    fn shrink_delay(&self) -> Duration {
        millis(self.settings.shrink_delay)
    }

    // What it left undone.

    /// At every moment.
    pub fn judge_state(&self, status: &Status) {
        for (id, resource) in &self.resources {
            let goes = !resource.ends.is_empty() && resource.holders == 0;
            assert!(!goes || self.is_vague(resource), "{id} was to end: {resource:?}");
        }
        assert_eq!(self.to_shed.0, 0, "not enough ended for the new maximum: {self:?}");
        let (least, most) = self.active();
        let closing = if self.shared { 0 } else { self.closing.len() };
        let beside = self.births.len() + closing;
        let size = least + beside..=most + beside;
        assert!(size.contains(&status.size), "{} in all, not {size:?}: {self:?}", status.size);
        let idle = |r: &Resource| r.holders == 0;
        let idle = self.count(|r| idle(r) && r.ends.is_empty())..=self.count(idle);
        assert!(idle.contains(&status.idle), "{} idle, not {idle:?}: {self:?}", status.idle);
        assert_eq!(status.in_use, self.in_use(), "leases: {self:?}");
        assert_eq!(status.creating, self.births.len(), "creations: {self:?}");
        assert_eq!(status.waiting, self.queue.len(), "those that wait: {self:?}");
        assert_eq!(status.closing, self.closing.len(), "destructions: {self:?}");
        assert_eq!(status.lent + status.idle, status.size - beside, "{status:?}");
        self.judge_whole(status);
        if !self.vague() {
            let active = |r: &&Resource| !self.shared || r.ends.is_empty();
            let places: usize = self.resources.values().filter(active).map(|r| r.places).sum();
            assert_eq!(status.places, places, "places: {self:?}");
        }
    }

    /// When every task of the pool waits.
    pub fn judge_rest(&self) {
        let Self { now, settings, .. } = self;
        for (id, birth) in &self.births {
            let in_time = *now < birth.started + millis(settings.create_timeout) + TICK;
            assert!(in_time && birth.decided.is_none(), "{id} is still being created: {birth:?}");
        }
        let destroy = millis(settings.destroy.min(settings.destroy_timeout));
        for (id, &since) in &self.closing {
            let over = since + destroy + TICK <= *now || destroy.is_zero();
            assert!(!over, "{id} is still being destroyed: {self:?}");
        }
        if self.closed {
            return;
        }
        let room =
            self.settings.limits.max_size.saturating_sub(self.active().1 + self.births.len());
        let stuck = !self.queue.is_empty() && self.births.is_empty();
        let closing = self.closing.len();
        let has_room = if self.shared {
            room > 0 && self.resources.len() + closing < self.settings.limits.max_size * 2
        } else {
            room > closing
        };
        let starts = self.retry_at.max(self.holds_until) + TICK;
        let holds = *now < starts || self.paused.is_some();
        assert!(!(stuck && has_room) || holds, "those that wait were forgotten: {self:?}");
        self.judge_waiters();
        self.judge_idle_ones();
        if self.shared {
            return;
        }
        // All that is wanted is on its way, as far as there may be as many at a time.
        let most = if self.failures == 0 { settings.limits.max_creating } else { 1 };
        let wanted = self.wants_one(0, false, closing, self.aging().0);
        let may = has_room && self.births.len() < most && !holds;
        assert!(!(wanted && may), "one is missing: {self:?}");
        let due = self.surplus_since.map(|since| since + self.shrink_delay() + TICK);
        let in_time = due.is_none_or(|due| *now < due) || settings.may_age();
        assert!(in_time, "the surplus is still there: {self:?}");
        assert_eq!(self.shrinking, 0, "less than half of the surplus went: {self:?}");
    }

    fn judge_idle_ones(&self) {
        let Self { now, settings, .. } = self;
        let lifetime = settings.max_lifetime.map(millis);
        let idle_timeout = settings.idle_timeout.map(millis);
        // Returns are timed by a clock that ticks eight times in the time that matters.
        let spare_for = self.spare_since.map_or(Duration::ZERO, |since| *now - since);
        for (id, resource) in self.resources.iter().filter(|(_, r)| r.holders == 0) {
            let last =
                lifetime.map(|lifetime| resource.expires.unwrap_or(resource.born + lifetime));
            assert!(last.is_none_or(|last| *now < last + TICK), "{id} is too old: {self:?}");
            let idle_for = *now - resource.rested;
            let stays = idle_timeout.is_none_or(|timeout| {
                let eighth = timeout / 8 + TICK * 2;
                idle_for < timeout + eighth || spare_for < eighth
            });
            assert!(stays || self.shared, "{id} is idle for too long: {self:?}");
        }
    }
}

/// Whether a timer that was due went off with the next whole millisecond.
pub fn in_time(due: Instant, at: Instant) -> bool {
    at.checked_duration_since(due).is_some_and(|late| late < TICK)
}
