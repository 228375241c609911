//! What a pool decides where its resources are in groups: which of them the next creation is for, and how long that waits.
//!
//! Growing and shrinking for load stay the pool's. A group adds its minimum to that, which comes first and has a room of
//! its own, and a back-off of its own. One that is sought by those that wait for it comes next; it has no room of its own,
//! but takes that of an idle resource which no group asks for.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use super::pace::Pace;
use super::shared::DEFAULT;
use super::store::Shrunk;
use super::timers::FAILED_AT_ONCE;
use super::{
    Actions, ActionsOf, Errand, Failure, Groups, Key, Lent, Origin, Share, ShareStore, State, Store,
};
use crate::group::{GroupChange, GroupId, GroupStatus};
use crate::manager::{CreateReason, ResourceId};
use crate::moment::Moment;
use crate::observer::EndReason;

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// The groups, if a user has set any.
    pub(super) fn groups(&self) -> Option<&Groups> {
        self.store.groups().filter(|groups| groups.is_on())
    }

    /// How many resources there may be at most: as many as the groups keep, even if that is more than the maximum.
    pub(super) fn most(&self) -> usize {
        self.limits.max_size.max(self.groups().map_or(0, Groups::minimum))
    }

    /// How many may go beside that: drain, be destroyed, or be replaced.
    pub(super) fn most_beside(&self) -> usize {
        self.limits.max_draining.unwrap_or_else(|| self.most())
    }

    /// Creations under way that somebody may count on, and that hold the room of what they make.
    pub(super) fn coming(&self) -> usize {
        self.births.len() - self.uncertain()
    }

    /// The others: for groups that failed before, or are retired.
    pub(super) fn uncertain(&self) -> usize {
        self.groups().map_or(0, Groups::uncertain_under_way)
    }

    pub(super) fn ripen(&mut self, now: Moment) {
        if let Some(groups) = self.store.groups_mut() {
            groups.ripen(now);
        }
    }

    /// When the next creation for load may start.
    pub(super) fn next_start(&self) -> Moment {
        self.groups().map_or_else(|| self.pace.next_start(), Groups::next_start)
    }

    /// When the first group is out of its back-off.
    pub(super) fn next_retry(&self) -> Moment {
        self.groups().map_or(Moment::NEVER, Groups::next_retry)
    }

    /// The group that a creation for its minimum is to be started for. One that there is no room for takes that of a
    /// resource which no group asks for; where it is doubtful, when there is something to take it for.
    fn due_group(&self) -> Option<u32> {
        let groups = self.groups()?;
        let group = groups.due()?;
        if self.closed || self.paused.is_some() {
            return None;
        }
        let (size, most) = (self.size(), self.most());
        let is_doubtful = groups.is_doubtful(group);
        let has_room = is_doubtful || size < most || size == most && groups.has_spare();
        (has_room && self.has_room_in_all()).then_some(group)
    }

    /// The group that a creation is to be started for because somebody waits for a place of it, and there is room for.
    fn sought_group(&self) -> Option<u32> {
        let group = self.groups()?.sought()?;
        let has_room = || {
            self.size() < self.limits.max_size
                || self.store.idle() > 0 && self.store.earliest_return().is_some()
        };
        let may = !self.closed && self.paused.is_none();
        (may && has_room() && self.has_room_in_all()).then_some(group)
    }

    /// The group that a creation for those that wait for it is to be started for. What drains is taken back first.
    fn next_sought(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) -> Option<u32> {
        while let Some(group) = self.sought_group() {
            let id = self.group_name(group)?;
            if self.waiters.first_bound_to(id).is_none() {
                self.set_awaited(id, false);
            } else if self.size() < self.limits.max_size
                && let Some(reclaimed) = self.store.reclaim(Some(id))
            {
                self.reclaimed(reclaimed, actions);
                self.serve(now, actions);
            } else {
                if !self.groups()?.is_doubtful(group) {
                    self.make_idle_room(now, actions);
                }
                return Some(group);
            }
        }
        None
    }

    pub(super) fn set_awaited(&mut self, group: GroupId, awaited: bool) {
        if let Some(groups) = self.store.groups_mut() {
            groups.set_awaited(group, awaited);
        }
    }

    /// The groups with a free place that somebody waits for, by the stands of their firsts.
    pub(super) fn take_called(&mut self) -> BTreeMap<u64, GroupId> {
        let called = self.store.groups_mut().map(Groups::take_called).unwrap_or_default();
        let mut firsts = BTreeMap::new();
        for group in called {
            match self.waiters.first_bound_to(group) {
                Some(first) => drop(firsts.insert(first.stand, group)),
                None => self.set_awaited(group, false),
            }
        }
        firsts
    }

    /// When the next creation may start, if one is missing.
    pub(super) fn next_birth_at(&self) -> Moment {
        if self.due_group().is_some() || self.sought_group().is_some() {
            Moment::default()
        } else if self.missing() > 0 {
            self.next_start()
        } else {
            Moment::NEVER
        }
    }

    /// Which group the next creation is for that is due, and why.
    pub(super) fn next_birth(
        &mut self,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Option<(u32, Errand, CreateReason)> {
        if let Some(group) = self.due_group()
            && let Some(groups) = self.store.groups()
        {
            let reason = groups.reason(group);
            if !groups.is_doubtful(group) {
                self.make_room(now, actions);
            }
            return Some((group, Errand::Minimum, reason));
        }
        if let Some(group) = self.next_sought(now, actions) {
            return Some((group, Errand::Bound, CreateReason::Demand));
        }
        if self.next_start() > now || self.missing() == 0 {
            return None;
        }
        let reason = self.reason();
        let Some(groups) = self.groups() else { return Some((DEFAULT, Errand::Load, reason)) };
        let aging = if self.aging > 0 && reason == CreateReason::Replacement {
            groups.for_aging()
        } else {
            None
        };
        let group = aging.or_else(|| groups.for_load(self.limits.max_creating))?;
        Some((group, Errand::Load, reason))
    }

    /// A group is to have the room of what is there for load alone.
    fn make_room(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        if self.size() >= self.most()
            && let Shrunk::Ended(ended) = self.store.shrink()
        {
            self.end(Some(ended), now, actions);
        }
    }

    /// One that is sought is to have the room of what is idle and for load alone.
    fn make_idle_room(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        if self.size() >= self.limits.max_size {
            let ended = self.store.end_oldest_idle(EndReason::Excess);
            self.end(ended, now, actions);
        }
    }

    fn has_room_in_all(&self) -> bool {
        self.size().saturating_add(self.beside()) < self.most().saturating_add(self.most_beside())
    }

    /// Whether there is room for what was created. A doubtful birth has held none.
    pub(super) fn finds_room(
        &mut self,
        origin: Origin,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> bool {
        match origin.errand {
            Errand::Minimum => self.make_room(now, actions),
            Errand::Bound => self.make_idle_room(now, actions),
            Errand::Load | Errand::Successor => {}
        }
        self.size() < self.most() && (!origin.doubtful || self.has_room_in_all())
    }

    /// A birth begins.
    pub(super) fn begun(&mut self, group: u32, errand: Errand) -> Origin {
        let groups = self.store.groups_mut();
        groups.map_or(Origin::NOWHERE, |groups| groups.begun(group, errand))
    }

    /// A birth is over, whatever came of it.
    pub(super) fn over(&mut self, origin: Origin) {
        if let Some(groups) = self.store.groups_mut() {
            groups.over(origin);
        }
    }

    /// Whether what is born for a group ends at once.
    pub(super) fn is_retired(&self, group: u32) -> bool {
        self.groups().is_some_and(|groups| groups.is_retired(group))
    }

    pub(super) fn group_name(&self, group: u32) -> Option<GroupId> {
        self.groups()?.name(group)
    }

    /// Failed creations in a row, for a group.
    pub(super) fn attempts(&self, group: u32) -> u32 {
        self.groups().map_or(self.pace.failures, |groups| groups.failures(group))
    }

    /// A creation has failed: the next one for its group waits.
    pub(super) fn back_off(
        &mut self,
        group: u32,
        retry_in: Option<Duration>,
        now: Moment,
    ) -> Duration {
        let (random, backoff) = (self.rng.f64() * 2.0 - 1.0, self.times.backoff);
        self.paced(group, |pace| pace.failed(retry_in, &backoff, random, now))
    }

    pub(super) fn succeeded(&mut self, group: u32) {
        self.paced(group, Pace::succeeded);
    }

    /// A resource that was created `created` died before it was of use.
    pub(super) fn infant_death(&mut self, group: u32, created: Moment, now: Moment) {
        let backoff = self.times.backoff;
        self.paced(group, |pace| pace.infant_death(created, &backoff, now));
    }

    /// Changes the pace of a group, or of the pool.
    fn paced<T>(&mut self, group: u32, change: impl FnOnce(&mut Pace) -> T) -> T {
        match self.store.groups_mut().filter(|groups| groups.is_on()) {
            Some(groups) => groups.paced(group, change),
            None => change(&mut self.pace),
        }
    }
}

impl<R: Send + Sync + 'static, E: StdError + 'static> State<ShareStore<R>, E> {
    /// Changes the groups, all together. Says whether there are more to [fail](Self::fail_bound) of those that wait.
    pub(crate) fn update_groups(
        &mut self,
        changes: &[GroupChange],
        now: Moment,
        actions: &mut Actions<R, E>,
    ) -> bool {
        if self.closed {
            return false;
        }
        let mut ended = Vec::new();
        self.store.update_groups(changes, &mut ended);
        for ended in ended {
            self.end(Some(ended), now, actions);
        }
        for change in changes {
            // Some may wait for it still that were to fail when it was retired before.
            if let GroupChange::Set(group) = change
                && self.waiters.first_bound_to(group.id).is_some()
            {
                self.set_awaited(group.id, true);
            }
        }
        let more = self.fail_bound(changes, now, actions);
        // More may go for having been idle than before.
        self.notify(actions);
        self.settle(now, actions);
        more
    }

    /// Fails those that wait for a group that these have retired, as many as may be under one lock. Says whether there
    /// are more.
    pub(crate) fn fail_bound(
        &mut self,
        changes: &[GroupChange],
        now: Moment,
        actions: &mut Actions<R, E>,
    ) -> bool {
        let retired = changes.iter().filter_map(|change| match change {
            GroupChange::Retire(id) if !self.store.groups.is_live(*id) => Some(*id),
            _ => None,
        });
        let bound = retired.flat_map(|id| self.waiters.bound_to(id));
        let tickets: Vec<_> = bound.take(FAILED_AT_ONCE).collect();
        self.fail_these(&tickets, || Failure::NoGroup, now, actions);
        tickets.len() == FAILED_AT_ONCE
    }

    /// Lends a place of a group if one is free and nobody waits.
    pub(crate) fn try_get_of(
        &mut self,
        id: GroupId,
        now: Moment,
        actions: &mut Actions<R, E>,
    ) -> Option<Lent<Arc<Share<R>>>> {
        self.try_now(|state| state.lend_from(Some(id)), now, actions)
    }

    /// Lends a place of any resource but this one if one is free and nobody waits.
    pub(crate) fn try_get_other(
        &mut self,
        than: ResourceId,
        now: Moment,
        actions: &mut Actions<R, E>,
    ) -> Option<Lent<Arc<Share<R>>>> {
        let lend = |state: &mut Self| {
            let (rng, fresh_after) = (&mut state.rng, state.front.fresh_after());
            let (place, stale) = state.store.lend_other(than, rng, fresh_after)?;
            state.count_ok(1);
            Some(Lent::new(place, stale, Key::NIL))
        };
        self.try_now(lend, now, actions)
    }

    fn try_now(
        &mut self,
        lend: impl FnOnce(&mut Self) -> Option<Lent<Arc<Share<R>>>>,
        now: Moment,
        actions: &mut Actions<R, E>,
    ) -> Option<Lent<Arc<Share<R>>>> {
        if self.closed || self.paused.is_some() || !self.waiters.is_empty() {
            return None;
        }
        let lent = lend(self)?;
        self.use_up(&lent.place);
        self.settle(now, actions);
        Some(lent)
    }

    pub(crate) fn list_groups(&self, now: Moment) -> Vec<GroupStatus> {
        self.store.groups.list(now)
    }
}
