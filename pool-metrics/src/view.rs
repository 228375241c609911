//! What the page shows of a pool, and `/pools` answers with: JSON.

use std::any::TypeId;
use std::time::Duration;

use pool_core::{
    Counters, EndReason, Event, Exclusive, Kind, Manager, Recent, ResourcePool, Snapshot, Status,
};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::readiness::with_causes;
use crate::sample::{self, Sample};

/// The families that say how long those waited that had to.
const WAITS: [&str; 2] = ["pool_wait_time_seconds", "grpc_pool_queue_time_seconds"];

/// One pool as JSON, without its name.
pub(crate) struct View(pub(crate) Map<String, Value>);

impl View {
    /// A pool of `pool-core`'s.
    pub(crate) fn of_pool<M: Manager, K: Kind<M>>(pool: &ResourcePool<M, K>) -> Self {
        let exclusive = TypeId::of::<K>() == TypeId::of::<Exclusive>();
        let kind = if exclusive { "exclusive" } else { "shared" };
        let Snapshot { status, counters, .. } = pool.snapshot();
        Self::new(json!({
            "kind": kind,
            "status": status_json(&status),
            "counters": counters_json(&counters),
            "last_error": pool.last_error().map(|error| with_causes(&error)),
            "holders": pool.longest_holders(5).iter().map(|holder| json!({
                "id": holder.id.to_string(),
                "held_ms": millis(holder.held_for),
                "taken_at": holder.taken_at.to_string(),
                "leaked": holder.leaked,
            })).collect::<Vec<_>>(),
            "events": pool_events("pool", &pool.recent_events()),
        }))
    }

    /// A user's own, of which there is nothing but its numbers.
    pub(crate) fn of_numbers(sample: &Sample) -> Self {
        let numbers = sample.points().iter().map(|point| {
            json!({
                "name": point.series.family.name(),
                "help": point.series.family.help(),
                "label": point.series.label,
                "also": point.series.also,
                "value": number(&point.value),
            })
        });
        Self::new(json!({ "kind": "other", "numbers": numbers.collect::<Vec<_>>() }))
    }

    /// The same with how long those waited that had to, if that is among the numbers.
    pub(crate) fn with_waits(mut self, sample: &Sample) -> Self {
        let times = sample.points().iter().find_map(|point| match &point.value {
            sample::Value::Histogram(times) if WAITS.contains(&point.series.family.name()) => {
                Some(times)
            }
            _ => None,
        });
        if let Some(times) = times {
            // A bound that is infinite is null in JSON.
            self.0.insert("wait".to_owned(), json!({ "buckets": times.buckets() }));
        }
        self
    }

    pub(crate) fn new(value: Value) -> Self {
        match value {
            Value::Object(fields) => Self(fields),
            other => Self(Map::from_iter([("value".to_owned(), other)])),
        }
    }
}

fn number(value: &sample::Value) -> Value {
    match value {
        sample::Value::Whole(value) => json!(value),
        sample::Value::Float(value) => json!(value),
        sample::Value::Histogram(histogram) => {
            json!({ "count": histogram.count(), "sum": histogram.sum() })
        }
    }
}

pub(crate) fn status_json(status: &Status) -> Value {
    json!({
        "max_size": status.max_size,
        "min_size": status.min_size,
        "size": status.size,
        "idle": status.idle,
        "lent": status.lent,
        "in_use": status.in_use,
        "creating": status.creating + status.replacing,
        "waiting": status.waiting,
        "checking": status.checking,
        "draining": status.draining,
        "closing": status.closing,
        "places": status.places,
        "generation": status.generation,
        "paused": status.paused,
        "closed": status.closed,
    })
}

pub(crate) fn counters_json(counters: &Counters) -> Value {
    let ended = counters.ended.iter().map(|(reason, n)| (reason.as_str().to_owned(), n.into()));
    json!({
        "gets_ok": counters.gets_ok,
        "gets_timeout": counters.gets_timeout,
        "gets_cancelled": counters.gets_cancelled,
        "gets_closed": counters.gets_closed,
        "gets_error": counters.gets_error,
        "gets_rejected": counters.gets_rejected,
        "gets_shed": counters.gets_shed,
        "gets_paused": counters.gets_paused,
        "waits": counters.waits,
        "created": counters.created,
        "create_failed": counters.create_failed,
        "ended": ended.collect::<Map<_, Value>>(),
    })
}

/// The events of a pool of `pool-core`'s, the latest first.
pub(crate) fn pool_events(from: &str, recent: &[Recent<Event>]) -> Vec<Value> {
    let show = |recent: &Recent<Event>| {
        let event = &recent.event;
        event_json(from, event.as_str(), level(event), recent, &event.to_string())
    };
    recent.iter().rev().map(show).collect()
}

/// How much of somebody's attention an event deserves.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    Info,
    Warn,
    Bad,
}

/// An event of that kind, with the words for it.
pub(crate) fn event_json<E>(
    from: &str,
    kind: &str,
    level: Level,
    recent: &Recent<E>,
    text: &str,
) -> Value {
    json!({
        "from": from,
        "kind": kind,
        "number": recent.number,
        "ago_ms": millis(Instant::now().saturating_duration_since(recent.at)),
        "level": match level {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Bad => "bad",
        },
        "text": text,
    })
}

fn level(event: &Event) -> Level {
    match event {
        Event::CreateFailed { .. } | Event::Leaked { .. } => Level::Bad,
        Event::Reported { reason: EndReason::Broken, .. }
        | Event::Ended { reason: EndReason::Broken | EndReason::CheckFailed, .. }
        | Event::Paused
        | Event::Closed => Level::Warn,
        _ => Level::Info,
    }
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
