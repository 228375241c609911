//! A shared resource's successor, before it goes.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::ResourcePool;
use crate::control::{Task, timed_out, until};
use crate::create;
use crate::error::Error;
use crate::kind::Shared;
use crate::manager::{ResourceId, SharedManager};
use crate::observer::Event;
use crate::state::{BirthOrder, Replacing};

impl<M: SharedManager> ResourcePool<M, Shared> {
    /// Replaces a resource: a successor is created while it goes on, and takes over from it. At no moment
    /// there are fewer resources to be lent than before. The holders of the old one keep it, and it goes with
    /// the last of them.
    ///
    /// The successor is made also where the pool is as large as it may be, and where the load does not need
    /// it. [`CreateContext::replaces`](crate::CreateContext::replaces) tells the manager whose it is.
    ///
    /// Returns whether the resource was replaced. It was not if it is gone, or goes, and if its successor is broken when
    /// it comes, or has no places and the resource has some: then all is as it was.
    ///
    /// Waits first, at most for `timeout`, while as many resources as the maximum drain, are destroyed or
    /// replaced already, and while the pool is paused with [`Pause::Queue`](crate::Pause::Queue).
    ///
    /// # Errors
    ///
    /// All is as it was: [`Error::Create`] when there is no successor, whether trying again would help or not;
    /// [`Error::Timeout`], [`Error::Paused`], [`Error::Closed`], [`Error::NoRuntime`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before the successor is there, the creation is given up, and all is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::SharedPool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = SharedPool::builder(ScriptedManager::new()).max_size(1).build()?;
    /// let before = pool.get().await?;
    /// assert!(pool.replace(before.id(), Duration::from_secs(10)).await?);
    /// assert_ne!(pool.get().await?.id(), before.id());
    /// # Ok(()) }
    /// ```
    pub async fn replace(
        &self,
        id: ResourceId,
        timeout: Duration,
    ) -> Result<bool, Error<M::Error>> {
        let core = &self.core;
        let started = core.clock.now();
        let runtime = if core.ensure_maintenance() { core.runtime() } else { None };
        let Some(runtime) = runtime else { return Err(Error::NoRuntime) };
        let begun = until(core, timeout, |state| state.begin_replacing(id, core.clock.now()));
        let order = match begun.await {
            Some(Replacing::Begun(order)) => order,
            Some(Replacing::Gone) => return Ok(false),
            Some(Replacing::Closed) => return Err(Error::Closed),
            Some(Replacing::Paused) => return Err(Error::Paused),
            None => return Err(timed_out(core, started)),
        };
        let BirthOrder { id, reason, .. } = order;
        let created = create::replace(core, order);
        core.tell(Event::CreateStarted { id, reason });
        let mut task = Task(runtime.spawn(created));
        let mut closed = pin!(self.closed());
        poll_fn(|cx| {
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Error::Closed));
            }
            Pin::new(&mut task.0).poll(cx).map(|joined| match joined {
                Ok(replaced) => replaced.map_err(Error::Create),
                // Nothing of it panics.
                Err(_gone) => Err(Error::NoRuntime),
            })
        })
        .await
    }
}
