//! Getting a resource and returning it, on this project's pool, on its peers and on floors.
//!
//! ```text
//! cargo bench -p benches --bench checkout             # about two minutes
//! cargo bench -p benches --bench checkout -- --quick  # about ten seconds, noisier
//! ```
//!
//! # How it measures
//!
//! All systems run in one process and in turn: every round measures each of them once per scenario, and
//! each round begins with another one, so that a busy moment of the machine falls on all alike. A
//! figure is the median over the rounds, in nanoseconds per get and return: wall time over the number
//! of gets, all tasks taken together. **Compare ratios of one run**; nanoseconds of two runs, or of two
//! machines, mean little.
//!
//! Resources are a `u64`, managers do nothing, every pool has its own defaults and the size that the
//! scenario names. This project's pool runs with everything on: finite wait timeout, idle timeout,
//! lifetime, counters; it is compared with deadpool without any timeout, the harder one.
//!
//! The table goes to standard output, the figures to `bench/checkout.json` in the target folder.

use std::io;
use std::process::ExitCode;

use benches::checkout::systems::{
    Bb8, Deadpool, DeadpoolTimeouts, FastPool, Mobc, Permits, PoolCore, PoolCoreOwned, Stack,
};
use benches::checkout::{Scenario, System, measure};
use benches::report::{self, Bar, Bound};
use clap::Parser;
use tokio::runtime::Runtime;

const BASELINE: &str = Deadpool::NAME;

/// Of a get and its return.
const UNIT: &str = "ns";

/// What a round measures, in this order.
const SYSTEMS: &[Entry] = &[
    Entry::of::<PoolCore>(),
    Entry::of::<PoolCoreOwned>(),
    Entry::of::<Deadpool>(),
    Entry::of::<DeadpoolTimeouts>(),
    Entry::of::<Bb8>(),
    Entry::of::<Mobc>(),
    Entry::of::<FastPool>(),
    Entry::of::<Stack>(),
    Entry::of::<Permits>(),
];

/// A ratio of this project's pool to `baseline`, at most.
const fn bar(baseline: &'static str, at_most: f64) -> Bar {
    Bar { system: PoolCore::NAME, baseline, unit: UNIT, bound: Bound::AtMost(at_most) }
}

/// The scenarios, each with the bars that it holds systems to.
const SCENARIOS: &[(Scenario, &[Bar])] = &[
    (
        Scenario {
            title: "1 task, size 16",
            tasks: 1,
            size: 16,
            threads: 1,
            yields: false,
            gets: 400_000,
        },
        &[bar(BASELINE, 0.17), bar(Stack::NAME, 1.4)],
    ),
    (
        Scenario {
            title: "8 tasks, size 16, 2 threads",
            tasks: 8,
            size: 16,
            threads: 2,
            yields: false,
            gets: 400_000,
        },
        &[bar(BASELINE, 0.30)],
    ),
    (
        Scenario {
            title: "64 tasks, size 4, one yield held, 1 thread",
            tasks: 64,
            size: 4,
            threads: 1,
            yields: true,
            gets: 200_000,
        },
        &[bar(BASELINE, 0.68)],
    ),
    (
        Scenario {
            title: "64 tasks, size 4, one yield held, 2 threads",
            tasks: 64,
            size: 4,
            threads: 2,
            yields: true,
            gets: 200_000,
        },
        &[bar(BASELINE, 0.68)],
    ),
    (
        Scenario {
            title: "1024 tasks, size 16, one yield held, 2 threads",
            tasks: 1024,
            size: 16,
            threads: 2,
            yields: true,
            gets: 204_800,
        },
        &[bar(BASELINE, 0.55)],
    ),
    (
        Scenario {
            title: "8 tasks, size 1, 2 threads",
            tasks: 8,
            size: 1,
            threads: 2,
            yields: false,
            gets: 200_000,
        },
        &[bar(BASELINE, 0.50)],
    ),
];

/// A system without its type.
struct Entry {
    name: &'static str,
    waits: bool,
    measure: fn(&Runtime, &Scenario) -> f64,
}

impl Entry {
    const fn of<S: System>() -> Self {
        Self { name: S::NAME, waits: S::WAITS, measure: measure::<S> }
    }
}

/// Getting and returning, side by side.
#[derive(Parser)]
struct Arguments {
    /// Fewer and shorter rounds: seconds instead of minutes.
    #[arg(long)]
    quick: bool,

    /// How many rounds, instead of 15 (5 if quick).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,

    /// Only the scenarios whose title contains this.
    #[arg(long, default_value = "")]
    only: String,

    /// Only this system, compared with itself: for a profiler.
    #[arg(long)]
    system: Option<String>,

    /// What Cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("checkout: the figures could not be written: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 5 } else { 15 });
    let mut all = Vec::new();
    for (scenario, bars) in SCENARIOS {
        if !scenario.title.contains(&arguments.only) {
            continue;
        }
        let mut scenario = *scenario;
        if arguments.quick {
            scenario.gets /= 4;
        }
        let samples = rotate(&scenario, rounds, arguments.system.as_deref());
        let baseline = arguments.system.as_deref().unwrap_or(BASELINE);
        let figures = report::figures(scenario.title, UNIT, baseline, samples);
        print!("{}", report::table(&figures, bars));
        all.extend(figures);
    }
    let file = report::write_json(env!("CARGO_TARGET_TMPDIR"), "checkout", &all)?;
    println!("\nwritten to {}", file.display());
    Ok(())
}

/// Every system in every round, each round beginning with the next one.
fn rotate(scenario: &Scenario, rounds: u32, only: Option<&str>) -> Vec<(&'static str, Vec<f64>)> {
    let takes_part = |system: &&Entry| {
        (system.waits || !scenario.contended()) && only.is_none_or(|only| only == system.name)
    };
    let systems: Vec<&Entry> = SYSTEMS.iter().filter(takes_part).collect();
    let mut samples: Vec<_> = systems.iter().map(|system| (system.name, Vec::new())).collect();
    let runtime = scenario.runtime();
    for round in 0..rounds as usize {
        for turn in 0..systems.len() {
            let index = (round + turn) % systems.len();
            samples[index].1.push((systems[index].measure)(&runtime, scenario));
        }
    }
    samples
}
