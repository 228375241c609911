//! The demo from start to end: what is started, what is driven, and in which order.

use std::process;
use std::time::Duration;

use pool_metrics::Endpoint as MetricsEndpoint;
use pool_tonic::{ChannelPool, ChannelPoolBuilder};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::calls::{DemoCalls, HealthCalls, Kind, Workload};
use crate::cli::Args;
use crate::error::{INTERRUPTED, Problem, chain};
use crate::live::{Live, PoolProgress};
use crate::measure::Loads;
use crate::report::{Outcome, Summary};
use crate::supervisor::{CONNECTION_AGE, SERVERS, STREAMS, Servers};

/// The name of the pool on the metrics endpoint.
const POOL: &str = "demo";

/// For a server to be there, before the load begins.
const READY: Duration = Duration::from_secs(5);

/// For one attempt of the pool to connect. Well below [`READY`]: it is the attempt that knows what was
/// missing.
const CONNECT: Duration = Duration::from_secs(2);

/// What a demo that ran has to show.
#[derive(Debug)]
pub struct Findings {
    /// Of the loads that ran.
    pub summary: Summary,
    /// What ended the demo early, if anything did.
    pub problem: Option<Problem>,
}

/// Does what the command line asks for.
///
/// # Errors
///
/// The demo could not run. That calls failed is in the summary.
pub async fn run(args: &Args) -> Result<Findings, Problem> {
    // First of all, since a port in use is the user's to change, before anything is started.
    let metrics =
        pool_metrics::serve(args.metrics).await.map_err(|error| Problem::new(chain(&error)))?;
    let live = Live::new();
    let demo = Demo {
        args,
        loads: Loads {
            live: &live,
            concurrency: args.concurrency,
            duration: args.duration,
            interrupted: interrupts(live.clone()),
        },
        metrics,
    };
    let findings = match &args.connect {
        None => demo.drive_own_servers().await,
        Some(uri) => demo.drive(uri).await,
    };
    demo.metrics.shutdown().await;
    findings
}

struct Demo<'a> {
    args: &'a Args,
    loads: Loads<'a>,
    metrics: MetricsEndpoint,
}

impl Demo<'_> {
    /// All four kinds of calls, on three servers of the demo's own.
    async fn drive_own_servers(&self) -> Result<Findings, Problem> {
        let mut servers = self.loads.before(Servers::start()).await?;
        let addresses = servers.addresses();
        let uris: Vec<String> =
            addresses.iter().map(|address| format!("http://{address}")).collect();
        let endpoints = uris.iter().map(|uri| endpoint(uri)).collect::<Result<Vec<_>, _>>()?;
        let pool = self.pool(ChannelPool::endpoints(&uris))?;
        self.loads.before(ready(&pool, &uris[0])).await?;
        self.say(&format!(
            "{SERVERS} servers on {}: {STREAMS} streams a connection, connections end after {CONNECTION_AGE:?}, \
             one server after the other restarts",
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        ));
        self.say_where_metrics_are();

        let calls = DemoCalls::new(pool.channel());
        let (outcome, mut went) = self.drive_pool(&pool, calls, Some(&mut servers)).await;
        let mut summary = self.summary(outcome);
        if went.is_ok() && self.compares() {
            let calls = DemoCalls::new(endpoints[0].connect_lazy());
            let (outcome, ended) = self.loads.run("Channel", calls, Some(&mut servers), None).await;
            summary.channel = Some(outcome);
            went = ended;
        }
        if went.is_ok() && self.compares() {
            let calls = DemoCalls::new(Channel::balance_list(endpoints.into_iter()));
            let (outcome, ended) =
                self.loads.run("balance_list", calls, Some(&mut servers), None).await;
            summary.balance_list = Some(outcome);
            went = ended;
        }
        if went.is_ok() {
            went = servers.stop().await;
        }
        Ok(Findings { summary, problem: went.err() })
    }

    /// Health checks, on a server that is somebody else's.
    async fn drive(&self, uri: &Uri) -> Result<Findings, Problem> {
        let uri = uri.to_string();
        let endpoint = endpoint(&uri)?;
        let pool = self.pool(ChannelPool::builder(&uri))?;
        self.loads.before(ready(&pool, &uri)).await?;
        let calls = HealthCalls::new(pool.channel());
        self.loads.before(answers(calls.clone(), &uri)).await?;
        self.say(&format!("calling Check and Watch of grpc.health.v1 at {uri}"));
        self.say_where_metrics_are();

        let (outcome, mut went) = self.drive_pool(&pool, calls, None).await;
        let mut summary = self.summary(outcome);
        if went.is_ok() && self.compares() {
            let calls = HealthCalls::new(endpoint.connect_lazy());
            let (outcome, ended) = self.loads.run("Channel", calls, None, None).await;
            summary.channel = Some(outcome);
            went = ended;
        }
        Ok(Findings { summary, problem: went.err() })
    }

    /// The pool of these endpoints, to be seen on the metrics endpoint.
    fn pool(&self, builder: ChannelPoolBuilder) -> Result<ChannelPool, Problem> {
        let pool = builder
            .max_connections(self.args.max_connections)
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| Problem::because("the pool cannot be built", &error))?;
        pool_metrics::register(POOL, &pool)
            .map_err(|error| Problem::because("the pool cannot be seen on /metrics", &error))?;
        Ok(pool)
    }

    /// The load over the pool, which is closed then: what comes after has the servers to itself.
    async fn drive_pool<W: Workload>(
        &self,
        pool: &ChannelPool,
        calls: W,
        servers: Option<&mut Servers>,
    ) -> (Outcome, Result<(), Problem>) {
        let gauge = || {
            let status = pool.status();
            PoolProgress {
                connecting: status.connecting,
                ready: status.ready,
                draining: status.draining,
                streams: status.streams,
                places: status.capacity,
                waiting: status.waiting,
            }
        };
        let (outcome, ended) = self.loads.run("pool", calls, servers, Some(&gauge)).await;
        let counters = pool.counters();
        pool.close_now();
        let outcome = Outcome {
            retried: Some(counters.transparent_retries),
            goaways: Some(counters.goaways),
            connections_opened: Some(counters.connections_opened),
            ..outcome
        };
        (outcome, ended)
    }

    fn summary(&self, pool: Outcome) -> Summary {
        Summary { concurrency: self.args.concurrency, pool, channel: None, balance_list: None }
    }

    fn compares(&self) -> bool {
        !self.args.no_compare && !*self.loads.interrupted.borrow()
    }

    fn say_where_metrics_are(&self) {
        self.say(&format!("metrics on http://{}/metrics", self.metrics.local_addr()));
    }

    fn say(&self, line: &str) {
        self.loads.live.say(line);
    }
}

/// Waits until the pool has a connection.
async fn ready(pool: &ChannelPool, uri: &str) -> Result<(), Problem> {
    pool.wait_ready(Instant::now() + READY)
        .await
        .map_err(|error| Problem::because(format_args!("no gRPC server at {uri}"), &error))
}

/// Makes one call, to tell a server without health checks before there is any load on it.
async fn answers<W: Workload>(mut calls: W, uri: &str) -> Result<(), Problem> {
    calls.call(Kind::Unary).await.map_err(|failure| {
        Problem::new(format!(
            "the server at {uri} does not answer Check of grpc.health.v1: {} {}",
            failure.code, failure.message
        ))
    })
}

/// As tonic sets it up by default. To be connected lazily: a connection that is there before the load
/// begins is not counted as opened by it.
fn endpoint(uri: &str) -> Result<Endpoint, Problem> {
    Endpoint::from_shared(uri.to_owned())
        .map_err(|error| Problem::because(format_args!("{uri} is no endpoint"), &error))
}

/// Turns true at the first interrupt, which ends the load and shows what there is, or ends the demo if
/// there is nothing yet. The second one ends the process there and then.
fn interrupts(live: Live) -> watch::Receiver<bool> {
    let (interrupt, interrupted) = watch::channel(false);
    tokio::spawn(async move {
        // Where interrupts cannot be heard, the system ends the process as it always does.
        if tokio::signal::ctrl_c().await.is_err() {
            return;
        }
        interrupt.send_replace(true);
        if tokio::signal::ctrl_c().await.is_ok() {
            live.clear();
            process::exit(i32::from(INTERRUPTED));
        }
    });
    interrupted
}
