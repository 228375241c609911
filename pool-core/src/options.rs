//! What one get may ask for.

use std::num::NonZero;
use std::time::Duration;

use tokio::time::Instant;

use crate::group::GroupId;

/// What one get asks for, beside the pool's settings.
///
/// There is no create timeout among it: a creation is not the caller's, but the pool's. It goes on when
/// the caller has given up, and what it makes goes to whoever waits then, so the pool's
/// [`create_timeout`](crate::Builder::create_timeout) bounds it.
///
/// # Examples
///
/// ```
/// use pool_core::{GetOptions, Priority};
/// use std::time::Duration;
///
/// let impatient = GetOptions::new().timeout(Duration::from_millis(50));
/// let background = GetOptions::new().priority(Priority::Low);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOptions {
    pub(crate) limit: Limit,
    pub(crate) check_timeout: Own,
    pub(crate) recycle_timeout: Own,
    pub(crate) priority: Priority,
    pub(crate) group: Option<GroupId>,
    pub(crate) through_failures: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Limit {
    /// The pool's wait timeout.
    #[default]
    Pool,
    Timeout(Duration),
    Deadline(Instant),
    NoWait,
}

/// A timeout of one get, if it has one: in half the room of an `Option`, since options are in the future of every get
/// that has some, more than once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Own(Option<NonZero<u64>>);

impl Own {
    fn new(timeout: Duration) -> Self {
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Self(NonZero::new(nanos.saturating_add(1)))
    }

    pub(crate) fn unwrap_or(self, other: Duration) -> Duration {
        self.0.map_or(other, |above| Duration::from_nanos(above.get() - 1))
    }
}

/// Who is served first of those that wait. A class waits until nobody of a higher one does, however
/// long that takes; within a class, service is in order of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before all others.
    High,
    /// What a get has that asks for nothing else.
    #[default]
    Normal,
    /// When nobody else waits.
    Low,
}

impl Priority {
    /// Every class, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

impl GetOptions {
    /// What `get` asks for.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long this get may take in all, instead of the pool's wait timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Limit::Timeout(timeout);
        self
    }

    /// When this get has to be over, instead of the pool's wait timeout.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Deadline(deadline);
        self
    }

    /// This get does not wait for a resource: if none is free, it fails with a timeout. One that is free is
    /// recycled and checked as usual, for which it has the pool's wait timeout.
    pub fn no_wait(mut self) -> Self {
        self.limit = Limit::NoWait;
        self
    }

    /// How long one check may take for this get, instead of the pool's check timeout.
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.check_timeout = Own::new(timeout);
        self
    }

    /// How long recycling one resource may take for this get, instead of the pool's recycle timeout.
    pub fn recycle_timeout(mut self, timeout: Duration) -> Self {
        self.recycle_timeout = Own::new(timeout);
        self
    }

    /// The class that this get waits in.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// This get is of one group of a [`SharedPool`](crate::SharedPool)'s resources, and of no other.
    ///
    /// - It waits for a place of this group, and holds up nobody who asks for any. What comes free in the group goes to
    ///   whoever has waited for longest, for this group or for any: those of [high priority](Priority::High) come before,
    ///   those of low after, whatever this get's own [`priority`](Self::priority), which has no meaning then.
    /// - It counts among those that wait (`max_waiters`, [`Status::waiting`](crate::Status::waiting)). It is not
    ///   [shed](crate::Shedding).
    /// - If the group has no resource with a free place, one is created for it, one at a time, when its back-off allows: as for the
    ///   [minimum of a group](crate::SharedPool::update_groups), up to 64 at a time, but never beyond
    ///   [`max_size`](crate::Builder::max_size). When there are as many, one of another group goes for it that is idle and
    ///   above that group's minimum; while there is none, this get waits. One with [`no_wait`](Self::no_wait) asks for no
    ///   creation.
    /// - It fails with [`Error::NoGroup`](crate::Error::NoGroup) if there is no such group, or as soon as it is retired; also
    ///   in a pool without groups, and if it asks for several at once.
    /// - It fails with [`Error::Create`](crate::Error::Create) if a creation for the group fails while it has no resource
    ///   that may be lent, or fails with a [fatal](crate::Manager::is_fatal) error; not for what fails elsewhere. With
    ///   [`through_failures`](Self::through_failures) it waits on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// use pool_core::{Error, GetOptions, Group, GroupChange, GroupId, SharedPool};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = SharedPool::builder(ScriptedManager::new()).build()?;
    /// pool.update_groups([1, 2].map(|id| GroupChange::Set(Group::new(GroupId(id)))));
    /// let of_the_second = GetOptions::new().group(GroupId(2));
    /// let lease = pool.get_with(of_the_second).await?;
    /// assert_eq!(pool.groups()[1].in_use, 1);
    /// let of_none = pool.get_with(GetOptions::new().group(GroupId(3))).await;
    /// assert!(matches!(of_none, Err(Error::NoGroup)));
    /// # Ok(()) }
    /// ```
    pub fn group(mut self, group: GroupId) -> Self {
        self.group = Some(group);
        self
    }

    /// This get waits on when a creation fails with a [fatal](crate::Manager::is_fatal) error, and keeps its turn:
    /// only its time ends its wait. So it does when it is of one [group](Self::group) and a creation for that fails.
    pub fn through_failures(mut self) -> Self {
        self.through_failures = true;
        self
    }
}

/// What a get may be given: options, or none at all.
pub(crate) trait Options: Into<GetOptions> + Copy + Send {
    /// Whether it asks for a place of one group. It takes no reference, which would be kept room for in a future.
    fn is_bound(self) -> bool;
}

impl Options for GetOptions {
    #[inline]
    fn is_bound(self) -> bool {
        self.group.is_some()
    }
}

/// The options of a get that has none: nothing to carry.
#[derive(Clone, Copy)]
pub(crate) struct Defaults;

impl Options for Defaults {
    #[inline]
    fn is_bound(self) -> bool {
        false
    }
}

impl From<Defaults> for GetOptions {
    fn from(_: Defaults) -> Self {
        Self::new()
    }
}
