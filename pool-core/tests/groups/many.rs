//! Ten thousand groups.

use pool_core::{GroupChange, GroupId, Pick};

use crate::harness::{ends, paused, rest, secs};
use crate::servers::{Servers, group, retire, set};

const MANY: u64 = 10_000;

/// Enough that a walk over all groups for each would take many minutes.
const GETS: usize = 300_000;

#[test]
fn ten_thousand_groups_cost_a_get_no_more_than_two() {
    ends(secs(100), |at| {
        paused(async {
            for pick in [Pick::PowerOfTwo, Pick::LeastLoaded, Pick::RoundRobin] {
                let many = usize::try_from(MANY).unwrap();
                let pool = Servers::new(2).pool().max_size(many).pick(pick).build().unwrap();
                at("making many".to_owned());
                set(&pool, (0..MANY).map(|id| group(GroupId(id), 1, 1)));
                pool.warm_up(secs(60)).await.unwrap();
                assert_eq!(pool.status().size, many);
                at("getting".to_owned());
                for _ in 0..GETS {
                    drop(pool.try_get().unwrap());
                }
                // So that groups become full and free again.
                for _ in 0..GETS / many / 2 {
                    let held: Vec<_> =
                        (0..2 * many).map(|_| pool.try_get_owned().unwrap()).collect();
                    assert!(pool.try_get().is_none());
                    drop(held);
                }
                at("changing one by one".to_owned());
                for id in 0..MANY {
                    set(&pool, [group(GroupId(id), 1, 1 + u32::try_from(id % 7).unwrap())]);
                }
                at("retiring".to_owned());
                for id in 0..MANY / 2 {
                    retire(&pool, GroupId(id));
                }
                rest().await;
                assert_eq!((pool.groups().len(), pool.status().size), (many / 2, many / 2));
                pool.update_groups((0..MANY).map(|id| GroupChange::Retire(GroupId(id))));
                rest().await;
                assert_eq!((pool.groups().len(), pool.status().size), (0, 0));
            }
        });
    });
}
