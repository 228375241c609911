//! The handles of a pool, strong and weak.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Poll;

use tokio::runtime::Handle;

use crate::acquire::{Acquire, GetOptions, Patience};
use crate::config::{Builder, Limits, PoolBuilder, SharedPoolBuilder, Times};
use crate::core::{Core, Place};
use crate::error::{CreateError, Error};
use crate::kind::{Exclusive, Kind, Shared, Unfit};
use crate::lease::ResourceLease;
use crate::manager::{Manager, SharedManager};
use crate::observer::Observer;
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
/// back, and its tasks end.
pub struct ResourcePool<M: Manager, K: Kind<M>> {
    core: Arc<Core<M, K>>,
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
    pub(crate) fn from_settings(
        manager: M,
        limits: Limits,
        times: Times,
        observer: Option<Arc<dyn Observer>>,
        runtime: Option<Handle>,
    ) -> Self {
        let core = Core::new(manager, limits, times, observer, runtime);
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
    /// When the manager panics in a check.
    ///
    /// # Cancel safety
    ///
    /// A caller that gives up loses its place in the queue, and nothing else: a place that it had been
    /// given goes to the next, a creation goes on, a resource that was being checked is discarded.
    pub async fn get(&self) -> Result<ResourceLease<'_, M, K>, Error<M::Error>> {
        self.get_with(GetOptions::new()).await
    }

    /// Lends a resource as [`get`](Self::get) does, with options of this call.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// As for [`get`](Self::get).
    pub async fn get_with(
        &self,
        options: GetOptions,
    ) -> Result<ResourceLease<'_, M, K>, Error<M::Error>> {
        lease(&self.core, options, |place| ResourceLease::borrowed(&self.core, place)).await
    }

    /// Lends a resource as [`get`](Self::get) does, in a lease that keeps the pool alive instead of
    /// borrowing its handle.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// As for [`get`](Self::get).
    pub async fn get_owned(&self) -> Result<ResourceLease<'static, M, K>, Error<M::Error>> {
        self.get_owned_with(GetOptions::new()).await
    }

    /// Lends a resource as [`get_owned`](Self::get_owned) does, with options of this call.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// As for [`get`](Self::get).
    pub async fn get_owned_with(
        &self,
        options: GetOptions,
    ) -> Result<ResourceLease<'static, M, K>, Error<M::Error>> {
        let owned = |place| ResourceLease::owned(Arc::clone(&self.core), place);
        lease(&self.core, options, owned).await
    }

    /// Lends a resource if one is free and nobody waits. It is neither checked nor recycled, so a
    /// resource that the check policy or a recycling would have to look at first may be lent as it is.
    ///
    /// Needs no runtime.
    pub fn try_get(&self) -> Option<ResourceLease<'_, M, K>> {
        self.try_place().map(|place| ResourceLease::borrowed(&self.core, place).arrived())
    }

    /// Lends a resource as [`try_get`](Self::try_get) does, in a lease that keeps the pool alive
    /// instead of borrowing its handle.
    pub fn try_get_owned(&self) -> Option<ResourceLease<'static, M, K>> {
        self.try_place().map(|place| ResourceLease::owned(Arc::clone(&self.core), place).arrived())
    }

    fn try_place(&self) -> Option<Place<M, K>> {
        if let Some(lent) = self.core.lend_hot() {
            return Some(lent.place);
        }
        let lent = self.core.update(State::try_get)?;
        Some(lent.place)
    }

    /// How the pool stands at this moment.
    pub fn status(&self) -> Status {
        self.core.state().status()
    }

    /// What the pool has done so far.
    pub fn counters(&self) -> Counters {
        self.core.state().counters()
    }

    /// How the pool stands and what it has done so far, at one moment: the one fits the other.
    pub fn snapshot(&self) -> (Status, Counters) {
        let mut state = self.core.state();
        (state.status(), state.counters())
    }

    /// The error of the last creation, if none has succeeded since.
    pub fn last_error(&self) -> Option<Arc<CreateError<M::Error>>> {
        self.core.state().last_error()
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.core.manager
    }

    /// Changes the maximum size, to at least 1. Resources above it go: idle ones at once, lent ones
    /// when they come back.
    pub fn resize(&self, max_size: usize) {
        let max_size = max_size.max(1);
        self.core.update(|state, now, actions| state.resize(max_size, now, actions));
    }

    /// Closes the pool: those that wait fail at once, later gets too; what is idle is destroyed, what
    /// is lent when it comes back. Does nothing the second time.
    pub fn close(&self) {
        self.core.close();
    }

    /// Whether the pool is closed.
    pub fn is_closed(&self) -> bool {
        self.core.state().is_closed()
    }

    /// A handle that does not keep the pool open.
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

/// A lease whose resource is ready for its holder: those that are not fit are discarded on the way.
///
/// A hit pays for nothing that a wait needs, not even the state of the futures of one.
async fn lease<'p, M: Manager, K: Kind<M>>(
    core: &Arc<Core<M, K>>,
    options: GetOptions,
    lease_of: impl Fn(Place<M, K>) -> ResourceLease<'p, M, K>,
) -> Result<ResourceLease<'p, M, K>, Error<M::Error>> {
    let mut hit = None;
    if let Some(Lent { place, stale }) = core.lend_hot() {
        let mut lease = lease_of(place);
        match lease.prepare_now(stale) {
            Poll::Ready(Ok(())) => return Ok(lease),
            Poll::Ready(Err(_unfit)) => {}
            Poll::Pending => hit = Some((lease, stale)),
        }
    }
    lease_slow(core, hit, options, lease_of).await
}

/// With what a hit has come to: a resource whose checks take a future, or nothing.
async fn lease_slow<'p, M: Manager, K: Kind<M>>(
    core: &Arc<Core<M, K>>,
    mut hit: Option<(ResourceLease<'p, M, K>, bool)>,
    options: GetOptions,
    lease_of: impl Fn(Place<M, K>) -> ResourceLease<'p, M, K>,
) -> Result<ResourceLease<'p, M, K>, Error<M::Error>> {
    let mut patience = Patience::new(options);
    loop {
        let (mut lease, stale) = if let Some(hit) = hit.take() {
            hit
        } else {
            let Lent { place, stale } = Acquire::new(core, &mut patience).await?;
            let mut lease = lease_of(place);
            match lease.prepare_now(stale) {
                Poll::Ready(Ok(())) => return Ok(lease),
                Poll::Ready(Err(_unfit)) => continue,
                Poll::Pending => (lease, stale),
            }
        };
        match lease.prepare(stale, &mut patience).await {
            Ok(()) => return Ok(lease),
            Err(Unfit::Failed) => {}
            Err(Unfit::NoRuntime) => return Err(Error::NoRuntime),
            Err(Unfit::OutOfTime) => return Err(patience.timed_out(core)),
        }
    }
}
