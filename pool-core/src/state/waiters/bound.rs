//! Those that wait for a place of one group.
//!
//! They stand in one line, whatever their group, which is like those of the classes: joining, giving up, failing and
//! deadlines are the same. Service is in order of arrival *within a group*, so each group has an order beside the
//! line, by stands, and one that is served from the middle of the line leaves a gap there.
//!
//! A place of a group that comes free is due to the first one bound to that group, or to the first one that waits for a
//! place of any group, whoever joined before. Each line numbers those that join by itself, so one that is bound keeps
//! which number the line of normal priority had come to. It comes behind all of high priority, and before all of low.
//! Those that come back, since what they were given was no good, come before those that wait for the first time.
//!
//! ```text
//!   join ──▶ waits ──▶ granted      a place of its group is free: State::serve, oldest first
//!                 ├──▶ failed       its deadline, a creation for its group, the end of the group or of the pool
//!                 └──▶ gone         it gives up
//! ```
//!
//! # Invariants
//!
//! 1. Who waits in the line is in the order of its group, and nobody else is: every way out is [`Waiters::step_out`].
//! 2. Nobody waits while a place of its group may be lent.
//! 3. Along the line stands grow, and so do the numbers of normal priority: the first of several groups' firsts is the
//!    one with the least stand.

use std::collections::{BTreeMap, HashMap};
use std::task::Waker;

use super::Waiters;
use crate::group::GroupId;
use crate::state::tickets::{Class, Key, Ticket};

#[derive(Default)]
pub(super) struct Bound {
    asks: HashMap<Key, Bond>,
    /// By group and stand.
    order: BTreeMap<(GroupId, u64), Key>,
}

struct Bond {
    group: GroupId,
    /// Those of normal priority with a smaller stand joined before it.
    behind: u64,
}

impl<T, F> Waiters<T, F> {
    /// How many are bound, without those that have an outcome.
    pub(crate) fn bound_waiting(&self) -> usize {
        self.lines[Class::Bound as usize].waiting()
    }

    pub(crate) fn has_bound(&self) -> bool {
        !self.lines[Class::Bound as usize].is_empty()
    }

    /// Those that wait for a place of this group, in the order of service.
    pub(crate) fn bound_to(&self, group: GroupId) -> impl Iterator<Item = Ticket> {
        let order = self.bound.order.range((group, 0)..=(group, u64::MAX));
        order.map(|(&(_, stand), &key)| Ticket { key, stand })
    }

    pub(crate) fn first_bound_to(&self, group: GroupId) -> Option<Ticket> {
        self.bound_to(group).next()
    }

    /// Whether one that is bound comes before all that wait for a place of any group.
    pub(crate) fn comes_first(&self, bound: Ticket) -> bool {
        let Some(first) = self.first_ticket() else { return true };
        let class = first.key.class();
        if class != Class::Normal as usize {
            return class != Class::High as usize;
        }
        let behind = self.bound.asks.get(&bound.key).map_or(0, |bond| bond.behind);
        // Of one that has joined in front, the stand does not say when.
        let is_again = self.lines[class].at(first.stand).is_some_and(|entry| entry.again);
        !is_again && behind <= first.stand
    }

    /// Gives a place to one that waits for it.
    pub(crate) fn grant_bound(&mut self, bound: Ticket, place: T) -> Waker {
        self.mailboxes.put(bound.key.index(), place);
        match self.step_out(bound) {
            Some(waker) => waker,
            None => unreachable!("bug: the one whose turn it was is gone"),
        }
    }

    /// One that joins is bound. One that comes back stands before all others.
    pub(super) fn bind(&mut self, ticket: Ticket, group: GroupId, again: bool) {
        let line = &self.lines[Class::Normal as usize];
        let behind = if again { 0 } else { line.next_stand() };
        self.bound.asks.insert(ticket.key, Bond { group, behind });
        self.bound.order.insert((group, ticket.stand), ticket.key);
    }

    /// One has stepped out.
    pub(super) fn unbind(&mut self, ticket: Ticket) {
        if let Some(Bond { group, .. }) = self.bound.asks.remove(&ticket.key) {
            self.bound.order.remove(&(group, ticket.stand));
        }
    }
}
