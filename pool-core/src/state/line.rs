//! The ring in which the waiters of one class stand.
//!
//! An entry's *stand* is a number that only the closing of gaps changes: its position is that, less the stand
//! of the first one. Numbers begin in the middle, since some join in front.

use std::collections::VecDeque;
use std::task::Waker;

use crate::moment::Moment;

pub(super) struct Line {
    /// The first and the last are never gaps.
    ring: VecDeque<Option<Entry>>,
    /// The stand of the first.
    front: u64,
    gaps: usize,
    /// The stand of the first regular one, or one behind the last.
    regular: u64,
    /// The deadline of the last regular one.
    last_regular: Moment,
}

/// One that waits.
pub(super) struct Entry {
    pub(super) waker: Waker,
    pub(super) deadline: Moment,
    pub(super) joined: Moment,
    pub(super) mailbox: u32,
    pub(super) odd: bool,
}

/// Gaps that are not worth closing.
const FEW_GAPS: usize = 32;

impl Default for Line {
    fn default() -> Self {
        let front = 1 << 63;
        let last_regular = Moment::default();
        Self { ring: VecDeque::new(), front, gaps: 0, regular: front, last_regular }
    }
}

impl Line {
    #[inline]
    pub(super) fn first(&self) -> Option<&Entry> {
        self.ring.front()?.as_ref()
    }

    pub(super) fn first_regular(&self) -> Option<&Entry> {
        self.ring.get(self.position(self.regular)?)?.as_ref()
    }

    pub(super) fn entries(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.ring.iter_mut().flatten()
    }

    /// Those that joined last, all at `joined`.
    pub(super) fn joined_last(&mut self, joined: Moment) -> impl Iterator<Item = &mut Entry> {
        self.ring.iter_mut().rev().flatten().take_while(move |entry| entry.joined == joined)
    }

    /// The deadline of a regular one has moved away.
    pub(super) fn note_later(&mut self, deadline: Moment) {
        self.last_regular = self.last_regular.max(deadline);
    }

    /// The entry of this mailbox, if it stands here.
    pub(super) fn get(&self, stand: u64, mailbox: usize) -> Option<&Entry> {
        let entry = self.ring.get(self.position(stand)?)?.as_ref();
        entry.filter(|entry| entry.mailbox as usize == mailbox)
    }

    pub(super) fn get_mut(&mut self, stand: u64, mailbox: usize) -> Option<&mut Entry> {
        let position = self.position(stand)?;
        let entry = self.ring.get_mut(position)?.as_mut();
        entry.filter(|entry| entry.mailbox as usize == mailbox)
    }

    /// Whether one with this deadline would be odd that joins at the end, or in front.
    #[inline]
    pub(super) fn is_odd(&self, deadline: Moment, in_front: bool) -> bool {
        if in_front {
            self.first_regular().is_some_and(|first| first.deadline < deadline)
        } else {
            deadline < self.last_regular && !self.ring.is_empty()
        }
    }

    /// Adds one at the end, or in front, and says where it stands.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry, in_front: bool) -> u64 {
        let is_regular = !entry.odd;
        if self.ring.is_empty() {
            self.regular = self.end();
            self.last_regular = Moment::default();
        }
        if !in_front {
            let stand = self.end();
            if is_regular {
                self.last_regular = entry.deadline;
            } else if self.regular == stand {
                self.regular += 1;
            }
            self.ring.push_back(Some(entry));
            return stand;
        }
        self.front -= 1;
        if is_regular {
            self.regular = self.front;
            self.last_regular = self.last_regular.max(entry.deadline);
        }
        self.ring.push_front(Some(entry));
        self.front
    }

    /// Takes the first one out.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.ring.pop_front()??;
        self.front += 1;
        if self.gaps > 0 {
            self.drop_gaps_in_front();
        }
        match self.first() {
            // The one that was first is gone, regular or not, and this one comes next.
            Some(first) if !first.odd => self.regular = self.front,
            _ => self.advance_regular(),
        }
        Some(entry)
    }

    /// Takes one out. Closes the gaps, which tells those that move where they stand then.
    pub(super) fn remove(&mut self, stand: u64, stands: &mut [u64]) -> Option<Entry> {
        let position = self.position(stand)?;
        if position == 0 {
            return self.pop();
        }
        let entry = self.ring.get_mut(position)?.take()?;
        self.gaps += 1;
        self.drop_gaps(stands);
        if stand == self.regular {
            self.advance_regular();
        }
        Some(entry)
    }

    #[cold]
    fn drop_gaps_in_front(&mut self) {
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.front += 1;
            self.gaps -= 1;
        }
    }

    fn drop_gaps(&mut self, stands: &mut [u64]) {
        while let Some(None) = self.ring.back() {
            self.ring.pop_back();
            self.gaps -= 1;
        }
        if self.gaps <= FEW_GAPS.max(self.ring.len() / 2) {
            return;
        }
        self.ring.retain(Option::is_some);
        self.gaps = 0;
        self.regular = self.end();
        for (stand, entry) in (self.front..).zip(self.ring.iter().flatten()) {
            stands[entry.mailbox as usize] = stand;
            if !entry.odd {
                self.regular = self.regular.min(stand);
            }
        }
    }

    /// The regular ones behind the first stand behind it: every entry is passed once.
    fn advance_regular(&mut self) {
        self.regular = self.regular.max(self.front);
        let is_regular = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| !entry.odd);
        while self.regular < self.end() {
            let at = self.position(self.regular).and_then(|position| self.ring.get(position));
            if at.is_some_and(is_regular) {
                return;
            }
            self.regular += 1;
        }
    }

    fn end(&self) -> u64 {
        self.front + self.ring.len() as u64
    }

    #[inline]
    fn position(&self, stand: u64) -> Option<usize> {
        usize::try_from(stand.checked_sub(self.front)?).ok()
    }
}
