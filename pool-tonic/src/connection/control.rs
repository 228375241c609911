//! What the pool's side of a connection says to its driver, and the bell that the driver hears it by.
//!
//! The driver is polled for every frame, so all that is rare rings the bell first: the pool's orders, the
//! timer, the answer to a ping, news of the server's health. A poll without a ring looks at one flag.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};
use std::time::Duration;

/// A waker that wakes a task and leaves word that it did.
#[derive(Debug)]
pub(super) struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Bell {
    /// Rung once, so that whoever hears it looks at everything first.
    pub(super) fn new(task: Waker) -> Arc<Self> {
        Arc::new(Self { rung: AtomicBool::new(true), task })
    }

    /// Has it been rung since this was asked last?
    pub(super) fn was_rung(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.task.wake_by_ref();
    }
}

/// Why this side ended a connection under its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutBy {
    /// A keepalive ping was not answered in this time.
    Keepalive(Duration),
    /// The pool was closed.
    Close,
}

impl fmt::Display for CutBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keepalive(timeout) => {
                write!(f, "keepalive: nothing came from it within {timeout:?} of a ping")
            }
            Self::Close => f.write_str("the pool was closed"),
        }
    }
}

/// Calls that may end before their answers, by their callers mostly, until their connection is replaced. For what
/// comes late of their answers h2 sends resets, of which it allows a number in a connection's life, and counts
/// small frames, for ever; this many are far below either.
const MAX_UNFINISHED: usize = 10_000;

/// Orders to a driver. They are given before the bell is rung, and the driver hangs up its bell before it
/// looks at them, so none is missed.
#[derive(Debug, Default)]
pub(crate) struct Control {
    bell: OnceLock<Arc<Bell>>,
    dropped: AtomicBool,
    cut: AtomicBool,
    used_up: AtomicBool,
    /// The pool lends the connection no more, and may do so again.
    aside: AtomicBool,
    /// Calls that have a slot of it.
    calls: AtomicUsize,
    /// Calls that ended before their answers did.
    unfinished: AtomicUsize,
    /// Requests that are being sent as the windows have room.
    uploads: AtomicUsize,
    /// Set before the calls learn of the end.
    cut_by: OnceLock<CutBy>,
}

impl Control {
    /// The driver's bell, made for its task.
    pub(super) fn bell(&self, task: &Waker) -> &Arc<Bell> {
        self.bell.get_or_init(|| Bell::new(task.clone()))
    }

    pub(super) fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.wake_by_ref();
        }
    }

    /// Ends the connection at once, with the calls on it.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.ring();
    }

    pub(super) fn is_to_be_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Writes down why; the first reason holds.
    pub(super) fn set_cut_by(&self, by: CutBy) {
        let _ = self.cut_by.set(by);
    }

    /// Why this side ended the connection under its calls, if it did.
    pub(super) fn cut_by(&self) -> Option<CutBy> {
        self.cut_by.get().copied()
    }

    /// The connection is to take no more streams, for want of ids or of what h2 forgives.
    pub(super) fn use_up(&self) {
        if !self.used_up.swap(true, Ordering::SeqCst) {
            self.ring();
        }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.used_up.load(Ordering::SeqCst)
    }

    pub(crate) fn set_aside(&self, aside: bool) {
        self.aside.store(aside, Ordering::SeqCst);
        self.ring();
    }

    pub(super) fn is_aside(&self) -> bool {
        self.aside.load(Ordering::SeqCst)
    }

    pub(super) fn call_begins(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn call_ends(&self, finished: bool) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        if !finished && self.unfinished.fetch_add(1, Ordering::Relaxed) == MAX_UNFINISHED {
            self.use_up();
        }
    }

    /// Has it calls, as far as this thread knows?
    pub(super) fn has_calls(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
    }

    /// Has it several calls, as far as this thread knows?
    pub(super) fn is_shared(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 1
    }

    /// Is a request being sent as the windows have room, as far as this thread knows?
    pub(super) fn has_uploads(&self) -> bool {
        self.uploads.load(Ordering::Relaxed) > 0
    }

    /// Has the pool dropped the connection?
    pub(super) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// The pool's hold on a connection: dropped with it, which the driver sees.
#[derive(Debug)]
pub(super) struct Hold(pub(super) Arc<Control>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::SeqCst);
        self.0.ring();
    }
}

/// A request that is being sent as the windows have room, which it may use up meanwhile.
#[derive(Debug)]
pub(crate) struct Uploading(Arc<Control>);

impl Uploading {
    pub(super) fn on(control: &Arc<Control>) -> Self {
        control.uploads.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(control))
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.uploads.fetch_sub(1, Ordering::Relaxed);
    }
}
