//! The [`Manager`]: what a user writes so that the pool can create, check and recycle resources.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::group::GroupId;
use crate::metadata::Metadata;

/// Creates, checks and recycles the resources of a pool.
///
/// The pool decides how many resources there are, who gets one, who waits and when one goes; the
/// manager knows what they are. Only [`create`](Manager::create) has to be written.
///
/// No method is ever called under a lock of the pool, so each may call back into it. `create` and
/// `destroy` run in tasks of the pool, `check` and `recycle` in the task that asks for a resource (and
/// `check` for keep-alive in one of the pool). Each asynchronous one is bounded by a timeout of its own.
/// Of the synchronous ones, `is_broken` runs wherever a lease is dropped, `is_fatal` and `retry_in` in
/// the task of the creation, `detached` in the pool's maintenance task or where a resource is let go of:
/// none of them should block.
///
/// # Panics
///
/// A panic in `create` or `destroy` stays in the pool's task: the first counts as a failed attempt. One
/// in `check` or `recycle` reaches the caller whose resource was being looked at, one in `is_broken` or
/// `detached` is contained. In every case the resource is discarded and its place handed on.
///
/// # Cancel safety
///
/// `create` is not cancelled when a caller gives up, only by its timeout and by the end of the pool. A
/// caller that gives up while `check` or `recycle` runs has the resource discarded.
///
/// # Examples
///
/// ```
/// use pool_core::{CreateContext, Manager, Metadata, Pool};
/// use std::convert::Infallible;
///
/// struct Buffers;
///
/// impl Manager for Buffers {
///     type Resource = Vec<u8>;
///     type Error = Infallible;
///
///     async fn create(&self, _cx: &CreateContext) -> Result<Vec<u8>, Infallible> {
///         Ok(Vec::with_capacity(4096))
///     }
///
///     async fn recycle(&self, buffer: &mut Vec<u8>, _meta: &Metadata) -> Result<(), Infallible> {
///         buffer.clear();
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Buffers).max_size(4).build()?;
/// let mut buffer = pool.get().await?;
/// buffer.extend_from_slice(b"hello");
/// # Ok(()) }
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What is lent.
    type Resource: Send + 'static;

    /// Why a resource could not be created, or did not pass a check.
    type Error: StdError + Send + Sync + 'static;

    /// Makes one resource.
    ///
    /// # Errors
    ///
    /// An error is kept and given to those that wait (as the source of their timeout), and the next
    /// attempt waits for the back-off. See [`is_fatal`](Manager::is_fatal) and
    /// [`retry_in`](Manager::retry_in) for errors that ask for something else.
    fn create(
        &self,
        cx: &CreateContext,
    ) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Is the resource still good? Asked before it is lent, by the pool's
    /// [`check`](crate::CheckPolicy) policy.
    ///
    /// # Errors
    ///
    /// An error means that it is not: it is discarded, and the caller gets another one.
    fn check(
        &self,
        resource: &mut Self::Resource,
        meta: &Metadata,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (resource, meta);
        Passed(PhantomData)
    }

    /// Brings a used resource back to a clean state, before its next holder gets it.
    ///
    /// Not called for one that is fresh from [`create`](Manager::create). Only a [`Pool`](crate::Pool)
    /// calls it: a shared resource has no moment between two holders.
    ///
    /// # Errors
    ///
    /// An error means that it cannot be cleaned: it is discarded, and the caller gets another one.
    fn recycle(
        &self,
        resource: &mut Self::Resource,
        meta: &Metadata,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (resource, meta);
        Passed(PhantomData)
    }

    /// Is the resource known to be broken? A cheap look, asked whenever a holder gives it back.
    ///
    /// A shared resource is not asked (others hold it too): its manager says so through its
    /// [`ResourceHandle`].
    fn is_broken(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Would trying again not help? A fatal error fails all that wait at the moment at once; later
    /// callers wait for the next attempt as usual.
    fn is_fatal(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }

    /// When to try again after `error`, with which the attempt of this context failed; `None` leaves it to the pool's
    /// back-off.
    fn retry_in(&self, error: &Self::Error, cx: &CreateContext) -> Option<Duration> {
        let _ = (error, cx);
        None
    }

    /// Is the pool to go on trying though nobody waits, until a resource is there? Asked when a creation has failed or a
    /// resource has ended, if there is no other, and when the back-off is [reset](crate::Pool::reset_backoff).
    ///
    /// By default it is not: the pool tries again for those that wait and for its minimum, and an unused one leaves alone what
    /// cannot be reached. For a manager by whose state others go that ask it for nothing.
    fn keeps_trying(&self) -> bool {
        false
    }

    /// Told whenever a resource leaves the pool, whatever the reason, before it is destroyed or handed
    /// to the one who detached it.
    fn detached(&self, resource: &mut Self::Resource) {
        let _ = resource;
    }

    /// Disposes of a resource, in a task of the pool and within its destroy timeout.
    ///
    /// Where there is no live pool or no runtime any more, the resource is dropped instead.
    fn destroy(&self, resource: Self::Resource) -> impl Future<Output = ()> + Send {
        async move { drop(resource) }
    }
}

/// A [`Manager`] whose resources may have several holders at once, in a
/// [`SharedPool`](crate::SharedPool).
pub trait SharedManager: Manager<Resource: Sync> {
    /// Is the resource still good? Like [`Manager::check`], while others may hold it.
    ///
    /// # Errors
    ///
    /// An error means that it is not: it is lent no more, ends with its last holder, and the caller
    /// gets another one.
    fn check_shared(
        &self,
        resource: &Self::Resource,
        meta: &Metadata,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (resource, meta);
        Passed(PhantomData)
    }

    /// A resource that has holders gets no new ones: the pool uses it up, for its age, its number or what its
    /// [handle](ResourceHandle) said. Or it does again, since one that was to go for want of load was taken back.
    ///
    /// For managers that keep account of what can be lent. Called after the fact, by whoever made the change, and not
    /// for a resource that goes at once.
    fn set_aside(&self, id: ResourceId, aside: bool) {
        let _ = (id, aside);
    }
}

/// A check that has nothing to look at: a future without state, which costs a hit nothing.
pub(crate) struct Passed<E>(pub(crate) PhantomData<fn() -> E>);

impl<E> Future for Passed<E> {
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }
}

/// Why a resource is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CreateReason {
    /// Someone waits for a place.
    Demand,
    /// Shared resources carry more than the soft target each.
    Growth,
    /// The pool is below its minimum.
    Minimum,
    /// A shared resource drains, or one is about to reach the end of its life where a minimum is kept, and
    /// this one takes over from it.
    Replacement,
}

impl CreateReason {
    /// The reason in lower case, as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Demand => "demand",
            Self::Growth => "growth",
            Self::Minimum => "minimum",
            Self::Replacement => "replacement",
        }
    }
}

/// What [`Manager::create`] is told about the attempt.
#[derive(Debug)]
pub struct CreateContext {
    pub(crate) attempt: u32,
    pub(crate) reason: CreateReason,
    pub(crate) replaces: Option<ResourceId>,
    pub(crate) group: Option<GroupId>,
    pub(crate) handle: ResourceHandle,
}

impl CreateContext {
    /// The number of this attempt since the last success, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Why the resource is wanted.
    pub fn reason(&self) -> CreateReason {
        self.reason
    }

    /// The resource that this one is to take over from, in a [`replace`](crate::SharedPool::replace).
    pub fn replaces(&self) -> Option<ResourceId> {
        self.replaces
    }

    /// The group that the resource is for; `None` in a pool that was never given any. A successor is of the group of the
    /// one that it [replaces](Self::replaces).
    pub fn group(&self) -> Option<GroupId> {
        self.group
    }

    /// The handle of the resource to be: the manager may keep it, to tell the pool what happens to the
    /// resource later on.
    pub fn handle(&self) -> ResourceHandle {
        // Only of resources of which somebody may speak does the pool keep the numbers.
        if let Some(target) = self.handle.target.upgrade() {
            target.known(self.handle.id);
        }
        self.handle.clone()
    }
}

/// Through this, a manager tells the pool about one of its resources, from any thread and at any time:
/// also before `create` has returned, and after the resource or the pool is gone (which does nothing).
///
/// The pool never polls a resource for any of it.
#[derive(Clone)]
pub struct ResourceHandle {
    id: ResourceId,
    target: Weak<dyn HandleTarget>,
}

impl ResourceHandle {
    pub(crate) fn new(id: ResourceId, target: Weak<dyn HandleTarget>) -> Self {
        Self { id, target }
    }

    /// The resource's number in its pool, never used twice.
    pub fn id(&self) -> ResourceId {
        self.id
    }

    /// The resource is broken: it is lent no more, and goes at once when idle, with its last holder
    /// otherwise. An observer is told the reason.
    pub fn broken(&self, reason: impl Into<Cow<'static, str>>) {
        if let Some(target) = self.target.upgrade() {
            target.broken(self.id, reason.into());
        }
    }

    /// The resource has this many places from now on: as many holders may share it. More holders than
    /// that, which have it already, keep it.
    ///
    /// 0 means that nobody gets it for now; for one that will not come back, see
    /// [`drain`](ResourceHandle::drain). Without effect on a resource of an exclusive
    /// [`Pool`](crate::Pool).
    pub fn set_places(&self, places: usize) {
        if let Some(target) = self.target.upgrade() {
            target.set_places(self.id, places);
        }
    }

    /// How many leases of the resource are out at this moment; 0 when it, or the pool, is gone. Takes the
    /// pool's lock: for what happens now and then.
    pub fn leases(&self) -> usize {
        self.target.upgrade().map_or(0, |target| target.leases(self.id))
    }

    /// The resource is to be used up: its holders keep it, nobody else gets it, and it goes with the
    /// last of them. A shared one does not count towards the maximum size any more, so that a successor
    /// is created at once.
    pub fn drain(&self, reason: impl Into<Cow<'static, str>>) {
        if let Some(target) = self.target.upgrade() {
            target.drain(self.id, reason.into());
        }
    }
}

impl fmt::Debug for ResourceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResourceHandle").field(&self.id).finish()
    }
}

/// The number of a resource in its pool, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(pub(crate) u64);

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The pool's side of a [`ResourceHandle`].
pub(crate) trait HandleTarget: Send + Sync {
    fn known(self: Arc<Self>, id: ResourceId);
    fn broken(self: Arc<Self>, id: ResourceId, reason: Cow<'static, str>);
    fn set_places(self: Arc<Self>, id: ResourceId, places: usize);
    fn leases(self: Arc<Self>, id: ResourceId) -> usize;
    fn drain(self: Arc<Self>, id: ResourceId, reason: Cow<'static, str>);
}
