//! The handles of a pool, strong and weak.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::acquire::{Defaults, GetOptions};
use crate::blocking;
use crate::config::{Builder, ConfigError, Limits, PoolBuilder, Settings, SharedPoolBuilder};
use crate::control::{self, DrainReport, Pause, Retained};
use crate::core::{Core, Place};
use crate::error::{CreateError, Error};
use crate::get::{lease, lease_many};
use crate::kind::{Exclusive, Kind, Shared};
use crate::leaks::Holder;
use crate::lease::{Borrowed, Owned, ResourceLease};
use crate::manager::{Manager, SharedManager};
use crate::metadata::Metadata;
use crate::state::{Lent, State};
use crate::status::{Counters, Status};

/// A pool whose resources have one holder at a time.
///
/// # Examples
///
/// ```
/// use pool_core::{CreateContext, Manager, Pool};
/// use std::convert::Infallible;
///
/// struct Numbers;
///
/// impl Manager for Numbers {
///     type Resource = u64;
///     type Error = Infallible;
///
///     async fn create(&self, _cx: &CreateContext) -> Result<u64, Infallible> {
///         Ok(0)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Numbers).max_size(1).build()?;
/// *pool.get().await? += 1;
/// *pool.get().await? += 1;
/// assert_eq!(*pool.get().await?, 2);
/// # Ok(()) }
/// ```
pub type Pool<M> = ResourcePool<M, Exclusive>;

/// A pool whose resources have as many holders at a time as they have places.
///
/// # Examples
///
/// ```
/// use pool_core::{CreateContext, Manager, SharedManager, SharedPool};
/// use std::convert::Infallible;
///
/// struct Names;
///
/// impl Manager for Names {
///     type Resource = String;
///     type Error = Infallible;
///
///     async fn create(&self, cx: &CreateContext) -> Result<String, Infallible> {
///         cx.handle().set_places(100);
///         Ok("resource".to_owned())
///     }
/// }
///
/// impl SharedManager for Names {}
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = SharedPool::builder(Names).build()?;
/// let (one, other) = (pool.get().await?, pool.get().await?);
/// assert_eq!(one.id(), other.id());
/// # Ok(()) }
/// ```
pub type SharedPool<M> = ResourcePool<M, Shared>;

/// The handle of a pool: a [`Pool`] or a [`SharedPool`]. Clones are handles of the same pool.
///
/// When the last handle is dropped the pool closes: what is idle goes, what is lent goes when it comes
/// back, and its tasks end. Nobody waits for [`Manager::destroy`] then, and what is idle may be dropped
/// without it: who wants it awaits [`drain`](Self::drain) before.
pub struct ResourcePool<M: Manager, K: Kind<M>> {
    pub(crate) core: Arc<Core<M, K>>,
}

impl<M: Manager> ResourcePool<M, Exclusive> {
    /// Starts to build a pool of this manager's resources.
    pub fn builder(manager: M) -> PoolBuilder<M> {
        Builder::new(manager)
    }
}

impl<M: SharedManager> ResourcePool<M, Shared> {
    /// Starts to build a pool of this manager's resources.
    pub fn builder(manager: M) -> SharedPoolBuilder<M> {
        Builder::new(manager)
    }
}

impl<M: Manager, K: Kind<M>> ResourcePool<M, K> {
    pub(crate) fn from_settings(manager: M, settings: Settings<M>) -> Self {
        let limits = settings.limits;
        let core = Core::new(manager, settings);
        if limits.min_size > 0 || limits.min_idle > 0 {
            core.ensure_maintenance();
        }
        Self::from_core(core)
    }

    fn from_core(core: Arc<Core<M, K>>) -> Self {
        core.add_handle();
        Self { core }
    }

    /// Lends a resource: at once if one is free and nobody waits, else when this caller's turn comes.
    ///
    /// Those that wait are served in the order in which they came. Needs a runtime only to create, to
    /// wait, and for a check that takes time.
    ///
    /// # Errors
    ///
    /// See [`Error`]. It ends by the wait timeout, whatever the manager does.
    ///
    /// # Panics
    ///
    /// When the manager panics in a check or in recycling, or the hook
    /// [`before_lend`](PoolBuilder::before_lend) does.
    ///
    /// # Cancel safety
    ///
    /// A caller that gives up loses its place in the queue, and nothing else: a place that it had been
    /// given goes to the next, a creation goes on, a resource that was being checked is discarded.
    #[track_caller]
    pub fn get(
        &self,
    ) -> impl Future<Output = Result<ResourceLease<'_, M, K>, Error<M::Error>>> + Send {
        lease(Borrowed(&self.core), Defaults, Location::caller())
    }

    /// Lends a resource as [`get`](Self::get) does, with options of this call.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::{GetOptions, Pool, Priority};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// let options = GetOptions::new().timeout(Duration::from_millis(500)).priority(Priority::High);
    /// let resource = pool.get_with(options).await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn get_with(
        &self,
        options: GetOptions,
    ) -> impl Future<Output = Result<ResourceLease<'_, M, K>, Error<M::Error>>> + Send {
        lease(Borrowed(&self.core), options, Location::caller())
    }

    /// Lends a resource as [`get`](Self::get) does, in a lease that keeps the pool alive instead of
    /// borrowing its handle.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// let resource = pool.get_owned().await?;
    /// let task = tokio::spawn(async move { println!("{} goes back from here", resource.id()) });
    /// # task.await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn get_owned(
        &self,
    ) -> impl Future<Output = Result<ResourceLease<'static, M, K>, Error<M::Error>>> + Send {
        lease(Owned(&self.core), Defaults, Location::caller())
    }

    /// Lends a resource as [`get_owned`](Self::get_owned) does, with options of this call.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// As for [`get`](Self::get).
    #[track_caller]
    pub fn get_owned_with(
        &self,
        options: GetOptions,
    ) -> impl Future<Output = Result<ResourceLease<'static, M, K>, Error<M::Error>>> + Send {
        lease(Owned(&self.core), options, Location::caller())
    }

    /// Lends several resources, or none: for work that needs them all at the same time, and that two
    /// callers could not do who had half of them each. Of a shared pool, several places.
    ///
    /// It waits its turn like every get, and gathers what comes free until it has as many as it asked
    /// for; those behind it wait meanwhile, however many that is. The [`Counters`] count as many gets as it
    /// has leases, and one if it fails.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get), and [`Error::TooMany`] if there may not be as many (which is not known of
    /// the places of a shared pool: it waits).
    ///
    /// # Panics
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// As for [`get`](Self::get); what it has gathered goes to those behind it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{CreateContext, Manager, Pool};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Resource = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn create(&self, _: &CreateContext) -> Result<u64, Self::Error> { Ok(0) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Numbers).max_size(4).build()?;
    /// let pair = pool.get_many(2).await?;
    /// assert_ne!(pair[0].id(), pair[1].id());
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn get_many(
        &self,
        count: usize,
    ) -> impl Future<Output = Result<Vec<ResourceLease<'_, M, K>>, Error<M::Error>>> + Send {
        self.get_many_with(count, GetOptions::new())
    }

    /// Lends several resources as [`get_many`](Self::get_many) does, with options of this call.
    ///
    /// # Errors
    ///
    /// As for [`get_many`](Self::get_many).
    ///
    /// # Panics
    ///
    /// As for [`get_many`](Self::get_many).
    ///
    /// # Cancel safety
    ///
    /// As for [`get_many`](Self::get_many).
    #[track_caller]
    pub fn get_many_with(
        &self,
        count: usize,
        options: GetOptions,
    ) -> impl Future<Output = Result<Vec<ResourceLease<'_, M, K>>, Error<M::Error>>> + Send {
        lease_many(Borrowed(&self.core), count, options, Location::caller())
    }

    /// Lends a resource as [`get`](Self::get) does, and blocks this thread until then: for threads
    /// outside a runtime. The pool needs one all the same, to create and to keep time: that of an earlier
    /// call, or the builder's.
    ///
    /// In an asynchronous task it blocks the worker, and may wait for what this worker would have to do;
    /// then it ends by its timeout.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let manager = ScriptedManager::new();
    /// let runtime = tokio::runtime::Runtime::new()?;
    /// let pool = Pool::builder(manager).runtime(runtime.handle().clone()).build()?;
    /// let resource = pool.blocking_get()?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn blocking_get(&self) -> Result<ResourceLease<'_, M, K>, Error<M::Error>> {
        self.blocking_get_with(GetOptions::new())
    }

    /// Lends a resource as [`blocking_get`](Self::blocking_get) does, with options of this call.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Panics
    ///
    /// As for [`get`](Self::get).
    #[track_caller]
    pub fn blocking_get_with(
        &self,
        options: GetOptions,
    ) -> Result<ResourceLease<'_, M, K>, Error<M::Error>> {
        blocking::get(&self.core, options, self.get_with(options))
    }

    /// Lends a resource if one is free and nobody waits. It is neither checked nor recycled, so a
    /// resource that the check policy or a recycling would have to look at first may be lent as it is; for
    /// one that is ready for use, and no wait, see [`GetOptions::no_wait`].
    ///
    /// Needs no runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// assert!(pool.try_get().is_none()); // nothing has been created yet
    /// drop(pool.get().await?);
    /// assert!(pool.try_get().is_some());
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn try_get(&self) -> Option<ResourceLease<'_, M, K>> {
        let at = Location::caller();
        self.try_lend().map(|lent| ResourceLease::new(Borrowed(&self.core), lent, at).arrived())
    }

    /// Lends a resource as [`try_get`](Self::try_get) does, in a lease that keeps the pool alive
    /// instead of borrowing its handle.
    #[track_caller]
    pub fn try_get_owned(&self) -> Option<ResourceLease<'static, M, K>> {
        let at = Location::caller();
        self.try_lend().map(|lent| ResourceLease::new(Owned(&self.core), lent, at).arrived())
    }

    fn try_lend(&self) -> Option<Lent<Place<M, K>>> {
        self.core.lend_hot().or_else(|| self.core.update(State::try_get))
    }

    /// Waits until the minimum is there: as many resources as [`min_size`](Builder::min_size) and as many
    /// idle ones as [`min_idle`](Builder::min_idle) ask for. For a start that shall not be ready before
    /// its connections are.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] with the error of the last creation as its source, [`Error::Create`] for a fatal
    /// one, [`Error::Closed`], [`Error::NoRuntime`].
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

    /// How the pool stands and what it has done so far, at one moment: the one fits the other, but for a
    /// get or a return that is in the middle of it.
    pub fn snapshot(&self) -> (Status, Counters) {
        self.core.look(|state| (state.status(), state.counters()))
    }

    /// The error of the last creation, if none has succeeded since.
    pub fn last_error(&self) -> Option<Arc<CreateError<M::Error>>> {
        self.core.state().last_error()
    }

    /// The leases that have been out for longest, at most `most` of them, the longest first. Empty unless
    /// [`leak_threshold`](Builder::leak_threshold) is set, without which nobody writes them down.
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
    /// idle ones of a [`Pool`], which are not lent meanwhile; all of a [`SharedPool`], whose holders keep
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
    /// that has failed over, or credentials that have changed.
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

    /// A handle that does not keep the pool open.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(ScriptedManager::new()).build()?;
    /// let weak = pool.downgrade();
    /// assert!(weak.upgrade().is_some());
    /// drop(pool); // the last handle
    /// assert!(weak.upgrade().is_none());
    /// # Ok(()) }
    /// ```
    pub fn downgrade(&self) -> WeakPool<M, K> {
        WeakPool { core: Arc::downgrade(&self.core) }
    }
}

impl<M: Manager, K: Kind<M>> Clone for ResourcePool<M, K> {
    fn clone(&self) -> Self {
        Self::from_core(Arc::clone(&self.core))
    }
}

impl<M: Manager, K: Kind<M>> Drop for ResourcePool<M, K> {
    fn drop(&mut self) {
        self.core.drop_handle();
    }
}

impl<M: Manager, K: Kind<M>> fmt::Debug for ResourcePool<M, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}

/// A handle that does not keep the pool open.
pub struct WeakPool<M: Manager, K: Kind<M>> {
    core: Weak<Core<M, K>>,
}

impl<M: Manager, K: Kind<M>> WeakPool<M, K> {
    /// The pool, as long as it has a handle.
    pub fn upgrade(&self) -> Option<ResourcePool<M, K>> {
        let core = self.core.upgrade()?;
        core.try_add_handle().then(|| ResourcePool { core })
    }
}

impl<M: Manager, K: Kind<M>> Clone for WeakPool<M, K> {
    fn clone(&self) -> Self {
        Self { core: Weak::clone(&self.core) }
    }
}

impl<M: Manager, K: Kind<M>> fmt::Debug for WeakPool<M, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakPool")
    }
}
