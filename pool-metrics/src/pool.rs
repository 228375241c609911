//! The numbers of `pool-core`'s pools.

use std::any::type_name;
use std::time::UNIX_EPOCH;

use pool_core::{Counters, Kind, Manager, ResourcePool, Snapshot, Status, Timings};

use crate::family::{Family, Labelled};
use crate::readiness::{Standing, with_causes};
use crate::sample::{Sample, Value};
use crate::source::{Probe, Source};
#[cfg(feature = "page")]
use crate::view::View;

static CONNECTIONS: Labelled = Family::gauge(
    "pool_connections",
    "Connections by what they are doing; beside the maximum are those that drain, and of shared ones also those that \
     close or replace others.",
)
.by("state");

static CONNECTIONS_MAX: Family =
    Family::gauge("pool_connections_max", "Connections that there may be at most.");

static CONNECTIONS_MIN: Family =
    Family::gauge("pool_connections_min", "Connections that are kept at least.");

static CONNECTIONS_IDLE_MAX: Family =
    Family::gauge("pool_connections_idle_max", "Idle connections that stay at most.");

static CONNECTIONS_IDLE_MIN: Family =
    Family::gauge("pool_connections_idle_min", "Idle connections that are kept at least.");

static LEASES: Family =
    Family::gauge("pool_leases", "Leases that are out; a shared connection may have several.");

static PLACES: Family =
    Family::gauge("pool_places", "Leases that the connections there are could have at once.");

static WAITERS: Family = Family::gauge("pool_waiters", "Callers that wait for a connection.");

static ACQUIRES_STARTED: Family = Family::counter(
    "pool_acquires_started_total",
    "Attempts to get a connection that have begun: those that have ended and the pending ones.",
);

static ACQUIRES_PENDING: Family = Family::gauge(
    "pool_acquires_pending",
    "Attempts to get a connection that wait, or whose connection is being checked.",
);

static ACQUIRES: Labelled = Family::counter(
    "pool_acquires_total",
    "Attempts to get a connection that have ended, by outcome.",
)
.by("outcome");

static ACQUIRE_WAITS: Family = Family::counter(
    "pool_acquire_waits_total",
    "Attempts to get a connection that could not be served at once.",
);

static WAIT_TIME: Family = Family::histogram(
    "pool_wait_time_seconds",
    "How long attempts to get a connection queued that could not be served at once.",
);

static CREATE_TIME: Labelled = Family::histogram(
    "pool_create_time_seconds",
    "How long attempts to create a connection took, by outcome.",
)
.by("outcome");

static CHECK_TIME: Labelled = Family::histogram(
    "pool_check_time_seconds",
    "How long checks of connections took that took time, by outcome.",
)
.by("outcome");

static USE_TIME: Family = Family::histogram("pool_use_time_seconds", "How long leases were out.");

static LAST_CREATE_FAILURE: Family = Family::gauge(
    "pool_last_create_failure_timestamp_seconds",
    "When an attempt to create a connection has failed last, in Unix time; 0 for never.",
);

static INFO: Family = Family::gauge(
    "pool_info",
    "1 for each pool, by the version of what exports it and the type of its manager.",
);

static CREATED: Family = Family::counter("pool_connections_created_total", "Connections created.");

static CREATE_FAILURES: Family = Family::counter(
    "pool_create_failures_total",
    "Attempts to create a connection that failed or took too long.",
);

static CLOSED: Labelled = Family::counter(
    "pool_connections_closed_total",
    "Connections that have left the pool, by reason.",
)
.by("reason");

impl<M: Manager, K: Kind<M>> Source for ResourcePool<M, K> {
    fn probe(&self) -> Probe {
        let [pool, stands, revived] = [self.downgrade(), self.downgrade(), self.downgrade()];
        let probe = Probe::new(move || {
            let pool = pool.upgrade()?;
            let Snapshot { status, counters, timings, .. } = pool.snapshot();
            Some(sample::<M>(&status, &counters, &timings))
        });
        let probe =
            probe.standing(move || Some(standing(&stands.upgrade()?))).reviving(move || {
                if let Some(pool) = revived.upgrade() {
                    pool.revive();
                }
            });
        #[cfg(feature = "page")]
        let probe = {
            let pool = self.downgrade();
            probe.view(move || Some(View::of_pool(&pool.upgrade()?)))
        };
        probe
    }
}

fn standing<M: Manager, K: Kind<M>>(pool: &ResourcePool<M, K>) -> Standing {
    let status = pool.status();
    Standing {
        closed: status.closed,
        paused: status.paused,
        usable: status.idle + status.lent,
        min: kept(&status),
        failing: pool.last_error().map(|error| with_causes(&error)),
    }
}

/// How many it keeps at least, idle or in use.
pub(crate) fn kept(status: &Status) -> usize {
    status.min_size.max(status.min_idle).min(status.max_size)
}

/// The numbers of a pool of `M`'s.
pub(crate) fn sample<M>(status: &Status, counters: &Counters, timings: &Timings) -> Sample {
    let mut sample = Sample::new();
    put_status(&mut sample, status);
    put_counters(&mut sample, counters);
    put_timings(&mut sample, timings);
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("manager", short_name::<M>())];
    sample.add(&INFO, labels.map(Some), Value::Whole(1));
    sample
}

/// A type's name without where it is and what it is made of: there are as many as the program has types.
fn short_name<T>() -> &'static str {
    let name = type_name::<T>();
    let outer = name.split('<').next().unwrap_or(name);
    outer.rsplit("::").next().unwrap_or(outer)
}

fn put_status(sample: &mut Sample, status: &Status) {
    for (state, number) in [
        ("connecting", status.creating + status.replacing),
        ("idle", status.idle),
        ("used", status.lent),
        ("draining", status.draining),
        ("closing", status.closing),
    ] {
        sample.set_by(&CONNECTIONS, state, number as u64);
    }
    sample.set(&CONNECTIONS_MAX, status.max_size as u64);
    sample.set(&CONNECTIONS_MIN, status.min_size as u64);
    sample.set(&CONNECTIONS_IDLE_MAX, status.max_idle as u64);
    sample.set(&CONNECTIONS_IDLE_MIN, status.min_idle as u64);
    sample.set(&LEASES, status.in_use as u64);
    sample.set(&PLACES, status.places as u64);
    sample.set(&WAITERS, status.waiting as u64);
}

/// By how many gets ended in each way.
pub(crate) fn put_outcomes(sample: &mut Sample, family: &'static Labelled, counters: &Counters) {
    for (outcome, number) in [
        ("ok", counters.gets_ok),
        ("timeout", counters.gets_timeout),
        ("cancelled", counters.gets_cancelled),
        ("closed", counters.gets_closed),
        ("error", counters.gets_error),
        ("rejected", counters.gets_rejected),
        ("shed", counters.gets_shed),
        ("paused", counters.gets_paused),
    ] {
        sample.set_by(family, outcome, number);
    }
}

fn put_counters(sample: &mut Sample, counters: &Counters) {
    put_outcomes(sample, &ACQUIRES, counters);
    sample.set(&ACQUIRES_STARTED, counters.gets_started);
    sample.set(&ACQUIRES_PENDING, counters.gets_pending());
    sample.set(&ACQUIRE_WAITS, counters.waits);
    sample.set(&CREATED, counters.created);
    sample.set(&CREATE_FAILURES, counters.create_failed);
    for (reason, number) in counters.ended.iter() {
        sample.set_by(&CLOSED, reason.as_str(), number);
    }
}

fn put_timings(sample: &mut Sample, timings: &Timings) {
    sample.set_histogram(&WAIT_TIME, (&timings.wait).into());
    let create = &timings.create;
    for (outcome, times) in
        [("ok", &create.ok), ("error", &create.error), ("timeout", &create.timeout)]
    {
        sample.set_histogram_by(&CREATE_TIME, outcome, times.into());
    }
    let check = &timings.check;
    for (outcome, times) in
        [("ok", &check.ok), ("failed", &check.failed), ("timeout", &check.timeout)]
    {
        sample.set_histogram_by(&CHECK_TIME, outcome, times.into());
    }
    if let Some(times) = &timings.lease {
        sample.set_histogram(&USE_TIME, times.into());
    }
    let since = timings.last_create_failure.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    sample.set_float(&LAST_CREATE_FAILURE, since.unwrap_or_default().as_secs_f64());
}
