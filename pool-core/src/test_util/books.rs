//! What the manager knows by itself.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::step::{Hook, Step};
use crate::manager::ResourceHandle;

/// What a [`ScriptedManager`](super::ScriptedManager) has seen so far, at one moment. It is all counted
/// on the manager's side: a pool that loses count cannot make it wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Resources that have been created and not dropped yet, wherever they are.
    pub live: usize,
    /// The most of them at once.
    pub most_live: usize,
    /// Creations that run.
    pub creating: usize,
    /// The most of them at once.
    pub most_creating: usize,
    /// The most resources and running creations at once, taken together: never more than a
    /// [`Pool`](crate::Pool)'s maximum size, as long as nothing is detached.
    pub most_at_once: usize,
    /// Creations that were started.
    pub attempts: usize,
    /// Creations that succeeded.
    pub created: usize,
    /// Checks that were started, shared or not.
    pub checks: usize,
    /// Recycles that were started.
    pub recycles: usize,
    /// Resources that left the pool, by the word of `detached`.
    pub detached: usize,
    /// Resources whose `destroy` came to its end.
    pub destroyed: usize,
    /// Resources that were dropped, destroyed or not.
    pub dropped: usize,
}

/// The books, under a lock that is held for no call of anybody else's.
#[derive(Debug, Default)]
pub(super) struct Books {
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) counts: Counts,
    scripts: [Script; Hook::ALL.len()],
    /// Places of a new resource, if its manager sets them.
    pub(super) places: Option<usize>,
    pub(super) retry_in: Option<Duration>,
    /// The handles of all attempts, whatever has come of them.
    pub(super) attempts: Vec<ResourceHandle>,
    /// The handles of the resources, by their number.
    pub(super) resources: Vec<ResourceHandle>,
}

#[derive(Debug)]
struct Script {
    queue: VecDeque<Step>,
    standing: Step,
}

impl Default for Script {
    fn default() -> Self {
        Self { queue: VecDeque::new(), standing: Step::Ok }
    }
}

impl Books {
    pub(super) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the counts, and tells those that wait for that.
    pub(super) fn count<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> T {
        let result = change(&mut self.entries());
        self.changed.notify_waiters();
        result
    }

    pub(super) async fn until(&self, condition: impl Fn(&Counts) -> bool) {
        loop {
            let changed = self.changed.notified();
            let counts = self.entries().counts;
            if condition(&counts) {
                return;
            }
            changed.await;
        }
    }
}

impl Entries {
    pub(super) fn extend(&mut self, hook: Hook, steps: Vec<Step>) {
        self.scripts[hook as usize].queue.extend(steps);
    }

    /// Sets the standing step, and returns the one before.
    pub(super) fn stand(&mut self, hook: Hook, step: Step) -> Step {
        std::mem::replace(&mut self.scripts[hook as usize].standing, step)
    }

    pub(super) fn clear(&mut self, hook: Hook) -> VecDeque<Step> {
        std::mem::take(&mut self.scripts[hook as usize].queue)
    }

    pub(super) fn queued(&self, hook: Hook) -> usize {
        self.scripts[hook as usize].queue.len()
    }

    /// What the hook is to do this time.
    pub(super) fn next(&mut self, hook: Hook) -> Step {
        let script = &mut self.scripts[hook as usize];
        script.queue.pop_front().unwrap_or_else(|| script.standing.clone())
    }

    pub(super) fn creation_begins(&mut self, handle: ResourceHandle) {
        self.attempts.push(handle);
        self.counts.attempts += 1;
        self.counts.creating += 1;
        self.note_most();
    }

    /// The number of the resource that was created.
    pub(super) fn created(&mut self, handle: ResourceHandle) -> usize {
        let number = self.counts.created;
        self.resources.push(handle);
        self.counts.creating -= 1;
        self.counts.created += 1;
        self.counts.live += 1;
        self.note_most();
        number
    }

    fn note_most(&mut self) {
        let counts = &mut self.counts;
        counts.most_live = counts.most_live.max(counts.live);
        counts.most_creating = counts.most_creating.max(counts.creating);
        counts.most_at_once = counts.most_at_once.max(counts.live + counts.creating);
    }
}
