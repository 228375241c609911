//! Calls by method and status, as their callers see them: what is counted, and how it is shown.

mod service;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pool_tonic::code_name;
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

/// In seconds; some of A66's bounds.
const BOUNDS: [f64; 18] = [
    0.0001, 0.0003, 0.001, 0.003, 0.006, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
    20.0, 50.0, 100.0,
];

/// The codes of gRPC, 0 to 16.
const CODES: usize = 17;

/// The label of methods that are not in the list, as in A66.
const OTHER: &str = "other";

/// Counts and times calls by method and status, around any channel: a [`PooledChannel`](pool_tonic::PooledChannel),
/// a `tonic::transport::Channel`, or one with layers of its own. Cheap to clone; clones count together.
///
/// A call is what its caller sees, from the request to the status; how often a pool sends it again in between cannot
/// be seen from here (`grpc_pool_retries_total` and `grpc_pool_transparent_retries_total` say that). The
/// status is that of the trailers or, of an answer without messages, of the headers; `CANCELLED` if the call, or the
/// rest of its answer, was dropped.
///
/// It shows nothing by itself: register it, or it together with its pool, so that both have one name.
///
/// # What a call pays
///
/// A search in the list of methods, two looks at the clock, and three additions to atomic counters that calls of the
/// same method share.
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
    listed: Vec<Method>,
    other: Method,
}

impl Methods {
    /// Where a method is in the list, if it is there.
    fn find(&self, path: &str) -> Option<usize> {
        self.listed.binary_search_by(|method| method.name.cmp(bare(path))).ok()
    }

    fn at(&self, index: Option<usize>) -> &Method {
        index.map_or(&self.other, |index| &self.listed[index])
    }
}

/// The tally of one method.
#[derive(Debug)]
struct Method {
    name: &'static str,
    started: AtomicU64,
    /// By code, once a call has ended with it: most never are.
    ended: [OnceLock<Box<Times>>; CODES],
}

impl Method {
    fn new(name: &'static str) -> Self {
        let method = Self { name, started: AtomicU64::new(0), ended: Default::default() };
        // There from the beginning, for rates.
        method.times(Code::Ok);
        method
    }

    fn times(&self, code: Code) -> &Times {
        self.ended[code as usize].get_or_init(Box::default)
    }

    fn put(&self, sample: &mut Sample) {
        // Ended before started, so that never more seem to have ended than started.
        let ended: Vec<_> =
            self.ended.iter().map(|times| times.get().map(|times| times.histogram())).collect();
        let started = Value::Whole(self.started.load(Ordering::Acquire));
        sample.add(&CALLS_STARTED, [Some(("method", self.name)), None], started);
        for (code, histogram) in (0..).map(Code::from_i32).zip(ended) {
            if let Some(histogram) = histogram {
                let labels = [("method", self.name), ("status", code_name(code))].map(Some);
                sample.add(&CALL_DURATION, labels, Value::Histogram(histogram));
            }
        }
    }
}

/// How long calls took.
#[derive(Debug, Default)]
struct Times {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Times {
    fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        // After the begin of the same call, as whoever reads both sees it.
        self.buckets[bucket].fetch_add(1, Ordering::Release);
    }

    fn histogram(&self) -> Histogram {
        let counts: [u64; BOUNDS.len() + 1] =
            std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Acquire));
        let sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
        Histogram::new(&BOUNDS, &counts, sum.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_path_and_what_is_not_listed_is_other() {
        let calls = CallMetrics::new(["/b.B/Two", "a.A/One", "a.A/One", "other"]);
        let name = |path| calls.methods.at(calls.methods.find(path)).name;
        assert_eq!(calls.methods.listed.len(), 2);
        assert_eq!((name("/a.A/One"), name("/b.B/Two")), ("a.A/One", "b.B/Two"));
        assert_eq!((name("/a.A/Two"), name("/other"), name("")), (OTHER, OTHER, OTHER));
    }

    #[test]
    fn a_time_at_a_bound_is_below_it() {
        let times = Times::default();
        for millis in [10, 11, 200_000] {
            times.add(Duration::from_millis(millis));
        }
        let histogram = times.histogram();
        let filled: Vec<_> = histogram.buckets().iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [&(0.01, 1), &(0.02, 1), &(f64::INFINITY, 1)]);
        assert!((histogram.sum() - 200.021).abs() < 1e-9);
    }
}
