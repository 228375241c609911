//! Groups of shared resources: what a user says of them, and what can be seen.

use std::num::NonZero;
use std::time::Duration;

/// The name of a group of a [`SharedPool`](crate::SharedPool)'s resources, which its user gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// A group of resources that are for the same thing: the connections to one of several servers, say.
///
/// # Examples
///
/// ```
/// use pool_core::{Group, GroupId};
///
/// let group = Group::new(GroupId(7)).min(2).weight(3.try_into()?);
/// assert_eq!((group.id, group.min, group.weight.get()), (GroupId(7), 2, 3));
/// # Ok::<(), std::num::TryFromIntError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Its name.
    pub id: GroupId,
    /// The fewest resources that it keeps. Default 0.
    pub min: usize,
    /// Its share of the leases, beside those of the other groups. Default 1.
    pub weight: NonZero<u32>,
}

impl Group {
    /// A group that keeps no resources, and has the same share as every other.
    pub fn new(id: GroupId) -> Self {
        Self { id, min: 0, weight: NonZero::<u32>::MIN }
    }

    /// The fewest resources that it keeps.
    #[must_use]
    pub fn min(self, min: usize) -> Self {
        Self { min, ..self }
    }

    /// Its share of the leases, beside those of the other groups.
    #[must_use]
    pub fn weight(self, weight: NonZero<u32>) -> Self {
        Self { weight, ..self }
    }
}

/// What becomes of a group, in [`update_groups`](crate::SharedPool::update_groups).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupChange {
    /// It is there from now on, or is as this says.
    Set(Group),
    /// It is there no more: nothing of it is lent or created from now on.
    Retire(GroupId),
}

/// How a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its name.
    pub id: GroupId,
    /// The fewest resources that it keeps.
    pub min: usize,
    /// Its share of the leases.
    pub weight: NonZero<u32>,
    /// Its resources that may be lent.
    pub size: usize,
    /// Creations for it that run, those of successors not among them.
    pub creating: usize,
    /// Leases of its resources that are out, also of those that drain.
    pub in_use: usize,
    /// Places of its resources that may be lent.
    pub places: usize,
    /// Its resources that drain.
    pub draining: usize,
    /// How long the next creation for it waits, after one that failed.
    pub retry_in: Option<Duration>,
    /// It has been retired, and something of it is left.
    pub retired: bool,
}

/// How a [`SharedPool`](crate::SharedPool) picks the group that the next lease is of, among those that have a free
/// place. Within it, of two resources the one with fewer leases per place is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Pick {
    /// Of two random groups, drawn by their weights, the one with fewer leases for its weight and for the places that
    /// one of its resources has. Weights that are more than about ten times apart are kept by the load alone.
    #[default]
    PowerOfTwo,
    /// Of all groups the one with the fewest leases for its weight and for the places that one of its resources has;
    /// between those with the same load, the one whose turn it is. Several pools that know the same groups do not know
    /// each other's leases, and may all pick the same one: [`PowerOfTwo`](Self::PowerOfTwo) does not.
    LeastLoaded,
    /// One after the other, each as often as its weight says.
    RoundRobin,
}
