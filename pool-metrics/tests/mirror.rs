//! The numbers as a recorder of the `metrics` facade gets them.

mod support;

use std::collections::HashMap;
use std::time::Duration;

use metrics::{set_default_local_recorder, with_local_recorder};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pool_metrics::{Mirror, MirrorError, Registry};
use support::Fake;

/// What the recorder has, by `name{label=value,...}`. Reading resets the recorder.
fn read(snapshotter: &Snapshotter) -> HashMap<String, u64> {
    let series = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
        let key = key.key();
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(value) => value,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            DebugValue::Gauge(value) => value.into_inner() as u64,
            DebugValue::Histogram(_) => panic!("no histograms"),
        };
        (format!("{}{{{}}}", key.name(), labels.join(",")), value)
    });
    series.collect()
}

#[test]
fn a_recorder_gets_what_a_scrape_shows() {
    let recorder = DebuggingRecorder::new();
    let registry = Registry::new();
    let fake = Fake::new(7, 2);
    registry.register("p", &fake).unwrap();
    with_local_recorder(&recorder, || Mirror::new(&registry).sync());
    let read = read(&recorder.snapshotter());
    assert_eq!(read["fake_served_total{pool=p}"], 7);
    assert_eq!(read["fake_open{pool=p,state=busy}"], 2);
    assert_eq!(read["fake_open{pool=p,state=idle}"], 0);
    assert_eq!(read.len(), 3);
}

#[test]
fn a_recorder_is_told_what_the_numbers_mean() {
    let recorder = DebuggingRecorder::new();
    let registry = Registry::new();
    let fake = Fake::new(7, 2);
    registry.register("p", &fake).unwrap();
    with_local_recorder(&recorder, || Mirror::new(&registry).sync());
    for (key, _, help, _) in recorder.snapshotter().snapshot().into_vec() {
        let help = help.unwrap_or_else(|| panic!("{} is not described", key.key()));
        assert!(!help.is_empty());
    }
}

#[test]
fn the_gauges_of_a_dropped_pool_fall_to_zero() {
    let recorder = DebuggingRecorder::new();
    let registry = Registry::new();
    let fake = Fake::new(7, 2);
    registry.register("p", &fake).unwrap();
    with_local_recorder(&recorder, || {
        let mut mirror = Mirror::new(&registry);
        mirror.sync();
        drop(fake);
        mirror.sync();
    });
    let read = read(&recorder.snapshotter());
    assert_eq!(read["fake_open{pool=p,state=busy}"], 0);
    assert_eq!(read["fake_served_total{pool=p}"], 7, "a counter stays");
}

#[test]
fn a_counter_goes_on_when_its_name_goes_to_another_pool() {
    let recorder = DebuggingRecorder::new();
    let registry = Registry::new();
    let first = Fake::new(7, 2);
    registry.register("p", &first).unwrap();
    with_local_recorder(&recorder, || {
        let mut mirror = Mirror::new(&registry);
        mirror.sync();
        drop(first);
        let second = Fake::new(3, 1);
        registry.register("p", &second).unwrap();
        mirror.sync();
        second.set(4, 1);
        mirror.sync();
    });
    let read = read(&recorder.snapshotter());
    assert_eq!(read["fake_served_total{pool=p}"], 11);
    assert_eq!(read["fake_open{pool=p,state=busy}"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_started_mirror_follows_at_its_interval_and_once_more_at_its_end() {
    let recorder = DebuggingRecorder::new();
    let _local = set_default_local_recorder(&recorder);
    let registry = Registry::new();
    let fake = Fake::new(1, 0);
    registry.register("p", &fake).unwrap();
    let served = || read(&recorder.snapshotter()).get("fake_served_total{pool=p}").copied();

    let mirroring = Mirror::new(&registry).start(Duration::from_secs(10)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(served(), Some(1), "at once");
    fake.set(2, 0);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(served(), Some(0), "not before its time: the recorder was reset by reading");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(served(), Some(2));
    fake.set(3, 0);
    mirroring.stop().await;
    assert_eq!(served(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_mirror_stops() {
    let recorder = DebuggingRecorder::new();
    let _local = set_default_local_recorder(&recorder);
    let registry = Registry::new();
    let fake = Fake::new(1, 0);
    registry.register("p", &fake).unwrap();
    let mirroring = Mirror::new(&registry).start(Duration::from_secs(10)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(mirroring);
    tokio::time::sleep(Duration::from_secs(1)).await;
    read(&recorder.snapshotter());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(read(&recorder.snapshotter())["fake_served_total{pool=p}"], 0);
}

#[test]
fn a_mirror_needs_a_runtime_and_an_interval() {
    let registry = Registry::new();
    let start = |interval| Mirror::new(&registry).start(interval).unwrap_err();
    assert_eq!(start(Duration::from_secs(1)), MirrorError::NoRuntime);
    assert_eq!(start(Duration::ZERO), MirrorError::ZeroInterval);
}
