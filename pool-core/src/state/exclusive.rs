//! The store of an exclusive pool: a stack of idle resources.
//!
//! Last in, first out: work packs onto few resources, which stay warm, and the others grow idle enough
//! to go. Sorted by when they came back, so the front has been idle for longest.

use std::collections::{HashMap, HashSet, VecDeque};

use super::NEVER_STEADY;
use super::store::{Ended, Shrunk, Store};
use crate::config::Limits;
use crate::group::GroupId;
use crate::manager::ResourceId;
use crate::metadata::{Metadata, Slot};
use crate::moment::{Clock, Moment};
use crate::observer::EndReason;

pub struct IdleStore<R> {
    idle: VecDeque<Box<Slot<R>>>,
    /// Lent, or in the front.
    lent: usize,
    /// Idle, and held to be looked at.
    held: usize,
    /// Resources that somebody may speak of: a manager may do so when it is gone.
    known: HashSet<ResourceId>,
    /// Known resources that are out and go when they come back, because their manager said so.
    doomed: HashMap<ResourceId, EndReason>,
}

impl<R> Default for IdleStore<R> {
    fn default() -> Self {
        Self {
            idle: VecDeque::new(),
            lent: 0,
            held: 0,
            known: HashSet::new(),
            doomed: HashMap::new(),
        }
    }
}

impl<R> IdleStore<R> {
    /// Gives a lent resource away: it leaves the pool with its holder.
    pub(crate) fn detach(&mut self, id: ResourceId) {
        self.lent -= 1;
        self.forget(id);
    }

    pub(crate) fn forget(&mut self, id: ResourceId) {
        if !self.known.is_empty() {
            self.known.remove(&id);
            self.doomed.remove(&id);
        }
    }

    fn ended(&mut self, slot: Box<Slot<R>>, reason: EndReason) -> Ended<R> {
        self.forget(slot.id);
        // The present use, if there is one, is not over.
        let served = slot.uses > 1;
        Ended::new(slot, reason, served)
    }

    /// Ends a resource that came back and is doomed.
    fn end_doomed(&mut self, slot: Box<Slot<R>>) -> Result<Box<Slot<R>>, Ended<R>> {
        match self.doomed.get(&slot.id) {
            Some(&reason) => Err(self.ended(slot, reason)),
            None => Ok(slot),
        }
    }

    /// Puts a resource where it belongs by its stamp: nearly always at the end.
    fn push(&mut self, slot: Box<Slot<R>>) {
        if self.idle.len() == self.idle.capacity() {
            // By half, and not to twice as much: of what it takes, a third is empty at most.
            self.idle.reserve_exact(self.idle.len() / 2 + 4);
        }
        let later = self.idle.iter().rev().take_while(|other| other.returned > slot.returned);
        match later.count() {
            0 => self.idle.push_back(slot),
            later => self.idle.insert(self.idle.len() - later, slot),
        }
    }
}

impl<R: Send + 'static> Store for IdleStore<R> {
    type Resource = R;
    type Lent = Box<Slot<R>>;
    const CLOSING_HOLDS_PLACE: bool = true;
    const HAS_FRONT: bool = true;

    fn size(&self) -> usize {
        self.idle.len() + self.held + self.lent
    }

    fn idle(&self) -> usize {
        self.idle.len() + self.held
    }

    fn in_use(&self) -> usize {
        self.lent
    }

    fn draining(&self) -> usize {
        0
    }

    fn take_begun(&mut self) -> Vec<(ResourceId, EndReason)> {
        Vec::new()
    }

    fn places(&self) -> usize {
        self.size()
    }

    fn free(&self, _max_uses: u32) -> usize {
        self.idle.len()
    }

    fn expected_places(&self, _limits: &Limits) -> usize {
        1
    }

    fn may_lose_idle(&self, limits: &Limits) -> bool {
        self.size() > limits.min_size && self.idle() > limits.min_idle
    }

    fn surplus(&self, limits: &Limits) -> usize {
        let idle = self.idle().saturating_sub(limits.max_idle_or_size());
        idle.min(self.size().saturating_sub(limits.min_size))
    }

    fn shortage(&self, limits: &Limits, waiting: usize, creating: usize) -> usize {
        // What is being created goes to those that wait first.
        let coming = creating.saturating_sub(waiting);
        limits.min_idle.saturating_sub(self.idle() + coming)
    }

    /// Its thresholds are of the idle ones.
    fn steady(&self, _floors: &Limits, _limits: &Limits, _creating: usize) -> (usize, usize) {
        NEVER_STEADY
    }

    #[inline]
    fn slot(lent: &Box<Slot<R>>) -> &Slot<R> {
        lent
    }

    fn metadata(lent: &Box<Slot<R>>, clock: Clock) -> Metadata {
        lent.metadata(lent.uses, clock)
    }

    #[inline]
    fn uses(lent: &Box<Slot<R>>) -> u32 {
        lent.uses
    }

    fn not_used(lent: &mut Box<Slot<R>>) {
        lent.uses = lent.uses.saturating_sub(1);
    }

    fn use_up(&mut self, _lent: &Box<Slot<R>>, _reason: EndReason) {}

    #[inline]
    fn stamp(lent: &mut Box<Slot<R>>, returned: Moment) {
        lent.returned = returned;
    }

    #[inline]
    fn lend_again(lent: &mut Box<Slot<R>>, fresh_after: Moment) -> bool {
        lent.uses = lent.uses.saturating_add(1);
        lent.returned < fresh_after
    }

    #[inline]
    fn is_stale(lent: &Box<Slot<R>>, fresh_after: Moment) -> bool {
        lent.returned < fresh_after
    }

    /// Nobody else will be lent it before it has come back.
    fn checked(_lent: &Box<Slot<R>>) {}

    #[inline]
    fn lend(
        &mut self,
        _rng: &mut fastrand::Rng,
        fresh_after: Moment,
    ) -> Option<(Box<Slot<R>>, bool)> {
        let mut slot = self.idle.pop_back()?;
        self.lent += 1;
        let stale = Self::lend_again(&mut slot, fresh_after);
        Some((slot, stale))
    }

    #[inline]
    fn pass(&mut self, mut lent: Box<Slot<R>>) -> Result<Box<Slot<R>>, Box<Slot<R>>> {
        if !self.doomed.is_empty() {
            return Err(lent);
        }
        lent.uses = lent.uses.saturating_add(1);
        // From hand to hand: it has no time to turn stale.
        lent.returned = Moment::NEVER;
        Ok(lent)
    }

    fn was_passed(&self, lent: &Box<Slot<R>>) -> bool {
        lent.returned.is_never()
    }

    fn is_lendable(&self, lent: &Box<Slot<R>>) -> bool {
        !self.doomed.contains_key(&lent.id)
    }

    fn stays(&self, _lent: &Box<Slot<R>>) -> bool {
        self.doomed.is_empty()
    }

    fn take_back(&mut self, mut lent: Box<Slot<R>>, returned: Option<Moment>) -> Option<Ended<R>> {
        self.lent -= 1;
        lent.returned = returned.unwrap_or(lent.returned);
        match self.end_doomed(lent) {
            Ok(slot) => self.push(slot),
            Err(ended) => return Some(ended),
        }
        None
    }

    fn take_back_ended(&mut self, lent: Box<Slot<R>>, reason: EndReason) -> Option<Ended<R>> {
        self.lent -= 1;
        Some(self.ended(lent, reason))
    }

    fn insert(&mut self, slot: Box<Slot<R>>, _places: usize, _group: u32) {
        self.push(slot);
    }

    fn hold(&mut self, id: ResourceId) -> Option<Box<Slot<R>>> {
        let at = self.idle.iter().position(|slot| slot.id == id)?;
        let slot = self.idle.remove(at)?;
        self.held += 1;
        Some(slot)
    }

    fn let_go(&mut self, held: Box<Slot<R>>, end: Option<EndReason>) -> Option<Ended<R>> {
        self.held -= 1;
        if let Some(reason) = end {
            return Some(self.ended(held, reason));
        }
        match self.end_doomed(held) {
            Ok(slot) => self.push(slot),
            Err(ended) => return Some(ended),
        }
        None
    }

    /// What is lent is not known by its number.
    fn is_active(&self, id: ResourceId) -> bool {
        self.idle.iter().any(|slot| slot.id == id)
    }

    fn holdable(&self) -> Vec<ResourceId> {
        self.idle.iter().map(|slot| slot.id).collect()
    }

    fn idle_since(&self, returned: Moment) -> Vec<ResourceId> {
        let idle = self.idle.iter().take_while(|slot| slot.returned <= returned);
        idle.map(|slot| slot.id).collect()
    }

    fn aging(&mut self, expiry: Moment, _used_since: Option<Moment>) -> (usize, Moment) {
        let aging = self.idle.iter().filter(|slot| slot.expires <= expiry).count();
        let later = self.idle.iter().map(|slot| slot.expires).filter(|&expires| expires > expiry);
        (aging, later.min().unwrap_or(Moment::NEVER))
    }

    fn know(&mut self, id: ResourceId) {
        self.known.insert(id);
    }

    fn leases_of(&self, id: ResourceId) -> usize {
        let is_idle = || self.idle.iter().any(|slot| slot.id == id);
        usize::from(self.known.contains(&id) && !is_idle())
    }

    fn set_places(&mut self, _id: ResourceId, _places: usize) {}

    fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    fn end(&mut self, id: ResourceId, reason: EndReason) -> Option<Ended<R>> {
        if !self.known.contains(&id) {
            return None;
        }
        let Some(at) = self.idle.iter().position(|slot| slot.id == id) else {
            self.doomed.entry(id).or_insert(reason);
            return None;
        };
        let slot = self.idle.remove(at)?;
        Some(self.ended(slot, reason))
    }

    fn latest_return(&self) -> Option<Moment> {
        self.idle.back().map(|slot| slot.returned)
    }

    fn earliest_return(&self) -> Option<Moment> {
        self.idle.front().map(|slot| slot.returned)
    }

    fn end_oldest_idle(&mut self, reason: EndReason) -> Option<Ended<R>> {
        let slot = self.idle.pop_front()?;
        Some(self.ended(slot, reason))
    }

    fn shrink(&mut self) -> Shrunk<R> {
        self.end_oldest_idle(EndReason::Excess).map_or(Shrunk::Nothing, Shrunk::Ended)
    }

    fn reclaim(&mut self, _group: Option<GroupId>) -> Option<ResourceId> {
        None
    }

    fn expire(&mut self, now: Moment, ended: &mut Vec<Ended<R>>) -> Moment {
        let mut next = Moment::NEVER;
        for slot in std::mem::take(&mut self.idle) {
            if slot.expires <= now {
                ended.push(self.ended(slot, EndReason::Lifetime));
            } else {
                next = next.min(slot.expires);
                self.idle.push_back(slot);
            }
        }
        next
    }

    fn end_older(&mut self, id: u64, reason: EndReason, ended: &mut Vec<Ended<R>>) {
        for slot in std::mem::take(&mut self.idle) {
            if slot.id.0 < id {
                ended.push(self.ended(slot, reason));
            } else {
                self.idle.push_back(slot);
            }
        }
    }
}
