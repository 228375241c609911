//! One deadline from the call on: over the wait for a slot, connecting, the headers and the body.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::time::Duration;

use common::acts::{Act, play, seen};
use common::{all_slots_free, ask, client, soon, until};
use memory::{eventually, in_memory};
use pool_tonic::{ChannelPool, ChannelPoolBuilder};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::{Ask, Do};
use pool_tonic_testing::raw::{Raw, message};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

const TIMEOUT: Duration = Duration::from_millis(100);

fn bounded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

/// It ended by the deadline, and not before.
fn check(start: Instant, status: &Status, waited_for: &str) {
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("the deadline of 100ms passed"), "{status}");
    assert!(status.message().contains(waited_for), "{status}");
    assert!(start.elapsed() >= TIMEOUT, "{:?}", start.elapsed());
}

fn one_slot(server: &EchoServer) -> ChannelPoolBuilder {
    ChannelPool::builder(server.uri()).max_connections(1).max_streams_per_connection(1)
}

#[tokio::test]
async fn it_bounds_the_wait_for_a_slot() {
    let server = EchoServer::start().await.unwrap();
    let pool = one_slot(&server).build().unwrap();
    let held = soon(client(&pool).server_stream(ask(Do::Hang))).await.unwrap();
    let start = Instant::now();
    let status = soon(client(&pool).unary(bounded(ask(Do::Echo)))).await.unwrap_err();
    check(start, &status, "a stream slot to");
    assert!(status.message().contains("1 calls on 1 stream slots"), "{status}");
    assert_eq!((pool.status().waiting, server.books().now().calls), (0, 1));
    drop(held);
    soon(client(&pool).unary(bounded(ask(Do::Echo)))).await.unwrap();
}

#[tokio::test]
async fn it_bounds_connecting_which_goes_on_for_others() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let start = Instant::now();
    let status = soon(client(&pool).unary(bounded(ask(Do::Echo)))).await.unwrap_err();
    check(start, &status, "a stream slot to");
    assert!(status.message().contains("1 being made"), "{status}");
    // The very connection that it did not wait for.
    let mut raw = Raw::mute(soon(peer.accept_tcp()).await.unwrap()).await.unwrap();
    raw.limit(100).await.unwrap();
    until(|| pool.status().ready == 1).await;
    assert_eq!(pool.counters().connections_opened, 1);
}

#[tokio::test]
async fn it_bounds_the_wait_for_headers_in_every_kind_of_call() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let _calls = play(peer, &[Act::Hang; 4]);
    let mut client = client(&pool);

    let start = Instant::now();
    let status = soon(client.unary(bounded(ask(Do::Echo)))).await.unwrap_err();
    check(start, &status, "to answer");

    let start = Instant::now();
    let status = soon(client.server_stream(bounded(ask(Do::Echo)))).await.unwrap_err();
    check(start, &status, "to answer");

    let (_send, receive) = mpsc::channel::<Ask>(1);
    let start = Instant::now();
    let asks = bounded(ReceiverStream::new(receive));
    let status = soon(client.client_stream(asks)).await.unwrap_err();
    check(start, &status, "to answer");

    let (_send, receive) = mpsc::channel::<Ask>(1);
    let start = Instant::now();
    let status = soon(client.bidi(bounded(ReceiverStream::new(receive)))).await.unwrap_err();
    check(start, &status, "to answer");

    all_slots_free(&pool).await;
    assert_eq!(pool.counters().calls_ended.get(Code::DeadlineExceeded), 4);
}

#[tokio::test]
async fn it_bounds_the_rest_of_an_answer() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut client = client(&pool);
    let start = Instant::now();
    let call = tokio::spawn(async move { client.unary(bounded(ask(Do::Echo))).await });
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, _) = soon(raw.request()).await;
    raw.headers(stream).await.unwrap();
    let status = soon(call).await.unwrap().unwrap_err();
    check(start, &status, "the rest of the answer");
    assert!(status.message().contains(&peer.addr().to_string()), "{status}");
    assert_eq!(pool.status().streams, 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_there_when_it_has_passed_is_too_late() {
    let (pool, mut network) = in_memory();
    let pool = pool.build().unwrap();
    let start = Instant::now();
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.server_stream(bounded(ask(Do::Echo))).await });
    let mut peer = network.accept(100).await;
    let (stream, _) = peer.request().await;
    peer.headers(stream).await.unwrap();
    peer.data(stream, &message("in time")).await.unwrap();
    let mut answers = eventually(call).await.unwrap().unwrap().into_inner();
    assert!(eventually(answers.message()).await.unwrap().is_some());
    peer.data(stream, &message("and read before it has passed")).await.unwrap();
    peer.ping([1; 8]).await.unwrap();
    peer.ponged().await.unwrap();
    tokio::time::sleep(TIMEOUT).await;
    let status = answers.message().await.unwrap_err();
    check(start, &status, "to send the rest of the answer");
    assert_eq!(pool.status().streams, 0);
}

#[tokio::test]
async fn it_counts_from_the_call_and_not_from_the_first_poll() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut calls = play(peer, &[Act::Answer, Act::Hang]);
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    soon(calls.recv()).await.unwrap();
    let mut channel = pool.channel();
    let mut request = http::Request::new(tonic::body::Body::empty());
    request.headers_mut().insert("grpc-timeout", http::HeaderValue::from_static("8S"));
    tokio::time::pause();
    let start = Instant::now();
    let call = tower_service::Service::call(&mut channel, request);
    tokio::time::advance(Duration::from_secs(5)).await;
    let status = soon(call).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    let call = soon(calls.recv()).await.unwrap();
    assert_eq!(call.header("grpc-timeout"), Some("3000000u"), "what is left");
}

#[tokio::test]
async fn a_call_that_is_first_polled_after_its_deadline_is_not_sent() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut calls = play(peer, &[]);
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    let mut channel = pool.channel();
    let mut request = http::Request::new(tonic::body::Body::empty());
    request.headers_mut().insert("grpc-timeout", http::HeaderValue::from_static("8S"));
    let call = tower_service::Service::call(&mut channel, request);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(8)).await;
    let status = soon(call).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("to be polled"), "{status}");
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(seen(&mut calls), 2, "this one and the first");
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn the_server_is_told_what_is_left_after_a_wait_for_a_slot() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri())
        .max_connections(1)
        .max_streams_per_connection(1)
        .build()
        .unwrap();
    let mut calls = play(peer, &[Act::Hang]);
    let first = tokio::spawn({
        let mut client = client(&pool);
        async move { client.unary(bounded(ask(Do::Echo))).await }
    });
    soon(calls.recv()).await.unwrap();
    let mut request = Request::new(ask(Do::Echo));
    request.set_timeout(Duration::from_secs(20));
    let start = Instant::now();
    // Its turn comes when the first one's deadline has passed.
    soon(client(&pool).unary(request)).await.unwrap();
    assert!(soon(first).await.unwrap().is_err());
    let call = soon(calls.recv()).await.unwrap();
    let (digits, unit) = call.header("grpc-timeout").unwrap().split_at(8);
    assert_eq!(unit, "u");
    let told = Duration::from_micros(digits.parse().unwrap());
    let waited = Duration::from_secs(20).saturating_sub(told);
    assert!(waited > Duration::ZERO && waited <= start.elapsed(), "{waited:?}");
}

#[tokio::test]
async fn a_call_without_a_deadline_waits_for_a_slot_for_the_wait_timeout() {
    let server = EchoServer::start().await.unwrap();
    let pool = one_slot(&server).wait_timeout(TIMEOUT).build().unwrap();
    let _held = soon(client(&pool).server_stream(ask(Do::Hang))).await.unwrap();
    let start = Instant::now();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("no stream slot"), "{status}");
    assert!(start.elapsed() >= TIMEOUT);
}

#[tokio::test]
async fn the_wait_timeout_does_not_shorten_a_deadline_nor_an_answer() {
    let server = EchoServer::start().await.unwrap();
    let short = Duration::from_millis(1);
    let pool = one_slot(&server).wait_timeout(short).build().unwrap();
    soon(pool.wait_ready(Instant::now() + Duration::from_secs(20))).await.unwrap();
    let held = tokio::spawn({
        let mut client = client(&pool);
        async move { client.unary(ask(Do::Wait)).await }
    });
    soon(server.books().until(|now| now.active == 1)).await;
    let start = Instant::now();
    let status = soon(client(&pool).unary(bounded(ask(Do::Echo)))).await.unwrap_err();
    check(start, &status, "a stream slot");
    server.open_gate();
    soon(held).await.unwrap().unwrap();
}
