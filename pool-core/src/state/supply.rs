//! How many resources are wanted, their births, and who gets what has come free.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use super::store::{Ended, Store};
use super::tickets::Granted;
use super::timers::FAILED_AT_ONCE;
use super::{ActionsOf, Errand, Failure, LastError, NEVER_STEADY, Origin, State};
use crate::config::Limits;
use crate::data::Data;
use crate::error::CreateError;
use crate::group::GroupId;
use crate::manager::{CreateReason, ResourceId};
use crate::metadata::Slot;
use crate::moment::Moment;
use crate::observer::{EndReason, Event, Resize};

/// A creation under way.
pub(crate) struct Birth {
    pub(super) started: Moment,
    /// What the manager has said about the resource before it was there.
    pub(super) places: Option<usize>,
    pub(super) end: Option<EndReason>,
    /// Somebody has a handle of it.
    pub(super) known: bool,
    // The parts of its origin, which take less room so.
    group: u32,
    errand: Errand,
    doubtful: bool,
}

impl Birth {
    pub(super) fn begun(now: Moment, origin: Origin) -> Self {
        let Origin { group, errand, doubtful } = origin;
        Self { started: now, places: None, end: None, known: false, group, errand, doubtful }
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { group: self.group, errand: self.errand, doubtful: self.doubtful }
    }
}

/// What a creation came to.
pub(crate) struct Newborn<R> {
    pub(crate) resource: R,
    /// What a hook has put down about it.
    pub(crate) data: Data,
}

/// A creation to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BirthOrder {
    pub(crate) id: ResourceId,
    pub(crate) attempt: u32,
    pub(crate) reason: CreateReason,
    pub(crate) generation: u32,
    /// The resource that it takes over from.
    pub(crate) replaces: Option<ResourceId>,
    pub(crate) group: Option<GroupId>,
}

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Hands what is free to those that wait, and sees to it that what is missing will come and what
    /// is too much will go. Every event that may change any of that ends here.
    pub(crate) fn settle(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        if self.closed {
            return;
        }
        self.ripen(now);
        self.shed(now, actions);
        self.sift(now, actions);
        self.serve(now, actions);
        while (!self.waiters.is_empty() || self.missing() > 0)
            && self.size() < self.limits.max_size
            && let Some(id) = self.store.reclaim()
        {
            self.reclaimed(id, actions);
            self.serve(now, actions);
        }
        self.note_aging(now);
        self.supply(now, actions);
        if self.store.surplus(&self.floors()) == 0 {
            self.surplus_since = None;
        } else {
            self.surplus_since.get_or_insert(now);
        }
        self.arm(self.next_change(), actions);
    }

    /// Sees to it that what is missing will come.
    pub(super) fn supply(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        let is_due = self.is_group_due();
        if is_due || self.missing() > 0 {
            let start = self.next_start();
            if !is_due && start > now {
                self.arm(start, actions);
            } else {
                self.notify(actions);
            }
        }
    }

    /// [`settle`](Self::settle) is called for: a threshold has been crossed by a hot path.
    #[inline]
    pub(super) fn crossed(&mut self) -> bool {
        if !S::HAS_FRONT {
            let (least, most) = self.fast.steady;
            let load = self.store.in_use();
            if least <= load && load <= most {
                debug_assert!(!self.has_crossed(), "bug: load {load} is not steady");
                return false;
            }
        }
        let crossed = self.has_crossed();
        self.fast.steady = self.steady(crossed);
        crossed
    }

    fn has_crossed(&mut self) -> bool {
        let surplus = self.store.surplus(&self.floors()) > 0;
        if surplus != self.surplus_since.is_some() {
            if surplus {
                return true;
            }
            self.surplus_since = None;
        }
        // While creation backs off, maintenance wakes in time by itself; unless nothing was missing when
        // it last looked.
        let keeps_none = S::HAS_FRONT && self.limits.min_idle == 0;
        let is_expected = keeps_none || self.notified || self.armed <= self.next_start();
        !is_expected
            && self.store.shortage(&self.limits, 0, self.coming()) > 0
            && self.missing() > 0
    }

    /// The loads, from the least to the most, that cross no threshold if this one has not.
    fn steady(&self, crossed: bool) -> (usize, usize) {
        if S::HAS_FRONT || crossed {
            return NEVER_STEADY;
        }
        let (least, most) = self.store.steady(&self.floors(), &self.limits, self.coming());
        // A pool without load has a floor of its own while something is about to go for its age.
        match self.store.in_use() {
            0 if self.aging > 0 => (0, 0),
            _ if self.aging > 0 => (least.max(1), most),
            _ => (least, most),
        }
    }

    /// Writes down which loads cross no threshold.
    pub(super) fn note_steady(&mut self) {
        let crossed = !S::HAS_FRONT && self.has_crossed();
        self.fast.steady = self.steady(crossed);
    }

    /// Starts the births that are due, as many as may be under one lock.
    pub(super) fn start_births(
        &mut self,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Vec<BirthOrder> {
        let mut orders = Vec::new();
        while orders.len() < BIRTHS_AT_ONCE
            && let Some((group, errand, reason)) = self.next_birth(now, actions)
        {
            let id = self.next_id();
            self.wished = false;
            let attempt = self.attempts(group).saturating_add(1);
            let origin = self.begun(group, errand);
            self.births.insert(id, Birth::begun(now, origin));
            self.decided(id, Resize::Create(reason), actions);
            if self.observed {
                actions.events.push(Event::CreateStarted { id, reason });
            }
            let (generation, group) = (self.generation, self.group_name(group));
            orders.push(BirthOrder { id, attempt, reason, generation, replaces: None, group });
        }
        orders
    }

    /// A resource was created. Says whether it took over from another one.
    pub(crate) fn born(
        &mut self,
        id: ResourceId,
        newborn: Newborn<S::Resource>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> bool {
        let (birth, replaces) = match self.births.remove(&id) {
            Some(birth) => (birth, None),
            None => match self.replacements.remove(&id) {
                Some((old, birth)) => (birth, Some(old)),
                None => return false,
            },
        };
        let group = birth.group;
        let is_retired = self.groups().is_some_and(|groups| groups.is_retired(group));
        self.over(birth.origin());
        // Where the other one is gone meanwhile, it is a resource like any other.
        let replaced = replaces.filter(|&old| self.store.is_active(old));
        let is_for_nobody = replaced.is_some() && birth.places == Some(0);
        self.counters.created += 1;
        if self.observed {
            let elapsed = now.since(birth.started);
            actions.events.push(Event::Created { id, elapsed });
        }
        let expires = self.draw_expiry(now);
        let Newborn { resource, data } = newborn;
        let slot = Box::new(Slot {
            resource,
            id,
            created: now,
            expires,
            returned: now,
            uses: 0,
            generation: self.generation,
            data,
        });
        let end = if self.closed {
            Some(EndReason::Closed)
        } else if id.0 < self.oldest {
            Some(EndReason::Stale)
        } else if is_retired {
            birth.end.or(Some(EndReason::Removed))
        } else if is_for_nobody
            || replaced.is_none() && !self.finds_room(birth.origin(), now, actions)
        {
            birth.end.or(Some(EndReason::Excess))
        } else {
            birth.end
        };
        if let Some(reason) = end {
            // Dead on arrival: the next attempt waits, as after a failure. So it does where there is no room for it.
            if birth.end.is_some() || birth.doubtful && reason == EndReason::Excess {
                self.back_off(group, None, now);
            }
            let mut ended = Ended::new(slot, reason, false);
            ended.group = group;
            self.end(Some(ended), now, actions);
        } else {
            self.succeeded(group);
            actions.error = self.last_error.take();
            self.expires_at(expires);
            if birth.known {
                self.store.know(id);
            }
            self.store.insert(slot, birth.places.unwrap_or(self.limits.places), group);
            if let Some(old) = replaced {
                let ended = self.store.end(old, EndReason::Removed);
                self.end(ended, now, actions);
            }
            self.note_time(now);
        }
        self.settle(now, actions);
        end.is_none() && replaced.is_some()
    }

    /// A creation has failed, which is none for a group that is retired. A fatal error fails those that wait: says how many are left to
    /// [fail](Self::fail_fatal).
    pub(crate) fn stillborn(
        &mut self,
        id: ResourceId,
        failed: Stillborn<E>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> usize {
        let Some(birth) = self.births.remove(&id) else {
            self.not_replaced(id, failed.text, now, actions);
            return 0;
        };
        let is_wanted = self.groups().is_none_or(|groups| !groups.is_retired(birth.group));
        self.over(birth.origin());
        if !is_wanted {
            self.settle(now, actions);
            return 0;
        }
        self.counters.create_failed += 1;
        let delay = self.back_off(birth.group, failed.retry_in, now);
        if self.observed {
            actions.events.push(Event::CreateFailed {
                id,
                elapsed: now.since(birth.started),
                error: failed.text,
                retry_in: delay,
            });
        }
        let Stillborn { error, fatal, .. } = failed;
        let present = if fatal { self.waiters.waiting() } else { 0 };
        let left = self.fail_hopeless(&error, present, now, actions);
        actions.error = self.last_error.replace(LastError { error, fatal });
        self.settle(now, actions);
        left
    }

    /// A resource that was to go is lent again.
    pub(super) fn reclaimed(&self, id: ResourceId, actions: &mut ActionsOf<S, E>) {
        self.decided(id, Resize::Reclaim, actions);
        actions.turned.push(id);
    }

    /// Fails those that are left to fail with a fatal error. Says how many are left then.
    pub(crate) fn fail_fatal(
        &mut self,
        error: &Arc<CreateError<E>>,
        left: usize,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> usize {
        let left = self.fail_hopeless(error, left, now, actions);
        self.settle(now, actions);
        left
    }

    /// Fails `most` of those that a failure ends the wait of, as many of them as may be under one lock. Says how many
    /// are left.
    fn fail_hopeless(
        &mut self,
        error: &Arc<CreateError<E>>,
        most: usize,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> usize {
        let tickets = self.waiters.ended_by_failures(most.min(FAILED_AT_ONCE));
        for ticket in &tickets {
            if let Some(refused) = self.waiters.fail(*ticket, Failure::Fatal(Arc::clone(error))) {
                self.refuse(refused, now, actions);
            }
        }
        if tickets.len() < FAILED_AT_ONCE { 0 } else { most - FAILED_AT_ONCE }
    }

    /// A creation was dropped with its runtime, before it came to anything.
    pub(crate) fn abandoned(&mut self, id: ResourceId, now: Moment, actions: &mut ActionsOf<S, E>) {
        if let Some(birth) = self.births.remove(&id) {
            self.over(birth.origin());
            self.settle(now, actions);
        } else {
            self.not_replaced(id, "it was given up".to_owned(), now, actions);
        }
    }

    /// How many creations are to be started, but for the back-off and for the minimums of groups.
    pub(super) fn missing(&self) -> usize {
        if self.closed || self.paused.is_some() {
            return 0;
        }
        let (size, creating) = (self.size(), self.coming());
        if size >= self.limits.max_size {
            return 0;
        }
        let limits = self.floors();
        let shortage = self.store.shortage(&limits, self.waiters.wanted(), creating);
        let wished = usize::from(self.wished && creating == 0);
        let wanted =
            self.demand().max(shortage).max(wished).max(limits.min_size.saturating_sub(size));
        let max_size = self.limits.max_size;
        // Those that drain go with their last holder, which may take long: as many again, no more.
        let in_all = size.saturating_add(self.beside());
        wanted
            .min(max_size.saturating_sub(size))
            .min(max_size.saturating_mul(2).saturating_sub(in_all))
            .min(self.room_for_births())
    }

    /// The limits, with minima that have room for those that are about to go for their age and for their
    /// successors. Where no minimum is kept, the successors are free places beside those of the load.
    pub(super) fn floors(&self) -> Limits {
        let raised =
            |minimum: usize| if minimum > 0 { minimum.saturating_add(self.aging) } else { 0 };
        let Limits { min_size, min_idle, .. } = self.limits;
        let min_idle = if self.keeps_minimum() {
            raised(min_idle)
        } else if self.aging > 0 {
            // A load that comes and goes is gone at this moment, perhaps.
            self.aging + usize::from(self.store.in_use() == 0)
        } else {
            0
        };
        Limits { min_size: raised(min_size), min_idle, ..self.limits }
    }

    /// How many creations for load may start. One at a time after a failure: a peer in trouble is asked how it is,
    /// not stormed.
    fn room_for_births(&self) -> usize {
        let most = self.limits.max_creating;
        match self.groups() {
            Some(groups) => groups.room_for_load(most),
            None if self.pace.failures == 0 => most.saturating_sub(self.births.len()),
            None => 1_usize.saturating_sub(self.births.len()),
        }
    }

    /// How many more resources those that wait ask for, beside those that come.
    fn demand(&self) -> usize {
        let each = self.store.expected_places(&self.limits).max(1);
        self.waiters.wanted().div_ceil(each).saturating_sub(self.coming())
    }

    pub(super) fn reason(&self) -> CreateReason {
        if self.demand() > 0 || self.wished {
            CreateReason::Demand
        } else if self.size() < self.limits.min_size || self.store.idle() < self.limits.min_idle {
            CreateReason::Minimum
        } else if self.store.draining() > 0 || self.aging > 0 {
            CreateReason::Replacement
        } else {
            CreateReason::Growth
        }
    }

    pub(super) fn serve(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        if self.paused.is_some() {
            return;
        }
        while let Some(joined) = self.waiters.first_joined() {
            let lent = self.store.lend(&mut self.rng, self.front.fresh_after());
            let Some((mut place, stale)) = lent else { return };
            if !stale && self.waiters.first_wants_one() {
                // Nor will it be when its owner gets round to looking.
                S::stamp(&mut place, Moment::NEVER);
            }
            self.use_up(&place);
            if let Some(shed) = &mut self.shed {
                shed.note(now.since(joined));
            }
            match self.waiters.grant(place) {
                Granted::Served(waker) => actions.wake.push(waker),
                Granted::Kept => {}
                Granted::Nobody(_) => unreachable!("bug: the one whose turn it was is gone"),
            }
        }
    }

    /// What one has gathered that wants several may be no good any more.
    fn sift(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        if !self.waiters.has_several() {
            return;
        }
        let gathered = self.waiters.take_gathered();
        // One too many goes when it comes back, like everything that is lent, and this use is its last.
        let stays = |end| matches!(end, None | Some(EndReason::Excess | EndReason::Uses));
        let is_good =
            |place: &S::Lent| stays(self.end_of(place, now)) && self.store.is_lendable(place);
        let (good, bad) = gathered.into_iter().partition(is_good);
        self.waiters.put_gathered(good);
        let bad: Vec<_> = bad;
        for place in bad {
            self.return_unused(place, now, actions);
        }
    }

    /// Counts what is to be replaced before it expires: all where a minimum is kept, and otherwise the shared
    /// resources that are in use, whose holders' successors would have to wait.
    fn note_aging(&mut self, now: Moment) {
        let keeps = self.keeps_minimum();
        let replaces = keeps || !S::CLOSING_HOLDS_PLACE;
        let Some(lead) = self.times.replacement_lead().filter(|_| replaces) else {
            (self.aging, self.next_aging) = (0, Moment::NEVER);
            return;
        };
        let ahead = |at: Moment| if at.is_never() { at } else { at.before(lead) };
        let expiry = now.after(lead);
        // Returns are stamped up to a tick early, and where nothing ticks at any time before.
        let used_since = match self.times.tick() {
            Some(tick) => now.before(lead.saturating_add(tick)),
            None => Moment::default(),
        };
        // Nearly always none is, and it saves a look at each of them.
        let (aging, next) = if expiry < self.next_expiry {
            if let Some(groups) = self.store.groups_mut() {
                groups.set_aging(Vec::new());
            }
            (0, self.next_expiry)
        } else {
            self.store.aging(expiry, (!keeps).then_some(used_since))
        };
        (self.aging, self.next_aging) = (aging, ahead(next));
    }

    fn keeps_minimum(&self) -> bool {
        self.limits.min_size > 0 || self.limits.min_idle > 0
    }

    pub(super) fn next_id(&mut self) -> ResourceId {
        self.next_id += 1;
        ResourceId(self.next_id - 1)
    }

    /// When a resource that is created now is to go for its age.
    pub(crate) fn draw_expiry(&mut self, now: Moment) -> Moment {
        let lifetime = self.times.draw_lifetime(self.rng.f64());
        lifetime.map_or(Moment::NEVER, |lifetime| now.after(lifetime))
    }
}

/// How many creations are started under one lock, so that it stays short.
const BIRTHS_AT_ONCE: usize = 256;

/// A creation that came to nothing.
pub(crate) struct Stillborn<E: StdError + 'static> {
    pub(crate) error: Arc<CreateError<E>>,
    /// The error in words, which are the user's too.
    pub(crate) text: String,
    pub(crate) fatal: bool,
    pub(crate) retry_in: Option<Duration>,
}
