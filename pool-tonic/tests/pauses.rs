//! How long a call that was not processed waits before it is sent again.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::ops::RangeInclusive;
use std::time::Duration;

use common::{ask, client};
use memory::{Network, Peer, eventually, in_memory};
use pool_tonic::ChannelPool;
use pool_tonic_testing::proto::{Answer, Do};
use pool_tonic_testing::raw::code;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::{Code, Response, Status};

/// How often a call is sent again by default.
const RETRIES: u32 = 16;

const MILLISECOND: Duration = Duration::from_millis(1);

fn one_connection() -> (ChannelPool, Network) {
    let (pool, network) = in_memory();
    (pool.max_connections(1).keepalive_time(None).build().unwrap(), network)
}

fn unary(pool: &ChannelPool) -> JoinHandle<Result<Response<Answer>, Status>> {
    let mut client = client(pool);
    tokio::spawn(async move { client.unary(ask(Do::Echo)).await })
}

/// Of retry number `n`, from 1. Timers count milliseconds, and a part of one is a whole.
fn pause(n: u32) -> RangeInclusive<Duration> {
    let longest = MILLISECOND * 2_u32.pow(n.min(7));
    longest / 2..=longest + MILLISECOND
}

async fn refuse(peer: &mut Peer) -> Instant {
    let (stream, _) = eventually(peer.request()).await;
    let came = Instant::now();
    peer.reset(stream, code::REFUSED_STREAM).await.unwrap();
    came
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_pauses_twice_as_long_each_time_up_to_a_bound() {
    let (pool, mut network) = one_connection();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let mut last = refuse(&mut peer).await;
    let mut longest = Vec::new();
    for n in 1..=RETRIES {
        let came = refuse(&mut peer).await;
        let paused = came - last;
        assert!(pause(n).contains(&paused), "retry {n} after {paused:?}");
        if n >= 7 {
            longest.push(paused);
        }
        last = came;
    }
    assert_eq!(eventually(call).await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert_eq!(last, Instant::now(), "nor is there a pause after the last one");
    let differ = longest.iter().max() > longest.iter().min();
    assert!(differ, "many clients do not come back at once: {longest:?}");
}

/// Says a GOAWAY that a call is above, when the connection has lived for long enough to be replaced at once.
async fn send_away(mut peer: Peer, last_stream: u32) -> Instant {
    sleep(200 * MILLISECOND).await;
    peer.goaway(last_stream, code::NO_ERROR, "max_age").await.unwrap();
    tokio::spawn(async move { peer.closed().await });
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn after_the_first_goaway_there_is_no_pause_and_after_the_next_ones_there_is() {
    let (pool, mut network) = one_connection();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    eventually(peer.request()).await;
    for n in 1..=4 {
        let ended = send_away(peer, 0).await;
        peer = network.accept(100).await;
        let (stream, _) = eventually(peer.request()).await;
        let paused = ended.elapsed();
        match n {
            1 => assert_eq!(paused, Duration::ZERO),
            n => assert!(pause(n).contains(&paused), "retry {n} after {paused:?}"),
        }
        if n == 4 {
            peer.answer(stream).await.unwrap();
        }
    }
    eventually(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_paused_for_at_the_first_time_too_and_counts_for_the_goaway_after_it() {
    let (pool, mut network) = one_connection();
    let call = unary(&pool);
    let mut peer = network.accept(100).await;
    let refused = refuse(&mut peer).await;
    eventually(peer.request()).await;
    assert!(pause(1).contains(&refused.elapsed()), "{:?}", refused.elapsed());
    let ended = send_away(peer, 1).await;
    let mut peer = network.accept(100).await;
    let (stream, _) = eventually(peer.request()).await;
    assert!(pause(2).contains(&ended.elapsed()), "{:?}", ended.elapsed());
    peer.answer(stream).await.unwrap();
    eventually(call).await.unwrap().unwrap();
}
