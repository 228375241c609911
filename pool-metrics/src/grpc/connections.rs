//! The connections of a gRPC pool: how they end, what they carry, and where they lead.

use pool_core::{GroupStatus, Timings};
use pool_tonic::{AddressStatus, ChannelCounters, ChannelPool, ChannelSnapshot};

use crate::family::{Family, Labelled};
use crate::pool::put_outcomes;
use crate::sample::Sample;

// The next four are gRFC A94's.

static ATTEMPTS_SUCCEEDED: Family = Family::counter(
    "grpc_subchannel_connection_attempts_succeeded_total",
    "Attempts to connect that made a connection ready for calls.",
);

static ATTEMPTS_FAILED: Family = Family::counter(
    "grpc_subchannel_connection_attempts_failed_total",
    "Attempts to connect that failed or took too long.",
);

static DISCONNECTIONS: Labelled = Family::counter(
    "grpc_subchannel_disconnections_total",
    "Connections that take calls no more, by the first reason that was seen.",
)
.by("disconnect_error");

static OPEN_CONNECTIONS: Family = Family::gauge(
    "grpc_subchannel_open_connections",
    "Connections that were ready and are not disconnected, those that carry one call at a time included.",
);

static TLS_HANDSHAKES: Labelled = Family::counter(
    "grpc_client_tls_handshakes_total",
    "TLS handshakes by how they ended; HTTP/2 has to be agreed on.",
)
.by("result");

static STREAMS_MAX: Family = Family::gauge(
    "grpc_pool_streams_per_channel_max",
    "Calls on the connection that has the most, of those that take calls.",
);

static STREAMS_MIN: Family = Family::gauge(
    "grpc_pool_streams_per_channel_min",
    "Calls on the connection that has the fewest, of those that take calls.",
);

static DEDICATED: Labelled = Family::gauge(
    "grpc_pool_dedicated_channels",
    "HTTP/2 connections that carry one call at a time, by state.",
)
.by("state");

static DEDICATED_MAX: Family = Family::gauge(
    "grpc_pool_dedicated_channels_max",
    "HTTP/2 connections that carry one call at a time that there may be at most.",
);

static DEDICATED_STREAMS: Family = Family::gauge(
    "grpc_pool_dedicated_streams",
    "Calls, and holders of a connection for themselves, that have one.",
);

static DEDICATED_QUEUED: Family = Family::gauge(
    "grpc_pool_dedicated_queued_calls",
    "Calls, and others, that wait for a connection for themselves.",
);

static DEDICATED_ACQUIRES: Labelled = Family::counter(
    "grpc_pool_dedicated_acquires_total",
    "Calls, and others, that asked for a connection for themselves, by outcome.",
)
.by("outcome");

static UPDATES: Labelled = Family::counter(
    "grpc_pool_resolver_updates_total",
    "Endpoints that answers of the resolver brought into use, and took out of it.",
)
.by("op");

static EJECTED: Family = Family::gauge(
    "grpc_pool_endpoints_ejected",
    "Endpoints that get no calls, since they answer worse than the others.",
);

static WEIGHT_MAX: Family = Family::gauge(
    "grpc_pool_endpoint_weight_max",
    "The greatest share of calls that an endpoint is to have, beside the least.",
);

static WEIGHT_MIN: Family = Family::gauge(
    "grpc_pool_endpoint_weight_min",
    "The least share of calls that an endpoint is to have, beside the greatest.",
);

static QUEUE_TIME: Family = Family::histogram(
    "grpc_pool_queue_time_seconds",
    "How long calls queued that found no stream free.",
);

static CONNECT_TIME: Labelled = Family::histogram(
    "grpc_pool_connect_time_seconds",
    "How long it took to have a connection that is ready for calls, by outcome.",
)
.by("outcome");

static DEDICATED_QUEUE_TIME: Family = Family::histogram(
    "grpc_pool_dedicated_queue_time_seconds",
    "How long calls, and others, queued that found no connection free for themselves.",
);

static DEDICATED_CONNECT_TIME: Labelled = Family::histogram(
    "grpc_pool_dedicated_connect_time_seconds",
    "How long it took to have a connection that carries one call at a time, by outcome.",
)
.by("outcome");

pub(super) fn put(
    sample: &mut Sample,
    pool: &ChannelPool,
    now: &ChannelSnapshot,
    endpoints: &[AddressStatus],
) {
    put_counters(sample, &now.counters);
    put_times(sample, &now.connection_timings, &QUEUE_TIME, &CONNECT_TIME);
    put_times(sample, &now.dedicated_timings, &DEDICATED_QUEUE_TIME, &DEDICATED_CONNECT_TIME);
    put_dedicated(sample, now);
    put_streams(sample, pool);
    let ejected = endpoints.iter().filter(|endpoint| endpoint.ejected.is_some()).count();
    sample.set(&EJECTED, ejected as u64);
    put_weights(sample, &pool.connections().groups());
}

fn put_counters(sample: &mut Sample, counters: &ChannelCounters) {
    sample.set(&ATTEMPTS_SUCCEEDED, counters.connections_opened);
    sample.set(&ATTEMPTS_FAILED, counters.connections_failed);
    for (error, number) in counters.disconnections.iter() {
        sample.set_by(&DISCONNECTIONS, error.as_str(), number);
    }
    let open = counters.connections_opened.saturating_sub(counters.disconnections.total());
    sample.set(&OPEN_CONNECTIONS, open);
    for (outcome, number) in counters.tls_handshakes.iter() {
        sample.set_by(&TLS_HANDSHAKES, outcome.as_str(), number);
    }
    for (op, number) in [("add", counters.endpoints_added), ("remove", counters.endpoints_removed)]
    {
        sample.set_by(&UPDATES, op, number);
    }
}

fn put_times(
    sample: &mut Sample,
    times: &Timings,
    queue: &'static Family,
    connect: &'static Labelled,
) {
    sample.set_histogram(queue, (&times.wait).into());
    let create = &times.create;
    for (outcome, times) in
        [("ok", &create.ok), ("error", &create.error), ("timeout", &create.timeout)]
    {
        sample.set_histogram_by(connect, outcome, times.into());
    }
}

fn put_dedicated(sample: &mut Sample, now: &ChannelSnapshot) {
    let (status, dedicated) = (&now.status.dedicated, &now.dedicated);
    for (state, number) in [
        ("connecting", status.connecting),
        ("idle", status.idle),
        ("used", dedicated.lent),
        ("draining", dedicated.draining),
    ] {
        sample.set_by(&DEDICATED, state, number as u64);
    }
    sample.set(&DEDICATED_MAX, status.max_connections as u64);
    sample.set(&DEDICATED_STREAMS, status.in_use as u64);
    sample.set(&DEDICATED_QUEUED, status.waiting as u64);
    put_outcomes(sample, &DEDICATED_ACQUIRES, &now.dedicated_counters);
}

fn put_streams(sample: &mut Sample, pool: &ChannelPool) {
    let connections = pool.connections().list();
    let taking = connections.iter().filter(|connection| connection.draining.is_none());
    let streams = taking.map(|connection| connection.in_use as u64);
    put_extremes(sample, streams, [&STREAMS_MIN, &STREAMS_MAX]);
}

fn put_weights(sample: &mut Sample, endpoints: &[GroupStatus]) {
    let weights = endpoints.iter().map(|endpoint| u64::from(endpoint.weight.get()));
    put_extremes(sample, weights, [&WEIGHT_MIN, &WEIGHT_MAX]);
}

/// The least and the greatest; 0 if there are none.
fn put_extremes(
    sample: &mut Sample,
    values: impl Iterator<Item = u64> + Clone,
    [least, greatest]: [&'static Family; 2],
) {
    sample.set(least, values.clone().min().unwrap_or(0));
    sample.set(greatest, values.max().unwrap_or(0));
}
