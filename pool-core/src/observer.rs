//! Events out: an [`Observer`] is told what the pool does.

use std::borrow::Cow;
use std::panic::Location;
use std::time::Duration;

use crate::manager::{CreateReason, ResourceId};

/// Is told what a pool does, after it was done and outside every lock, so it may call back into the
/// pool. A panic in it is contained.
///
/// A get that is served at once and the return of its lease are no events; see
/// [`Counters`](crate::Counters) for their number.
pub trait Observer: Send + Sync + 'static {
    /// Something happened. Does nothing unless it is overridden.
    fn event(&self, event: &Event) {
        let _ = event;
    }
}

/// Something that a pool did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The creation of a resource started. It ends with [`Created`](Self::Created) or
    /// [`CreateFailed`](Self::CreateFailed), and is told of once.
    CreateStarted {
        /// The resource to be.
        id: ResourceId,
        /// Why it is wanted.
        reason: CreateReason,
    },
    /// A resource was created.
    Created {
        /// The resource.
        id: ResourceId,
        /// How long it took.
        elapsed: Duration,
    },
    /// A creation failed, or was given up: with its runtime, with the pool, or with the call that was to replace a
    /// resource. Also told where it is not [counted](crate::Counters::create_failed).
    CreateFailed {
        /// The resource that was to be.
        id: ResourceId,
        /// How long it took.
        elapsed: Duration,
        /// The error, in words.
        error: String,
        /// How long the pool waits before the next attempt; zero where nothing follows from this one.
        retry_in: Duration,
    },
    /// A manager reported, through its handle, that a resource is broken or is to be used up.
    Reported {
        /// The resource.
        id: ResourceId,
        /// Which of the two.
        reason: EndReason,
        /// Why, in the manager's words.
        text: Cow<'static, str>,
    },
    /// A resource left the pool.
    Ended {
        /// The resource.
        id: ResourceId,
        /// Why it left.
        reason: EndReason,
    },
    /// A shared resource is used up from now on: no new holders, unless it is taken back because more are
    /// needed again ([`EndReason::Excess`] only).
    Draining {
        /// The resource.
        id: ResourceId,
        /// Why.
        reason: EndReason,
    },
    /// The pool decided to be of another size, and why. Told beside the events of what follows from it.
    Resized {
        /// The resource that comes, goes or stays.
        id: ResourceId,
        /// What was decided, by which rule.
        change: Resize,
        /// The numbers right after the decision, which are what it was made by, but for that one resource.
        sizing: Sizing,
    },
    /// A lease has been out for longer than the leak threshold. Told once per lease.
    Leaked {
        /// The resource.
        id: ResourceId,
        /// For how long it has been held.
        held_for: Duration,
        /// The call that took it.
        taken_at: &'static Location<'static>,
    },
    /// A lease that was reported as leaked has ended.
    LeakReturned {
        /// The resource.
        id: ResourceId,
        /// For how long it was held.
        held_for: Duration,
        /// The call that took it.
        taken_at: &'static Location<'static>,
    },
    /// The pool lends and creates nothing from now on.
    Paused,
    /// The pool lends and creates again.
    Resumed,
    /// All resources from before belong to an older generation now, and go.
    Reset {
        /// The new generation.
        generation: u32,
    },
    /// The pool was closed.
    Closed,
}

/// A decision about the size of a pool, with the rule that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resize {
    /// A resource is created.
    Create(CreateReason),
    /// A shared resource has no new holders from now on, and ends with its last one.
    Drain(EndReason),
    /// A resource that nobody holds ends.
    End(EndReason),
    /// A shared resource that was draining as excess is taken back instead of creating one.
    Reclaim,
}

impl Resize {
    /// The decision in lower case, as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Drain(_) => "drain",
            Self::End(_) => "end",
            Self::Reclaim => "reclaim",
        }
    }

    /// The rule in lower case, as a label.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Create(reason) => reason.as_str(),
            Self::Drain(reason) | Self::End(reason) => reason.as_str(),
            Self::Reclaim => "demand",
        }
    }
}

/// The numbers that decisions about the size are made by, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizing {
    /// Resources that count towards the maximum, those that are being created among them.
    pub size: usize,
    /// The fewest that are kept.
    pub min_size: usize,
    /// The most that there may be.
    pub max_size: usize,
    /// Those that nobody holds.
    pub idle: usize,
    /// Those that are being created.
    pub creating: usize,
    /// Shared ones that have no new holders, beside the size.
    pub draining: usize,
    /// Leases that are out.
    pub leases: usize,
    /// Places of the resources that may be lent.
    pub places: usize,
    /// Places that those who wait want.
    pub wanted: usize,
}

/// Why a resource left the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// Nobody wanted it for the idle timeout.
    Idle,
    /// It reached its maximum lifetime.
    Lifetime,
    /// It was lent as often as it may be.
    Uses,
    /// It was of an older generation than the pool.
    Stale,
    /// Its manager, or the look at it on return, said that it is broken; or its holder panicked.
    Broken,
    /// It did not pass a check, or could not be recycled.
    CheckFailed,
    /// There were more than the pool needs, or may have.
    Excess,
    /// Its manager asked for it to be used up.
    Drained,
    /// Its holder took it out of the pool.
    Detached,
    /// Its holder said that it is no good.
    Discarded,
    /// It was taken out by [`retain`](crate::ResourcePool::retain), [replaced](crate::SharedPool::replace), or of a
    /// group that was [retired](crate::SharedPool::update_groups).
    Removed,
    /// The pool was closed.
    Closed,
}

impl EndReason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 12] = [
        Self::Idle,
        Self::Lifetime,
        Self::Uses,
        Self::Stale,
        Self::Broken,
        Self::CheckFailed,
        Self::Excess,
        Self::Drained,
        Self::Detached,
        Self::Discarded,
        Self::Removed,
        Self::Closed,
    ];

    /// The reason in lower case, as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Uses => "uses",
            Self::Stale => "stale",
            Self::Broken => "broken",
            Self::CheckFailed => "check_failed",
            Self::Excess => "excess",
            Self::Drained => "drained",
            Self::Detached => "detached",
            Self::Discarded => "discarded",
            Self::Removed => "removed",
            Self::Closed => "closed",
        }
    }
}
