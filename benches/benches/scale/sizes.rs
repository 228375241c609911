//! What a get costs of a pool with so many resources.

use tokio::time::Instant;

use benches::checkout::{self, System, fill};
use benches::rpc::runtime;

/// Nanoseconds per get and return of one task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    /// It holds one resource at a time, which is the same one each time where a pool has it near.
    pub(crate) one: f64,
    /// It gets several before it returns them: all but one go to where a pool keeps what is idle, and come from there.
    pub(crate) several: f64,
}

/// How many resources are held at a time where it is not one, if there are as many.
const HELD: usize = 16;

/// One measurement of a pool of this size.
pub(crate) fn measure<S: System>(size: usize, quick: bool) -> Costs {
    let gets = if quick { 50_000 } else { 400_000 };
    let scenario =
        checkout::Scenario { title: "", tasks: 1, size, threads: 1, yields: false, gets };
    let one = checkout::measure::<S>(&scenario.runtime(), &scenario);
    Costs { one, several: several::<S>(size, gets) }
}

fn several<S: System>(size: usize, gets: usize) -> f64 {
    let held = HELD.min(size);
    let times = gets / held;
    runtime(1).block_on(async {
        let system = S::new(size);
        fill(&system, size).await;
        let mut leases = Vec::with_capacity(held);
        let start = Instant::now();
        for _ in 0..times {
            for _ in 0..held {
                leases.push(system.get().await);
            }
            leases.clear();
        }
        start.elapsed().as_nanos() as f64 / (times * held) as f64
    })
}
