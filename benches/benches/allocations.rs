//! What is allocated for a get, with and without a wait, and for a unary call.
//!
//! ```text
//! cargo bench -p benches --bench allocations             # a minute
//! cargo bench -p benches --bench allocations -- --quick  # half a minute
//! ```
//!
//! # How it measures
//!
//! The allocator counts, on the one thread that everything runs on; a system that has threads of its own does there what
//! is not seen here. A figure is the difference of two runs of different length over the gets or calls between them, so
//! that what is made once is not in it. It is the same each time, nearly: so there are few rounds.
//!
//! The table goes to standard output, the figures to `bench/allocations.json` in the target folder.

use std::process::ExitCode;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use benches::checkout::floors::Permits;
use benches::checkout::systems::{
    Bb8, Deadpool, DeadpoolTimeouts, FastPool, Mobc, PoolCore, PoolCorePlaces,
};
use benches::checkout::{self, System as Pool};
use benches::report::{self, Bar, Bound};
use benches::rounds::{Entry, Options, rotate};
use benches::rpc::{
    self, Balanced, Call, Clients, Connections, Failure, Grpc, H2, OneChannel, Pooled, Server,
    Serving, Setup, System, Until, runtime, serve,
};
use clap::Parser;

/// Of each get or call.
const UNITS: [&str; 2] = ["allocations", "bytes"];

/// Neither a get that is served at once nor one that waits allocates.
const BARS: &[Bar] = &[none(PoolCore::NAME), none(PoolCorePlaces::NAME)];

/// No allocations.
const fn none(system: &'static str) -> Bar {
    Bar { system, baseline: None, unit: UNITS[0], bound: Bound::AtMost(0.0) }
}

/// What is allocated, and for how many gets or calls.
struct Counted {
    allocations: AllocationInfo,
    times: usize,
}

/// What is done, with the server where it takes one, about so often.
type Measure = fn(&checkout::Scenario, &Server, usize) -> Result<Counted, Failure>;

const GETS: &[Entry<Measure>] = &[
    get::<Deadpool>(),
    get::<DeadpoolTimeouts>(),
    get::<PoolCore>(),
    get::<PoolCorePlaces>(),
    get::<Bb8>(),
    get::<Mobc>(),
    get::<FastPool>(),
    get::<Permits>(),
];

const CALLS: &[Entry<Measure>] = &[
    call::<Clients<OneChannel>>(),
    call::<Clients<Pooled>>(),
    call::<Clients<Balanced>>(),
    call::<H2>(),
    call::<Grpc>(),
];

const HIT: checkout::Scenario = checkout::Scenario {
    title: "a hit: 1 task, size 16",
    tasks: 1,
    size: 16,
    threads: 1,
    yields: false,
    gets: 20_000,
};
const WAIT: checkout::Scenario = checkout::Scenario {
    title: "a wait: 64 tasks, size 4, one yield held",
    tasks: 64,
    size: 4,
    threads: 1,
    yields: true,
    gets: 64_000,
};
/// Sixteen at a time, over two connections. They are few, since the preview of `grpc` makes a few hundred in a second.
const CALL: checkout::Scenario = checkout::Scenario {
    title: "a unary call, 16 concurrent",
    tasks: 16,
    size: 2,
    threads: 1,
    yields: false,
    gets: 1_600,
};

const fn get<S: Pool>() -> Entry<Measure> {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "a call may fail, and is measured in the same way"
    )]
    fn run<S: Pool>(
        scenario: &checkout::Scenario,
        _: &Server,
        gets: usize,
    ) -> Result<Counted, Failure> {
        let scenario = checkout::Scenario { gets, ..*scenario };
        let runtime = runtime(1);
        let allocations = measure(|| {
            checkout::measure::<S>(&runtime, &scenario);
        });
        Ok(Counted { allocations, times: scenario.all_gets() })
    }
    Entry { name: S::NAME, measure: run::<S> }
}

const fn call<S: System>() -> Entry<Measure> {
    fn run<S: System>(
        scenario: &checkout::Scenario,
        server: &Server,
        calls: usize,
    ) -> Result<Counted, Failure> {
        let scenario = rpc::Scenario {
            title: scenario.title.to_owned(),
            call: Call::unary(Duration::ZERO),
            concurrent: scenario.tasks,
            beside: None,
            connections: Connections::Exactly(scenario.size),
            setup: Setup::Plain,
            limit: None,
        };
        let runtime = runtime(1);
        let mut sample = None;
        let allocations = measure(|| {
            let until = Until::Calls(calls);
            sample = Some(rpc::measure::<S>(&runtime, &scenario, server, Duration::ZERO, until));
        });
        match sample.transpose()?.and_then(|sample| sample.failure) {
            Some(failure) => Err(failure),
            None => Ok(Counted { allocations, times: calls }),
        }
    }
    Entry { name: S::NAME, measure: run::<S> }
}

/// Allocations, side by side.
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
    report::exit_code("allocations", done)
}

fn run(options: &Options) -> Result<(), Failure> {
    let known = [GETS, CALLS].concat();
    options.systems(&known)?;
    let server = Server::start(None, Setup::Plain)?;
    let mut all = Vec::new();
    for (scenario, systems) in [(HIT, GETS), (WAIT, GETS), (CALL, CALLS)] {
        let asked = options.systems(systems).unwrap_or_default();
        if !options.has(scenario.title) || asked.is_empty() {
            continue;
        }
        let samples = rotate(&asked, options.rounds_or(1, 3), |counted| {
            let short = counted(&scenario, &server, scenario.gets)?;
            let long = counted(&scenario, &server, 3 * scenario.gets)?;
            Ok::<_, Failure>(per_each(&short, &long))
        })?;
        let mut figures = Vec::new();
        for (index, unit) in UNITS.into_iter().enumerate() {
            let samples = samples.iter().map(|(name, rounds)| {
                (*name, rounds.iter().map(|round: &[f64; 2]| round[index]).collect())
            });
            let baseline = options.baseline(systems[0].name);
            figures.extend(report::figures(scenario.title, unit, baseline, samples.collect()));
        }
        print!("{}", report::table(&figures, BARS));
        all.extend(figures);
    }
    report::write(env!("CARGO_TARGET_TMPDIR"), "allocations", &all, options, &UNITS[..1])?;
    Ok(())
}

/// Of what the longer run did more.
fn per_each(short: &Counted, long: &Counted) -> [f64; 2] {
    let times = (long.times - short.times) as f64;
    // What a run makes by itself is not quite the same each time: a hundredth of an allocation is none.
    let each = |of: fn(&AllocationInfo) -> u64| {
        let more = of(&long.allocations).saturating_sub(of(&short.allocations));
        (more as f64 * 100.0 / times).round() / 100.0
    };
    [each(|info| info.count_total), each(|info| info.bytes_total)]
}
