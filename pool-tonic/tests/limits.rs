//! The server's limit of streams, as announced and as changed.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::net::SocketAddr;
use std::time::Duration;

use common::{all_slots_free, ask, client, soon, until};
use memory::eventually;
use pool_tonic::ChannelPool;
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::raw::{Heard, code, message};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};

const STREAMS: usize = 35;

async fn limited_server() -> EchoServer {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    EchoServer::start_with(any, |server| server.max_concurrent_streams(10)).await.unwrap()
}

/// Opens bidirectional streams whose server waits for its gate.
fn open_streams(pool: &ChannelPool) -> JoinSet<Result<usize, Status>> {
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let mut client = client(pool);
        streams.spawn(async move {
            let asks = tokio_stream::iter([ask(Do::Wait), ask(Do::Echo)]);
            let mut answers = client.bidi(asks).await?.into_inner();
            let mut messages = 0;
            while answers.message().await?.is_some() {
                messages += 1;
            }
            Ok(messages)
        });
    }
    streams
}

async fn all_answered(streams: JoinSet<Result<usize, Status>>) {
    for messages in soon(streams.join_all()).await {
        assert_eq!(messages.unwrap(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_five_streams_fill_four_connections_of_ten() {
    let server = limited_server().await;
    let pool = ChannelPool::builder(server.uri()).max_connections(4).build().unwrap();
    let streams = open_streams(&pool);
    soon(server.books().until(|now| now.active == STREAMS)).await;
    let books = server.books().now();
    assert_eq!(books.connections, 4);
    assert!(books.most_streams <= 10, "{books:?}");
    assert_eq!(pool.status().capacity, 40);
    server.open_gate();
    all_answered(streams).await;
    all_slots_free(&pool).await;
    assert_eq!(server.books().now().calls, STREAMS, "none was sent twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_every_slot_wait_and_are_answered_when_slots_free() {
    let server = limited_server().await;
    let pool = ChannelPool::builder(server.uri()).max_connections(2).build().unwrap();
    let streams = open_streams(&pool);
    soon(server.books().until(|now| now.active == 20)).await;
    until(|| pool.status().waiting == STREAMS - 20).await;
    assert_eq!(server.books().now().active, 20);
    server.open_gate();
    all_answered(streams).await;
    let books = server.books().now();
    assert_eq!(books.connections, 2);
    assert!(books.most_streams <= 10, "{books:?}");
    assert_eq!(pool.counters().calls_ended.get(Code::Ok), STREAMS as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bound_at_most_five_connections_are_opened() {
    let server = limited_server().await;
    let pool = ChannelPool::builder(server.uri()).max_connections(1000).build().unwrap();
    let streams = open_streams(&pool);
    soon(server.books().until(|now| now.active == STREAMS)).await;
    server.open_gate();
    all_answered(streams).await;
    assert!(server.books().now().most_streams <= 10);
    assert!(pool.counters().connections_opened <= 5, "{:?}", pool.counters());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_load_needs_no_more_are_closed_after_the_delay() {
    let server = limited_server().await;
    let pool = ChannelPool::builder(server.uri())
        .max_connections(4)
        .shrink_delay(Duration::from_millis(50))
        .build()
        .unwrap();
    let streams = open_streams(&pool);
    soon(server.books().until(|now| now.active == STREAMS)).await;
    assert_eq!(pool.status().ready, 4);
    server.open_gate();
    all_answered(streams).await;
    until(|| pool.status().ready == 1 && pool.status().draining == 0).await;
    assert_eq!(pool.counters().connections_lost, 0, "they were closed, not lost");
    client(&pool).unary(ask(Do::Echo)).await.unwrap();
    assert_eq!(pool.counters().connections_opened, 4, "the one that is left takes the next call");
}

#[tokio::test]
async fn the_pools_own_cap_holds_below_the_servers_limit() {
    let server = limited_server().await;
    let pool = ChannelPool::builder(server.uri())
        .max_connections(2)
        .max_streams_per_connection(3)
        .build()
        .unwrap();
    let streams = open_streams(&pool);
    soon(server.books().until(|now| now.active == 6)).await;
    server.open_gate();
    all_answered(streams).await;
    assert_eq!(server.books().now().most_streams, 3);
}

#[tokio::test]
async fn calls_beyond_the_queues_bound_are_turned_away() {
    let server = limited_server().await;
    let pool = ChannelPool::builder(server.uri())
        .max_connections(1)
        .max_streams_per_connection(1)
        .max_waiting_calls(1)
        .build()
        .unwrap();
    let (mut first, mut second) = (client(&pool), client(&pool));
    let first = tokio::spawn(async move { first.unary(ask(Do::Wait)).await });
    soon(server.books().until(|now| now.active == 1)).await;
    let second = tokio::spawn(async move { second.unary(ask(Do::Echo)).await });
    until(|| pool.status().waiting == 1).await;
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("1 calls wait"), "{status}");
    assert!(status.message().contains("max_waiting_calls"), "{status}");
    server.open_gate();
    soon(first).await.unwrap().unwrap();
    soon(second).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_changed_limit_is_taken_up_as_it_is_read() {
    let peer = Peer::listen().await.unwrap();
    let pool =
        ChannelPool::builder(peer.uri()).min_connections(1).max_connections(1).build().unwrap();
    let mut raw = soon(peer.accept_raw(7)).await.unwrap();
    until(|| pool.status().capacity == 7).await;
    for limit in [3, 0, 5, u32::MAX] {
        raw.limit(limit).await.unwrap();
        let capacity = usize::try_from(limit).unwrap().min(1000);
        until(|| pool.status().capacity == capacity).await;
    }
}

#[tokio::test]
async fn a_limit_of_zero_lets_calls_wait_until_it_is_lifted() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_connections(1).build().unwrap();
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.unary(ask(Do::Echo)).await });
    let mut raw = soon(peer.accept_raw(0)).await.unwrap();
    until(|| pool.status().ready == 1).await;
    until(|| pool.status().waiting == 1).await;
    raw.limit(1).await.unwrap();
    let (stream, _) = soon(raw.request()).await;
    raw.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_places_that_a_refusal_took_off_come_back_without_traffic() {
    let (pool, mut network) = memory::in_memory();
    let pool = pool.max_connections(1).keepalive_time(None).build().unwrap();
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let mut client = client(&pool);
            tokio::spawn(async move { client.unary(ask(Do::Echo)).await })
        })
        .collect();
    let mut peer = network.accept(2).await;
    let (running, _) = eventually(peer.request()).await;
    let (refused, _) = eventually(peer.request()).await;
    let start = Instant::now();
    peer.reset(refused, code::REFUSED_STREAM).await.unwrap();
    until(|| pool.status().capacity == 1).await;
    // Nobody says anything, and the one that was refused gets its place.
    let (again, _) = eventually(peer.request()).await;
    assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&start.elapsed()));
    assert_eq!(pool.status().capacity, 2);
    for stream in [running, again] {
        peer.answer(stream).await.unwrap();
    }
    for call in calls {
        eventually(call).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_goes_to_another_connection_though_that_has_more_to_do() {
    let (pool, mut network) = memory::in_memory();
    let pool = pool.min_connections(2).max_connections(2).build().unwrap();
    let mut streaming = client(&pool);
    let streaming = tokio::spawn(async move { streaming.server_stream(ask(Do::Echo)).await });
    let (mut one, mut other) = (network.accept(100).await, network.accept(100).await);
    let at_one = tokio::select! {
        _ = one.request() => true,
        _ = other.request() => false,
    };
    let (mut busy, mut idle) = if at_one { (one, other) } else { (other, one) };
    let mut unary = client(&pool);
    let unary = tokio::spawn(async move { unary.unary(ask(Do::Echo)).await });
    // The idle one is the less loaded, however often it refuses.
    let (refused, _) = eventually(idle.request()).await;
    idle.reset(refused, code::REFUSED_STREAM).await.unwrap();
    let (stream, _) = eventually(busy.request()).await;
    busy.answer(stream).await.unwrap();
    eventually(unary).await.unwrap().unwrap();
    assert_eq!(pool.counters().streams_refused, 1);
    streaming.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_small_messages_that_nobody_reads_ends_no_other_call() {
    let (pool, mut network) = memory::in_memory();
    let pool = pool.max_connections(1).keepalive_time(None).build().unwrap();
    let mut streaming = client(&pool);
    let streaming = tokio::spawn(async move { streaming.server_stream(ask(Do::Echo)).await });
    let mut peer = network.accept(100).await;
    let (stream, _) = eventually(peer.request()).await;
    peer.headers(stream).await.unwrap();
    let answers = eventually(streaming).await.unwrap().unwrap();
    for _ in 0..20_000 {
        peer.data(stream, &message("a small one")).await.unwrap();
    }
    let mut unary = client(&pool);
    let unary = tokio::spawn(async move { unary.unary(ask(Do::Echo)).await });
    let (stream, _) = eventually(peer.request()).await;
    peer.answer(stream).await.unwrap();
    eventually(unary).await.unwrap().unwrap();
    drop(answers);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_replaced_before_h2_gives_it_up_for_calls_that_were_cancelled() {
    let (pool, mut network) = memory::in_memory();
    let pool = pool.max_connections(1).keepalive_time(None).max_connection_age(None);
    let pool = pool.build().unwrap();
    let call = || {
        let mut client = client(&pool);
        tokio::spawn(async move { client.unary(ask(Do::Echo)).await })
    };
    let running = call();
    let mut peer = network.accept(100).await;
    peer.window_update(0, 1 << 30).await.unwrap();
    let (running_at, _) = eventually(peer.request()).await;
    let successor = loop {
        let call = call();
        let stream = tokio::select! {
            (stream, _) = eventually(peer.request()) => stream,
            successor = network.accept(100) => break successor,
        };
        call.abort();
        eventually(peer.reset_of(stream)).await;
        // It was under way already.
        peer.answer(stream).await.unwrap();
    };
    peer.answer(running_at).await.unwrap();
    eventually(running).await.unwrap().unwrap();
    tokio::spawn(memory::answer_all(successor));
    eventually(call()).await.unwrap().unwrap();
    let counters = pool.counters();
    assert_eq!(counters.connections_lost, 0);
    assert!((10_000..10_010).contains(&counters.calls_started), "{counters:?}");
}

/// By what the server reads: a request that comes before the end of another one was written is one too many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cap_holds_on_the_wire_whatever_thread_a_call_is_made_by() {
    const CAP: usize = 5;
    const TASKS: usize = 64;
    const CALLS: usize = 50;
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri())
        .max_connections(1)
        .max_streams_per_connection(CAP)
        .build()
        .unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..TASKS {
        let mut client = client(&pool);
        calls.spawn(async move {
            for _ in 0..CALLS {
                client.unary(ask(Do::Echo)).await.unwrap();
            }
        });
    }
    let mut raw = soon(peer.accept_raw(1000)).await.unwrap();
    let (mut open, mut most) = (Vec::new(), 0);
    let mut left = TASKS * CALLS;
    while left > 0 {
        match soon(raw.hear()).await {
            Heard::Open(stream) => {
                open.push(stream);
                most = most.max(open.len());
                raw.window_update(0, 1 << 10).await.unwrap();
            }
            // All that may come have come, or are the last: a turn of answers.
            Heard::End(_) if open.len() >= CAP.min(left) => {
                for stream in open.drain(..) {
                    raw.answer(stream).await.unwrap();
                    left -= 1;
                }
            }
            heard => assert!(matches!(heard, Heard::Data(..) | Heard::End(_)), "{heard:?}"),
        }
    }
    soon(calls.join_all()).await;
    assert_eq!(most, CAP);
}
