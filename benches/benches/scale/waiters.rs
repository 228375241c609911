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

/// One measurement with so many waiters, of which every other one gives up. Nobody is woken: each is polled when its turn
/// has come.
///
/// # Panics
///
/// If the system serves one out of turn.
pub(crate) fn measure<S: System>(waiters: usize) -> Costs {
    let runtime = runtime(1);
    let _inside = runtime.enter();
    let system = S::new(1);
    let mut lease = Some(runtime.block_on(system.get()));
    let mut queue: Vec<_> = (0..waiters).map(|_| Some(Box::pin(system.get()))).collect();
    let mut cx = Context::from_waker(Waker::noop());

    let start = Instant::now();
    for waiter in queue.iter_mut().flatten() {
        assert!(waiter.as_mut().poll(&mut cx).is_pending(), "everything is lent");
    }
    let join = per(start, waiters);

    // In an order that is neither that of the queue nor its reverse.
    let leaving = waiters.div_ceil(2);
    let step = coprime(leaving);
    let start = Instant::now();
    for n in 0..leaving {
        queue[n * step % leaving * 2] = None;
    }
    let leave = per(start, leaving);

    let staying = waiters - leaving;
    let start = Instant::now();
    for waiter in queue.iter_mut().flatten() {
        drop(lease.take());
        lease = Some(served(waiter.as_mut(), &mut cx));
    }
    let serve = if staying == 0 { 0.0 } else { per(start, staying) };
    Costs { join, leave, serve }
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
