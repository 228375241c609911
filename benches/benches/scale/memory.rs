//! How many bytes a resource takes that rests, and one that waits. Counted by the allocator, in this thread.

use std::task::{Context, Waker};

use allocation_counter::measure;
use tokio::task::yield_now;

use benches::checkout::System;
use benches::rpc::runtime;

/// So many resources that what a pool has without any is not in the difference: a log of events, say, which is full.
const FEW: usize = 50;

/// Bytes that the pool keeps for each of so many idle resources beyond a few, the resource itself not counted.
pub(crate) fn per_idle<S: System>(resources: usize) -> f64 {
    let more = kept::<S>(resources) - kept::<S>(FEW);
    more as f64 / (resources - FEW) as f64 - size_of::<u64>() as f64
}

/// Bytes that a pool keeps that has so many idle resources.
fn kept<S: System>(resources: usize) -> i64 {
    let runtime = runtime(1);
    let _inside = runtime.enter();
    let mut system = None;
    let made = measure(|| {
        let new = S::new(resources);
        runtime.block_on(async {
            let mut leases = Vec::with_capacity(resources);
            for _ in 0..resources {
                leases.push(new.get().await);
            }
            drop(leases);
            // Some pools have a task take them back.
            for _ in 0..resources {
                yield_now().await;
            }
        });
        system = Some(new);
    });
    drop(system);
    made.bytes_current
}

/// Bytes that are taken for each of so many that wait, its future among them.
///
/// # Panics
///
/// If the system lends what is lent.
pub(crate) fn per_waiter<S: System>(waiters: usize) -> f64 {
    let runtime = runtime(1);
    let _inside = runtime.enter();
    let system = S::new(1);
    let _lease = runtime.block_on(system.get());
    let mut queue = Vec::with_capacity(waiters);
    let made = measure(|| {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..waiters {
            let mut waiter = Box::pin(system.get());
            assert!(waiter.as_mut().poll(&mut cx).is_pending(), "everything is lent");
            queue.push(waiter);
        }
    });
    made.bytes_current as f64 / waiters as f64
}
