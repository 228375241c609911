//! Dashboards and rules speak of metrics that there are, and alerts of sections that there are.

#![cfg(feature = "calls")]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pool_core::{CreateContext, Manager, Pool};
use pool_metrics::{CallMetrics, Registry};
use pool_tonic::ChannelPool;

struct Numbers;

impl Manager for Numbers {
    type Resource = ();
    type Error = std::convert::Infallible;

    async fn create(&self, _cx: &CreateContext) -> Result<(), Self::Error> {
        Ok(())
    }
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap()
}

/// The words of our metrics in a text: those that rules record have colons, and are no words of it.
fn names(text: &str) -> BTreeSet<&str> {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_of_a_name(c));
    let starts = ["pool_", "grpc_pool_", "grpc_subchannel_", "grpc_client_"];
    let ours = |word: &&str| starts.iter().any(|start| word.starts_with(start));
    words.filter(ours).filter(|word| !word.contains(':') && *word != "pool_metrics").collect()
}

#[tokio::test]
async fn every_metric_that_dashboards_and_rules_name_is_exported() {
    let pool = Pool::builder(Numbers).build().unwrap();
    let channels = ChannelPool::builder("http://localhost:1").build().unwrap();
    let registry = Registry::new();
    registry.register("numbers", &pool).unwrap();
    registry.register("channels", &(&channels, &CallMetrics::new([]))).unwrap();
    let scrape = registry.render();
    let exported: BTreeSet<_> = scrape
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for path in ["alerts/pools.yml", "dashboards/pool-overview.json", "dashboards/pool-grpc.json"] {
        let text = text(path);
        let unknown: Vec<_> = names(&text).difference(&exported).copied().collect();
        assert!(unknown.is_empty(), "{path} speaks of {unknown:?}");
    }
}

#[test]
fn every_alert_has_a_section_on_what_to_do() {
    let rules = text("alerts/pools.yml");
    let runbook = text("../docs/alerts.md");
    let alerts: Vec<_> =
        rules.lines().filter_map(|it| it.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(rules.matches("runbook: docs/alerts.md#").count(), alerts.len());
    for alert in alerts {
        let anchor = format!("runbook: docs/alerts.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&anchor), "{alert} has no runbook");
        assert!(runbook.contains(&format!("\n## {alert}\n")), "{alert} has no section");
    }
}
