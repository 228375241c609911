//! How many calls each server gets.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/fleet.rs"]
mod fleet;

use common::{ask, client, soon};
use fleet::Fleet;
use pool_tonic::ChannelPool;
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::Do;
use tokio::task::JoinSet;

const SERVERS: usize = 3;
const CALLS: usize = 6000;

/// A pool with a connection to each server.
async fn pool(fleet: &Fleet) -> ChannelPool {
    let pool = fleet.pool().build().unwrap();
    client(&pool).unary(ask(Do::Echo)).await.unwrap();
    common::until(|| pool.addresses().iter().all(|address| address.ready > 0)).await;
    pool
}

/// Makes calls, so many at a time. How many fail.
async fn calls(pool: &ChannelPool, calls: usize, at_a_time: usize) -> usize {
    let mut callers = JoinSet::new();
    for _ in 0..at_a_time {
        let mut client = client(pool);
        callers.spawn(async move {
            let mut failed = 0;
            for _ in 0..calls / at_a_time {
                failed += usize::from(client.unary(ask(Do::Echo)).await.is_err());
            }
            failed
        });
    }
    callers.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_servers_have_equal_shares_whether_calls_come_one_by_one_or_many_at_a_time() {
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(EchoServer::start().await.unwrap());
    }
    // One connection to each, and one of them with a second.
    for connections in [SERVERS, SERVERS + 1] {
        let pool = ChannelPool::endpoints(servers.iter().map(EchoServer::uri))
            .max_connections(connections)
            .target_connections(connections)
            .build()
            .unwrap();
        soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
        common::until(|| pool.addresses().iter().all(|address| address.ready > 0)).await;
        for at_a_time in [1, 32] {
            if at_a_time > 1 {
                assert_eq!(soon(calls(&pool, CALLS, at_a_time)).await, 0);
                common::until(|| pool.status().ready == connections).await;
            }
            let all = || servers.iter().map(|server| server.books().now().calls);
            let before: Vec<_> = all().collect();
            assert_eq!(soon(calls(&pool, CALLS, at_a_time)).await, 0);
            let shares: Vec<_> = all().zip(&before).map(|(all, before)| all - before).collect();
            let made = CALLS / at_a_time * at_a_time;
            assert_eq!(shares.iter().sum::<usize>(), made);
            println!("{connections} connections, {at_a_time} at a time: {shares:?}");
            for share in &shares {
                // Five deviations of a random choice are 9 %.
                assert!(share.abs_diff(made / SERVERS) * 10 <= made / SERVERS, "{shares:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_gets_no_calls_and_none_fails() {
    let fleet = Fleet::new(SERVERS);
    let pool = pool(&fleet).await;
    fleet.member(1).set_gone(true);
    common::until(|| pool.addresses()[1].ready == 0).await;
    // The first call of all may have been its.
    fleet.member(1).take_calls();
    let failed = calls(&pool, CALLS, 32).await;
    // Nothing was in flight on it.
    assert_eq!(failed, 0);
    assert_eq!(fleet.member(1).take_calls(), 0);
}
