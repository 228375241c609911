//! Calls by method and status, as their callers see them: what is counted, and how it is shown.

mod service;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pool_tonic::{AttemptObserver, Retries, code_name};
use tonic::Code;
use tower_layer::Layer;

pub use self::service::{CallBody, CallFuture, CountedCalls};
use crate::family::Family;
use crate::histogram::Histogram;
use crate::sample::{Sample, Value};
use crate::source::{Probe, Source};

static CALLS_STARTED: Family =
    Family::counter("grpc_client_call_started_total", "Calls begun, by method.");

// gRFC A66's.
static CALL_DURATION: Family = Family::histogram(
    "grpc_client_call_duration_seconds",
    "From the begin of a call to its status, by method and status.",
);

// A66's.
static ATTEMPTS_STARTED: Family = Family::counter(
    "grpc_client_attempt_started_total",
    "Times that a connection of the pool was given a call, by method.",
);

// A66's.
static ATTEMPT_DURATION: Family = Family::histogram(
    "grpc_client_attempt_duration_seconds",
    "From when a connection was given a call to how that ended, by method and status.",
);

// gRFC A96's.
static CALL_RETRIES: Family = Family::histogram(
    "grpc_client_call_retries",
    "How often calls were sent again by a retry policy, of those that were, by method.",
);

// A96's.
static CALL_TRANSPARENT_RETRIES: Family = Family::histogram(
    "grpc_client_call_transparent_retries",
    "How often calls were sent again that no server had processed, of those that were, by method.",
);

/// Of times, in seconds; some of A66's bounds.
const BOUNDS: [f64; 18] = [
    0.0001, 0.0003, 0.001, 0.003, 0.006, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
    20.0, 50.0, 100.0,
];

/// Of retries; A96's bounds.
const RETRY_BOUNDS: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0];

/// The codes of gRPC, 0 to 16.
const CODES: usize = 17;

/// The label of methods that are not in the list, as in A66.
const OTHER: &str = "other";

/// Counts and times calls by method and status, around any channel: a [`PooledChannel`](pool_tonic::PooledChannel),
/// a `tonic::transport::Channel`, or one with layers of its own. Cheap to clone; clones count together.
///
/// A call is what its caller sees, from the request to the status. The status is that of the trailers or, of an answer
/// without messages, of the headers; `CANCELLED` if the call, or the rest of its answer, was dropped. An attempt is one time
/// that a connection of a [`ChannelPool`](pool_tonic::ChannelPool) has the call; a call that is sent again has several,
/// and one that finds no connection has none. Of other channels no attempts are seen, nor of a request that has an
/// [`ObserveAttempts`](pool_tonic::ObserveAttempts) already.
///
/// It shows nothing by itself: register it, or it together with its pool, so that both have one name.
///
/// # What a call pays
///
/// A search in the list of methods; for itself and for each attempt two looks at the clock and three additions to atomic
/// counters that calls of the same method share; two small allocations.
///
/// # Examples
///
/// ```
/// use pool_metrics::{CallMetrics, Registry};
/// use pool_tonic::ChannelPool;
///
/// # struct OrdersClient<T>(T);
/// # impl<T> OrdersClient<T> { fn new(channel: T) -> Self { Self(channel) } }
/// let pool = ChannelPool::builder("http://orders:50051").build()?;
/// let calls = CallMetrics::new(["shop.Orders/Place", "shop.Orders/Watch"]);
/// let orders = OrdersClient::new(calls.around(pool.channel()));
///
/// let registry = Registry::new();
/// registry.register("orders", &(&pool, &calls))?;
/// let started = r#"grpc_client_call_started_total{pool="orders",method="shop.Orders/Place"} 0"#;
/// assert!(registry.render().contains(started));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CallMetrics {
    methods: Arc<Methods>,
}

impl CallMetrics {
    /// Of these methods, `package.Service/Method`, with or without a `/` before it; all others are `other`.
    ///
    /// The list is closed, and of texts that are in the program, so that nothing that comes from outside multiplies the
    /// series.
    pub fn new(methods: impl IntoIterator<Item = &'static str>) -> Self {
        let mut names: Vec<_> =
            methods.into_iter().map(bare).filter(|name| *name != OTHER).collect();
        names.sort_unstable();
        names.dedup();
        let listed = names.into_iter().map(Method::new).collect();
        Self { methods: Arc::new(Methods { listed, other: Method::new(OTHER) }) }
    }

    /// A channel whose calls are counted. The same as [`Layer::layer`].
    pub fn around<S>(&self, channel: S) -> CountedCalls<S> {
        CountedCalls::new(channel, Arc::clone(&self.methods))
    }
}

impl<S> Layer<S> for CallMetrics {
    type Service = CountedCalls<S>;

    fn layer(&self, channel: S) -> CountedCalls<S> {
        self.around(channel)
    }
}

impl Source for CallMetrics {
    fn probe(&self) -> Probe {
        let methods = Arc::downgrade(&self.methods);
        Probe::new(move || {
            let methods = methods.upgrade()?;
            let mut sample = Sample::new();
            for method in methods.listed.iter().chain([&methods.other]) {
                method.put(&mut sample);
            }
            Some(sample)
        })
    }
}

fn bare(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

/// The tallies of all methods.
#[derive(Debug)]
struct Methods {
    /// By name in order.
    listed: Vec<Arc<Method>>,
    other: Arc<Method>,
}

impl Methods {
    fn find(&self, path: &str) -> &Arc<Method> {
        let found = self.listed.binary_search_by(|method| method.name.cmp(bare(path)));
        found.map_or(&self.other, |index| &self.listed[index])
    }
}

/// What is counted of one method.
#[derive(Debug)]
struct Method {
    name: &'static str,
    calls: Tally,
    attempts: Tally,
    retries: Counts<{ RETRY_BOUNDS.len() + 1 }>,
    transparent: Counts<{ RETRY_BOUNDS.len() + 1 }>,
}

impl Method {
    fn new(name: &'static str) -> Arc<Self> {
        let (calls, attempts) = (Tally::new(), Tally::new());
        Arc::new(Self {
            name,
            calls,
            attempts,
            retries: Counts::default(),
            transparent: Counts::default(),
        })
    }

    fn put(&self, sample: &mut Sample) {
        self.calls.put(self.name, [&CALLS_STARTED, &CALL_DURATION], sample);
        self.attempts.put(self.name, [&ATTEMPTS_STARTED, &ATTEMPT_DURATION], sample);
        let retries =
            [(&CALL_RETRIES, &self.retries), (&CALL_TRANSPARENT_RETRIES, &self.transparent)];
        for (family, counts) in retries {
            let (buckets, sum) = counts.load();
            let histogram = Histogram::new(&RETRY_BOUNDS, &buckets, sum as f64);
            sample.add(family, [Some(("method", self.name)), None], Value::Histogram(histogram));
        }
    }
}

impl AttemptObserver for Method {
    fn started(&self) {
        self.attempts.begin();
    }

    fn ended(&self, code: Code, elapsed: Duration) {
        self.attempts.end(code, elapsed);
    }

    fn retried(&self, retries: Retries) {
        for (counts, count) in
            [(&self.retries, retries.configured), (&self.transparent, retries.transparent)]
        {
            if count > 0 {
                let bucket = RETRY_BOUNDS.partition_point(|bound| *bound < f64::from(count));
                counts.add(bucket, count.into());
            }
        }
    }
}

/// Calls or attempts: how many began, and how long each took by its status.
#[derive(Debug)]
struct Tally {
    started: AtomicU64,
    /// By code, once one has ended with it: most never are.
    ended: [OnceLock<Box<Counts<{ BOUNDS.len() + 1 }>>>; CODES],
}

impl Tally {
    fn new() -> Self {
        let tally = Self { started: AtomicU64::new(0), ended: Default::default() };
        // There from the beginning, for rates.
        tally.ended(Code::Ok);
        tally
    }

    fn ended(&self, code: Code) -> &Counts<{ BOUNDS.len() + 1 }> {
        self.ended[code as usize].get_or_init(Box::default)
    }

    fn begin(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self, code: Code, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.ended(code).add(bucket, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    fn put(
        &self,
        method: &'static str,
        [started, duration]: [&'static Family; 2],
        sample: &mut Sample,
    ) {
        // Ended before started, so that never more seem to have ended than started.
        let ended: Vec<_> =
            self.ended.iter().map(|times| times.get().map(|times| times.load())).collect();
        let begun = Value::Whole(self.started.load(Ordering::Acquire));
        sample.add(started, [Some(("method", method)), None], begun);
        for (code, times) in (0..).map(Code::from_i32).zip(ended) {
            if let Some((buckets, nanos)) = times {
                let seconds = Duration::from_nanos(nanos).as_secs_f64();
                let labels = [("method", method), ("status", code_name(code))].map(Some);
                let histogram = Histogram::new(&BOUNDS, &buckets, seconds);
                sample.add(duration, labels, Value::Histogram(histogram));
            }
        }
    }
}

/// The buckets of a histogram, and the sum of what is in them.
#[derive(Debug)]
struct Counts<const BUCKETS: usize> {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl<const BUCKETS: usize> Default for Counts<BUCKETS> {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }
}

impl<const BUCKETS: usize> Counts<BUCKETS> {
    fn add(&self, bucket: usize, size: u64) {
        self.sum.fetch_add(size, Ordering::Relaxed);
        // After the begin of the same call, as whoever reads both sees it.
        self.buckets[bucket].fetch_add(1, Ordering::Release);
    }

    fn load(&self) -> ([u64; BUCKETS], u64) {
        let buckets = std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Acquire));
        (buckets, self.sum.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_path_and_what_is_not_listed_is_other() {
        let calls = CallMetrics::new(["/b.B/Two", "a.A/One", "a.A/One", "other"]);
        let name = |path| calls.methods.find(path).name;
        assert_eq!(calls.methods.listed.len(), 2);
        assert_eq!((name("/a.A/One"), name("/b.B/Two")), ("a.A/One", "b.B/Two"));
        assert_eq!((name("/a.A/Two"), name("/other"), name("")), (OTHER, OTHER, OTHER));
    }

    #[test]
    fn a_time_at_a_bound_is_below_it() {
        let tally = Tally::new();
        for millis in [10, 11, 200_000] {
            tally.end(Code::Ok, Duration::from_millis(millis));
        }
        let (buckets, nanos) = tally.ended(Code::Ok).load();
        let filled: Vec<_> = (0..).zip(buckets).filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(5, 1), (6, 1), (BOUNDS.len(), 1)]);
        assert_eq!((BOUNDS[5], BOUNDS[6]), (0.01, 0.02));
        assert_eq!(nanos, 200_021_000_000);
    }
}
