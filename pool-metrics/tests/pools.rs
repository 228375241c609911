//! The series of a real pool.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{CreateContext, EndReason, GetOptions, Manager, Pool, SharedManager, SharedPool};
use pool_metrics::Registry;

struct Numbers;

impl Manager for Numbers {
    type Resource = u32;
    type Error = Infallible;

    async fn create(&self, _cx: &CreateContext) -> Result<u32, Infallible> {
        Ok(1)
    }
}

impl SharedManager for Numbers {}

/// Fails once.
#[derive(Default)]
struct Stumbling(AtomicBool);

impl Manager for Stumbling {
    type Resource = u32;
    type Error = io::Error;

    async fn create(&self, _cx: &CreateContext) -> io::Result<u32> {
        if self.0.swap(true, Ordering::SeqCst) { Ok(1) } else { Err(io::Error::other("stumbled")) }
    }
}

/// A scrape as Prometheus would read it: values by series, after the checks of its lint.
fn read(registry: &Registry) -> BTreeMap<String, String> {
    let text = registry.render();
    let mut helped = BTreeSet::new();
    let mut kinds = BTreeMap::new();
    let mut series = BTreeMap::new();
    assert!(text.ends_with('\n'), "the last line is ended");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and its help");
            assert!(!help.is_empty(), "{name} has no help");
            assert!(helped.insert(name), "{name} is there twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and its type");
            assert!(helped.contains(name), "{name} has no help before its type");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            let of_a_time = name.contains("_time_")
                || name.contains("_timestamp_")
                || name.contains("duration");
            assert_eq!(of_a_time, name.ends_with("_seconds"), "{name} says its base unit");
            for suffix in ["_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(suffix), "{name} ends in what belongs to a histogram");
            }
            kinds.insert(name, kind);
        } else {
            let (key, value) = line.rsplit_once(' ').expect("a series and its value");
            assert!(value.parse::<f64>().is_ok(), "{line} has no number");
            if key != "pool_scrape_duration_seconds" {
                let (name, labels) = key.split_once('{').expect("labels");
                let family = ["_bucket", "_sum", "_count"]
                    .into_iter()
                    .filter_map(|suffix| name.strip_suffix(suffix))
                    .find(|family| kinds.get(family) == Some(&"histogram"));
                let family = family.unwrap_or(name);
                assert!(kinds.contains_key(family), "{family} has no type before its series");
                assert!(labels.starts_with("pool=\""), "{key} does not say of which pool");
            }
            assert!(
                series.insert(key.to_owned(), value.to_owned()).is_none(),
                "{key} is there twice"
            );
        }
    }
    assert_eq!(helped.len(), kinds.len());
    series
}

/// What there is in whole numbers.
fn scrape(registry: &Registry) -> BTreeMap<String, u64> {
    let series = read(registry).into_iter();
    series.filter_map(|(key, value)| Some((key, value.parse().ok()?))).collect()
}

#[test]
fn a_pool_has_all_of_its_series_from_the_beginning() {
    let registry = Registry::new();
    let pool = Pool::builder(Numbers).max_size(3).build().unwrap();
    registry.register("p", &pool).unwrap();
    let series = read(&registry);

    let mut expected: BTreeSet<String> = [
        "pool_acquire_waits_total",
        "pool_acquires_pending",
        "pool_acquires_started_total",
        "pool_connections_created_total",
        "pool_connections_idle_max",
        "pool_connections_idle_min",
        "pool_connections_max",
        "pool_connections_min",
        "pool_create_failures_total",
        "pool_last_create_failure_timestamp_seconds",
        "pool_leases",
        "pool_places",
        "pool_waiters",
        "pool_wait_time_seconds_count",
        "pool_wait_time_seconds_sum",
    ]
    .into_iter()
    .map(|name| format!("{name}{{pool=\"p\"}}"))
    .chain(["pool_scrape_duration_seconds".to_owned()])
    .collect();
    let mut by = |name: &str, label: &str, value: &str| {
        expected.insert(format!("{name}{{pool=\"p\",{label}=\"{value}\"}}"));
    };
    for state in ["connecting", "idle", "used", "draining", "closing"] {
        by("pool_connections", "state", state);
    }
    for outcome in ["ok", "timeout", "cancelled", "closed", "error", "rejected", "shed", "paused"] {
        by("pool_acquires_total", "outcome", outcome);
    }
    for reason in EndReason::ALL {
        by("pool_connections_closed_total", "reason", reason.as_str());
    }
    by("pool_info", "version", &format!("{}\",manager=\"Numbers", env!("CARGO_PKG_VERSION")));
    let bounds = [
        "0.0001", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25",
        "0.5", "1", "2.5", "5", "10", "30", "60", "+Inf",
    ];
    for bound in bounds {
        by("pool_wait_time_seconds_bucket", "le", bound);
    }
    for (name, outcomes) in [
        ("pool_create_time_seconds", ["ok", "error", "timeout"]),
        ("pool_check_time_seconds", ["ok", "failed", "timeout"]),
    ] {
        for outcome in outcomes {
            by(&format!("{name}_sum"), "outcome", outcome);
            by(&format!("{name}_count"), "outcome", outcome);
            for bound in bounds {
                let more = format!("{outcome}\",le=\"{bound}");
                by(&format!("{name}_bucket"), "outcome", &more);
            }
        }
    }
    assert_eq!(series.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (key, value) in series {
        let wanted = match key.split('{').next() {
            Some("pool_connections_max" | "pool_connections_idle_max") => "3",
            Some("pool_info") => "1",
            Some("pool_scrape_duration_seconds") => continue,
            Some(name) if name.ends_with("_seconds") || name.ends_with("_sum") => "0.0",
            _ => "0",
        };
        assert_eq!(value, wanted, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scrape_follows_a_pool_through_its_life() {
    let registry = Registry::new();
    let pool = Pool::builder(Numbers).max_size(2).build().unwrap();
    registry.register("p", &pool).unwrap();

    let (first, second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let timed_out = pool.get_with(GetOptions::new().timeout(Duration::from_secs(1))).await;
    assert!(timed_out.is_err());
    {
        let mut waiting = std::pin::pin!(pool.get());
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("there is nothing to get"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(scrape(&registry)["pool_waiters{pool=\"p\"}"], 1);
    }
    drop(first);

    let series = scrape(&registry);
    let connections = |state| series[&format!("pool_connections{{pool=\"p\",state=\"{state}\"}}")];
    assert_eq!((connections("idle"), connections("used")), (1, 1));
    assert_eq!(connections("connecting"), 0);
    let acquires =
        |outcome| series[&format!("pool_acquires_total{{pool=\"p\",outcome=\"{outcome}\"}}")];
    assert_eq!((acquires("ok"), acquires("timeout"), acquires("cancelled")), (2, 1, 1));
    assert_eq!(series["pool_waiters{pool=\"p\"}"], 0);
    assert_eq!(series["pool_leases{pool=\"p\"}"], 1);
    assert_eq!(series["pool_connections_created_total{pool=\"p\"}"], 2);
    // The first two had to wait for their connections, the other two for a holder.
    assert_eq!(series["pool_acquire_waits_total{pool=\"p\"}"], 4);
    assert_eq!(series["pool_wait_time_seconds_count{pool=\"p\"}"], 4);

    pool_core::Lease::discard(second);
    let series = scrape(&registry);
    assert_eq!(series["pool_connections_closed_total{pool=\"p\",reason=\"discarded\"}"], 1);
}

/// A manager of many types.
struct Numbered<T>(T);

impl<T: Send + Sync + 'static> Manager for Numbered<T> {
    type Resource = u32;
    type Error = Infallible;

    async fn create(&self, _cx: &CreateContext) -> Result<u32, Infallible> {
        Ok(1)
    }
}

#[test]
fn a_manager_is_named_without_where_it_is_and_what_it_is_made_of() {
    let registry = Registry::new();
    let pool = Pool::builder(Numbered(Some(Duration::ZERO))).build().unwrap();
    registry.register("p", &pool).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let info = format!("pool_info{{pool=\"p\",version=\"{version}\",manager=\"Numbered\"}}");
    assert_eq!(scrape(&registry)[&info], 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_creation_is_counted() {
    let registry = Registry::new();
    let pool = Pool::builder(Stumbling::default()).build().unwrap();
    registry.register("p", &pool).unwrap();
    let _lease = pool.get().await.unwrap();
    let series = scrape(&registry);
    assert_eq!(series["pool_create_failures_total{pool=\"p\"}"], 1);
    assert_eq!(series["pool_create_time_seconds_count{pool=\"p\",outcome=\"error\"}"], 1);
    assert_eq!(series["pool_create_time_seconds_count{pool=\"p\",outcome=\"ok\"}"], 1);
    let failed = &read(&registry)["pool_last_create_failure_timestamp_seconds{pool=\"p\"}"];
    // It is this century.
    assert!(failed.parse::<f64>().unwrap() > 9.0e8, "{failed}");
    assert_eq!(series["pool_connections_created_total{pool=\"p\"}"], 1);
}

#[tokio::test(start_paused = true)]
async fn times_of_leases_are_there_where_the_pool_takes_them() {
    let registry = Registry::new();
    let pool = Pool::builder(Numbers).time_leases(true).build().unwrap();
    registry.register("p", &pool).unwrap();
    let lease = pool.get().await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    drop(lease);
    let series = scrape(&registry);
    assert_eq!(series["pool_use_time_seconds_bucket{pool=\"p\",le=\"0.5\"}"], 0);
    assert_eq!(series["pool_use_time_seconds_bucket{pool=\"p\",le=\"1\"}"], 1);
}

/// Gets of all outcomes by several threads, and scrapes meanwhile.
#[test]
fn every_attempt_that_began_has_ended_or_is_pending_at_every_scrape() {
    let registry = Registry::new();
    let pool = Pool::builder(Stumbling::default()).max_size(2).max_waiters(3).build().unwrap();
    registry.register("p", &pool).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // The callers' own books.
    let (begun, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..8_u64)
        .map(|task| {
            let (pool, begun, over) = (pool.clone(), Arc::clone(&begun), Arc::clone(&over));
            runtime.spawn(async move {
                for round in 0..400 {
                    let options =
                        GetOptions::new().timeout(Duration::from_micros(100 * (round % 9)));
                    begun.fetch_add(1, Ordering::SeqCst);
                    let lease = pool.get_with(options).await;
                    over.fetch_add(1, Ordering::SeqCst);
                    if (task + round) % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    drop(lease);
                }
            })
        })
        .collect();
    let (mut before, mut scrapes) = (0, 0);
    while scrapes < 3 || !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        let were_over = over.load(Ordering::SeqCst);
        let series = scrape(&registry);
        let have_begun = begun.load(Ordering::SeqCst);
        let of = |name: &str| -> u64 {
            let of = format!("{name}{{");
            series.iter().filter(|(key, _)| key.starts_with(&of)).map(|(_, value)| value).sum()
        };
        let (started, ended) = (of("pool_acquires_started_total"), of("pool_acquires_total"));
        let (pending, waiting) = (of("pool_acquires_pending"), of("pool_waiters"));
        assert_eq!(started, ended + pending, "{series:?}");
        assert!(started <= have_begun, "{started} of {have_begun}: {series:?}");
        assert!(ended >= were_over, "{ended} of {were_over}: {series:?}");
        assert!(pending >= waiting && pending <= 8, "{pending} with {waiting}: {series:?}");
        assert!(started >= before, "a counter fell from {before} to {started}");
        before = started;
        scrapes += 1;
    }
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    let series = scrape(&registry);
    assert_eq!(series["pool_acquires_started_total{pool=\"p\"}"], 8 * 400);
    assert_eq!(series["pool_acquires_pending{pool=\"p\"}"], 0);
}

#[tokio::test]
async fn a_shared_connection_has_more_leases_than_one() {
    let registry = Registry::new();
    let pool = SharedPool::builder(Numbers).max_size(1).places(3).build().unwrap();
    registry.register("p", &pool).unwrap();
    let _leases = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let series = scrape(&registry);
    assert_eq!(series["pool_connections{pool=\"p\",state=\"used\"}"], 1);
    assert_eq!(series["pool_leases{pool=\"p\"}"], 2);
    assert_eq!(series["pool_places{pool=\"p\"}"], 3);
}

#[tokio::test]
async fn a_dropped_pool_is_gone_from_the_next_scrape() {
    let registry = Registry::new();
    let pool = Pool::builder(Numbers).build().unwrap();
    registry.register("p", &pool).unwrap();
    drop(pool.get().await.unwrap());
    assert!(!scrape(&registry).is_empty());
    drop(pool);
    assert_eq!(registry.render(), "");
}

#[test]
fn the_pools_of_a_process_share_one_registry() {
    let pool = Pool::builder(Numbers).build().unwrap();
    pool_metrics::register("shared by all", &pool).unwrap();
    assert!(pool_metrics::register("shared by all", &pool).is_err());
    assert!(pool_metrics::render().contains("pool=\"shared by all\""));
    assert!(pool_metrics::unregister("shared by all"));
}
