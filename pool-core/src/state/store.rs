//! Where resources are kept, and how they are lent: what differs between the two pools.

use super::shared::{DEFAULT, Groups};
use crate::config::Limits;
use crate::group::GroupId;
use crate::manager::ResourceId;
use crate::metadata::{Metadata, Slot};
use crate::moment::{Clock, Moment};
use crate::observer::EndReason;

/// Keeps the resources of one pool. Counts are derived from what it holds, or changed together with it.
///
/// *Active* resources may be lent and count towards the size, *draining* ones are being used up.
pub trait Store: Default + Send {
    type Resource: Send + 'static;

    /// What a holder carries.
    type Lent: Send;

    /// Whether a resource that is being destroyed counts towards the maximum size. Otherwise it counts
    /// beside it, as those that drain do: its successor has to be there already.
    const CLOSING_HOLDS_PLACE: bool;

    /// Whether idle resources may wait outside the lock, in the pool's front.
    const HAS_FRONT: bool;

    /// Resources that count towards the maximum size.
    fn size(&self) -> usize;
    /// Active resources without a holder.
    fn idle(&self) -> usize;
    /// Leases that are out.
    fn in_use(&self) -> usize;
    fn draining(&self) -> usize;
    /// What has begun to drain since this was asked last, with holders that keep it.
    fn take_begun(&mut self) -> Vec<(ResourceId, EndReason)>;
    /// Places of the active resources.
    fn places(&self) -> usize;
    /// Places that can be lent now, one after the other, of resources that may be lent `max_uses` times.
    fn free(&self, max_uses: u32) -> usize;
    /// How many places the next resource is likely to have.
    fn expected_places(&self, limits: &Limits) -> usize;
    /// Whether an idle resource could go, for all that is needed and to be kept.
    fn may_lose_idle(&self, limits: &Limits) -> bool;
    /// More active resources than are needed, or may stay idle.
    fn surplus(&self, limits: &Limits) -> usize;
    /// How many resources are missing for the load and the target of idle ones, beside those that come.
    fn shortage(&self, limits: &Limits, waiting: usize, creating: usize) -> usize;

    /// The loads around the present one, from the least to the most, with which there is a surplus to
    /// `floors` if there is one now, and a shortage to `limits` if there is one now. It may be none at all.
    fn steady(&self, floors: &Limits, limits: &Limits, creating: usize) -> (usize, usize);

    fn slot(lent: &Self::Lent) -> &Slot<Self::Resource>;
    fn metadata(lent: &Self::Lent, clock: Clock) -> Metadata;

    /// How often the resource has been lent, of one that may be in the front.
    fn uses(lent: &Self::Lent) -> u32;
    /// The resource has been lent as often as it may: a shared one gets no new holders. An exclusive one
    /// ends when it comes back.
    fn use_up(&mut self, lent: &Self::Lent, reason: EndReason);
    /// The present use does not count.
    fn not_used(lent: &mut Self::Lent);
    /// Stamps a place that comes back with the time.
    fn stamp(lent: &mut Self::Lent, returned: Moment);
    /// Lends a place again that is still out by the store's books. The flag says that it came back before
    /// `fresh_after`.
    fn lend_again(lent: &mut Self::Lent, fresh_after: Moment) -> bool;

    /// Whether a place that was granted to one that waited has a resource that is to be checked.
    fn is_stale(lent: &Self::Lent, fresh_after: Moment) -> bool;
    /// Its resource has passed a check.
    fn checked(lent: &Self::Lent);

    /// Lends a place. The flag says that the resource was idle and came back before `fresh_after`.
    fn lend(&mut self, rng: &mut fastrand::Rng, fresh_after: Moment) -> Option<(Self::Lent, bool)>;

    /// Lends a place of one group.
    fn lend_of(
        &mut self,
        _group: GroupId,
        _rng: &mut fastrand::Rng,
        _fresh_after: Moment,
    ) -> Option<(Self::Lent, bool)> {
        None
    }

    /// Passes a place from one holder straight to the next, if its resource may be lent again.
    fn pass(&mut self, lent: Self::Lent) -> Result<Self::Lent, Self::Lent>;

    /// Whether the resource came from hand to hand, and nobody has said when.
    fn was_passed(&self, lent: &Self::Lent) -> bool;

    /// Whether the resource of a place that is out may be used by who was given it.
    fn is_lendable(&self, lent: &Self::Lent) -> bool;

    /// Whether a resource stays when this place is taken back.
    fn stays(&self, lent: &Self::Lent) -> bool;

    /// Takes a place back, of a resource that stays unless the store knows better. It came back at
    /// `returned`, perhaps by the coarse clock; `None` for the time of its stamp, if it was of no use meanwhile or
    /// was in the front.
    fn take_back(
        &mut self,
        lent: Self::Lent,
        returned: Option<Moment>,
    ) -> Option<Ended<Self::Resource>>;

    /// Takes a place back, of a resource that is to end.
    fn take_back_ended(
        &mut self,
        lent: Self::Lent,
        reason: EndReason,
    ) -> Option<Ended<Self::Resource>>;

    /// The groups of its resources, where resources have such.
    fn groups(&self) -> Option<&Groups> {
        None
    }

    fn groups_mut(&mut self) -> Option<&mut Groups> {
        None
    }

    /// The group of a resource that is there.
    fn group_of(&self, _id: ResourceId) -> u32 {
        DEFAULT
    }

    /// Whether the group of a resource that is lent can do without it.
    fn can_spare(&self, _lent: &Self::Lent) -> bool {
        true
    }

    /// Takes in a new resource of a group.
    fn insert(&mut self, slot: Box<Slot<Self::Resource>>, places: usize, group: u32);

    /// Holds a resource to look at it, which is no lease; `None` if it cannot be held now.
    fn hold(&mut self, id: ResourceId) -> Option<Self::Lent>;
    /// Lets go of a resource that was held; it is to end for a reason, or stays.
    fn let_go(&mut self, held: Self::Lent, end: Option<EndReason>)
    -> Option<Ended<Self::Resource>>;
    /// Whether a resource counts towards the size.
    fn is_active(&self, id: ResourceId) -> bool;
    /// Whether a resource that is there has any places.
    fn has_places(&self, _id: ResourceId) -> bool {
        true
    }
    /// The resources that can be held.
    fn holdable(&self) -> Vec<ResourceId>;
    /// The idle resources that came back before `returned`, the one first that has been idle for longest.
    fn idle_since(&self, returned: Moment) -> Vec<ResourceId>;

    /// How many idle resources expire by `expiry`, and when the next one after that does; of shared ones
    /// all, idle or not, or else those that are in use or were since `used_since`. Groups take note of theirs.
    fn aging(&mut self, expiry: Moment, used_since: Option<Moment>) -> (usize, Moment);

    /// Somebody may speak of a resource by its number.
    fn know(&mut self, id: ResourceId);

    /// How many leases of a resource are out that somebody may speak of.
    fn leases_of(&self, id: ResourceId) -> usize;

    fn set_places(&mut self, id: ResourceId, places: usize);

    /// Whether places that are out have to come back the slow way, because their resources end then.
    fn has_doomed(&self) -> bool;

    /// Ends a resource: at once if it is idle, with its last holder otherwise.
    fn end(&mut self, id: ResourceId, reason: EndReason) -> Option<Ended<Self::Resource>>;

    /// When the idle resource that came back last did so.
    fn latest_return(&self) -> Option<Moment>;
    /// When the resource came back that has been idle for longest, of those that may go.
    fn earliest_return(&self) -> Option<Moment>;
    /// Ends the resource that has been idle for longest, of those that may go.
    fn end_oldest_idle(&mut self, reason: EndReason) -> Option<Ended<Self::Resource>>;
    /// Ends a resource that is needed least.
    fn shrink(&mut self) -> Shrunk<Self::Resource>;
    /// Takes a resource back into service that was to go as excess, one with a free place if it can; of one group, if
    /// it is to be.
    fn reclaim(&mut self, group: Option<GroupId>) -> Option<ResourceId>;

    /// Ends what has expired by `now`, and says when the next one in the store will.
    fn expire(&mut self, now: Moment, ended: &mut Vec<Ended<Self::Resource>>) -> Moment;
    /// Ends every resource with a number below `id`: idle ones at once, shared ones with their last holder.
    fn end_older(&mut self, id: u64, reason: EndReason, ended: &mut Vec<Ended<Self::Resource>>);
}

/// A resource that has left the store.
#[derive(Debug)]
pub struct Ended<R> {
    pub(crate) slot: Box<Slot<R>>,
    pub(crate) reason: EndReason,
    /// A holder has given it back before.
    served: bool,
    /// It was told to drain before.
    pub(super) drained: bool,
    pub(super) group: u32,
}

impl<R> Ended<R> {
    pub(crate) fn new(slot: Box<Slot<R>>, reason: EndReason, served: bool) -> Self {
        Self { slot, reason, served, drained: false, group: DEFAULT }
    }

    /// It goes by a decision about the size of the pool, and not for what became of it.
    pub(super) fn is_for_size(&self) -> bool {
        use EndReason::{Drained, Excess, Idle, Lifetime};
        matches!(self.reason, Idle | Lifetime | Excess | Drained)
    }

    /// It died before it was of use to anybody.
    pub(crate) fn is_infant(&self) -> bool {
        match self.reason {
            EndReason::Broken | EndReason::Drained => self.slot.uses == 0,
            EndReason::CheckFailed => !self.served,
            _ => false,
        }
    }
}

/// What [`Store::shrink`] did.
pub enum Shrunk<R> {
    /// There was nothing to end.
    Nothing,
    /// It goes now.
    Ended(Ended<R>),
    /// It goes with its last holder.
    Draining,
}
