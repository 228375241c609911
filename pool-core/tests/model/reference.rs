//! The naive model of a pool: a queue in order of arrival, resources with the number of their holders,
//! births, and what is being destroyed. Slow and obvious; it shares no code with the pool.
//!
//! What a user does, the model does too. What the pool does of itself (births, ends) it is told, and
//! judges: was that allowed, at this moment? And when all rests: is anything overdue?
//!
//! A resource of a shared pool that was drained as excess may be taken back into service, of which the
//! pool tells nobody. Until the numbers say which it is, it is *vague*.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pool_core::EndReason;
use tokio::time::Instant;

use super::plan::{Birth as Decision, Settings};

/// Timers go off with the next whole millisecond.
pub const TICK: Duration = Duration::from_millis(1);

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Debug)]
pub struct Waiter {
    pub get: u64,
    pub due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has this resource, and does not know yet.
    Lent(u64),
    Timeout(Instant),
    Closed,
    Fatal,
}

/// What a get has to come to when it is polled for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    Served,
    /// Served or queued: there is but a vague one.
    Either,
    Queued,
    Timeout,
    Closed,
    Full,
}

#[derive(Debug)]
pub struct Resource {
    pub born: Instant,
    /// When it is too old, once its metadata has been seen.
    pub expires: Option<Instant>,
    pub places: usize,
    /// Leases, and gets that have been served and do not know yet.
    pub holders: usize,
    /// How often it was granted.
    pub grants: u32,
    /// Since when nobody has it, and its place among the returns.
    pub rested: Instant,
    pub turn: u64,
    /// Why it goes, with its last holder; each is a reason that it may go for.
    pub ends: Vec<EndReason>,
}

impl Resource {
    /// It may be lent.
    pub fn is_open(&self) -> bool {
        self.ends.is_empty() && self.holders < self.places
    }
}

#[derive(Debug)]
pub struct Birth {
    pub started: Instant,
    pub places: Option<usize>,
    pub ends: Option<EndReason>,
    pub decided: Option<Decision>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a mode")]
pub struct Model {
    pub settings: Settings,
    pub shared: bool,
    pub now: Instant,
    pub max_size: usize,
    pub closed: bool,
    pub queue: VecDeque<Waiter>,
    /// Of gets that have not been polled since.
    pub outcomes: BTreeMap<u64, Outcome>,
    pub resources: BTreeMap<u64, Resource>,
    pub births: BTreeMap<u64, Birth>,
    /// What is being destroyed, and since when.
    pub closing: BTreeMap<u64, Instant>,
    /// Resources that a new maximum leaves over: at least and at most so many go at once.
    pub to_shed: (usize, usize),
    pub turn: u64,
    /// Creations that failed in a row, and when the next may start.
    pub failures: u32,
    pub retry_at: Instant,
    /// Until then the pool may hold back: one died young.
    pub holds_until: Instant,
    /// A caller without time has found nothing.
    pub wished: bool,
    pub last_error: bool,
    /// Waiters that left at this moment: a birth may still be for them.
    pub just_left: usize,
    /// Since when more rest than may.
    pub surplus_since: Option<Instant>,
    /// How many more are to go of those that shrinking has chosen.
    pub shrinking: usize,
    /// Since when an idle one may go.
    pub spare_since: Option<Instant>,
    /// When the leases of a shared pool did not fit on fewer resources last.
    pub full_at: Instant,
    pub created: u64,
    pub create_failed: u64,
    pub ended: BTreeMap<&'static str, u64>,
}

impl Model {
    pub fn new(settings: Settings, shared: bool, now: Instant) -> Self {
        let mut model = Self {
            settings,
            shared,
            now,
            max_size: settings.max_size,
            closed: false,
            queue: VecDeque::new(),
            outcomes: BTreeMap::new(),
            resources: BTreeMap::new(),
            births: BTreeMap::new(),
            closing: BTreeMap::new(),
            to_shed: (0, 0),
            turn: 0,
            failures: 0,
            retry_at: now,
            holds_until: now,
            wished: false,
            last_error: false,
            just_left: 0,
            surplus_since: None,
            shrinking: 0,
            spare_since: None,
            full_at: now,
            created: 0,
            create_failed: 0,
            ended: BTreeMap::new(),
        };
        model.note();
        model
    }

    // What a user does.

    /// What a get comes to that has to be over by `due`.
    pub fn fresh(&self, due: Instant) -> Fresh {
        let vague = self.resources.values().any(|r| self.is_vague(r) && r.holders < r.places);
        if self.closed {
            Fresh::Closed
        } else if self.queue.is_empty() && self.resources.values().any(Resource::is_open) {
            Fresh::Served
        } else if self.queue.is_empty() && vague {
            Fresh::Either
        } else if due <= self.now {
            Fresh::Timeout
        } else if self.queue.len() >= self.settings.max_waiters {
            Fresh::Full
        } else {
            Fresh::Queued
        }
    }

    pub fn wish(&mut self) {
        self.wished = true;
    }

    pub fn join(&mut self, get: u64, due: Instant) {
        self.queue.push_back(Waiter { get, due });
        self.note();
    }

    /// A get has been served from what was free.
    pub fn lend(&mut self, id: u64, expires: Option<Instant>) {
        assert!(self.queue.is_empty(), "a late caller got {id} before those that wait: {self:?}");
        self.take_place(id);
        let resource = &self.resources[&id];
        let over = expires.is_some_and(|expires| expires <= self.now);
        assert!(!over, "{id} was lent after its end: {resource:?}");
        self.learn(id, expires);
        self.note();
    }

    /// A get has learned that it was served by this one.
    pub fn handed(&mut self, get: u64, id: u64, expires: Option<Instant>) {
        match self.outcomes.remove(&get) {
            Some(Outcome::Lent(granted)) if granted == id => {}
            Some(Outcome::Lent(granted)) if self.shared && self.vague() => {
                self.resources.get_mut(&granted).unwrap().holders -= 1;
                self.take_place(id);
            }
            None if self.vague() => {
                let first = self.queue.pop_front().map(|waiter| waiter.get);
                assert_eq!(first, Some(get), "not served in order: {self:?}");
                self.take_place(id);
                // It is in service again, so it is for the others, too.
                self.serve();
            }
            other => panic!("get {get} was to come to {other:?}, and got {id}: {self:?}"),
        }
        self.learn(id, expires);
        self.note();
    }

    /// A get gives up. Says whether it had a resource.
    pub fn cancel(&mut self, get: u64) -> Option<u64> {
        self.queue.retain(|waiter| waiter.get != get);
        self.note();
        match self.outcomes.remove(&get) {
            Some(Outcome::Lent(id)) => Some(id),
            _ => None,
        }
    }

    /// A holder gives a resource back, because of `cause` for good. `seen` is why the pool let it go
    /// thereupon, if it did.
    pub fn give_back(&mut self, id: u64, cause: Option<EndReason>, seen: Option<EndReason>) {
        let (certain, possible) = self.oversize();
        let (closed, now, shared) = (self.closed, self.now, self.shared);
        let youngest_end = self.settings.max_lifetime.map(|lifetime| millis(lifetime) / 10 * 9);
        self.turn += 1;
        let turn = self.turn;
        let resource = self.resources.get_mut(&id).unwrap();
        resource.holders -= 1;
        let unused = resource.holders == 0;
        resource.ends.extend(cause);
        if closed {
            resource.ends.push(EndReason::Closed);
        }
        let is_old = match (resource.expires, youngest_end) {
            (Some(expires), _) => expires <= now,
            (None, Some(least)) => {
                resource.born + least <= now && seen == Some(EndReason::Lifetime)
            }
            (None, None) => false,
        };
        if is_old {
            resource.ends.push(EndReason::Lifetime);
        }
        let sheds = seen == Some(EndReason::Excess) || shared && !unused;
        if certain || possible && sheds {
            resource.ends.push(EndReason::Excess);
        }
        let vague = shared && resource.ends.iter().all(|&reason| reason == EndReason::Excess);
        if unused && vague && seen.is_none() && !certain {
            resource.ends.clear();
        }
        if unused {
            resource.rested = now;
            resource.turn = turn;
        }
        self.serve();
        self.note();
    }

    pub fn detach(&mut self, id: u64) {
        let resource = self.resources.get_mut(&id).unwrap();
        resource.holders -= 1;
        resource.ends = vec![EndReason::Detached];
    }

    /// The manager says that a resource is to go.
    pub fn report(&mut self, id: u64, reason: EndReason) {
        if let Some(birth) = self.births.get_mut(&id) {
            birth.ends.get_or_insert(reason);
        } else if let Some(resource) = self.resources.get_mut(&id) {
            let shrunk = resource.ends.iter().all(|&reason| reason == EndReason::Excess);
            if shrunk {
                resource.ends.clear();
                resource.ends.push(reason);
            }
        }
        self.serve();
        self.note();
    }

    pub fn set_places(&mut self, id: u64, places: usize) {
        if let Some(birth) = self.births.get_mut(&id) {
            birth.places = Some(places);
        } else if let (true, Some(resource)) = (self.shared, self.resources.get_mut(&id)) {
            resource.places = places;
        }
        self.serve();
        self.note();
    }

    pub fn resize(&mut self, max_size: usize) {
        self.max_size = max_size;
        let idle = |r: &&Resource| r.holders == 0;
        let sure = self.resources.values().filter(|r| r.ends.is_empty()).filter(idle).count();
        let all = self.resources.values().filter(idle).count();
        let (least, most) = self.active();
        let shed = |active: usize, idle: usize| active.saturating_sub(max_size).min(idle);
        self.to_shed = (shed(least, sure), shed(most, all));
        self.note();
    }

    pub fn close(&mut self) {
        self.closed = true;
        for waiter in self.queue.drain(..) {
            self.outcomes.insert(waiter.get, Outcome::Closed);
        }
        for resource in self.resources.values_mut() {
            resource.ends.push(EndReason::Closed);
        }
        self.note();
    }

    /// Time has come to this.
    pub fn pass(&mut self, now: Instant) {
        if now > self.now {
            self.just_left = 0;
        }
        self.now = self.now.max(now);
        let expired = |waiter: &Waiter| waiter.due <= now;
        for waiter in self.queue.iter().filter(|waiter| expired(waiter)) {
            self.outcomes.insert(waiter.get, Outcome::Timeout(waiter.due));
            self.just_left += 1;
        }
        self.queue.retain(|waiter| !expired(waiter));
        if self.shared {
            for resource in self.resources.values_mut().filter(|r| r.holders > 0) {
                let is_old = resource.expires.is_some_and(|expires| expires <= now);
                if is_old && !resource.ends.contains(&EndReason::Lifetime) {
                    resource.ends.push(EndReason::Lifetime);
                }
            }
        }
        self.note();
    }

    // What follows from it.

    /// Whoever came first gets what is free.
    pub fn serve(&mut self) {
        while let Some(first) = self.queue.front() {
            let open = self.resources.iter().find(|(_, resource)| resource.is_open());
            let Some((&id, _)) = open else { return };
            self.outcomes.insert(first.get, Outcome::Lent(id));
            self.queue.pop_front();
            self.take_place(id);
        }
    }

    /// Learns of a resource's fate from the number that drain.
    pub fn reconcile(&mut self, draining: usize) {
        let (least, most) = self.draining();
        assert!((least..=most).contains(&draining), "{draining} drain, not {least}..={most}");
        if self.shared && draining == least {
            for resource in self.resources.values_mut() {
                if resource.ends.iter().all(|&reason| reason == EndReason::Excess) {
                    resource.ends.clear();
                }
            }
        }
        self.note();
    }

    fn take_place(&mut self, id: u64) {
        let resource = self.resources.get(&id);
        let resource = resource.unwrap_or_else(|| panic!("{id} was lent and is not there"));
        let good = resource.ends.is_empty() || self.is_vague(resource);
        let free = resource.holders < resource.places;
        assert!(good && free, "{id} was lent as it is: {resource:?}");
        let resource = self.resources.get_mut(&id).unwrap();
        resource.ends.clear();
        resource.holders += 1;
        resource.grants += 1;
    }

    fn learn(&mut self, id: u64, expires: Option<Instant>) {
        let lifetime = self.settings.max_lifetime.map(millis);
        assert_eq!(expires.is_some(), lifetime.is_some());
        let resource = self.resources.get_mut(&id).unwrap();
        if let (Some(expires), Some(lifetime)) = (expires, lifetime) {
            let lives = expires - resource.born;
            assert!(lives <= lifetime && lives + TICK >= lifetime / 10 * 9, "lives {lives:?}");
            assert_eq!(resource.expires.unwrap_or(expires), expires, "its end has changed");
        }
        resource.expires = expires;
        self.pass(self.now);
    }
}
