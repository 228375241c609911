//! GOAWAY in two steps, and what comes after a GOAWAY.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;

use common::{all_slots_free, soon, until};
use kinds::{Kind, ask};
use pool_tonic::ChannelPool;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::{Answer, Do};
use pool_tonic_testing::raw::{MAX_STREAM, code};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

type Call = JoinHandle<Result<Vec<Answer>, Status>>;

async fn peer_and_pool() -> (Peer, ChannelPool) {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_connections(1).build().unwrap();
    (peer, pool)
}

fn unary(pool: &ChannelPool) -> Call {
    Kind::Unary.spawn(pool, ask(Do::Echo, "hello"))
}

async fn lost(call: Call, peer: &Peer) {
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let message = status.message();
    assert!(message.contains(&format!("the connection to {} was lost", peer.addr())), "{status}");
}

#[tokio::test]
async fn the_first_step_of_two_drains_and_the_second_says_what_is_sent_again() {
    let (peer, pool) = peer_and_pool().await;
    let calls: Vec<Call> = (0..3).map(|_| unary(&pool)).collect();
    let mut old = soon(peer.accept_raw(100)).await.unwrap();
    for stream in [1, 3, 5] {
        assert_eq!(soon(old.request()).await.0, stream);
    }
    // As servers do it: no more streams, a PING for the round trip, then the last stream.
    old.goaway(MAX_STREAM, code::NO_ERROR, "").await.unwrap();
    old.ping([1; 8]).await.unwrap();
    let mut new = soon(peer.accept_raw(100)).await.unwrap();
    soon(old.ponged()).await.unwrap();
    assert_eq!(pool.counters().transparent_retries, 0, "the first step is about none of them");
    assert_eq!(pool.status().draining, 1);

    let late = unary(&pool);
    let (stream, _) = soon(new.request()).await;
    new.answer(stream).await.unwrap();
    soon(late).await.unwrap().unwrap();

    old.goaway(3, code::NO_ERROR, "").await.unwrap();
    let (stream, _) = soon(new.request()).await;
    assert_eq!(pool.counters().transparent_retries, 1, "stream 5 alone");
    new.answer(stream).await.unwrap();
    for stream in [3, 1] {
        old.answer(stream).await.unwrap();
    }
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    soon(old.closed()).await;
    all_slots_free(&pool).await;
    until(|| pool.status().draining == 0).await;
    let counters = pool.counters();
    assert_eq!((counters.goaways, counters.connections_lost), (1, 0));
    assert_eq!(counters.connections_opened, 2);
    assert_eq!(counters.calls_ended.get(Code::Ok), 4);
}

#[tokio::test]
async fn calls_that_a_goaway_leaves_running_are_lost_with_the_connection() {
    let (peer, pool) = peer_and_pool().await;
    let calls: Vec<Call> = (0..2).map(|_| unary(&pool)).collect();
    let mut old = soon(peer.accept_raw(100)).await.unwrap();
    for stream in [1, 3] {
        assert_eq!(soon(old.request()).await.0, stream);
    }
    // It may have processed them: that it went as it said it would proves nothing.
    old.goaway(3, code::NO_ERROR, "").await.unwrap();
    let _new = soon(peer.accept_raw(100)).await.unwrap();
    drop(old);
    for call in calls {
        lost(call, &peer).await;
    }
    all_slots_free(&pool).await;
    let counters = pool.counters();
    assert_eq!(counters.transparent_retries, 0);
    assert_eq!((counters.goaways, counters.connections_lost), (1, 0), "it had said goodbye");
}

#[tokio::test]
async fn a_goaway_with_an_error_fails_what_may_have_been_processed() {
    let (peer, pool) = peer_and_pool().await;
    let calls: Vec<Call> = (0..2).map(|_| unary(&pool)).collect();
    let mut old = soon(peer.accept_raw(100)).await.unwrap();
    for stream in [1, 3] {
        assert_eq!(soon(old.request()).await.0, stream);
    }
    old.goaway(1, code::INTERNAL_ERROR, "the server is unwell").await.unwrap();
    drop(old);
    let mut new = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, _) = soon(new.request()).await;
    new.answer(stream).await.unwrap();
    let (mut ok, mut failed) = (0, 0);
    for call in calls {
        match soon(call).await.unwrap() {
            Ok(_) => ok += 1,
            Err(status) => {
                failed += 1;
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                assert!(status.message().contains(&peer.addr().to_string()), "{status}");
            }
        }
    }
    assert_eq!((ok, failed), (1, 1));
    assert_eq!(pool.counters().transparent_retries, 1);
}

#[tokio::test]
async fn a_second_step_that_takes_back_the_first_breaks_the_connection() {
    let (peer, pool) = peer_and_pool().await;
    let call = unary(&pool);
    let mut old = soon(peer.accept_raw(100)).await.unwrap();
    soon(old.request()).await;
    old.goaway(1, code::NO_ERROR, "").await.unwrap();
    // RFC 9113, section 6.8: the last stream must not grow.
    old.goaway(3, code::NO_ERROR, "").await.unwrap();
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains(&peer.addr().to_string()), "{status}");
    soon(old.closed()).await;
    all_slots_free(&pool).await;
}
