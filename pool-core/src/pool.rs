//! The handles of a pool, strong and weak.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::config::{Builder, PoolBuilder, Settings, SharedPoolBuilder};
use crate::core::Core;
use crate::kind::{Exclusive, Kind, Shared};
use crate::manager::{Manager, SharedManager};

mod gets;
mod groups;
mod replace;
mod whole;

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

    /// What the pool [is called](crate::Builder::name).
    pub fn name(&self) -> Option<&str> {
        self.core.name()
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
        let mut pool = f.debug_tuple("Pool");
        if let Some(name) = self.name() {
            pool.field(&format_args!("{name}"));
        }
        pool.field(&self.status()).finish()
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
