//! Pools of gRPC connections.

use std::net::SocketAddr;
use std::time::Duration;

use pool_tonic::resolve::{Endpoints, Resolve, ResolveError, ResolveTarget};
use pool_tonic::{
    ChannelPool, ChannelPoolBuilder, Dedicated, MethodName, PooledChannel, RetryPolicy,
};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Ask, Do};
use tokio::net::TcpSocket;
use tokio::time::sleep;
use tonic::{Code, Request};

use crate::Failure;
use crate::generic::Kept;

const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// Between two calls of a caller.
const PAUSE: Duration = Duration::from_millis(20);

fn pool(name: &str, builder: ChannelPoolBuilder) -> Result<ChannelPool, Failure> {
    let pool = builder.build()?;
    pool_metrics::register(name, &pool)?;
    Ok(pool)
}

/// A caller: one call after the other.
fn calls(pool: &ChannelPool, r#do: Do) {
    calls_with(pool, r#do, None);
}

/// The same, each on a connection of its own if they are `dedicated`.
fn calls_with(pool: &ChannelPool, r#do: Do, dedicated: Option<Dedicated>) {
    let mut client: EchoClient<PooledChannel> = EchoClient::new(pool.channel());
    tokio::spawn(async move {
        loop {
            let ask = Ask { text: "hello".to_owned(), r#do: r#do.into(), answers: 1 };
            let mut call = Request::new(ask);
            if let Some(dedicated) = dedicated {
                call.extensions_mut().insert(dedicated);
            }
            // What becomes of it is in the pool's numbers.
            let _ = client.unary(call).await;
            sleep(PAUSE).await;
        }
    });
}

/// Where nobody listens, for as long as the socket is kept.
fn nowhere() -> Result<(String, TcpSocket), Failure> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(ANY.into())?;
    Ok((format!("http://{}", socket.local_addr()?), socket))
}

pub(crate) async fn healthy() -> Result<Vec<Kept>, Failure> {
    let server = EchoServer::start().await?;
    let pool = pool("orders", ChannelPool::builder(server.uri()))?;
    calls(&pool, Do::Echo);
    Ok(vec![Box::new(server), Box::new(pool)])
}

/// Knows no endpoints.
struct Lost;

impl Resolve for Lost {
    async fn resolve(&mut self, _: &ResolveTarget) -> Result<Endpoints, ResolveError> {
        Err(ResolveError::new("the registry is down"))
    }
}

/// A pool for each trouble, named after it.
pub(crate) async fn faults() -> Result<Vec<Kept>, Failure> {
    let mut kept: Vec<Kept> = Vec::new();
    let server = EchoServer::start().await?;

    let (dead, socket) = nowhere()?;
    let down = pool("down", ChannelPool::builder(dead.clone()))?;
    calls(&down, Do::Echo);
    let partly = pool("partly down", ChannelPool::endpoints([server.uri(), dead]))?;
    calls(&partly, Do::Echo);
    kept.push(Box::new((socket, down, partly)));

    let few =
        EchoServer::start_with(SocketAddr::from(ANY), |server| server.max_concurrent_streams(4))
            .await?;
    let capacity = pool("at capacity", ChannelPool::builder(few.uri()).max_connections(1))?;
    (0..8).for_each(|_| calls(&capacity, Do::Hang));
    kept.push(Box::new((few, capacity)));

    let builder = ChannelPool::builder(server.uri()).max_dedicated_connections(1);
    let dedicated = pool("dedicated", builder)?;
    (0..3).for_each(|_| calls_with(&dedicated, Do::Hang, Some(Dedicated)));
    kept.push(Box::new(dedicated));

    let short_lived = EchoServer::start_with(SocketAddr::from(ANY), |server| {
        server.max_connection_age(Duration::from_millis(200))
    })
    .await?;
    let leaving = pool("leaving", ChannelPool::builder(short_lived.uri()).max_connections(1))?;
    calls(&leaving, Do::Echo);
    kept.push(Box::new((short_lived, leaving)));

    let peer = Peer::listen().await?;
    let cut = pool("cut", ChannelPool::builder(peer.uri()))?;
    calls(&cut, Do::Echo);
    tokio::spawn(async move {
        // Each connection is closed with its first call.
        while let Ok(mut raw) = peer.accept_raw(10).await {
            tokio::spawn(async move {
                raw.hear().await;
            });
        }
    });
    kept.push(Box::new(cut));

    let again = RetryPolicy::new(3, [Code::InvalidArgument])
        .initial_backoff(Duration::from_millis(1))
        .max_backoff(Duration::from_millis(2));
    let retrying = ChannelPool::builder(server.uri())
        .retry_policy(MethodName::all(), again)
        .retry_throttling(10, 0.1);
    let retrying = pool("retrying", retrying)?;
    calls(&retrying, Do::Fail);
    kept.push(Box::new((server, retrying)));

    let lost = ChannelPool::builder("http://lost:1")
        .resolver(Lost)
        .resolve_min_gap(Duration::from_millis(200));
    let lost = pool("lost", lost)?;
    calls(&lost, Do::Echo);
    kept.push(Box::new(lost));
    Ok(kept)
}
