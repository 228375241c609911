//! The numbers of `pool-tonic`'s pools: those of the pool of connections below, of the connections, and of the calls.

mod connections;

use pool_core::Counters;
use pool_tonic::{
    AddressStatus, ChannelCounters, ChannelPool, ChannelStatus, ConnectionManager,
    ConnectivityState, code_name,
};

use crate::family::{Family, Labelled};
use crate::pool;
use crate::readiness::{Standing, with_causes};
use crate::sample::Sample;
use crate::source::{Probe, Source};
#[cfg(feature = "page")]
use crate::view::View;

static STATE: Labelled = Family::gauge(
    "grpc_pool_state",
    "Connectivity over all endpoints: 1 for the state that the pool is in, 0 for the others.",
)
.by("state");

static ENDPOINTS: Labelled =
    Family::gauge("grpc_pool_endpoints", "Endpoints by connectivity.").by("state");

static CHANNELS: Labelled = Family::gauge(
    "grpc_pool_channels",
    "HTTP/2 connections by state; a draining one finishes its calls and takes no more.",
)
.by("state");

static CHANNELS_MAX: Family = Family::gauge(
    "grpc_pool_channels_max",
    "HTTP/2 connections that there may be at most, beside draining ones.",
);

static STREAMS: Family = Family::gauge("grpc_pool_streams", "Calls that hold a stream.");

static STREAM_CAPACITY: Family = Family::gauge(
    "grpc_pool_stream_capacity",
    "Streams that the connections there are can carry at once, by the servers' limits and ours.",
);

static QUEUED_CALLS: Family =
    Family::gauge("grpc_pool_queued_calls", "Calls that wait for a stream.");

static PICKS: Labelled = Family::counter(
    "grpc_pool_picks_total",
    "Times that a stream was looked for, by whether it was there at once, after a wait, or not at all.",
)
.by("result");

static CALLS_STARTED: Family = Family::counter("grpc_pool_calls_started_total", "Calls begun.");

static CALLS_ENDED: Labelled =
    Family::counter("grpc_pool_calls_ended_total", "Calls ended, by gRPC code.").by("code");

static TRANSPARENT_RETRIES: Family = Family::counter(
    "grpc_pool_transparent_retries_total",
    "Times that a call which no server had processed was sent again.",
);

static RETRIES: Family = Family::counter(
    "grpc_pool_retries_total",
    "Times that a call was sent again by a retry policy.",
);

static RETRIES_THROTTLED: Family = Family::counter(
    "grpc_pool_retries_throttled_total",
    "Calls that a retry policy would have sent again, had the budget allowed it.",
);

static STREAMS_REFUSED: Family = Family::counter(
    "grpc_pool_streams_refused_total",
    "Streams that a server refused though they were within its limit.",
);

static GOAWAYS: Family = Family::counter("grpc_pool_goaways_total", "GOAWAYs received.");

static CONNECTIONS_LOST: Family = Family::counter(
    "grpc_pool_connections_lost_total",
    "HTTP/2 connections that ended without a GOAWAY and without the pool's doing.",
);

static KEEPALIVE_TIMEOUTS: Family = Family::counter(
    "grpc_pool_keepalive_timeouts_total",
    "HTTP/2 connections that were ended because a ping was not answered; among the lost ones.",
);

static EJECTIONS: Family = Family::counter(
    "grpc_pool_ejections_total",
    "Times that an endpoint was ejected, since it answered worse than the others.",
);

static RESOLUTIONS: Labelled = Family::counter(
    "grpc_pool_resolutions_total",
    "Answers of the pool's resolver: sets of endpoints, empty ones, and errors.",
)
.by("result");

impl Source for ChannelPool {
    fn probe(&self) -> Probe {
        let [pool, stands] = [self.downgrade(), self.downgrade()];
        let probe = Probe::new(move || {
            let pool = pool.upgrade()?;
            let now = pool.snapshot();
            let mut sample = pool::sample::<ConnectionManager>(
                &now.connections,
                &now.connection_counters,
                &now.connection_timings,
            );
            put_status(&mut sample, &now.status);
            put_picks(&mut sample, &now.connection_counters);
            let endpoints = pool.addresses();
            put_endpoints(&mut sample, &endpoints);
            put_counters(&mut sample, &now.counters);
            connections::put(&mut sample, &pool, &now, &endpoints);
            Some(sample)
        });
        let probe = probe.standing(move || Some(standing(&stands.upgrade()?)));
        #[cfg(feature = "page")]
        let probe = {
            let pool = self.downgrade();
            probe.view(move || Some(View::of_grpc(&pool.upgrade()?)))
        };
        probe
    }
}

fn standing(pool: &ChannelPool) -> Standing {
    let status = pool.connections().status();
    let fails = pool.state() == ConnectivityState::TransientFailure;
    let error =
        || pool.last_error().map_or_else(|| "unknown".to_owned(), |error| with_causes(&error));
    let min = pool::kept(&status);
    // Those of a server that says that it does not serve are none. A minimum is one of shared connections.
    let usable = if min > 0 {
        let shared = pool.connections().list();
        shared.iter().filter(|it| it.draining.is_none() && it.places > 0).count()
    } else {
        pool.addresses().iter().map(|address| address.ready).sum()
    };
    Standing {
        closed: status.closed,
        paused: status.paused,
        usable,
        min,
        failing: fails.then(error),
    }
}

fn put_status(sample: &mut Sample, status: &ChannelStatus) {
    for state in ConnectivityState::ALL {
        sample.set_by(&STATE, label(state), u64::from(state == status.state));
    }
    for (state, number) in
        [("connecting", status.connecting), ("ready", status.ready), ("draining", status.draining)]
    {
        sample.set_by(&CHANNELS, state, number as u64);
    }
    sample.set(&CHANNELS_MAX, status.max_connections as u64);
    sample.set(&STREAMS, status.streams as u64);
    sample.set(&STREAM_CAPACITY, status.capacity as u64);
    sample.set(&QUEUED_CALLS, status.waiting as u64);
}

fn put_picks(sample: &mut Sample, counters: &Counters) {
    let served = counters.gets_ok;
    for (result, number) in [
        ("ready", served.saturating_sub(counters.waits_ok)),
        ("queued", counters.waits_ok),
        ("failed", counters.gets_ended().saturating_sub(served)),
    ] {
        sample.set_by(&PICKS, result, number);
    }
}

fn put_endpoints(sample: &mut Sample, endpoints: &[AddressStatus]) {
    for state in ConnectivityState::ALL {
        let number = endpoints.iter().filter(|endpoint| endpoint.state == state).count();
        sample.set_by(&ENDPOINTS, label(state), number as u64);
    }
}

fn put_counters(sample: &mut Sample, counters: &ChannelCounters) {
    sample.set(&CALLS_STARTED, counters.calls_started);
    for (code, number) in counters.calls_ended.iter() {
        sample.set_by(&CALLS_ENDED, code_name(code), number);
    }
    sample.set(&TRANSPARENT_RETRIES, counters.transparent_retries);
    sample.set(&RETRIES, counters.retries);
    sample.set(&RETRIES_THROTTLED, counters.retries_throttled);
    sample.set(&STREAMS_REFUSED, counters.streams_refused);
    sample.set(&GOAWAYS, counters.goaways);
    sample.set(&CONNECTIONS_LOST, counters.connections_lost);
    sample.set(&KEEPALIVE_TIMEOUTS, counters.keepalive_timeouts);
    sample.set(&EJECTIONS, counters.endpoints_ejected);
    for (result, number) in [
        ("set", counters.resolutions),
        ("empty", counters.resolve_empty),
        ("error", counters.resolve_failures),
    ] {
        sample.set_by(&RESOLUTIONS, result, number);
    }
}

pub(crate) fn label(state: ConnectivityState) -> &'static str {
    match state {
        ConnectivityState::Idle => "idle",
        ConnectivityState::Connecting => "connecting",
        ConnectivityState::Ready => "ready",
        ConnectivityState::TransientFailure => "transient_failure",
        ConnectivityState::Shutdown => "shutdown",
    }
}
