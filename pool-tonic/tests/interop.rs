//! gRPC's six negative interop cases, each by its name in gRPC's
//! `doc/negative-http2-interop-test-descriptions.md`.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;

use common::{all_slots_free, soon};
use kinds::{Kind, ask};
use pool_tonic::ChannelPool;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::{Answer, Do};
use pool_tonic_testing::raw::{Heard, Raw, code, message, setting};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

/// The sizes of the descriptions.
const REQUEST: usize = 271_828;
const RESPONSE: usize = 314_159;

type Call = JoinHandle<Result<Vec<Answer>, Status>>;

async fn peer_and_pool() -> (Peer, ChannelPool) {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_connections(1).build().unwrap();
    (peer, pool)
}

fn unary(pool: &ChannelPool) -> Call {
    Kind::Unary.spawn(pool, ask(Do::Echo, "0".repeat(REQUEST)))
}

/// The next connection, with room for large requests.
async fn accept(peer: &Peer) -> Raw {
    let mut raw = Raw::mute(soon(peer.accept_tcp()).await.unwrap()).await.unwrap();
    raw.settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]).await.unwrap();
    raw.window_update(0, 1 << 24).await.unwrap();
    raw.acknowledge().await.unwrap();
    raw
}

async fn answered(call: Call) {
    let answers = soon(call).await.unwrap().unwrap();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].text.len(), RESPONSE);
}

async fn answer(raw: &mut Raw, stream: u32) {
    raw.headers(stream).await.unwrap();
    raw.data(stream, &message(&"0".repeat(RESPONSE))).await.unwrap();
    raw.trailers(stream, "0").await.unwrap();
}

/// The call failed at the server's reset, and was not sent again.
async fn broken_off(call: Call, peer: &Peer, pool: &ChannelPool) {
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains(&peer.addr().to_string()), "{status}");
    assert!(status.message().contains("broken off"), "{status}");
    all_slots_free(pool).await;
    let counters = pool.counters();
    assert_eq!(counters.transparent_retries, 0);
    assert_eq!(counters.calls_ended.get(Code::Internal), 1);
    assert_eq!((counters.connections_opened, counters.connections_lost), (1, 0));
}

#[tokio::test]
async fn goaway() {
    let (peer, pool) = peer_and_pool().await;
    let first = unary(&pool);
    let mut old = accept(&peer).await;
    let (stream, request) = soon(old.request()).await;
    assert!(request.len() > REQUEST);
    old.goaway(stream, code::NO_ERROR, "").await.unwrap();
    answer(&mut old, stream).await;
    answered(first).await;
    let second = unary(&pool);
    let mut new = accept(&peer).await;
    let (stream, _) = soon(new.request()).await;
    answer(&mut new, stream).await;
    answered(second).await;
    soon(old.closed()).await;
    all_slots_free(&pool).await;
    let counters = pool.counters();
    assert_eq!((counters.connections_opened, counters.connections_lost), (2, 0));
}

#[tokio::test]
async fn rst_after_header() {
    let (peer, pool) = peer_and_pool().await;
    let call = unary(&pool);
    let mut raw = accept(&peer).await;
    let (stream, _) = soon(raw.request()).await;
    raw.headers(stream).await.unwrap();
    raw.reset(stream, code::NO_ERROR).await.unwrap();
    broken_off(call, &peer, &pool).await;
}

#[tokio::test]
async fn rst_during_data() {
    let (peer, pool) = peer_and_pool().await;
    let call = unary(&pool);
    let mut raw = accept(&peer).await;
    let (stream, _) = soon(raw.request()).await;
    raw.headers(stream).await.unwrap();
    let whole = message(&"0".repeat(RESPONSE));
    raw.data(stream, &whole[..whole.len() / 2]).await.unwrap();
    raw.reset(stream, code::NO_ERROR).await.unwrap();
    broken_off(call, &peer, &pool).await;
}

#[tokio::test]
async fn rst_after_data() {
    let (peer, pool) = peer_and_pool().await;
    let call = unary(&pool);
    let mut raw = accept(&peer).await;
    let (stream, _) = soon(raw.request()).await;
    raw.headers(stream).await.unwrap();
    raw.data(stream, &message(&"0".repeat(RESPONSE))).await.unwrap();
    raw.reset(stream, code::NO_ERROR).await.unwrap();
    broken_off(call, &peer, &pool).await;
}

#[tokio::test]
async fn ping() {
    let (peer, pool) = peer_and_pool().await;
    let call = unary(&pool);
    let mut raw = accept(&peer).await;
    let (stream, _) = soon(raw.request()).await;
    let whole = message(&"0".repeat(RESPONSE));
    raw.ping([1; 8]).await.unwrap();
    raw.headers(stream).await.unwrap();
    raw.ping([2; 8]).await.unwrap();
    raw.data(stream, &whole).await.unwrap();
    raw.ping([3; 8]).await.unwrap();
    raw.trailers(stream, "0").await.unwrap();
    raw.ping([4; 8]).await.unwrap();
    answered(call).await;
    for n in 1..=4 {
        assert_eq!(soon(raw.ponged()).await, Some([n; 8]));
    }
}

#[tokio::test]
async fn max_streams() {
    let (peer, pool) = peer_and_pool().await;
    let first = unary(&pool);
    let mut raw = accept(&peer).await;
    let (stream, _) = soon(raw.request()).await;
    raw.limit(1).await.unwrap();
    soon(raw.settled()).await;
    answer(&mut raw, stream).await;
    answered(first).await;
    let calls: Vec<Call> = (0..10).map(|_| unary(&pool)).collect();
    let (mut open, mut answers) = (None, 0);
    while answers < 10 {
        match soon(raw.hear()).await {
            Heard::Open(stream) => assert_eq!(open.replace(stream), None, "one at a time"),
            Heard::End(stream) => {
                assert_eq!(open.take(), Some(stream));
                // It may come in the moment in which the client reads the end of the answer.
                answer(&mut raw, stream).await;
                answers += 1;
            }
            Heard::Data(..) => {}
            other => panic!("{other:?}"),
        }
    }
    for call in calls {
        answered(call).await;
    }
    assert_eq!(pool.counters().connections_opened, 1);
}
