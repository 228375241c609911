//! What callers are told of calls that failed: code, message, cause, address.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::Pin;

use common::acts::{Act, play};
use common::{all_slots_free, ask, client, dead_uri, soon};
use h2::Reason;
use http_body::Body as _;
use pool_tonic::{CallError, ChannelPool, ConnectError, PooledChannel, SentTo, ServedBy};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::Do;
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service;

/// The cause of a status, of the type that it should have.
fn cause<E: std::error::Error + 'static>(status: &Status) -> Option<&E> {
    let mut error = status.source();
    while let Some(source) = error {
        if let Some(found) = source.downcast_ref() {
            return Some(found);
        }
        error = source.source();
    }
    None
}

async fn failed(act: Act) -> (Status, String) {
    let peer = Peer::listen().await.unwrap();
    let address = peer.addr().to_string();
    let pool = ChannelPool::builder(peer.uri()).max_transparent_retries(0).build().unwrap();
    let mut calls = play(peer, &[act]);
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    soon(calls.recv()).await.unwrap();
    assert!(calls.try_recv().is_err(), "it was sent once");
    assert_eq!(pool.counters().calls_ended.total(), 1);
    all_slots_free(&pool).await;
    (status, address)
}

/// "Errors" in gRPC's `doc/PROTOCOL-HTTP2.md`, but for CANCEL.
#[tokio::test]
async fn a_reset_becomes_the_code_of_grpcs_table() {
    for (reason, code) in [
        (Reason::NO_ERROR, Code::Internal),
        (Reason::PROTOCOL_ERROR, Code::Internal),
        (Reason::INTERNAL_ERROR, Code::Internal),
        (Reason::FLOW_CONTROL_ERROR, Code::Internal),
        (Reason::SETTINGS_TIMEOUT, Code::Internal),
        (Reason::STREAM_CLOSED, Code::Unknown),
        (Reason::FRAME_SIZE_ERROR, Code::Internal),
        (Reason::REFUSED_STREAM, Code::Unavailable),
        (Reason::COMPRESSION_ERROR, Code::Internal),
        (Reason::CONNECT_ERROR, Code::Internal),
        (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
    ] {
        let (status, address) = failed(Act::Reset(reason)).await;
        assert_eq!(status.code(), code, "{reason:?}: {status}");
        assert!(status.message().contains(&address), "{status}");
        let cause = cause::<CallError>(&status).unwrap();
        assert_eq!(cause.served_by().address(), address);
        assert_eq!(cause.http2().and_then(h2::Error::reason), Some(reason));
    }
}

#[tokio::test]
async fn a_server_that_cancels_is_unavailable_and_no_cancellation_of_the_callers() {
    for act in [Act::Reset(Reason::CANCEL), Act::ResetLate(Reason::CANCEL)] {
        let (status, address) = failed(act).await;
        assert_eq!(status.code(), Code::Unavailable, "{act:?}: {status}");
        let cause = cause::<CallError>(&status).unwrap();
        assert_eq!(cause.served_by().address(), address);
        assert!(cause.http2().unwrap().is_remote());
    }
}

#[tokio::test]
async fn a_lost_connection_is_unavailable_with_the_address_and_the_cause() {
    let peer = Peer::listen().await.unwrap();
    let address = peer.addr().to_string();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.unary(ask(Do::Echo)).await });
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    soon(raw.request()).await;
    drop(raw);
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&address), "{status}");
    let lost = cause::<CallError>(&status).unwrap();
    assert_eq!(lost.served_by().address(), address);
    assert!(lost.http2().unwrap().is_io());
    assert!(cause::<h2::Error>(&status).is_some(), "the chain goes on");
}

#[tokio::test]
async fn a_missing_connection_is_unavailable_with_the_address_and_the_cause() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(&uri).build().unwrap();
    // The first one waits for the attempt, the second one is told of it.
    for _ in 0..2 {
        let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        let missing = cause::<ConnectError>(&status).unwrap();
        assert_eq!(format!("http://{}", missing.address()), uri);
        let refused = cause::<std::io::Error>(&status).unwrap();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn a_deadline_that_passes_names_the_address_that_was_waited_for() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let mut request = tonic::Request::new(ask(Do::Hang));
    request.set_timeout(std::time::Duration::from_millis(50));
    let mut answers = soon(client(&pool).server_stream(request)).await.unwrap().into_inner();
    assert!(soon(answers.message()).await.unwrap().is_some());
    let status = soon(answers.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let passed = cause::<CallError>(&status).unwrap();
    assert_eq!(passed.served_by().address(), server.addr().to_string());
    assert!(passed.http2().is_none());
}

/// gRPC's `doc/http-grpc-status-mapping.md`.
#[tokio::test]
async fn an_http_error_becomes_the_code_of_grpcs_table() {
    for (http, code) in [
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
        (418, Code::Unknown),
        (500, Code::Unknown),
    ] {
        for body in ["", "<html>Bad Gateway</html>"] {
            let (status, address) = failed(Act::Http(http, body)).await;
            assert_eq!(status.code(), code, "{http} {body:?}: {status}");
            assert!(status.message().contains(&format!("HTTP status {http}")), "{status}");
            let cause = cause::<CallError>(&status).unwrap();
            assert_eq!(cause.served_by().address(), address);
            assert_eq!(cause.http_status(), Some(http));
        }
    }
}

#[tokio::test]
async fn a_status_of_the_servers_own_is_left_as_it_is() {
    let (status, _) = failed(Act::Fail(Code::Cancelled)).await;
    assert_eq!((status.code(), status.message()), (Code::Cancelled, "so the script says"));
    let (status, _) = failed(Act::FailLate(Code::DataLoss)).await;
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "so the script says"));
}

#[tokio::test]
async fn every_response_says_who_served_it() {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let answer = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    let served_by = answer.extensions().get::<ServedBy>().unwrap();
    assert_eq!(served_by.address(), server.addr().to_string());
    let answers = soon(client(&pool).server_stream(ask(Do::Echo))).await.unwrap();
    assert_eq!(answers.extensions().get(), Some(served_by));
}

#[tokio::test]
async fn the_caller_can_know_who_sent_a_status() {
    let peer = Peer::listen().await.unwrap();
    let address = peer.addr().to_string();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let acts = [Act::Fail(Code::NotFound), Act::FailLate(Code::NotFound), Act::Answer];
    let _calls = play(peer, &acts);
    for act in acts {
        let sent_to = SentTo::default();
        let mut request = tonic::Request::new(ask(Do::Echo));
        request.extensions_mut().insert(sent_to.clone());
        let _ = soon(client(&pool).unary(request)).await;
        assert_eq!(sent_to.served_by().unwrap().address(), address, "{act:?}");
    }
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri).build().unwrap();
    let sent_to = SentTo::default();
    let mut request = tonic::Request::new(ask(Do::Echo));
    request.extensions_mut().insert(sent_to.clone());
    soon(client(&pool).unary(request)).await.unwrap_err();
    assert_eq!(sent_to.served_by(), None, "there was no connection");
}

/// What a layer around the channel does.
async fn raw_call(mut channel: PooledChannel, text: &'static str) -> http::Response<Body> {
    let mut request = http::Request::new(Body::empty());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = "/pool.testing.Echo/Unary".parse().unwrap();
    request.extensions_mut().insert(text);
    soon(channel.call(request)).await.unwrap()
}

#[tokio::test]
async fn a_layer_sees_who_failed_a_call_and_nothing_of_the_requests_own_extensions() {
    let peer = Peer::listen().await.unwrap();
    let address = peer.addr().to_string();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let _calls = play(peer, &[Act::Fail(Code::NotFound)]);
    let response = raw_call(pool.channel(), "the caller's").await;
    assert_eq!(response.headers()["grpc-status"], "5");
    assert_eq!(response.extensions().get::<ServedBy>().unwrap().address(), address);
    assert!(response.extensions().get::<&'static str>().is_none());
    assert_eq!(pool.counters().calls_ended.get(Code::NotFound), 1);
}

#[tokio::test]
async fn an_answer_that_ends_without_a_status_holds_its_slot_until_it_is_read_or_dropped() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let _calls = play(peer, &[Act::Http(200, ""), Act::Http(200, "")]);
    let mut body = raw_call(pool.channel(), "").await.into_body();
    assert_eq!(pool.status().streams, 1);
    assert!(soon(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await.is_none());
    assert_eq!(pool.status().streams, 0);
    assert_eq!(pool.counters().calls_ended.get(Code::Unknown), 1);

    drop(raw_call(pool.channel(), "").await);
    assert_eq!(pool.status().streams, 0);
    assert_eq!(pool.counters().calls_ended.get(Code::Cancelled), 1);
}
