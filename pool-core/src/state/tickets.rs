//! What waiters and the queue tell each other.

use std::task::Waker;

use crate::group::GroupId;
use crate::moment::Moment;
use crate::options::Priority;

/// Names a waiter, from joining to the outcome: its mailbox and its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(u32);

const CLASS_SHIFT: u32 = 30;
/// One less than there could be: nobody is [`Key::NIL`].
pub(super) const MAX_WAITERS: usize = (1 << CLASS_SHIFT) - 1;

/// The class that one waits in: of its priority, or that of all who wait for a place of one group. The usual one is first:
/// so is its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Normal,
    High,
    Low,
    Bound,
}

impl Class {
    /// In the order of service.
    pub(super) const ALL: [Self; 4] = [Self::High, Self::Normal, Self::Low, Self::Bound];

    #[inline]
    pub(super) fn of(ask: &Ask) -> Self {
        match ask.priority {
            _ if ask.group.is_some() => Self::Bound,
            Priority::High => Self::High,
            Priority::Normal => Self::Normal,
            Priority::Low => Self::Low,
        }
    }
}

impl Key {
    /// Of nobody.
    pub(crate) const NIL: Self = Self(u32::MAX);

    pub(super) fn new(mailbox: u32, class: Class) -> Self {
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

    #[inline]
    pub(super) fn mailbox(self) -> u32 {
        self.0 & ((1 << CLASS_SHIFT) - 1)
    }

    /// Its mailbox.
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.mailbox() as usize
    }

    #[inline]
    pub(super) fn class(self) -> usize {
        (self.0 >> CLASS_SHIFT) as usize
    }
}

/// Names a waiter to itself, and says where it stood when it joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub(crate) key: Key,
    pub(super) stand: u64,
}

impl Ticket {
    /// Whether it is one of the [`STANDS_FOR`] that are timed for all of them. It goes by where it stood, spread so that no
    /// rhythm of those that join hits only one sort of them.
    #[inline]
    pub(crate) fn is_timed(self) -> bool {
        // Odd, and of no pattern: the golden ratio's.
        self.stand.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60 == 0
    }
}

/// How many waits the one stands for that is timed, while there are too many to time each.
pub(crate) const STANDS_FOR: u8 = 16;

/// What one asks for that joins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) deadline: Moment,
    pub(crate) priority: Priority,
    /// The one group that the place is to be of. It has no priority then.
    pub(crate) group: Option<GroupId>,
    /// How many places.
    pub(crate) places: usize,
    /// Before the others of its class: it was served already, with a resource that was no good.
    pub(crate) again: bool,
    /// No failure to create ends its wait.
    pub(crate) through_failures: bool,
}

impl Ask {
    /// For one place, in the order of arrival.
    pub(crate) fn one(deadline: Moment) -> Self {
        let priority = Priority::Normal;
        Self { deadline, priority, group: None, places: 1, again: false, through_failures: false }
    }
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
