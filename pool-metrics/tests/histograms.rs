//! Histograms in a scrape, and at a recorder.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::with_local_recorder;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pool_metrics::{Family, Histogram, Labelled, Mirror, Probe, Registry, Sample, Source};
use support::{Fake, scrape};

static PACKING: Family = Family::histogram("packing_time_seconds", "How long packing took.");
static SENDING: Labelled =
    Family::histogram("sending_time_seconds", "How long sending took.").by("outcome");
static LATEST: Family = Family::gauge("latest_timestamp_seconds", "When it was.");

/// How many took up to a tenth of a second, up to a second, and longer.
#[derive(Clone)]
struct Parcels(Arc<Mutex<[u64; 3]>>);

impl Parcels {
    fn new(counts: [u64; 3]) -> Self {
        Self(Arc::new(Mutex::new(counts)))
    }

    fn set(&self, counts: [u64; 3]) {
        *self.0.lock().expect("nobody panics under it") = counts;
    }
}

impl Source for Parcels {
    fn probe(&self) -> Probe {
        let counts = Arc::downgrade(&self.0);
        Probe::new(move || {
            let counts = *counts.upgrade()?.lock().expect("nobody panics under it");
            let mut sample = Sample::new();
            sample.set_histogram(&PACKING, Histogram::new(&[0.1, 1.0], &counts, 7.25));
            sample.set_histogram_by(&SENDING, "ok", Histogram::new(&[2.5], &[1, 0], 0.5));
            sample.set_float(&LATEST, 0.75);
            Some(sample)
        })
    }
}

#[test]
fn a_histogram_has_its_buckets_its_sum_and_its_count() {
    let registry = Registry::new();
    let parcels = Parcels::new([3, 0, 1]);
    registry.register("p", &parcels).unwrap();
    let expected = "\
# HELP latest_timestamp_seconds When it was.
# TYPE latest_timestamp_seconds gauge
latest_timestamp_seconds{pool=\"p\"} 0.75
# HELP packing_time_seconds How long packing took.
# TYPE packing_time_seconds histogram
packing_time_seconds_bucket{pool=\"p\",le=\"0.1\"} 3
packing_time_seconds_bucket{pool=\"p\",le=\"1\"} 3
packing_time_seconds_bucket{pool=\"p\",le=\"+Inf\"} 4
packing_time_seconds_sum{pool=\"p\"} 7.25
packing_time_seconds_count{pool=\"p\"} 4
# HELP sending_time_seconds How long sending took.
# TYPE sending_time_seconds histogram
sending_time_seconds_bucket{pool=\"p\",outcome=\"ok\",le=\"2.5\"} 1
sending_time_seconds_bucket{pool=\"p\",outcome=\"ok\",le=\"+Inf\"} 1
sending_time_seconds_sum{pool=\"p\",outcome=\"ok\"} 0.5
sending_time_seconds_count{pool=\"p\",outcome=\"ok\"} 1
";
    assert_eq!(scrape(&registry), expected);
}

#[test]
fn openmetrics_has_the_same_and_says_where_it_ends() {
    let registry = Registry::new();
    let (parcels, fake) = (Parcels::new([3, 0, 1]), Fake::new(7, 2));
    registry.register("p", &parcels).unwrap();
    registry.register("f\n", &fake).unwrap();
    let text = registry.render_openmetrics();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    for line in [
        "# TYPE packing_time_seconds histogram",
        "packing_time_seconds_bucket{le=\"1.0\",pool=\"p\"} 3",
        "packing_time_seconds_bucket{le=\"+Inf\",pool=\"p\"} 4",
        "packing_time_seconds_sum{pool=\"p\"} 7.25",
        // A counter's family is named without what its series ends in.
        "# TYPE fake_served counter",
        r#"# HELP fake_served Served by \\ a \"fake\"."#,
        "fake_served_total{pool=\"f\\n\"} 7",
        "fake_open{pool=\"f\\n\",state=\"busy\"} 2",
    ] {
        assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
    }
}

/// A name that two sources use for two kinds.
struct Contrary(Arc<()>);

impl Source for Contrary {
    fn probe(&self) -> Probe {
        static PACKING: Family = Family::gauge("packing_time_seconds", "A gauge.");
        let alive = Arc::downgrade(&self.0);
        Probe::new(move || {
            alive.upgrade()?;
            let mut sample = Sample::new();
            sample.set(&PACKING, 1);
            Some(sample)
        })
    }
}

#[test]
fn a_series_of_another_kind_than_its_familys_is_left_out() {
    let registry = Registry::new();
    let (parcels, contrary) = (Parcels::new([3, 0, 1]), Contrary(Arc::new(())));
    registry.register("a", &parcels).unwrap();
    registry.register("b", &contrary).unwrap();
    let text = registry.render();
    assert!(text.contains("packing_time_seconds_count{pool=\"a\"} 4\n"), "{text}");
    assert!(!text.contains("packing_time_seconds{pool=\"b\"}"), "{text}");
}

/// The values that a recorder has been given of packing times. Reading resets the recorder.
fn packed(snapshotter: &Snapshotter) -> BTreeMap<String, usize> {
    let mut values = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        if let (PACKING_NAME, DebugValue::Histogram(recorded)) = (key.key().name(), value) {
            for value in recorded {
                *values.entry(format!("{value:.3}")).or_default() += 1;
            }
        }
    }
    values
}

const PACKING_NAME: &str = PACKING.name();

#[test]
fn a_recorder_gets_what_has_come_since_the_last_time() {
    let recorder = DebuggingRecorder::new();
    let registry = Registry::new();
    let parcels = Parcels::new([2, 1, 0]);
    registry.register("p", &parcels).unwrap();
    let mut mirror = Mirror::new(&registry);
    let snapshotter = recorder.snapshotter();
    let values = |pairs: &[(&str, usize)]| -> BTreeMap<String, usize> {
        pairs.iter().map(|&(value, count)| (value.to_owned(), count)).collect()
    };
    with_local_recorder(&recorder, || {
        mirror.sync();
        assert_eq!(packed(&snapshotter), values(&[("0.050", 2), ("0.550", 1)]));
        mirror.sync();
        assert_eq!(packed(&snapshotter), values(&[]));
        parcels.set([2, 2, 3]);
        mirror.sync();
        assert_eq!(packed(&snapshotter), values(&[("0.550", 1), ("2.000", 3)]));

        // The next pool of the name begins anew.
        registry.unregister("p");
        let next = Parcels::new([1, 0, 0]);
        registry.register("p", &next).unwrap();
        mirror.sync();
        assert_eq!(packed(&snapshotter), values(&[("0.050", 1)]));
    });
}

#[test]
fn a_recorder_gets_some_of_very_many() {
    let recorder = DebuggingRecorder::new();
    let registry = Registry::new();
    let parcels = Parcels::new([3_000_000, 999_995, 5]);
    registry.register("p", &parcels).unwrap();
    let snapshotter = recorder.snapshotter();
    let mut mirror = Mirror::new(&registry);
    with_local_recorder(&recorder, || {
        mirror.sync();
        let values = [("0.050", 7_500), ("0.550", 2_500), ("2.000", 1)];
        let values = values.map(|(value, count)| (value.to_owned(), count));
        assert_eq!(packed(&snapshotter), BTreeMap::from(values));
        mirror.sync();
        assert_eq!(packed(&snapshotter), BTreeMap::new(), "the others do not follow");
    });
}
