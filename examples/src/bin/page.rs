//! Pools that do well and pools that do not, to be looked at: `cargo run -p examples --bin page`, then open what it
//! says.
//!
//! One of each case that the page has words for: a pool that is too small, one that is well, one whose peer is
//! down, a gRPC pool of which one server is missing, one of which all are, pools that are closed, paused or dropped,
//! and one with a name and errors that would do harm on a careless page. It ends by itself after a while
//! (`page 90`: after 90 seconds), or with Ctrl-C.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use examples::proto::Text;
use examples::proto::demo_client::DemoClient;
use examples::proto::demo_server::DemoServer;
use examples::service::DemoService;
use pool_core::{CheckPolicy, CreateContext, Lease, Manager, Pause, Pool};
use pool_metrics::{Family, Probe, Readiness, Sample, Source};
use pool_tonic::ChannelPool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::TcpListenerStream;

type Failure = Box<dyn Error + Send + Sync>;

/// How long it goes on unless it is told.
const LENGTH: Duration = Duration::from_secs(3600);

/// When the pool goes that is to be dropped.
const DROPPED_AFTER: Duration = Duration::from_secs(6);

/// A name and an error that are markup.
const HOSTILE: &str = "<script>alert(1)</script> & <b>\"name\"</b>";
const HOSTILE_ERROR: &str = "<img src=x onerror=alert(2)> said no & hung up";

/// Makes something that takes a moment to be there, or fails.
struct Things {
    error: Option<&'static str>,
}

impl Manager for Things {
    type Resource = ();
    type Error = io::Error;

    async fn create(&self, _cx: &CreateContext) -> io::Result<()> {
        sleep(Duration::from_millis(15)).await;
        self.error.map_or(Ok(()), |error| Err(io::Error::other(error)))
    }
}

fn things(max_size: usize) -> Result<Pool<Things>, Failure> {
    Ok(Pool::builder(Things { error: None })
        .max_size(max_size)
        .check(CheckPolicy::Never)
        .build()?)
}

/// Callers that hold what they get for a while, and rest.
fn load(tasks: &mut JoinSet<()>, pool: &Pool<Things>, callers: usize, hold: u64, rest: u64) {
    for caller in 0..callers {
        let pool = pool.clone();
        tasks.spawn(async move {
            for round in 0_usize.. {
                let Ok(lease) = pool.get().await else { return };
                sleep(Duration::from_millis(hold)).await;
                // Now and then one is no good any more.
                if caller == 0 && round % 200 == 199 {
                    Lease::discard(lease);
                } else {
                    drop(lease);
                }
                sleep(Duration::from_millis(rest)).await;
            }
        });
    }
}

async fn server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let server = tonic::transport::Server::builder()
        .max_concurrent_streams(20)
        .add_service(DemoServer::new(DemoService))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Ok(address)
}

/// An address at which nobody listens.
async fn nobody() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}

fn calls(tasks: &mut JoinSet<()>, pool: &ChannelPool, callers: usize, rest: u64) {
    for _ in 0..callers {
        let mut client = DemoClient::new(pool.channel());
        tasks.spawn(async move {
            loop {
                // What has failed shows on the page.
                let _ = client.echo(Text { body: "hello".to_owned() }).await;
                sleep(Duration::from_millis(rest)).await;
            }
        });
    }
}

/// Numbers of the program's own.
struct Shipped;

static SHIPPED: Family = Family::counter("shop_orders_shipped_total", "Orders shipped.");

impl Source for Shipped {
    fn probe(&self) -> Probe {
        Probe::new(|| {
            let mut sample = Sample::new();
            sample.set(&SHIPPED, 42);
            Some(sample)
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let length = std::env::args().nth(1).map(|text| text.parse()).transpose()?;
    let end = Instant::now() + length.map_or(LENGTH, Duration::from_secs);
    let mut tasks = JoinSet::new();

    let orders = things(8)?;
    pool_metrics::register("orders", &orders)?;
    load(&mut tasks, &orders, 20, 40, 10);

    let sessions = things(10)?;
    pool_metrics::register("sessions", &sessions)?;
    load(&mut tasks, &sessions, 3, 5, 20);

    let hostile =
        Pool::builder(Things { error: Some(HOSTILE_ERROR) }).wait_timeout(SHORT).build()?;
    pool_metrics::register_with(HOSTILE, &hostile, Readiness::Connected)?;
    let caller = hostile.clone();
    tasks.spawn(async move {
        loop {
            let _ = caller.get().await;
            sleep(Duration::from_millis(100)).await;
        }
    });

    let servers = [server().await?, server().await?, nobody().await?];
    let inventory = ChannelPool::endpoints(servers.map(|addr| format!("http://{addr}"))).build()?;
    pool_metrics::register("inventory", &inventory)?;
    calls(&mut tasks, &inventory, 24, 5);

    let billing = ChannelPool::builder(format!("http://{}", nobody().await?)).build()?;
    pool_metrics::register_with("billing", &billing, Readiness::Connected)?;
    calls(&mut tasks, &billing, 2, 200);

    let archive = things(2)?;
    pool_metrics::register("archive", &archive)?;
    drop(archive.get().await?);
    archive.close();

    let reports = things(2)?;
    pool_metrics::register("reports", &reports)?;
    drop(reports.get().await?);
    reports.pause(Pause::Queue);

    let import = things(2)?;
    pool_metrics::register("import", &import)?;
    pool_metrics::register("shop", &Shipped)?;

    let endpoint = pool_metrics::serve("127.0.0.1:0").await?;
    println!("http://{}/", endpoint.local_addr());

    sleep(DROPPED_AFTER).await;
    drop(import);
    tokio::select! {
        () = sleep_until(end) => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    tasks.shutdown().await;
    endpoint.shutdown().await;
    Ok(())
}

/// How long a get waits whose pool cannot create anything.
const SHORT: Duration = Duration::from_millis(500);
