//! The twins of [`Manager`] and [`SharedManager`] whose implementation can be chosen at run time.

use std::error::Error as StdError;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::manager::{CreateContext, Manager, Passed, ResourceId, SharedManager};
use crate::metadata::Metadata;

/// The twin of [`Manager`] for a manager that is chosen at run time: `Box<dyn DynManager<...>>` and
/// `Arc<dyn DynManager<...>>` are managers, so that pools of different ones have one type. For a
/// [`SharedPool`](crate::SharedPool) there is [`DynSharedManager`].
///
/// Its methods are those of [`Manager`], which says what each is for. Every [`Manager`] is a
/// `DynManager` too; one that is written as such is written under
/// [`#[async_trait]`](macro@async_trait::async_trait), which this crate exports.
///
/// # Costs
///
/// One boxed future for each `create`, `check`, `recycle` and `destroy`. A `check` and a `recycle` that
/// are left at their default box nothing; what a hit still pays for them is a call through a table each,
/// since the pool cannot see from their type that there is nothing to do.
///
/// # Examples
///
/// ```
/// use pool_core::{CreateContext, DynManager, Manager, Pool, async_trait};
/// use std::io;
///
/// struct Local;
///
/// impl Manager for Local {
///     type Resource = String;
///     type Error = io::Error;
///
///     async fn create(&self, _cx: &CreateContext) -> io::Result<String> {
///         Ok("local".to_owned())
///     }
/// }
///
/// struct Remote {
///     host: String,
/// }
///
/// #[async_trait]
/// impl DynManager for Remote {
///     type Resource = String;
///     type Error = io::Error;
///
///     async fn create(&self, _cx: &CreateContext) -> io::Result<String> {
///         Ok(self.host.clone())
///     }
/// }
///
/// type AnyManager = Box<dyn DynManager<Resource = String, Error = io::Error>>;
///
/// fn manager(host: Option<&str>) -> AnyManager {
///     match host {
///         Some(host) => Box::new(Remote { host: host.to_owned() }),
///         None => Box::new(Local),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pools: Vec<Pool<AnyManager>> = [None, Some("db.example")]
///     .into_iter()
///     .map(|host| Pool::builder(manager(host)).build())
///     .collect::<Result<_, _>>()?;
/// assert_eq!(*pools[0].get().await?, "local");
/// assert_eq!(*pools[1].get().await?, "db.example");
/// # Ok(()) }
/// ```
#[async_trait]
pub trait DynManager: Send + Sync + 'static {
    /// What is lent.
    type Resource: Send + 'static;

    /// Why a resource could not be created, or did not pass a check.
    type Error: StdError + Send + Sync + 'static;

    /// Makes one resource: see [`Manager::create`].
    ///
    /// # Errors
    ///
    /// As there.
    async fn create(&self, cx: &CreateContext) -> Result<Self::Resource, Self::Error>;

    /// Is the resource still good? See [`Manager::check`].
    ///
    /// # Errors
    ///
    /// As there.
    // Spelled as the macro would, for the sake of the default: a boxed future without state takes no
    // memory, and the macro's own holds the arguments.
    fn check<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        resource: &'life1 mut Self::Resource,
        meta: &'life2 Metadata,
    ) -> Pin<Box<dyn Future<Output = Result<(), Self::Error>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        let _ = (resource, meta);
        Box::pin(Passed(PhantomData))
    }

    /// Brings a used resource back to a clean state: see [`Manager::recycle`].
    ///
    /// # Errors
    ///
    /// As there.
    fn recycle<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        resource: &'life1 mut Self::Resource,
        meta: &'life2 Metadata,
    ) -> Pin<Box<dyn Future<Output = Result<(), Self::Error>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        let _ = (resource, meta);
        Box::pin(Passed(PhantomData))
    }

    /// Is the resource known to be broken? See [`Manager::is_broken`].
    fn is_broken(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Would trying again not help? See [`Manager::is_fatal`].
    fn is_fatal(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }

    /// When to try again after `error`: see [`Manager::retry_in`].
    fn retry_in(&self, error: &Self::Error, cx: &CreateContext) -> Option<Duration> {
        let _ = (error, cx);
        None
    }

    /// Is the pool to go on trying though nobody waits? See [`Manager::keeps_trying`].
    fn keeps_trying(&self) -> bool {
        false
    }

    /// Told whenever a resource leaves the pool: see [`Manager::detached`].
    fn detached(&self, resource: &mut Self::Resource) {
        let _ = resource;
    }

    /// Disposes of a resource: see [`Manager::destroy`].
    async fn destroy(&self, resource: Self::Resource) {
        drop(resource);
    }
}

#[async_trait]
impl<M: Manager> DynManager for M {
    type Resource = M::Resource;
    type Error = M::Error;

    async fn create(&self, cx: &CreateContext) -> Result<M::Resource, M::Error> {
        Manager::create(self, cx).await
    }

    fn check<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        resource: &'life1 mut M::Resource,
        meta: &'life2 Metadata,
    ) -> Pin<Box<dyn Future<Output = Result<(), M::Error>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Manager::check(self, resource, meta))
    }

    fn recycle<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        resource: &'life1 mut M::Resource,
        meta: &'life2 Metadata,
    ) -> Pin<Box<dyn Future<Output = Result<(), M::Error>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Manager::recycle(self, resource, meta))
    }

    fn is_broken(&self, resource: &mut M::Resource) -> bool {
        Manager::is_broken(self, resource)
    }

    fn is_fatal(&self, error: &M::Error) -> bool {
        Manager::is_fatal(self, error)
    }

    fn retry_in(&self, error: &M::Error, cx: &CreateContext) -> Option<Duration> {
        Manager::retry_in(self, error, cx)
    }

    fn keeps_trying(&self) -> bool {
        Manager::keeps_trying(self)
    }

    fn detached(&self, resource: &mut M::Resource) {
        Manager::detached(self, resource);
    }

    async fn destroy(&self, resource: M::Resource) {
        Manager::destroy(self, resource).await;
    }
}

/// The twin of [`SharedManager`]: a [`DynManager`] for a [`SharedPool`](crate::SharedPool). Every
/// [`SharedManager`] is one too.
#[async_trait]
pub trait DynSharedManager: DynManager<Resource: Sync> {
    /// Is the resource still good? See [`SharedManager::check_shared`].
    ///
    /// # Errors
    ///
    /// As there.
    fn check_shared<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        resource: &'life1 Self::Resource,
        meta: &'life2 Metadata,
    ) -> Pin<Box<dyn Future<Output = Result<(), Self::Error>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        let _ = (resource, meta);
        Box::pin(Passed(PhantomData))
    }

    /// A resource that has holders gets no new ones, or does again. See [`SharedManager::set_aside`].
    fn set_aside(&self, id: ResourceId, aside: bool) {
        let _ = (id, aside);
    }
}

#[async_trait]
impl<M: SharedManager> DynSharedManager for M {
    fn check_shared<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        resource: &'life1 M::Resource,
        meta: &'life2 Metadata,
    ) -> Pin<Box<dyn Future<Output = Result<(), M::Error>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(SharedManager::check_shared(self, resource, meta))
    }

    fn set_aside(&self, id: ResourceId, aside: bool) {
        SharedManager::set_aside(self, id, aside);
    }
}

macro_rules! manager_behind {
    ($Pointer:ident, $Dyn:ident, $($Bound:ident)+) => {
        impl<R, E> Manager for $Pointer<dyn $Dyn<Resource = R, Error = E>>
        where
            R: $($Bound +)+ 'static,
            E: StdError + Send + Sync + 'static,
        {
            type Resource = R;
            type Error = E;

            async fn create(&self, cx: &CreateContext) -> Result<R, E> {
                DynManager::create(&**self, cx).await
            }

            async fn check(&self, resource: &mut R, meta: &Metadata) -> Result<(), E> {
                DynManager::check(&**self, resource, meta).await
            }

            async fn recycle(&self, resource: &mut R, meta: &Metadata) -> Result<(), E> {
                DynManager::recycle(&**self, resource, meta).await
            }

            fn is_broken(&self, resource: &mut R) -> bool {
                DynManager::is_broken(&**self, resource)
            }

            fn is_fatal(&self, error: &E) -> bool {
                DynManager::is_fatal(&**self, error)
            }

            fn retry_in(&self, error: &E, cx: &CreateContext) -> Option<Duration> {
                DynManager::retry_in(&**self, error, cx)
            }

            fn keeps_trying(&self) -> bool {
                DynManager::keeps_trying(&**self)
            }

            fn detached(&self, resource: &mut R) {
                DynManager::detached(&**self, resource);
            }

            async fn destroy(&self, resource: R) {
                DynManager::destroy(&**self, resource).await;
            }
        }
    };
}

macro_rules! shared_manager_behind {
    ($Pointer:ident) => {
        impl<R, E> SharedManager for $Pointer<dyn DynSharedManager<Resource = R, Error = E>>
        where
            R: Send + Sync + 'static,
            E: StdError + Send + Sync + 'static,
        {
            async fn check_shared(&self, resource: &R, meta: &Metadata) -> Result<(), E> {
                DynSharedManager::check_shared(&**self, resource, meta).await
            }

            fn set_aside(&self, id: ResourceId, aside: bool) {
                DynSharedManager::set_aside(&**self, id, aside);
            }
        }
    };
}

manager_behind!(Box, DynManager, Send);
manager_behind!(Arc, DynManager, Send);
manager_behind!(Box, DynSharedManager, Send Sync);
manager_behind!(Arc, DynSharedManager, Send Sync);
shared_manager_behind!(Box);
shared_manager_behind!(Arc);
