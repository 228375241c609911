//! What is done a million times leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::task::Poll;

use harness::{paused, rest};
use pool_core::test_util::ScriptedManager;
use pool_core::{CheckPolicy, Lease, Pool};
use tokio_test::task::spawn;

/// What a run keeps of what it has allocated.
fn kept(run: impl FnOnce()) -> (i64, i64) {
    let info = allocation_counter::measure(run);
    (info.count_current, info.bytes_current)
}

fn pool() -> Pool<ScriptedManager> {
    Pool::builder(ScriptedManager::new())
        .max_size(1)
        .check(CheckPolicy::Never)
        .idle_timeout(None)
        .max_lifetime(None)
        .build()
        .unwrap()
}

#[test]
fn a_million_waits_one_after_the_other_keep_no_memory() {
    paused(async {
        let pool = pool();
        let mut lease = Some(pool.get().await.unwrap());
        let mut wait = |times: usize| {
            for n in 0..times {
                let mut get = spawn(pool.get());
                assert!(get.poll().is_pending());
                if n % 3 == 0 {
                    // One that gives up, before it is served and after.
                    let mut other = spawn(pool.get());
                    assert!(other.poll().is_pending());
                    drop(other);
                }
                drop(lease.take());
                let Poll::Ready(Ok(next)) = get.poll() else { panic!("it was handed over") };
                lease = Some(next);
            }
        };
        wait(1000);
        assert_eq!(kept(|| wait(1_000_000)), (0, 0));
        // The first one waited for its creation.
        assert_eq!(pool.counters().waits, 1 + 1_001_000 + 334 + 333_334);
    });
}

#[test]
fn whatever_ends_a_lease_that_was_waited_for_keeps_no_memory() {
    paused(async {
        let pool = pool();
        for round in 0..3 {
            let mut counts = Vec::new();
            for _ in 0..2000 {
                let held = pool.get().await.unwrap();
                let mut get = spawn(pool.get());
                assert!(get.poll().is_pending());
                drop(held);
                if round == 0 {
                    // It gives up when it was served.
                    drop(get);
                } else {
                    let Poll::Ready(Ok(lease)) = get.poll() else { panic!("handed over") };
                    if round == 1 {
                        Lease::discard(lease);
                    } else {
                        drop(Lease::detach(lease));
                    }
                }
                rest().await;
                counts.push(pool.status().waiting);
            }
            assert!(counts.iter().all(|&waiting| waiting == 0), "round {round}");
        }
        // Those that wait now are as many as the mailboxes that there are, or they would be more.
        let _held = pool.get().await.unwrap();
        let info = kept(|| {
            let mut get = spawn(pool.get());
            assert!(get.poll().is_pending());
            drop(get);
        });
        assert_eq!(info, (0, 0));
    });
}
