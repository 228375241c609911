//! What the pool asks of the allocator: nothing where a get is served and returned, little for a
//! resource that rests. Counted in the thread of each test, by the allocator of this binary.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use allocation_counter::measure;
use fastrand::Rng;
use pool_core::{
    CheckPolicy, CreateContext, Exclusive, GetOptions, Kind, Manager, Metadata, Pool, ResourcePool,
    Shared, SharedManager, SharedPool,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio_test::task::spawn;

/// Plain numbers, which are lent as they are.
struct Numbers;

impl Manager for Numbers {
    type Resource = u64;
    type Error = Infallible;

    async fn create(&self, _cx: &CreateContext) -> Result<u64, Infallible> {
        Ok(0)
    }
}

impl SharedManager for Numbers {}

/// Numbers that are looked at each time.
struct Checked;

impl Manager for Checked {
    type Resource = u64;
    type Error = Infallible;

    async fn create(&self, _cx: &CreateContext) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn check(&self, number: &mut u64, _meta: &Metadata) -> Result<(), Infallible> {
        *number += 1;
        Ok(())
    }

    async fn recycle(&self, number: &mut u64, _meta: &Metadata) -> Result<(), Infallible> {
        *number += 1;
        Ok(())
    }
}

fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Lets every task run until all of them wait.
async fn rest() {
    for _ in 0..64 {
        yield_now().await;
    }
}

/// Allocations of `calls` gets and returns that are served at once, after as many to warm up.
fn allocations_of_hits<M: Manager, K: Kind<M>>(pool: &ResourcePool<M, K>, calls: usize) -> u64 {
    let hit = || {
        let mut get = pin!(pool.get());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Ok(lease)) = get.as_mut().poll(&mut cx) else { panic!("not a hit") };
        drop(lease);
        drop(pool.try_get().unwrap());
    };
    (0..calls).for_each(|_| hit());
    measure(|| (0..calls).for_each(|_| hit())).count_total
}

#[test]
fn a_hit_allocates_nothing() {
    paused().block_on(async {
        let pool = Pool::builder(Numbers).max_size(4).build().unwrap();
        drop(pool.get().await.unwrap());
        rest().await;
        assert_eq!(allocations_of_hits(&pool, 1_000), 0, "exclusive");
        // Beside others that are out.
        let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
        drop(pool.get().await.unwrap());
        rest().await;
        assert_eq!(allocations_of_hits(&pool, 1_000), 0, "beside others");
        drop(held);

        let pool = SharedPool::builder(Numbers).places(8).build().unwrap();
        drop(pool.get().await.unwrap());
        rest().await;
        assert_eq!(allocations_of_hits(&pool, 1_000), 0, "shared");
        let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
        rest().await;
        assert_eq!(allocations_of_hits(&pool, 1_000), 0, "shared, beside other holders");
        drop(held);

        let builder = Pool::builder(Checked).check(CheckPolicy::Always);
        let pool = builder.build().unwrap();
        drop(pool.get().await.unwrap());
        rest().await;
        assert_eq!(allocations_of_hits(&pool, 1_000), 0, "with checks");
    });
}

/// Allocations while several tasks get and return by turns, after a time to warm up.
fn allocations_of_waits<K: Kind<Numbers>>(pool: &ResourcePool<Numbers, K>, tasks: usize) -> u64 {
    let runtime = paused();
    for _ in 0..tasks {
        let pool = pool.clone();
        runtime.spawn(async move {
            loop {
                let lease = pool.get_owned().await.unwrap();
                yield_now().await;
                drop(lease);
            }
        });
    }
    let rounds = |rounds| async move {
        for _ in 0..rounds {
            yield_now().await;
        }
    };
    let allocations = |number| measure(|| runtime.block_on(rounds(number))).count_total;
    // Warm up.
    allocations(1_000);
    let waits = pool.counters().waits;
    // What the runtime itself allocates does not depend on the number.
    let allocated = allocations(1_000) - allocations(1);
    let waits = pool.counters().waits - waits;
    assert!(waits > 500, "{waits} waits");
    allocated
}

#[test]
fn a_wait_allocates_nothing() {
    let pool = Pool::builder(Numbers).max_size(1).build().unwrap();
    assert_eq!(allocations_of_waits(&pool, 8), 0, "one resource");
    let pool = Pool::builder(Numbers).max_size(3).build().unwrap();
    assert_eq!(allocations_of_waits(&pool, 8), 0, "three resources");
    let pool = SharedPool::builder(Numbers).max_size(1).places(2).build().unwrap();
    assert_eq!(allocations_of_waits(&pool, 8), 0, "one shared resource");
}

/// Resources after whose creation a pool keeps as many of its latest events as it ever does.
const FEW: usize = 50;

/// Bytes that a pool keeps for each of `size` idle resources, without the resource itself.
fn bytes_beside_each<K: Kind<Numbers>>(
    build: impl Fn(usize) -> ResourcePool<Numbers, K>,
    size: usize,
) -> f64 {
    let runtime = paused();
    let measured = |size| {
        let mut pool = None;
        let info = measure(|| {
            pool = Some(runtime.block_on(async {
                let pool = build(size);
                while pool.status().idle < size {
                    yield_now().await;
                }
                rest().await;
                // Each has been used, all at the same time.
                let leases: Vec<_> = (0..size).map(|_| pool.try_get_owned().unwrap()).collect();
                drop(leases);
                rest().await;
                pool
            }));
        });
        assert_eq!(pool.unwrap().status().idle, size);
        info.bytes_current
    };
    let few = measured(FEW);
    let more = measured(size) - few;
    more as f64 / (size - FEW) as f64 - size_of::<u64>() as f64
}

/// The same where each was created for a caller who waited for it.
fn bytes_beside_each_on_demand(size: usize) -> f64 {
    let runtime = paused();
    let measured = |size| {
        let mut pool = None;
        let info = measure(|| {
            let new = Pool::builder(Numbers).max_size(size).build().unwrap();
            runtime.block_on(async {
                let mut leases = Vec::with_capacity(size);
                for _ in 0..size {
                    leases.push(new.get().await.unwrap());
                }
                drop(leases);
                rest().await;
            });
            pool = Some(new);
        });
        assert_eq!(pool.unwrap().status().idle, size);
        info.bytes_current
    };
    let few = measured(FEW);
    let more = measured(size) - few;
    more as f64 / (size - FEW) as f64 - size_of::<u64>() as f64
}

fn exclusive_of(size: usize) -> Pool<Numbers> {
    Pool::builder(Numbers).max_size(size).min_size(size).max_creating(16).build().unwrap()
}

fn shared_of(size: usize) -> SharedPool<Numbers> {
    SharedPool::builder(Numbers).max_size(size).min_size(size).max_creating(16).build().unwrap()
}

/// Bytes that the pool may keep for an idle resource, beside the resource.
const MOST_OF_AN_IDLE_ONE: f64 = 64.0;

/// The same in a shared pool, which keeps a count of holders and places beside that.
const MOST_OF_AN_IDLE_SHARED_ONE: f64 = 208.0;

#[test]
fn a_resource_that_rests_takes_little_memory() {
    for size in [1_000, 5_000, 8_192] {
        let exclusive = bytes_beside_each::<Exclusive>(exclusive_of, size);
        let shared = bytes_beside_each::<Shared>(shared_of, size);
        let demanded = bytes_beside_each_on_demand(size);
        println!(
            "{size} resources: {exclusive:.1} bytes beside each, {demanded:.1}, {shared:.1} if shared"
        );
        assert!(demanded <= MOST_OF_AN_IDLE_ONE, "{demanded} bytes each of {size} on demand");
        assert!(exclusive <= MOST_OF_AN_IDLE_ONE, "{exclusive} bytes each of {size}");
        assert!(shared <= MOST_OF_AN_IDLE_SHARED_ONE, "{shared} bytes each of {size}, shared");
    }
}

/// Enough that a walk along the queue for each would take many minutes.
const WAITERS: usize = 200_000;

#[test]
fn giving_up_allocates_nothing_and_walks_past_nobody() {
    paused().block_on(async {
        let pool = Pool::builder(Numbers).max_size(1).build().unwrap();
        let held = pool.get().await.unwrap();
        let mut waiters: Vec<_> = (0..WAITERS)
            .map(|n| {
                // Most share a timeout; the others' are nearer and further.
                let wait = Duration::from_secs([30, 30, 30, 20, 40][n % 5]);
                let mut get = spawn(pool.get_with(GetOptions::new().timeout(wait)));
                assert!(get.poll().is_pending());
                get
            })
            .collect();
        rest().await;
        assert_eq!(pool.status().waiting, WAITERS);
        Rng::with_seed(7).shuffle(&mut waiters);
        let last = waiters.pop();
        let info = measure(|| waiters.clear());
        assert_eq!(info.count_total, 0, "allocations");
        assert_eq!(pool.status().waiting, 1);
        assert_eq!(pool.counters().gets_cancelled, WAITERS as u64 - 1);
        // The one that stayed is served.
        drop(held);
        let mut last = last.unwrap();
        assert!(last.is_woken() && last.poll().is_ready());
    });
}
