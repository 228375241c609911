//! Where resources are kept, and how they are lent: what differs between the two pools.

use crate::config::Limits;
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

    /// Resources that count towards the maximum size.
    fn size(&self) -> usize;
    /// Active resources without a holder.
    fn idle(&self) -> usize;
    /// Leases that are out.
    fn in_use(&self) -> usize;
    fn draining(&self) -> usize;
    /// Places of the active resources.
    fn places(&self) -> usize;
    /// How many places the next resource is likely to have.
    fn expected_places(&self, limits: &Limits) -> usize;
    /// Whether an idle resource could go, for all that is needed and to be kept.
    fn may_lose_idle(&self, limits: &Limits) -> bool;
    /// More active resources than are needed, or may stay idle.
    fn surplus(&self, limits: &Limits) -> usize;
    /// How many resources are missing for the load and the target of idle ones, beside those that come.
    fn shortage(&self, limits: &Limits, waiting: usize, creating: usize) -> usize;

    fn slot(lent: &Self::Lent) -> &Slot<Self::Resource>;
    fn metadata(lent: &Self::Lent, clock: Clock) -> Metadata;

    /// Lends a place. The flag says that the resource was idle and came back before `fresh_after`.
    fn lend(&mut self, rng: &mut fastrand::Rng, fresh_after: Moment) -> Option<(Self::Lent, bool)>;

    /// Passes a place from one holder straight to the next, if its resource may be lent again.
    fn pass(&mut self, lent: Self::Lent) -> Result<Self::Lent, Self::Lent>;

    /// Whether a resource stays when this place is taken back.
    fn stays(&self, lent: &Self::Lent) -> bool;

    /// Takes a place back, of a resource that stays unless the store knows better. It came back at
    /// `returned`, perhaps by the coarse clock; `None` if it was of no use meanwhile.
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

    /// Takes in a new resource.
    fn insert(&mut self, slot: Box<Slot<Self::Resource>>, places: usize);

    fn set_places(&mut self, id: ResourceId, places: usize);

    /// Ends a resource: at once if it is idle, with its last holder otherwise.
    fn end(&mut self, id: ResourceId, reason: EndReason) -> Option<Ended<Self::Resource>>;

    /// When the idle resource that came back last did so.
    fn latest_return(&self) -> Option<Moment>;
    /// When the idle resource that has been idle for longest came back.
    fn earliest_return(&self) -> Option<Moment>;
    /// Ends the resource that has been idle for longest.
    fn end_oldest_idle(&mut self, reason: EndReason) -> Option<Ended<Self::Resource>>;
    /// Ends a resource that is needed least.
    fn shrink(&mut self) -> Shrunk<Self::Resource>;
    /// Takes a resource back into service that was to go as excess, one with a free place if it can.
    fn reclaim(&mut self) -> bool;

    /// Ends what has expired by `now`, and says when the next one in the store will.
    fn expire(&mut self, now: Moment, ended: &mut Vec<Ended<Self::Resource>>) -> Moment;
    /// Ends everything: idle resources at once, lent ones with their last holder.
    fn end_all(&mut self, reason: EndReason, ended: &mut Vec<Ended<Self::Resource>>);
}

/// A resource that has left the store.
#[derive(Debug)]
pub struct Ended<R> {
    pub(crate) slot: Box<Slot<R>>,
    pub(crate) reason: EndReason,
}

impl<R> Ended<R> {
    pub(crate) fn new(slot: Box<Slot<R>>, reason: EndReason) -> Self {
        Self { slot, reason }
    }

    /// It died before it was of use to anybody.
    pub(crate) fn is_infant(&self) -> bool {
        match self.reason {
            EndReason::Broken | EndReason::Drained => self.slot.uses == 0,
            // The use that it did not pass the check for.
            EndReason::CheckFailed => self.slot.uses <= 1,
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
    Draining(ResourceId),
}
