//! What the hot paths go by, and the front, past which they do not come to the lock at all.

use std::error::Error as StdError;

use super::{ActionsOf, State, Store};
use crate::moment::Moment;
use crate::observer::{Event, Resize};

/// What the hot paths go by: what follows from the rest of the state, as the last change left it.
#[derive(Clone, Copy, Default)]
pub(super) struct Fast {
    /// Nothing is in force that changes what a get and a return mean.
    pub(super) plain: bool,
    pub(super) returns: Returns,
    /// And nothing more is to come than what comes back.
    pub(super) full: bool,
    pub(super) max_uses: u32,
    pub(super) max_waiters: usize,
    /// While no more than these are idle the front may be open: not too many are, whatever rests in there.
    pub(super) most_idle: Option<usize>,
    /// The loads of a shared pool, from the least to the most, that cross no threshold.
    pub(super) steady: (usize, usize),
}

/// What may become of a place that comes back.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Returns {
    /// Something is in force that changes what that means, or somebody waits for a place of one group, and is to be asked.
    #[default]
    Slow,
    Rest,
    /// It rests, or is passed to the one whose turn it is.
    Pass,
}

/// No load.
pub(super) const NEVER_STEADY: (usize, usize) = (1, 0);

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Takes everything out of the front, and nothing comes into it: what is counted now is exact.
    pub(crate) fn close_front(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        if !std::mem::replace(&mut self.front_open, false) {
            return;
        }
        self.front.close();
        for cell in 0..self.front.len() {
            if let Some(lent) = self.front.take(cell) {
                self.absorb(lent, now, actions);
            }
        }
    }

    /// Tells what has begun to drain, and writes down what the hot paths go by. Every change ends here.
    pub(crate) fn publish(&mut self, actions: &mut ActionsOf<S, E>) {
        for (id, reason) in self.store.take_begun() {
            self.decided(id, Resize::Drain(reason), actions);
            actions.turned.push(id);
            actions.events.push(Event::Draining { id, reason });
        }
        if self.closed && self.is_empty() {
            // Maintenance has nothing left to do, and ends.
            self.notify(actions);
        }
        if let Some(groups) = self.store.groups_mut() {
            groups.forget_bare();
        }
        let plain = !self.closed
            && self.maintained
            && self.watchers == 0
            && self.paused.is_none()
            && !self.is_oversize();
        let counts_uses = !S::HAS_FRONT && self.times.max_uses.is_some();
        let bound = self.waiters.bound_waiting();
        self.fast = Fast {
            plain,
            returns: match plain && bound == 0 {
                true if self.shed.is_none() && !counts_uses => Returns::Pass,
                true => Returns::Rest,
                false => Returns::Slow,
            },
            full: plain && self.size() >= self.limits.max_size,
            max_uses: self.times.max_uses.unwrap_or(u32::MAX),
            // Fewer, if some of them have left since: then the slow path knows better.
            max_waiters: self.limits.max_waiters.saturating_sub(bound),
            most_idle: self.most_idle(),
            steady: NEVER_STEADY,
        };
        self.note_steady();
        self.front.set_more(plain && self.waiters.is_empty());
        self.open_front();
    }

    /// Opens the front, if what happens there cannot matter to any decision.
    #[inline]
    pub(super) fn open_front(&mut self) {
        if !self.front_open && S::HAS_FRONT && self.may_open_front() {
            self.front_open = true;
            self.front.open(self.next_expiry);
        }
    }

    fn may_open_front(&self) -> bool {
        let idle = self.store.idle();
        self.fast.plain
            && self.waiters.is_empty()
            && self.ticking
            && !self.store.has_doomed()
            && idle >= self.limits.min_idle
            && self.fast.most_idle.is_some_and(|most| idle <= most)
    }

    fn most_idle(&self) -> Option<usize> {
        let max_idle = self.limits.max_idle_or_size();
        if max_idle >= self.limits.max_size {
            return Some(usize::MAX);
        }
        max_idle.checked_sub(self.front.len())
    }

    /// Takes a place back that came back already when it was stamped.
    pub(crate) fn absorb(&mut self, lent: S::Lent, now: Moment, actions: &mut ActionsOf<S, E>) {
        self.come_back(lent, None, now, actions);
    }
}
