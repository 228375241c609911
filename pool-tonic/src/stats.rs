//! Numbers out: how things stand, and what has happened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{RecentEvents, ResourceId};
use tonic::Code;

use crate::balance::EndpointEvent;
use crate::connectivity::ConnectivityState;
use crate::disconnect::{DisconnectTotals, Disconnections};
use crate::error::ConnectError;
use crate::handshakes::{HandshakeTotals, TlsHandshakes};
use crate::retry::Throttle;

/// The codes of gRPC, 0 to 16.
const CODES: usize = 17;

/// How a channel pool stands at one moment.
///
/// The numbers of connections and calls are taken from the pool's state under its lock, so they fit each
/// other; the connectivity state is read beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelStatus {
    /// The connectivity state over all addresses.
    pub state: ConnectivityState,
    /// The most connections that there may be, draining ones not counted.
    pub max_connections: usize,
    /// Connections that take calls, whether they carry any or not.
    pub ready: usize,
    /// Those of the ready ones that carry no call.
    pub idle: usize,
    /// Attempts to connect that run.
    pub connecting: usize,
    /// Connections that finish their calls and take no more.
    pub draining: usize,
    /// Calls that hold a stream slot, also on draining connections.
    pub streams: usize,
    /// Stream slots of the ready connections together.
    pub capacity: usize,
    /// Calls that wait for a slot.
    pub waiting: usize,
    /// The connections beside those, which carry one call at a time.
    pub dedicated: DedicatedStatus,
}

/// How the connections stand that carry one call at a time: those of
/// [`Dedicated`](crate::Dedicated) calls, and [exclusive](crate::ExclusiveChannel) ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DedicatedStatus {
    /// The most that there may be, draining ones not counted.
    pub max_connections: usize,
    /// Those that are there and take calls, in use or not.
    pub ready: usize,
    /// Those of the ready ones that nobody uses.
    pub idle: usize,
    /// Attempts to connect that run.
    pub connecting: usize,
    /// Those in use: by a call, or by the holder of an exclusive one.
    pub in_use: usize,
    /// Who waits for one.
    pub waiting: usize,
}

impl DedicatedStatus {
    fn new(pool: &pool_core::Status) -> Self {
        Self {
            max_connections: pool.max_size,
            ready: pool.size.saturating_sub(pool.creating),
            idle: pool.idle,
            connecting: pool.creating + pool.replacing,
            in_use: pool.in_use,
            waiting: pool.waiting,
        }
    }
}

impl ChannelStatus {
    pub(crate) fn new(
        state: ConnectivityState,
        pool: &pool_core::Status,
        dedicated: &pool_core::Status,
    ) -> Self {
        Self {
            state,
            max_connections: pool.max_size,
            ready: pool.size.saturating_sub(pool.creating),
            idle: pool.idle,
            connecting: pool.creating + pool.replacing,
            draining: pool.draining,
            streams: pool.in_use,
            capacity: pool.places,
            waiting: pool.waiting,
            dedicated: DedicatedStatus::new(dedicated),
        }
    }
}

/// All numbers of a channel pool at one moment, for those that export them.
///
/// `status`, `connections` and `connection_counters` come from one look at the pool's state under its
/// lock, so they fit each other; so do `status.dedicated`, `dedicated` and `dedicated_counters`. The state of
/// connectivity and `counters` are kept beside those locks, and read right after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelSnapshot {
    /// How the pool stands.
    pub status: ChannelStatus,
    /// What it has done since it was built.
    pub counters: ChannelCounters,
    /// How the pool of connections below stands.
    pub connections: pool_core::Status,
    /// What the pool of connections below has done since it was built.
    pub connection_counters: pool_core::Counters,
    /// How long that took.
    pub connection_timings: pool_core::Timings,
    /// How the pool of connections stands that carry one call at a time.
    pub dedicated: pool_core::Status,
    /// What that pool has done since it was built.
    pub dedicated_counters: pool_core::Counters,
    /// How long that took.
    pub dedicated_timings: pool_core::Timings,
}

/// How one address stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AddressStatus {
    /// `host:port`.
    pub address: String,
    /// Its own connectivity state: READY with a connection that takes calls; `TRANSIENT_FAILURE` if the
    /// last attempt failed and it is in back-off or being tried again; CONNECTING while it is tried
    /// otherwise; IDLE if there is nothing of that, so also when it failed and its back-off is over.
    /// Never SHUTDOWN, which only the pool is.
    pub state: ConnectivityState,
    /// Attempts to connect that run.
    pub connecting: usize,
    /// Connections that take calls.
    pub ready: usize,
    /// Connections that finish their calls and take no new ones, since their server said GOAWAY or the pool is to be rid
    /// of them, for their age or their number.
    pub draining: usize,
    /// How long it is left alone for; `None` if it is not in back-off.
    pub retry_in: Option<Duration>,
    /// Why the last attempt failed, if none has succeeded since.
    pub last_error: Option<ConnectError>,
    /// How long it gets no calls for, since it answers worse than the others
    /// ([`outlier_detection`](crate::ChannelPoolBuilder::outlier_detection)); zero from then until the interval ends in which it
    /// returns. `None` if it is not ejected.
    pub ejected: Option<Duration>,
    /// Its part of the calls, by its weight and what its balancing makes of that: from 0 to 1, all addresses together 1. An
    /// [ejected](Self::ejected) one keeps it, and its calls go to the others while it is out. `None` before the pool has been
    /// used, and for the only one of a pool without a resolver.
    pub share: Option<f64>,
}

/// What a channel pool has done since it was built. Every field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelCounters {
    /// Calls begun.
    pub calls_started: u64,
    /// Calls ended, by gRPC code.
    pub calls_ended: CallsEnded,
    /// Times that a call was sent again because it provably had not been processed.
    pub transparent_retries: u64,
    /// Times that a call was sent again by a [retry policy](crate::RetryPolicy).
    pub retries: u64,
    /// Calls that were not, since the budget for that was used up.
    pub retries_throttled: u64,
    /// Streams that a server refused though they were within its limit.
    pub streams_refused: u64,
    /// Connections on which a GOAWAY was received: one that is sent in two steps counts once.
    pub goaways: u64,
    /// Connections that became READY.
    pub connections_opened: u64,
    /// Attempts to connect that failed.
    pub connections_failed: u64,
    /// READY connections that ended without a GOAWAY and without the pool's doing. Those that keepalive ended
    /// are among them, but for those that drained already.
    pub connections_lost: u64,
    /// Connections that keepalive ended, since nothing came within the timeout of a ping.
    pub keepalive_timeouts: u64,
    /// Times that an endpoint was ejected, since it answered worse than the others.
    pub endpoints_ejected: u64,
    /// Sets of endpoints that the [resolver](crate::resolve) gave.
    pub resolutions: u64,
    /// Questions to the resolver that failed or took too long.
    pub resolve_failures: u64,
    /// Answers of the resolver without an endpoint.
    pub resolve_empty: u64,
    /// Endpoints that came into use with answers of the resolver.
    pub endpoints_added: u64,
    /// Endpoints that went out of use with answers of the resolver.
    pub endpoints_removed: u64,
    /// READY connections that take calls no more, by the first reason that was seen: never more than
    /// `connections_opened`, and as many once all are gone. Those that the pool sets aside count
    /// [later](Disconnections).
    pub disconnections: Disconnections,
    /// TLS handshakes, by how they ended.
    pub tls_handshakes: TlsHandshakes,
}

/// How one connection stands, from the begin of its attempt until its socket is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStatus {
    /// Its number, the one that events name; `None` before it is the pool's.
    pub id: Option<ResourceId>,
    /// It carries one call at a time, and is of [that](crate::ChannelPool::dedicated_connections) pool, whose
    /// numbers are its own; `false` while it connects.
    pub dedicated: bool,
    /// Where it leads.
    pub address: String,
    /// `Connecting`, `Ready`, `TransientFailure` while its server says that it does not serve, `Shutdown`
    /// while it closes.
    pub state: ConnectivityState,
    /// It finishes its calls and takes no more.
    pub draining: bool,
    /// Calls on it.
    pub streams: usize,
    /// The most calls that it takes at a time, by its server's limit, the pool's own cap and refusals; 0
    /// while its server says that it does not serve.
    pub limit: usize,
    /// How long it has been READY; while it connects, for how long it has.
    pub age: Duration,
}

/// How a [`close`](crate::ChannelPool::close) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Calls that were still running when the grace was over, and were ended with `UNAVAILABLE`.
    pub calls_cut: usize,
    /// Connections, and attempts to connect, that were not gone five seconds after the grace: none, unless nobody drives
    /// the runtime that they live in.
    pub connections_left: usize,
    /// How long it took.
    pub waited: Duration,
}

/// A number of calls for each gRPC code. A call whose response was dropped before its end counts as
/// CANCELLED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallsEnded([u64; CODES]);

impl CallsEnded {
    /// The number for one code.
    pub fn get(&self, code: Code) -> u64 {
        self.0[code as usize]
    }

    /// Every code with its number, also those at 0.
    pub fn iter(&self) -> impl Iterator<Item = (Code, u64)> + '_ {
        (0_i32..).map(Code::from_i32).zip(self.0)
    }

    /// The sum over all codes.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The counters at work.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) calls_started: AtomicU64,
    pub(crate) calls_ended: [AtomicU64; CODES],
    pub(crate) transparent_retries: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) retries_throttled: AtomicU64,
    /// The budget for retries, which the ends of calls fill.
    pub(crate) throttle: Option<Throttle>,
    pub(crate) streams_refused: AtomicU64,
    pub(crate) goaways: AtomicU64,
    pub(crate) connections_opened: AtomicU64,
    pub(crate) connections_failed: AtomicU64,
    pub(crate) connections_lost: AtomicU64,
    pub(crate) keepalive_timeouts: AtomicU64,
    pub(crate) endpoints_ejected: AtomicU64,
    pub(crate) resolutions: AtomicU64,
    pub(crate) resolve_failures: AtomicU64,
    pub(crate) resolve_empty: AtomicU64,
    /// What the observer of endpoints was told last, whether there is one or not.
    pub(crate) recent: RecentEvents<EndpointEvent>,
    pub(crate) endpoints_added: AtomicU64,
    pub(crate) endpoints_removed: AtomicU64,
    pub(crate) disconnections: DisconnectTotals,
    pub(crate) tls_handshakes: HandshakeTotals,
}

impl Totals {
    pub(crate) fn snapshot(&self) -> ChannelCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // What ended before what began, so that never more seem to have ended than begun.
        let disconnections = self.disconnections.snapshot();
        let calls_ended = CallsEnded(std::array::from_fn(|code| read(&self.calls_ended[code])));
        std::sync::atomic::fence(Ordering::Acquire);
        ChannelCounters {
            calls_started: read(&self.calls_started),
            calls_ended,
            transparent_retries: read(&self.transparent_retries),
            retries: read(&self.retries),
            retries_throttled: read(&self.retries_throttled),
            streams_refused: read(&self.streams_refused),
            goaways: read(&self.goaways),
            connections_opened: read(&self.connections_opened),
            connections_failed: read(&self.connections_failed),
            connections_lost: read(&self.connections_lost),
            keepalive_timeouts: read(&self.keepalive_timeouts),
            endpoints_ejected: read(&self.endpoints_ejected),
            resolutions: read(&self.resolutions),
            resolve_failures: read(&self.resolve_failures),
            resolve_empty: read(&self.resolve_empty),
            endpoints_added: read(&self.endpoints_added),
            endpoints_removed: read(&self.endpoints_removed),
            disconnections,
            tls_handshakes: self.tls_handshakes.snapshot(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_number() {
        let totals = Totals::default();
        totals.calls_ended[Code::Unavailable as usize].store(3, Ordering::Relaxed);
        totals.calls_ended[Code::Unauthenticated as usize].store(1, Ordering::Relaxed);
        let ended = totals.snapshot().calls_ended;
        assert_eq!(ended.get(Code::Unavailable), 3);
        assert_eq!(ended.total(), 4);
        assert_eq!(ended.iter().count(), CODES);
        assert!(ended.iter().all(|(code, calls)| calls == ended.get(code)));
    }
}
