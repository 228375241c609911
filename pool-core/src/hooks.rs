//! Hooks: what a user adds to the life of a resource without changing its manager.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;

use crate::config::{Builder, PoolBuilder, SharedPoolBuilder};
use crate::data::Data;
use crate::kind::Kind;
use crate::manager::{Manager, SharedManager};
use crate::metadata::Metadata;

/// What an asynchronous hook returns: a boxed future, which may borrow what the hook was given.
pub type HookFuture<'a> = Pin<Box<dyn Future<Output = Result<(), HookError>> + Send + 'a>>;

/// Why a hook refused a resource. Made from any error by `?`, or from a text by `into`.
///
/// Like every type that any error turns into, it is no [`std::error::Error`] itself: see
/// [`as_error`](Self::as_error).
///
/// # Examples
///
/// ```
/// use pool_core::HookError;
///
/// fn hook(text: &str) -> Result<(), HookError> {
///     let number: u16 = text.parse()?;
///     if number == 0 {
///         return Err("zero is not served here".into());
///     }
///     Ok(())
/// }
///
/// assert_eq!(hook("0").unwrap_err().to_string(), "zero is not served here");
/// assert_eq!(hook("").unwrap_err().to_string(), "cannot parse integer from empty string");
/// ```
pub struct HookError(Box<dyn StdError + Send + Sync>);

impl HookError {
    /// With an error or a text as the reason.
    pub fn new(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(reason.into())
    }

    /// The reason.
    pub fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }

    /// The reason, to keep.
    pub fn into_error(self) -> Box<dyn StdError + Send + Sync> {
        self.0
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for HookError {
    fn from(reason: E) -> Self {
        Self::new(reason)
    }
}

impl fmt::Debug for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

type AfterCreate<R> =
    dyn for<'a> Fn(&'a mut R, &'a mut Data, &'a Metadata) -> HookFuture<'a> + Send + Sync;
type BeforeLend<R> = AfterCreate<R>;
type BeforeLendShared<R> =
    dyn for<'a> Fn(&'a R, &'a Data, &'a Metadata) -> HookFuture<'a> + Send + Sync;
type AfterReturn<R> = dyn Fn(&mut R, &Data, &Metadata) -> Result<(), HookError> + Send + Sync;
type AfterReturnShared<R> = dyn Fn(&R, &Data, &Metadata) -> Result<(), HookError> + Send + Sync;
type BeforeDestroy<R> = dyn Fn(&mut R, &Data, &Metadata) + Send + Sync;

/// The hooks of a pool. Of the two forms that some have, a pool has at most the one of its kind.
pub struct Hooks<M: Manager> {
    pub(crate) after_create: Option<Box<AfterCreate<M::Resource>>>,
    pub(crate) before_lend: Option<Box<BeforeLend<M::Resource>>>,
    pub(crate) before_lend_shared: Option<Box<BeforeLendShared<M::Resource>>>,
    pub(crate) after_return: Option<Box<AfterReturn<M::Resource>>>,
    pub(crate) after_return_shared: Option<Box<AfterReturnShared<M::Resource>>>,
    pub(crate) before_destroy: Option<Box<BeforeDestroy<M::Resource>>>,
}

impl<M: Manager> Default for Hooks<M> {
    fn default() -> Self {
        Self {
            after_create: None,
            before_lend: None,
            before_lend_shared: None,
            after_return: None,
            after_return_shared: None,
            before_destroy: None,
        }
    }
}

/// # Hooks
///
/// Each is called outside every lock, at the moment that its name says; there is at most one of each, and
/// the last one set holds. An asynchronous one is a closure that returns a boxed future. A panic in one
/// is treated as one of the manager at the same moment.
///
/// A synchronous one runs where its moment comes: `after_return` on the thread that drops the lease,
/// `before_destroy` in the pool's maintenance task, or where that is no more, on the thread that let go
/// of the resource. One that blocks holds that up: the caller, or the pool's timeouts and whatever it is
/// to create or destroy.
impl<M: Manager, K: Kind<M>> Builder<M, K> {
    /// Called with each new resource, after [`Manager::create`] and within the same create timeout,
    /// before anyone gets it. An error means that the creation failed.
    ///
    /// A resource that is refused, or whose hook panics or takes too long, was never the pool's: it is
    /// dropped without [`before_destroy`](Self::before_destroy), [`Manager::detached`] or
    /// [`Manager::destroy`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{CreateContext, Manager, Pool};
    /// # struct Buffers;
    /// # impl Manager for Buffers {
    /// #     type Resource = Vec<u8>;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn create(&self, _cx: &CreateContext) -> Result<Vec<u8>, Self::Error> { Ok(Vec::new()) }
    /// # }
    /// # async fn greet(_buffer: &mut [u8]) -> std::io::Result<()> { Ok(()) }
    /// # fn main() -> Result<(), pool_core::ConfigError> {
    /// let pool = Pool::builder(Buffers)
    ///     .after_create(|buffer, data, _meta| {
    ///         Box::pin(async move {
    ///             greet(buffer).await?;
    ///             data.insert(String::from("greeted"));
    ///             Ok(())
    ///         })
    ///     })
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn after_create<F>(mut self, hook: F) -> Self
    where
        F: for<'a> Fn(&'a mut M::Resource, &'a mut Data, &'a Metadata) -> HookFuture<'a>
            + Send
            + Sync
            + 'static,
    {
        self.hooks.after_create = Some(Box::new(hook));
        self
    }

    /// Called with each resource that the pool is about to destroy, before [`Manager::destroy`]. It
    /// cannot refuse. One that its holder takes out of the pool is not destroyed.
    pub fn before_destroy<F>(mut self, hook: F) -> Self
    where
        F: Fn(&mut M::Resource, &Data, &Metadata) + Send + Sync + 'static,
    {
        self.hooks.before_destroy = Some(Box::new(hook));
        self
    }
}

/// # Hooks of a pool whose resources have one holder at a time
impl<M: Manager> PoolBuilder<M> {
    /// Called with each resource before a caller gets it, new ones too, after [`Manager::recycle`] and
    /// [`Manager::check`], and bounded like a check. An error means that the resource is discarded and
    /// the caller gets another one.
    pub fn before_lend<F>(mut self, hook: F) -> Self
    where
        F: for<'a> Fn(&'a mut M::Resource, &'a mut Data, &'a Metadata) -> HookFuture<'a>
            + Send
            + Sync
            + 'static,
    {
        self.hooks.before_lend = Some(Box::new(hook));
        self
    }

    /// Called with each resource that comes back, in whatever thread its lease is dropped, after
    /// [`Manager::is_broken`] has found nothing. An error means that the resource is discarded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::{CreateContext, Manager, Pool};
    /// # struct Buffers;
    /// # impl Manager for Buffers {
    /// #     type Resource = Vec<u8>;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn create(&self, _cx: &CreateContext) -> Result<Vec<u8>, Self::Error> { Ok(Vec::new()) }
    /// # }
    /// # fn main() -> Result<(), pool_core::ConfigError> {
    /// let pool = Pool::builder(Buffers)
    ///     .after_return(|buffer, _data, _meta| {
    ///         if buffer.capacity() > 1 << 20 { Err("grown too large to keep".into()) } else { Ok(()) }
    ///     })
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn after_return<F>(mut self, hook: F) -> Self
    where
        F: Fn(&mut M::Resource, &Data, &Metadata) -> Result<(), HookError> + Send + Sync + 'static,
    {
        self.hooks.after_return = Some(Box::new(hook));
        self
    }
}

/// # Hooks of a pool whose resources have several holders at a time
impl<M: SharedManager> SharedPoolBuilder<M> {
    /// Called before each caller gets a resource, which others may hold, after
    /// [`SharedManager::check_shared`], and bounded like it. An error means that the resource is lent no
    /// more, ends with its last holder, and the caller gets another one.
    pub fn before_lend<F>(mut self, hook: F) -> Self
    where
        F: for<'a> Fn(&'a M::Resource, &'a Data, &'a Metadata) -> HookFuture<'a>
            + Send
            + Sync
            + 'static,
    {
        self.hooks.before_lend_shared = Some(Box::new(hook));
        self
    }

    /// Called when a holder gives a resource back, in whatever thread its lease is dropped; others may
    /// hold it still. An error means that the resource is lent no more and ends with its last holder.
    pub fn after_return<F>(mut self, hook: F) -> Self
    where
        F: Fn(&M::Resource, &Data, &Metadata) -> Result<(), HookError> + Send + Sync + 'static,
    {
        self.hooks.after_return_shared = Some(Box::new(hook));
        self
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use super::*;
    use crate::manager::CreateContext;

    struct Numbers;

    impl Manager for Numbers {
        type Resource = u64;
        type Error = Infallible;

        async fn create(&self, _cx: &CreateContext) -> Result<u64, Infallible> {
            Ok(0)
        }
    }

    impl SharedManager for Numbers {}

    #[test]
    fn a_builder_has_no_hook_but_those_that_were_set() {
        let builder = PoolBuilder::new(Numbers).before_destroy(|number, _data, _meta| *number = 0);
        let hooks = builder.hooks;
        assert!(hooks.before_destroy.is_some());
        assert!(hooks.after_create.is_none());
        assert!(hooks.before_lend.is_none() && hooks.before_lend_shared.is_none());
        assert!(hooks.after_return.is_none() && hooks.after_return_shared.is_none());
    }

    #[test]
    fn each_kind_of_pool_has_its_own_form_of_a_hook() {
        let exclusive = PoolBuilder::new(Numbers)
            .before_lend(|number, data, meta| {
                Box::pin(async move {
                    *number += u64::from(meta.uses());
                    data.insert(*number);
                    Ok(())
                })
            })
            .after_return(|number, _data, _meta| {
                *number += 1;
                Ok(())
            });
        assert!(exclusive.hooks.before_lend.is_some() && exclusive.hooks.after_return.is_some());
        let shared = SharedPoolBuilder::new(Numbers)
            .before_lend(|number, data, _meta| {
                Box::pin(async move {
                    if data.get() == Some(number) { Err("seen".into()) } else { Ok(()) }
                })
            })
            .after_return(
                |number, _data, _meta| {
                    if *number > 9 { Err(HookError::new("too many")) } else { Ok(()) }
                },
            );
        let hooks = shared.hooks;
        assert!(hooks.before_lend_shared.is_some() && hooks.after_return_shared.is_some());
        assert!(hooks.before_lend.is_none() && hooks.after_return.is_none());
    }

    #[test]
    fn an_error_keeps_its_reason() {
        let error = HookError::from(io::Error::from(io::ErrorKind::NotFound));
        assert!(error.as_error().is::<io::Error>());
        assert!(error.into_error().downcast::<io::Error>().is_ok());
        assert_eq!(HookError::from("text").to_string(), "text");
        assert_eq!(HookError::from(String::from("text")).to_string(), "text");
    }
}
