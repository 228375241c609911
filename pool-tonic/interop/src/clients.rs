//! The clients, each with its load.

use pool_tonic::ChannelPool;
use tonic::transport::{Channel, Endpoint};

use crate::Outcome;
use crate::cases::Case;
use crate::load::{Calls, HANGS_AFTER, Load, MOST_CALLS};
use crate::peer::{Server, python, script};
use crate::process::Process;
use crate::tls::Certificates;

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

/// A client with its load.
pub(crate) enum Running {
    Pool(ChannelPool, Load),
    Channel(Load),
    Grpcio(Box<Process>),
}

impl Running {
    pub(crate) async fn start(
        client: Client,
        case: &Case,
        servers: &[Server],
        certificates: &Certificates,
    ) -> Outcome<Self> {
        let scheme = if case.trust.is_some() { "https" } else { "http" };
        let addresses = servers.iter().map(Server::address);
        let uris = addresses.clone().map(|address| format!("{scheme}://{address}"));
        Ok(match client {
            Client::Pool => {
                let mut builder = ChannelPool::endpoints(uris).wait_for_ready(case.wait_for_ready);
                if let Some(trust) = case.trust {
                    builder = builder.tls_config(certificates.config(trust));
                }
                let pool = (case.pool)(builder)?.build()?;
                let load = Load::start(&pool.channel(), case.callers, case.terms);
                Self::Pool(pool, load)
            }
            Client::Channel => {
                let endpoints = uris.map(Endpoint::from_shared).collect::<Result<Vec<_>, _>>()?;
                let channel = match &endpoints[..] {
                    [endpoint] => endpoint.connect_lazy(),
                    _ => Channel::balance_list(endpoints.into_iter()),
                };
                Self::Channel(Load::start(&channel, case.callers, case.terms))
            }
            Client::Grpcio => {
                let mut command = script(python()?, "client.py");
                let timeout = case.terms.timeout.unwrap_or(HANGS_AFTER).as_millis();
                command.arg(format!("--callers={}", case.callers));
                command.arg(format!("--timeout-ms={timeout}"));
                command.arg(format!("--most-calls={MOST_CALLS}")).args(addresses);
                if case.wait_for_ready {
                    command.arg("--wait-for-ready");
                }
                let mut process = Process::start(command, servers[0].log("client"))?;
                process.hear("started").await?;
                Self::Grpcio(Box::new(process))
            }
        })
    }

    /// The pool and its load, in cases that are its own.
    pub(crate) fn pool(&self) -> Outcome<(&ChannelPool, &Load)> {
        match self {
            Self::Pool(pool, load) => Ok((pool, load)),
            Self::Channel(_) | Self::Grpcio(_) => Err("it has no pool".into()),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        match self {
            Self::Pool(_, load) | Self::Channel(load) => load.in_flight(),
            Self::Grpcio(_) => 0,
        }
    }

    pub(crate) async fn stop(self) -> Outcome<(Calls, Option<ChannelPool>)> {
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
