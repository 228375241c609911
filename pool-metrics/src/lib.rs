//! What the pools do: a page to look at, an endpoint that Prometheus scrapes, answers for Kubernetes' probes, and the
//! same numbers for the `metrics` facade.
//!
//! A pool is registered under a name, which becomes the label `pool` of its series. The registry does
//! not keep it alive; when it is dropped, its series disappear.
//!
//! ```
//! # use pool_core::{CreateContext, Manager};
//! # struct Buffers;
//! # impl Manager for Buffers {
//! #     type Resource = Vec<u8>;
//! #     type Error = std::convert::Infallible;
//! #     async fn create(&self, _cx: &CreateContext) -> Result<Vec<u8>, Self::Error> { Ok(Vec::new()) }
//! # }
//! use pool_core::Pool;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder(Buffers).max_size(4).build()?;
//! pool_metrics::register("buffers", &pool)?;
//!
//! // Give Prometheus a port that stays, as `pool_metrics::DEFAULT_ADDRESS`.
//! let endpoint = pool_metrics::serve("127.0.0.1:0").await?;
//! println!("http://{}/", endpoint.local_addr());
//!
//! let _buffer = pool.get().await?;
//! let scrape = pool_metrics::render();
//! assert!(scrape.contains("pool_connections{pool=\"buffers\",state=\"used\"} 1"));
//! assert!(scrape.contains("pool_acquires_total{pool=\"buffers\",outcome=\"ok\"} 1"));
//! # endpoint.shutdown().await; Ok(()) }
//! ```
//!
//! # What it costs
//!
//! Nothing is recorded where a connection is there at once, and when it comes back: the pools count for themselves, and
//! their numbers are read when somebody asks. Times are taken only where somebody waits anyway. A scrape takes each pool's
//! lock once, to copy some thirty numbers that fit each other. That of a gRPC pool takes the locks of both its pools and
//! of its addresses, one after the other, and copies a few numbers of each connection and of each endpoint: what it says
//! of those may be a moment younger than its counters.
//!
//! The page asks for `/pools` once a second while somebody looks at it, which takes as much again, and each pool's latest
//! events, which it keeps anyway.
//!
//! # The endpoint
//!
//! | | |
//! |---|---|
//! | `/` | the page: each pool with what is the matter in words, charts of the last minutes, connections, endpoints, the latest events with their reasons (feature `page`) |
//! | `/metrics` | what Prometheus scrapes: its own text format, or OpenMetrics for those whose `Accept` prefers it |
//! | `/pools` | what the page is made from, as JSON; its fields may change with the page (feature `page`) |
//! | `/healthz` | 200 while the process answers and no pool that says how it stands is stuck: for a liveness probe. What peers do does not matter, since a restart would not mend that |
//! | `/readyz` | 200 or 503, by what each pool [has to be](Readiness) for the process to be sent work, with a line for each: for a readiness probe |
//!
//! [`serve`] listens on loopback unless told otherwise, and asks nobody who they are: what it shows are names, numbers,
//! addresses and the texts of errors. It takes `GET` and `HEAD`, compresses for those who accept that, gives a request
//! five seconds, and ten to request and answer together, and serves 64 connections at a time: the oldest that has not
//! asked yet makes way for a newer one, so a slow client, or a thousand, keep no scrape waiting. [`router`] is the same
//! for a server of one's own.
//!
//! For probes from outside of the pod's loopback, Kubernetes' own, listen on `0.0.0.0` and keep the port from the
//! world, or mount the router where the probes are:
//!
//! ```yaml
//! livenessProbe:
//!   httpGet: { path: /healthz, port: 9000 }
//! readinessProbe:
//!   httpGet: { path: /readyz, port: 9000 }
//! ```
//!
//! # The page
//!
//! It is one file and needs nothing from elsewhere, neither a Prometheus nor the network; its policy allows the browser
//! nothing else. Its history is what it has seen itself, of five minutes at most. It says when the process does not answer
//! any more, or something else does in its place, and when a pool was closed or dropped. It is of one process: behind a
//! Service with several replicas it shows whichever of them answers, and begins anew with each that does; look at one of
//! them by itself (`kubectl port-forward pod/NAME 9000`). `cargo run -p examples --bin page` shows it with pools in trouble.
//!
//! # What there is
//!
//! Every pool, with the label `pool` on every series:
//!
//! | name | kind | label | | OpenTelemetry's |
//! |---|---|---|---|---|
//! | `pool_connections` | gauge | `state`: `connecting`, `idle`, `used`, `draining`, `closing` | connections by what they are doing | `db.client.connection.count` |
//! | `pool_connections_max`, `pool_connections_min` | gauge | | the limits | `db.client.connection.max` |
//! | `pool_connections_idle_max`, `pool_connections_idle_min` | gauge | | those of idle connections | `db.client.connection.idle.max`, `.idle.min` |
//! | `pool_leases` | gauge | | leases that are out; a shared connection may have several | |
//! | `pool_places` | gauge | | leases that the connections there are could have at once | |
//! | `pool_waiters` | gauge | | callers that wait | `db.client.connection.pending_requests` |
//! | `pool_acquires_started_total` | counter | | attempts to get a connection that have begun | |
//! | `pool_acquires_pending` | gauge | | those of them that wait, or whose connection is being checked | |
//! | `pool_acquires_total` | counter | `outcome`: `ok`, `timeout`, `cancelled`, `closed`, `error`, `rejected`, `shed`, `paused` | those of them that have ended | `db.client.connection.timeouts` is `timeout` |
//! | `pool_acquire_waits_total` | counter | | attempts that could not be served at once | |
//! | `pool_wait_time_seconds` | histogram | | how long those queued, however that ended | `db.client.connection.wait_time`, which counts the others too |
//! | `pool_connections_created_total` | counter | | connections created | |
//! | `pool_create_failures_total` | counter | | creations that failed or took too long | |
//! | `pool_last_create_failure_timestamp_seconds` | gauge | | when one failed last, in Unix time; 0 for never | |
//! | `pool_create_time_seconds` | histogram | `outcome`: `ok`, `error`, `timeout` | how long creations took | `db.client.connection.create_time` |
//! | `pool_check_time_seconds` | histogram | `outcome`: `ok`, `failed`, `timeout` | how long checks took that were not done at once | |
//! | `pool_use_time_seconds` | histogram | | how long leases were out, where the pool [times them](pool_core::Builder::time_leases) | `db.client.connection.use_time` |
//! | `pool_connections_closed_total` | counter | `reason`: see [`EndReason`](pool_core::EndReason) | connections that have left | |
//! | `pool_info` | gauge | `version`, `manager` | 1: the version of this crate, and the type of the pool's manager, without its path and parameters | |
//!
//! and, without that label, `pool_scrape_duration_seconds`, a gauge: how long it took to collect all that.
//!
//! At every scrape `pool_acquires_started_total` is the sum of `pool_acquires_total` over all outcomes and of
//! `pool_acquires_pending`. All histograms have the same bounds, from a tenth of a millisecond to a minute. Wait times are
//! exact while waits are few, and a weighted sample of one in sixteen where more than eight in ten milliseconds begin: see
//! [`Timings`](pool_core::Timings).
//!
//! Of what these say, the first to watch is `pool_waiters`: a pool without an idle connection is at a
//! healthy peak, one with waiters is too small, or its holders are slow.
//! `rate(pool_acquire_waits_total[5m]) / on(pool) sum by (pool) (rate(pool_acquires_total[5m]))` is the
//! share of gets that had to wait.
//!
#![cfg_attr(feature = "tonic", doc = include_str!("grpc.md"))]
#![cfg_attr(feature = "calls", doc = include_str!("calls.md"))]
//! # Features
//!
//! - `page` (default): the page and its JSON.
//! - `tonic`: gRPC pools can be registered.
//! - `calls`: calls by method and status, around any channel (with `tonic`).
//!
//! # Beyond Prometheus
//!
//! [`Mirror`] hands the same numbers to the recorder of the `metrics` facade. [`Source`] is how a type
//! of one's own is registered. [`Registry::append`] puts the text of another recorder on the same endpoint.

#[cfg(feature = "calls")]
mod calls;
mod endpoint;
mod family;
#[cfg(feature = "tonic")]
mod grpc;
mod histogram;
mod mirror;
#[cfg(feature = "page")]
mod page;
mod pool;
mod readiness;
mod registry;
mod render;
mod sample;
mod source;
#[cfg(feature = "page")]
mod view;
#[cfg(all(feature = "page", feature = "tonic"))]
mod view_grpc;

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::ToSocketAddrs;

#[cfg(feature = "calls")]
pub use calls::{CallBody, CallFuture, CallMetrics, CountedCalls};
pub use endpoint::{CONTENT_TYPE, DEFAULT_ADDRESS, Endpoint, OPENMETRICS_CONTENT_TYPE};
pub use family::{Family, Kind, Labelled};
pub use histogram::Histogram;
pub use mirror::{Mirror, MirrorError, Mirroring};
pub use readiness::{PoolReport, Readiness, Report, Standing};
pub use registry::{RegisterError, Registry};
pub use sample::Sample;
pub use source::{Probe, Source};

/// Shows `source` under `name` in the registry of the process: see [`Registry::register`].
///
/// # Errors
///
/// If a pool of that name is registered and alive, and if the name is empty.
pub fn register(
    name: impl Into<String>,
    source: &(impl Source + ?Sized),
) -> Result<(), RegisterError> {
    Registry::global().register(name, source)
}

/// Shows `source` under `name`, and says what it has to be for the process to be ready: see
/// [`Registry::register_with`].
///
/// # Errors
///
/// If a pool of that name is registered and alive, and if the name is empty.
pub fn register_with(
    name: impl Into<String>,
    source: &(impl Source + ?Sized),
    readiness: Readiness,
) -> Result<(), RegisterError> {
    Registry::global().register_with(name, source, readiness)
}

/// Shows the pool of that name no more: see [`Registry::unregister`].
pub fn unregister(name: &str) -> bool {
    Registry::global().unregister(name)
}

/// The numbers of the process's pools now, as Prometheus' text format: see [`Registry::render`].
pub fn render() -> String {
    Registry::global().render()
}

/// Serves what the process's pools do, on [`DEFAULT_ADDRESS`] or any other: see
/// [`Registry::serve`].
///
/// # Errors
///
/// If the address cannot be listened on, and outside a tokio runtime.
///
/// # Panics
///
/// In a tokio runtime without I/O or time.
///
/// # Cancel safety
///
/// Dropped half-way, nothing listens.
pub async fn serve(address: impl ToSocketAddrs + Debug) -> io::Result<Endpoint> {
    Registry::global().serve(address).await
}

/// What [`serve`] answers of the process's pools, for a server of one's own: see [`Registry::router`], also for the paths
/// that it has.
pub fn router() -> Router {
    Registry::global().router()
}

/// Hands the numbers of the process's pools to the recorder of the `metrics` facade, at every
/// `interval`: see [`Mirror`].
///
/// # Errors
///
/// Outside a tokio runtime, and if `interval` is zero.
pub fn mirror(interval: Duration) -> Result<Mirroring, MirrorError> {
    Mirror::new(Registry::global()).start(interval)
}
