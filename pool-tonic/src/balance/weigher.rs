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

/// What is known of the endpoints.
#[derive(Debug, Default)]
struct Scales {
    failures: BTreeMap<Key, Failures>,
}

impl Scales {
    /// The share that each keeps of its weight, and whether any of them may be another one by the passing of time alone.
    fn weigh(
        &mut self,
        endpoints: &[(Key, Arc<Monitor>)],
        now: Instant,
        penalty: Option<ErrorPenalty>,
    ) -> (Vec<(Key, NonZero<u32>)>, bool) {
        let mut known = std::mem::take(&mut self.failures);
        let (mut read, mut fades) = (Vec::new(), false);
        for (key, monitor) in endpoints {
            let latency = monitor.read_latency(now);
            let mut divisor = 1.0;
            if let Some(penalty) = penalty {
                let mut failures = known.remove(key).unwrap_or_else(|| Failures::new(now));
                divisor = failures.read(monitor.outcomes(), now, penalty);
                self.failures.insert(*key, failures);
            }
            fades |= divisor > 1.0 || latency.is_some_and(|latency| latency > LEAST);
            read.push((*key, latency, divisor));
        }
        let fastest = read.iter().filter_map(|(_, latency, _)| *latency).reduce(f64::min);
        let cost = |(key, latency, divisor): (Key, Option<f64>, f64)| {
            (key, latency.or(fastest).unwrap_or(LEAST) * divisor)
        };
        let costs: Vec<_> = read.into_iter().map(cost).collect();
        let least = costs.iter().map(|(_, cost)| *cost).fold(f64::MAX, f64::min);
        (costs.into_iter().map(|(key, cost)| (key, share(least / cost))).collect(), fades)
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
        let Some(endpoints) = book.upgrade().map(|book| book.monitors()) else { return };
        let now = Instant::now();
        let (shares, fades) = scales.weigh(&endpoints, now, weigher.penalty);
        weigher.groups.weigh(shares);
        (rested, due) = (Some(now + GAP), fades.then(|| now + weigher.step()));
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::super::monitor::Measures;
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Endpoints by their numbers, of which the answers take so long.
    fn endpoints(latencies: &[Option<u32>], now: Instant) -> Vec<(Key, Arc<Monitor>)> {
        let monitor = |latency: &Option<u32>| {
            let latency_of = Some(PeakEwma::default());
            let monitor = Monitor::new(Measures { latency: latency_of, ..Measures::default() });
            if let Some(latency) = latency {
                monitor.took(*latency * MILLI, now);
            }
            Arc::new(monitor)
        };
        (0..).zip(latencies.iter().map(monitor)).collect()
    }

    fn shares(scales: &mut Scales, of: &[(Key, Arc<Monitor>)], now: Instant) -> (Vec<u32>, bool) {
        let (shares, fades) = scales.weigh(of, now, Some(ErrorPenalty::default()));
        (shares.into_iter().map(|(_, share)| share.get()).collect(), fades)
    }

    #[test]
    fn shares_are_by_latency_and_who_is_unknown_is_as_fast_as_the_fastest() {
        let (now, mut scales) = (Instant::now(), Scales::default());
        let of = endpoints(&[Some(1), Some(2), Some(64), None, Some(100_000)], now);
        assert_eq!(shares(&mut scales, &of, now), (vec![1024, 512, 16, 1024, 1], true));
        // Much later all are the same, and nothing fades any more.
        let late = now + Duration::from_secs(1000);
        assert_eq!(shares(&mut scales, &of, late), (vec![1024; 5], false));
    }

    #[test]
    fn one_that_fails_keeps_a_part_and_where_all_do_all_is_as_before() {
        let (now, mut scales) = (Instant::now(), Scales::default());
        let of = endpoints(&[None, None], now);
        assert_eq!(shares(&mut scales, &of, now), (vec![1024; 2], false));
        (0..1000).for_each(|_| of[1].1.ended(Code::Unavailable));
        let (after, fades) = shares(&mut scales, &of, now);
        assert!(after[0] == 1024 && (90..110).contains(&after[1]) && fades, "{after:?}");
        (0..1000).for_each(|_| of[0].1.ended(Code::Unavailable));
        assert_eq!(shares(&mut scales, &of, now).0, [1024; 2]);
        let late = now + Duration::from_secs(100);
        assert_eq!(shares(&mut scales, &of, late), (vec![1024; 2], false));
        // One that is gone is forgotten.
        scales.weigh(&of[..1], late, Some(ErrorPenalty::default()));
        assert_eq!(scales.failures.len(), 1);
    }
}
