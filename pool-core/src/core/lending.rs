//! Places on their way out and back: past the lock where that is possible, and what is done where it is not.

use std::panic::Location;

use super::{Core, Place};
use crate::front::{Put, Taken};
use crate::kind::Kind;
use crate::leaks::Leaks;
use crate::manager::{Manager, ResourceId};
use crate::observer::EndReason;
use crate::state::{Key, Lent, Store, Unserved};
use crate::user::wake_up;

impl<M: Manager, K: Kind<M>> Core<M, K> {
    /// Lends a place if that takes neither a clock nor a wait.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what is lent goes through registers")]
    pub(crate) fn lend_hot(&self) -> Option<Lent<Place<M, K>>> {
        match self.front.lend() {
            Taken::Lent(place, stale) => return Some(Lent::new(place, stale, Key::NIL)),
            Taken::Nothing if K::Store::HAS_FRONT && self.front.is_shut() => return None,
            Taken::Nothing => {}
            Taken::Outdated(place) => self.absorb(place),
        }
        if K::Store::HAS_FRONT { self.lend_past_front() } else { self.lend_locked() }
    }

    #[inline(never)]
    fn lend_past_front(&self) -> Option<Lent<Place<M, K>>> {
        self.lend_locked()
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what is lent goes through registers")]
    fn lend_locked(&self) -> Option<Lent<Place<M, K>>> {
        let (lent, settle) = self.state().lend_hot()?;
        if settle {
            self.settle();
        }
        Some(lent)
    }

    /// A holder gives its place back, which it may have waited for.
    #[inline]
    pub(crate) fn give_back(&self, place: Place<M, K>, waiter: Key) {
        if waiter != Key::NIL {
            return self.give_back_locked(place, waiter);
        }
        match self.front.put(place) {
            Put::Done => {}
            Put::Refused(place) => self.give_back_locked(place, waiter),
            Put::Displaced(place) => self.make_room(place),
            Put::Closed(places) => places.into_iter().flatten().for_each(|it| self.absorb(it)),
        }
    }

    /// A place that was in the front had to make room there.
    fn make_room(&self, place: Place<M, K>) {
        let absorbed = self.state().absorb_hot(place);
        match absorbed {
            Ok(settle) if settle => self.settle(),
            Ok(_) => {}
            Err(place) => self.absorb(place),
        }
    }

    /// A mailbox that was not needed.
    #[cold]
    pub(crate) fn keep_mailbox(&self, mailbox: Key) {
        if !self.front.keep_mailbox(mailbox) {
            self.state().free(mailbox);
        }
    }

    #[inline(never)]
    fn give_back_locked(&self, place: Place<M, K>, mut waiter: Key) {
        if waiter != Key::NIL && self.front.keep_mailbox(waiter) {
            waiter = Key::NIL;
        }
        let hot = {
            let mut state = self.state();
            state.free(waiter);
            state.give_back_hot(place)
        };
        match hot {
            Ok((waker, settle)) => {
                if let Some(waker) = waker {
                    wake_up(waker);
                }
                if settle {
                    self.settle();
                }
            }
            Err(place) => self.update(|state, now, actions| state.give_back(place, now, actions)),
        }
    }

    /// A place that was in the front is idle now.
    #[cold]
    fn absorb(&self, place: Place<M, K>) {
        self.update(|state, now, actions| {
            state.absorb(place, now, actions);
            state.settle(now, actions);
        });
    }

    /// A place that was granted to a waiter.
    #[inline]
    pub(crate) fn granted(&self, place: Place<M, K>, waiter: Key) -> Lent<Place<M, K>> {
        let stale = K::Store::is_stale(&place, self.front.fresh_after());
        Lent::new(place, stale, waiter)
    }

    /// A holder gives a place back whose resource is no good.
    pub(crate) fn discard(&self, place: Place<M, K>, waiter: Key, reason: EndReason) {
        self.update(|state, now, actions| {
            state.free(waiter);
            state.discard(place, reason, now, actions);
        });
    }

    /// The resource of a place that was lent is not fit for its holder, or the holder gave up.
    pub(crate) fn reject(&self, place: Place<M, K>, waiter: Key, unserved: Unserved) {
        let end = match unserved {
            Unserved::GoesOn | Unserved::Panicked => Some(EndReason::CheckFailed),
            // Others hold it as well, or will: that one gives up says nothing about it.
            _ if K::IS_SHARED => None,
            _ => Some(EndReason::Discarded),
        };
        self.update(|state, now, actions| {
            state.free(waiter);
            state.check_failed(unserved);
            match end {
                Some(reason) => state.discard(place, reason, now, actions),
                None => state.give_back_unchecked(place, now, actions),
            }
        });
    }

    /// A lease is taken. Returns its key, where leases are kept track of.
    #[inline]
    pub(crate) fn track(&self, id: ResourceId, at: &'static Location<'static>) -> Option<u32> {
        self.track_in(self.leaks.as_ref()?, id, at)
    }

    #[inline(never)]
    fn track_in(
        &self,
        leaks: &Leaks,
        id: ResourceId,
        at: &'static Location<'static>,
    ) -> Option<u32> {
        let (key, earlier) = leaks.taken(id, at, self.clock.now());
        if earlier {
            self.wakeup.notify_one();
        }
        key
    }

    /// A lease has ended, which its holder may have come to use.
    #[inline]
    pub(crate) fn untrack(&self, key: Option<u32>, used: bool) {
        if let (Some(leaks), Some(key)) = (&self.leaks, key)
            && let Some((held_for, event)) = leaks.returned(key, self.clock.now())
        {
            if used {
                self.spent.used(held_for);
            }
            if let Some(event) = event {
                self.tell(event);
            }
        }
    }
}
