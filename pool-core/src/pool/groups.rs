//! The groups of a shared pool.

use std::panic::Location;

use super::ResourcePool;
use crate::group::{GroupChange, GroupId, GroupStatus};
use crate::kind::Shared;
use crate::lease::{Owned, ResourceLease};
use crate::manager::SharedManager;
use crate::state::State;

impl<M: SharedManager> ResourcePool<M, Shared> {
    /// Changes the groups that the resources are in, all together: nobody sees only a part of it.
    ///
    /// A pool has no groups until it is given one. From then on each resource is created for one of them, which the
    /// manager is told ([`CreateContext::group`](crate::CreateContext::group)), and leases are spread over groups as
    /// [`Pick`](crate::Pick) says, whatever number of resources each has. What was there before is retired.
    ///
    /// - A group keeps its *minimum*, which is created in the background, from the first call in a runtime on. It is
    ///   not counted against [`max_creating`](crate::Builder::max_creating): up to 64 such creations run at a time, at
    ///   most half of them for groups that failed before. If the minimums, and the successors of what is about to be too
    ///   old, come to more than [`max_size`](crate::Builder::max_size), so many there may be. Resources that only the load
    ///   asked for make room for them; for what is created for a group that failed before, when it is there.
    /// - For *load* the whole pool grows and shrinks by the same rules as without groups, up to its maximum size. A
    ///   new resource goes to the group with the fewest for its weight; none goes from a group at its minimum, also not
    ///   for being idle. One that is about to reach its maximum lifetime is succeeded by one of its group.
    /// - A creation that fails makes *its group* wait, by [`Manager::retry_in`](crate::Manager::retry_in) or the
    ///   pool's back-off, and no other. Only if they fail for all groups, there is one at a time for load.
    /// - Of a group that is *retired* nothing is lent from now on: what is idle ends, what is lent drains, and what is
    ///   being created ends when it is there, as [`EndReason::Removed`](crate::EndReason::Removed), or fails without
    ///   being counted. Gets that wait for a place of it fail. One that is set
    ///   again before that is there again; what drains goes on draining.
    /// - A get may ask for a place of *one group* and wait for that
    ///   ([`GetOptions::group`](crate::GetOptions::group)). A group that has no resource is then created for.
    ///
    /// A pool of which all groups were retired creates nothing, and its gets wait. Retiring what there is not does
    /// nothing, and so does every change of a closed pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// use pool_core::{Group, GroupChange, GroupId, SharedPool};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = SharedPool::builder(ScriptedManager::new()).build()?;
    /// let groups = [1, 2].map(|id| Group::new(GroupId(id)).min(1));
    /// pool.update_groups(groups.map(GroupChange::Set));
    /// pool.warm_up(std::time::Duration::from_secs(1)).await?;
    /// assert_eq!(pool.status().size, 2);
    /// pool.update_groups([GroupChange::Retire(GroupId(2))]);
    /// assert_eq!(pool.status().size, 1);
    /// # Ok(()) }
    /// ```
    pub fn update_groups(&self, changes: impl IntoIterator<Item = GroupChange>) {
        let changes: Vec<_> = changes.into_iter().collect();
        self.core.ensure_maintenance();
        let update = |state: &mut State<_, _>, now, actions: &mut _| {
            state.update_groups(&changes, now, actions)
        };
        let mut more = self.core.update(update);
        while more {
            more = self.core.update(|state, now, actions| state.fail_bound(&changes, now, actions));
        }
    }

    /// How each group stands, those that are retired and not gone yet, too, in the order of their names. All of it
    /// at one moment. Empty in a pool that was never given any.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::{Group, GroupChange, GroupId, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::builder(ScriptedManager::new()).build()?;
    /// pool.update_groups([GroupChange::Set(Group::new(GroupId(1)))]);
    /// let lease = pool.get().await?;
    /// assert_eq!((pool.groups()[0].size, pool.groups()[0].in_use), (1, 1));
    /// # Ok(()) }
    /// ```
    pub fn groups(&self) -> Vec<GroupStatus> {
        let now = self.core.clock.now();
        self.core.look(|state| state.list_groups(now))
    }

    /// Lends a place of one group as [`try_get_owned`](Self::try_get_owned) does of any: if one is free at this moment,
    /// and nobody waits. Asks for no creation.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pool_core::test_util::ScriptedManager;
    /// # use pool_core::{Group, GroupChange, GroupId, SharedPool};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = SharedPool::builder(ScriptedManager::new()).build()?;
    /// pool.update_groups([GroupChange::Set(Group::new(GroupId(1)))]);
    /// drop(pool.get().await?);
    /// assert!(pool.try_get_owned_of(GroupId(1)).is_some());
    /// assert!(pool.try_get_owned_of(GroupId(2)).is_none());
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn try_get_owned_of(&self, group: GroupId) -> Option<ResourceLease<'static, M, Shared>> {
        let at = Location::caller();
        let lent = self.core.update(|state, now, actions| state.try_get_of(group, now, actions))?;
        Some(ResourceLease::new(Owned(&self.core), lent, at).arrived())
    }
}
