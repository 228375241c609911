//! What the page shows of a gRPC pool.

use pool_tonic::{
    AddressStatus, ChannelCounters, ChannelPool, ConnectionStatus, ConnectivityState,
    EndpointEvent, code_name,
};
use serde_json::{Map, Value, json};

use crate::grpc::label;
use crate::readiness::with_causes;
use crate::view::{Level, View, counters_json, event_json, millis, pool_events, status_json};

/// How many connections, and how many endpoints, are shown one by one.
const SHOWN: usize = 200;

impl View {
    /// A pool of `pool-tonic`'s.
    pub(crate) fn of_grpc(pool: &ChannelPool) -> Self {
        let now = pool.snapshot();
        let connections = pool.connection_list();
        let endpoints = pool.addresses();
        Self::new(json!({
            "kind": "grpc",
            "state": label(now.status.state),
            "status": status_json(&now.connections),
            "counters": counters_json(&now.connection_counters),
            "dedicated": {
                "status": status_json(&now.dedicated),
                "counters": counters_json(&now.dedicated_counters),
            },
            "calls": calls_json(&now.counters),
            "last_error": pool.last_error().map(|error| with_causes(&error)),
            "connections": connections.iter().take(SHOWN).map(connection_json).collect::<Vec<_>>(),
            "connections_left_out": connections.len().saturating_sub(SHOWN),
            "endpoints": endpoints.iter().take(SHOWN).map(endpoint_json).collect::<Vec<_>>(),
            "endpoints_left_out": endpoints.len().saturating_sub(SHOWN),
            "resolver_error": pool
                .resolver_status()
                .and_then(|resolver| resolver.last_error.map(|error| with_causes(&error))),
            "events": events(pool),
        }))
    }
}

fn calls_json(counters: &ChannelCounters) -> Value {
    let ended = counters.calls_ended.iter();
    let ended = ended.map(|(code, calls)| (code_name(code).to_owned(), calls.into()));
    json!({
        "started": counters.calls_started,
        "ended": ended.collect::<Map<_, Value>>(),
        "transparent_retries": counters.transparent_retries,
        "retries": counters.retries,
        "retries_throttled": counters.retries_throttled,
        "streams_refused": counters.streams_refused,
        "goaways": counters.goaways,
        "connections_opened": counters.connections_opened,
        "connections_failed": counters.connections_failed,
        "connections_lost": counters.connections_lost,
        "keepalive_timeouts": counters.keepalive_timeouts,
        "endpoints_ejected": counters.endpoints_ejected,
        "resolve_failures": counters.resolve_failures,
    })
}

fn connection_json(connection: &ConnectionStatus) -> Value {
    json!({
        "id": connection.id.map(|id| id.to_string()),
        "dedicated": connection.dedicated,
        "address": connection.address,
        "state": label(connection.state),
        "draining": connection.draining,
        "streams": connection.streams,
        "capacity": connection.limit,
        "age_ms": millis(connection.age),
    })
}

fn endpoint_json(endpoint: &AddressStatus) -> Value {
    json!({
        "address": endpoint.address,
        "state": label(endpoint.state),
        "share": endpoint.share,
        "connecting": endpoint.connecting,
        "ready": endpoint.ready,
        "draining": endpoint.draining,
        "retry_in_ms": endpoint.retry_in.map(millis),
        "ejected_ms": endpoint.ejected.map(millis),
        "last_error": endpoint.last_error.as_ref().map(|error| with_causes(error)),
    })
}

/// Of the connections, of those that carry one call at a time, of the endpoints and of the pool as a whole, the latest
/// first.
fn events(pool: &ChannelPool) -> Vec<Value> {
    let mut events = pool_events("pool", &pool.connections().recent_events());
    events.extend(pool_events("dedicated", &pool.dedicated_connections().recent_events()));
    events.extend(pool.recent_endpoint_events().iter().rev().map(|recent| {
        let level = match recent.event {
            EndpointEvent::Ejected { .. } | EndpointEvent::ResolveFailed { .. } => Level::Bad,
            _ => Level::Info,
        };
        event_json("endpoints", "endpoints", level, recent, &recent.event.to_string())
    }));
    events.extend(pool.recent_states().iter().rev().map(|recent| {
        let level = match recent.event {
            ConnectivityState::TransientFailure => Level::Bad,
            ConnectivityState::Shutdown => Level::Warn,
            _ => Level::Info,
        };
        event_json("state", "state", level, recent, &format!("the pool is {} now", recent.event))
    }));
    // Sorting keeps the order of those of one millisecond that are of one kind.
    events.sort_by_key(|event| event["ago_ms"].as_u64());
    events
}
