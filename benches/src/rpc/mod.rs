//! Calls: how a client is driven, and what is measured.
//!
//! A figure is taken from as many callers as the scenario says, each of which makes one call after the other
//! for a given time. Each measurement has a client of its own, which has connected and made calls of the same
//! kind before the clock starts. The server is a [process of its own](Server), so that the processor time of
//! this process is the client's.

mod clients;
mod h2;
mod preview;
mod server;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cpu_time::ProcessTime;
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tonic::Request;

pub use clients::{Balanced, Clients, InTurn, LargeWindows, OneChannel, Pooled, Stack, Transport};
pub use h2::H2;
pub use preview::Grpc;
pub use server::{Server, Serving, serve};

use proto::Ask;

/// The generated messages, client and server.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("pool.bench");
}

/// Why a call or a connection failed.
pub type Failure = Box<dyn Error + Send + Sync>;

/// What makes calls; clones share its connections.
pub trait Caller: Clone + Send + Sync + 'static {
    /// Makes a call, and reads its answer to the end. The bytes of each message are added to `read` as it comes.
    fn call(
        &mut self,
        call: &Call,
        read: &AtomicUsize,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A client as the benchmark sees it. One more client to compare with is one more implementation.
pub trait System: Caller {
    /// The name in the table and in the file.
    const NAME: &'static str;

    /// A client of a server, with its own defaults but for the number of connections and what its name and the scenario
    /// say.
    fn connect(
        server: &Server,
        scenario: &Scenario,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;
}

/// How many connections a client is told to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// It is told nothing.
    Unset,
    /// This many, from the first call on.
    Exactly(usize),
    /// As many as it takes, but no more than this. Those that can only have a fixed number have this one.
    AtMost(usize),
}

impl Connections {
    /// For those that can only have a fixed number.
    pub fn fixed(self) -> usize {
        match self {
            Self::Unset => 1,
            Self::Exactly(connections) | Self::AtMost(connections) => connections,
        }
    }
}

/// What a client does beside calling, and its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Nothing.
    Plain,
    /// Everything goes over TLS.
    Tls,
    /// Each client looks after its calls and its connections as far as it can.
    Guarded,
}

/// The four kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One message, one answer.
    Unary,
    /// One message, a stream of answers.
    ServerStream,
    /// A stream of messages, one answer, which is the last of them.
    ClientStream,
    /// A stream of messages, each answered.
    Bidi,
}

impl Kind {
    /// What it is called by, for those that have no generated client.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Unary => "/pool.bench.Echo/Unary",
            Self::ServerStream => "/pool.bench.Echo/ServerStream",
            Self::ClientStream => "/pool.bench.Echo/ClientStream",
            Self::Bidi => "/pool.bench.Echo/Bidi",
        }
    }
}

/// A call and its size.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its kind.
    pub kind: Kind,
    /// The bytes of a message, in both directions.
    pub size: usize,
    /// The messages of each stream.
    pub messages: u32,
    /// How long the server takes for an answer, if unary.
    pub delay: Duration,
    /// How long it may take, if unary.
    pub timeout: Option<Duration>,
}

impl Call {
    /// A unary call of 100 bytes that is answered after `delay`.
    pub const fn unary(delay: Duration) -> Self {
        Self { kind: Kind::Unary, size: 100, messages: 1, delay, timeout: None }
    }

    /// A call that streams `mib` MiB, in messages of 64 KiB.
    pub const fn stream(kind: Kind, mib: u32) -> Self {
        Self { kind, size: 64 * 1024, messages: mib * 16, ..Self::unary(Duration::ZERO) }
    }

    /// How many messages the client sends.
    pub fn asks(&self) -> usize {
        match self.kind {
            Kind::Unary | Kind::ServerStream => 1,
            Kind::ClientStream | Kind::Bidi => self.messages as usize,
        }
    }

    /// The message that the client sends.
    pub fn ask(&self) -> Ask {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        Ask {
            payload: Bytes::from_static(&ZEROS[..self.size]),
            delay_us: u32::try_from(self.delay.as_micros()).unwrap_or(u32::MAX),
            answers: self.messages,
        }
    }

    /// The same with its deadline in the request's metadata, if it has one.
    fn request(&self) -> Request<Ask> {
        let mut request = Request::new(self.ask());
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }

    /// Is this how many bytes the answers have to have, taken together?
    ///
    /// # Errors
    ///
    /// If it is not.
    pub fn expect(&self, bytes: usize) -> Result<(), Failure> {
        let answers = match self.kind {
            Kind::Unary | Kind::ClientStream => 1,
            Kind::ServerStream | Kind::Bidi => self.messages as usize,
        };
        if bytes == answers * self.size {
            return Ok(());
        }
        Err(format!("{bytes} bytes were answered, not {}", answers * self.size).into())
    }

    /// The MiB that it streams one way; `None` if it is unary.
    pub fn mib(&self) -> Option<f64> {
        let bytes = f64::from(self.messages) * self.size as f64;
        (self.kind != Kind::Unary).then_some(bytes / f64::from(1 << 20))
    }
}

/// What a scenario asks of every system.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The row's title, without the number of threads.
    pub title: String,
    /// The call.
    pub call: Call,
    /// How many of them are made at a time.
    pub concurrent: usize,
    /// What runs beside them, one after the other. Of it only the bytes are measured.
    pub beside: Option<Call>,
    /// How many connections the client is told to have.
    pub connections: Connections,
    /// What else it is told.
    pub setup: Setup,
    /// The server's limit of streams on a connection, if it has one.
    pub limit: Option<u32>,
}

/// A runtime for a client.
///
/// # Panics
///
/// If the system gives no threads.
pub fn runtime(threads: usize) -> Runtime {
    let mut builder = if threads == 1 {
        runtime::Builder::new_current_thread()
    } else {
        let mut builder = runtime::Builder::new_multi_thread();
        builder.worker_threads(threads);
        builder
    };
    builder.enable_all().build().expect("the system gives threads to a runtime")
}

/// When callers stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// After this many calls, all callers taken together: a multiple of their number.
    Calls(usize),
}

/// What a measurement found.
#[derive(Debug)]
pub struct Sample {
    /// Calls that succeeded, per second.
    pub rate: f64,
    /// How long the middle one of them took, in microseconds.
    pub p50: f64,
    /// Only one in a hundred took longer than this, in microseconds.
    pub p99: f64,
    /// The processor time of this process per call, in microseconds.
    pub cpu: f64,
    /// The MiB per second that was read of what ran beside them; none if nothing did.
    pub beside: f64,
    /// Calls that failed, also those before the clock started.
    pub failed: usize,
    /// Why one of them did.
    pub failure: Option<Failure>,
}

/// One measurement.
///
/// # Errors
///
/// If the client cannot be made. Calls that fail are counted.
pub fn measure<S: System>(
    runtime: &Runtime,
    scenario: &Scenario,
    server: &Server,
    warm_up: Duration,
    until: Until,
) -> Result<Sample, Failure> {
    runtime.block_on(async {
        let system = S::connect(server, scenario).await?;
        let before = load(&system, scenario, Until::Time(warm_up)).await;
        let mut sample = load(&system, scenario, until).await;
        sample.failed += before.failed;
        sample.failure = sample.failure.or(before.failure);
        Ok(sample)
    })
}

/// What one caller saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failed: usize,
    failure: Option<Failure>,
}

/// The calls of a scenario.
pub async fn load<C: Caller>(caller: &C, scenario: &Scenario, until: Until) -> Sample {
    let (clock, cpu) = (Instant::now(), ProcessTime::now());
    let (calls, end) = match until {
        Until::Time(time) => (usize::MAX, Some(clock + time)),
        Until::Calls(calls) => (calls / scenario.concurrent, None),
    };
    let (stop, read) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
    let beside = scenario.beside.map(|call| {
        let (mut caller, stopped) = (caller.clone(), Arc::downgrade(&stop));
        let read = Arc::clone(&read);
        tokio::spawn(async move {
            let mut seen = Seen::default();
            while stopped.strong_count() > 0 {
                seen.note(caller.call(&call, &read).await.map(|()| Duration::ZERO));
            }
            seen
        })
    });
    let mut callers = JoinSet::new();
    for _ in 0..scenario.concurrent {
        callers.spawn(call_on(caller.clone(), scenario.call, calls, end));
    }
    let seen = callers.join_all().await;
    let (wall, cpu) = (clock.elapsed(), cpu.elapsed());
    // What comes later has the connection to itself.
    let read = read.load(Ordering::Relaxed);
    drop(stop);
    let mut all = Seen::default();
    for seen in seen {
        all.latencies.extend(seen.latencies);
        all.failed += seen.failed;
        all.failure = all.failure.or(seen.failure);
    }
    if let Some(beside) = beside {
        let seen = beside.await.unwrap_or_else(|error| Seen::failure(error.into()));
        all.failed += seen.failed;
        all.failure = all.failure.or(seen.failure);
    }
    all.sample(wall, cpu, read)
}

/// One caller: a call after the other.
async fn call_on<C: Caller>(mut caller: C, call: Call, calls: usize, end: Option<Instant>) -> Seen {
    let (mut seen, read) = (Seen::default(), AtomicUsize::new(0));
    for _ in 0..calls {
        let begun = Instant::now();
        if end.is_some_and(|end| begun >= end) {
            break;
        }
        seen.note(caller.call(&call, &read).await.map(|()| begun.elapsed()));
    }
    seen
}

impl Seen {
    fn failure(failure: Failure) -> Self {
        Self { latencies: Vec::new(), failed: 1, failure: Some(failure) }
    }

    fn note(&mut self, call: Result<Duration, Failure>) {
        match call {
            Ok(latency) => self.latencies.push(latency),
            Err(failure) => {
                self.failed += 1;
                self.failure = Some(failure);
            }
        }
    }

    /// With the bytes `read` of what ran beside.
    fn sample(mut self, wall: Duration, cpu: Duration, read: usize) -> Sample {
        self.latencies.sort_unstable();
        let calls = self.latencies.len();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        // Of no calls at all, all took for ever.
        let at =
            |index: usize| self.latencies.get(index).map_or(f64::INFINITY, |time| micros(*time));
        Sample {
            rate: calls as f64 / wall.as_secs_f64(),
            p50: at(calls / 2),
            p99: at(calls * 99 / 100),
            cpu: micros(cpu) / calls as f64,
            beside: read as f64 / f64::from(1 << 20) / wall.as_secs_f64(),
            failed: self.failed,
            failure: self.failure,
        }
    }
}
