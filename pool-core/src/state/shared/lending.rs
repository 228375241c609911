//! What the table of shared resources answers to the pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::groups::{self, DEFAULT, Groups};
use super::{MAX_PLACES, Row, ShareStore};
use crate::config::Limits;
use crate::group::GroupId;
use crate::manager::ResourceId;
use crate::metadata::{Metadata, Slot};
use crate::moment::{Clock, Moment};
use crate::observer::EndReason;
use crate::state::NEVER_STEADY;
use crate::state::share::Share;
use crate::state::store::{Ended, Shrunk, Store};

impl<R: Send + Sync + 'static> Store for ShareStore<R> {
    type Resource = R;
    type Lent = Arc<Share<R>>;
    const CLOSING_HOLDS_PLACE: bool = false;
    const HAS_FRONT: bool = false;

    fn size(&self) -> usize {
        self.rows.len() - self.draining
    }

    fn idle(&self) -> usize {
        self.idle
    }

    fn in_use(&self) -> usize {
        self.active_in_use + self.draining_in_use
    }

    fn draining(&self) -> usize {
        self.draining
    }

    fn take_begun(&mut self) -> Vec<(ResourceId, EndReason)> {
        std::mem::take(&mut self.begun)
    }

    fn places(&self) -> usize {
        self.places
    }

    fn free(&self, max_uses: u32) -> usize {
        let open = self.groups.open_members().map(|key| &self.rows[key]);
        let uses_left = |row: &Row<R>| max_uses.saturating_sub(Self::uses(&row.share)) as usize;
        open.map(|row| (row.places - row.in_use).min(uses_left(row))).sum()
    }

    fn expected_places(&self, limits: &Limits) -> usize {
        self.places_each(limits)
    }

    fn may_lose_idle(&self, limits: &Limits) -> bool {
        let size = self.size();
        size > limits.min_size
            && self.groups.spare(size) > 0
            && size > self.needed(limits, self.in_use())
    }

    fn surplus(&self, limits: &Limits) -> usize {
        let size = self.size();
        let needed = self.needed(limits, self.in_use()).max(1);
        let unneeded = size.saturating_sub(needed);
        let idle = self.idle.saturating_sub(self.max_idle(limits));
        let most = size.saturating_sub(limits.min_size).min(self.groups.spare(size));
        unneeded.max(idle).min(most)
    }

    fn shortage(&self, limits: &Limits, waiting: usize, creating: usize) -> usize {
        // Also what drains: its load comes back, and its successor is to be there by then.
        let load = self.in_use().saturating_add(waiting);
        self.needed(limits, load).saturating_sub(self.size() + creating)
    }

    fn steady(&self, floors: &Limits, limits: &Limits, creating: usize) -> (usize, usize) {
        let size = self.size();
        // What no group can spare is no surplus, whatever the load.
        let may_shrink = self.groups.spare(size) > 0;
        // The idle ones matter as well.
        if may_shrink && size > self.max_idle(floors) {
            return NEVER_STEADY;
        }
        let load = self.in_use();
        let (mut least, mut most) = (0, usize::MAX);
        if may_shrink && size > floors.min_size && size > 1 {
            match self.most_load(floors, size - 1) {
                Some(unneeded) if load <= unneeded => most = unneeded,
                Some(unneeded) => least = unneeded + 1,
                None => {}
            }
        }
        match self.most_load(limits, size + creating) {
            Some(enough) if load <= enough => (least, most.min(enough)),
            Some(enough) => (least.max(enough + 1), most),
            None => (least, most),
        }
    }

    fn slot(lent: &Arc<Share<R>>) -> &Slot<R> {
        &lent.slot
    }

    fn metadata(lent: &Arc<Share<R>>, clock: Clock) -> Metadata {
        lent.metadata(clock)
    }

    fn uses(lent: &Arc<Share<R>>) -> u32 {
        lent.uses.load(Ordering::Relaxed)
    }

    fn not_used(lent: &mut Arc<Share<R>>) {
        lent.set_uses(Self::uses(lent).saturating_sub(1));
    }

    fn use_up(&mut self, lent: &Arc<Share<R>>, reason: EndReason) {
        // It has a holder, so it does not end here.
        let ended = self.drain(lent.key, reason);
        debug_assert!(ended.is_none(), "bug: a resource ended that has a holder");
    }

    /// The row has the stamp.
    fn stamp(_lent: &mut Arc<Share<R>>, _returned: Moment) {}

    fn lend_again(lent: &mut Arc<Share<R>>, _fresh_after: Moment) -> bool {
        lent.is_used();
        false
    }

    /// Lending noted it, for all who are lent it before it has passed a check.
    fn is_stale(lent: &Arc<Share<R>>, _fresh_after: Moment) -> bool {
        lent.unchecked.load(Ordering::Relaxed)
    }

    fn checked(lent: &Arc<Share<R>>) {
        if lent.unchecked.load(Ordering::Relaxed) {
            lent.unchecked.store(false, Ordering::Relaxed);
        }
    }

    fn lend(
        &mut self,
        rng: &mut fastrand::Rng,
        fresh_after: Moment,
    ) -> Option<(Arc<Share<R>>, bool)> {
        let group = self.groups.pick(rng)?;
        Some(self.lend_in(group, rng, fresh_after))
    }

    // Seldom called, and not to be in the way of what is inlined into a hit.
    #[inline(never)]
    fn lend_of(
        &mut self,
        group: GroupId,
        rng: &mut fastrand::Rng,
        fresh_after: Moment,
    ) -> Option<(Arc<Share<R>>, bool)> {
        let group = self.groups.find(group).filter(|&group| self.groups.is_open(group))?;
        Some(self.lend_in(group, rng, fresh_after))
    }

    fn pass(&mut self, lent: Arc<Share<R>>) -> Result<Arc<Share<R>>, Arc<Share<R>>> {
        let row = &mut self.rows[lent.key];
        if row.draining.is_some() || row.in_use > row.places {
            return Err(lent);
        }
        row.returned = Moment::NEVER;
        lent.is_used();
        Ok(lent)
    }

    fn was_passed(&self, lent: &Arc<Share<R>>) -> bool {
        self.rows[lent.key].returned.is_never()
    }

    fn is_lendable(&self, lent: &Arc<Share<R>>) -> bool {
        let draining = self.rows[lent.key].draining;
        matches!(draining, None | Some(EndReason::Excess | EndReason::Uses))
    }

    fn stays(&self, lent: &Arc<Share<R>>) -> bool {
        self.rows[lent.key].draining.is_none()
    }

    fn take_back(&mut self, lent: Arc<Share<R>>, returned: Option<Moment>) -> Option<Ended<R>> {
        let key = self.release(lent, returned);
        self.rows[key].draining?;
        self.end_if_unused(key)
    }

    fn take_back_ended(&mut self, lent: Arc<Share<R>>, reason: EndReason) -> Option<Ended<R>> {
        let key = self.release(lent, None);
        self.drain(key, reason)
    }

    fn groups(&self) -> Option<&Groups> {
        Some(&self.groups)
    }

    fn groups_mut(&mut self) -> Option<&mut Groups> {
        Some(&mut self.groups)
    }

    fn group_of(&self, id: ResourceId) -> u32 {
        self.find(id).map_or(DEFAULT, |key| self.rows[key].group)
    }

    fn can_spare(&self, lent: &Arc<Share<R>>) -> bool {
        self.groups.can_spare(self.rows[lent.key].group)
    }

    fn insert(&mut self, slot: Box<Slot<R>>, places: usize, group: u32) {
        let places = places.min(MAX_PLACES);
        self.learned = Some(places.max(1));
        self.places += places;
        self.idle += 1;
        let id = slot.id;
        let entry = self.rows.vacant_entry();
        let key = entry.key();
        let short = groups::short(key);
        entry.insert(Row {
            in_use: 0,
            places,
            returned: slot.returned,
            group,
            at: self.groups.add(group, short),
            held: 0,
            draining: None,
            told: false,
            served: false,
            share: Arc::new(Share::new(*slot, key)),
        });
        self.by_number.insert(id, short);
        self.groups.activated(group, places);
        self.sort_open(key);
    }

    fn hold(&mut self, id: ResourceId) -> Option<Arc<Share<R>>> {
        let key = self.find(id)?;
        let row = &mut self.rows[key];
        row.held += 1;
        Some(Arc::clone(&row.share))
    }

    fn let_go(&mut self, held: Arc<Share<R>>, end: Option<EndReason>) -> Option<Ended<R>> {
        let key = held.key;
        drop(held);
        self.rows[key].held -= 1;
        match end {
            Some(reason) => self.drain(key, reason),
            None => self.end_if_unused(key),
        }
    }

    fn is_active(&self, id: ResourceId) -> bool {
        self.find(id).is_some_and(|key| self.rows[key].draining.is_none())
    }

    fn has_places(&self, id: ResourceId) -> bool {
        self.find(id).is_some_and(|key| self.rows[key].places > 0)
    }

    fn holdable(&self) -> Vec<ResourceId> {
        // One that drains as excess may be taken back.
        let lendable = |row: &Row<R>| matches!(row.draining, None | Some(EndReason::Excess));
        let active = self.rows.iter().filter(|(_, row)| lendable(row));
        active.map(|(_, row)| row.share.slot.id).collect()
    }

    fn idle_since(&self, returned: Moment) -> Vec<ResourceId> {
        let idle = self.idle_rows().filter(|(_, row)| row.returned <= returned);
        let mut idle: Vec<_> = idle.map(|(_, row)| (row.returned, row.share.slot.id)).collect();
        idle.sort_unstable();
        idle.into_iter().map(|(_, id)| id).collect()
    }

    fn aging(&mut self, expiry: Moment, used_since: Option<Moment>) -> (usize, Moment) {
        let active = || self.rows.iter().map(|(_, row)| row).filter(|row| row.draining.is_none());
        let is_used = |row: &&Row<R>| {
            used_since.is_none_or(|since| row.in_use > 0 || row.served && row.returned >= since)
        };
        let aging = active().filter(|row| row.share.slot.expires <= expiry).filter(is_used).count();
        let later = active().map(|row| row.share.slot.expires).filter(|&expires| expires > expiry);
        let later = later.min().unwrap_or(Moment::NEVER);
        if self.groups.is_on() {
            let old = active().filter(|row| row.share.slot.expires <= expiry);
            let counts = |row: &&Row<R>| is_used(row) || self.groups.keeps_minimum(row.group);
            self.groups.set_aging(old.filter(counts).map(|row| row.group).collect());
        }
        (aging, later)
    }

    /// Every row is known by its number.
    fn know(&mut self, _id: ResourceId) {}

    fn leases_of(&self, id: ResourceId) -> usize {
        self.find(id).map_or(0, |key| self.rows[key].in_use)
    }

    fn set_places(&mut self, id: ResourceId, places: usize) {
        let Some(key) = self.find(id) else { return };
        let places = places.min(MAX_PLACES);
        let row = &mut self.rows[key];
        let before = std::mem::replace(&mut row.places, places);
        if row.draining.is_none() {
            self.places = self.places - before + places;
            self.groups.has_places(row.group, before, places);
            if places > 0 {
                self.learned = Some(places);
            }
            self.sort_open(key);
        }
    }

    /// The rows know.
    fn has_doomed(&self) -> bool {
        false
    }

    fn end(&mut self, id: ResourceId, reason: EndReason) -> Option<Ended<R>> {
        let key = self.find(id)?;
        self.drain(key, reason)
    }

    fn latest_return(&self) -> Option<Moment> {
        self.idle_rows().map(|(_, row)| row.returned).max()
    }

    fn earliest_return(&self) -> Option<Moment> {
        self.spare_idle_rows().map(|(_, row)| row.returned).min()
    }

    fn end_oldest_idle(&mut self, reason: EndReason) -> Option<Ended<R>> {
        let (key, _) = self.spare_idle_rows().min_by_key(|(_, row)| row.returned)?;
        self.drain(key, reason)
    }

    fn shrink(&mut self) -> Shrunk<R> {
        let active = self.rows.iter().filter(|(_, row)| row.draining.is_none());
        let spare = active.filter(|(_, row)| self.groups.can_spare(row.group));
        let least = spare.min_by_key(|(_, row)| (row.in_use, row.share.slot.created));
        let Some((key, _)) = least else { return Shrunk::Nothing };
        self.drain(key, EndReason::Excess).map_or(Shrunk::Draining, Shrunk::Ended)
    }

    fn reclaim(&mut self, group: Option<GroupId>) -> Option<ResourceId> {
        let group = match group {
            Some(id) => Some(self.groups.find(id)?),
            None => None,
        };
        let excess = |row: &Row<R>| {
            row.draining == Some(EndReason::Excess) && group.is_none_or(|group| row.group == group)
        };
        let draining = self.rows.iter().filter(|(_, row)| excess(row));
        let roomiest = draining.max_by_key(|(_, row)| row.places.saturating_sub(row.in_use));
        let (key, _) = roomiest?;
        let row = &mut self.rows[key];
        row.draining = None;
        row.told = false;
        let id = row.share.slot.id;
        self.draining -= 1;
        self.places += row.places;
        self.groups.activated(row.group, row.places);
        self.draining_in_use -= row.in_use;
        self.active_in_use += row.in_use;
        self.idle += usize::from(row.in_use == 0);
        self.sort_open(key);
        Some(id)
    }

    fn expire(&mut self, now: Moment, ended: &mut Vec<Ended<R>>) -> Moment {
        // One that drains as excess may be taken back, so it expires, too.
        let lendable = |row: &Row<R>| matches!(row.draining, None | Some(EndReason::Excess));
        let active = self.rows.iter().filter(|(_, row)| lendable(row));
        let expiries = active.map(|(key, row)| (row.share.slot.expires, key));
        let (expired, alive): (Vec<_>, Vec<_>) = expiries.partition(|&(expires, _)| expires <= now);
        for (_, key) in expired {
            ended.extend(self.drain(key, EndReason::Lifetime));
        }
        alive.into_iter().map(|(expires, _)| expires).min().unwrap_or(Moment::NEVER)
    }

    fn end_older(&mut self, id: u64, reason: EndReason, ended: &mut Vec<Ended<R>>) {
        let older = self.rows.iter().filter(|(_, row)| row.share.slot.id.0 < id);
        let keys: Vec<_> = older.map(|(key, _)| key).collect();
        ended.extend(keys.into_iter().filter_map(|key| self.drain(key, reason)));
    }
}
