//! How long a pool's gets wait, its creations and checks take, and its leases are out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::histogram::{Histogram, Recorder};
use crate::moment::Moment;

/// How long everything took that takes time in a pool, since it was built.
///
/// Recorded only where somebody waits anyway: a get that finds a resource at once records nothing, and so does a return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// How long the gets waited that queued, however their wait ended: from joining the queue until the caller
    /// resumes, or gives up. One whose resource turned out to be no good, and that queued again, waited twice.
    ///
    /// Every wait is timed while few join the queue. Of those that join one that stands already, beyond the first eight in
    /// ten milliseconds, one in sixteen is timed, and counts for sixteen: the histogram is a weighted sample then.
    pub wait: Histogram,
    /// How long creations took, by how they ended. One that ends with its runtime counts nowhere.
    pub create: CreateTimes,
    /// How long it took to check, recycle and ask the hook before a lend, and to check idle resources, by how it
    /// ended. Each of them counts for itself, from when it did not answer at once: one that does takes no time, and
    /// counts nowhere, as one that is given up on.
    pub check: CheckTimes,
    /// How long leases were out, from the moment that the resource was picked for the holder until it came back or
    /// left the pool. Only with [`time_leases`](crate::Builder::time_leases).
    pub lease: Option<Histogram>,
    /// When a creation has failed last, by the system's clock.
    pub last_create_failure: Option<SystemTime>,
}

/// How long creations took, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateTimes {
    /// A resource was created.
    pub ok: Histogram,
    /// The creation failed, was refused by a hook, or panicked.
    pub error: Histogram,
    /// It took longer than the create timeout.
    pub timeout: Histogram,
}

/// How long checks took, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckTimes {
    /// The resource passed.
    pub ok: Histogram,
    /// It did not.
    pub failed: Histogram,
    /// The check took longer than it, or the get that asked for it, may.
    pub timeout: Histogram,
}

/// So many waits in so long a time are each timed: a look at the clock and two counters are a tenth of what a short wait
/// costs, and nothing beside the rest where waits are rare.
const EACH: u64 = 8;
const WINDOW: Duration = Duration::from_millis(10);

/// How something ended that may take too long.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Ok,
    Failed,
    Timeout,
}

#[derive(Default)]
pub(crate) struct Spent {
    wait: Recorder,
    /// Since when the waits are counted that are each timed, and how many more of them there may be.
    window: AtomicU64,
    left: AtomicU64,
    create: ByEnding,
    check: ByEnding,
    lease: Option<Recorder>,
    /// Microseconds of Unix time; 0 for never.
    last_create_failure: AtomicU64,
}

#[derive(Default)]
struct ByEnding([Recorder; 3]);

impl ByEnding {
    fn of(&self, ending: Ending) -> &Recorder {
        &self.0[ending as usize]
    }
}

impl Spent {
    pub(crate) fn new(time_leases: bool) -> Self {
        let lease = time_leases.then(Recorder::default);
        Self { lease, left: AtomicU64::new(EACH), ..Self::default() }
    }

    /// Whether one that joins now is timed for itself. Threads that ask at the same time may all be.
    #[inline]
    pub(crate) fn may_time_each(&self, now: Moment) -> bool {
        let began = Moment::from_bits(self.window.load(Ordering::Relaxed));
        if now >= began.after(WINDOW) {
            self.window.store(now.bits(), Ordering::Relaxed);
            self.left.store(EACH - 1, Ordering::Relaxed);
            return true;
        }
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }

    /// A wait in the queue is over, which stands for so many.
    pub(crate) fn waited(&self, took: Duration, stands_for: u64) {
        self.wait.record(took, stands_for);
    }

    /// A creation is over.
    pub(crate) fn created(&self, took: Duration, ending: Ending) {
        self.create.of(ending).record(took, 1);
    }

    /// A creation has failed, just now.
    pub(crate) fn create_failed(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        self.last_create_failure.fetch_max(micros, Ordering::Relaxed);
    }

    /// A check is over that took time.
    pub(crate) fn checked(&self, took: Duration, ending: Ending) {
        self.check.of(ending).record(took, 1);
    }

    /// A lease is over.
    pub(crate) fn used(&self, took: Duration) {
        if let Some(lease) = &self.lease {
            lease.record(took, 1);
        }
    }

    pub(crate) fn read(&self) -> Timings {
        let [create, check] =
            [&self.create, &self.check].map(|by| by.0.each_ref().map(Recorder::read));
        Timings {
            wait: self.wait.read(),
            create: CreateTimes { ok: create[0], error: create[1], timeout: create[2] },
            check: CheckTimes { ok: check[0], failed: check[1], timeout: check[2] },
            lease: self.lease.as_ref().map(Recorder::read),
            last_create_failure: self.last_create_failure(),
        }
    }

    fn last_create_failure(&self) -> Option<SystemTime> {
        let micros = self.last_create_failure.load(Ordering::Relaxed);
        (micros != 0).then(|| UNIX_EPOCH + Duration::from_micros(micros))
    }
}
