//! Connecting, failing to, and what calls see of it.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::time::Duration;

use common::{ask, client, dead_uri, soon, until};
use pool_tonic::{ChannelPool, ConnectivityState};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::{self, Peer};
use pool_tonic_testing::proto::{Ask, Do};
use pool_tonic_testing::raw::{Heard, Raw};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use tonic::{Code, Request, Status};

fn with_timeout(r#do: Do, timeout: Duration) -> Request<Ask> {
    let mut request = Request::new(ask(r#do));
    request.set_timeout(timeout);
    request
}

#[tokio::test]
async fn a_closed_port_fails_calls_at_once_with_the_reason() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri).build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("refused"), "{status}");
    assert!(std::error::Error::source(&status).is_some());
    assert_eq!(pool.state(), ConnectivityState::TransientFailure);
    assert!(pool.last_error().unwrap().to_string().contains("refused"));
}

#[tokio::test]
async fn a_server_that_is_down_is_left_alone_for_its_back_off() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri).build().unwrap();
    let start = Instant::now();
    for _ in 0..1000 {
        let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    }
    // The first delay is at least 0.8 s, from one attempt's start to the next one's.
    let allowed = 1 + start.elapsed().as_millis() / 800;
    let attempts = u128::from(pool.counters().connections_failed);
    assert!(attempts <= allowed, "{attempts} attempts, {allowed} allowed");
    assert!(pool.addresses()[0].retry_in.is_some());
}

#[tokio::test]
async fn one_dead_address_of_three_costs_no_call() {
    let (one, other) = (EchoServer::start().await.unwrap(), EchoServer::start().await.unwrap());
    let (dead, _port) = dead_uri();
    let pool =
        ChannelPool::endpoints([one.uri(), dead, other.uri()]).min_connections(4).build().unwrap();
    for _ in 0..200 {
        soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    }
    until(|| pool.status().ready == 4).await;
    let addresses = pool.addresses();
    assert_eq!((addresses[0].ready, addresses[2].ready), (2, 2), "{addresses:?}");
    assert_eq!(pool.state(), ConnectivityState::Ready);
    assert_eq!(pool.counters().calls_ended.get(Code::Ok), 200);
}

#[tokio::test]
async fn calls_fail_when_every_address_has_failed_and_not_before() {
    let server = EchoServer::start().await.unwrap();
    let ((one, _one_port), (other, _other_port)) = (dead_uri(), dead_uri());
    let pool = ChannelPool::endpoints([&one, &other]).build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(pool.counters().connections_failed, 2, "both were tried");

    let pool = ChannelPool::endpoints([one, other, server.uri()]).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
}

#[tokio::test]
async fn a_mute_peer_is_never_ready_and_bounded_by_the_connect_timeout() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri())
        .connect_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.unary(ask(Do::Echo)).await });
    let mut raw = Raw::mute(soon(peer.accept_tcp()).await.unwrap()).await.unwrap();
    assert_eq!(pool.state(), ConnectivityState::Connecting);
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("connect timeout of 100ms"), "{status}");
    assert!(status.message().contains("settings"), "{status}");
    while soon(raw.hear()).await != Heard::Closed {}
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_gets_a_clear_error() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.unary(ask(Do::Echo)).await });
    let mut tcp = soon(peer.accept_tcp()).await.unwrap();
    tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("does not answer as an HTTP/2 server"), "{status}");
}

#[tokio::test]
async fn the_deadline_bounds_the_wait_for_a_connection() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let request = with_timeout(Do::Echo, Duration::from_millis(50));
    let status = soon(client(&pool).unary(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("waiting for a stream slot"), "{status}");
    assert!(status.message().contains("1 being made"), "{status}");
    assert_eq!(pool.status().waiting, 0);
}

#[tokio::test]
async fn without_a_deadline_the_wait_timeout_bounds_the_wait() {
    let peer = Peer::listen().await.unwrap();
    let pool =
        ChannelPool::builder(peer.uri()).wait_timeout(Duration::from_millis(50)).build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("no stream slot"), "{status}");
}

#[tokio::test]
async fn a_wait_may_be_for_ever() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).wait_timeout(Duration::MAX).build().unwrap();
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.unary(ask(Do::Echo)).await });
    until(|| pool.status().waiting == 1).await;
    pool.close_now();
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("closed"), "{status}");
}

#[tokio::test]
async fn the_deadline_bounds_the_wait_for_an_answer_and_for_the_rest_of_it() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    // The server would end the call by the same deadline, so what the client says is told apart by its
    // message.
    let request = with_timeout(Do::Hang, Duration::from_millis(50));
    let status = soon(client(&pool).unary(request)).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    assert_eq!(pool.status().streams, 0);

    let request = with_timeout(Do::Hang, Duration::from_millis(50));
    let mut answers = soon(client(&pool).server_stream(request)).await.unwrap().into_inner();
    assert!(soon(answers.message()).await.unwrap().is_some());
    let status = soon(answers.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("the rest of the answer"), "{status}");
    assert_eq!(pool.status().streams, 0);
    soon(server.books().until(|now| now.active == 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_ends_an_answer_that_never_runs_dry() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let endless = || {
        let mut request = with_timeout(Do::Echo, Duration::from_millis(300));
        request.get_mut().text = "x".to_owned();
        request.get_mut().answers = u32::MAX;
        request
    };

    // On a busy machine the deadline may pass before the answer begins.
    let mut busy = loop {
        if let Ok(answer) = soon(client(&pool).server_stream(endless())).await {
            break answer.into_inner();
        }
    };
    let status = soon(async {
        loop {
            match busy.message().await {
                Ok(answer) => assert!(answer.is_some(), "it never ends by itself"),
                Err(status) => break status,
            }
        }
    })
    .await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(pool.status().streams, 0);
    soon(server.books().until(|now| now.active == 0)).await;
    let ended = pool.counters().calls_ended;
    assert!(ended.get(Code::DeadlineExceeded) >= 1);
    assert_eq!(ended.get(Code::DeadlineExceeded), ended.total());
}

#[tokio::test]
async fn the_server_is_told_what_is_left_of_the_deadline_after_a_wait() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut client = client(&pool);
    let timeout = Duration::from_secs(15);
    let call = tokio::spawn({
        let mut client = client.clone();
        async move { client.unary(with_timeout(Do::Echo, timeout)).await }
    });
    until(|| pool.status().waiting == 1).await;
    let mut connection = soon(peer.accept()).await;
    let (request, respond) = soon(peer::next(&mut connection)).await;
    let micros = |request: &http::Request<h2::RecvStream>| {
        let text = request.headers()["grpc-timeout"].to_str().unwrap();
        let (digits, unit) = text.split_at(text.len() - 1);
        assert_eq!(unit, "u");
        digits.parse::<u128>().unwrap()
    };
    let left = micros(&request);
    assert!(left > 0 && left < timeout.as_micros(), "{left}");
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.uri().authority().unwrap().as_str(), peer.addr().to_string());
    peer::answer(respond);
    let served = tokio::spawn(async move {
        let mut requests = Vec::new();
        while let Some(Ok((request, respond))) = connection.accept().await {
            peer::answer(respond);
            requests.push(request);
        }
        requests
    });
    soon(call).await.unwrap().unwrap();
    // Without a wait it is the caller's own, unless the machine is slow to make the call.
    for _ in 0..20 {
        soon(client.unary(with_timeout(Do::Echo, timeout))).await.unwrap();
    }
    drop((client, pool));
    let told = soon(served).await.unwrap();
    assert_eq!(told.iter().map(micros).max(), Some(timeout.as_micros()));
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let server = EchoServer::start().await.unwrap();
    let addr = server.addr();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let mut state = pool.watch();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(pool.state(), ConnectivityState::Ready);
    soon(server.stop()).await;
    soon(state.wait_for(|state| state != ConnectivityState::Ready)).await.unwrap();
    let server = EchoServer::start_with(addr, |server| server).await.unwrap();
    soon(pool.wait_ready(Instant::now() + Duration::from_secs(15))).await.unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(server.books().now().calls, 1);
}

#[tokio::test]
async fn waiting_for_a_server_that_never_comes_ends_with_the_reason() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri).build().unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = soon(pool.wait_ready(deadline)).await.unwrap_err();
    assert_eq!(error.state, ConnectivityState::TransientFailure);
    assert!(error.last_error.unwrap().to_string().contains("refused"));
}

#[tokio::test]
async fn a_closed_pool_finishes_its_calls_and_takes_no_more() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let mut running = client(&pool);
    let running = tokio::spawn(async move { running.unary(ask(Do::Wait)).await });
    soon(server.books().until(|now| now.active == 1)).await;
    let close = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close(Duration::from_secs(20)).await }
    });
    until(|| pool.is_closed()).await;
    assert!(pool.is_closed());
    assert_eq!(pool.state(), ConnectivityState::Shutdown);
    let status: Status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("closed"), "{status}");
    server.open_gate();
    soon(running).await.unwrap().unwrap();
    assert_eq!(soon(close).await.unwrap().calls_cut, 0);
    assert!(soon(pool.wait_ready(Instant::now() + Duration::from_secs(1))).await.is_err());
    soon(server.stop()).await;
}
