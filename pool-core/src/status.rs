//! Numbers out: [`Status`] is how things stand, [`Counters`] what has happened, [`Snapshot`] all that there is.

use std::time::Duration;

use crate::group::GroupId;
use crate::manager::ResourceId;
use crate::observer::EndReason;
use crate::timings::Timings;

/// All numbers of a pool, in one look.
///
/// The status and the counters are of one moment and fit each other, but for a get or a return that is in the middle of
/// it. Times are written beside that, without a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How the pool stands.
    pub status: Status,
    /// What it has done since it was built.
    pub counters: Counters,
    /// How long that took.
    pub timings: Timings,
}

/// How a pool stands at one moment. Every field is taken from the state under its lock, so they fit
/// each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The most resources that there may be.
    pub max_size: usize,
    /// The fewest that the pool keeps.
    pub min_size: usize,
    /// The most idle ones that stay.
    pub max_idle: usize,
    /// The fewest idle ones that the pool keeps.
    pub min_idle: usize,
    /// How many may drain, be destroyed or be replaced beside the maximum, in a shared pool.
    pub max_draining: usize,
    /// Resources that count towards the maximum: idle, lent, being created; and being destroyed, in an
    /// exclusive pool. Also those that are being created for [groups](crate::SharedPool::update_groups) that failed
    /// before or are retired, which count towards no maximum until they are there.
    pub size: usize,
    /// Resources that nobody holds.
    pub idle: usize,
    /// Resources that somebody holds, without those that drain.
    pub lent: usize,
    /// Leases that are out. In a shared pool a resource may have several.
    pub in_use: usize,
    /// Creations that run.
    pub creating: usize,
    /// Creations that run beside the size, of resources that are to
    /// [replace](crate::SharedPool::replace) others.
    pub replacing: usize,
    /// Callers that wait.
    pub waiting: usize,
    /// Callers that have been given a resource which is being checked or recycled for them.
    pub checking: usize,
    /// Shared resources that are being used up: lent no more, beside the size.
    pub draining: usize,
    /// Resources that are being destroyed: in a shared pool beside the size.
    pub closing: usize,
    /// Places of the resources that may be lent: one each in an exclusive pool, what their manager
    /// says in a shared one.
    pub places: usize,
    /// How often the pool has been reset.
    pub generation: u32,
    /// Whether the pool is paused.
    pub paused: bool,
    /// Whether the pool is closed.
    pub closed: bool,
}

/// How one resource of a [`SharedPool`](crate::SharedPool) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedStatus {
    /// Its number.
    pub id: ResourceId,
    /// Its group, if it has one.
    pub group: Option<GroupId>,
    /// Leases of it that are out.
    pub in_use: usize,
    /// Its places.
    pub places: usize,
    /// Why it has no new holders, if it drains.
    pub draining: Option<EndReason>,
    /// How long it has been there.
    pub age: Duration,
    /// How often it has been lent.
    pub uses: u32,
}

/// What a pool has done since it was built. Every field only grows.
///
/// A [`get_many`](crate::ResourcePool::get_many) of n resources counts as n in `gets_ok` when it has them,
/// and as one in another field when it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Gets begun: those that have [ended](Self::gets_ended), and those that wait or whose resource is being looked at.
    /// One that is just being served may come a moment late.
    pub gets_started: u64,
    /// Gets that ended with a lease.
    pub gets_ok: u64,
    /// Gets that ran into their deadline.
    pub gets_timeout: u64,
    /// Gets whose caller gave up while it waited or its resource was looked at.
    pub gets_cancelled: u64,
    /// Gets that found the pool closed.
    pub gets_closed: u64,
    /// Gets that failed with an error of creation, without a runtime, or for want of their group.
    pub gets_error: u64,
    /// Gets turned away because the queue was full, or because they asked for more than there may be.
    pub gets_rejected: u64,
    /// Gets turned away because the queue stood, by the [`Shedding`](crate::Shedding) rule.
    pub gets_shed: u64,
    /// Gets that failed because the pool was paused.
    pub gets_paused: u64,
    /// Gets that could not be served at once.
    pub waits: u64,
    /// Leases that gets were given after a wait, where the others of `gets_ok` were there at once. A resource that turned
    /// out to be no good, so that its get asked again, is among them.
    pub waits_ok: u64,
    /// Resources created.
    pub created: u64,
    /// Creations that failed, panicked or ran into their timeout, and those of a
    /// [`replace`](crate::SharedPool::replace) that was given up. Not those for a group that was
    /// [retired](crate::SharedPool::update_groups) meanwhile, nor those that ended with their runtime.
    pub create_failed: u64,
    /// Resources ended, by reason.
    pub ended: Ended,
}

impl Counters {
    /// Gets that have ended, however they did.
    pub fn gets_ended(&self) -> u64 {
        let ended = [
            self.gets_ok,
            self.gets_timeout,
            self.gets_cancelled,
            self.gets_closed,
            self.gets_error,
            self.gets_rejected,
            self.gets_shed,
            self.gets_paused,
        ];
        ended.into_iter().fold(0, u64::wrapping_add)
    }

    /// Gets that have begun and not ended.
    pub fn gets_pending(&self) -> u64 {
        self.gets_started.saturating_sub(self.gets_ended())
    }
}

/// A number for each [`EndReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended([u64; EndReason::ALL.len()]);

impl Ended {
    /// The number for one reason.
    pub fn get(&self, reason: EndReason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason with its number, also those at 0.
    pub fn iter(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        EndReason::ALL.iter().map(|&reason| (reason, self.get(reason)))
    }

    /// The sum over all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn count(&mut self, reason: EndReason) {
        self.0[reason as usize] += 1;
    }
}
