//! What one more of many costs: a get from a large pool, a waiter in a long queue, a hand-off, memory, a connection.
//!
//! ```text
//! cargo bench -p benches --bench scale             # about three minutes
//! cargo bench -p benches --bench scale -- --quick  # less than a minute, noisier
//! ```
//!
//! # How it measures
//!
//! As `checkout` does: all systems in one process and in turn, medians over the rounds, each pool with its own
//! defaults. Waiters are polled by hand, so that no scheduler is measured; those pools take part that serve in order of
//! arrival, since others do not say whose turn it is. Short queues are measured in many pools at once, since the clock
//! takes as long as a waiter. A hand-off is from just before the return to the resumption of the task that waited. Bytes
//! are counted by the allocator, which makes every allocation here a little dearer than elsewhere: for an idle resource
//! without the resource, for a waiter with its future.
//!
//! The table goes to standard output, the figures to `bench/scale.json` in the target folder.

mod connections;
mod handoff;
mod memory;
mod sizes;
mod waiters;

use std::convert::Infallible;
use std::process::ExitCode;

use benches::checkout::System;
use benches::checkout::floors::{Permits, Stack};
use benches::checkout::systems::{
    Bb8, Bb8Lifo, Deadpool, DeadpoolLifo, FastPoolKeeping, Mobc, PoolCore, PoolCoreShared,
};
use benches::report::{self, Bar, Bound, Figure};
use benches::rounds::{Entry, Options, rotate};
use benches::rpc::{Failure, Server, Serving, Setup, serve};
use clap::Parser;

const BASELINE: &str = Deadpool::NAME;

const BYTES: &str = "bytes";

/// What the pool may keep for an idle resource, beside it.
const IDLE_BAR: Bar =
    Bar { system: PoolCore::NAME, baseline: None, unit: BYTES, bound: Bound::AtMost(64.0) };

/// What one more of many costs.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,

    /// Be the server.
    #[arg(long, hide = true)]
    serve: Option<Serving>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.serve {
        Some(serving) => serve(serving),
        None => run(&arguments.options),
    };
    report::exit_code("scale", done)
}

fn run(options: &Options) -> Result<(), Failure> {
    let mut all = Vec::new();
    sizes(options, &mut all)?;
    queues(options, &mut all)?;
    handoffs(options, &mut all)?;
    bytes(options, &mut all)?;
    many_connections(options, &mut all)?;
    report::write(env!("CARGO_TARGET_TMPDIR"), "scale", &all, options, &[])?;
    Ok(())
}

/// What measures a system once, and what it finds, each in its unit.
type Measure<const UNITS: usize> = fn(usize, bool) -> [f64; UNITS];

/// Measures `systems` with so many of what the title says, and adds the figures.
fn compare<const UNITS: usize>(
    options: &Options,
    all: &mut Vec<Figure>,
    (title, many): (&str, usize),
    units: [&'static str; UNITS],
    systems: &[Entry<Measure<UNITS>>],
    bars: &[Bar],
) -> Result<(), Failure> {
    let asked = options.systems(systems).unwrap_or_default();
    if !options.has(title) || asked.is_empty() {
        return Ok(());
    }
    let samples = rotate(&asked, options.rounds(3), |measure| {
        Ok::<_, Infallible>(measure(many, options.quick))
    })?;
    let mut figures = Vec::new();
    for (index, unit) in units.into_iter().enumerate() {
        let of_unit = |(name, rounds): &(&'static str, Vec<[f64; UNITS]>)| {
            (*name, rounds.iter().map(|round| round[index]).collect())
        };
        let samples = samples.iter().map(of_unit).collect();
        let baseline = options.baseline(systems[0].name);
        figures.extend(report::figures(title, unit, baseline, samples));
    }
    print!("{}", report::table(&figures, bars));
    all.extend(figures);
    Ok(())
}

const fn entry<const UNITS: usize>(
    name: &'static str,
    measure: Measure<UNITS>,
) -> Entry<Measure<UNITS>> {
    Entry { name, measure }
}

fn sizes(options: &Options, all: &mut Vec<Figure>) -> Result<(), Failure> {
    fn get<S: System>(size: usize, quick: bool) -> [f64; 2] {
        let sizes::Costs { one, several } = sizes::measure::<S>(size, quick);
        [one, several]
    }
    const SYSTEMS: &[Entry<Measure<2>>] = &[
        entry(BASELINE, get::<Deadpool>),
        entry(PoolCore::NAME, get::<PoolCore>),
        entry(PoolCoreShared::NAME, get::<PoolCoreShared>),
        entry(Bb8::NAME, get::<Bb8>),
        entry(DeadpoolLifo::NAME, get::<DeadpoolLifo>),
        entry(Bb8Lifo::NAME, get::<Bb8Lifo>),
        entry(FastPoolKeeping::NAME, get::<FastPoolKeeping>),
        entry(Stack::NAME, get::<Stack>),
    ];
    for (title, size) in [
        ("get and return, size 1", 1),
        ("get and return, size 16", 16),
        ("get and return, size 256", 256),
        ("get and return, size 4,096", 4_096),
        ("get and return, size 65,536", 65_536),
    ] {
        let units = ["ns, one at a time", "ns, up to 16"];
        compare(options, all, (title, size), units, SYSTEMS, &[])?;
    }
    Ok(())
}

fn queues(options: &Options, all: &mut Vec<Figure>) -> Result<(), Failure> {
    fn wait<S: System>(waiters: usize, _: bool) -> [f64; 3] {
        let waiters::Costs { join, leave, serve } = waiters::measure::<S>(waiters);
        [join, leave, serve]
    }
    const SYSTEMS: &[Entry<Measure<3>>] = &[
        entry(BASELINE, wait::<Deadpool>),
        entry(PoolCore::NAME, wait::<PoolCore>),
        entry(Permits::NAME, wait::<Permits>),
    ];
    for (title, many) in [
        ("1 waiter", 1),
        ("100 waiters", 100),
        ("10,000 waiters", 10_000),
        ("1,000,000 waiters", 1_000_000),
    ] {
        let many = (title, many);
        compare(options, all, many, ["ns to join", "ns to leave", "ns to serve"], SYSTEMS, &[])?;
    }
    Ok(())
}

fn handoffs(options: &Options, all: &mut Vec<Figure>) -> Result<(), Failure> {
    fn hand<S: System>(threads: usize, quick: bool) -> [f64; 2] {
        let handoffs = if quick { 20_000 } else { 100_000 };
        let handoff::Latencies { p50, p99 } = handoff::measure::<S>(threads, 16, handoffs);
        [p50, p99]
    }
    const SYSTEMS: &[Entry<Measure<2>>] = &[
        entry(Permits::NAME, hand::<Permits>),
        entry(PoolCore::NAME, hand::<PoolCore>),
        entry(Deadpool::NAME, hand::<Deadpool>),
        entry(Bb8::NAME, hand::<Bb8>),
        entry(Mobc::NAME, hand::<Mobc>),
        entry(FastPoolKeeping::NAME, hand::<FastPoolKeeping>),
    ];
    for (title, threads) in
        [("hand-off among 16 tasks, 1 thread", 1), ("hand-off among 16 tasks, 2 threads", 2)]
    {
        compare(options, all, (title, threads), ["ns p50", "ns p99"], SYSTEMS, &[])?;
    }
    Ok(())
}

fn bytes(options: &Options, all: &mut Vec<Figure>) -> Result<(), Failure> {
    /// Those that keep as many as they may have.
    const IDLE: &[Entry<Measure<1>>] = &[
        entry(BASELINE, |many, _| [memory::per_idle::<Deadpool>(many)]),
        entry(PoolCore::NAME, |many, _| [memory::per_idle::<PoolCore>(many)]),
        entry(PoolCoreShared::NAME, |many, _| [memory::per_idle::<PoolCoreShared>(many)]),
        entry(Bb8::NAME, |many, _| [memory::per_idle::<Bb8>(many)]),
        entry(FastPoolKeeping::NAME, |many, _| [memory::per_idle::<FastPoolKeeping>(many)]),
    ];
    const WAITING: &[Entry<Measure<1>>] = &[
        entry(BASELINE, |many, _| [memory::per_waiter::<Deadpool>(many)]),
        entry(PoolCore::NAME, |many, _| [memory::per_waiter::<PoolCore>(many)]),
        entry(Bb8::NAME, |many, _| [memory::per_waiter::<Bb8>(many)]),
        entry(Mobc::NAME, |many, _| [memory::per_waiter::<Mobc>(many)]),
        entry(FastPoolKeeping::NAME, |many, _| [memory::per_waiter::<FastPoolKeeping>(many)]),
        entry(Permits::NAME, |many, _| [memory::per_waiter::<Permits>(many)]),
    ];
    let idle = ("memory of each of 10,000 idle resources", 10_000);
    compare(options, all, idle, [BYTES], IDLE, &[IDLE_BAR])?;
    let waiting = ("memory of each of 10,000 waiters", 10_000);
    compare(options, all, waiting, [BYTES], WAITING, &[])
}

fn many_connections(options: &Options, all: &mut Vec<Figure>) -> Result<(), Failure> {
    const SYSTEM: &str = "pool-tonic";
    #[cfg(unix)]
    connections::allow_files(2_000)?;
    for (title, many) in [("1 connection", 1), ("1,000 connections", 1_000)] {
        if !options.has(title) {
            continue;
        }
        let rounds: Vec<_> = (0..options.rounds_or(1, 5))
            .map(|_| {
                // Each round has one that closes no connections of the last round.
                let server = Server::start(None, Setup::Plain)?;
                connections::measure(server.uri(), many)
            })
            .collect::<Result<_, _>>()?;
        let mut figures = Vec::new();
        for (unit, of) in [
            ("bytes each", (|costs| costs.bytes) as fn(&connections::Costs) -> f64),
            ("ns to pick", |costs| costs.pick),
            ("us to scrape", |costs| costs.scrape),
        ] {
            let samples = vec![(SYSTEM, rounds.iter().map(of).collect())];
            figures.extend(report::figures(title, unit, SYSTEM, samples));
        }
        print!("{}", report::table(&figures, &[]));
        all.extend(figures);
    }
    Ok(())
}
