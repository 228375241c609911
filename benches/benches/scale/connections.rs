//! What a gRPC pool of many connections costs: memory, a pick, a scrape.

use std::hint::black_box;
use std::time::Duration;

use tokio::time::Instant;

use allocation_counter::measure as count;
use pool_metrics::Registry;
use pool_tonic::ChannelPool;

use benches::rpc::{Failure, runtime};

/// Of a pool with so many connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    /// Bytes for each connection, its task and what HTTP/2 keeps for it.
    pub(crate) bytes: f64,
    /// Nanoseconds for taking a stream slot and giving it back.
    pub(crate) pick: f64,
    /// Microseconds for one scrape.
    pub(crate) scrape: f64,
}

/// How many picks, and how many scrapes, are one measurement.
const PICKS: u32 = 100_000;
const SCRAPES: u32 = 100;

/// One measurement, with so many connections to the server at `uri`. Everything of it is on this thread.
///
/// # Errors
///
/// If it cannot be connected to.
///
/// # Panics
///
/// If the pool lends nothing.
pub(crate) fn measure(uri: &str, connections: usize) -> Result<Costs, Failure> {
    let runtime = runtime(1);
    let pool = ChannelPool::builder(uri)
        .max_connections(connections)
        .min_connections(connections)
        .runtime(runtime.handle().clone())
        .build()?;
    let mut ready = Ok(());
    let made = count(|| {
        ready = runtime.block_on(pool.warm_up(Duration::from_secs(60)));
    });
    ready?;
    let below = pool.connections();
    let pick = time(PICKS, || drop(black_box(below.try_get_owned()).expect("places are free")));
    let registry = Registry::new();
    registry.register("scale", &pool)?;
    let scrape = time(SCRAPES, || drop(black_box(registry.render())));
    runtime.block_on(pool.close(Duration::ZERO));
    Ok(Costs {
        bytes: made.bytes_current as f64 / connections as f64,
        pick,
        scrape: scrape / 1_000.0,
    })
}

/// Lets this process, and those that it starts, have so many files open.
///
/// # Errors
///
/// If the system does not let it.
#[cfg(unix)]
pub(crate) fn allow_files(files: u64) -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < files) {
        let raised = Rlimit { current: Some(files), ..limit };
        setrlimit(Resource::Nofile, raised)
            .map_err(|error| format!("{files} files open at a time are not allowed: {error}"))?;
    }
    Ok(())
}

/// Nanoseconds for each time.
fn time(times: u32, mut what: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        what();
    }
    start.elapsed().as_nanos() as f64 / f64::from(times)
}
