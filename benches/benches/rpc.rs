//! Calls over this project's pool, over what tonic has, over the preview of the `grpc` crate, and over HTTP/2
//! streams as the floor.
//!
//! ```text
//! cargo bench -p benches --bench rpc             # about ten minutes
//! cargo bench -p benches --bench rpc -- --quick  # less than two minutes, noisier
//! ```
//!
//! # How it measures
//!
//! The server is a process of its own, with one thread, on loopback; all clients run in this one, in turn:
//! every round measures each of them once per scenario, and each round begins with another one, so that a
//! busy moment of the machine falls on all alike. A figure is the median over the rounds. **Compare ratios
//! of one run**; seconds of two runs, or of two machines, mean little.
//!
//! A call is measured from the caller's side, through the client that tonic generates, until its answer is
//! read to the end. What it costs is this process's processor time, on all of its threads.
//!
//! Every client has its own defaults, but for a `Channel` with larger windows, which is there as well where much is
//! streamed. In the scenarios that name connections the pool is told their number and the server allows 1,000 streams;
//! each of these is there again with nothing set on either side, at 0.9 of the bar. There the pool has as many
//! connections as it sees fit, and the others have the one that they always have: raw h2, too, which is a floor only
//! with the same number. That of the calls that take 5 ms keeps its server's limit there, which is what it is about.
//! Calls with a deadline are held to the bar of those without; raw h2 has none, and the preview does not keep it. So
//! are those that are guarded (with a deadline, a retry policy and its budget, the server's health watched, keepalive,
//! and a maximum age, where a `Channel` has the deadline and keepalive: what it costs to have them, since none of them
//! has to act), and those over TLS. Raw h2 has the windows of a `Channel` and frames and buffers of its own, so where
//! much is streamed it is no floor.
//!
//! The table goes to standard output, the figures to `bench/rpc.json` in the target folder. A call of the
//! pool that fails fails the benchmark.

use std::process::ExitCode;
use std::time::Duration;

use benches::report::{self, Bar, Bound, Figure};
use benches::rounds::{Entry, Options, Samples, rotate};
use benches::rpc::{
    Balanced, Call, Clients, Connections, Failure, Grpc, H2, InTurn, Kind, LargeWindows,
    OneChannel, Pooled, Sample, Scenario, Server, Serving, Setup, System, Until, measure, runtime,
    serve,
};
use clap::Parser;
use tokio::runtime::Runtime;

const POOL: &str = <Clients<Pooled>>::NAME;
const BASELINE: &str = <Clients<OneChannel>>::NAME;

const CALLS: &str = "calls/s";
const MIB: &str = "MiB/s";
const CPU: &str = "us CPU/call";
/// Of the stream beside the calls.
const BESIDE: &str = "stream MiB/s";

/// What a round measures, in this order.
const SYSTEMS: &[Entry<Client>] = &[
    entry::<Clients<Pooled>>(Part::Always),
    entry::<Clients<OneChannel>>(Part::Always),
    entry::<Clients<LargeWindows>>(Part::Streams),
    entry::<Clients<InTurn>>(Part::Connections),
    entry::<Clients<Balanced>>(Part::Connections),
    entry::<H2>(Part::Plain),
    entry::<Grpc>(Part::Plain),
];

/// How much less of a bar is enough for the pool when it is told nothing.
const UNSET: f64 = 0.9;

/// A scenario, and what the pool is held to as ratios to one `Channel`.
struct Row {
    scenario: Scenario,
    /// At least this often as many calls, with the client on one and on two threads.
    calls: Option<[f64; 2]>,
    /// At most this part of the processor time per call.
    cpu: Option<f64>,
}

impl Row {
    fn unary(concurrent: usize, connections: Connections, calls: [f64; 2], cpu: f64) -> Self {
        let (told, limit) = match connections {
            Connections::Unset if concurrent == 1 => (String::new(), None),
            Connections::Unset => (", nothing set".to_owned(), None),
            _ => (format!(", {} connections", connections.fixed()), Some(1000)),
        };
        let title = format!("{concurrent} concurrent{told}");
        let call = Call::unary(Duration::ZERO);
        let setup = Setup::Plain;
        let scenario =
            Scenario { title, call, concurrent, beside: None, connections, setup, limit };
        Self { scenario, calls: Some(calls), cpu: Some(cpu) }
    }

    /// Calls that take 5 ms.
    fn slow(told: &str, connections: Connections) -> Self {
        let mut row = Self::unary(512, connections, [4.0; 2], 0.65);
        row.scenario.title = format!("512 concurrent of 5 ms, limit 100, {told}");
        row.scenario.call = Call::unary(Duration::from_millis(5));
        row.scenario.limit = Some(100);
        row
    }

    /// Each with a deadline that none of them comes to.
    fn timed(mut self) -> Self {
        self.scenario.title += ", with a deadline";
        self.scenario.call.timeout = Some(Duration::from_secs(10));
        self
    }

    /// Over TLS.
    fn encrypted(mut self) -> Self {
        self.scenario.title += ", over TLS";
        self.scenario.setup = Setup::Tls;
        self
    }

    /// With all that looks after calls and connections: retries, health, keepalive and ages.
    fn guarded(mut self) -> Self {
        self.scenario.title += ", guarded";
        self.scenario.setup = Setup::Guarded;
        self
    }

    /// One stream after the other.
    fn stream(title: &str, kind: Kind) -> Self {
        let row = Self::unary(1, Connections::Unset, [1.0; 2], 1.0);
        let title = title.to_owned();
        let scenario = Scenario { title, call: Call::stream(kind, 125), ..row.scenario };
        Self { scenario, calls: row.calls, cpu: None }
    }

    /// Unary calls, and one stream after the other. They have the same processor: where more is streamed fewer calls
    /// are made, so neither has a bar by itself.
    fn beside() -> Self {
        let row = Self::unary(16, Connections::Unset, [1.0; 2], 1.0);
        let title = "16 concurrent beside a server stream of 64 MiB".to_owned();
        let beside = Some(Call::stream(Kind::ServerStream, 64));
        Self { scenario: Scenario { title, beside, ..row.scenario }, calls: None, cpu: None }
    }

    /// The pool is told nothing: a little less is enough.
    fn unset(mut self) -> Self {
        self.calls = self.calls.map(|calls| calls.map(|bar| bar * UNSET));
        self.cpu = self.cpu.map(|bar| bar / UNSET);
        self
    }

    /// The bars, with the client on `threads` threads.
    fn bars(&self, threads: usize) -> Vec<Bar> {
        let bar = |unit, bound| Bar { system: POOL, baseline: Some(BASELINE), unit, bound };
        let (unit, _) = rate(&self.scenario.call);
        let calls = self.calls.map(|calls| bar(unit, Bound::AtLeast(calls[threads - 1])));
        let cpu = self.cpu.map(|cpu| bar(CPU, Bound::AtMost(cpu)));
        calls.into_iter().chain(cpu).collect()
    }
}

/// The scenarios, each of which runs with the client on one and on two threads.
fn rows() -> Vec<Row> {
    let mut rows = vec![Row::unary(1, Connections::Unset, [1.0, 1.0], 0.85)];
    let two = Connections::Exactly(2);
    for (concurrent, calls, cpu) in
        [(16, [1.6, 1.5], 0.78), (128, [2.2, 1.35], 0.66), (512, [1.6, 1.4], 0.70)]
    {
        rows.push(Row::unary(concurrent, two, calls, cpu));
        rows.push(Row::unary(concurrent, Connections::Unset, calls, cpu).unset());
        if concurrent == 16 {
            let unset = || Row::unary(concurrent, Connections::Unset, calls, cpu).unset();
            rows.push(unset().timed());
            rows.push(unset().timed().guarded());
            rows.push(unset().encrypted());
        }
    }
    rows.push(Row::slow("at most 8 connections", Connections::AtMost(8)));
    rows.push(Row::slow("nothing set", Connections::Unset).unset());
    rows.push(Row::beside());
    rows.push(Row::stream("server stream of 125 MiB", Kind::ServerStream));
    rows.push(Row::stream("client stream of 125 MiB", Kind::ClientStream));
    rows.push(Row::stream("bidirectional stream of 125 MiB each way", Kind::Bidi));
    rows
}

/// What the rate of calls is given in, and how much of that a call is.
fn rate(call: &Call) -> (&'static str, f64) {
    call.mib().map_or((CALLS, 1.0), |mib| (MIB, mib))
}

/// Which scenarios a client takes part in.
#[derive(Clone, Copy)]
enum Part {
    Always,
    /// Where nothing but calls is asked for.
    Plain,
    /// Where it is told a number of connections.
    Connections,
    /// Where something is streamed.
    Streams,
}

impl Part {
    fn has(self, scenario: &Scenario) -> bool {
        match self {
            Self::Always => true,
            Self::Plain => scenario.setup == Setup::Plain,
            Self::Connections => scenario.connections != Connections::Unset,
            Self::Streams => scenario.beside.unwrap_or(scenario.call).kind != Kind::Unary,
        }
    }
}

/// What is done with a client.
#[derive(Clone, Copy)]
struct Client {
    part: Part,
    /// Measures it once, after a warm-up of some time.
    measure: fn(&Runtime, &Scenario, &Server, Duration, Until) -> Result<Sample, Failure>,
}

const fn entry<S: System>(part: Part) -> Entry<Client> {
    Entry { name: S::NAME, measure: Client { part, measure: measure::<S> } }
}

/// Calls, side by side.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,

    /// Only make about this many unary calls, 16 at a time, over 2 connections and on one thread: for a
    /// profiler that counts.
    #[arg(long, requires = "system")]
    calls: Option<usize>,

    /// Be the server.
    #[arg(long, hide = true)]
    serve: Option<Serving>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match (arguments.serve, arguments.calls) {
        (Some(serving), _) => serve(serving),
        (_, Some(calls)) => only_calls(&arguments.options, calls),
        _ => run(&arguments.options),
    };
    report::exit_code("rpc", done)
}

fn run(options: &Options) -> Result<(), Failure> {
    let asked = options.systems(SYSTEMS)?;
    let time = Duration::from_millis(if options.quick { 100 } else { 200 });
    let mut all = Vec::new();
    let mut failed = Vec::new();
    for row in rows() {
        let mut systems = asked.clone();
        systems.retain(|entry| entry.measure.part.has(&row.scenario));
        for threads in [1, 2] {
            let threaded = format!("{}, {threads} {}", row.scenario.title, plural(threads));
            if systems.is_empty() || !options.has(&threaded) {
                continue;
            }
            let server = Server::start(row.scenario.limit, row.scenario.setup)?;
            let runtime = runtime(threads);
            let samples = rotate(&systems, options.rounds(3), |client| {
                (client.measure)(&runtime, &row.scenario, &server, time / 3, Until::Time(time))
            })?;
            for (system, samples) in &samples {
                let mut failures = samples.iter().filter_map(|sample| sample.failure.as_ref());
                if let Some(failure) = failures.next() {
                    println!("a call of {system} failed in \"{threaded}\": {failure}");
                    failed.push(*system);
                }
            }
            let baseline = options.baseline(BASELINE);
            let figures = figures(&threaded, &row.scenario, baseline, &samples);
            print!("{}", report::table(&figures, &row.bars(threads)));
            all.extend(figures);
        }
    }
    report::write(env!("CARGO_TARGET_TMPDIR"), "rpc", &all, options, &[CALLS, MIB, BESIDE])?;
    if failed.contains(&POOL) {
        return Err(format!("calls of {POOL} failed").into());
    }
    Ok(())
}

fn plural(threads: usize) -> &'static str {
    if threads == 1 { "thread" } else { "threads" }
}

/// The figures of one scenario, a unit after the other.
fn figures(
    title: &str,
    scenario: &Scenario,
    baseline: &str,
    samples: &Samples<Sample>,
) -> Vec<Figure> {
    let (unit, each) = rate(&scenario.call);
    let rounds = |unit, figure: &dyn Fn(&Sample) -> f64| {
        let rounds = |samples: &Vec<Sample>| samples.iter().map(figure).collect();
        let samples = samples.iter().map(|(system, samples)| (*system, rounds(samples))).collect();
        report::figures(title, unit, baseline, samples)
    };
    // All of them count, not those of the middle round.
    let failed = |samples: &Vec<Sample>| samples.iter().map(|sample| sample.failed).sum::<usize>();
    let failed = samples.iter().map(|(system, samples)| (*system, vec![failed(samples) as f64]));
    let beside = scenario.beside.map(|_| rounds(BESIDE, &|sample| sample.beside));
    // With a stream beside the calls, its share is not theirs.
    let cpu = scenario.beside.is_none().then(|| rounds(CPU, &|sample| sample.cpu));
    [
        rounds(unit, &|sample| sample.rate * each),
        beside.unwrap_or_default(),
        rounds("us p50", &|sample| sample.p50),
        rounds("us p99", &|sample| sample.p99),
        cpu.unwrap_or_default(),
        report::figures(title, "failed", baseline, failed.collect()),
    ]
    .concat()
}

/// A number of calls of one system, without a clock.
fn only_calls(options: &Options, calls: usize) -> Result<(), Failure> {
    let row = Row::unary(16, Connections::Exactly(2), [1.0; 2], 1.0);
    let server = Server::start(row.scenario.limit, row.scenario.setup)?;
    for system in options.systems(SYSTEMS)? {
        let until = Until::Calls(calls);
        let Client { measure, .. } = system.measure;
        let sample = measure(&runtime(1), &row.scenario, &server, Duration::ZERO, until)?;
        if let Some(failure) = sample.failure {
            return Err(failure);
        }
    }
    Ok(())
}
