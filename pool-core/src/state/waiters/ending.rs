//! Waits that end without a place: for a failure, for their time. And when the next one does.

use super::Waiters;
use crate::group::GroupId;
use crate::moment::Moment;
use crate::state::tickets::{Class, Key, Refused, Ticket};

/// Some of those that wait. The *hasty* are those whose wait a failure to create ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    All,
    /// Those that wait for a place of any group.
    Hasty,
    HastyBoundTo(GroupId),
}

impl<T, F> Waiters<T, F> {
    /// The first of these, in the order of service.
    pub(crate) fn first_of(&self, most: usize, whom: Whom) -> Vec<Ticket> {
        let all = whom == Whom::All;
        if let Whom::HastyBoundTo(group) = whom {
            let hasty = self.bound_to(group).filter(|&ticket| self.is_hasty(ticket));
            return hasty.take(most).collect();
        }
        let lines = self.lines().filter(|&(class, _)| all || class != Class::Bound);
        let tickets = lines.flat_map(|(class, line)| {
            let those = line.iter().filter(move |entry| all || !entry.through_failures);
            those.map(move |entry| entry.ticket(class))
        });
        tickets.take(most).collect()
    }

    fn is_hasty(&self, Ticket { key, stand }: Ticket) -> bool {
        self.lines[key.class()].at(stand).is_some_and(|entry| !entry.through_failures)
    }

    /// Fails one whose deadline has passed.
    pub(crate) fn fail_expired(&mut self, now: Moment, failure: F) -> Option<Refused<T>> {
        let (deadline, ticket) = self.nearest()?;
        if deadline <= now { self.fail(ticket, failure) } else { None }
    }

    /// Fails one that joined before `joined`, of the lowest class first; none that waits for one group.
    pub(crate) fn fail_older(&mut self, joined: Moment, failure: F) -> Option<Refused<T>> {
        let firsts = self.lines().filter(|&(class, _)| class != Class::Bound).rev();
        let mut firsts = firsts.filter_map(|(class, line)| Some((class, line.first()?)));
        let (class, entry) = firsts.find(|(_, entry)| entry.joined < joined)?;
        let ticket = entry.ticket(class);
        drop(firsts);
        self.fail(ticket, failure)
    }

    /// Fails those that want more than `places`.
    pub(crate) fn fail_larger(
        &mut self,
        places: usize,
        failure: impl Fn() -> F,
    ) -> Vec<Refused<T>> {
        let larger = self.several.iter().filter(|(_, several)| {
            several.wanted > places && several.granted.len() < several.wanted
        });
        let larger = larger.map(|(&key, several)| Ticket { key, stand: several.stand });
        let larger: Vec<_> = larger.collect();
        larger.into_iter().filter_map(|ticket| self.fail(ticket, failure())).collect()
    }

    /// When one that waits has joined, and its deadline.
    pub(crate) fn times_of(&self, ticket: Ticket) -> Option<(Moment, Moment)> {
        let Ticket { key, stand } = ticket;
        let entry = self.lines[key.class()].at(stand).filter(|entry| entry.is_of(key.mailbox()))?;
        Some((entry.joined, entry.deadline))
    }

    /// The nearest deadline.
    pub(crate) fn next_deadline(&self) -> Moment {
        self.nearest().map_or(Moment::NEVER, |(deadline, _)| deadline)
    }

    /// Those that joined from this stand on and at `joined`, the last time that was kept, joined by `now`: their deadlines
    /// move by as much.
    pub(crate) fn join_later(&mut self, from: u64, joined: Moment, now: Moment) {
        let late = now.since(joined);
        let class = Class::Normal;
        let line = &mut self.lines[class as usize];
        let mut latest = Moment::default();
        for entry in line.joined_at(from, joined) {
            let key = Key::new(entry.mailbox, class);
            let ticket = Ticket { key, stand: entry.stand };
            let before = entry.deadline;
            entry.joined = now;
            entry.deadline = before.after(late);
            if entry.odd {
                self.odd.remove(&(before, ticket));
                self.odd.insert((entry.deadline, ticket));
            } else {
                latest = latest.max(entry.deadline);
            }
        }
        line.note_later(latest);
    }

    fn nearest(&self) -> Option<(Moment, Ticket)> {
        let regular = self.lines().filter_map(|(class, line)| {
            let entry = line.first_regular()?;
            Some((entry.deadline, entry.ticket(class)))
        });
        regular.chain(self.odd.first().copied()).min()
    }

    pub(crate) fn fail(&mut self, ticket: Ticket, failure: F) -> Option<Refused<T>> {
        let waker = self.step_out(ticket)?;
        let granted = self.take_granted(ticket.key);
        self.failed.insert(ticket.key, failure);
        Some(Refused { waker, granted })
    }
}
