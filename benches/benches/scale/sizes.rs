//! What a get costs of a pool with so many resources.

use tokio::time::Instant;

use benches::checkout::{self, System, fill};
use benches::rpc::runtime;

/// How many resources are held at a time where it is not one.
const HELD: usize = 16;

/// Nanoseconds per get and return of one task that holds one resource at a time, which is the same one each time where
/// a pool has it near.
pub(crate) fn one<S: System>(size: usize, quick: bool) -> [f64; 1] {
    let gets = gets(quick);
    let scenario =
        checkout::Scenario { title: "", tasks: 1, size, threads: 1, yields: false, gets };
    [checkout::measure::<S>(&scenario.runtime(), &scenario)]
}

/// The same of a task that gets several before it returns them: all but one go to where a pool keeps what is idle, and
/// come from there.
pub(crate) fn several<S: System>(size: usize, quick: bool) -> [f64; 1] {
    let times = gets(quick) / HELD;
    runtime(1).block_on(async {
        let system = S::new(size);
        fill(&system, size).await;
        let mut held = Vec::with_capacity(HELD);
        let start = Instant::now();
        for _ in 0..times {
            for _ in 0..HELD {
                held.push(system.get().await);
            }
            held.clear();
        }
        [start.elapsed().as_nanos() as f64 / (times * HELD) as f64]
    })
}

const fn gets(quick: bool) -> usize {
    if quick { 50_000 } else { 400_000 }
}
