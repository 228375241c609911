//! GOAWAY, refusals and losses: what is sent again, and what is not.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{all_slots_free, ask, client, soon, until};
use pool_tonic::{ChannelPool, ChannelPoolBuilder, PooledChannel};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Answer, Ask, Do};
use pool_tonic_testing::raw::{Heard, Raw, code};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

const MAX_STREAM: u32 = (1 << 31) - 1;

/// A peer, and a pool of at most one connection to it beside those that drain.
async fn peer_and_pool() -> (Peer, ChannelPoolBuilder) {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_connections(1);
    (peer, pool)
}

type Call = JoinHandle<Result<Response<Answer>, Status>>;

fn unary(pool: &ChannelPool) -> Call {
    let mut client = client(pool);
    tokio::spawn(async move { client.unary(ask(Do::Echo)).await })
}

fn stream_of(pool: &ChannelPool) -> (mpsc::Sender<Ask>, Call) {
    let (send, receive) = mpsc::channel(1);
    let mut client = client(pool);
    let asks = ReceiverStream::new(receive);
    (send, tokio::spawn(async move { client.client_stream(asks).await }))
}

#[tokio::test]
async fn above_the_last_stream_of_a_goaway_calls_are_sent_again_and_below_they_finish() {
    let (peer, pool) = peer_and_pool().await;
    let pool = pool.build().unwrap();
    let calls: Vec<Call> = (0..3).map(|_| unary(&pool)).collect();
    let mut old = soon(peer.accept_raw(100)).await.unwrap();
    for stream in [1, 3, 5] {
        assert_eq!(soon(old.request()).await.0, stream);
    }
    old.goaway(1, code::NO_ERROR, "max_age").await.unwrap();

    let mut new = soon(peer.accept_raw(100)).await.unwrap();
    for _ in 0..2 {
        let (stream, _) = soon(new.request()).await;
        new.answer(stream).await.unwrap();
    }
    assert_eq!(pool.status().draining, 1);
    old.answer(1).await.unwrap();
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    assert_eq!(soon(old.hear()).await, Heard::Goaway, "the pool is done with it");
    let counters = pool.counters();
    assert_eq!(counters.transparent_retries, 2);
    assert_eq!(counters.goaways, 1);
    assert_eq!(counters.connections_lost, 0);
    until(|| pool.status().draining == 0).await;
}

#[tokio::test]
async fn a_goaway_is_seen_when_it_is_read_and_its_successor_made_at_once() {
    let (peer, pool) = peer_and_pool().await;
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    let mut old = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, _) = soon(old.request()).await;
    until(|| pool.addresses()[0].ready == 1).await;
    old.goaway(MAX_STREAM, code::NO_ERROR, "").await.unwrap();
    // No call asks for it.
    let mut new = soon(peer.accept_raw(100)).await.unwrap();
    old.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
    let call = unary(&pool);
    let (stream, _) = soon(new.request()).await;
    new.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
    assert_eq!(pool.counters().transparent_retries, 0);
}

/// The server ends one connection after the other, each under a call that lasts.
#[tokio::test]
async fn a_successor_is_made_at_once_however_many_drain_up_to_their_limit() {
    let (peer, pool) = peer_and_pool().await;
    let pool = pool.max_connections(1).max_draining_connections(2).build().unwrap();
    let mut lasting = Vec::new();
    for draining in 0..3 {
        let call = unary(&pool);
        let mut raw = soon(peer.accept_raw(100)).await.unwrap();
        let (stream, _) = soon(raw.request()).await;
        raw.goaway(MAX_STREAM, code::NO_ERROR, "max_age").await.unwrap();
        until(|| pool.status().draining == draining + 1).await;
        lasting.push((call, raw, stream));
    }
    // As many drain as may: the next call waits until one of them has ended.
    let waits = unary(&pool);
    until(|| pool.status().waiting == 1).await;
    assert_eq!(pool.status().connecting, 0);
    let mut late = Request::new(ask(Do::Echo));
    late.set_timeout(Duration::from_millis(20));
    let late = soon(client(&pool).unary(late)).await.unwrap_err();
    assert!(late.message().contains("raise max_draining_connections"), "{}", late.message());
    let (call, mut raw, stream) = lasting.pop().unwrap();
    raw.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
    drop(raw);
    let mut new = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, _) = soon(new.request()).await;
    new.answer(stream).await.unwrap();
    soon(waits).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_and_its_connection_gets_fewer() {
    let (peer, pool) = peer_and_pool().await;
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, body) = soon(raw.request()).await;
    assert_eq!(pool.status().capacity, 100);
    raw.reset(stream, code::REFUSED_STREAM).await.unwrap();
    let (stream, again) = soon(raw.request()).await;
    assert_eq!(body, again);
    assert_eq!(pool.status().capacity, 99);
    raw.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
    let counters = pool.counters();
    assert_eq!(counters.streams_refused, 1);
    assert_eq!(counters.transparent_retries, 1);
    assert_eq!(counters.calls_ended.get(Code::Ok), 1);
}

#[tokio::test]
async fn a_server_that_always_refuses_is_asked_as_often_as_allowed() {
    let (peer, pool) = peer_and_pool().await;
    let pool = pool.max_transparent_retries(3).build().unwrap();
    let call = unary(&pool);
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    for _ in 0..4 {
        let (stream, _) = soon(raw.request()).await;
        raw.reset(stream, code::REFUSED_STREAM).await.unwrap();
    }
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(pool.counters().transparent_retries, 3);
    assert_eq!(pool.status().streams, 0);
}

#[tokio::test]
async fn what_may_have_been_processed_is_not_sent_again() {
    for (reason, expected) in [
        (code::INTERNAL_ERROR, Code::Internal),
        (code::CANCEL, Code::Unavailable),
        (code::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (code::NO_ERROR, Code::Internal),
    ] {
        let (peer, pool) = peer_and_pool().await;
        let pool = pool.build().unwrap();
        let call = unary(&pool);
        let mut raw = soon(peer.accept_raw(100)).await.unwrap();
        let (stream, _) = soon(raw.request()).await;
        raw.reset(stream, reason).await.unwrap();
        let status = soon(call).await.unwrap().unwrap_err();
        assert_eq!(status.code(), expected, "{status}");
        assert!(status.message().contains(&peer.addr().to_string()), "{status}");
        assert!(std::error::Error::source(&status).is_some());
        assert_eq!(pool.counters().transparent_retries, 0);
        assert_eq!(pool.status().streams, 0);
    }
}

#[tokio::test]
async fn calls_on_a_lost_connection_fail_as_unavailable_and_are_not_sent_again() {
    let (peer, pool) = peer_and_pool().await;
    let pool = pool.build().unwrap();
    let calls: Vec<Call> = (0..3).map(|_| unary(&pool)).collect();
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    for _ in 0..3 {
        soon(raw.request()).await;
    }
    drop(raw);
    for call in calls {
        let status = soon(call).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("was lost"), "{status}");
    }
    let counters = pool.counters();
    assert_eq!(counters.transparent_retries, 0);
    until(|| pool.counters().connections_lost == 1).await;
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn a_call_whose_answer_has_begun_is_not_sent_again() {
    let (peer, pool) = peer_and_pool().await;
    let pool = pool.build().unwrap();
    let call = unary(&pool);
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, _) = soon(raw.request()).await;
    raw.headers(stream).await.unwrap();
    raw.reset(stream, code::REFUSED_STREAM).await.unwrap();
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(pool.counters().transparent_retries, 0);
    assert_eq!(pool.status().streams, 0);
}

/// Reads a stream's messages until there are so many bytes of them.
async fn data(raw: &mut Raw, size: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < size {
        if let Heard::Data(_, data) = soon(raw.hear()).await {
            read.extend(data);
        }
    }
    read
}

#[tokio::test]
async fn a_client_stream_within_the_buffer_is_sent_again_from_its_beginning() {
    let (peer, pool) = peer_and_pool().await;
    let pool = pool.build().unwrap();
    let (send, call) = stream_of(&pool);
    let mut old = soon(peer.accept_raw(100)).await.unwrap();
    soon(send.send(ask(Do::Echo))).await.unwrap();
    soon(send.send(ask(Do::Echo))).await.unwrap();
    assert_eq!(soon(old.opened()).await, 1);
    // A message: 5 bytes before it, then "hello" and "answers", 9 in all.
    let first = data(&mut old, 28).await;
    old.goaway(0, code::NO_ERROR, "").await.unwrap();
    let mut new = soon(peer.accept_raw(100)).await.unwrap();
    assert_eq!(soon(new.opened()).await, 1);
    let again = data(&mut new, first.len()).await;
    assert_eq!(first, again);
    send.send(ask(Do::Echo)).await.unwrap();
    drop(send);
    assert_eq!(data(&mut new, 14).await, first[..14]);
    new.answer(1).await.unwrap();
    soon(call).await.unwrap().unwrap();
    assert_eq!(pool.counters().transparent_retries, 1);
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn a_client_stream_beyond_the_buffer_is_not_sent_again() {
    let (peer, pool) = peer_and_pool().await;
    let pool = pool.retry_buffer_size(20).build().unwrap();
    let (send, call) = stream_of(&pool);
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    soon(send.send(ask(Do::Echo))).await.unwrap();
    soon(send.send(ask(Do::Echo))).await.unwrap();
    soon(raw.opened()).await;
    data(&mut raw, 28).await;
    raw.reset(1, code::REFUSED_STREAM).await.unwrap();
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(pool.counters().transparent_retries, 0);
    soon(send.closed()).await;
    all_slots_free(&pool).await;
}

/// A call of the first to the fourth kind, to its end.
async fn call_of_kind(kind: u64, client: &mut EchoClient<PooledChannel>) -> Result<(), Status> {
    let asks = || tokio_stream::iter([ask(Do::Echo), ask(Do::Echo)]);
    let (mut answers, expected) = match kind {
        0 => return client.unary(ask(Do::Echo)).await.map(drop),
        1 => {
            let answer = client.client_stream(asks()).await?.into_inner();
            assert_eq!(answer.messages, 2);
            return Ok(());
        }
        2 => (client.server_stream(ask(Do::Echo)).await?.into_inner(), 3),
        _ => (client.bidi(asks()).await?.into_inner(), 2),
    };
    let mut messages = 0;
    while answers.message().await?.is_some() {
        messages += 1;
    }
    assert_eq!(messages, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_connections_by_age_costs_no_call() {
    const LASTS: Duration = Duration::from_secs(4);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server =
        EchoServer::start_with(any, |server| server.max_connection_age(Duration::from_millis(200)))
            .await
            .unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let end = Instant::now() + LASTS;
    let mut callers = JoinSet::new();
    for caller in 0..64 {
        let mut client = client(&pool);
        callers.spawn(async move {
            let mut calls = 0;
            while Instant::now() < end {
                call_of_kind((caller + calls) % 4, &mut client).await?;
                calls += 1;
            }
            Ok::<u64, Status>(calls)
        });
    }
    let mut calls = 0;
    for caller in soon(callers.join_all()).await {
        calls += caller.unwrap();
    }
    let counters = pool.counters();
    assert_eq!(counters.calls_ended.get(Code::Ok), calls);
    assert_eq!(counters.calls_ended.total(), calls);
    assert!(counters.goaways >= 10, "{counters:?}");
    all_slots_free(&pool).await;
}
