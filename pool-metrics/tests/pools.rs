//! The series of a real pool.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
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
fn scrape(registry: &Registry) -> BTreeMap<String, u64> {
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
            kinds.insert(name, kind);
        } else {
            let (key, value) = line.rsplit_once(' ').expect("a series and its value");
            let (name, labels) = key.split_once('{').expect("labels");
            assert!(kinds.contains_key(name), "{name} has no type before its series");
            assert!(labels.starts_with("pool=\""), "{key} does not say of which pool");
            let value = value.parse().unwrap_or_else(|_| panic!("{line} is not a whole number"));
            assert!(series.insert(key.to_owned(), value).is_none(), "{key} is there twice");
        }
    }
    assert_eq!(helped.len(), kinds.len());
    series
}

#[test]
fn a_pool_has_all_of_its_series_from_the_beginning() {
    let registry = Registry::new();
    let pool = Pool::builder(Numbers).max_size(3).build().unwrap();
    registry.register("p", &pool).unwrap();
    let series = scrape(&registry);

    let mut expected: BTreeSet<String> = [
        "pool_acquire_waits_total",
        "pool_connections_created_total",
        "pool_connections_max",
        "pool_connections_min",
        "pool_create_failures_total",
        "pool_leases",
        "pool_places",
        "pool_waiters",
    ]
    .into_iter()
    .map(|name| format!("{name}{{pool=\"p\"}}"))
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
    assert_eq!(series.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (key, value) in series {
        let wanted = if key.starts_with("pool_connections_max") { 3 } else { 0 };
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

    pool_core::Lease::discard(second);
    let series = scrape(&registry);
    assert_eq!(series["pool_connections_closed_total{pool=\"p\",reason=\"discarded\"}"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_creation_is_counted() {
    let registry = Registry::new();
    let pool = Pool::builder(Stumbling::default()).build().unwrap();
    registry.register("p", &pool).unwrap();
    let _lease = pool.get().await.unwrap();
    let series = scrape(&registry);
    assert_eq!(series["pool_create_failures_total{pool=\"p\"}"], 1);
    assert_eq!(series["pool_connections_created_total{pool=\"p\"}"], 1);
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
