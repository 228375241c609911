//! Threads that get of one group and of any, give up, and change the groups meanwhile: every get ends in one way, and
//! nothing is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use fastrand::Rng;
use pool_core::{Error, GetOptions, GroupChange, GroupId, Snapshot};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::harness::{ended_gets, ends, millis, secs};
use crate::servers::{Pool, Servers, group};

const CALLERS: u64 = 8;
const GETS: u64 = 4_000;
const GROUPS: u64 = 4;

fn change(rng: &mut Rng) -> GroupChange {
    let id = GroupId(rng.u64(..GROUPS));
    match rng.u8(..3) {
        0 => GroupChange::Retire(id),
        _ => GroupChange::Set(group(id, rng.usize(..2), 1)),
    }
}

async fn call(pool: Pool, seed: u64, leases: Arc<AtomicU64>) {
    let mut rng = Rng::with_seed(seed);
    for _ in 0..GETS {
        let options = GetOptions::new().timeout(millis(rng.u64(5..50)));
        let options = if rng.bool() { options.group(GroupId(rng.u64(..GROUPS))) } else { options };
        let patience = Duration::from_micros(if rng.bool() { rng.u64(..200) } else { 1_000_000 });
        match timeout(patience, pool.get_owned_with(options)).await {
            Ok(Ok(lease)) => {
                leases.fetch_add(1, SeqCst);
                if rng.bool() {
                    tokio::task::yield_now().await;
                }
                drop(lease);
            }
            Ok(Err(Error::Timeout(_) | Error::NoGroup)) | Err(_) => {}
            Ok(Err(other)) => panic!("{other}"),
        }
        if rng.u8(..50) == 0 {
            pool.update_groups([change(&mut rng), change(&mut rng)]);
        }
        if rng.u8(..200) == 0
            && let Some(one) = rng.choice(pool.list())
        {
            pool.resize(rng.usize(2..6));
            drop(pool.replace(one.id, millis(5)).await);
        }
    }
}

#[test]
fn every_get_ends_in_one_way_however_groups_come_and_go() {
    ends(secs(60), |at| {
        at("in the storm".to_owned());
        let runtime = Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        runtime.block_on(async {
            let servers = Servers::new(2);
            let pool = servers.pool().max_size(4).build().unwrap();
            pool.update_groups((0..GROUPS).map(|id| GroupChange::Set(group(GroupId(id), 0, 1))));
            let leases = Arc::default();
            let callers: Vec<_> = (0..CALLERS)
                .map(|seed| tokio::spawn(call(pool.clone(), seed, Arc::clone(&leases))))
                .collect();
            for caller in callers {
                caller.await.unwrap();
            }
            at("at the end".to_owned());
            let Snapshot { status, counters, .. } = pool.snapshot();
            assert_eq!((status.waiting, status.in_use), (0, 0), "{status:?}");
            assert_eq!(ended_gets(&counters), CALLERS * GETS, "{counters:?}");
            // A lease that came just when its caller gave up is one that was cancelled, or was lent.
            assert!(counters.gets_ok >= leases.load(SeqCst), "{counters:?}");
            assert!(counters.gets_error > 0 && counters.gets_cancelled > 0, "{counters:?}");
            assert!(pool.drain(secs(10)).await.complete);
            assert_eq!(servers.destroyed().len() as u64, pool.counters().created);
        });
    });
}
