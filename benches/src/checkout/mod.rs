//! Getting and returning: how a pool is driven, and what is measured.
//!
//! A figure is the wall time of a whole measurement over the number of gets in it, all tasks taken
//! together. Each measurement has a pool of its own, filled and warmed up before the clock starts, so
//! that no pool's background work disturbs another's figure and creation is never part of one: unless the
//! pool's own defaults keep fewer idle resources than it may have, as mobc's do.

pub mod floors;
pub mod systems;

use std::sync::Arc;

use tokio::runtime::{self, Runtime};
use tokio::sync::Barrier;
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;

/// A pool as the benchmark sees it. One more pool to compare with is one more implementation.
pub trait System: Send + Sync + 'static {
    /// What a get returns. Dropping it returns the resource.
    type Lease<'a>: Send;

    /// The name in the table and in the file.
    const NAME: &'static str;

    /// Does a get wait while everything is lent? If not, the system is left out of the scenarios in
    /// which there are more tasks than resources.
    const WAITS: bool = true;

    /// A pool of `size` resources, with its own defaults otherwise.
    fn new(size: usize) -> Self;

    /// Gets a resource.
    fn get(&self) -> impl Future<Output = Self::Lease<'_>> + Send;
}

/// What a scenario asks of every system.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The row's title.
    pub title: &'static str,
    /// How many tasks get and return.
    pub tasks: usize,
    /// How many resources there are.
    pub size: usize,
    /// How many threads run the tasks.
    pub threads: usize,
    /// Does a holder yield once before it returns?
    pub yields: bool,
    /// How many gets a measurement makes, all tasks taken together.
    pub gets: usize,
}

impl Scenario {
    /// Do gets have to wait?
    pub fn contended(&self) -> bool {
        self.tasks > self.size
    }

    /// How many gets there are in all, with those of the warm-up.
    pub fn all_gets(&self) -> usize {
        let share = self.gets / self.tasks;
        (share + warm_up(share)) * self.tasks
    }

    /// A runtime with as many threads as the scenario asks for.
    ///
    /// # Panics
    ///
    /// If the system gives no threads.
    pub fn runtime(&self) -> Runtime {
        let mut builder = if self.threads == 1 {
            runtime::Builder::new_current_thread()
        } else {
            let mut builder = runtime::Builder::new_multi_thread();
            builder.worker_threads(self.threads);
            builder
        };
        builder.enable_time().build().expect("the system gives threads to a runtime")
    }
}

/// One measurement: nanoseconds per get and return.
pub fn measure<S: System>(runtime: &Runtime, scenario: &Scenario) -> f64 {
    runtime.block_on(async {
        let system = Arc::new(S::new(scenario.size));
        fill(&*system, scenario.size).await;
        if scenario.tasks == 1 {
            alone(&*system, scenario).await
        } else {
            together(&system, scenario).await
        }
    })
}

/// Makes the pool create all of its resources.
pub async fn fill<S: System>(system: &S, size: usize) {
    let mut leases = Vec::with_capacity(size);
    for _ in 0..size {
        leases.push(system.get().await);
    }
}

async fn alone<S: System>(system: &S, scenario: &Scenario) -> f64 {
    repeat(system, warm_up(scenario.gets), scenario.yields).await;
    let start = Instant::now();
    repeat(system, scenario.gets, scenario.yields).await;
    start.elapsed().as_nanos() as f64 / scenario.gets as f64
}

/// From the first task's first get to the last task's last return. The tasks look at the clock
/// themselves: one that waited beside them for all to be ready would have to be given a processor first, which
/// they keep busy, and might find them done.
async fn together<S: System>(system: &Arc<S>, scenario: &Scenario) -> f64 {
    let share = scenario.gets / scenario.tasks;
    let ready = Arc::new(Barrier::new(scenario.tasks));
    let mut tasks = JoinSet::new();
    for _ in 0..scenario.tasks {
        let system = Arc::clone(system);
        let ready = Arc::clone(&ready);
        let yields = scenario.yields;
        tasks.spawn(async move {
            repeat(&*system, warm_up(share), yields).await;
            ready.wait().await;
            let start = Instant::now();
            repeat(&*system, share, yields).await;
            (start, Instant::now())
        });
    }
    let times = tasks.join_all().await;
    let first = times.iter().map(|(start, _)| *start).min();
    let last = times.iter().map(|(_, end)| *end).max();
    let (first, last) = first.zip(last).expect("a scenario has tasks");
    (last - first).as_nanos() as f64 / (share * scenario.tasks) as f64
}

/// How many gets come before those that are measured.
fn warm_up(gets: usize) -> usize {
    gets / 10
}

async fn repeat<S: System>(system: &S, times: usize, yields: bool) {
    for _ in 0..times {
        let lease = system.get().await;
        if yields {
            yield_now().await;
        }
        drop(std::hint::black_box(lease));
    }
}
