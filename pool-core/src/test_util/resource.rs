//! What a scripted manager creates, and why it does not.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::books::Books;
use super::step::Hook;
use crate::manager::{ResourceHandle, ResourceId};

/// A resource of a [`ScriptedManager`](super::ScriptedManager). It is alive until it is dropped.
pub struct ScriptedResource {
    pub(super) number: usize,
    pub(super) handle: ResourceHandle,
    pub(super) broken: AtomicBool,
    pub(super) dirty: AtomicBool,
    pub(super) books: Arc<Books>,
}

impl ScriptedResource {
    /// Its number, by the manager's count: the first one that was created is 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its number in the pool, which failed attempts have a share in.
    pub fn id(&self) -> ResourceId {
        self.handle.id()
    }

    /// What its manager knows it by.
    pub fn handle(&self) -> ResourceHandle {
        self.handle.clone()
    }

    /// [`is_broken`](crate::Manager::is_broken) will say yes.
    pub fn mark_broken(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether it was marked as broken.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Leaves something that [`recycle`](crate::Manager::recycle) has to clean up.
    pub fn mark_dirty(&self) {
        self.dirty.store(true, Ordering::Relaxed);
    }

    /// Whether it was marked as dirty and not recycled since.
    pub fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for ScriptedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedResource")
            .field("number", &self.number)
            .field("broken", &self.is_broken())
            .field("dirty", &self.is_dirty())
            .finish_non_exhaustive()
    }
}

impl Drop for ScriptedResource {
    fn drop(&mut self) {
        self.books.count(|entries| {
            entries.counts.live -= 1;
            entries.counts.dropped += 1;
        });
    }
}

/// The error of a scripted failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scripted failure of {}", hook.as_str())]
pub struct ScriptedError {
    hook: Hook,
    fatal: bool,
}

impl ScriptedError {
    /// An error of this hook, as from [`Step::Fail`](super::Step::Fail).
    pub fn new(hook: Hook) -> Self {
        Self { hook, fatal: false }
    }

    /// An error of this hook, as from [`Step::Fatal`](super::Step::Fatal).
    pub fn fatal(hook: Hook) -> Self {
        Self { hook, fatal: true }
    }

    /// The hook that failed.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Whether the step was [`Step::Fatal`](super::Step::Fatal).
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }
}
