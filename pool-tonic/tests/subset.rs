//! Of many endpoints some are used.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/fleet.rs"]
mod fleet;

use std::time::Duration;

use common::{ask, client};
use fleet::{Fleet, used};
use pool_tonic::{ChannelPool, Subset};
use pool_tonic_testing::proto::Do;

#[tokio::test(start_paused = true)]
async fn only_the_subset_is_connected_to() {
    let fleet = Fleet::new(20);
    let pool = fleet.pool().max_endpoints(3).min_connections(6).build().unwrap();
    pool.warm_up(Duration::from_secs(1)).await.unwrap();
    let used = used(&pool);
    assert_eq!(used.len(), 3);
    for (index, member) in fleet.members().enumerate() {
        assert_eq!(member.connections(), if used.contains(&index) { 2 } else { 0 });
    }
}

#[test]
fn a_seed_chooses_the_same_and_pools_without_one_do_not() {
    let fleet = Fleet::new(1000);
    let chosen = |subset| used(&fleet.pool().max_endpoints(20).subset(subset).build().unwrap());
    assert_eq!(chosen(Subset::Seeded(7)), chosen(Subset::Seeded(7)));
    assert_ne!(chosen(Subset::Seeded(7)), chosen(Subset::Seeded(8)));
    assert_ne!(chosen(Subset::Random), chosen(Subset::Random));
}

#[test]
fn an_address_that_is_given_twice_is_one() {
    let fleet = Fleet::new(2);
    let twice = || ChannelPool::endpoints([fleet.uris(), fleet.uris()].concat());
    assert_eq!(twice().build().unwrap().addresses().len(), 2);
    assert_eq!(twice().max_endpoints(1).build().unwrap().addresses().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_all_of_the_subset_are_gone_others_are_used_and_no_call_fails() {
    let fleet = Fleet::new(20);
    let pool = fleet.pool().max_endpoints(2).build().unwrap();
    let first = used(&pool);
    for index in &first {
        fleet.member(*index).set_gone(true);
    }
    let mut client = client(&pool);
    for _ in 0..50 {
        client.unary(ask(Do::Echo)).await.unwrap();
    }
    let now = used(&pool);
    assert_eq!(now.len(), 4);
    assert!(now.is_superset(&first), "they are asked on");
}
