//! How calls are spread over three servers by this project's pool, with each of its ways to do so, and by tonic's
//! `Channel::balance_list`: when the servers are alike, and when one of them is slow, fails, or is gone.
//!
//! ```text
//! cargo bench -p benches --bench spread             # about ten minutes
//! cargo bench -p benches --bench spread -- --quick  # less than a minute, noisier
//! ```
//!
//! # How it measures
//!
//! Every server is a process of its own, with one thread, on loopback, and counts its calls; all clients run in this
//! process, on two threads, in turn: every round measures each of them once per scenario, and each round begins with
//! another one. Each has its own defaults, and the pool nothing but the way to spread calls that its name says. What
//! `balance_list` compares two servers by is the same for all of them (tonic 0.14), so it chooses at random. A
//! client makes calls until every server has got some; then what the scenario says happens to the last of the servers,
//! and the clock starts: so what is measured begins with how the client finds out.
//!
//! Calls per server and failed calls are those of all rounds together; a call that is refused before a server has it is
//! in the second only. Times and rates are medians over the rounds, of the calls that succeeded.
//!
//! The table goes to standard output, the figures to `bench/spread.json` in the target folder. A call of the pool
//! that fails, where none has to, fails the benchmark.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use benches::report::{self, Figure, median};
use benches::rounds::{Entry, Options, Samples, rotate};
use benches::rpc::{Failure, Sample, Serving, runtime, serve};
use benches::spread::{SERVERS, Scenario, Spread, System, Trouble, measure};
use clap::Parser;
use pool_tonic::{Balance, PeakEwma};

const BASELINE: &str = "balance_list";

/// What a round measures, in this order.
const SYSTEMS: &[Entry<System>] = &[
    entry("pool-tonic", System::Pool(|pool| pool)),
    entry(
        "pool-tonic, least outstanding",
        System::Pool(|pool| pool.balance(Balance::LeastOutstanding)),
    ),
    entry("pool-tonic, round robin", System::Pool(|pool| pool.balance(Balance::RoundRobin))),
    entry(
        "pool-tonic, peak EWMA",
        System::Pool(|pool| pool.balance(Balance::PeakEwma(PeakEwma::default()))),
    ),
    entry(BASELINE, System::BalanceList),
];

const fn entry(name: &'static str, system: System) -> Entry<System> {
    Entry { name, measure: system }
}

/// The calls of a server, by its number.
const CALLS: [&str; SERVERS] = ["calls of server 1", "calls of server 2", "calls of server 3"];

const SCENARIOS: &[(&str, Scenario)] = &[
    ("3 equal servers, 1 at a time", Scenario { concurrent: 1, trouble: Trouble::None }),
    ("3 equal servers, 32 at a time", Scenario { concurrent: 32, trouble: Trouble::None }),
    (
        "server 3 answers 50 ms later, 32 at a time",
        Scenario { concurrent: 32, trouble: Trouble::Slow(Duration::from_millis(50)) },
    ),
    ("server 3 was killed, 1 at a time", Scenario { concurrent: 1, trouble: Trouble::Killed }),
    ("server 3 was killed, 32 at a time", Scenario { concurrent: 32, trouble: Trouble::Killed }),
    (
        "server 3 is killed under load, 32 at a time",
        Scenario { concurrent: 32, trouble: Trouble::KilledMeanwhile },
    ),
    (
        "server 3 answers UNAVAILABLE at once, 1 at a time",
        Scenario { concurrent: 1, trouble: Trouble::Fails },
    ),
    (
        "server 3 answers UNAVAILABLE at once, 32 at a time",
        Scenario { concurrent: 32, trouble: Trouble::Fails },
    ),
];

/// How many calls of the pool may fail in a measurement. What a killed server was working on does, since nobody
/// knows how far it came.
fn may_fail(scenario: &Scenario) -> usize {
    match scenario.trouble {
        Trouble::None | Trouble::Slow(_) | Trouble::Killed => 0,
        Trouble::KilledMeanwhile => scenario.concurrent,
        Trouble::Fails => usize::MAX,
    }
}

/// Where calls go, side by side.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,

    /// Be a server.
    #[arg(long, hide = true)]
    serve: Option<Serving>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.serve {
        Some(serving) => serve(serving),
        None => run(&arguments.options),
    };
    report::exit_code("spread", done)
}

fn run(options: &Options) -> Result<(), Failure> {
    let systems = options.systems(SYSTEMS)?;
    let time = Duration::from_millis(if options.quick { 200 } else { 500 });
    let runtime = runtime(2);
    let mut all = Vec::new();
    let mut failed = false;
    for (title, scenario) in SCENARIOS.iter().filter(|(title, _)| options.has(title)) {
        let samples = rotate(&systems, options.rounds(2), |system| {
            measure(&runtime, system, *scenario, time / 3, time)
        })?;
        print!("{}", table(title, &samples));
        for (system, rounds) in samples.iter().filter(|(system, _)| *system != BASELINE) {
            let worst = rounds.iter().map(|round| &round.sample).max_by_key(|sample| sample.failed);
            if let Some(Sample { failed: calls, failure: Some(failure), .. }) = worst
                && *calls > may_fail(scenario)
            {
                println!("  {calls} calls of {system} failed in one round: {failure}");
                failed = true;
            }
        }
        all.extend(figures(title, options.baseline(BASELINE), &samples));
    }
    report::write(env!("CARGO_TARGET_TMPDIR"), "spread", &all, options, &["calls/s", "us p99"])?;
    if failed {
        return Err("calls of the pool failed that need not have".into());
    }
    Ok(())
}

/// The calls that a server got in all rounds.
fn calls(rounds: &[Spread], server: usize) -> usize {
    rounds.iter().map(|round| round.calls[server]).sum()
}

fn failed(rounds: &[Spread]) -> usize {
    rounds.iter().map(|round| round.sample.failed).sum()
}

/// A figure of each round.
fn each(rounds: &[Spread], figure: fn(&Sample) -> f64) -> Vec<f64> {
    rounds.iter().map(|round| figure(&round.sample)).collect()
}

/// One scenario as a table: a line for each system.
fn table(title: &str, samples: &Samples<Spread>) -> String {
    let mut out = format!("\n{title}\n  {:<29}", "");
    for server in 1..=SERVERS {
        let _ = write!(out, "  {:>16}", format!("calls of {server}"));
    }
    let _ = writeln!(out, "  {:>8}  {:>8}  {:>8}  {:>8}", "failed", "us p50", "us p99", "calls/s");
    for (system, rounds) in samples {
        let _ = write!(out, "  {system:<29}");
        let all: usize = (0..SERVERS).map(|server| calls(rounds, server)).sum();
        for server in 0..SERVERS {
            let calls = calls(rounds, server);
            let share = calls as f64 / all as f64 * 100.0;
            let _ = write!(out, "  {calls:>9} {share:>4.1} %");
        }
        let median = |figure| median(&mut each(rounds, figure));
        let (p50, p99) = (median(|sample| sample.p50), median(|sample| sample.p99));
        let rate = median(|sample| sample.rate);
        let _ = writeln!(out, "  {:>8}  {p50:>8.0}  {p99:>8.0}  {rate:>8.0}", failed(rounds));
    }
    out
}

/// The figures of one scenario, a unit after the other.
fn figures(title: &str, baseline: &str, samples: &Samples<Spread>) -> Vec<Figure> {
    let of = |unit, figure: &dyn Fn(&[Spread]) -> Vec<f64>| {
        let samples = samples.iter().map(|(system, rounds)| (*system, figure(rounds))).collect();
        report::figures(title, unit, baseline, samples)
    };
    let mut all = vec![
        of("failed", &|rounds| vec![failed(rounds) as f64]),
        of("us p50", &|rounds| each(rounds, |sample| sample.p50)),
        of("us p99", &|rounds| each(rounds, |sample| sample.p99)),
        of("calls/s", &|rounds| each(rounds, |sample| sample.rate)),
    ];
    for (server, unit) in CALLS.into_iter().enumerate() {
        all.push(of(unit, &|rounds| vec![calls(rounds, server) as f64]));
    }
    all.concat()
}
