//! How a case is run.

use std::collections::HashSet;
use std::time::Duration;

use pool_tonic::ChannelPool;
use tokio::time::{Instant, sleep};

use crate::Outcome;
use crate::cases::{ASKED_AFTER, Case, Event, millis};
use crate::clients::{Client, Running};
use crate::ledger;
use crate::load::Calls;
use crate::peer::{Peer, Server};
use crate::process::PATIENCE;
use crate::sockets;
use crate::tls::Certificates;

/// How long the load runs before, between and after events.
const MOMENT: Duration = millis(300);

/// How long it runs if nothing happens.
const WHILE: Duration = millis(1000);

/// How long the server does not run: longer than two deadlines.
const FROZEN: Duration = millis(1000);

/// When the first back-off of gRPC is over for certain: 1 s and a fifth. A server that goes before
/// that finds clients that know of no other.
const BACK_OFF: Duration = millis(1300);

/// How often somebody looks at what others do.
const LOOK: Duration = millis(20);

/// For farewells; no call runs any more.
const GRACE: Duration = millis(1000);

/// What happened, as far as failures are judged by it.
#[derive(Debug)]
pub(crate) enum Incident {
    None,
    /// A server stopped in good order.
    Stopped,
    Killed {
        address: String,
        /// From here on it was gone.
        gone: Instant,
        /// Calls of all callers that ran when it was killed.
        in_flight: usize,
        /// Calls that it had begun and not ended, by its own ledger.
        unfinished: usize,
    },
    /// A server did not run until keepalive had found out.
    Silent {
        /// When the pool had no connection to it any more, and how long that took; `None` if it kept one.
        ended: Option<(Instant, Duration)>,
        /// Connections that keepalive has ended.
        connections: u64,
        /// Calls of all callers that ran when the pool still had one.
        in_flight: usize,
    },
    /// A server found pings too many.
    Calmed {
        /// Connections that it ended for that.
        goaways: u64,
        /// How long it had sent nothing when a ping came: the least on connections that were there before.
        before: Option<Duration>,
        /// Likewise, on those that were made afterwards.
        after: Option<Duration>,
    },
    /// A server said for a while that it does not serve.
    NotServing {
        /// Calls that it had begun before.
        before: usize,
        /// That it has begun meanwhile.
        meanwhile: usize,
        /// How long after it had said that it serves again it has begun another one, if it has.
        back: Option<Duration>,
    },
    Frozen {
        /// From here on it ran again.
        thawed: Instant,
    },
}

/// Sockets to the servers of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sockets {
    /// When the load had ended.
    pub(crate) before: usize,
    /// When the pool was closed.
    pub(crate) after: usize,
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
    /// How often the servers have begun the calls that they have begun least and most often; `None` without any.
    pub(crate) begun: Option<(usize, usize)>,
    /// How many calls the servers have begun.
    pub(crate) seen: usize,
    /// Times that the pool sent a call again.
    pub(crate) resent: Option<u64>,
    /// Stream slots that the pool counts when all calls are over.
    pub(crate) left: usize,
    /// Of the pool.
    pub(crate) sockets: Option<Sockets>,
    pub(crate) incident: Incident,
}

/// Runs a case.
pub(crate) async fn run(case: &'static Case, peer: Peer, client: Client) -> Outcome<Run> {
    let dir = tempfile::tempdir()?;
    let certificates = Certificates::of(dir.path());
    if case.trust.is_some() {
        certificates.make()?;
    }
    let mut servers = Vec::new();
    for n in 0..case.servers {
        let files = dir.path().join(format!("{}-{n}", peer.name()));
        servers.push(Server::start(peer, case.settings, files).await?);
    }
    let running = Running::start(client, case, &servers, &certificates).await?;
    let mut incident = happen(case.event, &mut servers, &running).await?;
    let (mut calls, pool) = running.stop().await?;

    let ledgers = servers.iter().map(Server::ledger).collect::<Outcome<Vec<_>>>()?;
    for failure in &mut calls.failures {
        failure.begun = ledgers.iter().any(|ledger| ledger.begun.contains_key(&failure.id));
    }
    if let Incident::Killed { unfinished, .. } = &mut incident {
        *unfinished = ledgers[0].unfinished();
    }
    let connections = match &pool {
        Some(pool) => Some(pool.counters().connections_opened),
        // Its own to the server are all that the ledger knows.
        None if peer == Peer::Envoy => None,
        None => Some(ledgers.iter().map(|ledger| ledger.connections.len() as u64).sum()),
    };
    let (resent, left) = match &pool {
        Some(pool) => (Some(pool.counters().transparent_retries), pool.status().streams),
        None => (None, 0),
    };
    let ports: Vec<_> = servers.iter().map(Server::port).collect();
    let sockets = match pool {
        Some(pool) => Some(close(pool, &ports).await?),
        None => None,
    };
    let seen: HashSet<_> = ledgers.iter().flat_map(|ledger| ledger.begun.keys()).collect();
    Ok(Run {
        case,
        peer,
        client,
        connections,
        begun: ledger::begun(&ledgers),
        seen: seen.len(),
        resent,
        left,
        sockets,
        incident,
        calls,
    })
}

/// Has a server not run until the pool has no connection to it any more.
async fn fall_silent(server: &Server, running: &Running) -> Outcome<Incident> {
    let (pool, _) = running.pool()?;
    let is_connected = || pool.addresses().first().is_some_and(|address| address.ready > 0);
    let began = Instant::now();
    while !is_connected() && began.elapsed() < PATIENCE {
        sleep(LOOK).await;
    }
    sleep(MOMENT).await;
    server.freeze()?;
    let frozen = Instant::now();
    let (mut ended, mut in_flight) = (None, 0);
    while ended.is_none() && frozen.elapsed() < PATIENCE {
        in_flight = running.in_flight();
        sleep(LOOK).await;
        ended = (!is_connected()).then(|| (Instant::now(), frozen.elapsed()));
    }
    let connections = pool.counters().keepalive_timeouts;
    // Calls go elsewhere while it is silent.
    sleep(MOMENT).await;
    server.thaw()?;
    Ok(Incident::Silent { ended, connections, in_flight })
}

/// Lets keepalive ask a server until that complains, and once more.
async fn ping(server: &Server, running: &Running) -> Outcome<Incident> {
    let (pool, load) = running.pool()?;
    load.hold();
    let held = Instant::now();
    sleep(MOMENT).await;
    let old = server.ledger()?.connections;
    let connections = pool.connection_list().len() as u64;
    // It allows a first ping, and three too early ones, each after the time. Then it closes the connection at once, so
    // that a call that it has begun is lost: calls go on when all connections have been told.
    while pool.counters().goaways < connections && held.elapsed() < 5 * ASKED_AFTER {
        sleep(millis(1)).await;
    }
    load.go_on();
    sleep(MOMENT).await;
    load.hold();
    let held = Instant::now();
    let mut pings: (Vec<_>, Vec<_>) = Default::default();
    while pings.1.is_empty() && held.elapsed() < 3 * ASKED_AFTER {
        sleep(MOMENT).await;
        let all = server.ledger()?.pings;
        pings = all.into_iter().partition(|(connection, _)| old.contains(connection));
    }
    load.go_on();
    let least =
        |pings: Vec<(String, Duration)>| pings.into_iter().map(|(_, silence)| silence).min();
    let (before, after) = (least(pings.0), least(pings.1));
    Ok(Incident::Calmed { goaways: pool.counters().goaways, before, after })
}

/// Has a server say that it does not serve, and then again that it does.
async fn serve_not(server: &mut Server, running: &Running) -> Outcome<Incident> {
    let ((pool, _), address) = (running.pool()?, server.address());
    // The pool has heard of it, and what it had sent before has been answered.
    let has_no_calls = || {
        let list = pool.connection_list();
        let mut its = list.iter().filter(|connection| connection.address == address);
        pool.addresses().first().is_some_and(|address| address.ready == 0)
            && its.all(|connection| connection.streams == 0)
    };
    server.says("NOT_SERVING").await?;
    let said = Instant::now();
    while !has_no_calls() && said.elapsed() < PATIENCE {
        sleep(LOOK).await;
    }
    let before = server.ledger()?.begun.len();
    sleep(MOMENT).await;
    let until = server.ledger()?.begun.len();
    server.says("SERVING").await?;
    let said = Instant::now();
    let mut back = None;
    while back.is_none() && said.elapsed() < PATIENCE {
        sleep(LOOK).await;
        back = (server.ledger()?.begun.len() > until).then(|| said.elapsed());
    }
    Ok(Incident::NotServing { before, meanwhile: until - before, back })
}

/// Closes a pool that has connections to these ports.
async fn close(pool: ChannelPool, ports: &[u16]) -> Outcome<Sockets> {
    let before = sockets::to(ports)?;
    pool.close(GRACE).await;
    Ok(Sockets { before, after: sockets::to(ports)? })
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
            let (address, gone) = (servers[0].address(), Instant::now());
            incident = Incident::Killed { address, gone, in_flight, unfinished: 0 };
        }
        Event::NotServing => incident = serve_not(&mut servers[0], running).await?,
        Event::Silence => incident = fall_silent(&servers[0], running).await?,
        Event::Pings => incident = ping(&servers[0], running).await?,
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
