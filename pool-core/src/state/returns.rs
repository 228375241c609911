//! Places that come back, and why a resource does not stay then.

use std::error::Error as StdError;
use std::task::Waker;
use std::time::Duration;

use super::tickets::{Granted, Refused};
use super::{Actions, ActionsOf, IdleStore, Returns, State, Store};
use crate::manager::ResourceId;
use crate::metadata::Slot;
use crate::moment::Moment;
use crate::observer::{EndReason, Event};

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Takes a place back if that takes no clock: from a resource that stays, to the oldest waiter or
    /// to rest while the coarse clock ticks. The flag asks for [`settle`](Self::settle).
    #[inline]
    pub(crate) fn give_back_hot(
        &mut self,
        mut place: S::Lent,
    ) -> Result<(Option<Waker>, bool), S::Lent> {
        if !self.may_stay(&place) || S::uses(&place) >= self.fast.max_uses {
            return Err(place);
        }
        if !self.waiters.is_empty() {
            if self.fast.returns != Returns::Pass || self.waiters.has_several() {
                return Err(place);
            }
            let place = self.store.pass(place)?;
            return match self.waiters.grant(place) {
                Granted::Served(waker) => Ok((Some(waker), false)),
                Granted::Kept => Ok((None, false)),
                Granted::Nobody(place) => Err(place),
            };
        }
        if !self.ticking || self.wished || !self.store.stays(&place) {
            return Err(place);
        }
        S::stamp(&mut place, self.front.coarse());
        let ended = self.store.take_back(place, Some(self.front.coarse()));
        debug_assert!(ended.is_none(), "bug: a resource that stays has ended");
        let crossed = self.crossed();
        if !crossed {
            self.open_front();
        }
        Ok((None, crossed))
    }

    /// Takes a place back that was in the front and had to make room there.
    #[inline]
    pub(crate) fn absorb_hot(&mut self, place: S::Lent) -> Result<bool, S::Lent> {
        let rests = self.waiters.is_empty() && self.ticking && self.store.stays(&place);
        if !rests || !self.may_stay(&place) {
            return Err(place);
        }
        let ended = self.store.take_back(place, None);
        debug_assert!(ended.is_none(), "bug: a resource that stays has ended");
        Ok(self.crossed())
    }

    /// Whether a resource need not go, as far as that is known without a clock.
    #[inline]
    fn may_stay(&self, place: &S::Lent) -> bool {
        let slot = S::slot(place);
        self.fast.returns != Returns::Slow
            && self.next_expiry <= slot.expires
            && self.oldest <= slot.id.0
    }

    /// Takes a place back.
    pub(crate) fn give_back(&mut self, place: S::Lent, now: Moment, actions: &mut ActionsOf<S, E>) {
        self.take_back(place, now, actions);
        self.note_time(now);
        self.settle(now, actions);
    }

    fn take_back(&mut self, place: S::Lent, now: Moment, actions: &mut ActionsOf<S, E>) {
        self.come_back(place, Some(now), now, actions);
    }

    /// A place comes back, at `returned` or when it was stamped.
    pub(super) fn come_back(
        &mut self,
        place: S::Lent,
        returned: Option<Moment>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        let ended = if let Some(reason) = self.end_of(&place, now) {
            self.store.take_back_ended(place, reason)
        } else {
            self.expires_at(S::slot(&place).expires);
            // There is one for the next caller.
            self.wished &= !self.store.is_lendable(&place);
            self.store.take_back(place, returned)
        };
        self.end(ended, now, actions);
    }

    /// Why a resource ends that comes back, if it does.
    pub(super) fn end_of(&self, place: &S::Lent, now: Moment) -> Option<EndReason> {
        if self.closed {
            Some(EndReason::Closed)
        } else if S::slot(place).expires <= now {
            Some(EndReason::Lifetime)
        } else if self.is_outdated(place) {
            Some(EndReason::Stale)
        } else if self.is_used_up(place) {
            Some(EndReason::Uses)
        } else if self.is_oversize() && self.store.can_spare(place) {
            Some(EndReason::Excess)
        } else {
            None
        }
    }

    /// A get has not come to use a place that it was lent.
    pub(crate) fn put_back(&mut self, place: S::Lent, now: Moment, actions: &mut ActionsOf<S, E>) {
        self.counters.gets_ok = self.counters.gets_ok.wrapping_sub(1);
        self.give_back_unused(place, now, actions);
    }

    /// A place was granted to one that has given up.
    pub(crate) fn give_back_unused(
        &mut self,
        place: S::Lent,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        self.return_unused(place, now, actions);
        self.settle(now, actions);
    }

    /// Takes a place back that was granted and never used.
    pub(super) fn return_unused(
        &mut self,
        mut place: S::Lent,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        S::not_used(&mut place);
        self.come_to_rest(place, now, actions);
    }

    /// A resource comes to rest that is as stale as it was.
    fn come_to_rest(&mut self, place: S::Lent, now: Moment, actions: &mut ActionsOf<S, E>) {
        let returned = self.store.was_passed(&place).then_some(now);
        self.come_back(place, returned, now, actions);
        self.note_time(now);
    }

    /// Takes a place back that was not used: its resource is as stale as it was.
    pub(crate) fn give_back_unchecked(
        &mut self,
        place: S::Lent,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        self.come_to_rest(place, now, actions);
        self.settle(now, actions);
    }

    /// Takes a place back whose resource is no good.
    pub(crate) fn discard(
        &mut self,
        place: S::Lent,
        reason: EndReason,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        let ended = self.store.take_back_ended(place, reason);
        self.end(ended, now, actions);
        self.settle(now, actions);
    }

    /// One fails that has waited.
    pub(super) fn refuse(
        &mut self,
        refused: Refused<S::Lent>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        actions.wake.push(refused.waker);
        for place in refused.granted {
            self.return_unused(place, now, actions);
        }
    }

    #[inline]
    pub(super) fn is_outdated(&self, place: &S::Lent) -> bool {
        S::slot(place).id.0 < self.oldest
    }

    #[inline]
    pub(super) fn is_used_up(&self, place: &S::Lent) -> bool {
        self.times.max_uses.is_some_and(|max_uses| S::uses(place) >= max_uses)
    }
}

impl<R: Send + 'static, E: StdError + 'static> State<IdleStore<R>, E> {
    /// A lent resource leaves the pool with its holder.
    pub(crate) fn detach(&mut self, id: ResourceId, now: Moment, actions: &mut Actions<R, E>) {
        self.store.detach(id);
        self.leave_with_holder(id, actions);
        actions.bare |= self.store.size() == 0;
        self.settle(now, actions);
    }

    /// A lent resource leaves the pool with its holder, and another one comes in its place.
    pub(crate) fn replace(
        &mut self,
        slot: &mut Slot<R>,
        now: Moment,
        actions: &mut Actions<R, E>,
    ) -> ResourceId {
        self.store.forget(slot.id);
        self.leave_with_holder(slot.id, actions);
        self.counters.created += 1;
        slot.id = self.next_id();
        slot.created = now;
        slot.expires = self.draw_expiry(now);
        slot.uses = 1;
        slot.generation = self.generation;
        actions.events.push(Event::Created { id: slot.id, elapsed: Duration::ZERO });
        slot.id
    }

    fn leave_with_holder(&mut self, id: ResourceId, actions: &mut Actions<R, E>) {
        self.counters.ended.count(EndReason::Detached);
        actions.events.push(Event::Ended { id, reason: EndReason::Detached });
    }
}
