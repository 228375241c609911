//! What it costs a pool to be shown: getting and returning beside scrapes, and the scrapes themselves.
//!
//! ```text
//! cargo bench -p benches --bench metrics             # a minute
//! cargo bench -p benches --bench metrics -- --quick  # a few seconds, noisier
//! ```
//!
//! # How it measures
//!
//! As `checkout` does, which has the same scenarios: the same pool by itself, and registered and scraped by a thread of
//! its own, ten times a second, which is six hundred times as often as Prometheus does by default. It is held to 1.02. A
//! round takes half a second, and one of `--quick` long enough for a scrape. Where a pool lies in memory makes more of a
//! difference than that, so there are many rounds, each with pools of its own.
//!
//! A scrape is the text of all pools of a registry, without the way over the network.
//!
//! The table goes to standard output, the figures to `bench/metrics.json` in the target folder.

use std::convert::Infallible;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use benches::checkout::systems::{Numbers, PoolCore};
use benches::checkout::{Scenario, System, measure};
use benches::report::{self, Bar, Bound, Figure};
use benches::rounds::{Entry, Options, rotate};
use benches::rpc::Failure;
use clap::Parser;
use pool_core::{Lease, Pool};
use pool_metrics::Registry;
use pool_tonic::ChannelPool;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// How often a pool is scraped while it is measured.
const INTERVAL: Duration = Duration::from_millis(100);

/// Scrapes of one measurement.
const SCRAPES: u32 = 100;

const NS: &str = "ns";
const US: &str = "us";

const SCENARIOS: &[Scenario] = &[
    Scenario {
        title: "1 task, size 16",
        tasks: 1,
        size: 16,
        threads: 1,
        yields: false,
        gets: 19_200_000,
    },
    Scenario {
        title: "64 tasks, size 4, one yield held, 1 thread",
        tasks: 64,
        size: 4,
        threads: 1,
        yields: true,
        gets: 2_457_600,
    },
];

/// What measures a system once.
type Measure = fn(&Runtime, &Scenario) -> f64;

const SYSTEMS: &[Entry<Measure>] = &[
    Entry { name: PoolCore::NAME, measure: measure::<PoolCore> },
    Entry { name: Scraped::NAME, measure: measure::<Scraped> },
];

const BAR: Bar = Bar {
    system: Scraped::NAME,
    baseline: Some(PoolCore::NAME),
    unit: NS,
    bound: Bound::AtMost(1.02),
};

/// This project's pool, registered and scraped.
struct Scraped {
    pool: PoolCore,
    /// Dropped, it ends the scraper.
    stop: Option<Sender<Infallible>>,
    scraper: Option<JoinHandle<()>>,
}

impl System for Scraped {
    type Lease<'a> = Lease<'a, Numbers>;
    const NAME: &'static str = "pool-core, scraped";

    fn new(size: usize) -> Self {
        let pool = PoolCore::new(size);
        let registry = Registry::new();
        registry.register("numbers", pool.pool()).expect("it is the first of its name");
        let (stop, stopped) = channel();
        let scraper = thread::spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                black_box(registry.render());
            }
        });
        Self { pool, stop: Some(stop), scraper: Some(scraper) }
    }

    async fn get(&self) -> Lease<'_, Numbers> {
        self.pool.get().await
    }
}

impl Drop for Scraped {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(scraper) = self.scraper.take() {
            scraper.join().expect("a scrape does not panic");
        }
    }
}

/// What it costs to be shown.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    report::exit_code("metrics", run(&Arguments::parse().options))
}

fn run(options: &Options) -> Result<(), Failure> {
    let asked = options.systems(SYSTEMS)?;
    let mut all = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| options.has(scenario.title)) {
        let mut scenario = *scenario;
        if options.quick {
            scenario.gets /= 4;
        }
        let runtime = scenario.runtime();
        let samples = rotate(&asked, options.rounds(3), |measure| {
            Ok::<_, Infallible>(measure(&runtime, &scenario))
        })?;
        let baseline = options.baseline(PoolCore::NAME);
        let figures = report::figures(scenario.title, NS, baseline, samples);
        print!("{}", report::table(&figures, &[BAR]));
        all.extend(figures);
    }
    for (title, pools) in [("a scrape of 1 pool", 1), ("a scrape of 100 pools", 100)] {
        if options.has(title) {
            all.extend(scrapes(options, title, pools)?);
        }
    }
    report::write(env!("CARGO_TARGET_TMPDIR"), "metrics", &all, options, &[])?;
    Ok(())
}

/// How long a scrape of so many pools takes.
fn scrapes(options: &Options, title: &str, pools: usize) -> Result<Vec<Figure>, Failure> {
    const GENERIC: &str = "pool-core";
    let generic = Registry::new();
    let generic_pools = (0..pools).map(|_| Ok(Pool::builder(Numbers).build()?));
    let generic_pools: Vec<_> = generic_pools.collect::<Result<_, Failure>>()?;
    for (number, pool) in generic_pools.iter().enumerate() {
        generic.register(format!("numbers {number}"), pool)?;
    }
    let grpc = Registry::new();
    let grpc_pools = (0..pools).map(|_| Ok(ChannelPool::builder("http://localhost:1").build()?));
    let grpc_pools: Vec<_> = grpc_pools.collect::<Result<_, Failure>>()?;
    for (number, pool) in grpc_pools.iter().enumerate() {
        grpc.register(format!("channels {number}"), pool)?;
    }
    let mut samples = vec![(GENERIC, Vec::new()), ("pool-tonic", Vec::new())];
    for _ in 0..options.rounds(3) {
        for ((_, rounds), registry) in samples.iter_mut().zip([&generic, &grpc]) {
            let start = Instant::now();
            for _ in 0..SCRAPES {
                black_box(registry.render());
            }
            rounds.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(SCRAPES));
        }
    }
    let figures = report::figures(title, US, GENERIC, samples);
    print!("{}", report::table(&figures, &[]));
    Ok(figures)
}
