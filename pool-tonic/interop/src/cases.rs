//! The cases, and how one is run.

use std::collections::HashSet;
use std::time::Duration;

use pool_tonic::ChannelPool;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};

use crate::Outcome;
use crate::ledger;
use crate::load::{Calls, HANGS_AFTER, Load, MOST_CALLS};
use crate::peer::{Peer, Server, Settings, python, script};
use crate::process::Process;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Pool,
    /// One `tonic::transport::Channel`; balanced over the servers, if there are several.
    Channel,
    /// Python's, with `round_robin`.
    Grpcio,
}

impl Client {
    pub(crate) const ALL: [Self; 3] = [Self::Pool, Self::Channel, Self::Grpcio];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Channel => "Channel",
            Self::Grpcio => "grpcio",
        }
    }

    pub(crate) fn is_here(self) -> bool {
        self != Self::Grpcio || python().is_ok()
    }
}

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    servers: usize,
    callers: usize,
    settings: Settings,
    /// The deadline of each call.
    pub(crate) timeout: Option<Duration>,
    /// Of the pool.
    max_connections: usize,
    /// Calls wait through failures to connect, where the client can do so.
    wait_for_ready: bool,
    event: Event,
}

/// What happens while the load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Nothing,
    /// A successor listens on the same port before the server stops in good order.
    Takeover,
    /// The server stops in good order and comes back on its port, as it would without another one.
    Restart,
    /// Of two servers, one after the other stops in good order and comes back on its port.
    Rolling,
    /// Of two servers, one is killed.
    Kill,
    /// The server does not run for a while.
    Freeze,
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const USUAL: Case = Case {
    name: "load",
    servers: 1,
    callers: 32,
    settings: Settings { delay: millis(5), streams: None, age: None },
    timeout: None,
    max_connections: 10,
    wait_for_ready: false,
    event: Event::Nothing,
};

pub(crate) const CASES: [Case; 8] = [
    Case { settings: Settings { delay: Duration::ZERO, ..USUAL.settings }, ..USUAL },
    // More callers than there are streams, so that calls wait.
    Case {
        name: "limit",
        callers: 60,
        settings: Settings { streams: Some(10), ..USUAL.settings },
        max_connections: 4,
        ..USUAL
    },
    Case { name: "age", settings: Settings { age: Some(millis(300)), ..USUAL.settings }, ..USUAL },
    Case { name: "takeover", event: Event::Takeover, ..USUAL },
    Case { name: "restart", wait_for_ready: true, event: Event::Restart, ..USUAL },
    Case { name: "rolling", servers: 2, event: Event::Rolling, ..USUAL },
    // Slow calls, so that many are in flight.
    Case {
        name: "kill",
        servers: 2,
        settings: Settings { delay: millis(20), ..USUAL.settings },
        event: Event::Kill,
        ..USUAL
    },
    Case { name: "freeze", timeout: Some(millis(400)), event: Event::Freeze, ..USUAL },
];

/// How long the load runs before, between and after events.
const MOMENT: Duration = millis(300);

/// How long it runs if nothing happens.
const WHILE: Duration = millis(1000);

/// How long the server does not run: longer than two deadlines.
const FROZEN: Duration = millis(1000);

/// When the first back-off of gRPC is over for certain: 1 s and a fifth. A server that goes before
/// that finds clients that know of no other.
const BACK_OFF: Duration = millis(1300);

impl Case {
    pub(crate) fn suits(&self, peer: Peer) -> bool {
        self.event != Event::Takeover || peer.shares_port()
    }
}

/// What happened, as far as failures are judged by it.
#[derive(Debug)]
pub(crate) enum Incident {
    None,
    /// A server stopped in good order.
    Stopped,
    Killed {
        /// From here on it was gone.
        gone: Instant,
        /// Calls of all callers that ran when it was killed.
        in_flight: usize,
        /// Calls that it had begun and not ended, by its own ledger.
        unfinished: usize,
        /// Failed calls that the other server has begun.
        elsewhere: usize,
    },
    Frozen {
        /// From here on it ran again.
        thawed: Instant,
    },
}

/// What came of one case with one peer and one client.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) case: &'static Case,
    pub(crate) peer: Peer,
    pub(crate) client: Client,
    pub(crate) calls: Calls,
    /// The client's own number, or else the servers'; `None` if neither is known.
    pub(crate) connections: Option<u64>,
    /// How often the servers have begun the call that they have begun most often.
    pub(crate) highest: usize,
    /// How many calls the servers have begun.
    pub(crate) seen: usize,
    /// Times that the pool sent a call again.
    pub(crate) retries: Option<u64>,
    /// Stream slots that the pool counts when all calls are over.
    pub(crate) left: usize,
    pub(crate) incident: Incident,
}

/// A client with its load.
enum Running {
    Pool(ChannelPool, Load),
    Channel(Load),
    Grpcio(Box<Process>),
}

impl Running {
    async fn start(
        client: Client,
        case: &Case,
        addresses: Vec<String>,
        log: &Server,
    ) -> Outcome<Self> {
        let uris = addresses.iter().map(|address| format!("http://{address}"));
        Ok(match client {
            Client::Pool => {
                let pool = ChannelPool::endpoints(uris)
                    .max_connections(case.max_connections)
                    .wait_for_ready(case.wait_for_ready)
                    .build()?;
                let load = Load::start(&pool.channel(), case.callers, case.timeout);
                Self::Pool(pool, load)
            }
            Client::Channel => {
                let endpoints = uris.map(Endpoint::from_shared).collect::<Result<Vec<_>, _>>()?;
                let channel = match &endpoints[..] {
                    [endpoint] => endpoint.connect_lazy(),
                    _ => Channel::balance_list(endpoints.into_iter()),
                };
                Self::Channel(Load::start(&channel, case.callers, case.timeout))
            }
            Client::Grpcio => {
                let mut command = script(python()?, "client.py");
                let timeout = case.timeout.unwrap_or(HANGS_AFTER).as_millis();
                command.arg(format!("--callers={}", case.callers));
                command.arg(format!("--timeout-ms={timeout}"));
                command.arg(format!("--most-calls={MOST_CALLS}")).args(addresses);
                if case.wait_for_ready {
                    command.arg("--wait-for-ready");
                }
                let mut process = Process::start(command, log.log("client"))?;
                process.hear("started").await?;
                Self::Grpcio(Box::new(process))
            }
        })
    }

    fn in_flight(&self) -> usize {
        match self {
            Self::Pool(_, load) | Self::Channel(load) => load.in_flight(),
            Self::Grpcio(_) => 0,
        }
    }

    async fn stop(self) -> Outcome<(Calls, Option<ChannelPool>)> {
        let mut process = match self {
            Self::Pool(pool, load) => return Ok((load.stop().await?, Some(pool))),
            Self::Channel(load) => return Ok((load.stop().await?, None)),
            Self::Grpcio(process) => process,
        };
        process.ask_to_stop();
        let mut calls = Calls { made: process.hear("calls=").await?.parse()?, ..Calls::default() };
        while let Some(line) = process.line().await? {
            let (code, number) = line.split_once('=').ok_or("a line is CODE=NUMBER")?;
            calls.failed.insert(code.to_owned(), number.parse()?);
        }
        process.gone().await?;
        Ok((calls, None))
    }
}

/// Runs a case.
pub(crate) async fn run(case: &'static Case, peer: Peer, client: Client) -> Outcome<Run> {
    let dir = tempfile::tempdir()?;
    let mut servers = Vec::new();
    for n in 0..case.servers {
        let files = dir.path().join(format!("{}-{n}", peer.name()));
        servers.push(Server::start(peer, case.settings, files).await?);
    }
    let addresses = servers.iter().map(Server::address).collect();
    let running = Running::start(client, case, addresses, &servers[0]).await?;
    let mut incident = happen(case.event, &mut servers, &running).await?;
    let (mut calls, pool) = running.stop().await?;

    let ledgers = servers.iter().map(Server::ledger).collect::<Outcome<Vec<_>>>()?;
    for failure in &mut calls.failures {
        failure.begun = ledgers.iter().any(|ledger| ledger.begun.contains_key(&failure.id));
    }
    if let Incident::Killed { unfinished, elsewhere, .. } = &mut incident {
        *unfinished = ledgers[0].unfinished();
        let begun = |id: &usize| ledgers[1].begun.contains_key(id);
        *elsewhere = calls.failures.iter().filter(|failure| begun(&failure.id)).count();
    }
    let connections = match &pool {
        Some(pool) => Some(pool.counters().connections_opened),
        // Its own to the server are all that the ledger knows.
        None if peer == Peer::Envoy => None,
        None => Some(ledgers.iter().map(|ledger| ledger.connections.len() as u64).sum()),
    };
    let seen: HashSet<_> = ledgers.iter().flat_map(|ledger| ledger.begun.keys()).collect();
    Ok(Run {
        case,
        peer,
        client,
        connections,
        highest: ledger::highest(&ledgers),
        seen: seen.len(),
        retries: pool.as_ref().map(|pool| pool.counters().transparent_retries),
        left: pool.as_ref().map_or(0, |pool| pool.status().streams),
        incident,
        calls,
    })
}

/// Waits, with what happens meanwhile.
async fn happen(event: Event, servers: &mut [Server], running: &Running) -> Outcome<Incident> {
    if event == Event::Nothing {
        sleep(WHILE).await;
        return Ok(Incident::None);
    }
    sleep(MOMENT).await;
    let mut incident = Incident::None;
    match event {
        Event::Nothing => {}
        Event::Takeover => {
            let successor = servers[0].successor().await?;
            servers[0].stop().await?;
            servers[0] = successor;
            incident = Incident::Stopped;
        }
        Event::Restart => {
            servers[0].stop().await?;
            servers[0] = servers[0].successor().await?;
            incident = Incident::Stopped;
            sleep(BACK_OFF).await;
        }
        Event::Rolling => {
            for (n, server) in servers.iter_mut().enumerate() {
                if n > 0 {
                    sleep(BACK_OFF).await;
                }
                server.stop().await?;
                *server = server.successor().await?;
            }
            incident = Incident::Stopped;
        }
        Event::Kill => {
            let in_flight = running.in_flight();
            servers[0].kill().await?;
            let gone = Instant::now();
            incident = Incident::Killed { gone, in_flight, unfinished: 0, elsewhere: 0 };
        }
        Event::Freeze => {
            servers[0].freeze()?;
            sleep(FROZEN).await;
            servers[0].thaw()?;
            incident = Incident::Frozen { thawed: Instant::now() };
        }
    }
    sleep(MOMENT).await;
    Ok(incident)
}
