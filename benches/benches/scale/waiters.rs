//! What one of many waiters costs: to join, to give up, to be served.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

use benches::checkout::System;
use benches::rpc::runtime;

/// What one waiter costs, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    /// To join the queue.
    pub(crate) join: f64,
    /// To leave it, from anywhere in it.
    pub(crate) leave: f64,
    /// To be served: from the return of the place to the waiter's having it.
    pub(crate) serve: f64,
}

/// How many waiters there are at least, those of several pools if need be: the clock takes as long as one of them. No
/// pool has had a waiter before, and what it makes for its first one is part of the figure.
const WAITERS: usize = 1_000;

/// One measurement with so many waiters of a pool, of which every other one gives up; one that is alone comes back to
/// be served. Nobody is woken: each is polled when its turn has come. Nothing else runs meanwhile: of the pools' tasks this
/// project's maintenance would, which looks at each waiter that joins by its clock once more.
///
/// # Panics
///
/// If the system serves one out of turn.
pub(crate) fn measure<S: System>(waiters: usize) -> Costs {
    let runtime = runtime(1);
    let _inside = runtime.enter();
    let pools: Vec<_> = (0..WAITERS.div_ceil(waiters)).map(|_| S::new(1)).collect();
    let mut leases: Vec<_> = pools.iter().map(|pool| Some(runtime.block_on(pool.get()))).collect();
    let queue = |pool| (0..waiters).map(|_| Some(Box::pin(S::get(pool)))).collect();
    let mut queues: Vec<Vec<_>> = pools.iter().map(queue).collect();
    let mut cx = Context::from_waker(Waker::noop());

    let start = Instant::now();
    for waiter in queues.iter_mut().flatten().flatten() {
        wait(waiter.as_mut(), &mut cx);
    }
    let join = per(start, waiters * pools.len());

    // In an order that is neither that of the queue nor its reverse.
    let leaving = waiters.div_ceil(2);
    let step = coprime(leaving);
    let start = Instant::now();
    for queue in &mut queues {
        for n in 0..leaving {
            queue[n * step % leaving * 2] = None;
        }
    }
    let leave = per(start, leaving * pools.len());

    if waiters == 1 {
        for (queue, pool) in queues.iter_mut().zip(&pools) {
            wait(queue[0].insert(Box::pin(pool.get())).as_mut(), &mut cx);
        }
    }
    let staying = queues[0].iter().flatten().count();
    let start = Instant::now();
    for (queue, lease) in queues.iter_mut().zip(&mut leases) {
        for waiter in queue.iter_mut().flatten() {
            drop(lease.take());
            *lease = Some(served(waiter.as_mut(), &mut cx));
        }
    }
    let serve = per(start, staying * pools.len());
    Costs { join, leave, serve }
}

fn wait<F: Future>(waiter: Pin<&mut F>, cx: &mut Context<'_>) {
    assert!(waiter.poll(cx).is_pending(), "everything is lent");
}

fn served<F: Future>(waiter: Pin<&mut F>, cx: &mut Context<'_>) -> F::Output {
    match waiter.poll(cx) {
        Poll::Ready(lease) => lease,
        Poll::Pending => panic!("it is its turn"),
    }
}

fn per(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

/// A step with which one comes by every number below `modulus` once.
fn coprime(modulus: usize) -> usize {
    const PRIME: usize = 7_919;
    if modulus.is_multiple_of(PRIME) { 1 } else { PRIME }
}
