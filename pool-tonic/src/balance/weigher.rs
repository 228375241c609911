//! The task that turns what calls tell of their endpoints into weights, by which the pools below spread them: so a pick
//! costs no more for it.
//!
//! It rests while no endpoint stands out. A call that fails, or an answer that is unexpectedly fast or slow, rings; from
//! then on it looks again and again, until all has faded.

use std::collections::BTreeMap;
use std::future::pending;
use std::num::NonZero;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::gauge::{Failures, LEAST};
use super::groups::{Groups, WHOLE};
use super::monitor::Monitor;
use super::policy::{ErrorPenalty, PeakEwma};
use super::single::{Single, Woken, wait};
use crate::address_book::{AddressBook, Key};

/// The least time between two looks.
const GAP: Duration = Duration::from_millis(10);

/// How many looks there are in the time in which something fades to 37 %.
const LOOKS: u32 = 50;

/// See the module.
#[derive(Debug)]
pub(crate) struct Weigher {
    latency: Option<PeakEwma>,
    penalty: Option<ErrorPenalty>,
    groups: Arc<Groups>,
    bell: Arc<Notify>,
    task: Single,
}

impl Weigher {
    pub(crate) fn new(
        latency: Option<PeakEwma>,
        penalty: Option<ErrorPenalty>,
        groups: Arc<Groups>,
        bell: Arc<Notify>,
    ) -> Self {
        Self { latency, penalty, groups, bell, task: Single::default() }
    }

    /// There is a connection. Called in a runtime.
    pub(crate) fn begin(self: &Arc<Self>, book: &Arc<AddressBook>) {
        self.task.begin(|| run(Arc::clone(self), Arc::downgrade(book)));
    }

    /// The time between two looks while something fades.
    fn step(&self) -> Duration {
        let latency = self.latency.map(|average| average.decay);
        let penalty = self.penalty.map(|penalty| penalty.decay);
        let shortest = latency.into_iter().chain(penalty).min().unwrap_or(Duration::MAX);
        (shortest / LOOKS).clamp(GAP, Duration::from_secs(1))
    }
}

/// An endpoint that is to be weighed.
#[derive(Debug)]
pub(crate) struct Weighed {
    pub(crate) key: Key,
    pub(crate) monitor: Arc<Monitor>,
    /// It has a connection that takes calls.
    pub(crate) takes_calls: bool,
}

/// What is known of the endpoints.
#[derive(Debug, Default)]
struct Scales {
    failures: BTreeMap<Key, Failures>,
}

impl Scales {
    /// The share that each keeps of its weight, and whether any of them may be another one by the passing of time alone.
    ///
    /// The scale is made by those that take calls. One that confirms its latency no more is forgiven until it counts as
    /// fast as the fastest of those was when it last answered, and no further: it may be dead.
    fn weigh(
        &mut self,
        endpoints: &[Weighed],
        now: Instant,
        penalty: Option<ErrorPenalty>,
    ) -> (Vec<(Key, NonZero<u32>)>, bool) {
        let mut known = std::mem::take(&mut self.failures);
        let taking = || endpoints.iter().filter(|endpoint| endpoint.takes_calls);
        let confirmed = taking().filter_map(|endpoint| endpoint.monitor.confirmed_latency());
        let fastest = confirmed.reduce(f64::min).unwrap_or(LEAST);
        let (mut costs, mut least, mut fades) = (Vec::new(), f64::MAX, false);
        for Weighed { key, monitor, takes_calls } in endpoints {
            let latency = monitor.read_latency(now).unwrap_or(fastest).max(fastest);
            let mut divisor = 1.0;
            if let Some(penalty) = penalty {
                let new = || Failures::new(monitor.began());
                let mut failures = known.remove(key).unwrap_or_else(new);
                divisor = failures.read(monitor.outcomes(), now, penalty);
                self.failures.insert(*key, failures);
            }
            fades |= divisor > 1.0 || latency > fastest;
            let cost = latency * divisor;
            if *takes_calls {
                least = cost.min(least);
            }
            costs.push((*key, cost));
        }
        let share = |(key, cost): (Key, f64)| (key, share((least / cost).min(1.0)));
        (costs.into_iter().map(share).collect(), fades)
    }
}

/// Of [`WHOLE`], never nothing.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It is between 0 and the whole.
fn share(part: f64) -> NonZero<u32> {
    let share = (f64::from(WHOLE.get()) * part).round() as u32;
    NonZero::new(share.min(WHOLE.get())).unwrap_or(NonZero::<u32>::MIN)
}

async fn run(weigher: Arc<Weigher>, book: Weak<AddressBook>) {
    let mut scales = Scales::default();
    let (mut rested, mut due) = (Some(Instant::now()), Some(Instant::now()));
    loop {
        let bell = weigher.bell.notified();
        if wait(&book, rested, pending()).await == Woken::Over
            || wait(&book, due, bell).await == Woken::Over
        {
            return;
        }
        let Some(endpoints) = book.upgrade().map(|book| book.weighed()) else { return };
        let now = Instant::now();
        let (shares, fades) = scales.weigh(&endpoints, now, weigher.penalty);
        weigher.groups.weigh(shares);
        (rested, due) = (Some(now + GAP), fades.then(|| now + weigher.step()));
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;
    use tonic::Code;

    use super::super::monitor::Measures;
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Endpoints by their numbers, of which the answers take so many milliseconds, on the paused clock.
    async fn endpoints(latencies: &[Option<u32>]) -> Vec<Weighed> {
        let mut endpoints = Vec::new();
        for (key, latency) in (0..).zip(latencies) {
            let latency_of = Some(PeakEwma::default());
            let measures = Measures { latency: latency_of, ..Measures::default() };
            let monitor = Arc::new(Monitor::new(measures));
            endpoints.push(Weighed { key, monitor, takes_calls: true });
            if let Some(latency) = latency {
                answers(&endpoints, key, *latency).await;
            }
        }
        endpoints
    }

    /// An endpoint answers after so many milliseconds.
    async fn answers(endpoints: &[Weighed], key: Key, latency: u32) {
        let of = endpoints.iter().find(|endpoint| endpoint.key == key).unwrap();
        let stopwatch = of.monitor.time().unwrap();
        advance(latency * MILLI).await;
        stopwatch.stop(false);
    }

    fn shares(scales: &mut Scales, of: &[Weighed], now: Instant) -> (Vec<u32>, bool) {
        let (shares, fades) = scales.weigh(of, now, Some(ErrorPenalty::default()));
        (shares.into_iter().map(|(_, share)| share.get()).collect(), fades)
    }

    fn fail(endpoint: &Weighed, calls: u32) {
        (0..calls).for_each(|_| endpoint.monitor.ended(Code::Unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn shares_are_by_latency_and_who_is_unknown_is_as_fast_as_the_fastest() {
        let mut scales = Scales::default();
        let of = endpoints(&[Some(10), Some(20), Some(640), None]).await;
        let (now, fades) = shares(&mut scales, &of, Instant::now());
        assert!(fades && now[0] == 1024 && now[3] == 1024, "{now:?}");
        // The first ones have faded by a few percent.
        assert!((500..600).contains(&now[1]) && (15..20).contains(&now[2]), "{now:?}");
        // Much later all are the same, and nothing fades any more.
        advance(Duration::from_secs(1000)).await;
        assert_eq!(shares(&mut scales, &of, Instant::now()), (vec![1024; 4], false));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_no_more_hides_nobody_who_is_slow() {
        let mut scales = Scales::default();
        let mut of = endpoints(&[Some(20), Some(20), Some(500)]).await;
        for is_there in [true, false] {
            of[0].takes_calls = is_there;
            advance(Duration::from_secs(100)).await;
            answers(&of, 1, 20).await;
            answers(&of, 2, 500).await;
            let (shares, _) = shares(&mut scales, &of, Instant::now());
            assert_eq!(shares[..2], [1024; 2], "{shares:?}");
            assert!((38..48).contains(&shares[2]), "{shares:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_given_up_waiting_for_is_slow() {
        let mut scales = Scales::default();
        let of = endpoints(&[Some(10), Some(10)]).await;
        let stopwatch = of[1].monitor.time();
        advance(1000 * MILLI).await;
        drop(stopwatch);
        let slow = shares(&mut scales, &of, Instant::now()).0;
        assert!(slow[0] == 1024 && slow[1] < 20, "{slow:?}");
        // One that is given up at once says nothing, and neither does a failure.
        drop(of[0].monitor.time());
        of[0].monitor.time().unwrap().stop(true);
        assert_eq!(shares(&mut scales, &of, Instant::now()).0, slow);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_keeps_a_part_and_where_all_do_all_is_as_before() {
        let (now, mut scales) = (Instant::now(), Scales::default());
        let of = endpoints(&[None, None]).await;
        assert_eq!(shares(&mut scales, &of, now), (vec![1024; 2], false));
        fail(&of[1], 1000);
        let (after, fades) = shares(&mut scales, &of, now);
        assert!(after[0] == 1024 && (90..110).contains(&after[1]) && fades, "{after:?}");
        fail(&of[0], 1000);
        assert_eq!(shares(&mut scales, &of, now).0, [1024; 2]);
        let late = now + Duration::from_secs(100);
        assert_eq!(shares(&mut scales, &of, late), (vec![1024; 2], false));
        // One that is gone is forgotten.
        scales.weigh(&of[..1], late, Some(ErrorPenalty::default()));
        assert_eq!(scales.failures.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_well_before_anybody_looked_is_no_excuse() {
        let mut scales = Scales::default();
        let of = endpoints(&[None, None]).await;
        shares(&mut scales, &of[..1], Instant::now());
        (0..1_000_000).for_each(|_| of[1].monitor.ended(Code::Ok));
        advance(Duration::from_secs(3600)).await;
        fail(&of[1], 10_000);
        let (shares, _) = shares(&mut scales, &of, Instant::now());
        assert!(shares[1] < 200, "{shares:?}");
    }
}
