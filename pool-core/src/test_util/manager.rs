//! The manager that does what its script says.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::books::{Books, Counts};
use super::resource::{ScriptedError, ScriptedResource};
use super::step::{Hook, Step};
use crate::manager::{CreateContext, Manager, ResourceHandle, SharedManager};
use crate::metadata::Metadata;

/// A manager for [`Pool`](crate::Pool) and [`SharedPool`](crate::SharedPool) that does what its script
/// says, and counts for itself. Clones are handles of the same one: give one to the pool, keep another.
///
/// Without a script every hook does what it should, at once.
///
/// # Examples
///
/// ```
/// use pool_core::test_util::ScriptedManager;
/// use pool_core::SharedPool;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = ScriptedManager::new();
/// manager.set_places(100);
/// let pool = SharedPool::builder(manager.clone()).max_size(1).build()?;
/// let (one, other) = (pool.get().await?, pool.get().await?);
/// assert_eq!((one.number(), other.number()), (0, 0));
///
/// // The peer goes away: what is out stays out, the next caller gets a successor.
/// manager.handle(0).drain("GOAWAY");
/// assert_eq!(pool.get().await?.number(), 1);
/// assert_eq!(manager.counts().live, 2);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScriptedManager {
    books: Arc<Books>,
}

impl ScriptedManager {
    /// A manager without a script.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds steps for the next calls of a hook, one each, behind those that are queued already.
    ///
    /// # Panics
    ///
    /// When the hook [cannot](Hook::can) do such a thing.
    #[track_caller]
    pub fn script(&self, hook: Hook, steps: impl IntoIterator<Item = Step>) {
        let steps: Vec<_> = steps.into_iter().collect();
        for step in &steps {
            demand(hook, step);
        }
        self.books.entries().extend(hook, steps);
    }

    /// Sets what a hook does whenever no step is queued for it.
    ///
    /// # Panics
    ///
    /// When the hook [cannot](Hook::can) do such a thing.
    #[track_caller]
    pub fn always(&self, hook: Hook, step: Step) {
        demand(hook, &step);
        let before = self.books.entries().stand(hook, step);
        drop(before);
    }

    /// Forgets the steps that are queued for a hook; what [`always`](Self::always) said stays.
    pub fn clear(&self, hook: Hook) {
        let queue = self.books.entries().clear(hook);
        drop(queue);
    }

    /// Forgets every script: from now on every hook does what it should.
    pub fn heal(&self) {
        for hook in Hook::ALL {
            self.clear(hook);
            self.always(hook, Step::Ok);
        }
    }

    /// How many steps are queued for a hook.
    pub fn queued(&self, hook: Hook) -> usize {
        self.books.entries().queued(hook)
    }

    /// The places that new resources get: without a number it is left to the pool's settings.
    pub fn set_places(&self, places: impl Into<Option<usize>>) {
        self.books.entries().places = places.into();
    }

    /// What [`retry_in`](Manager::retry_in) says of every error: without a time it is left to the pool's
    /// back-off.
    pub fn set_retry_in(&self, retry_in: impl Into<Option<Duration>>) {
        self.books.entries().retry_in = retry_in.into();
    }

    /// What the manager has seen so far.
    pub fn counts(&self) -> Counts {
        self.books.entries().counts
    }

    /// Returns when the counts are as wanted.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when this is dropped.
    pub async fn until(&self, condition: impl Fn(&Counts) -> bool) {
        self.books.until(condition).await;
    }

    /// The handle of a resource, by its [number](ScriptedResource::number).
    ///
    /// # Panics
    ///
    /// When no such resource has been created yet.
    #[track_caller]
    pub fn handle(&self, number: usize) -> ResourceHandle {
        let handle = self.books.entries().resources.get(number).cloned();
        match handle {
            Some(handle) => handle,
            None => panic!("no resource with the number {number} has been created"),
        }
    }

    /// The handles of all attempts at a creation in their order: of those that run, too, and of those
    /// that have failed.
    pub fn attempts(&self) -> Vec<ResourceHandle> {
        self.books.entries().attempts.clone()
    }

    fn next(&self, hook: Hook) -> Step {
        self.books.entries().next(hook)
    }

    async fn check_any(&self) -> Result<(), ScriptedError> {
        self.books.count(|entries| entries.counts.checks += 1);
        self.next(Hook::Check).play(Hook::Check).await
    }
}

#[track_caller]
fn demand(hook: Hook, step: &Step) {
    assert!(hook.can(step), "{} cannot do this: {step:?}", hook.as_str());
}

impl Manager for ScriptedManager {
    type Resource = ScriptedResource;
    type Error = ScriptedError;

    async fn create(&self, cx: &CreateContext) -> Result<ScriptedResource, ScriptedError> {
        self.books.count(|entries| entries.creation_begins(cx.handle()));
        let mut creating = Creating { books: &self.books, done: false };
        self.next(Hook::Create).play(Hook::Create).await?;
        let places = self.books.entries().places;
        if let Some(places) = places {
            cx.handle().set_places(places);
        }
        creating.done = true;
        let number = self.books.count(|entries| entries.created(cx.handle()));
        Ok(ScriptedResource {
            number,
            handle: cx.handle(),
            broken: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            books: Arc::clone(&self.books),
        })
    }

    async fn check(&self, _: &mut ScriptedResource, _: &Metadata) -> Result<(), ScriptedError> {
        self.check_any().await
    }

    async fn recycle(
        &self,
        resource: &mut ScriptedResource,
        _meta: &Metadata,
    ) -> Result<(), ScriptedError> {
        self.books.count(|entries| entries.counts.recycles += 1);
        self.next(Hook::Recycle).play(Hook::Recycle).await?;
        *resource.dirty.get_mut() = false;
        Ok(())
    }

    fn is_broken(&self, resource: &mut ScriptedResource) -> bool {
        self.next(Hook::IsBroken).play_sync(Hook::IsBroken).is_err() || resource.is_broken()
    }

    fn is_fatal(&self, error: &ScriptedError) -> bool {
        self.next(Hook::IsFatal).play_sync(Hook::IsFatal).is_err() || error.is_fatal()
    }

    fn retry_in(&self, _error: &ScriptedError, _cx: &CreateContext) -> Option<Duration> {
        // It cannot fail: only panic.
        drop(self.next(Hook::RetryIn).play_sync(Hook::RetryIn));
        self.books.entries().retry_in
    }

    fn detached(&self, _resource: &mut ScriptedResource) {
        self.books.count(|entries| entries.counts.detached += 1);
        drop(self.next(Hook::Detached).play_sync(Hook::Detached));
    }

    async fn destroy(&self, resource: ScriptedResource) {
        drop(self.next(Hook::Destroy).play(Hook::Destroy).await);
        self.books.count(|entries| entries.counts.destroyed += 1);
        drop(resource);
    }
}

impl SharedManager for ScriptedManager {
    async fn check_shared(&self, _: &ScriptedResource, _: &Metadata) -> Result<(), ScriptedError> {
        self.check_any().await
    }
}

/// A creation that runs, until it is done or ends otherwise.
struct Creating<'a> {
    books: &'a Books,
    done: bool,
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.books.count(|entries| entries.counts.creating -= 1);
        }
    }
}
