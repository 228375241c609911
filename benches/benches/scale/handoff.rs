//! How long it takes from the return of a place to the resumption of the one that waited for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

use tokio::task::{JoinSet, yield_now};

use benches::checkout::System;
use benches::rpc::runtime;

/// Of one measurement, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latencies {
    /// The median.
    pub(crate) p50: f64,
    /// What one of a hundred exceeds.
    pub(crate) p99: f64,
}

/// One measurement: so many tasks hand one place around, so many times.
///
/// # Panics
///
/// If nobody ever had to wait.
pub(crate) fn measure<S: System>(threads: usize, tasks: usize, handoffs: usize) -> Latencies {
    let runtime = runtime(threads);
    let mut taken = runtime.block_on(async {
        let system = Arc::new(S::new(1));
        drop(system.get().await);
        let (base, returned) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let mut all = JoinSet::new();
        for _ in 0..tasks {
            let (system, returned) = (Arc::clone(&system), Arc::clone(&returned));
            all.spawn(async move {
                let nanos = || u64::try_from(base.elapsed().as_nanos()).unwrap_or(u64::MAX);
                let mut taken = Vec::with_capacity(handoffs / tasks);
                for _ in 0..handoffs / tasks {
                    let asked = nanos();
                    let lease = system.get().await;
                    let (now, at) = (nanos(), returned.load(Ordering::Relaxed));
                    // Else it did not wait.
                    if at > asked {
                        taken.push(now - at);
                    }
                    yield_now().await;
                    returned.store(nanos(), Ordering::Relaxed);
                    drop(lease);
                }
                taken
            });
        }
        all.join_all().await.into_iter().flatten().collect::<Vec<_>>()
    });
    assert!(!taken.is_empty(), "nobody waited");
    taken.sort_unstable();
    let at = |percent: usize| taken[(taken.len() - 1) * percent / 100] as f64;
    Latencies { p50: at(50), p99: at(99) }
}
