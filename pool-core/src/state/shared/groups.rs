//! The groups of shared resources: what there is of each, and what is to be.
//!
//! A group is *live*, or *retired*: then its resources drain, what is born for it ends at once, and its row is forgotten
//! when nothing of it is left. One that is set again before that is live again.
//!
//! ```text
//!              retire                    nothing left
//!   live ─────────────────▶ retired ─────────────────▶ forgotten
//!     ▲                        │
//!     └────────────────────────┘ set
//! ```
//!
//! Until a user sets one there is one group without a name; it is retired when the first one is set. Without groups
//! nothing here is kept up but what a row's own counts are.
//!
//! # Invariants
//!
//! 1. A group is in `open` if and only if one of its resources has a free place, and a retired one has none.
//! 2. The totals are the sums over all rows ([`Groups::seat`] is the one that changes them), and
//!    a live group is in the sets of `births.rs` that its numbers say.
//! 3. A group that somebody is bound to (`waiters/bound.rs`) is *awaited*; one may be that nobody is bound to any more.
//!    An awaited one that has come to have a free place is *called*, until those that are bound to it have been asked.
//! 4. Something of a group that is there or is to come holds its row: a key that is out is good.

mod awaited;
mod births;
mod members;
mod order;
mod pick;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZero;

use slab::Slab;

use self::births::{Births, Seat, Seats};
pub(in crate::state) use self::births::{Errand, Origin};
use self::order::{Order, Turn};
use super::MAX_PLACES;
use crate::group::{Group, GroupId, GroupStatus, Pick};
use crate::moment::Moment;
use crate::state::pace::Pace;

/// The group of what is in no other.
pub(in crate::state) const DEFAULT: u32 = 0;

struct Row {
    /// The one without a name has none.
    id: Option<GroupId>,
    min: usize,
    weight: NonZero<u32>,
    /// The same, while it counts among those that are drawn.
    drawn_by: Option<NonZero<u32>>,
    retired: bool,
    /// Keys of its resources, those with a free place before the others.
    members: Vec<u32>,
    /// How many have one.
    open: u32,
    /// Somebody waits for a place of it, or did.
    awaited: bool,
    /// Its position among the groups of which one has.
    open_at: u32,
    /// Its resources that count towards the size, and those of them that have places at all.
    size: usize,
    able: usize,
    /// Places of the former.
    places: usize,
    /// Leases of its resources, also of those that drain.
    in_use: usize,
    /// What a lease adds to its load.
    cost: f64,
    /// Where there is an order.
    turn: Turn,
    /// Creations under way, and those of successors.
    births: Births,
    successors: usize,
    /// Resources that are to be replaced before they expire.
    aging: usize,
    pace: Pace,
    counted: Counted,
    seat: Seat,
}

/// What the totals have of a row.
#[derive(Clone, Copy, Default)]
struct Counted {
    minimum: usize,
    spare: usize,
    live: usize,
    failing: usize,
    missing: usize,
    /// Births under way, and those of which nothing will come.
    births: Births,
    lost: Births,
}

pub struct Groups {
    table: Slab<Row>,
    /// Keys of the groups with a free place.
    open: Vec<u32>,
    /// Those that are awaited, and have come to be open.
    called: BTreeSet<GroupId>,
    /// A user has set one.
    on: bool,
    by_id: HashMap<GroupId, u32>,
    totals: Counted,
    /// How many groups there are that are drawn, of each weight.
    weights: BTreeMap<NonZero<u32>, usize>,
    heaviest: u32,
    seats: Seats,
    order: Option<Order>,
    /// Those with resources that are to be replaced.
    aging: Vec<u32>,
    /// Retired ones of which nothing may be left.
    bare: Vec<u32>,
}

impl Default for Groups {
    fn default() -> Self {
        let mut groups = Self {
            table: Slab::new(),
            open: Vec::new(),
            called: BTreeSet::new(),
            on: false,
            by_id: HashMap::new(),
            totals: Counted::default(),
            weights: BTreeMap::new(),
            heaviest: 1,
            seats: Seats::default(),
            order: None,
            aging: Vec::new(),
            bare: Vec::new(),
        };
        groups.add_row(None);
        groups
    }
}

impl Groups {
    /// Whether there are any that a user has set.
    pub(in crate::state) fn is_on(&self) -> bool {
        self.on
    }

    fn add_row(&mut self, id: Option<GroupId>) -> u32 {
        let row = Row {
            id,
            min: 0,
            weight: NonZero::<u32>::MIN,
            drawn_by: None,
            retired: true,
            members: Vec::new(),
            open: 0,
            awaited: false,
            open_at: 0,
            size: 0,
            able: 0,
            places: 0,
            in_use: 0,
            cost: 0.0,
            turn: Turn::default(),
            births: Births::default(),
            successors: 0,
            aging: 0,
            pace: Pace::default(),
            counted: Counted::default(),
            seat: Seat::default(),
        };
        short(self.table.insert(row))
    }

    /// A group is there, or is as this says. Returns what is retired by that: with the first one, what has no name.
    pub(super) fn set(&mut self, group: Group) -> Option<u32> {
        let unnamed = (!std::mem::replace(&mut self.on, true)).then_some(DEFAULT);
        if unnamed.is_some() {
            self.bare.push(DEFAULT);
            self.seat(DEFAULT);
        }
        let key = self.find(group.id).unwrap_or_else(|| {
            let key = self.add_row(Some(group.id));
            self.by_id.insert(group.id, key);
            key
        });
        self.weigh(key, group.weight, false);
        self.changed(key, |row| row.min = group.min.min(MAX_PLACES));
        unnamed
    }

    /// A group is there no more. Returns its key, if it was.
    pub(super) fn retire(&mut self, id: GroupId) -> Option<u32> {
        let &key = self.by_id.get(&id)?;
        self.weigh(key, self.table[key as usize].weight, true);
        self.bare.push(key);
        self.seat(key);
        Some(key)
    }

    fn weigh(&mut self, key: u32, weight: NonZero<u32>, retired: bool) {
        let row = &mut self.table[key as usize];
        row.weight = weight;
        row.retired = retired;
        self.note_weight(key);
        self.turn_comes_sooner(key);
    }

    /// A group is drawn by its weight while one of its resources has places.
    fn note_weight(&mut self, key: u32) {
        let row = &mut self.table[key as usize];
        let after = Some(row.weight).filter(|_| !row.retired && row.able > 0);
        let before = std::mem::replace(&mut row.drawn_by, after);
        if before == after {
            return;
        }
        if let Some(before) = before
            && let Some(count) = self.weights.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                self.weights.remove(&before);
            }
        }
        if let Some(after) = after {
            *self.weights.entry(after).or_default() += 1;
        }
        self.heaviest = self.weights.last_key_value().map_or(1, |(weight, _)| weight.get());
    }

    /// Forgets what was retired and is gone.
    pub(in crate::state) fn forget_bare(&mut self) {
        for key in std::mem::take(&mut self.bare) {
            let row = self.table.get(key as usize);
            if let Some(row) = row.filter(|row| row.retired && row.is_bare()) {
                if let Some(id) = row.id {
                    self.by_id.remove(&id);
                }
                self.table.remove(key as usize);
            }
        }
    }

    pub(super) fn find(&self, id: GroupId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    pub(in crate::state) fn name(&self, key: u32) -> Option<GroupId> {
        self.table[key as usize].id
    }

    /// Whether what is born for a group ends at once.
    pub(in crate::state) fn is_retired(&self, key: u32) -> bool {
        self.table[key as usize].retired
    }

    pub(super) fn members(&self, key: u32) -> &[u32] {
        &self.table[key as usize].members
    }

    /// The sum of what they keep, with successors of what is about to be too old.
    pub(in crate::state) fn minimum(&self) -> usize {
        self.totals.minimum
    }

    /// How many of `size` resources their groups do not ask for.
    pub(super) fn spare(&self, size: usize) -> usize {
        if self.on { self.totals.spare } else { size }
    }

    /// Whether some group has more resources than it asks for.
    pub(in crate::state) fn has_spare(&self) -> bool {
        self.totals.spare > 0
    }

    /// Whether a group can do without one of its resources.
    pub(super) fn can_spare(&self, key: u32) -> bool {
        !self.on || self.table[key as usize].counted.spare > 0
    }

    /// Whether a group that can be created for has too few resources.
    pub(in crate::state) fn misses_minimum(&self) -> bool {
        self.totals.missing > 0
    }

    /// Whether creations fail for every group.
    pub(in crate::state) fn all_fail(&self) -> bool {
        self.totals.failing > 0 && self.totals.failing == self.totals.live
    }

    /// A resource with so many places may be lent, of this group.
    pub(super) fn activated(&mut self, key: u32, places: usize) {
        self.changed(key, |row| {
            row.size += 1;
            row.able += usize::from(places > 0);
            row.places += places;
        });
    }

    /// A resource with so many places is lent no more.
    pub(super) fn deactivated(&mut self, key: u32, places: usize) {
        self.changed(key, |row| {
            row.size -= 1;
            row.able -= usize::from(places > 0);
            row.places -= places;
        });
    }

    /// A resource that may be lent has another number of places.
    pub(super) fn has_places(&mut self, key: u32, before: usize, places: usize) {
        self.changed(key, |row| {
            row.able = row.able - usize::from(before > 0) + usize::from(places > 0);
            row.places = row.places - before + places;
        });
    }

    /// Changes the pace of a group.
    pub(in crate::state) fn paced<T>(
        &mut self,
        key: u32,
        change: impl FnOnce(&mut Pace) -> T,
    ) -> T {
        let result = change(&mut self.table[key as usize].pace);
        self.seat(key);
        result
    }

    fn changed(&mut self, key: u32, change: impl FnOnce(&mut Row)) {
        let row = &mut self.table[key as usize];
        change(row);
        row.note_cost();
        self.note_weight(key);
        self.load_has_changed(key);
        self.seat(key);
    }

    /// How each stands, in the order of their names.
    pub(in crate::state) fn list(&self, now: Moment) -> Vec<GroupStatus> {
        let named = self.table.iter().filter_map(|(_, row)| Some((row.id?, row)));
        let mut list: Vec<_> = named.map(|(id, row)| row.status(id, now)).collect();
        list.sort_unstable_by_key(|status| status.id);
        list
    }

    pub(crate) fn set_pick(&mut self, pick: Pick) {
        self.order = match pick {
            Pick::PowerOfTwo => None,
            Pick::LeastLoaded => Some(Order::new(true)),
            Pick::RoundRobin => Some(Order::new(false)),
        };
    }
}

impl Row {
    /// Nothing of it is there, and nothing is to come.
    fn is_bare(&self) -> bool {
        self.members.is_empty() && self.births.sum() == 0 && self.successors == 0
    }

    /// The fewest resources that are to be there, with the successors of those that are about to go.
    fn floor(&self) -> usize {
        if self.min > 0 { self.min.saturating_add(self.aging) } else { 0 }
    }

    fn counted(&self) -> Counted {
        if self.retired {
            return Counted { spare: self.size, lost: self.births, ..Counted::default() };
        }
        let failing = self.pace.failures > 0;
        Counted {
            minimum: self.floor(),
            spare: self.size.saturating_sub(self.floor()),
            live: 1,
            failing: usize::from(failing),
            missing: usize::from(!failing && self.size < self.min),
            births: self.births,
            lost: Births::default(),
        }
    }

    fn status(&self, id: GroupId, now: Moment) -> GroupStatus {
        let next = self.pace.next_start();
        GroupStatus {
            id,
            min: self.min,
            weight: self.weight,
            size: self.size,
            creating: self.births.sum(),
            in_use: self.in_use,
            places: self.places,
            draining: self.members.len() - self.size,
            retry_in: (next > now && !self.retired).then(|| next.since(now)),
            retired: self.retired,
        }
    }
}

/// A key or a position in half the space.
pub(super) fn short(key: usize) -> u32 {
    match u32::try_from(key) {
        Ok(key) => key,
        Err(_) => unreachable!("bug: more resources than could be counted"),
    }
}
