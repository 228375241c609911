//! From samples to Prometheus' text format.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::family::{Family, Kind};
use crate::registry::Collected;
use crate::sample::Point;

/// Families by name in order, each once, its series by pool.
pub(crate) fn text(pools: &[Collected]) -> String {
    let mut families: BTreeMap<&str, MetricFamily> = BTreeMap::new();
    for pool in pools {
        for point in pool.sample.points() {
            let family = match families.entry(point.series.family.name()) {
                Entry::Occupied(family) => family.into_mut(),
                Entry::Vacant(place) => place.insert(head(point.series.family)),
            };
            let kind = family.get_field_type();
            family.mut_metric().push(metric(&pool.name, point, kind));
        }
    }
    let families: Vec<_> = families.into_values().collect();
    TextEncoder::new()
        .encode_to_string(&families)
        .unwrap_or_else(|error| unreachable!("bug: a family without name or series: {error}"))
}

fn head(family: &Family) -> MetricFamily {
    let mut head = MetricFamily::default();
    head.set_name(family.name().to_owned());
    head.set_help(family.help().to_owned());
    head.set_field_type(match family.kind() {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
    });
    head
}

// The kind is the head's and not the point's: two sources may use one name for two kinds, and the
// encoder reads the value from where the head's kind has it.
fn metric(pool: &str, point: &Point, kind: MetricType) -> Metric {
    let mut labels = vec![label("pool", pool)];
    if let Some((name, value)) = point.series.label {
        labels.push(label(name, value));
    }
    let mut metric = Metric::from_label(labels);
    let value = point.value as f64;
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
