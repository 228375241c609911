//! Pools of gRPC connections, and the servers that they call.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use examples::proto::demo_client::DemoClient;
use examples::proto::demo_server::DemoServer;
use examples::proto::{Number, Text};
use examples::service::DemoService;
use pool_metrics::Readiness;
use pool_tonic::resolve::{Endpoint, Endpoints, Resolve, ResolveError, ResolveTarget};
use pool_tonic::{ChannelPool, Dedicated, FailurePercentage, OutlierDetection};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Status};

use crate::{FOREVER, Failure};

const SECOND: Duration = Duration::from_secs(1);

/// How many calls a server takes on a connection.
const STREAMS: u32 = 20;

/// A server, which answers every call with `answer` if there is one.
async fn server(answer: Option<Status>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let check = move |call: Request<()>| answer.clone().map_or(Ok(call), Err);
    let server = tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS)
        .add_service(DemoServer::with_interceptor(DemoService, check))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Ok(address)
}

/// An address at which nobody listens.
async fn nobody() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Callers that rest after each call. What has failed shows on the page.
fn calls(tasks: &mut JoinSet<()>, pool: &ChannelPool, callers: usize, rest: u64) {
    for _ in 0..callers {
        let mut client = DemoClient::new(pool.channel());
        tasks.spawn(async move {
            loop {
                let _ = client.echo(Text { body: "hello".to_owned() }).await;
                sleep(Duration::from_millis(rest)).await;
            }
        });
    }
}

/// Calls that ask for more than the server gives.
fn wrong_calls(tasks: &mut JoinSet<()>, pool: &ChannelPool, rest: u64) {
    let mut client = DemoClient::new(pool.channel());
    tasks.spawn(async move {
        loop {
            let _ = client.count(Number { value: u64::MAX }).await;
            sleep(Duration::from_millis(rest)).await;
        }
    });
}

/// Calls that do not end, each on a connection of its own if they are `dedicated`.
fn long_calls(
    tasks: &mut JoinSet<()>,
    pool: &ChannelPool,
    callers: u32,
    dedicated: Option<Dedicated>,
) {
    for _ in 0..callers {
        let mut client = DemoClient::new(pool.channel());
        let mut call = Request::new(tokio_stream::pending());
        if let Some(dedicated) = dedicated {
            call.extensions_mut().insert(dedicated);
        }
        tasks.spawn(async move {
            let answers = client.chat(call).await;
            pending::<()>().await;
            drop(answers);
        });
    }
}

/// Gives an address once, and fails from then on.
struct Once(Option<SocketAddr>);

impl Resolve for Once {
    async fn resolve(&mut self, target: &ResolveTarget) -> Result<Endpoints, ResolveError> {
        let Some(address) = self.0.take() else {
            let refused = io::Error::other("403 Forbidden");
            return Err(ResolveError::new(format!("cannot list the servers of {target}"))
                .with_source(refused));
        };
        Ok([Endpoint::from(address)].into_iter().collect())
    }
}

pub(crate) async fn well(tasks: &mut JoinSet<()>) -> Result<(), Failure> {
    let catalog = ChannelPool::builder(url(server(None).await?)).build()?;
    pool_metrics::register("catalog", &catalog)?;
    calls(tasks, &catalog, 2, 20);
    Ok(())
}

pub(crate) async fn in_trouble(tasks: &mut JoinSet<()>) -> Result<(), Failure> {
    let servers = [server(None).await?, server(None).await?, nobody().await?];
    let inventory = ChannelPool::endpoints(servers.map(url)).build()?;
    pool_metrics::register("inventory", &inventory)?;
    calls(tasks, &inventory, 24, 5);

    let billing = ChannelPool::builder(url(nobody().await?)).build()?;
    pool_metrics::register_with("billing", &billing, Readiness::Connected)?;
    calls(tasks, &billing, 2, 200);

    // More calls than its one connection takes.
    let quotes = ChannelPool::builder(url(server(None).await?))
        .max_connections(1)
        .wait_timeout(FOREVER)
        .build()?;
    pool_metrics::register("quotes", &quotes)?;
    long_calls(tasks, &quotes, STREAMS + 3, None);

    // More calls that want a connection of their own than may have one; the others do well.
    let feeds = ChannelPool::builder(url(server(None).await?))
        .max_dedicated_connections(2)
        .wait_timeout(FOREVER)
        .build()?;
    pool_metrics::register("feeds", &feeds)?;
    calls(tasks, &feeds, 1, 20);
    long_calls(tasks, &feeds, 5, Some(Dedicated));

    let pricing = ChannelPool::builder(url(server(None).await?)).build()?;
    pool_metrics::register("pricing", &pricing)?;
    calls(tasks, &pricing, 2, 20);
    wrong_calls(tasks, &pricing, 200);

    // One of its servers answers every call with an error.
    let failing = Some(Status::unavailable("its database is gone"));
    let servers = [server(None).await?, server(None).await?, server(failing).await?];
    let mut rule = FailurePercentage::default();
    (rule.minimum_hosts, rule.request_volume) = (servers.len(), 5);
    let mut outliers = OutlierDetection::default();
    (outliers.interval, outliers.base_ejection_time) = (SECOND, FOREVER);
    (outliers.max_ejection_percent, outliers.failure_percentage) = (50, Some(rule));
    let stock = ChannelPool::endpoints(servers.map(url)).outlier_detection(outliers).build()?;
    pool_metrics::register("stock", &stock)?;
    calls(tasks, &stock, 3, 10);

    let profiles = ChannelPool::builder("http://profiles.example:50051")
        .resolver(Once(Some(server(None).await?)))
        .resolve_interval(SECOND)
        .resolve_min_gap(SECOND)
        .build()?;
    pool_metrics::register("profiles", &profiles)?;
    calls(tasks, &profiles, 2, 20);
    Ok(())
}
