//! How a lease holds on to its pool.

use std::ops::Deref;
use std::sync::Arc;

use crate::core::Core;
use crate::kind::Kind;
use crate::manager::Manager;

pub(crate) enum CoreRef<'p, M: Manager, K: Kind<M>> {
    Borrowed(&'p Core<M, K>),
    Owned(Arc<Core<M, K>>),
}

impl<M: Manager, K: Kind<M>> Deref for CoreRef<'_, M, K> {
    type Target = Core<M, K>;

    fn deref(&self) -> &Core<M, K> {
        match self {
            Self::Borrowed(core) => core,
            Self::Owned(core) => core,
        }
    }
}

/// How a lease is to hold on to its pool.
pub(crate) trait Holding<'p, M: Manager, K: Kind<M>>: Copy + Send {
    /// The pool, as long as the get lives.
    fn core(&self) -> &Arc<Core<M, K>>;

    fn hold(self) -> CoreRef<'p, M, K>;
}

/// By borrowing a handle.
pub(crate) struct Borrowed<'p, M: Manager, K: Kind<M>>(pub(crate) &'p Arc<Core<M, K>>);

/// By itself.
pub(crate) struct Owned<'a, M: Manager, K: Kind<M>>(pub(crate) &'a Arc<Core<M, K>>);

impl<M: Manager, K: Kind<M>> Clone for Borrowed<'_, M, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Manager, K: Kind<M>> Copy for Borrowed<'_, M, K> {}

impl<M: Manager, K: Kind<M>> Clone for Owned<'_, M, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Manager, K: Kind<M>> Copy for Owned<'_, M, K> {}

impl<'p, M: Manager, K: Kind<M>> Holding<'p, M, K> for Borrowed<'p, M, K> {
    #[inline]
    fn core(&self) -> &Arc<Core<M, K>> {
        self.0
    }

    #[inline]
    fn hold(self) -> CoreRef<'p, M, K> {
        CoreRef::Borrowed(self.0)
    }
}

impl<M: Manager, K: Kind<M>> Holding<'static, M, K> for Owned<'_, M, K> {
    #[inline]
    fn core(&self) -> &Arc<Core<M, K>> {
        self.0
    }

    #[inline]
    fn hold(self) -> CoreRef<'static, M, K> {
        CoreRef::Owned(Arc::clone(self.0))
    }
}
