//! The queue of those that wait: first come, first served, in each class of priority.
//!
//! A waiter is named by its *mailbox*, into which its place is put, and from which it takes it without
//! the lock. The number stays its own until it has taken the outcome, and is free then. Of a place that was taken without
//! the lock it waits in the front for the next waiter of that thread, or, if one waits there already, comes back with the
//! lease of that place.
//!
//! While it waits it stands in the ring of its class: joining pushes at the back, service pops at the
//! front, giving up leaves a gap. Gaps at the front are dropped at once; when they are more than the rest,
//! all are closed. So everything is O(1) (giving up after gaps were closed, O(log n)), nothing is allocated
//! once the rings have grown, and what is touched lies side by side.
//!
//! One that wants several places stands in front with those it has, until it has them all: nobody behind
//! it is served meanwhile, so it is sure to be, and no two hold back from each other what both need.
//!
//! One that waits for a place of one group is *bound* to it, and stands in a line of its own beside the classes of
//! priority (`waiters/bound.rs`). It does not hold up the others: those are what is meant where nothing else is said.
//!
//! Deadlines: most waiters share one timeout, so that their deadlines grow along the ring and the first
//! of them is the nearest. Those are *regular*; a waiter with a nearer deadline than a regular one in
//! front of it is *odd*, and stands in an ordered set beside the ring. The nearest deadline is thus
//! found in amortised O(1), when somebody looks for it, and one timer serves the whole queue. Nearer by less than a timer can tell is not nearer.

mod bound;
mod ending;
#[cfg(all(test, not(pool_loom)))]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::task::Waker;

use self::bound::Bound;
pub(crate) use self::ending::Whom;
use super::line::{Entry, Gone, Line};
use super::tickets::{
    Ask, Class, Granted, Key, Left, MAX_WAITERS, Outcome, Places, Polled, Ticket,
};
use crate::mailboxes::{self, Mailboxes};
use crate::moment::Moment;

/// In the order of the fields, like [`State`](super::State).
#[repr(C)]
pub(crate) struct Waiters<T, F> {
    /// Of the classes of priority, and of those that are bound.
    lines: [Line; Class::ALL.len()],
    mailboxes: Arc<Mailboxes<T>>,
    /// Mailboxes that are nobody's.
    free: Vec<u32>,
    /// How many there are.
    mailbox_count: usize,
    /// The one that has some of the places that it wants: it is served before all others.
    gathering: Option<Ticket>,
    odd: BTreeSet<(Moment, Ticket)>,
    /// What those have that want more than one.
    several: HashMap<Key, Several<T>>,
    /// How many places they miss beside one each, those of them that wait.
    missing: u128,
    bound: Bound,
    failed: HashMap<Key, F>,
}

struct Several<T> {
    stand: u64,
    wanted: usize,
    granted: Vec<T>,
}

impl<T> Several<T> {
    /// How many places it misses beside one.
    fn missing(&self) -> u128 {
        (self.wanted - self.granted.len()).saturating_sub(1) as u128
    }
}

impl<T, F> Waiters<T, F> {
    pub(crate) fn new(mailboxes: Arc<Mailboxes<T>>) -> Self {
        Self {
            lines: Default::default(),
            mailboxes,
            free: Vec::new(),
            mailbox_count: 0,
            gathering: None,
            odd: BTreeSet::new(),
            several: HashMap::new(),
            missing: 0,
            bound: Bound::default(),
            failed: HashMap::new(),
        }
    }

    /// How many wait, without those that have an outcome.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        let [normal, high, low, _] = &self.lines;
        high.waiting() + normal.waiting() + low.waiting()
    }

    /// The same, with those that are bound.
    pub(crate) fn waiting_in_all(&self) -> usize {
        self.waiting() + self.bound_waiting()
    }

    /// How many have joined so far, without those that came back.
    #[inline]
    pub(crate) fn joined(&self) -> u64 {
        let [normal, high, low, _] = &self.lines;
        high.joined() + normal.joined() + low.joined()
    }

    /// The stand of the next one of those that may join by maintenance's clock.
    pub(crate) fn next_stand(&self) -> u64 {
        self.lines[Class::Normal as usize].next_stand()
    }

    /// The same, with those that are bound.
    pub(crate) fn joined_in_all(&self) -> u64 {
        self.joined() + self.lines[Class::Bound as usize].joined()
    }

    /// How many places they miss.
    pub(crate) fn wanted(&self) -> usize {
        let missing = usize::try_from(self.missing).unwrap_or(usize::MAX);
        self.waiting().saturating_add(missing)
    }

    /// Whether there is one that wants several places.
    #[inline]
    pub(crate) fn has_several(&self) -> bool {
        !self.several.is_empty()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let [normal, high, low, _] = &self.lines;
        high.is_empty() && normal.is_empty() && low.is_empty()
    }

    /// Since when the first of them has waited, in the order of service.
    pub(crate) fn first_joined(&self) -> Option<Moment> {
        self.first().map(|(_, entry)| entry.joined)
    }

    /// Since when the one has waited that has waited for longest, of any class.
    pub(crate) fn earliest_joined(&self) -> Option<Moment> {
        let [normal, high, low, _] = &self.lines;
        let firsts = [high, normal, low].into_iter().filter_map(Line::first);
        firsts.map(|entry| entry.joined).min()
    }

    /// Joins, unless there are more than can be told apart.
    #[inline]
    pub(crate) fn join(
        &mut self,
        now: Moment,
        ask: Ask,
        waker: Waker,
        mailbox: Option<Key>,
    ) -> Result<Ticket, Waker> {
        let spare = mailbox.map(Key::mailbox);
        let Some(mailbox) = spare.or_else(|| self.free.pop()).or_else(|| self.new_mailbox()) else {
            return Err(waker);
        };
        let key = Key::new(mailbox, Class::of(&ask));
        let (stand, odd) = self.lines[key.class()].push(waker, ask, now, mailbox);
        if let Some(group) = ask.group {
            self.bind(Ticket { key, stand }, group, ask.again);
        }
        if odd {
            self.odd.insert((ask.deadline, Ticket { key, stand }));
        }
        if ask.places != 1 {
            let several = Several { stand, wanted: ask.places, granted: Vec::new() };
            self.missing += several.missing();
            self.several.insert(key, several);
        }
        Ok(Ticket { key, stand })
    }

    #[cold]
    fn new_mailbox(&mut self) -> Option<u32> {
        let number = self.mailbox_count;
        if number >= MAX_WAITERS.min(mailboxes::MAX) {
            return None;
        }
        self.mailboxes.make(number);
        self.mailbox_count += 1;
        // Giving up allocates nothing.
        let most = self.mailbox_count.next_power_of_two().max(mailboxes::FIRST);
        self.free.reserve(most - self.free.len());
        u32::try_from(number).ok()
    }

    /// Gives a place to the one whose turn it is.
    #[inline]
    pub(crate) fn grant(&mut self, place: T) -> Granted<T> {
        if self.has_several() {
            return self.grant_with_several(place);
        }
        let Some((class, entry)) = self.first() else { return Granted::Nobody(place) };
        let key = Key::new(entry.mailbox, class);
        self.mailboxes.put(key.index(), place);
        let Some(gone) = self.lines[key.class()].pop() else {
            unreachable!("bug: the one whose turn it was is gone")
        };
        self.stepped_out(&gone, key);
        Granted::Served(gone.waker)
    }

    fn lines(&self) -> impl DoubleEndedIterator<Item = (Class, &Line)> {
        Class::ALL.into_iter().map(|class| (class, &self.lines[class as usize]))
    }

    /// Whose turn it is, by name.
    fn first_ticket(&self) -> Option<Ticket> {
        self.gathering.or_else(|| self.first().map(|(class, entry)| entry.ticket(class)))
    }

    fn grant_with_several(&mut self, place: T) -> Granted<T> {
        let Some(ticket) = self.first_ticket() else { return Granted::Nobody(place) };
        if let Some(several) = self.several.get_mut(&ticket.key) {
            self.missing -= several.missing();
            several.granted.push(place);
            self.missing += several.missing();
            if several.granted.len() < several.wanted {
                self.gathering = Some(ticket);
                return Granted::Kept;
            }
        } else {
            self.mailboxes.put(ticket.key.index(), place);
        }
        match self.step_out(ticket) {
            Some(waker) => Granted::Served(waker),
            None => unreachable!("bug: the one whose turn it was is gone"),
        }
    }

    /// What has been gathered so far, to be looked through and put back.
    pub(crate) fn take_gathered(&mut self) -> Vec<T> {
        let several = self.gathering.and_then(|ticket| self.several.get_mut(&ticket.key));
        let Some(several) = several else { return Vec::new() };
        self.missing -= several.missing();
        let granted = std::mem::take(&mut several.granted);
        self.missing += several.missing();
        granted
    }

    /// Puts back what is good of [`what was taken`](Self::take_gathered).
    pub(crate) fn put_gathered(&mut self, granted: Vec<T>) {
        if granted.is_empty() {
            self.gathering = None;
        } else if let Some(several) =
            self.gathering.and_then(|ticket| self.several.get_mut(&ticket.key))
        {
            self.missing -= several.missing();
            several.granted = granted;
            self.missing += several.missing();
        }
    }

    /// Whether the one whose turn it is wants one place.
    pub(crate) fn first_wants_one(&self) -> bool {
        self.first_ticket().is_none_or(|ticket| !self.several.contains_key(&ticket.key))
    }

    /// The wakers of all that wait, who will leave others when they are polled.
    pub(crate) fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        for waker in self.lines.iter_mut().flat_map(Line::wakers) {
            wakers.push(std::mem::replace(waker, Waker::noop().clone()));
        }
    }

    /// Takes the outcome, after which the key is void, or waits on to be woken by `waker`.
    ///
    /// A waker is a user's: it is cloned before and dropped after, outside the lock. `spare` is a clone if
    /// one was asked for, and the one to be dropped afterwards.
    pub(crate) fn poll(
        &mut self,
        ticket: Ticket,
        waker: &Waker,
        spare: &mut Option<Waker>,
    ) -> Polled<T, F> {
        let Ticket { key, stand } = ticket;
        let Some(current) = self.lines[key.class()].waker(stand, key.mailbox()) else {
            return match self.take_outcome(key) {
                Outcome::Granted(places) => Polled::Granted(places),
                Outcome::Failed(failure) => Polled::Failed(failure),
            };
        };
        if !current.will_wake(waker) {
            let Some(clone) = spare.take() else { return Polled::NeedsWaker };
            *spare = Some(std::mem::replace(current, clone));
        }
        Polled::Waiting
    }

    /// Leaves. The key is void then; places that were granted go to somebody else.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Left<T, F> {
        let key = ticket.key;
        let Some(waker) = self.step_out(ticket) else {
            return Left::Settled(self.take_outcome(key));
        };
        let granted = self.take_granted(key);
        self.free(key);
        Left::Waiting(waker, granted)
    }

    /// Frees the mailbox of one that has taken its place from it.
    #[inline]
    pub(crate) fn free(&mut self, key: Key) {
        if key != Key::NIL {
            self.free.push(key.mailbox());
        }
    }

    /// Whose turn it is.
    #[inline]
    fn first(&self) -> Option<(Class, &Entry)> {
        let [normal, high, low, _] = &self.lines;
        if let Some(entry) = high.first() {
            return Some((Class::High, entry));
        }
        if let Some(entry) = normal.first() {
            return Some((Class::Normal, entry));
        }
        Some((Class::Low, low.first()?))
    }

    /// What one has been granted that wanted more, and will not get it.
    fn take_granted(&mut self, key: Key) -> Vec<T> {
        let Some(several) = self.several.remove(&key) else { return Vec::new() };
        self.missing -= several.missing();
        several.granted
    }

    /// Takes one out of the ring that is not served, if it waits.
    fn step_out(&mut self, ticket: Ticket) -> Option<Waker> {
        let Ticket { key, stand } = ticket;
        let gone = self.lines[key.class()].remove(stand, key.mailbox())?;
        if self.gathering.is_some_and(|gathering| gathering.key == key) {
            self.gathering = None;
        }
        if key.class() == Class::Bound as usize {
            self.unbind(ticket);
        }
        self.stepped_out(&gone, key);
        Some(gone.waker)
    }

    #[inline]
    fn stepped_out(&mut self, gone: &Gone, key: Key) {
        if gone.odd {
            self.odd.remove(&(gone.deadline, Ticket { key, stand: gone.stand }));
        }
    }

    fn take_outcome(&mut self, key: Key) -> Outcome<T, F> {
        let outcome = if let Some(place) = self.mailboxes.take(key.index()) {
            Outcome::Granted(Places::One(place))
        } else if let Some(several) = self.several.remove(&key) {
            Outcome::Granted(Places::Several(several.granted))
        } else if let Some(failure) = self.failed.remove(&key) {
            Outcome::Failed(failure)
        } else {
            unreachable!("bug: one that does not wait has no outcome")
        };
        self.free(key);
        outcome
    }
}
