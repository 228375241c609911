//! The store of a shared pool: resources with several places each.
//!
//! Two tables: of groups, and of resources, each of one group. Where nobody speaks of groups there is one.
//!
//! A place is picked in two steps, both by the power of two choices: of two random groups with a free place the one with
//! fewer leases for its weight (or the first in an order), and of two random resources of it with a free place the
//! one with fewer leases per place. That spreads the load nearly as well as looking at all of them, at a
//! cost that does not grow with their number. A group holds its resources with a free place before its others.
//!
//! A resource is *active*, then *draining*, then gone:
//!
//! ```text
//!            shrink, drain, broken, expired, closed          last holder gone
//!   active ──────────────────────────────────────▶ draining ─────────────────▶ ended
//!      ▲                                              │    (at once when idle)
//!      └──────────────────────────────────────────────┘
//!                  reclaim (one that was shrunk)
//! ```

mod groups;
mod lending;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use slab::Slab;

pub(super) use self::groups::{DEFAULT, Errand, Groups, Origin};
use super::share::Share;
use super::store::Ended;
use crate::config::Limits;
use crate::group::GroupChange;
use crate::manager::ResourceId;
use crate::moment::Moment;
use crate::observer::EndReason;
use crate::status::SharedStatus;

/// More places than any peer gives, few enough to be added up.
const MAX_PLACES: usize = if usize::BITS > 32 { u32::MAX as usize } else { u16::MAX as usize };

struct Row<R> {
    share: Arc<Share<R>>,
    in_use: usize,
    places: usize,
    /// When a holder gave it back last.
    returned: Moment,
    group: u32,
    /// Its position in its group.
    at: u32,
    /// How many look at it without a lease.
    held: u32,
    /// Why it is being used up, if it is.
    draining: Option<EndReason>,
    /// That it is, is told.
    told: bool,
    /// A holder has given it back.
    served: bool,
}

impl<R> Row<R> {
    fn is_open(&self) -> bool {
        self.draining.is_none() && self.in_use < self.places
    }
}

pub struct ShareStore<R> {
    rows: Slab<Row<R>>,
    pub(super) groups: Groups,
    /// Keys of the rows by their resources' numbers.
    by_number: BTreeMap<ResourceId, u32>,
    draining: usize,
    /// Leases of active rows.
    active_in_use: usize,
    /// Leases of draining rows.
    draining_in_use: usize,
    /// Active rows without a lease.
    idle: usize,
    /// Places of the active rows.
    places: usize,
    /// What has begun to drain and was not told yet.
    begun: Vec<(ResourceId, EndReason)>,
    /// Places that a resource had last: the best guess for the next when there is none.
    learned: Option<usize>,
}

impl<R> Default for ShareStore<R> {
    fn default() -> Self {
        Self {
            rows: Slab::new(),
            groups: Groups::default(),
            by_number: BTreeMap::new(),
            draining: 0,
            active_in_use: 0,
            draining_in_use: 0,
            idle: 0,
            places: 0,
            begun: Vec::new(),
            learned: None,
        }
    }
}

impl<R: Send + 'static> ShareStore<R> {
    fn find(&self, id: ResourceId) -> Option<usize> {
        self.by_number.get(&id).map(|&key| key as usize)
    }

    /// Puts a row among those of its group that have a free place, or takes it out, as its state asks.
    fn sort_open(&mut self, key: usize) {
        let row = &self.rows[key];
        if let Some((from, to)) = self.groups.sort(row.group, row.at, row.is_open()) {
            let [from, to] = [from, to].map(|at| (at, self.groups.member(row.group, at)));
            for (at, key) in [from, to] {
                self.rows[key].at = at;
            }
        }
    }

    fn drain(&mut self, key: usize, reason: EndReason) -> Option<Ended<R>> {
        let row = &mut self.rows[key];
        match row.draining {
            Some(EndReason::Excess) => row.draining = Some(reason),
            Some(_) => {}
            None => {
                row.draining = Some(reason);
                if row.in_use > 0 || row.held > 0 {
                    row.told = true;
                    self.begun.push((row.share.slot.id, reason));
                }
                self.draining += 1;
                self.places -= row.places;
                self.groups.deactivated(row.group, row.places);
                self.active_in_use -= row.in_use;
                self.draining_in_use += row.in_use;
                self.idle -= usize::from(row.in_use == 0);
                self.sort_open(key);
            }
        }
        self.end_if_unused(key)
    }

    fn end_if_unused(&mut self, key: usize) -> Option<Ended<R>> {
        let row = &self.rows[key];
        let reason = row.draining.filter(|_| row.in_use == 0 && row.held == 0)?;
        self.by_number.remove(&row.share.slot.id);
        let row = self.rows.remove(key);
        self.draining -= 1;
        if let Some(moved) = self.groups.remove(row.group, row.at) {
            self.rows[moved].at = row.at;
        }
        // Holders give their share back under the lock, so the row's is the last one.
        let Share { mut slot, uses, .. } = Arc::into_inner(row.share)?;
        slot.uses = uses.into_inner();
        let mut ended = Ended::new(Box::new(slot), reason, row.served);
        ended.drained = row.told;
        ended.group = row.group;
        Some(ended)
    }

    /// Takes a place back, and says of which row.
    fn release(&mut self, lent: Arc<Share<R>>, now: Option<Moment>) -> usize {
        let key = lent.key;
        drop(lent);
        let row = &mut self.rows[key];
        row.in_use -= 1;
        // As a row that is active.
        let was_full = row.in_use + 1 >= row.places;
        self.groups.took_back(row.group);
        row.served |= now.is_some();
        // Whoever comes last may not have used it.
        row.returned = now.unwrap_or(row.returned);
        if row.draining.is_some() {
            self.draining_in_use -= 1;
            return key;
        }
        self.active_in_use -= 1;
        self.idle += usize::from(row.in_use == 0);
        if was_full {
            self.sort_open(key);
        }
        key
    }

    /// How each stands, in the order of their numbers.
    pub(crate) fn list(&self, now: Moment) -> Vec<SharedStatus> {
        let status = |row: &Row<R>| SharedStatus {
            id: row.share.slot.id,
            group: self.groups.name(row.group),
            in_use: row.in_use,
            places: row.places,
            draining: row.draining,
            age: now.since(row.share.slot.created),
            uses: row.share.uses.load(Ordering::Relaxed),
        };
        self.by_number.values().map(|&key| status(&self.rows[key as usize])).collect()
    }

    /// Places of a resource, on average.
    fn places_each(&self, limits: &Limits) -> usize {
        let each = self.places.checked_div(self.rows.len() - self.draining).unwrap_or(0);
        if each > 0 { each } else { self.learned.unwrap_or(limits.places) }
    }

    /// How many resources `load` leases ask for, with as many free places as are to be kept: those of
    /// `min_idle` resources. Growing and shrinking go by the same number, so neither undoes the other.
    fn needed(&self, limits: &Limits, load: usize) -> usize {
        let for_speed = load.div_ceil(limits.soft_target).min(limits.soft_max_size);
        let for_places = load.div_ceil(self.places_each(limits)).saturating_add(limits.min_idle);
        for_speed.max(for_places)
    }

    /// The most leases for which `size` resources are enough, if there are any; what
    /// [`needed`](Self::needed) says, the other way round.
    fn most_load(&self, limits: &Limits, size: usize) -> Option<usize> {
        let for_speed = if limits.soft_max_size <= size {
            usize::MAX
        } else {
            size.saturating_mul(limits.soft_target)
        };
        let loaded = size.checked_sub(limits.min_idle)?;
        Some(loaded.saturating_mul(self.places_each(limits)).min(for_speed))
    }

    /// How many may be idle: at least as many as the groups keep.
    fn max_idle(&self, limits: &Limits) -> usize {
        limits.max_idle_or_size().max(self.groups.minimum())
    }

    fn idle_rows(&self) -> impl Iterator<Item = (usize, &Row<R>)> {
        self.rows.iter().filter(|(_, row)| row.in_use == 0 && row.draining.is_none())
    }

    /// Those that their groups can do without.
    fn spare_idle_rows(&self) -> impl Iterator<Item = (usize, &Row<R>)> {
        self.idle_rows().filter(|(_, row)| self.groups.can_spare(row.group))
    }

    /// Changes the groups, all together: what is retired in the end drains.
    pub(super) fn update_groups(&mut self, changes: &[GroupChange], ended: &mut Vec<Ended<R>>) {
        let retired = changes.iter().filter_map(|change| match *change {
            GroupChange::Set(group) => self.groups.set(group),
            GroupChange::Retire(id) => self.groups.retire(id),
        });
        for group in retired.collect::<Vec<_>>() {
            if self.groups.is_retired(group) {
                for key in self.groups.members(group).to_vec() {
                    ended.extend(self.drain(key as usize, EndReason::Removed));
                }
            }
        }
    }

    /// Lends a place of a group that has a free one.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "every get of a shared pool comes here, and few are of one group"
    )]
    fn lend_in(
        &mut self,
        group: u32,
        rng: &mut fastrand::Rng,
        fresh_after: Moment,
    ) -> (Arc<Share<R>>, bool) {
        let (members, open) = self.groups.lend(group);
        let key = match open {
            1 => members[0] as usize,
            several => {
                let first = rng.u32(..several);
                // One of the others, each as likely.
                let ahead = first + rng.u32(1..several);
                let second = if ahead < several { ahead } else { ahead - several };
                let [first, second] = [first, second].map(|at| members[at as usize] as usize);
                self.less_loaded(first, second)
            }
        };
        let row = &mut self.rows[key];
        if row.in_use == 0 && row.returned < fresh_after {
            row.share.unchecked.store(true, Ordering::Relaxed);
        }
        self.idle -= usize::from(row.in_use == 0);
        row.in_use += 1;
        self.active_in_use += 1;
        let share = Arc::clone(&row.share);
        share.is_used();
        if row.in_use >= row.places {
            self.sort_open(key);
        }
        let stale = share.unchecked.load(Ordering::Relaxed);
        (share, stale)
    }

    /// Lends a place of any resource but this one, which counts as full meanwhile.
    pub(super) fn lend_other(
        &mut self,
        than: ResourceId,
        rng: &mut fastrand::Rng,
        fresh_after: Moment,
    ) -> Option<(Arc<Share<R>>, bool)> {
        let hidden = self.find(than).map(|key| (key, std::mem::take(&mut self.rows[key].places)));
        if let Some((key, _)) = hidden {
            self.sort_open(key);
        }
        let lent = self.groups.pick(rng).map(|group| self.lend_in(group, rng, fresh_after));
        if let Some((key, places)) = hidden {
            self.rows[key].places = places;
            self.sort_open(key);
        }
        lent
    }

    /// The one of two rows with fewer leases per place; the first if it is a draw.
    fn less_loaded(&self, first: usize, second: usize) -> usize {
        let (one, other) = (&self.rows[first], &self.rows[second]);
        let is_less = (other.in_use as u64) * (one.places as u64)
            < (one.in_use as u64) * (other.places as u64);
        if is_less { second } else { first }
    }
}
