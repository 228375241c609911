//! The same numbers for the `metrics` facade, and so for every recorder of it.
//!
//! Nothing is recorded while a pool is used. At an interval each pool is asked for its numbers, as at a
//! scrape, and they are set: counters to their absolute value, gauges as they are. Of a histogram the
//! recorder gets what has come since the last time, bucket by bucket. A series' handle is looked up once.
//!
//! Invariants, per series of a name:
//! - what a counter was set to never falls, also when the name goes on to another pool, which counts
//!   from 0: `base` holds what its predecessors came to;
//! - what a histogram was given is never given again, and what a pool had before its name's next pool
//!   came is not taken from that one's;
//! - a gauge that its pool no longer sets, because it or the pool is gone, is set to 0, once.

use std::collections::HashMap;
use std::fmt;
use std::iter::repeat;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, with_recorder};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::family::{Family, Kind};
use crate::histogram::Histogram;
use crate::registry::{Collected, Registry};
use crate::sample::{Point, Series, Value};

/// The most values that a recorder is given of a histogram at a time, but for one of each bucket.
const MOST_VALUES: u64 = 10_000;

static METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// Hands the numbers of a registry's pools to the `metrics` facade's recorder.
///
/// Series have the names and labels that they have in a scrape. **Install the recorder first**: a handle
/// belongs to the recorder that was there when its series was first seen.
///
/// A histogram comes to the recorder as so many values in the middle of each bucket, since that is all that is
/// known of them; what is above the last bound comes as twice that. So a recorder with the same bounds has the same
/// buckets, and sums and quantiles are about right. Since most recorders keep each value, they get no more than about ten
/// thousand of a histogram at a time: of more, the same share of each bucket, and so quantiles that are right and counts
/// that are not.
///
/// # Examples
///
/// At an interval, until the handle is dropped:
///
/// ```
/// use pool_metrics::{Mirror, Registry};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mirroring = Mirror::new(Registry::global()).start(Duration::from_secs(1))?;
/// // ...
/// mirroring.stop().await;
/// # Ok(()) }
/// ```
pub struct Mirror {
    registry: Registry,
    /// Names stay, as their series do in the recorder.
    names: HashMap<Arc<str>, Mirrored>,
    pass: u64,
}

/// What was mirrored of one name.
struct Mirrored {
    /// The registry's number of the pool that has the name.
    number: u64,
    series: Vec<Mirrors>,
}

/// One series and where it goes to.
struct Mirrors {
    series: Series,
    /// The pass that set it last.
    pass: u64,
    target: Target,
}

enum Target {
    Counter { handle: Counter, base: u64, last: u64 },
    Gauge { handle: Gauge, last: f64 },
    Histogram { handle: metrics::Histogram, last: Histogram },
}

/// A mirror at work in a task of its own, which ends with this handle.
#[must_use = "the mirror stops when this is dropped"]
#[derive(Debug)]
pub struct Mirroring {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Why a mirror could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// The mirror runs in a tokio task.
    #[error("the mirror needs a tokio runtime: start it in one, or call `sync` yourself")]
    NoRuntime,
    /// The mirror would never rest.
    #[error("the mirror's interval is zero: a second is usual")]
    ZeroInterval,
}

impl Mirror {
    /// A mirror of the registry's pools, those of now and those to come.
    pub fn new(registry: &Registry) -> Self {
        Self { registry: registry.clone(), names: HashMap::new(), pass: 0 }
    }

    /// Mirrors all pools now.
    ///
    /// For those who would rather call it themselves than [`start`](Mirror::start) a task.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_metrics::{Mirror, Registry};
    ///
    /// let registry = Registry::new();
    /// let mut mirror = Mirror::new(&registry);
    /// mirror.sync();
    /// ```
    pub fn sync(&mut self) {
        self.pass += 1;
        for Collected { name, number, sample } in self.registry.collect() {
            let mirrored = self
                .names
                .entry(name.clone())
                .or_insert_with(|| Mirrored { number, series: Vec::new() });
            if mirrored.number != number {
                mirrored.number = number;
                mirrored.series.iter_mut().for_each(Mirrors::succeed);
            }
            for (index, point) in sample.points().iter().enumerate() {
                mirrored.series(index, &name, point).set(&point.value, self.pass);
            }
        }
        for mirrors in self.names.values_mut().flat_map(|mirrored| &mut mirrored.series) {
            if mirrors.pass != self.pass {
                mirrors.clear();
            }
        }
    }

    /// Mirrors all pools at once and then at every `interval`, in a task.
    ///
    /// # Errors
    ///
    /// [`MirrorError::NoRuntime`] outside a tokio runtime, [`MirrorError::ZeroInterval`] if `interval` is
    /// zero.
    pub fn start(mut self, interval: Duration) -> Result<Mirroring, MirrorError> {
        if interval.is_zero() {
            return Err(MirrorError::ZeroInterval);
        }
        let runtime = Handle::try_current().map_err(|_| MirrorError::NoRuntime)?;
        let (stop, mut stopped) = oneshot::channel();
        let task = runtime.spawn(async move {
            let mut ticks = self::interval(interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = &mut stopped => break,
                    _ = ticks.tick() => self.sync(),
                }
            }
            self.sync();
        });
        Ok(Mirroring { stop, task })
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Mirroring {
    /// Mirrors all pools once more and ends the task.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the task still does both.
    pub async fn stop(self) {
        let Self { stop, task } = self;
        drop(stop);
        // A task that the end of its runtime took away has nothing left to do.
        let _ = task.await;
    }
}

impl Mirrored {
    /// The series of `point`, which is mostly where it was the last time.
    fn series(&mut self, hint: usize, pool: &str, point: &Point) -> &mut Mirrors {
        let found = match self.series.get(hint) {
            Some(mirrors) if mirrors.series == point.series => Some(hint),
            _ => self.series.iter().position(|mirrors| mirrors.series == point.series),
        };
        let index = found.unwrap_or_else(|| {
            self.series.push(Mirrors::look_up(pool, point.series));
            self.series.len() - 1
        });
        &mut self.series[index]
    }
}

impl Mirrors {
    fn look_up(pool: &str, series: Series) -> Self {
        let family: &'static Family = series.family;
        let mut labels = vec![Label::new("pool", pool.to_owned())];
        for (name, value) in series.label.into_iter().chain(series.also) {
            labels.push(Label::from_static_parts(name, value));
        }
        let key = Key::from_parts(family.name(), labels);
        let target = with_recorder(|recorder| match family.kind() {
            Kind::Counter => {
                recorder.describe_counter(family.name().into(), None, family.help().into());
                let handle = recorder.register_counter(&key, &METADATA);
                Target::Counter { handle, base: 0, last: 0 }
            }
            Kind::Gauge => {
                recorder.describe_gauge(family.name().into(), None, family.help().into());
                Target::Gauge { handle: recorder.register_gauge(&key, &METADATA), last: 0.0 }
            }
            Kind::Histogram => {
                recorder.describe_histogram(family.name().into(), None, family.help().into());
                let handle = recorder.register_histogram(&key, &METADATA);
                Target::Histogram { handle, last: Histogram::default() }
            }
        });
        Self { series, pass: 0, target }
    }

    fn set(&mut self, value: &Value, pass: u64) {
        self.pass = pass;
        match (&mut self.target, value) {
            (Target::Counter { handle, base, last }, Value::Whole(value)) => {
                *last = *value;
                handle.absolute(base.saturating_add(*value));
            }
            (Target::Gauge { handle, last }, Value::Whole(_) | Value::Float(_)) => {
                *last = match value {
                    Value::Whole(value) => *value as f64,
                    Value::Float(value) => *value,
                    Value::Histogram(_) => return,
                };
                handle.set(*last);
            }
            (Target::Histogram { handle, last }, Value::Histogram(now)) => {
                hand_over(handle, last, now);
                last.clone_from(now);
            }
            // What a family's kind cannot be. The facade's counters are whole numbers.
            _ => {}
        }
    }

    /// The name has gone to another pool.
    fn succeed(&mut self) {
        match &mut self.target {
            Target::Counter { base, last, .. } => {
                *base = base.saturating_add(*last);
                *last = 0;
            }
            Target::Histogram { last, .. } => *last = Histogram::default(),
            Target::Gauge { .. } => {}
        }
    }

    /// Nobody sets it any more.
    fn clear(&mut self) {
        if let Target::Gauge { handle, last } = &mut self.target
            && *last != 0.0
        {
            *last = 0.0;
            handle.set(0.0);
        }
    }
}

/// Records what has come since `last`, or some of it if it is much.
fn hand_over(handle: &metrics::Histogram, last: &Histogram, now: &Histogram) {
    let before = last.buckets().iter().map(|&(_, count)| count).chain(repeat(0));
    let more: Vec<_> = now
        .buckets()
        .iter()
        .zip(before)
        .map(|(&(bound, count), before)| (bound, count.saturating_sub(before)))
        .collect();
    // Of so many one is handed over.
    let all = more.iter().fold(0_u64, |all, (_, count)| all.saturating_add(*count));
    let each = all.div_ceil(MOST_VALUES).max(1);
    let mut below = 0.0;
    for (bound, count) in more {
        let middle = if bound.is_finite() { f64::midpoint(below, bound) } else { below * 2.0 };
        // Also of what is rare there is one.
        let count = usize::try_from(count.div_ceil(each)).unwrap_or(usize::MAX);
        if count > 0 {
            handle.record_many(middle, count);
        }
        below = bound;
    }
}
