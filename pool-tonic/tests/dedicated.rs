//! Connections that carry one call at a time: those of dedicated calls, and exclusive ones.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::error::Error as _;
use std::time::Duration;

use common::{all_slots_free, ask, client, dead_uri, dedicated, soon, until};
use pool_tonic::{CallError, ChannelPool, ConnectivityState};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Answer, Ask, Do};
use pool_tonic_testing::raw::Raw;
use tokio_test::{assert_pending, task};
use tonic::{Code, Request, Streaming};

/// More than a connection's window, in answers that nobody reads.
const UNREAD: usize = 4;

/// A stream without end, of large answers.
fn flood() -> Ask {
    Ask { text: "x".repeat(1 << 20), answers: u32::MAX, ..ask(Do::Echo) }
}

async fn unread(pool: &ChannelPool, request: impl Fn() -> Request<Ask>) -> Vec<Streaming<Answer>> {
    let mut streams = Vec::new();
    for _ in 0..UNREAD {
        let answers = soon(client(pool).server_stream(request())).await.unwrap();
        streams.push(answers.into_inner());
    }
    streams
}

fn short(text: &str) -> Request<Ask> {
    let mut request = Request::new(Ask { text: text.to_owned(), ..ask(Do::Echo) });
    request.set_timeout(Duration::from_millis(300));
    request
}

async fn server_and_pool() -> (EchoServer, ChannelPool) {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).max_connections(1).build().unwrap();
    (server, pool)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_streams_on_a_shared_connection_block_its_other_calls() {
    let (_server, pool) = server_and_pool().await;
    let streams = unread(&pool, || Request::new(flood())).await;
    // Until what is not read has filled the window, calls may still pass.
    let blocked = soon(async {
        loop {
            if let Err(status) = client(&pool).unary(short("hello")).await {
                return status;
            }
        }
    })
    .await;
    assert_eq!(blocked.code(), Code::DeadlineExceeded, "{blocked}");
    assert!(client(&pool).unary(short("hello")).await.is_err(), "it stays so");
    drop(streams);
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_dedicated_streams_block_nobody() {
    let (server, pool) = server_and_pool().await;
    let mut streams = unread(&pool, || dedicated(flood())).await;
    let status = pool.status();
    assert_eq!((status.dedicated.in_use, status.dedicated.ready), (UNREAD, UNREAD));
    assert_eq!((status.streams, status.ready), (0, 0), "none of them is shared");
    for n in 0..100 {
        let text = n.to_string();
        let ask = Ask { text: text.clone(), ..ask(Do::Echo) };
        let answer = soon(client(&pool).unary(ask)).await.unwrap();
        assert_eq!(answer.into_inner().text, text);
    }
    let books = server.books().now();
    assert_eq!((books.connections, books.active), (UNREAD + 1, UNREAD));
    for stream in &mut streams {
        assert_eq!(soon(stream.message()).await.unwrap().unwrap().text.len(), 1 << 20);
    }
    drop(streams);
    until(|| pool.status().dedicated.in_use == 0).await;
    soon(server.books().until(|now| now.active == 0)).await;
}

#[tokio::test]
async fn a_connection_of_a_dedicated_call_serves_the_next_one() {
    let (server, pool) = server_and_pool().await;
    for _ in 0..3 {
        soon(client(&pool).unary(dedicated(ask(Do::Echo)))).await.unwrap();
        until(|| pool.status().dedicated.in_use == 0).await;
    }
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.status.dedicated.idle, 1);
    assert_eq!((snapshot.dedicated.size, snapshot.dedicated_counters.gets_ok), (1, 3));
    assert_eq!((snapshot.connections.size, server.books().now().connections), (0, 1));
    assert_eq!(pool.state(), ConnectivityState::Ready);
}

#[tokio::test]
async fn dedicated_calls_beyond_the_maximum_wait_under_their_deadline() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).max_dedicated_connections(1).build().unwrap();
    let held = soon(client(&pool).server_stream(dedicated(ask(Do::Hang)))).await.unwrap();
    let mut late = dedicated(ask(Do::Echo));
    late.set_timeout(Duration::from_millis(50));
    let status = soon(client(&pool).unary(late)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("1 of at most 1 connections"), "{status}");
    let mut next = client(&pool);
    let next = tokio::spawn(async move { next.unary(dedicated(ask(Do::Echo))).await });
    until(|| pool.status().dedicated.waiting == 1).await;
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    drop(held);
    soon(next).await.unwrap().unwrap();
    assert_eq!(pool.status().dedicated.max_connections, 1);
}

#[tokio::test]
async fn closing_the_pool_closes_its_dedicated_connections() {
    let (server, pool) = server_and_pool().await;
    soon(client(&pool).unary(dedicated(ask(Do::Echo)))).await.unwrap();
    pool.close_now();
    let status = soon(client(&pool).unary(dedicated(ask(Do::Echo)))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("closed"), "{status}");
    // It ends when every connection has.
    soon(server.stop()).await;
}

#[tokio::test]
async fn an_exclusive_connection_carries_the_calls_of_its_holder_alone() {
    let (server, pool) = server_and_pool().await;
    let mine = soon(pool.exclusive()).await.unwrap();
    assert_eq!(mine.served_by().address(), server.addr().to_string());
    let mut client = EchoClient::new(mine);
    for _ in 0..3 {
        soon(client.unary(ask(Do::Echo))).await.unwrap();
    }
    assert_eq!(server.books().now().connections, 1);
    assert_eq!(pool.status().dedicated.in_use, 1, "also between calls");
    soon(common::client(&pool).unary(dedicated(ask(Do::Echo)))).await.unwrap();
    assert_eq!(server.books().now().connections, 2, "nobody else has used it");
    drop(client);
    until(|| pool.status().dedicated.in_use == 0).await;
    assert_eq!(pool.status().dedicated.idle, 2, "it goes back");
}

#[tokio::test]
async fn calls_on_an_exclusive_connection_go_one_at_a_time() {
    let (server, pool) = server_and_pool().await;
    let mut client = EchoClient::new(soon(pool.exclusive()).await.unwrap());
    let asks = tokio_stream::iter([ask(Do::Echo), ask(Do::Hang)]);
    let stream = soon(client.bidi(asks)).await.unwrap();
    let status = soon(client.unary(short("late"))).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("the call before it"), "{status}");
    let mut other = client.clone();
    let next = tokio::spawn(async move { other.unary(ask(Do::Echo)).await });
    drop(stream);
    soon(next).await.unwrap().unwrap();
    assert_eq!(server.books().now().connections, 1);
}

#[tokio::test]
async fn no_more_calls_wait_for_an_exclusive_connection_than_may() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).max_waiting_calls(1).build().unwrap();
    let mut client = EchoClient::new(soon(pool.exclusive()).await.unwrap());
    let stream = soon(client.server_stream(ask(Do::Hang))).await.unwrap();
    let mut other = client.clone();
    let mut waits = task::spawn(other.unary(ask(Do::Echo)));
    assert_pending!(waits.poll());
    let status = soon(client.unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("1 calls wait"), "{status}");
    let source = status.source().unwrap().downcast_ref::<CallError>().unwrap();
    assert!(server.uri().ends_with(source.served_by().address()));
    drop(stream);
    soon(waits).await.unwrap();
    soon(client.unary(ask(Do::Echo))).await.unwrap();
}

#[tokio::test]
async fn who_has_an_exclusive_connection_may_go_on_until_the_grace_is_over() {
    let (_server, pool) = server_and_pool().await;
    let mut client = EchoClient::new(soon(pool.exclusive()).await.unwrap());
    let mut close = task::spawn(pool.close(Duration::from_secs(60)));
    assert_pending!(close.poll());
    soon(client.unary(ask(Do::Echo))).await.unwrap();
    drop(client);
    let report = soon(close).await;
    assert_eq!(report.calls_cut, 0);
    assert!(report.waited < Duration::from_secs(60), "{report:?}");
}

#[tokio::test]
async fn an_exclusive_connection_that_is_lost_is_not_replaced() {
    let peer = pool_tonic_testing::peer::Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let (mine, raw) = soon(async { tokio::join!(pool.exclusive(), peer.accept_raw(100)) }).await;
    let (mut client, mut raw): (_, Raw) = (EchoClient::new(mine.unwrap()), raw.unwrap());
    let call = tokio::spawn({
        let mut client = client.clone();
        async move { client.unary(ask(Do::Echo)).await }
    });
    let (stream, _) = soon(raw.request()).await;
    raw.goaway(stream, pool_tonic_testing::raw::code::NO_ERROR, "age").await.unwrap();
    raw.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
    let status = soon(client.unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("takes no more calls"), "{status}");
    assert!(status.source().unwrap().is::<CallError>());
}

#[tokio::test]
async fn there_is_no_exclusive_connection_to_a_server_that_is_down() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri).build().unwrap();
    let status = soon(pool.exclusive()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("refused"), "{status}");
    all_slots_free(&pool).await;
}
