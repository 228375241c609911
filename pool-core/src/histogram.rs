//! How long something took, each time: counted by length, as it happens and without a lock.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in nanoseconds. The last but one is the longest timeout that is a default, and what ends by that is a
/// little longer.
const BOUNDS: [u64; 17] = [
    100_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// One more than there are bounds: for what is longer than all of them.
const BUCKETS: usize = BOUNDS.len() + 1;

/// How often something took how long, up to one moment.
///
/// Every number in it only grows. The sum is right as far as 584 years of all times together, beyond which it begins
/// anew.
///
/// # Examples
///
/// ```
/// use pool_core::Histogram;
///
/// # fn show(histogram: &Histogram) {
/// for (bound, count) in histogram.buckets() {
///     match bound {
///         Some(bound) => println!("up to {bound:?}: {count}"),
///         None => println!("longer: {count}"),
///     }
/// }
/// println!("{} in all, which took {:?}", histogram.count(), histogram.sum());
/// # }
/// # show(&Histogram::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    nanos: u64,
}

impl Histogram {
    /// The upper bounds of all but the last bucket, which has none.
    pub fn bounds() -> impl ExactSizeIterator<Item = Duration> {
        BOUNDS.iter().copied().map(Duration::from_nanos)
    }

    /// How many there are in each bucket: up to its bound, and above that of the bucket before.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Every bucket: its upper bound, which the last one has not, and how many there are above that of the bucket before.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        Self::bounds().map(Some).chain([None]).zip(self.counts.iter().copied())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

/// A histogram that is being written. Its numbers are each right, and may be those of different moments while
/// somebody writes.
pub(crate) struct Recorder {
    counts: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { counts: array::from_fn(|_| AtomicU64::new(0)), nanos: AtomicU64::new(0) }
    }
}

impl Recorder {
    /// Something took this long, `times` times.
    pub(crate) fn record(&self, took: Duration, times: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|&bound| bound < nanos);
        self.counts[bucket].fetch_add(times, Ordering::Relaxed);
        self.nanos.fetch_add(nanos.wrapping_mul(times), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Histogram {
        Histogram {
            counts: array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed)),
            nanos: self.nanos.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_as_long_as_a_bound_is_within_it() {
        let recorder = Recorder::default();
        recorder.record(Duration::from_millis(1), 1);
        recorder.record(Duration::from_nanos(1_000_001), 2);
        recorder.record(Duration::from_secs(61), 16);
        let histogram = recorder.read();
        let some: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
        let bound = |micros| Some(Duration::from_micros(micros));
        assert_eq!(some, [(bound(1000), 1), (bound(2500), 2), (None, 16)]);
        assert_eq!(histogram.count(), 19);
        let sum = Duration::from_nanos(1_000_000 + 2 * 1_000_001) + 16 * Duration::from_secs(61);
        assert_eq!(histogram.sum(), sum);
    }

    #[test]
    fn bounds_ascend_and_reach_beyond_the_timeouts() {
        assert!(Histogram::bounds().is_sorted_by(|a, b| a < b));
        assert_eq!(Histogram::bounds().last(), Some(Duration::from_secs(60)));
        assert_eq!(Histogram::bounds().len() + 1, Histogram::default().counts().len());
    }

    #[test]
    fn the_longest_time_overflows_nothing() {
        let recorder = Recorder::default();
        recorder.record(Duration::MAX, 16);
        assert_eq!(recorder.read().counts().last(), Some(&16));
    }
}
