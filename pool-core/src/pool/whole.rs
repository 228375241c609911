//! What can be seen of a whole pool, and done to it.

use std::sync::Arc;
use std::time::Duration;

use super::ResourcePool;
use crate::config::{ConfigError, Limits};
use crate::control::{self, DrainReport, Pause, Retained};
use crate::error::{CreateError, Error};
use crate::kind::{Kind, Shared};
use crate::leaks::Holder;
use crate::manager::{Manager, SharedManager};
use crate::metadata::Metadata;
use crate::observer::Event;
use crate::recent::Recent;
use crate::state::State;
use crate::status::{Counters, SharedStatus, Snapshot, Status};

impl<M: SharedManager> ResourcePool<M, Shared> {
    /// How each resource stands, those that drain too, in the order in which they were created. All of it at
    /// one moment.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::SharedPool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::builder(ScriptedManager::new()).build()?;
    /// let lease = pool.get().await?;
    /// let list = pool.list();
    /// assert_eq!((list[0].id, list[0].in_use), (lease.id(), 1));
    /// # Ok(()) }
    /// ```
    pub fn list(&self) -> Vec<SharedStatus> {
        let now = self.core.clock.now();
        self.core.look(|state| state.store.list(now))
    }
}

impl<M: Manager, K: Kind<M>> ResourcePool<M, K> {
    /// Waits until the minimum is there, at most for `timeout`: as many resources as
    /// [`min_size`](crate::Builder::min_size) and as many idle ones as [`min_idle`](crate::Builder::min_idle) ask for.
    /// For a start that shall not be ready before its connections are.
    ///
    /// Where [groups](crate::SharedPool::update_groups) keep minimums, it waits for those, too, but for those of groups
    /// whose last creation failed; and one that is missing when the time is over is no error, as long as the pool's own
    /// minimum and at least one resource are there.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] with the error of the last creation as its source, [`Error::Create`] if one fails with a fatal
    /// error while the pool's own minimum is missing, [`Error::Closed`], [`Error::NoRuntime`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the pool goes on creating its minimum.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let manager = ScriptedManager::new();
    /// let pool = Pool::builder(manager).min_idle(2).build()?;
    /// pool.warm_up(Duration::from_secs(10)).await?;
    /// assert_eq!(pool.status().idle, 2);
    /// # Ok(()) }
    /// ```
    pub async fn warm_up(&self, timeout: Duration) -> Result<(), Error<M::Error>> {
        control::warm_up(&self.core, timeout).await
    }

    /// How the pool stands at this moment.
    pub fn status(&self) -> Status {
        self.core.look(|state| state.status())
    }

    /// What the pool has done so far.
    pub fn counters(&self) -> Counters {
        self.core.look(State::counters)
    }

    /// How the pool stands, what it has done so far and how long that took, in one look.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// let _lease = pool.get().await?;
    /// let now = pool.snapshot();
    /// assert_eq!((now.status.in_use, now.counters.gets_ok), (1, 1));
    /// // It had to wait for its resource to be created.
    /// assert_eq!((now.timings.wait.count(), now.timings.create.ok.count()), (1, 1));
    /// # Ok(()) }
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        let spent = &self.core.spent;
        self.core.look(|state| Snapshot {
            status: state.status(),
            counters: state.counters(),
            timings: spent.read(),
        })
    }

    /// The error of the last creation, if none has succeeded since.
    pub fn last_error(&self) -> Option<Arc<CreateError<M::Error>>> {
        self.core.state().last_error()
    }

    /// The latest events, 128 of them at most, the oldest first: what an [`Observer`](crate::Observer) was told, kept
    /// for those who come to look afterwards. An error's text is cut where it is longer than 512 bytes.
    ///
    /// They are kept whether or not anybody asks, which takes 16 KiB beside such texts, once there were that many.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::{EndReason, Event, Lease, Pool};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// Lease::discard(pool.get().await?);
    /// for recent in pool.recent_events() {
    ///     println!("{:?} ago: {}", recent.at.elapsed(), recent.event);
    /// }
    /// # let ended = |recent: &pool_core::Recent<Event>| matches!(recent.event, Event::Ended { reason: EndReason::Discarded, .. });
    /// # assert!(pool.recent_events().iter().any(ended));
    /// # Ok(()) }
    /// ```
    pub fn recent_events(&self) -> Vec<Recent<Event>> {
        self.core.recent.list()
    }

    /// The leases that have been out for longest, at most `most` of them, the longest first. Empty unless
    /// [`leak_threshold`](crate::Builder::leak_threshold) or [`time_leases`](crate::Builder::time_leases) is set, without which
    /// nobody writes them down.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let manager = ScriptedManager::new();
    /// let pool = Pool::builder(manager).leak_threshold(Duration::from_secs(60)).build()?;
    /// let resource = pool.get().await?;
    /// let holder = pool.longest_holders(1)[0];
    /// println!("{} has been out for {:?}, taken at {}", holder.id, holder.held_for, holder.taken_at);
    /// # Ok(()) }
    /// ```
    pub fn longest_holders(&self, most: usize) -> Vec<Holder> {
        let leaks = self.core.leaks.as_ref();
        leaks.map(|leaks| leaks.longest(most, self.core.clock.now())).unwrap_or_default()
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.core.manager
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.core.state().limits
    }

    /// Changes the limits, all of them at once. Resources above a lower maximum size go: idle ones at
    /// once, lent ones when they come back.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] names the limit that cannot be; then nothing has changed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{ConfigError, Manager, Pool};
    /// # fn grow<M: Manager>(pool: &Pool<M>) -> Result<(), ConfigError> {
    /// let mut limits = pool.limits();
    /// limits.max_size = 20;
    /// limits.min_idle = 2;
    /// pool.set_limits(limits)
    /// # }
    /// ```
    pub fn set_limits(&self, limits: Limits) -> Result<(), ConfigError> {
        limits.check()?;
        self.core.update(|state, now, actions| state.set_limits(limits, now, actions));
        if limits.min_size > 0 || limits.min_idle > 0 {
            self.core.ensure_maintenance();
            self.core.settle();
        }
        Ok(())
    }

    /// Changes the maximum size, to at least 1. Resources above it go: idle ones at once, lent ones
    /// when they come back. A minimum above it is kept as far as it allows; see
    /// [`set_limits`](Self::set_limits) for the other limits.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// pool.resize(20);
    /// assert_eq!(pool.limits().max_size, 20);
    /// # Ok(()) }
    /// ```
    pub fn resize(&self, max_size: usize) {
        self.core.update(|state, now, actions| {
            let mut limits = state.limits;
            limits.max_size = max_size.max(1);
            state.set_limits(limits, now, actions);
        });
    }

    /// Looks at every resource that can be looked at, and lets those go that `keep` returns false for: the
    /// idle ones of a [`Pool`](crate::Pool), which are not lent meanwhile; all of a [`SharedPool`](crate::SharedPool), whose holders keep
    /// it as long as they like. Nothing is locked meanwhile.
    ///
    /// # Panics
    ///
    /// When `keep` does. The resource that it was looking at is destroyed then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// drop(pool.get_many(2).await?);
    /// let suspect = pool.get().await?.id();
    /// let retained = pool.retain(|_resource, meta| meta.id() != suspect);
    /// assert_eq!((retained.kept, retained.removed), (1, 1));
    /// # Ok(()) }
    /// ```
    pub fn retain(&self, keep: impl FnMut(&M::Resource, &Metadata) -> bool) -> Retained {
        control::retain(&self.core, keep)
    }

    /// Begins a new generation, and returns its number: every resource that is there, and every one that is
    /// being created, is of an older one and goes, idle ones at once, lent ones when they come back. For a peer
    /// that has failed over, or credentials that have changed. A creation that is under way is not given up: it
    /// keeps its place until it is over, at most for the create timeout.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// let before = pool.get().await?.id();
    /// assert_eq!(pool.reset(), 1);
    /// let resource = pool.get().await?;
    /// assert_ne!(resource.id(), before);
    /// assert_eq!(resource.metadata().generation(), 1);
    /// # Ok(()) }
    /// ```
    pub fn reset(&self) -> u32 {
        self.core.update(State::reset)
    }

    /// Ends the back-off after failed creations: the next one, if one is wanted, starts now. For when it is
    /// known that what failed works again. A manager that [keeps trying](Manager::keeps_trying) wants one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::{Hook, ScriptedManager, Step};
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let manager = ScriptedManager::new();
    /// # manager.script(Hook::Create, [Step::Fail]);
    /// let pool = Pool::builder(manager).build()?;
    /// assert!(pool.try_get().is_none()); // the creation that this asks for fails
    /// pool.reset_backoff();
    /// assert!(pool.get().await.is_ok());
    /// # Ok(()) }
    /// ```
    pub fn reset_backoff(&self) {
        self.core.update(State::reset_backoff);
        if self.core.keep_trying() {
            self.core.ensure_maintenance();
        }
    }

    /// Has a resource created if there is none and none is under way, as one who waits would, under the back-off. For
    /// whoever asks only whether there could be one, such as a readiness probe: in a pool that keeps none, nobody finds
    /// out after a [failure](Self::last_error) that creating works again, if nobody gets.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::{Hook, ScriptedManager, Step};
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let manager = ScriptedManager::new();
    /// # manager.script(Hook::Create, [Step::Fail]);
    /// let pool = Pool::builder(manager).build()?;
    /// while pool.status().idle == 0 {
    ///     pool.revive(); // the first time, it fails
    ///     tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    /// }
    /// assert!(pool.last_error().is_none());
    /// # Ok(()) }
    /// ```
    pub fn revive(&self) {
        if !self.is_closed() {
            self.core.update(State::keep_trying);
            self.core.ensure_maintenance();
        }
    }

    /// Lends nothing and creates nothing until [`resume`](Self::resume): for a peer that is about to fail
    /// over. What is lent stays with its holders.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::{Error, Pause, Pool};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// pool.pause(Pause::Fail);
    /// assert!(matches!(pool.get().await, Err(Error::Paused)));
    /// pool.resume();
    /// assert!(pool.get().await.is_ok());
    /// # Ok(()) }
    /// ```
    pub fn pause(&self, pause: Pause) {
        self.core.pause(pause);
    }

    /// Ends a [`pause`](Self::pause), and serves those that wait. The example is there.
    pub fn resume(&self) {
        self.core.update(State::resume);
    }

    /// Whether the pool is paused.
    pub fn is_paused(&self) -> bool {
        self.core.state().is_paused()
    }

    /// Closes the pool: those that wait fail at once, later gets too; what is idle is destroyed, what
    /// is lent when it comes back. Does nothing the second time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::{Error, Pool};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// pool.close();
    /// assert!(matches!(pool.get().await, Err(Error::Closed)));
    /// # Ok(()) }
    /// ```
    pub fn close(&self) {
        self.core.close();
    }

    /// Whether the pool is closed.
    pub fn is_closed(&self) -> bool {
        self.core.state().is_closed()
    }

    /// Resolves when the pool is closed, or has been. Keeps nothing alive.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// let closed = pool.closed();
    /// let watch = tokio::spawn(async move { closed.await });
    /// drop(pool); // the last handle
    /// watch.await?;
    /// # Ok(()) }
    /// ```
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<M, K> {
        Arc::clone(&self.core.closed).wait()
    }

    /// Closes the pool, and waits until every lease has come home and every resource is destroyed, at most for
    /// `timeout`. Says how far it came. Where there is no tokio runtime, neither the caller's nor one of the
    /// pool, it does not wait.
    ///
    /// # Cancel safety
    ///
    /// The pool stays closed, and what is under way goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// # drop(pool.get().await?);
    /// let report = pool.drain(Duration::from_secs(10)).await;
    /// assert!(report.complete, "{} leases are still out", report.leases);
    /// # Ok(()) }
    /// ```
    pub async fn drain(&self, timeout: Duration) -> DrainReport {
        control::drain(&self.core, timeout).await
    }
}
