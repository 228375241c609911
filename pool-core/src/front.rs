//! The front of a pool: one idle resource per thread, outside the lock.
//!
//! # Implementation details
//!
//! A thread that gets and returns one resource at a time needs nothing of the state, so it does not lock
//! it: the resource waits in the thread's own *cell*. To the state it is lent meanwhile. Two exchanges on
//! a cell that no other thread writes make a get and a return.
//!
//! What the state has to decide, it decides with the front *closed*: it raises the gate, then empties
//! every cell ([`Front::close`], [`Front::take`]), all under its lock. A thread that returns looks at the
//! gate, puts its resource into its cell, and looks again. Both exchange the same cell, so one of them is
//! first: is it the return, the state finds the resource; is it the state, the second look sees
//! the gate raised and the thread takes its resource back and goes the slow way. Nothing is left behind
//! in a cell of a closed front, and a waiter joins the queue of a closed front only, so none sleeps
//! beside an idle resource.
//!
//! Only its own thread puts something into a cell. So what it finds there was put there while the front was
//! open, which has not been closed since; a get that begins after a waiter has joined finds nothing, and does
//! not overtake. That a get looks at the gate first spares it the exchange.
//!
//! A cell keeps also what is its thread's own: how many gets it was served with here, how many waits it has picked the
//! places of up, and a mailbox that is nobody's, for its next waiter.
//!
//! The gate is the moment before which a resource must not expire to be put here: the nearest expiry that the
//! timer knows of, or the end of time when the front is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_utils::CachePadded;

use crate::moment::Moment;
use crate::seat::seat;
use crate::state::{Key, Store};
use crate::sync::{AtomicU64, Exchange};

/// More threads than this that use one pool at the same time share its lock.
#[cfg(not(pool_loom))]
const MAX_CELLS: usize = 32;

/// Its parts are one step away from whoever has one.
pub(crate) struct Front<S: Store> {
    marks: Arc<CachePadded<Marks>>,
    cells: Arc<[CachePadded<Cell<S::Lent>>]>,
    max_uses: u32,
}

impl<S: Store> Clone for Front<S> {
    fn clone(&self) -> Self {
        Self {
            marks: Arc::clone(&self.marks),
            cells: Arc::clone(&self.cells),
            max_uses: self.max_uses,
        }
    }
}

/// Written under the lock of the state, read by all.
struct Marks {
    gate: AtomicU64,
    /// Resources with smaller numbers are of an older generation.
    oldest: AtomicU64,
    /// The coarse clock, by which returns are stamped.
    coarse: AtomicU64,
    /// Idle resources that came back before this are to be checked.
    fresh_after: AtomicU64,
    /// When maintenance last looked at the time, while so many join the queue that they go by that; or 0.
    sampled: AtomicU64,
    /// The front may be closed, and what is idle is to be had all the same, since nobody waits.
    more: AtomicBool,
}

struct Cell<T> {
    idle: Exchange<T>,
    /// Gets that ended with what was in here. Written by the thread of this cell only, as the next.
    served: AtomicU64,
    /// Waits that ended with a lease without telling the state.
    picked_up: AtomicU64,
    /// A mailbox for the next waiter of this thread, or [`NO_MAILBOX`]. Of the thread of this cell only.
    spare: AtomicU64,
}

const NO_MAILBOX: u64 = u64::MAX;

/// What a thread's cell had to offer.
pub(crate) enum Taken<T> {
    /// A resource, and whether it is to be checked.
    Lent(T, bool),
    /// A resource of an older generation.
    Outdated(T),
    Nothing,
}

/// What became of a resource that was to be put into a cell.
pub(crate) enum Put<T> {
    Done,
    /// It is in the cell, and the one that was in there is not.
    Displaced(T),
    /// It goes the slow way.
    Refused(T),
    /// The front was closed just now: what was in the cell goes the slow way.
    Closed([Option<T>; 2]),
}

impl<S: Store> Front<S> {
    pub(crate) fn new(max_uses: Option<u32>) -> Self {
        let cells = if S::HAS_FRONT { cells() } else { 0 };
        Self {
            marks: Arc::new(CachePadded::new(Marks {
                gate: AtomicU64::new(Moment::NEVER.bits()),
                oldest: AtomicU64::new(0),
                coarse: AtomicU64::new(0),
                fresh_after: AtomicU64::new(Moment::NEVER.bits()),
                sampled: AtomicU64::new(0),
                more: AtomicBool::new(false),
            })),
            cells: (0..cells).map(|_| CachePadded::new(Cell::new())).collect(),
            max_uses: max_uses.unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.gate() != Moment::NEVER
    }

    /// Whether nothing is to be had, neither here nor under the lock.
    #[inline]
    pub(crate) fn is_shut(&self) -> bool {
        !self.is_open() && !self.marks.more.load(Ordering::Relaxed)
    }

    /// Says whether what is idle is to be had under the lock, for all that is known. Under the lock.
    pub(crate) fn set_more(&self, more: bool) {
        self.marks.more.store(more, Ordering::Relaxed);
    }

    /// Lends what is in this thread's cell.
    #[inline]
    pub(crate) fn lend(&self) -> Taken<S::Lent> {
        if !self.is_open() {
            return Taken::Nothing;
        }
        let Some(cell) = self.cell() else { return Taken::Nothing };
        let Some(mut lent) = cell.idle.take() else { return Taken::Nothing };
        if self.is_outdated(&lent) {
            return Taken::Outdated(lent);
        }
        count(&cell.served);
        let stale = S::lend_again(&mut lent, self.fresh_after());
        Taken::Lent(lent, stale)
    }

    /// Puts a resource into this thread's cell.
    #[inline]
    pub(crate) fn put(&self, mut lent: S::Lent) -> Put<S::Lent> {
        if !self.admits(&lent) || S::uses(&lent) >= self.max_uses {
            return Put::Refused(lent);
        }
        let Some(cell) = self.cell() else { return Put::Refused(lent) };
        let (id, expires) = (S::slot(&lent).id.0, S::slot(&lent).expires);
        S::stamp(&mut lent, self.coarse());
        let displaced = cell.idle.swap(Some(lent));
        if !self.admits_expiry(expires) || self.is_older(id) {
            return Put::Closed([cell.idle.take(), displaced]);
        }
        displaced.map_or(Put::Done, Put::Displaced)
    }

    /// Counts a wait that ended with a lease without telling the state, if this thread has where to, and keeps the
    /// mailbox that it came out of for the next waiter of this thread. What is left of that is the lease's: nothing, if it
    /// was kept.
    #[inline]
    pub(crate) fn pick_up(&self, mailbox: Key) -> Option<Key> {
        let cell = self.cell()?;
        count(&cell.picked_up);
        Some(if cell.keep_mailbox(mailbox) { Key::NIL } else { mailbox })
    }

    /// Keeps a mailbox that is nobody's for the next waiter of this thread, unless it has one.
    #[inline]
    pub(crate) fn keep_mailbox(&self, mailbox: Key) -> bool {
        self.cell().is_some_and(|cell| cell.keep_mailbox(mailbox))
    }

    /// A mailbox that this thread has kept.
    #[inline]
    pub(crate) fn take_mailbox(&self) -> Option<Key> {
        let cell = self.cell()?;
        let mailbox = u32::try_from(cell.spare.load(Ordering::Relaxed)).ok()?;
        cell.spare.store(NO_MAILBOX, Ordering::Relaxed);
        Some(Key::from_bits(mailbox))
    }

    /// Gets that were counted here: those that were served at once, and those that have waited.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let sum = |count: fn(&Cell<S::Lent>) -> &AtomicU64| {
            let counts = self.cells.iter().map(|cell| count(cell).load(Ordering::Relaxed));
            counts.fold(0, u64::wrapping_add)
        };
        (sum(|cell| &cell.served), sum(|cell| &cell.picked_up))
    }

    /// Nothing is put into a cell from now on, and stays there. Under the lock of the state.
    pub(crate) fn close(&self) {
        self.marks.gate.store(Moment::NEVER.bits(), Ordering::Relaxed);
    }

    /// Opens the front to resources that expire at `expiry` or later. Under the lock of the state.
    pub(crate) fn open(&self, expiry: Moment) {
        let gate = expiry.bits().min(Moment::NEVER.bits() - 1);
        self.marks.gate.store(gate, Ordering::Release);
    }

    /// Empties a cell.
    pub(crate) fn take(&self, cell: usize) -> Option<S::Lent> {
        self.cells[cell].idle.take()
    }

    #[inline]
    pub(crate) fn is_outdated(&self, lent: &S::Lent) -> bool {
        self.is_older(S::slot(lent).id.0)
    }

    #[inline]
    fn is_older(&self, id: u64) -> bool {
        id < self.marks.oldest.load(Ordering::Relaxed)
    }

    /// Resources with smaller numbers are of an older generation.
    pub(crate) fn set_oldest(&self, id: u64) {
        self.marks.oldest.store(id, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn coarse(&self) -> Moment {
        Moment::from_bits(self.marks.coarse.load(Ordering::Relaxed))
    }

    pub(crate) fn set_coarse(&self, coarse: Moment) {
        self.marks.coarse.store(coarse.bits(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn fresh_after(&self) -> Moment {
        Moment::from_bits(self.marks.fresh_after.load(Ordering::Relaxed))
    }

    pub(crate) fn set_fresh_after(&self, fresh_after: Moment) {
        self.marks.fresh_after.store(fresh_after.bits(), Ordering::Relaxed);
    }

    /// When those join that go by maintenance's clock, if they do.
    #[inline]
    pub(crate) fn sampled(&self) -> Option<Moment> {
        let sampled = self.marks.sampled.load(Ordering::Relaxed);
        (sampled != 0).then(|| Moment::from_bits(sampled))
    }

    pub(crate) fn set_sampled(&self, sampled: Option<Moment>) {
        self.marks.sampled.store(sampled.map_or(0, Moment::bits), Ordering::Relaxed);
    }

    #[inline]
    fn admits(&self, lent: &S::Lent) -> bool {
        self.admits_expiry(S::slot(lent).expires) && !self.is_outdated(lent)
    }

    #[inline]
    fn admits_expiry(&self, expires: Moment) -> bool {
        let gate = self.gate();
        gate != Moment::NEVER && gate <= expires
    }

    #[inline]
    fn gate(&self) -> Moment {
        Moment::from_bits(self.marks.gate.load(Ordering::Acquire))
    }

    #[inline]
    fn cell(&self) -> Option<&Cell<S::Lent>> {
        if self.cells.is_empty() {
            return None;
        }
        Some(self.cells.get(seat()?)?)
    }
}

impl<T> Cell<T> {
    fn new() -> Self {
        Self {
            idle: Exchange::new(),
            served: AtomicU64::new(0),
            picked_up: AtomicU64::new(0),
            spare: AtomicU64::new(NO_MAILBOX),
        }
    }

    #[inline]
    fn keep_mailbox(&self, mailbox: Key) -> bool {
        let is_free = self.spare.load(Ordering::Relaxed) == NO_MAILBOX;
        if is_free {
            self.spare.store(u64::from(mailbox.bits()), Ordering::Relaxed);
        }
        is_free
    }
}

/// Counts one more, where only this thread does.
#[inline]
fn count(counter: &AtomicU64) {
    let counted = counter.load(Ordering::Relaxed);
    counter.store(counted.wrapping_add(1), Ordering::Relaxed);
}

/// Those of a model, which has as many threads beside the one that looks on.
#[cfg(pool_loom)]
fn cells() -> usize {
    2
}

/// As many as threads may well use a pool at the same time.
#[cfg(not(pool_loom))]
fn cells() -> usize {
    use std::sync::OnceLock;
    use std::thread::available_parallelism;

    // It asks the system, and more than once.
    static CELLS: OnceLock<usize> = OnceLock::new();
    *CELLS.get_or_init(|| available_parallelism().map_or(4, |cores| cores.get() * 2).min(MAX_CELLS))
}
