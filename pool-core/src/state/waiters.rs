//! The queue of those that wait: first come, first served, in each class of priority.
//!
//! A waiter is named by its *mailbox*, into which its place is put, and from which it takes it without
//! the lock. The number stays its own until it has taken the outcome, and is freed under the lock: at once, or,
//! for a place that was taken without it, when the lease of that place comes back.
//!
//! While it waits it stands in the ring of its class: joining pushes at the back, service pops at the
//! front, giving up leaves a gap. Gaps at the front are dropped at once; when they are more than the rest,
//! all are closed. So everything is O(1), nothing is allocated once the rings have grown, and what is
//! touched lies side by side.
//!
//! One that wants several places stands in front with those it has, until it has them all: nobody behind
//! it is served meanwhile, so it is sure to be, and no two hold back from each other what both need.
//!
//! Deadlines: most waiters share one timeout, so that their deadlines grow along the ring and the first
//! of them is the nearest. Those are *regular*; a waiter with a nearer deadline than a regular one in
//! front of it is *odd*, and stands in an ordered set beside the ring. The nearest deadline is thus
//! found in O(1), and one timer serves the whole queue.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::task::Waker;

use super::line::{Entry, Line};
use crate::acquire::Priority;
use crate::mailboxes::{self, Mailboxes};
use crate::moment::Moment;

/// Names a waiter, from joining to the outcome: its mailbox and its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(u32);

const CLASS_SHIFT: u32 = 30;
const MAX_WAITERS: usize = 1 << CLASS_SHIFT;

impl Key {
    /// Of nobody.
    pub(crate) const NIL: Self = Self(u32::MAX);

    fn new(mailbox: u32, class: Priority) -> Self {
        Self(mailbox | (class as u32) << CLASS_SHIFT)
    }

    #[inline]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Its mailbox.
    #[inline]
    pub(crate) fn index(self) -> usize {
        (self.0 & ((1 << CLASS_SHIFT) - 1)) as usize
    }

    #[inline]
    fn class(self) -> usize {
        (self.0 >> CLASS_SHIFT) as usize
    }
}

/// In the order of the fields, like [`State`](super::State).
#[repr(C)]
pub(crate) struct Waiters<T, F> {
    waiting: usize,
    mailboxes: Arc<Mailboxes<T>>,
    /// Where each waiter stands in the ring of its class, by its mailbox.
    stands: Vec<u64>,
    /// Mailboxes that are nobody's.
    free: Vec<u32>,
    lines: [Line; Priority::ALL.len()],
    /// Places that those that wait miss beside one each.
    beyond: usize,
    odd: BTreeSet<(Moment, Key)>,
    /// What those have that want more than one.
    several: HashMap<Key, Several<T>>,
    failed: HashMap<Key, F>,
}

struct Several<T> {
    wanted: usize,
    granted: Vec<T>,
}

/// What one asks for that joins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) deadline: Moment,
    pub(crate) class: Priority,
    /// How many places.
    pub(crate) places: usize,
    /// Before the others of its class: it was served already, with a resource that was no good.
    pub(crate) again: bool,
}

/// What became of a place that was to be granted.
pub(crate) enum Granted<T> {
    /// Its owner is to be woken.
    Served(Waker),
    /// Its owner wants more.
    Kept,
    /// Nobody waits.
    Nobody(T),
}

/// One that has failed.
pub(crate) struct Refused<T> {
    /// It is to be woken.
    pub(crate) waker: Waker,
    /// What it had been granted.
    pub(crate) granted: Vec<T>,
}

impl<T, F> Waiters<T, F> {
    pub(crate) fn new(mailboxes: Arc<Mailboxes<T>>) -> Self {
        Self {
            lines: Default::default(),
            mailboxes,
            stands: Vec::new(),
            free: Vec::new(),
            waiting: 0,
            beyond: 0,
            odd: BTreeSet::new(),
            several: HashMap::new(),
            failed: HashMap::new(),
        }
    }

    /// How many wait, without those that have an outcome.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many places they miss.
    pub(crate) fn wanted(&self) -> usize {
        self.waiting + self.beyond
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Since when the first of them has waited, in the order of service.
    pub(crate) fn first_joined(&self) -> Option<Moment> {
        self.lines.iter().find_map(|line| line.first()).map(|entry| entry.joined)
    }

    /// Since when the one has waited that has waited for longest, of any class.
    pub(crate) fn earliest_joined(&self) -> Option<Moment> {
        self.lines.iter().filter_map(|line| line.first()).map(|entry| entry.joined).min()
    }

    /// Joins, unless there are more than can be told apart.
    #[inline]
    pub(crate) fn join(&mut self, now: Moment, ask: Ask, waker: Waker) -> Result<Key, Waker> {
        let Some(mailbox) = self.free.pop().or_else(|| self.new_mailbox()) else {
            return Err(waker);
        };
        let key = Key::new(mailbox, ask.class);
        let line = &mut self.lines[key.class()];
        let odd = line.is_odd(ask.deadline, ask.again);
        let entry = Entry { waker, deadline: ask.deadline, joined: now, mailbox, odd };
        self.stands[key.index()] = line.push(entry, ask.again);
        self.waiting += 1;
        if odd {
            self.odd.insert((ask.deadline, key));
        }
        if ask.places != 1 {
            self.beyond += ask.places - 1;
            let several = Several { wanted: ask.places, granted: Vec::new() };
            self.several.insert(key, several);
        }
        Ok(key)
    }

    #[cold]
    fn new_mailbox(&mut self) -> Option<u32> {
        let number = self.stands.len();
        if number >= MAX_WAITERS.min(mailboxes::MAX) {
            return None;
        }
        self.mailboxes.make(number);
        self.stands.push(0);
        // Giving up allocates nothing.
        self.free.reserve(self.stands.capacity() - self.free.len());
        u32::try_from(number).ok()
    }

    /// Gives a place to the one whose turn it is.
    #[inline]
    pub(crate) fn grant(&mut self, place: T) -> Granted<T> {
        let Some((class, entry)) = self.first() else { return Granted::Nobody(place) };
        let key = Key::new(entry.mailbox, class);
        if !self.several.is_empty()
            && let Some(several) = self.several.get_mut(&key)
        {
            several.granted.push(place);
            if several.granted.len() < several.wanted {
                self.beyond -= 1;
                return Granted::Kept;
            }
        } else {
            self.mailboxes.put(key.index(), place);
        }
        let Some(entry) = self.lines[key.class()].pop() else {
            unreachable!("bug: the one whose turn it was is gone")
        };
        self.stepped_out(&entry, key);
        Granted::Served(entry.waker)
    }

    /// Fails the one whose turn it is.
    pub(crate) fn fail_first(&mut self, failure: F) -> Option<Refused<T>> {
        let (class, entry) = self.first()?;
        let key = Key::new(entry.mailbox, class);
        Some(self.fail(key, failure))
    }

    /// Fails one whose deadline has passed.
    pub(crate) fn fail_expired(&mut self, now: Moment, failure: F) -> Option<Refused<T>> {
        let (deadline, key) = self.nearest()?;
        (deadline <= now).then(|| self.fail(key, failure))
    }

    /// Fails one that joined before `joined`, of the lowest class first.
    pub(crate) fn fail_older(&mut self, joined: Moment, failure: F) -> Option<Refused<T>> {
        let firsts = Priority::ALL.into_iter().zip(&self.lines).rev();
        let mut firsts = firsts.filter_map(|(class, line)| Some((class, line.first()?)));
        let (class, entry) = firsts.find(|(_, entry)| entry.joined < joined)?;
        let key = Key::new(entry.mailbox, class);
        Some(self.fail(key, failure))
    }

    /// Fails one that wants more than `places`.
    pub(crate) fn fail_larger(&mut self, places: usize, failure: F) -> Option<Refused<T>> {
        let waits = |key: Key| self.lines[key.class()].get(self.stands[key.index()], key.index());
        let larger = self.several.iter().filter(|(_, several)| several.wanted > places);
        let (&key, _) = larger.into_iter().find(|&(&key, _)| waits(key).is_some())?;
        Some(self.fail(key, failure))
    }

    /// The nearest deadline.
    pub(crate) fn next_deadline(&self) -> Moment {
        self.nearest().map_or(Moment::NEVER, |(deadline, _)| deadline)
    }

    /// Those that joined last, at `joined`, joined at `now`: their deadlines move by as much.
    pub(crate) fn join_later(&mut self, joined: Moment, now: Moment) {
        let late = now.since(joined);
        let class = Priority::Normal;
        let line = &mut self.lines[class as usize];
        let mut latest = Moment::default();
        for entry in line.joined_last(joined) {
            let key = Key::new(entry.mailbox, class);
            let before = entry.deadline;
            entry.joined = now;
            entry.deadline = before.after(late);
            if entry.odd {
                self.odd.remove(&(before, key));
                self.odd.insert((entry.deadline, key));
            } else {
                latest = latest.max(entry.deadline);
            }
        }
        line.note_later(latest);
    }

    /// The wakers of all that wait, who will leave others when they are polled.
    pub(crate) fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        for entry in self.lines.iter_mut().flat_map(Line::entries) {
            wakers.push(std::mem::replace(&mut entry.waker, Waker::noop().clone()));
        }
    }

    /// Takes the outcome, after which the key is void, or waits on to be woken by `waker`.
    ///
    /// A waker is a user's: it is cloned before and dropped after, outside the lock. `spare` is a clone if
    /// one was asked for, and the one to be dropped afterwards.
    pub(crate) fn poll(
        &mut self,
        key: Key,
        waker: &Waker,
        spare: &mut Option<Waker>,
    ) -> Polled<T, F> {
        let stands = self.stands[key.index()];
        let Some(entry) = self.lines[key.class()].get_mut(stands, key.index()) else {
            return match self.take_outcome(key) {
                Outcome::Granted(places) => Polled::Granted(places),
                Outcome::Failed(failure) => Polled::Failed(failure),
            };
        };
        if !entry.waker.will_wake(waker) {
            let Some(clone) = spare.take() else { return Polled::NeedsWaker };
            *spare = Some(std::mem::replace(&mut entry.waker, clone));
        }
        Polled::Waiting
    }

    /// Leaves. The key is void then; places that were granted go to somebody else.
    pub(crate) fn leave(&mut self, key: Key) -> Left<T, F> {
        let stands = self.stands[key.index()];
        if self.lines[key.class()].get(stands, key.index()).is_none() {
            return Left::Settled(self.take_outcome(key));
        }
        let granted = self.take_granted(key);
        let waker = self.step_out(key);
        self.free(key);
        Left::Waiting(waker, granted)
    }

    /// Frees the mailbox of one that has taken its place from it.
    #[inline]
    pub(crate) fn free(&mut self, key: Key) {
        if key != Key::NIL {
            self.free.push(key.0 & ((1 << CLASS_SHIFT) - 1));
        }
    }

    /// Whose turn it is.
    #[inline]
    fn first(&self) -> Option<(Priority, &Entry)> {
        let [high, normal, low] = &self.lines;
        if let Some(entry) = high.first() {
            return Some((Priority::High, entry));
        }
        if let Some(entry) = normal.first() {
            return Some((Priority::Normal, entry));
        }
        Some((Priority::Low, low.first()?))
    }

    fn nearest(&self) -> Option<(Moment, Key)> {
        let lines = Priority::ALL.into_iter().zip(&self.lines);
        let regular = lines.filter_map(|(class, line)| {
            let entry = line.first_regular()?;
            Some((entry.deadline, Key::new(entry.mailbox, class)))
        });
        regular.chain(self.odd.first().copied()).min()
    }

    fn fail(&mut self, key: Key, failure: F) -> Refused<T> {
        let granted = self.take_granted(key);
        self.failed.insert(key, failure);
        Refused { waker: self.step_out(key), granted }
    }

    /// What one has been granted that wanted more, and will not get it.
    fn take_granted(&mut self, key: Key) -> Vec<T> {
        let several = self.several.remove(&key);
        let (wanted, granted) =
            several.map_or((1, Vec::new()), |several| (several.wanted, several.granted));
        self.beyond -= wanted - granted.len() - 1;
        granted
    }

    /// Takes one out of the ring that is not served.
    fn step_out(&mut self, key: Key) -> Waker {
        let line = &mut self.lines[key.class()];
        let Some(entry) = line.remove(self.stands[key.index()], &mut self.stands) else {
            unreachable!("bug: one that does not wait stepped out of the queue")
        };
        self.stepped_out(&entry, key);
        entry.waker
    }

    #[inline]
    fn stepped_out(&mut self, entry: &Entry, key: Key) {
        self.waiting -= 1;
        if entry.odd {
            self.odd.remove(&(entry.deadline, key));
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

/// What one was granted.
pub(crate) enum Places<T> {
    One(T),
    Several(Vec<T>),
}

/// What waiting came to.
pub(crate) enum Outcome<T, F> {
    Granted(Places<T>),
    Failed(F),
}

/// How one stands that waits.
pub(crate) enum Polled<T, F> {
    Granted(Places<T>),
    Failed(F),
    Waiting,
    /// To be polled again with a clone of its waker.
    NeedsWaker,
}

/// How the one stood that left. To be dropped outside the lock.
pub(crate) enum Left<T, F> {
    /// It waited, and had been granted some of the places that it wanted.
    Waiting(
        #[expect(dead_code, reason = "carried out of the lock, to be dropped there")] Waker,
        Vec<T>,
    ),
    /// It had its outcome.
    Settled(Outcome<T, F>),
}
