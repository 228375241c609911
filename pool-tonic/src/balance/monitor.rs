//! What an endpoint's calls tell of it: how long its answers take, and whether it fails. Pure but for a lock.
//!
//! Both fade: a penalty with its own decay, a latency that nothing confirms with that of the average, so that an
//! endpoint that got no calls for being slow is tried again. The one who fades them ([`Monitor::fade`]) has the clock,
//! and so picking needs none.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

/// What an error costs an endpoint when calls are spread.
///
/// After UNAVAILABLE or `RESOURCE_EXHAUSTED` an endpoint counts as if it had more calls than it has. A server that fails
/// at once has few calls in flight, and would otherwise get more than the others. It is no sum: the next error renews
/// it. It fades, and takes no endpoint out.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ErrorPenalty {
    /// How many calls more it counts as, right after the error. Default 2.
    pub calls: f32,
    /// After this time it is down to 37 % (1/e). Default 5 s.
    pub decay: Duration,
}

impl Default for ErrorPenalty {
    fn default() -> Self {
        Self { calls: 2.0, decay: Duration::from_secs(5) }
    }
}

/// How the latency of an endpoint is averaged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Average {
    /// A latency weighs 37 % (1/e) after this time.
    pub(crate) decay: Duration,
    /// Of an endpoint of which nothing is known.
    pub(crate) initial: Duration,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measures {
    pub(crate) latency: Option<Average>,
    pub(crate) penalty: Option<ErrorPenalty>,
    /// Successes and failures, for the detection of outliers.
    pub(crate) outcomes: bool,
}

impl Measures {
    /// Is there anything that fades?
    pub(crate) fn shift_picks(&self) -> bool {
        self.latency.is_some() || self.penalty.is_some()
    }

    /// How often it should fade, so that no step is felt.
    pub(crate) fn step(&self) -> Duration {
        let latency = self.latency.map(|average| average.decay);
        let penalty = self.penalty.map(|penalty| penalty.decay);
        let shortest = latency.into_iter().chain(penalty).min().unwrap_or(Duration::MAX);
        (shortest / 8).max(Duration::from_millis(1))
    }
}

/// Latencies below this are the same, and fade no further.
const LEAST_LATENCY: f64 = 10e-6;
/// Penalties below this are none.
const LEAST_PENALTY: f64 = 0.05;

/// How an endpoint compares: its load is taken this many times, with this many calls more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Handicap {
    pub(crate) cost: f64,
    pub(crate) extra: f64,
}

#[derive(Debug)]
struct Gauge {
    /// In seconds.
    latency: f64,
    penalty: f64,
    faded: Instant,
}

/// Of one endpoint.
#[derive(Debug)]
pub(crate) struct Monitor {
    measures: Measures,
    ok: AtomicU32,
    failed: AtomicU32,
    gauge: Mutex<Gauge>,
    ejected: AtomicBool,
    /// The connections, whose places rest on `ejected`.
    placed: Mutex<Vec<Weak<dyn Placed>>>,
}

/// A connection, which takes no calls while its endpoint is ejected.
pub(crate) trait Placed: fmt::Debug + Send + Sync {
    /// Its endpoint is ejected, or is not any more.
    fn look_again(&self);
}

impl Monitor {
    pub(crate) fn new(measures: Measures, now: Instant) -> Self {
        let latency = measures.latency.map_or(0.0, |average| average.initial.as_secs_f64());
        let gauge = Gauge { latency, penalty: 0.0, faded: now };
        Self {
            measures,
            ok: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            gauge: Mutex::new(gauge),
            ejected: AtomicBool::new(false),
            placed: Mutex::default(),
        }
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::SeqCst)
    }

    fn placed(&self) -> MutexGuard<'_, Vec<Weak<dyn Placed>>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a connection more. It looks for itself when this is done.
    pub(crate) fn add(&self, connection: Weak<dyn Placed>) {
        let mut placed = self.placed();
        placed.retain(|connection| connection.strong_count() > 0);
        placed.push(connection);
    }

    pub(crate) fn set_ejected(&self, ejected: bool) {
        self.ejected.store(ejected, Ordering::SeqCst);
        // Outside the lock: it tells the pool, whose observer is the user's.
        let placed: Vec<_> = self.placed().iter().filter_map(Weak::upgrade).collect();
        for connection in placed {
            connection.look_again();
        }
    }

    fn gauge(&self) -> MutexGuard<'_, Gauge> {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does it want to know how long answers take?
    pub(crate) fn times(&self) -> bool {
        self.measures.latency.is_some()
    }

    /// The headers of an answer came after this time. A longer one counts at once, and shorter ones by and by.
    pub(crate) fn answered(&self, took: Duration, now: Instant) -> Option<Handicap> {
        let average = self.measures.latency?;
        let mut gauge = self.gauge();
        let took = took.as_secs_f64();
        let weight = fading(now.saturating_duration_since(gauge.faded), average.decay);
        gauge.latency = took.max(gauge.latency * weight + took * (1.0 - weight));
        self.fade_penalty(&mut gauge, now);
        gauge.faded = now;
        Some(self.handicap(&gauge))
    }

    /// An attempt has ended. Says how the endpoint compares from now on, if that has changed.
    pub(crate) fn ended(&self, code: Code, now: impl FnOnce() -> Instant) -> Option<Handicap> {
        if self.measures.outcomes {
            let counter = if is_failure(code) { &self.failed } else { &self.ok };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let penalty = self.measures.penalty?;
        if !matches!(code, Code::Unavailable | Code::ResourceExhausted) {
            return None;
        }
        let mut gauge = self.gauge();
        self.fade_to(&mut gauge, now());
        gauge.penalty = gauge.penalty.max(penalty.calls.into());
        Some(self.handicap(&gauge))
    }

    /// Time has passed. Says how the endpoint compares now; `None` if it is at rest, and was.
    pub(crate) fn fade(&self, now: Instant) -> Option<Handicap> {
        let mut gauge = self.gauge();
        if is_at_rest(&gauge) {
            gauge.faded = now;
            return None;
        }
        self.fade_to(&mut gauge, now);
        Some(self.handicap(&gauge))
    }

    /// How it compares.
    pub(crate) fn now(&self) -> Handicap {
        self.handicap(&self.gauge())
    }

    /// Successes and failures since they were last taken.
    pub(crate) fn take_outcomes(&self) -> (u32, u32) {
        (self.ok.swap(0, Ordering::Relaxed), self.failed.swap(0, Ordering::Relaxed))
    }

    fn fade_to(&self, gauge: &mut Gauge, now: Instant) {
        if let Some(average) = self.measures.latency {
            let passed = now.saturating_duration_since(gauge.faded);
            gauge.latency = (gauge.latency * fading(passed, average.decay)).max(LEAST_LATENCY);
        }
        self.fade_penalty(gauge, now);
        gauge.faded = now;
    }

    fn fade_penalty(&self, gauge: &mut Gauge, now: Instant) {
        if let Some(penalty) = self.measures.penalty {
            let passed = now.saturating_duration_since(gauge.faded);
            gauge.penalty *= fading(passed, penalty.decay);
            if gauge.penalty < LEAST_PENALTY {
                gauge.penalty = 0.0;
            }
        }
    }

    fn handicap(&self, gauge: &Gauge) -> Handicap {
        let cost = match self.measures.latency {
            Some(_) => gauge.latency.max(LEAST_LATENCY),
            None => 1.0,
        };
        Handicap { cost, extra: gauge.penalty }
    }
}

fn is_at_rest(gauge: &Gauge) -> bool {
    gauge.penalty == 0.0 && gauge.latency <= LEAST_LATENCY
}

/// What is left after this time.
fn fading(passed: Duration, decay: Duration) -> f64 {
    (-passed.as_secs_f64() / decay.as_secs_f64().max(f64::MIN_POSITIVE)).exp()
}

/// Does this say something about the server? Not what the caller did, or asked for.
fn is_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn averaging() -> Measures {
        let average = Average { decay: 10 * SECOND, initial: 30 * MILLI };
        Measures { latency: Some(average), ..Measures::default() }
    }

    fn punishing() -> Measures {
        Measures { penalty: Some(ErrorPenalty::default()), outcomes: true, ..Measures::default() }
    }

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < right.abs() * 0.01 + 1e-6, "{left} is not {right}");
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let start = Instant::now();
        let monitor = Monitor::new(averaging(), start);
        close(monitor.now().cost, 0.030);
        let peak = monitor.answered(100 * MILLI, start).unwrap();
        close(peak.cost, 0.100);
        // After one time constant, 37 % of the old and 63 % of the new.
        let after = monitor.answered(MILLI, start + 10 * SECOND).unwrap();
        close(after.cost, 0.100 * 0.3679 + 0.001 * 0.6321);
    }

    #[test]
    fn a_latency_that_nothing_confirms_fades_to_rest() {
        let start = Instant::now();
        let monitor = Monitor::new(averaging(), start);
        monitor.answered(100 * MILLI, start);
        close(monitor.fade(start + 10 * SECOND).unwrap().cost, 0.03679);
        // Twice in the same moment is once.
        close(monitor.fade(start + 10 * SECOND).unwrap().cost, 0.03679);
        close(monitor.fade(start + 500 * SECOND).unwrap().cost, LEAST_LATENCY);
        assert_eq!(monitor.fade(start + 501 * SECOND), None);
    }

    #[test]
    fn a_penalty_is_renewed_and_no_sum_and_fades() {
        let start = Instant::now();
        let monitor = Monitor::new(punishing(), start);
        for _ in 0..3 {
            let handicap = monitor.ended(Code::Unavailable, || start).unwrap();
            assert_eq!(handicap, Handicap { cost: 1.0, extra: 2.0 });
        }
        close(monitor.fade(start + 5 * SECOND).unwrap().extra, 0.7358);
        let renewed = monitor.ended(Code::ResourceExhausted, || start + 5 * SECOND).unwrap();
        close(renewed.extra, 2.0);
        let at_rest = Handicap { cost: 1.0, extra: 0.0 };
        assert_eq!(monitor.fade(start + 60 * SECOND), Some(at_rest), "told once");
        assert_eq!(monitor.fade(start + 61 * SECOND), None);
    }

    #[test]
    fn what_says_nothing_about_the_server_is_no_failure() {
        let monitor = Monitor::new(punishing(), Instant::now());
        for code in (0..17).map(Code::from_i32) {
            monitor.ended(code, Instant::now);
        }
        assert_eq!(monitor.take_outcomes(), (11, 6));
        assert_eq!(monitor.take_outcomes(), (0, 0));
    }

    #[test]
    fn the_step_is_an_eighth_of_the_shortest() {
        assert_eq!(averaging().step(), Duration::from_millis(1250));
        assert_eq!(punishing().step(), Duration::from_millis(625));
        assert!(!Measures::default().shift_picks());
    }
}
