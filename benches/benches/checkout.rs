//! Getting a resource and returning it, on this project's pool, on its peers and on floors.
//!
//! ```text
//! cargo bench -p benches --bench checkout             # about three minutes
//! cargo bench -p benches --bench checkout -- --quick  # about twenty seconds, noisier
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
//! lifetime, counters; it is compared with deadpool without any timeout, the harder one. Where a peer has settings that
//! are faster than its defaults, it is there with them as well.
//!
//! Those that wait by tokio's semaphore (deadpool, the floors of that name) let other tasks run after every 128 gets, by
//! tokio's budget of a task; a get of this project's pool that finds a resource does not, nor does one of `Mutex<Vec>`.
//!
//! The table goes to standard output, the figures to `bench/checkout.json` in the target folder.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;

use benches::checkout::floors::{Permits, Shared, SharedPermits, Stack};
use benches::checkout::systems::{
    Bb8, Bb8Unchecked, Deadpool, DeadpoolTimeouts, FastPool, Mobc, MobcKeeping, PoolCore,
    PoolCoreOwned, PoolCorePlaces,
};
use benches::checkout::{Scenario, System, measure};
use benches::report::{self, Bar, Bound, Figure};
use benches::rounds::{Entry, Options, rotate};
use clap::Parser;
use tokio::runtime::Runtime;

const BASELINE: &str = Deadpool::NAME;

/// Of a get and its return.
const UNIT: &str = "ns";

/// What a round measures, in this order.
const SYSTEMS: &[Entry<Contender>] = &[
    entry::<PoolCore>(),
    entry::<PoolCoreOwned>(),
    entry::<Deadpool>(),
    entry::<DeadpoolTimeouts>(),
    entry::<Bb8>(),
    entry::<Bb8Unchecked>(),
    entry::<Mobc>(),
    entry::<MobcKeeping>(),
    entry::<FastPool>(),
    entry::<Stack>(),
    entry::<Permits>(),
];

/// The same where one resource is shared: no other pool does that, so it is compared with what one would write.
const SHARING: &[Entry<Contender>] =
    &[entry::<PoolCorePlaces>(), entry::<SharedPermits>(), entry::<Permits>(), entry::<Shared>()];

/// A ratio of this project's pool to `baseline`, at most.
const fn bar(baseline: &'static str, at_most: f64) -> Bar {
    Bar {
        system: PoolCore::NAME,
        baseline: Some(baseline),
        unit: UNIT,
        bound: Bound::AtMost(at_most),
    }
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

/// Those of one resource with so many places as its size says.
const SHARED: &[Scenario] = &[
    Scenario {
        title: "shared: 1 task, 16 places",
        tasks: 1,
        size: 16,
        threads: 1,
        yields: false,
        gets: 400_000,
    },
    Scenario {
        title: "shared: 8 tasks, 16 places, 2 threads",
        tasks: 8,
        size: 16,
        threads: 2,
        yields: false,
        gets: 400_000,
    },
    Scenario {
        title: "shared: 64 tasks, 4 places, one yield held, 1 thread",
        tasks: 64,
        size: 4,
        threads: 1,
        yields: true,
        gets: 200_000,
    },
    Scenario {
        title: "shared: 64 tasks, 4 places, one yield held, 2 threads",
        tasks: 64,
        size: 4,
        threads: 2,
        yields: true,
        gets: 200_000,
    },
];

/// What is done with a system.
#[derive(Clone, Copy)]
struct Contender {
    /// One that does not wait takes part where nobody has to.
    waits: bool,
    /// Measures it once.
    measure: fn(&Runtime, &Scenario) -> f64,
}

const fn entry<S: System>() -> Entry<Contender> {
    Entry { name: S::NAME, measure: Contender { waits: S::WAITS, measure: measure::<S> } }
}

/// Getting and returning, side by side.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    report::exit_code("checkout", run(&Arguments::parse().options))
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut all = Vec::new();
    let known = [SYSTEMS, SHARING].concat();
    options.systems(&known)?;
    for (scenario, bars) in SCENARIOS {
        all.extend(compare(options, scenario, SYSTEMS, BASELINE, bars)?);
    }
    for scenario in SHARED {
        all.extend(compare(options, scenario, SHARING, SharedPermits::NAME, &[])?);
    }
    report::write(env!("CARGO_TARGET_TMPDIR"), "checkout", &all, options, &[UNIT])?;
    Ok(())
}

/// One scenario, if it and one of its systems are asked for.
fn compare(
    options: &Options,
    scenario: &Scenario,
    systems: &[Entry<Contender>],
    baseline: &str,
    bars: &[Bar],
) -> Result<Vec<Figure>, Infallible> {
    let mut systems = options.systems(systems).unwrap_or_default();
    systems.retain(|entry| entry.measure.waits || !scenario.contended());
    if systems.is_empty() || !options.has(scenario.title) {
        return Ok(Vec::new());
    }
    let mut scenario = *scenario;
    if options.quick {
        scenario.gets /= 4;
    }
    let runtime = scenario.runtime();
    let samples = rotate(&systems, options.rounds(5), |contender| {
        Ok::<_, Infallible>((contender.measure)(&runtime, &scenario))
    })?;
    let figures = report::figures(scenario.title, UNIT, options.baseline(baseline), samples);
    print!("{}", report::table(&figures, bars));
    Ok(figures)
}
