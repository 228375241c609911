//! How many resources are wanted, and who gets what has come free.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::task::Waker;

use super::store::Store;
use super::tickets::Granted;
use super::{ActionsOf, NEVER_STEADY, State};
use crate::config::Limits;
use crate::group::GroupId;
use crate::manager::{CreateReason, ResourceId};
use crate::moment::Moment;
use crate::observer::{EndReason, Resize};

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
            && let Some(id) = self.store.reclaim(None)
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

    /// One resource is created without anybody's asking, if none is left or under way.
    pub(crate) fn keep_trying(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        if self.store.size() == 0 && self.births.is_empty() {
            self.wished = true;
            self.settle(now, actions);
        }
    }

    /// Sees to it that what is missing will come.
    pub(super) fn supply(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        let at = self.next_birth_at();
        if at <= now {
            self.notify(actions);
        } else {
            self.arm(at, actions);
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
        // With those in the front there may be too many.
        if self.front_open && self.fast.most_idle.is_some_and(|most| self.store.idle() > most) {
            return true;
        }
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
        // Those that wait for one group are load, too, and are no lease.
        if S::HAS_FRONT || crossed || self.waiters.has_bound() {
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

    /// A resource that was to go is lent again.
    pub(super) fn reclaimed(&self, id: ResourceId, actions: &mut ActionsOf<S, E>) {
        self.decided(id, Resize::Reclaim, actions);
        actions.turned.push(id);
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
        // Those that wait for one group are created for apart.
        let shortage = self.store.shortage(&limits, self.waiters.wanted(), creating);
        let wished = usize::from(self.wished && creating == 0);
        let wanted =
            self.demand().max(shortage).max(wished).max(limits.min_size.saturating_sub(size));
        let max_size = self.limits.max_size;
        let in_all = size.saturating_add(self.beside());
        wanted
            .min(max_size.saturating_sub(size))
            .min(max_size.saturating_add(self.most_beside()).saturating_sub(in_all))
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

    /// How many more resources those that wait ask for, beside those that come. Without those that wait for one group:
    /// what comes may be of another one.
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
        let mut called = self.take_called();
        loop {
            if let Some(waker) = self.serve_bound(&mut called) {
                actions.wake.push(waker);
                continue;
            }
            let Some(joined) = self.waiters.first_joined() else { return };
            let lent = self.store.lend(&mut self.rng, self.front.fresh_after());
            let Some((mut place, stale)) = lent else { return };
            if !stale && self.waiters.first_wants_one() {
                // Nor will it be when its owner gets round to looking.
                S::stamp(&mut place, Moment::NEVER);
            }
            self.use_up(&place);
            if let Some(shed) = &mut self.shed {
                shed.note(joined, now);
            }
            match self.waiters.grant(place) {
                Granted::Served(waker) => actions.wake.push(waker),
                Granted::Kept => {}
                Granted::Nobody(_) => unreachable!("bug: the one whose turn it was is gone"),
            }
        }
    }

    /// Serves the first of those that wait for a group with a free place, unless one that waits for any comes before.
    fn serve_bound(&mut self, called: &mut BTreeMap<u64, GroupId>) -> Option<Waker> {
        while let Some(first) = called.first_entry() {
            let group = *first.get();
            let ticket = self.waiters.first_bound_to(group)?;
            if !self.waiters.comes_first(ticket) {
                return None;
            }
            first.remove();
            let lent = self.store.lend_of(group, &mut self.rng, self.front.fresh_after());
            let Some((place, _)) = lent else { continue };
            self.use_up(&place);
            let waker = self.waiters.grant_bound(ticket, place);
            match self.waiters.first_bound_to(group) {
                Some(next) => drop(called.insert(next.stand, group)),
                None => self.set_awaited(group, false),
            }
            return Some(waker);
        }
        None
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
}
