//! Generated clients, over what tonic and this project have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pool_tonic::{ChannelPool, MethodName, Pem, PooledChannel, RetryPolicy, TlsConfig};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Response, Streaming};

use super::proto::Answer;
use super::proto::echo_client::EchoClient;
use super::{Call, Caller, Connections, Failure, Kind, Scenario, Server, Setup, System};

/// How long nothing is read until the server is asked whether it is there, where connections are guarded.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How old such connections may become, and how long be without calls.
const AGE: Duration = Duration::from_secs(600);

/// What a generated client runs on: the bounds of generated clients under one name.
pub trait Transport:
    GrpcService<
        Body,
        Error: Into<StdError>,
        Future: Send,
        ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<T> Transport for T where
    T: GrpcService<
            Body,
            Error: Into<StdError>,
            Future: Send,
            ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// Makes what clients run on.
pub trait Stack: Clone + Send + Sync + 'static {
    /// As [`System::NAME`].
    const NAME: &'static str;

    /// What a client runs on.
    type Transport: Transport;

    /// One for each client, which are called in turn.
    ///
    /// # Errors
    ///
    /// If the URI or the settings are refused.
    fn transports(server: &Server, scenario: &Scenario) -> Result<Vec<Self::Transport>, Failure>;
}

/// This project's pool.
#[derive(Clone, Debug)]
pub struct Pooled;

impl Stack for Pooled {
    const NAME: &'static str = "pool-tonic";

    type Transport = PooledChannel;

    fn transports(server: &Server, scenario: &Scenario) -> Result<Vec<PooledChannel>, Failure> {
        let mut builder = ChannelPool::builder(server.uri());
        if let Some(ca) = server.certificate() {
            builder = builder.tls_config(TlsConfig::new().ca_certificate(Pem::bytes(ca)));
        }
        if scenario.setup == Setup::Guarded {
            builder = builder
                .health_check("")
                .keepalive_time(KEEPALIVE)
                .keepalive_without_calls(true)
                .max_connection_age(AGE)
                .idle_timeout(AGE)
                .retry_policy(MethodName::all(), RetryPolicy::new(4, [Code::Unavailable]))
                .retry_throttling(10, 0.1);
        }
        let builder = match scenario.connections {
            Connections::Unset => builder,
            Connections::Exactly(connections) => builder
                .min_connections(connections)
                .target_connections(connections)
                .max_connections(connections),
            Connections::AtMost(connections) => builder.max_connections(connections),
        };
        Ok(vec![builder.build()?.channel()])
    }
}

/// What every `Channel` is made of: beside TLS, it can guard its connections by keepalive.
fn endpoint(server: &Server, scenario: &Scenario) -> Result<Endpoint, Failure> {
    endpoint_of(server.uri().to_owned(), server, scenario)
}

fn endpoint_of(uri: String, server: &Server, scenario: &Scenario) -> Result<Endpoint, Failure> {
    let mut endpoint = Endpoint::from_shared(uri)?;
    if let Some(ca) = server.certificate() {
        let ca = Certificate::from_pem(ca);
        endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca))?;
    }
    if scenario.setup == Setup::Guarded {
        endpoint = endpoint.http2_keep_alive_interval(KEEPALIVE).keep_alive_while_idle(true);
    }
    Ok(endpoint)
}

/// One `Channel`.
#[derive(Clone, Debug)]
pub struct OneChannel;

impl Stack for OneChannel {
    const NAME: &'static str = "channel";

    type Transport = Channel;

    fn transports(server: &Server, scenario: &Scenario) -> Result<Vec<Channel>, Failure> {
        Ok(vec![endpoint(server, scenario)?.connect_lazy()])
    }
}

/// One `Channel` with settings that make its streams faster, and calls beside them slower: larger windows than its
/// defaults, which are the pool's, too, and frames as large as the pool's.
#[derive(Clone, Debug)]
pub struct LargeWindows;

impl Stack for LargeWindows {
    const NAME: &'static str = "channel, large windows";

    type Transport = Channel;

    fn transports(server: &Server, scenario: &Scenario) -> Result<Vec<Channel>, Failure> {
        let endpoint = endpoint(server, scenario)?
            .initial_stream_window_size(16 << 20)
            .initial_connection_window_size(16 << 20)
            .max_frame_size(32 << 10);
        Ok(vec![endpoint.connect_lazy()])
    }
}

/// As many `Channel`s as there are to be connections, in turn.
#[derive(Clone, Debug)]
pub struct InTurn;

impl Stack for InTurn {
    const NAME: &'static str = "channels in turn";

    type Transport = Channel;

    fn transports(server: &Server, scenario: &Scenario) -> Result<Vec<Channel>, Failure> {
        let endpoint = endpoint(server, scenario)?;
        Ok((0..scenario.connections.fixed()).map(|_| endpoint.connect_lazy()).collect())
    }
}

/// `balance_list` of as many endpoints as there are to be connections. Of those with the same URI it keeps one, so each has
/// a path of its own, which it does not go by.
#[derive(Clone, Debug)]
pub struct Balanced;

impl Stack for Balanced {
    const NAME: &'static str = "balance_list";

    type Transport = Channel;

    fn transports(server: &Server, scenario: &Scenario) -> Result<Vec<Channel>, Failure> {
        let endpoints = (0..scenario.connections.fixed())
            .map(|n| endpoint_of(format!("{}/{n}", server.uri()), server, scenario))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(vec![Channel::balance_list(endpoints.into_iter())])
    }
}

/// Clients over the transports of a stack.
#[derive(Clone, Debug)]
pub struct Clients<S: Stack> {
    clients: Vec<EchoClient<S::Transport>>,
    next: Arc<AtomicUsize>,
}

impl<S: Stack> System for Clients<S> {
    const NAME: &'static str = S::NAME;

    async fn connect(server: &Server, scenario: &Scenario) -> Result<Self, Failure> {
        let transports = S::transports(server, scenario)?;
        let clients = transports.into_iter().map(EchoClient::new).collect();
        Ok(Self { clients, next: Arc::default() })
    }
}

impl<S: Stack> Caller for Clients<S> {
    async fn call(&mut self, call: &Call, read: &AtomicUsize) -> Result<(), Failure> {
        let client = match &mut self.clients[..] {
            [client] => client,
            clients => {
                let turn = self.next.fetch_add(1, Ordering::Relaxed);
                &mut clients[turn % clients.len()]
            }
        };
        client.call(call, read).await
    }
}

impl<T: Transport> Caller for EchoClient<T> {
    async fn call(&mut self, call: &Call, read: &AtomicUsize) -> Result<(), Failure> {
        let asks = || tokio_stream::iter(std::iter::repeat_n(call.ask(), call.asks()));
        let one = |answer: Response<Answer>| {
            let bytes = answer.into_inner().payload.len();
            read.fetch_add(bytes, Ordering::Relaxed);
            bytes
        };
        let bytes = match call.kind {
            Kind::Unary => one(self.unary(call.request()).await?),
            Kind::ServerStream => all(self.server_stream(call.ask()).await?, read).await?,
            Kind::ClientStream => one(self.client_stream(asks()).await?),
            Kind::Bidi => all(self.bidi(asks()).await?, read).await?,
        };
        call.expect(bytes)
    }
}

async fn all(answers: Response<Streaming<Answer>>, read: &AtomicUsize) -> Result<usize, Failure> {
    let (mut answers, mut bytes) = (answers.into_inner(), 0);
    while let Some(answer) = answers.message().await? {
        read.fetch_add(answer.payload.len(), Ordering::Relaxed);
        bytes += answer.payload.len();
    }
    Ok(bytes)
}
