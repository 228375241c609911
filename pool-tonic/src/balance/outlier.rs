//! Which endpoints answer so much worse than the others that they get no calls for a while: outlier detection as
//! gRFC A50 writes it. Pure: the clock, the counts and what is random come in.
//!
//! An endpoint goes through
//!
//! ```text
//!              an interval as an outlier                 its time is over
//!   in service -------------------------> ejected (m) --------------------> in service (m)
//!                    m + 1                   |                                   |
//!                                            +-- no outlier in an interval: m - 1, not below 0, only in service
//! ```
//!
//! where its time is the base ejection time, m times, and at most the longest one. Beside what A50 says, the last
//! endpoint that is ready and in service is never ejected, whatever share of them may be.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// When an endpoint gets no calls for a while, since it answers worse than the others (gRFC A50).
///
/// The defaults are those of gRPC. What counts as a failure is what says something about a server: UNKNOWN,
/// `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, INTERNAL, UNAVAILABLE and `DATA_LOSS`. A50 counts every code but OK.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OutlierDetection {
    /// How often the counts are looked at, and begun anew. Default 10 s.
    pub interval: Duration,
    /// For how long an endpoint is ejected the first time; the second time in a row for twice as long, and so on.
    /// Default 30 s.
    pub base_ejection_time: Duration,
    /// The longest that it is ejected, if it is more than the base. Default 300 s.
    pub max_ejection_time: Duration,
    /// No endpoint is ejected while this share of them is, in percent. Default 10. The last one that is ready never
    /// is.
    pub max_ejection_percent: u32,
    /// Ejects those whose rate of success is far below the mean; `None`: does not. Default: does.
    pub success_rate: Option<SuccessRate>,
    /// Ejects those of whose calls too large a share fails; `None`: does not. Default: does.
    pub failure_percentage: Option<FailurePercentage>,
}

/// Ejection of endpoints whose rate of success is far below the mean.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SuccessRate {
    /// How many standard deviations below the mean are too far. Default 1.9.
    pub stdev_factor: f64,
    /// With what probability one that is too far is ejected, in percent. Default 100.
    pub enforcement_percent: u32,
    /// Fewer endpoints than this with enough calls say nothing. Default 5.
    pub minimum_hosts: usize,
    /// Fewer calls than this in an interval say nothing. Default 100.
    pub request_volume: u32,
}

/// Ejection of endpoints of whose calls too large a share fails.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FailurePercentage {
    /// More failures than this are too many, in percent of the calls. Default 85.
    pub threshold_percent: u32,
    /// With what probability one with too many is ejected, in percent. Default 100.
    pub enforcement_percent: u32,
    /// Fewer endpoints than this with enough calls say nothing. Default 5.
    pub minimum_hosts: usize,
    /// Fewer calls than this in an interval say nothing. Default 50.
    pub request_volume: u32,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            success_rate: Some(SuccessRate::default()),
            failure_percentage: Some(FailurePercentage::default()),
        }
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { stdev_factor: 1.9, enforcement_percent: 100, minimum_hosts: 5, request_volume: 100 }
    }
}

impl Default for FailurePercentage {
    fn default() -> Self {
        Self {
            threshold_percent: 85,
            enforcement_percent: 100,
            minimum_hosts: 5,
            request_volume: 50,
        }
    }
}

/// By which rule an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EjectedBy {
    /// Its rate of success was far below the mean.
    SuccessRate,
    /// Too large a share of its calls failed.
    FailurePercentage,
}

/// What an interval has shown of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) key: u64,
    pub(crate) ok: u32,
    pub(crate) failed: u32,
    /// It has a connection that takes calls, or would if it were not ejected.
    pub(crate) ready: bool,
}

impl Tally {
    fn volume(&self) -> u32 {
        self.ok.saturating_add(self.failed)
    }

    fn success(&self) -> f64 {
        f64::from(self.ok) / f64::from(self.volume().max(1))
    }
}

/// What is to be done with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Eject { key: u64, by: EjectedBy, until: Instant },
    Return { key: u64 },
}

#[derive(Debug, Default)]
struct Record {
    /// How often its ejection was longer than the first.
    multiplier: u32,
    until: Option<Instant>,
}

/// What is remembered from one interval to the next.
#[derive(Debug)]
pub(crate) struct Detector {
    config: OutlierDetection,
    records: BTreeMap<u64, Record>,
}

impl Detector {
    pub(crate) fn new(config: OutlierDetection) -> Self {
        Self { config, records: BTreeMap::new() }
    }

    /// Every endpoint that is ejected gets calls again, since no other can take them.
    pub(crate) fn return_all(&mut self) -> Vec<Verdict> {
        let ejected = self.records.iter_mut().filter(|(_, record)| record.until.is_some());
        ejected
            .map(|(key, record)| {
                record.until = None;
                Verdict::Return { key: *key }
            })
            .collect()
    }

    /// Looks at what an interval has shown of all endpoints that are used. `percent` draws from `0..100`.
    pub(crate) fn sweep(
        &mut self,
        tallies: &[Tally],
        now: Instant,
        mut percent: impl FnMut() -> u32,
    ) -> Vec<Verdict> {
        let mut known = std::mem::take(&mut self.records);
        let record = |tally: &Tally| (tally.key, known.remove(&tally.key).unwrap_or_default());
        self.records = tallies.iter().map(record).collect();
        let mut verdicts = Vec::new();
        if let Some(rule) = self.config.success_rate.clone() {
            let counted = || tallies.iter().filter(|it| it.volume() >= rule.request_volume.max(1));
            if counted().count() >= rule.minimum_hosts.max(1) {
                let (mean, deviation) = distribution(counted().map(Tally::success));
                let least = mean - deviation * rule.stdev_factor;
                for tally in counted().filter(|tally| tally.success() < least) {
                    if self.may_eject(tallies, tally) && percent() < rule.enforcement_percent {
                        verdicts.push(self.eject(tally.key, EjectedBy::SuccessRate, now));
                    }
                }
            }
        }
        if let Some(rule) = self.config.failure_percentage.clone() {
            let counted = || tallies.iter().filter(|it| it.volume() >= rule.request_volume.max(1));
            let most = f64::from(rule.threshold_percent) / 100.0;
            if counted().count() >= rule.minimum_hosts.max(1) {
                for tally in counted().filter(|tally| 1.0 - tally.success() > most) {
                    if self.may_eject(tallies, tally) && percent() < rule.enforcement_percent {
                        verdicts.push(self.eject(tally.key, EjectedBy::FailurePercentage, now));
                    }
                }
            }
        }
        for (key, record) in &mut self.records {
            match record.until {
                Some(until) if until <= now => {
                    record.until = None;
                    verdicts.push(Verdict::Return { key: *key });
                }
                Some(_) => {}
                None => record.multiplier = record.multiplier.saturating_sub(1),
            }
        }
        verdicts
    }

    fn is_ejected(&self, key: u64) -> bool {
        self.records.get(&key).is_some_and(|record| record.until.is_some())
    }

    /// Not if too many are already, and not the last that could take calls.
    fn may_eject(&self, tallies: &[Tally], tally: &Tally) -> bool {
        let ejected = self.records.values().filter(|record| record.until.is_some()).count();
        let most = usize::try_from(self.config.max_ejection_percent).unwrap_or(usize::MAX);
        let in_service = |other: &&Tally| other.ready && !self.is_ejected(other.key);
        !self.is_ejected(tally.key)
            && ejected.saturating_mul(100) < self.records.len().saturating_mul(most)
            && tallies.iter().filter(|other| other.key != tally.key).any(|it| in_service(&it))
    }

    fn eject(&mut self, key: u64, by: EjectedBy, now: Instant) -> Verdict {
        let OutlierDetection { base_ejection_time: base, max_ejection_time: max, .. } = self.config;
        let record = self.records.entry(key).or_default();
        record.multiplier = record.multiplier.saturating_add(1);
        let until = now + base.saturating_mul(record.multiplier).min(base.max(max));
        record.until = Some(until);
        Verdict::Eject { key, by, until }
    }
}

/// The mean and the standard deviation.
#[allow(clippy::cast_precision_loss)] // There are not that many endpoints.
fn distribution(rates: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = rates.clone().count() as f64;
    let mean = rates.clone().sum::<f64>() / count;
    let variance = rates.map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::EjectedBy::{FailurePercentage as ByFailures, SuccessRate as ByRate};
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn tally(key: u64, ok: u32, failed: u32) -> Tally {
        Tally { key, ok, failed, ready: true }
    }

    /// As many that are well; then these.
    fn beside(well: u64, others: &[(u32, u32)]) -> Vec<Tally> {
        let well = (0..well).map(|key| tally(key, 1000, 0));
        let others = (100..).zip(others).map(|(key, &(ok, failed))| tally(key, ok, failed));
        well.chain(others).collect()
    }

    fn rate_alone() -> OutlierDetection {
        OutlierDetection { failure_percentage: None, ..OutlierDetection::default() }
    }

    fn failures_alone() -> OutlierDetection {
        OutlierDetection {
            success_rate: None,
            max_ejection_percent: 50,
            ..OutlierDetection::default()
        }
    }

    fn keys(verdicts: &[Verdict]) -> Vec<(u64, Option<EjectedBy>)> {
        let key = |verdict: &Verdict| match *verdict {
            Verdict::Eject { key, by, .. } => (key, Some(by)),
            Verdict::Return { key } => (key, None),
        };
        verdicts.iter().map(key).collect()
    }

    fn sweep(config: OutlierDetection, tallies: &[Tally]) -> Vec<(u64, Option<EjectedBy>)> {
        keys(&Detector::new(config).sweep(tallies, Instant::now(), || 0))
    }

    #[test]
    fn one_far_below_the_mean_is_ejected() {
        assert_eq!(sweep(rate_alone(), &beside(9, &[(500, 500)])), [(100, Some(ByRate))]);
        assert_eq!(sweep(rate_alone(), &beside(10, &[])), []);
    }

    #[test]
    fn what_is_within_the_deviations_stays() {
        // Half of them fail half of their calls: 0.75 in the mean, 0.25 off it.
        let tallies: Vec<_> =
            (0..10).map(|key| tally(key, 1000, if key % 2 == 0 { 0 } else { 1000 })).collect();
        assert_eq!(sweep(rate_alone(), &tallies), []);
    }

    #[test]
    fn one_that_fails_nearly_all_is_ejected() {
        let tallies = beside(9, &[(10, 90)]);
        assert_eq!(sweep(failures_alone(), &tallies), [(100, Some(ByFailures))]);
        assert_eq!(sweep(failures_alone(), &beside(9, &[(15, 85)])), [], "85 % are not more");
    }

    #[test]
    fn few_calls_and_few_hosts_say_nothing() {
        assert_eq!(sweep(OutlierDetection::default(), &beside(9, &[(0, 49)])), []);
        assert_eq!(sweep(OutlierDetection::default(), &beside(3, &[(0, 1000)])), []);
        let mut quiet = beside(3, &[(0, 1000)]);
        quiet.extend((50..60).map(|key| tally(key, 10, 0)));
        assert_eq!(sweep(OutlierDetection::default(), &quiet), [], "hosts with too few calls");
    }

    #[test]
    fn no_more_than_the_share_are_ejected_at_a_time() {
        let all_fail: Vec<_> = (0..20).map(|key| tally(key, 0, 1000)).collect();
        let config = OutlierDetection { max_ejection_percent: 10, ..failures_alone() };
        assert_eq!(sweep(config, &all_fail).len(), 2);
    }

    #[test]
    fn the_last_that_is_ready_is_never_ejected() {
        let config = OutlierDetection { max_ejection_percent: 100, ..failures_alone() };
        let mut all_fail: Vec<_> = (0..8).map(|key| tally(key, 0, 1000)).collect();
        assert_eq!(sweep(config.clone(), &all_fail).len(), 7);
        all_fail.iter_mut().skip(1).for_each(|tally| tally.ready = false);
        assert!(!sweep(config, &all_fail).contains(&(0, Some(ByFailures))));
    }

    #[test]
    fn enforcement_is_a_probability() {
        let tallies = beside(9, &[(0, 100)]);
        let mut config = failures_alone();
        config.failure_percentage =
            Some(FailurePercentage { enforcement_percent: 30, ..FailurePercentage::default() });
        let ejects =
            |draw| Detector::new(config.clone()).sweep(&tallies, Instant::now(), || draw).len();
        assert_eq!((ejects(29), ejects(30)), (1, 0));
    }

    #[test]
    fn the_ejection_grows_with_each_and_shrinks_with_each_good_interval() {
        let mut detector = Detector::new(failures_alone());
        let (bad, good) = (beside(9, &[(0, 100)]), beside(9, &[(100, 0)]));
        let start = Instant::now();
        let mut now = start;
        let seconds = |verdicts: &[Verdict], now: Instant| match verdicts {
            [Verdict::Eject { until, .. }] => (*until - now).as_secs(),
            other => panic!("{other:?}"),
        };
        for expected in [30, 60, 90] {
            assert_eq!(seconds(&detector.sweep(&bad, now, || 0), now), expected);
            // Ejected, it gets no calls; the return comes with the interval in which the time is over.
            while detector.is_ejected(100) {
                now += INTERVAL;
                let returned = detector.sweep(&beside(9, &[(0, 0)]), now, || 0);
                assert!(returned.len() <= 1);
            }
        }
        // Two good intervals: from three to one, and the next is the second again.
        for _ in 0..2 {
            now += INTERVAL;
            assert_eq!(detector.sweep(&good, now, || 0), []);
        }
        assert_eq!(seconds(&detector.sweep(&bad, now, || 0), now), 60);
    }

    #[test]
    fn no_ejection_is_longer_than_the_longest() {
        let config =
            OutlierDetection { max_ejection_time: Duration::from_secs(70), ..failures_alone() };
        let mut detector = Detector::new(config);
        let mut now = Instant::now();
        for expected in [30, 60, 70, 70] {
            let verdicts = detector.sweep(&beside(9, &[(0, 100)]), now, || 0);
            let [Verdict::Eject { until, .. }] = verdicts[..] else { panic!("{verdicts:?}") };
            assert_eq!((until - now).as_secs(), expected);
            now = until;
            assert_eq!(keys(&detector.sweep(&[tally(100, 0, 0)], now, || 0)), [(100, None)]);
        }
    }

    #[test]
    fn those_that_are_ejected_return_when_no_other_can_take_calls() {
        let mut detector = Detector::new(failures_alone());
        detector.sweep(&beside(9, &[(0, 100)]), Instant::now(), || 0);
        assert_eq!(keys(&detector.return_all()), [(100, None)]);
        assert!(!detector.is_ejected(100));
        assert_eq!(detector.return_all(), []);
    }

    #[test]
    fn an_endpoint_that_is_gone_is_forgotten() {
        let mut detector = Detector::new(failures_alone());
        detector.sweep(&beside(9, &[(0, 100)]), Instant::now(), || 0);
        detector.sweep(&beside(9, &[]), Instant::now(), || 0);
        assert!(!detector.is_ejected(100));
        assert_eq!(detector.records.len(), 9);
    }
}
