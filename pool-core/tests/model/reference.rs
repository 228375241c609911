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

use pool_core::{EndReason, Pause};
use tokio::time::Instant;

use super::plan::{Birth as Decision, Settings};
use super::queue::{Outcome, Waiter};

/// Timers go off with the next whole millisecond.
pub const TICK: Duration = Duration::from_millis(1);

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
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
    /// Since when nobody has used it: it may have been granted since.
    pub unused: Instant,
    /// It may have been lent since as one that was to be checked, and not have passed.
    pub suspect: bool,
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
    /// The pool has been reset since.
    pub stale: bool,
    pub decided: Option<Decision>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a mode")]
pub struct Model {
    pub settings: Settings,
    pub shared: bool,
    pub now: Instant,
    pub closed: bool,
    pub paused: Option<Pause>,
    pub generation: u32,
    /// In the order of service.
    pub queue: VecDeque<Waiter>,
    /// Some were served, and which of several resources each of them has is still to be seen.
    pub unsure: bool,
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
    /// Resources in a row that died unused, when the last one did, and until when the pool holds back.
    pub infants: u32,
    pub infant_died: Instant,
    pub holds_until: Instant,
    /// A caller without time has found nothing.
    pub wished: bool,
    pub last_error: bool,
    /// What waiters missed that left at this moment: a birth may still be for them.
    pub just_left: usize,
    pub left_at: Instant,
    /// What has ended that the model has not been told of yet.
    pub fates: BTreeMap<u64, (EndReason, Instant)>,
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
            closed: false,
            paused: None,
            generation: 0,
            queue: VecDeque::new(),
            unsure: false,
            outcomes: BTreeMap::new(),
            resources: BTreeMap::new(),
            births: BTreeMap::new(),
            closing: BTreeMap::new(),
            to_shed: (0, 0),
            turn: 0,
            failures: 0,
            retry_at: now,
            infants: 0,
            infant_died: now,
            holds_until: now,
            wished: false,
            last_error: false,
            just_left: 0,
            left_at: now,
            fates: BTreeMap::new(),
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

    pub fn wish(&mut self) {
        self.wished = true;
    }

    /// A holder gives a resource back, because of `cause` for good.
    pub fn give_back(&mut self, id: u64, cause: Option<EndReason>) {
        self.come_back(id, cause);
        self.serve();
        self.note();
    }

    /// A place comes back, which is for nobody yet.
    pub fn come_back(&mut self, id: u64, cause: Option<EndReason>) {
        // Why the pool let it go thereupon, if it did.
        let fate = self.fates.get(&id).filter(|(_, at)| *at < self.now + TICK);
        let seen = fate.map(|&(reason, _)| reason);
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
        if resource.ends.is_empty() && !shared {
            self.wished = false;
        }
        resource.unused = now;
        if unused {
            resource.rested = now;
            resource.turn = turn;
        }
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

    // What follows from it.

    /// Of a shared pool, what is too old has no new holders.
    pub fn grow_old(&mut self) {
        for resource in self.resources.values_mut().filter(|r| r.holders > 0) {
            let is_old = resource.expires.is_some_and(|expires| expires <= self.now);
            if is_old && !resource.ends.contains(&EndReason::Lifetime) {
                resource.ends.push(EndReason::Lifetime);
            }
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
            self.serve();
        }
        self.note();
    }

    /// An eighth for the stamp of its return, one for the reading of the clock.
    pub fn may_be_stale(settings: &Settings, idle_for: Duration) -> bool {
        idle_for + TICK >= millis(settings.check_after) / 4 * 3
    }

    pub fn take_place(&mut self, id: u64) {
        let resource = self.resources.get(&id);
        let resource = resource.unwrap_or_else(|| panic!("{id} was lent and is not there"));
        let good = resource.ends.is_empty() || self.is_vague(resource);
        let free = resource.holders < resource.places;
        assert!(good && free, "{id} was lent as it is: {resource:?}");
        let resource = self.resources.get_mut(&id).unwrap();
        let idle_for = self.now - resource.unused;
        resource.suspect |= resource.holders == 0 && Self::may_be_stale(&self.settings, idle_for);
        resource.ends.clear();
        resource.holders += 1;
        resource.grants += 1;
    }

    pub fn learn(&mut self, id: u64, expires: Option<Instant>) {
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
