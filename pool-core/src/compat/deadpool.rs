//! Managers of deadpool.

use std::any::type_name;

use deadpool::managed::{self, Metrics, RecycleError};
use tokio::time::Instant;

use super::Failure;
use super::wrapper::wrapper;
use crate::manager::{CreateContext, Manager};
use crate::metadata::Metadata;

/// A manager of deadpool, as a [`Manager`]. Made by the function of the same name.
///
/// | of deadpool's `Manager` | is called |
/// |---|---|
/// | `create` | in a task of the pool, which a caller that gives up does not end |
/// | `recycle` | before a resource is lent again, in the task that asks for it |
/// | `detach` | whenever a resource leaves the pool, also for a reason that deadpool does not have: idle, too old, the pool closed |
///
/// A resource that cannot be recycled is discarded, and the caller gets another one. Only
/// [`try_get`](crate::ResourcePool::try_get) recycles nothing, since it cannot wait: deadpool has no
/// such method.
///
/// The `Metrics` that `recycle` is given are those of deadpool's own pool: `created`, how often the
/// resource has been recycled before, and `recycled`, which is `None` as long as it has not been. After
/// that it is no later than the last use, so that a manager which recycles with less care what was used
/// of late errs on the side of care.
///
/// Dereferences to the manager: `pool.manager()` has its methods and fields.
///
/// # Examples
///
/// ```
/// use deadpool::managed::{self, Metrics, RecycleResult};
/// use pool_core::Pool;
/// use pool_core::compat::{self, Deadpool};
///
/// struct Buffers;
///
/// impl managed::Manager for Buffers {
///     type Type = Vec<u8>;
///     type Error = std::io::Error;
///
///     async fn create(&self) -> std::io::Result<Vec<u8>> {
///         Ok(Vec::with_capacity(4096))
///     }
///
///     async fn recycle(&self, buffer: &mut Vec<u8>, _: &Metrics) -> RecycleResult<std::io::Error> {
///         buffer.clear();
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = Deadpool(Buffers).text(compat::chain);
/// let pool = Pool::builder(manager).max_size(16).build()?;
/// let mut buffer = pool.get().await?;
/// let buffer: &mut Vec<u8> = &mut buffer;
/// buffer.push(1);
/// # Ok(()) }
/// ```
pub struct Deadpool<M: managed::Manager> {
    manager: M,
    text: fn(&M::Error) -> String,
    fatal: fn(&M::Error) -> bool,
}

/// Wraps a manager of deadpool: see [the type](struct@Deadpool).
#[expect(non_snake_case, reason = "reads as the constructor that it is")]
pub fn Deadpool<M: managed::Manager>(manager: M) -> Deadpool<M> {
    // Of an error of which nothing is asked, nothing is known but its type.
    let text = |_error: &M::Error| {
        let name = type_name::<M::Error>();
        format!("an error of the type {name}, for which the wrapper was given no `text`")
    };
    Deadpool { manager, text, fatal: |_error| false }
}

wrapper!(Deadpool of managed::Manager,
    /// How an error of the manager is shown: by [`chain`](super::chain), if it is a
    /// [`std::error::Error`]. deadpool does not ask of an error that it can be shown; without this, its
    /// type is all that is seen of it.
);

impl<M: managed::Manager + 'static> Manager for Deadpool<M> {
    type Resource = M::Type;
    type Error = Failure<M::Error>;

    async fn create(&self, _cx: &CreateContext) -> Result<M::Type, Failure<M::Error>> {
        self.manager.create().await.map_err(|error| self.failure(error))
    }

    async fn recycle(
        &self,
        resource: &mut M::Type,
        meta: &Metadata,
    ) -> Result<(), Failure<M::Error>> {
        let metrics = metrics(meta);
        let recycled = self.manager.recycle(resource, &metrics).await;
        recycled.map_err(|error| match error {
            RecycleError::Backend(error) => self.failure(error),
            RecycleError::Message(text) => Failure::message(text.into_owned()),
        })
    }

    fn detached(&self, resource: &mut M::Type) {
        self.manager.detach(resource);
    }

    fn is_fatal(&self, error: &Failure<M::Error>) -> bool {
        self.knows_as_fatal(error)
    }
}

/// What deadpool knows about a resource when it recycles it.
fn metrics(meta: &Metadata) -> Metrics {
    // Before each lend but the first, this one included, it is recycled; this time is not done yet.
    let before = meta.uses().saturating_sub(2);
    Metrics {
        created: meta.created().into_std(),
        recycled: (before > 0).then(|| last_used(meta).into_std()),
        recycle_count: usize::try_from(before).unwrap_or(usize::MAX),
    }
}

fn last_used(meta: &Metadata) -> Instant {
    meta.last_used().unwrap_or_else(|| meta.created())
}
