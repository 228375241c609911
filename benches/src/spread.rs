//! Calls to several servers: how a client spreads them, also when one of the servers is in trouble.
//!
//! Each measurement has servers of its own, each of them a process, and a client of its own, of which all of them
//! have got calls before the trouble begins and the clock starts. The servers count.

use std::time::Duration;

use pool_tonic::{ChannelPool, ChannelPoolBuilder};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::rpc::proto::echo_client::EchoClient;
use crate::rpc::{self, Call, Caller, Connections, Failure, Sample, Server, Setup, Until, load};

/// How many servers there are.
pub const SERVERS: usize = 3;

/// Which of them is the one in trouble.
const TROUBLED: usize = SERVERS - 1;

/// What a client is given to see what its server's end did to its connections.
const NOTICE: Duration = Duration::from_millis(10);

/// How often the warm-up is made before a server that gets nothing is a failure.
const WARM_UPS: usize = 100;

/// What makes calls.
#[derive(Clone, Copy, Debug)]
pub enum System {
    /// This project's pool, with what it is told beyond its defaults.
    Pool(fn(ChannelPoolBuilder) -> ChannelPoolBuilder),
    /// `Channel::balance_list`.
    BalanceList,
}

/// What becomes of the last of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It goes on as the others.
    None,
    /// It answers so much later than the others.
    Slow(Duration),
    /// It answers UNAVAILABLE at once.
    Fails,
    /// It was killed, while no call ran.
    Killed,
    /// It is killed when a third of the time is over.
    KilledMeanwhile,
}

/// What is asked of every system.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// How many calls are made at a time.
    pub concurrent: usize,
    /// What goes wrong.
    pub trouble: Trouble,
}

/// What a measurement found.
#[derive(Debug)]
pub struct Spread {
    /// The calls as their callers saw them.
    pub sample: Sample,
    /// How many of them each server got. Of one that is killed meanwhile, those until then.
    pub calls: [usize; SERVERS],
}

/// One measurement, after a warm-up of some time.
///
/// # Errors
///
/// If a server or the client cannot be made, a server ends that was not killed, or one gets no calls at all while
/// nothing is wrong with it. Calls that fail are counted.
pub fn measure(
    runtime: &Runtime,
    system: System,
    scenario: Scenario,
    warm_up: Duration,
    time: Duration,
) -> Result<Spread, Failure> {
    let start = |_| Server::start(None, Setup::Plain);
    let servers = (0..SERVERS).map(start).collect::<Result<Vec<_>, _>>()?;
    let uris: Vec<_> = servers.iter().map(|server| server.uri().to_owned()).collect();
    runtime.block_on(async {
        match system {
            System::Pool(told) => {
                let pool = told(ChannelPool::endpoints(uris)).build()?;
                spread(EchoClient::new(pool.channel()), servers, scenario, warm_up, time).await
            }
            System::BalanceList => {
                let endpoints = uris.into_iter().map(Endpoint::from_shared);
                let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
                let channel = Channel::balance_list(endpoints.into_iter());
                spread(EchoClient::new(channel), servers, scenario, warm_up, time).await
            }
        }
    })
}

async fn spread<C: Caller>(
    caller: C,
    mut servers: Vec<Server>,
    Scenario { concurrent, trouble }: Scenario,
    warm_up: Duration,
    time: Duration,
) -> Result<Spread, Failure> {
    let calls = rpc::Scenario {
        title: String::new(),
        call: Call::unary(Duration::ZERO),
        concurrent,
        beside: None,
        connections: Connections::Unset,
        setup: Setup::Plain,
        limit: None,
    };
    let (failed, failure) = connect(&caller, &calls, &mut servers, warm_up).await?;
    let troubled = &mut servers[TROUBLED];
    match trouble {
        Trouble::None | Trouble::KilledMeanwhile => {}
        Trouble::Slow(later) => troubled.slow(later)?,
        Trouble::Fails => troubled.fail()?,
        Trouble::Killed => {
            troubled.kill()?;
            tokio::time::sleep(NOTICE).await;
        }
    }
    let meanwhile = async {
        if trouble != Trouble::KilledMeanwhile {
            return Ok::<_, Failure>(0);
        }
        tokio::time::sleep(time / 3).await;
        let calls = troubled.take_calls()?;
        troubled.kill()?;
        Ok(calls)
    };
    let (mut sample, until_killed) =
        tokio::join!(load(&caller, &calls, Until::Time(time)), meanwhile);
    sample.failed += failed;
    sample.failure = sample.failure.or(failure);
    let is_there = !matches!(trouble, Trouble::Killed | Trouble::KilledMeanwhile);
    let mut calls = [0; SERVERS];
    for (index, server) in servers.iter_mut().enumerate() {
        if index != TROUBLED || is_there {
            calls[index] = server.take_calls()?;
        }
    }
    calls[TROUBLED] += until_killed?;
    Ok(Spread { sample, calls })
}

/// Makes calls until every server has got one. How many failed, and why one of them did.
async fn connect<C: Caller>(
    caller: &C,
    calls: &rpc::Scenario,
    servers: &mut [Server],
    warm_up: Duration,
) -> Result<(usize, Option<Failure>), Failure> {
    let (mut failed, mut failure) = (0, None);
    for _ in 0..WARM_UPS {
        let sample = load(caller, calls, Until::Time(warm_up)).await;
        failed += sample.failed;
        failure = failure.or(sample.failure);
        let mut idle = 0;
        for server in &mut *servers {
            idle += usize::from(server.take_calls()? == 0);
        }
        if idle == 0 {
            return Ok((failed, failure));
        }
    }
    Err("a server has got no calls".into())
}
