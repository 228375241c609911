//! From samples to the text formats of Prometheus and OpenMetrics.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
    prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry;

use crate::family::{Family, Kind};
use crate::registry::Collected;
use crate::sample::{Point, Value};

static SCRAPE_DURATION: Family = Family::gauge(
    "pool_scrape_duration_seconds",
    "How long it took to collect the numbers of all pools for this scrape.",
);

/// What was collected for one scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) pools: Vec<Collected>,
    pub(crate) took: Duration,
}

/// Prometheus' text format 0.0.4.
pub(crate) fn text(scrape: Scrape) -> String {
    // It escapes what it is given.
    written(scrape, |help| help.into(), prometheus_text::encode)
}

/// OpenMetrics' text format 1.0.0.
pub(crate) fn openmetrics(scrape: Scrape) -> String {
    written(scrape, escaped, text::encode)
}

/// As OpenMetrics has a text in one line, which its encoder writes as it is.
fn escaped(help: &str) -> Cow<'_, str> {
    if !help.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(help);
    }
    Cow::Owned(help.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n"))
}

/// What a family says of itself, as the encoder is to have it.
type Help = fn(&str) -> Cow<'_, str>;

#[derive(Debug)]
struct Families {
    scrape: Scrape,
    help: Help,
}

fn written(
    scrape: Scrape,
    help: Help,
    encode: fn(&mut String, &registry::Registry) -> fmt::Result,
) -> String {
    let mut registry = registry::Registry::default();
    registry.register_collector(Box::new(Families { scrape, help }));
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        unreachable!("bug: a string took no more text: {error}")
    }
    text
}

impl Collector for Families {
    /// Families by name in order, each once, its series by pool.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families: BTreeMap<&str, Vec<(&str, &Point)>> = BTreeMap::new();
        let Scrape { pools, took } = &self.scrape;
        for pool in pools {
            for point in pool.sample.points() {
                families.entry(point.series.family.name()).or_default().push((&pool.name, point));
            }
        }
        for (name, points) in families {
            let Some((_, first)) = points.first() else { continue };
            // The kind is the first one's: two sources may use one name for two kinds.
            let kind = first.series.family.kind();
            let help = (self.help)(first.series.family.help());
            let name = match kind {
                // The encoder puts it back.
                Kind::Counter => name.strip_suffix("_total").unwrap_or(name),
                Kind::Gauge | Kind::Histogram => name,
            };
            let mut family = encoder.encode_descriptor(name, &help, None, metric_type(kind))?;
            for (pool, point) in points {
                encode_point(&mut family, kind, pool, point)?;
            }
        }
        if pools.is_empty() {
            return Ok(());
        }
        let (name, help) = (SCRAPE_DURATION.name(), SCRAPE_DURATION.help());
        let mut duration = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        duration.encode_gauge(&took.as_secs_f64())
    }
}

fn encode_point(
    family: &mut MetricEncoder<'_>,
    kind: Kind,
    pool: &str,
    point: &Point,
) -> fmt::Result {
    let labels = [Some(("pool", pool)), point.series.label, point.series.also];
    let labels: Vec<_> = labels.into_iter().flatten().collect();
    let mut metric = family.encode_family(&labels)?;
    match &point.value {
        Value::Whole(value) => encode_number(&mut metric, kind, value),
        Value::Float(value) => encode_number(&mut metric, kind, value),
        Value::Histogram(histogram) if kind == Kind::Histogram => metric
            .encode_histogram::<NoLabelSet>(
                histogram.sum(),
                histogram.count(),
                histogram.buckets(),
                None,
            ),
        // A scrape with a series of another kind than its family's is refused as a whole.
        Value::Histogram(_) => Ok(()),
    }
}

fn encode_number<N: EncodeCounterValue + EncodeGaugeValue>(
    metric: &mut MetricEncoder<'_>,
    kind: Kind,
    value: &N,
) -> fmt::Result {
    match kind {
        Kind::Counter => metric.encode_counter(value, None::<&Exemplar<NoLabelSet, f64>>),
        Kind::Gauge => metric.encode_gauge(value),
        Kind::Histogram => Ok(()),
    }
}

fn metric_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    }
}
