//! Which endpoint calls go to: by their number, in turn, by how long answers take, by errors.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/fleet.rs"]
mod fleet;

use std::time::Duration;

use common::{ask, client, until};
use fleet::{Fleet, Member};
use pool_tonic::{Balance, ChannelPool, ChannelPoolBuilder, PeakEwma};
use pool_tonic_testing::proto::Do;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::sleep;

const SERVERS: usize = 3;
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Servers that answer after 1 ms.
fn fleet() -> Fleet {
    let fleet = Fleet::new(SERVERS);
    fleet.members().for_each(|member| member.delay(MILLI));
    fleet
}

/// A pool with a connection to each.
async fn pool(builder: ChannelPoolBuilder) -> ChannelPool {
    let pool = builder.min_connections(SERVERS).max_connections(SERVERS).build().unwrap();
    pool.warm_up(SECOND).await.unwrap();
    pool
}

/// Makes calls, so many at a time, and says how many each server got.
async fn shares(fleet: &Fleet, pool: &ChannelPool, calls: usize, at_a_time: usize) -> Vec<usize> {
    fleet.members().for_each(|member| _ = member.take_calls());
    let mut callers = JoinSet::new();
    for _ in 0..at_a_time {
        let mut client = client(pool);
        callers.spawn(async move {
            for _ in 0..calls / at_a_time {
                let _ = client.unary(ask(Do::Echo)).await;
            }
        });
    }
    callers.join_all().await;
    let shares: Vec<_> = fleet.members().map(Member::take_calls).collect();
    assert_eq!(shares.iter().sum::<usize>(), calls / at_a_time * at_a_time);
    shares
}

fn about(shares: &[usize], tolerance: usize) {
    let mean = shares.iter().sum::<usize>() / shares.len();
    for share in shares {
        assert!(share.abs_diff(mean) <= tolerance, "{shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_turn_and_least_outstanding_are_even_to_a_call() {
    for balance in [Balance::RoundRobin, Balance::LeastOutstanding] {
        let fleet = fleet();
        let pool = pool(fleet.pool().balance(balance)).await;
        for at_a_time in [1, 30] {
            about(&shares(&fleet, &pool, 3000, at_a_time).await, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_gets_fewer_calls_by_their_number_and_clearly_fewer_by_latency() {
    let mut slow = Vec::new();
    for balance in [
        Balance::RoundRobin,
        Balance::LeastOutstanding,
        Balance::PowerOfTwo,
        Balance::PeakEwma(PeakEwma::default()),
    ] {
        let fleet = fleet();
        let pool = pool(fleet.pool().balance(balance)).await;
        fleet.member(2).delay(51 * MILLI);
        // It is learned with the first answer.
        sleep(SECOND).await;
        shares(&fleet, &pool, SERVERS * 10, 1).await;
        sleep(SECOND).await;
        let shares = shares(&fleet, &pool, 3200, 32).await;
        println!("{balance:?}: {shares:?}");
        about(&shares[..2], 400);
        slow.push(shares[2]);
    }
    let [in_turn, least, two, ewma] = slow[..] else { panic!("four") };
    assert!(in_turn > 1000 && least < 600 && two < 600, "{slow:?}");
    assert!(ewma < 64 && ewma * 4 < two, "{slow:?}");
}

#[tokio::test(start_paused = true)]
async fn who_was_slow_has_its_share_again() {
    let fleet = fleet();
    let average = PeakEwma::default();
    let pool = pool(fleet.pool().balance(Balance::PeakEwma(average))).await;
    fleet.member(0).delay(100 * MILLI);
    shares(&fleet, &pool, 300, 3).await;
    let before = shares(&fleet, &pool, 3000, 32).await;
    assert!(before[0] < 100, "{before:?}");
    fleet.member(0).delay(MILLI);
    // Also where nobody calls.
    sleep(10 * average.decay).await;
    about(&shares(&fleet, &pool, 3000, 1).await, 150);
}

#[tokio::test(start_paused = true)]
async fn who_fails_at_once_gets_few_calls_and_its_share_when_it_is_well() {
    let fleet = fleet();
    let pool = pool(fleet.pool()).await;
    let bad = fleet.member(1);
    bad.delay(Duration::ZERO);
    bad.fail(true);
    shares(&fleet, &pool, 300, 32).await;
    sleep(100 * MILLI).await;
    let failing = shares(&fleet, &pool, 3000, 32).await;
    println!("failing: {failing:?}");
    assert!((1..500).contains(&failing[1]), "{failing:?}");
    bad.delay(MILLI);
    bad.fail(false);
    sleep(60 * SECOND).await;
    about(&shares(&fleet, &pool, 3000, 1).await, 150);
}

#[tokio::test(start_paused = true)]
async fn without_a_penalty_who_fails_at_once_gets_more_than_the_others() {
    let fleet = fleet();
    let pool = pool(fleet.pool().error_penalty(None)).await;
    fleet.member(1).delay(Duration::ZERO);
    fleet.member(1).fail(true);
    let shares = shares(&fleet, &pool, 3000, 32).await;
    println!("without a penalty: {shares:?}");
    assert!(shares[1] > 1300, "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn where_all_fail_all_have_their_share() {
    let fleet = fleet();
    let pool = pool(fleet.pool()).await;
    fleet.members().for_each(|member| member.fail(true));
    shares(&fleet, &pool, 600, 32).await;
    sleep(SECOND).await;
    about(&shares(&fleet, &pool, 3000, 1).await, 150);
}

#[tokio::test(start_paused = true)]
async fn the_task_that_weighs_rests_when_nothing_happens_and_ends_with_the_pool() {
    let fleet = fleet();
    let pool = pool(fleet.pool().balance(Balance::PeakEwma(PeakEwma::default()))).await;
    fleet.member(1).fail(true);
    shares(&fleet, &pool, 300, 3).await;
    sleep(600 * SECOND).await;
    let tasks = Handle::current().metrics();
    let before = tasks.worker_park_count(0);
    sleep(3600 * SECOND).await;
    let parks = tasks.worker_park_count(0) - before;
    assert!(parks < 200, "{parks} parks in an hour");
    pool.close(SECOND).await;
    until(|| tasks.num_alive_tasks() == 0).await;
}

/// Shares after a while of a few calls a second.
async fn shares_later(fleet: &Fleet, pool: &ChannelPool, seconds: u32, calls: usize) -> Vec<usize> {
    // These servers give no window back: few calls, and much time.
    for _ in 0..seconds {
        sleep(SECOND).await;
        shares(fleet, pool, 15, 1).await;
    }
    shares(fleet, pool, calls, 1).await
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_hides_nobody_who_is_slow() {
    for is_gone in [false, true] {
        let fleet = fleet();
        let pool = pool(fleet.pool().balance(Balance::PeakEwma(PeakEwma::default()))).await;
        for (index, millis) in [20, 20, 500].into_iter().enumerate() {
            fleet.member(index).delay(millis * MILLI);
        }
        shares(&fleet, &pool, 300, 1).await;
        fleet.member(0).set_gone(is_gone);
        let shares = shares_later(&fleet, &pool, 90, 300).await;
        assert!(shares[2] < 50 && (shares[0] == 0) == is_gone, "{shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_fails_for_long_gets_few_calls_by_latency_too() {
    let fleet = fleet();
    let pool = pool(fleet.pool().balance(Balance::PeakEwma(PeakEwma::default()))).await;
    fleet.members().for_each(|member| member.delay(20 * MILLI));
    shares(&fleet, &pool, 300, 1).await;
    fleet.member(1).fail(true);
    let shares = shares_later(&fleet, &pool, 90, 300).await;
    assert!(shares[1] < 60, "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_before_callers_give_up_gets_few_calls_by_latency() {
    for by_deadline in [true, false] {
        let fleet = fleet();
        let pool = fleet.pool().balance(Balance::PeakEwma(PeakEwma::default()));
        let pool = self::pool(pool.error_penalty(None)).await;
        shares(&fleet, &pool, 300, 1).await;
        fleet.member(2).delay(1000 * SECOND);
        fleet.member(2).take_calls();
        for _ in 0..1000 {
            let mut request = tonic::Request::new(ask(Do::Echo));
            if by_deadline {
                request.set_timeout(100 * MILLI);
            }
            let mut client = client(&pool);
            let _ = tokio::time::timeout(101 * MILLI, client.unary(request)).await;
        }
        let got = fleet.member(2).take_calls();
        assert!(got < 100, "{got}");
    }
}
