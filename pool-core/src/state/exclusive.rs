//! The store of an exclusive pool: a stack of idle resources.
//!
//! Last in, first out: work packs onto few resources, which stay warm, and the others grow idle enough
//! to go. Pushed at the back with a clock that never goes back, so the front has been idle for longest.

use std::collections::{HashMap, HashSet, VecDeque};

use super::store::{Ended, Shrunk, Store};
use crate::config::Limits;
use crate::manager::ResourceId;
use crate::metadata::{Metadata, Slot};
use crate::moment::{Clock, Moment};
use crate::observer::EndReason;

pub struct IdleStore<R> {
    idle: VecDeque<Box<Slot<R>>>,
    lent: usize,
    /// Every resource of the store, idle or lent: a manager may speak of one that is gone.
    live: HashSet<ResourceId>,
    /// Lent resources that go when they come back, because their manager said so.
    doomed: HashMap<ResourceId, EndReason>,
}

impl<R> Default for IdleStore<R> {
    fn default() -> Self {
        Self { idle: VecDeque::new(), lent: 0, live: HashSet::new(), doomed: HashMap::new() }
    }
}

impl<R> IdleStore<R> {
    /// Gives a lent resource away: it leaves the pool with its holder.
    pub(crate) fn detach(&mut self, id: ResourceId) {
        self.lent -= 1;
        self.forget(id);
    }

    fn forget(&mut self, id: ResourceId) {
        self.live.remove(&id);
        self.doomed.remove(&id);
    }

    fn ended(&mut self, slot: Box<Slot<R>>, reason: EndReason) -> Ended<R> {
        self.forget(slot.id);
        Ended::new(slot, reason)
    }
}

impl<R: Send + 'static> Store for IdleStore<R> {
    type Resource = R;
    type Lent = Box<Slot<R>>;
    const CLOSING_HOLDS_PLACE: bool = true;

    fn size(&self) -> usize {
        self.idle.len() + self.lent
    }

    fn idle(&self) -> usize {
        self.idle.len()
    }

    fn in_use(&self) -> usize {
        self.lent
    }

    fn draining(&self) -> usize {
        0
    }

    fn places(&self) -> usize {
        self.size()
    }

    fn expected_places(&self, _limits: &Limits) -> usize {
        1
    }

    fn may_lose_idle(&self, limits: &Limits) -> bool {
        self.size() > limits.min_size && self.idle.len() > limits.min_idle
    }

    fn surplus(&self, limits: &Limits) -> usize {
        let idle = self.idle.len().saturating_sub(limits.max_idle());
        idle.min(self.size().saturating_sub(limits.min_size))
    }

    fn shortage(&self, limits: &Limits, waiting: usize, creating: usize) -> usize {
        // What is being created goes to those that wait first.
        let coming = creating.saturating_sub(waiting);
        limits.min_idle.saturating_sub(self.idle.len() + coming)
    }

    fn slot(lent: &Box<Slot<R>>) -> &Slot<R> {
        lent
    }

    fn metadata(lent: &Box<Slot<R>>, clock: Clock) -> Metadata {
        lent.metadata(lent.uses, clock)
    }

    fn lend(
        &mut self,
        _rng: &mut fastrand::Rng,
        fresh_after: Moment,
    ) -> Option<(Box<Slot<R>>, bool)> {
        let mut slot = self.idle.pop_back()?;
        self.lent += 1;
        slot.uses = slot.uses.saturating_add(1);
        let stale = slot.returned < fresh_after;
        Some((slot, stale))
    }

    fn pass(&mut self, mut lent: Box<Slot<R>>) -> Result<Box<Slot<R>>, Box<Slot<R>>> {
        if !self.doomed.is_empty() {
            return Err(lent);
        }
        lent.uses = lent.uses.saturating_add(1);
        Ok(lent)
    }

    fn stays(&self, _lent: &Box<Slot<R>>) -> bool {
        self.doomed.is_empty()
    }

    fn take_back(&mut self, mut lent: Box<Slot<R>>, returned: Option<Moment>) -> Option<Ended<R>> {
        self.lent -= 1;
        if let Some(&reason) = self.doomed.get(&lent.id) {
            return Some(self.ended(lent, reason));
        }
        lent.returned = returned.unwrap_or(lent.returned);
        self.idle.push_back(lent);
        None
    }

    fn take_back_ended(&mut self, lent: Box<Slot<R>>, reason: EndReason) -> Option<Ended<R>> {
        self.lent -= 1;
        Some(self.ended(lent, reason))
    }

    fn insert(&mut self, slot: Box<Slot<R>>, _places: usize) {
        self.live.insert(slot.id);
        self.idle.push_back(slot);
    }

    fn set_places(&mut self, _id: ResourceId, _places: usize) {}

    fn end(&mut self, id: ResourceId, reason: EndReason) -> Option<Ended<R>> {
        if !self.live.contains(&id) {
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

    fn reclaim(&mut self) -> bool {
        false
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

    fn end_all(&mut self, reason: EndReason, ended: &mut Vec<Ended<R>>) {
        for slot in std::mem::take(&mut self.idle) {
            ended.push(self.ended(slot, reason));
        }
    }
}
