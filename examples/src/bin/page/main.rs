//! Pools that do well and pools that do not, to be looked at: `cargo run -p examples --bin page`, then open what it
//! says.
//!
//! One of each case that the page has words for: pools that are too small, pools that are well, pools whose peer is
//! down or refuses some of them, pools that are closed, paused or dropped, gRPC pools of which a server is missing or
//! fails or whose dedicated connections are taken, and one with a name and errors that would do harm on a careless page. It ends by itself after a while
//! (`page 90`: after 90 seconds), or with Ctrl-C.

mod grpc;
mod things;

use std::error::Error;
use std::future::pending;
use std::time::Duration;

use pool_metrics::{Family, Histogram, Probe, Sample, Source};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

type Failure = Box<dyn Error + Send + Sync>;

/// How long it goes on unless it is told.
const LENGTH: Duration = Duration::from_secs(3600);

/// For what is not to end meanwhile.
const FOREVER: Duration = Duration::from_secs(86_400);

/// Numbers of the program's own.
struct Shipped;

static SHIPPED: Family = Family::counter("shop_orders_shipped_total", "Orders shipped.");

static PACKING: Family = Family::histogram("shop_packing_time_seconds", "How long packing took.");

impl Source for Shipped {
    fn probe(&self) -> Probe {
        Probe::new(|| {
            let mut sample = Sample::new();
            sample.set(&SHIPPED, 42);
            sample.set_histogram(&PACKING, Histogram::new(&[0.1, 1.0], &[2, 0, 2], 6.2));
            Some(sample)
        })
    }
}

/// Keeps a pool to which nothing happens, or a lease that is not given back.
fn keep(tasks: &mut JoinSet<()>, kept: impl Send + 'static) {
    tasks.spawn(async move {
        pending::<()>().await;
        drop(kept);
    });
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let length = std::env::args().nth(1).map(|text| text.parse()).transpose()?;
    let end = Instant::now() + length.map_or(LENGTH, Duration::from_secs);
    let mut tasks = JoinSet::new();
    things::well(&mut tasks).await?;
    things::short(&mut tasks).await?;
    things::in_trouble(&mut tasks).await?;
    things::out_of_use(&mut tasks).await?;
    grpc::well(&mut tasks).await?;
    grpc::in_trouble(&mut tasks).await?;
    pool_metrics::register("shop", &Shipped)?;

    let endpoint = pool_metrics::serve("127.0.0.1:0").await?;
    println!("http://{}/", endpoint.local_addr());

    tokio::select! {
        () = sleep_until(end) => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    tasks.shutdown().await;
    endpoint.shutdown().await;
    Ok(())
}
