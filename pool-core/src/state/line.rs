//! The ring in which the waiters of one class stand.
//!
//! Each has a *stand*, a number that grows along the ring and that it keeps. As long as no gaps have been closed
//! the position follows from it, afterwards it is searched for. When one has left, its stand may come to
//! another one that joins in front: the mailbox tells them apart.

use std::cell::Cell;
use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use super::tickets::{Ask, Class, Key, Ticket};
use crate::moment::Moment;

/// In the order of the fields: what every wait changes comes first, up to `gaps`.
#[repr(C)]
pub(super) struct Line {
    /// The first and the last are never gaps.
    ring: VecDeque<Entry>,
    /// The stand of the next that joins at the end. Numbers begin in the middle, since some join in front.
    next: u64,
    /// The deadline of the last regular one.
    last_regular: Moment,
    pub(super) gaps: usize,
    /// No regular one stands before this. It is sought from here on when it is asked for, so that those who are served
    /// need not look at the one behind them, whose entry another thread has written.
    regular: Cell<u64>,
}

/// One that waits, or the gap that it has left. It lies in one line of the cache, since threads join and are served
/// beside each other.
#[repr(align(64))]
pub(super) struct Entry {
    /// `None` for a gap.
    waker: Option<Waker>,
    pub(super) deadline: Moment,
    pub(super) joined: Moment,
    pub(super) stand: u64,
    pub(super) mailbox: u32,
    pub(super) odd: bool,
    /// It has joined in front.
    pub(super) again: bool,
    /// No failure to create ends its wait.
    pub(super) through_failures: bool,
}

impl Entry {
    /// The name of the one that waits, of this class.
    #[inline]
    pub(super) fn ticket(&self, class: Class) -> Ticket {
        Ticket { key: Key::new(self.mailbox, class), stand: self.stand }
    }

    fn waits(&self) -> bool {
        self.waker.is_some()
    }

    /// Is this where the one of this mailbox waits?
    pub(super) fn is_of(&self, mailbox: u32) -> bool {
        self.waits() && self.mailbox == mailbox
    }
}

const _: () = assert!(size_of::<Entry>() == 64, "an entry is more than a line of the cache");

/// What there is to say about one that has left the ring.
pub(super) struct Gone {
    pub(super) waker: Waker,
    pub(super) deadline: Moment,
    pub(super) stand: u64,
    pub(super) odd: bool,
}

/// Gaps that are not worth closing.
const FEW_GAPS: usize = 32;

/// Deadlines that are less than this apart are the same to a timer, and the later one is taken: threads that
/// join at the same time come in any order.
const SAME: Duration = Duration::from_millis(1);

const FIRST_STAND: u64 = 1 << 63;

impl Default for Line {
    fn default() -> Self {
        Self {
            ring: VecDeque::new(),
            next: FIRST_STAND,
            gaps: 0,
            regular: Cell::new(FIRST_STAND),
            last_regular: Moment::default(),
        }
    }
}

impl Line {
    /// How many wait.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        self.ring.len() - self.gaps
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// How many have joined at the end so far.
    #[inline]
    pub(super) fn joined(&self) -> u64 {
        self.next - FIRST_STAND
    }

    #[inline]
    pub(super) fn first(&self) -> Option<&Entry> {
        self.ring.front()
    }

    /// The one that waits at this stand.
    pub(super) fn at(&self, stand: u64) -> Option<&Entry> {
        self.ring.get(self.find(stand)?)
    }

    /// Those that join at the end from now on have this stand, or a later one.
    pub(super) fn next_stand(&self) -> u64 {
        self.next
    }

    /// The regular ones stand in the order of their deadlines, so this one's is the nearest. What is passed on the way is
    /// not passed again, unless a regular one joins in front.
    pub(super) fn first_regular(&self) -> Option<&Entry> {
        let regular = self.regular.get();
        let first = self.first()?.stand;
        let from = if regular <= first {
            0
        } else {
            let behind = || self.ring.partition_point(|entry| entry.stand < regular);
            self.find(regular).unwrap_or_else(behind)
        };
        let found = self.ring.range(from..).find(|entry| entry.waits() && !entry.odd);
        self.regular.set(found.map_or(self.next, |entry| entry.stand));
        found
    }

    /// All, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.ring.iter().filter(|entry| entry.waits())
    }

    /// The wakers of all.
    pub(super) fn wakers(&mut self) -> impl Iterator<Item = &mut Waker> {
        self.ring.iter_mut().filter_map(|entry| entry.waker.as_mut())
    }

    /// The waker of the one of this mailbox that stood here, if it still waits.
    pub(super) fn waker(&mut self, stand: u64, mailbox: u32) -> Option<&mut Waker> {
        let position = self.find(stand)?;
        let entry = self.ring.get_mut(position)?;
        entry.waker.as_mut().filter(|_| entry.mailbox == mailbox)
    }

    /// Those that joined at `joined`, of those that joined at the end from this stand on.
    pub(super) fn joined_at(
        &mut self,
        from: u64,
        joined: Moment,
    ) -> impl Iterator<Item = &mut Entry> {
        let since = self.ring.iter_mut().rev().take_while(move |entry| entry.stand >= from);
        since.filter(move |entry| entry.waits() && entry.joined == joined)
    }

    /// The deadline of a regular one has moved away.
    pub(super) fn note_later(&mut self, deadline: Moment) {
        self.last_regular = self.last_regular.max(deadline);
    }

    /// Adds one at the end, or in front. Says where it stands, and whether it is odd.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "each wait does it once, and what else there is of such rings decided it"
    )]
    pub(super) fn push(
        &mut self,
        waker: Waker,
        ask: Ask,
        joined: Moment,
        mailbox: u32,
    ) -> (u64, bool) {
        let Ask { deadline, again, through_failures, .. } = ask;
        let entry = Entry {
            waker: Some(waker),
            deadline,
            joined,
            stand: 0,
            mailbox,
            odd: false,
            again,
            through_failures,
        };
        if again {
            return self.push_front(entry);
        }
        let stand = self.next;
        self.next += 1;
        let last = if self.ring.is_empty() { deadline } else { self.last_regular };
        let odd = deadline < last && deadline.after(SAME) <= last;
        let deadline = if odd { deadline } else { deadline.max(last) };
        if !odd {
            self.last_regular = deadline;
        }
        self.ring.push_back(Entry { deadline, stand, odd, ..entry });
        (stand, odd)
    }

    fn push_front(&mut self, entry: Entry) -> (u64, bool) {
        let stand = self.first().map_or(self.next, |first| first.stand) - 1;
        let regular = self.first_regular().map(|regular| regular.deadline);
        let odd = regular.is_some_and(|deadline| deadline < entry.deadline);
        if !odd {
            self.regular.set(stand);
            let is_empty = self.ring.is_empty();
            self.last_regular =
                if is_empty { entry.deadline } else { self.last_regular.max(entry.deadline) };
        }
        self.ring.push_front(Entry { stand, odd, ..entry });
        (stand, odd)
    }

    /// Takes the first one out.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "each wait does it once, and what else there is of such rings decided it"
    )]
    pub(super) fn pop(&mut self) -> Option<Gone> {
        let Entry { waker, deadline, stand, odd, .. } = self.ring.pop_front()?;
        if self.gaps > 0 {
            self.drop_gaps_in_front();
        }
        Some(Gone { waker: waker?, deadline, stand, odd })
    }

    /// Takes the one of this mailbox out that stood here, if it still waits.
    pub(super) fn remove(&mut self, stand: u64, mailbox: u32) -> Option<Gone> {
        let position = self.find(stand)?;
        let entry = self.ring.get_mut(position)?;
        if entry.mailbox != mailbox {
            return None;
        }
        if position == 0 {
            return self.pop();
        }
        let waker = entry.waker.take()?;
        let gone = Gone { waker, deadline: entry.deadline, stand, odd: entry.odd };
        self.gaps += 1;
        while self.ring.back().is_some_and(|last| !last.waits()) {
            self.ring.pop_back();
            self.gaps -= 1;
        }
        if self.gaps > FEW_GAPS.max(self.ring.len() / 2) {
            self.ring.retain(Entry::waits);
            self.gaps = 0;
        }
        Some(gone)
    }

    #[cold]
    fn drop_gaps_in_front(&mut self) {
        while self.ring.front().is_some_and(|first| !first.waits()) {
            self.ring.pop_front();
            self.gaps -= 1;
        }
    }

    fn find(&self, stand: u64) -> Option<usize> {
        let first = self.first()?.stand;
        let position = usize::try_from(stand.checked_sub(first)?).ok()?;
        if self.ring.get(position).is_some_and(|entry| entry.stand == stand) {
            return Some(position);
        }
        self.ring.binary_search_by_key(&stand, |entry| entry.stand).ok()
    }
}
