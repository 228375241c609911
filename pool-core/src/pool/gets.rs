//! The gets of a pool, in all their forms.

use std::panic::Location;

use super::ResourcePool;
use crate::blocking;
use crate::core::Place;
use crate::error::Error;
use crate::get::{lease, lease_many};
use crate::kind::{Kind, Shared};
use crate::lease::{Borrowed, Owned, ResourceLease};
use crate::manager::{Manager, ResourceId, SharedManager};
use crate::options::{Defaults, GetOptions};
use crate::state::{Lent, State};

impl<M: Manager, K: Kind<M>> ResourcePool<M, K> {
    /// Lends a resource: at once if one is free and nobody waits, else when this caller's turn comes.
    ///
    /// Those that wait are served in the order in which they came. Needs a runtime only to create, to
    /// wait, and for a check that takes time.
    ///
    /// One that finds a resource is ready at once, however often it is called: it takes nothing of tokio's budget of a
    /// task. A loop that awaits nothing else lets no other task run.
    ///
    /// # Errors
    ///
    /// See [`Error`]. It ends by the wait timeout, whatever the manager does.
    ///
    /// # Panics
    ///
    /// When the manager panics in a check or in recycling, or the hook
    /// [`before_lend`](crate::PoolBuilder::before_lend) does.
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
    /// for; those behind it wait meanwhile, however many that is. The [`Counters`](crate::Counters) count as many gets as it
    /// has leases, and one if it fails.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get), and [`Error::TooMany`] if there may not be as many (which is not known of
    /// the places of a shared pool: it waits). Several at once are of no one group: [`Error::NoGroup`] where the options
    /// ask for [one](GetOptions::group).
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

    /// Lends several resources as [`get_many`](Self::get_many) does, in leases that keep the pool alive instead
    /// of borrowing its handle.
    ///
    /// # Errors
    ///
    /// As for [`get_many`](Self::get_many).
    ///
    /// # Panics
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// As for [`get_many`](Self::get_many).
    #[track_caller]
    pub fn get_many_owned(
        &self,
        count: usize,
    ) -> impl Future<Output = Result<Vec<ResourceLease<'static, M, K>>, Error<M::Error>>> + Send
    {
        self.get_many_owned_with(count, GetOptions::new())
    }

    /// Lends several resources as [`get_many_owned`](Self::get_many_owned) does, with options of this call.
    ///
    /// # Errors
    ///
    /// As for [`get_many`](Self::get_many).
    ///
    /// # Panics
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// As for [`get_many`](Self::get_many).
    #[track_caller]
    pub fn get_many_owned_with(
        &self,
        count: usize,
        options: GetOptions,
    ) -> impl Future<Output = Result<Vec<ResourceLease<'static, M, K>>, Error<M::Error>>> + Send
    {
        lease_many(Owned(&self.core), count, options, Location::caller())
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
}

impl<M: SharedManager> ResourcePool<M, Shared> {
    /// Lends a place of any resource but this one as [`try_get_owned`](Self::try_get_owned) does of any: if one is free
    /// at this moment, and nobody waits. For a holder whom that resource has just refused what it asked for, and which by
    /// its load alone looks best.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::SharedPool;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::builder(ScriptedManager::new()).min_size(2).build()?;
    /// pool.warm_up(std::time::Duration::from_secs(1)).await?;
    /// let refused_by = pool.get().await?.id();
    /// let other = pool.try_get_owned_other(refused_by);
    /// assert!(other.is_some_and(|lease| lease.id() != refused_by));
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn try_get_owned_other(
        &self,
        than: ResourceId,
    ) -> Option<ResourceLease<'static, M, Shared>> {
        let at = Location::caller();
        let lent =
            self.core.update(|state, now, actions| state.try_get_other(than, now, actions))?;
        Some(ResourceLease::new(Owned(&self.core), lent, at).arrived())
    }
}
