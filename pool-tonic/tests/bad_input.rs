//! Servers that are no gRPC servers, or not sane: one clear error for each call, bounded memory, no panic.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;

use std::time::Duration;

use common::{all_slots_free, soon, until};
use kinds::{KINDS, Kind, ask, no_more, open};
use pool_tonic::{ChannelPool, ConnectivityState};
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::Do;
use pool_tonic_testing::raw::{Raw, block, code, flag, kind, message, setting};
use tokio::task::JoinSet;
use tonic::{Code, Status};

async fn peer_and_pool() -> (Peer, ChannelPool) {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_connections(1).build().unwrap();
    (peer, pool)
}

type Calls = JoinSet<(Kind, Result<(), Status>)>;

/// A call of each kind.
fn call_all(pool: &ChannelPool, timeout: Option<Duration>) -> Calls {
    let mut calls = JoinSet::new();
    for kind in KINDS {
        let call = kind.begin(pool.channel(), ask(Do::Echo, "hello"), open(), timeout);
        calls.spawn(async move {
            let result = match call.await {
                Ok(begun) => begun.rest().await,
                Err(status) => Err(status),
            };
            (kind, result.map(drop))
        });
    }
    calls
}

async fn all_failed(calls: Calls, peer: &Peer, code: Code, happened: &str) {
    for (kind, result) in soon(calls.join_all()).await {
        let status = result.unwrap_err();
        assert_eq!(status.code(), code, "{kind:?} {happened:?} {status}");
        let message = status.message();
        assert!(message.contains(&peer.addr().to_string()), "{kind:?} {status}");
        assert!(message.contains(happened), "{kind:?} {happened:?} {status}");
        assert!(std::error::Error::source(&status).is_some() || code != Code::Unavailable);
    }
}

/// A frame as bytes.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn what_is_no_http_2_instead_of_settings() {
    let window = [&setting::INITIAL_WINDOW_SIZE.to_be_bytes()[..], &[0x80, 0, 0, 0]].concat();
    for garbage in [
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        b"* OK IMAP4rev1 server ready\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 64],
        // A window beyond 2^31 - 1.
        frame(kind::SETTINGS, 0, 0, &window),
        // An entry that is cut short.
        frame(kind::SETTINGS, 0, 0, &window[..5]),
        frame(kind::SETTINGS, 0, 1, &[]),
        // An acknowledgement with something in it.
        frame(kind::SETTINGS, flag::ACK, 0, &window),
        frame(kind::DATA, 0, 1, b"hello"),
        frame(kind::PING, 0, 0, b"1234567"),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[0x88]),
    ] {
        let (peer, pool) = peer_and_pool().await;
        let calls = call_all(&pool, None);
        let mut raw = Raw::mute(soon(peer.accept_tcp()).await.unwrap()).await.unwrap();
        until(|| pool.status().waiting == KINDS.len()).await;
        raw.bytes(&garbage).await.unwrap();
        let what = "does not answer as an HTTP/2 server";
        all_failed(calls, &peer, Code::Unavailable, what).await;
        soon(raw.closed()).await;
        all_slots_free(&pool).await;
        assert_eq!(pool.state(), ConnectivityState::TransientFailure);
        let counters = pool.counters();
        assert_eq!((counters.connections_failed, counters.connections_opened), (1, 0));
    }
}

#[tokio::test]
async fn what_is_no_http_2_in_the_middle_of_calls() {
    for garbage in [
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        vec![0xff; 64],
        // Of streams that nobody has opened.
        frame(kind::DATA, 0, 99, b"hello"),
        frame(kind::HEADERS, flag::END_HEADERS, 99, &[0x88]),
        frame(kind::RST_STREAM, 0, 99, &[0; 4]),
        // A header block that is none: an index far beyond the tables.
        frame(kind::HEADERS, flag::END_HEADERS, 1, &[0xff, 0xff, 0xff, 0x7f]),
        // Another frame within a header block.
        [frame(kind::HEADERS, 0, 1, &[0x88]), frame(kind::PING, 0, 0, &[0; 8])].concat(),
        // The connection's window beyond 2^31 - 1.
        frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        frame(kind::GOAWAY, 0, 0, &[0; 3]),
        frame(kind::SETTINGS, 0, 0, &[0; 7]),
    ] {
        let (peer, pool) = peer_and_pool().await;
        let calls = call_all(&pool, None);
        let mut raw = soon(peer.accept_raw(100)).await.unwrap();
        for _ in KINDS {
            soon(raw.opened()).await;
        }
        raw.bytes(&garbage).await.unwrap();
        all_failed(calls, &peer, Code::Unavailable, "was lost").await;
        soon(raw.closed()).await;
        all_slots_free(&pool).await;
        until(|| pool.status().ready == 0).await;
        assert_eq!(pool.counters().transparent_retries, 0, "{garbage:?}");
    }
}

#[tokio::test]
async fn a_bad_answer_fails_its_call_and_no_other() {
    let status = |code: &str| block(false, &[("grpc-status", code)]);
    let closes = flag::END_HEADERS | flag::END_STREAM;
    for (answer, expected) in [
        // No trailers.
        (vec![(kind::DATA, flag::END_STREAM, message(""))], Code::Unknown),
        // A message that is cut short.
        (vec![(kind::DATA, flag::END_STREAM, vec![0, 0, 0])], Code::Internal),
        // A status that is none.
        (vec![(kind::HEADERS, closes, status("ok"))], Code::Unknown),
        // A message of 4 GiB, which is not waited for.
        (vec![(kind::DATA, 0, vec![0, 0xff, 0xff, 0xff, 0xff])], Code::OutOfRange),
        // A message that is no protobuf.
        (vec![(kind::DATA, 0, vec![0, 0, 0, 0, 1, 0xff])], Code::Internal),
        // A flag that gRPC does not know.
        (vec![(kind::DATA, 0, vec![9, 0, 0, 0, 0])], Code::Internal),
        // Trailers that do not end the stream.
        (vec![(kind::HEADERS, flag::END_HEADERS, status("0"))], Code::Internal),
    ] {
        let (peer, pool) = peer_and_pool().await;
        let good = Kind::Unary.spawn(&pool, ask(Do::Echo, "good"));
        let mut raw = soon(peer.accept_raw(100)).await.unwrap();
        let (good_stream, _) = soon(raw.request()).await;
        let bad = Kind::ServerStream.spawn(&pool, ask(Do::Echo, "bad"));
        let (stream, _) = soon(raw.request()).await;
        raw.headers(stream).await.unwrap();
        for (kind, flags, payload) in &answer {
            raw.frame(*kind, *flags, stream, payload).await.unwrap();
        }
        let status = soon(bad).await.unwrap().unwrap_err();
        assert_eq!(status.code(), expected, "{answer:?} {status}");
        raw.answer(good_stream).await.unwrap();
        soon(good).await.unwrap().unwrap();
        all_slots_free(&pool).await;
    }
}

#[tokio::test]
async fn malformed_headers_fail_their_call_and_say_so() {
    for headers in [
        // Of a connection, which HTTP/2 has no place for.
        block(true, &[("connection", "close")]),
        // No `:status`, and one too many.
        block(false, &[("content-type", "application/grpc")]),
        [block(true, &[]), block(true, &[])].concat(),
        block(true, &[("content-length", "many")]),
    ] {
        let (peer, pool) = peer_and_pool().await;
        let calls = call_all(&pool, None);
        let mut raw = soon(peer.accept_raw(100)).await.unwrap();
        for _ in KINDS {
            let stream = soon(raw.opened()).await;
            raw.frame(kind::HEADERS, flag::END_HEADERS, stream, &headers).await.unwrap();
        }
        all_failed(calls, &peer, Code::Internal, "malformed").await;
        all_slots_free(&pool).await;
        assert_eq!(pool.counters().connections_opened, 1);
        assert_eq!(pool.status().ready, 1, "the connection goes on");
    }
}

#[tokio::test]
async fn more_data_than_the_window_allows_fails_its_call() {
    let (peer, pool) = peer_and_pool().await;
    // Its answer is not read.
    let begin = Kind::ServerStream.begin(pool.channel(), ask(Do::Echo, "hello"), no_more(), None);
    let begin = tokio::spawn(begin);
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, _) = soon(raw.request()).await;
    raw.headers(stream).await.unwrap();
    let begun = soon(begin).await.unwrap().unwrap();
    // The client's settings are not acknowledged, so the window is 2^16 - 1.
    for _ in 0..5 {
        raw.data(stream, &[0; 1 << 14]).await.unwrap();
    }
    assert_eq!(soon(raw.reset_of(stream)).await, code::FLOW_CONTROL_ERROR);
    let status = soon(begun.rest()).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains(&peer.addr().to_string()), "{status}");
    all_slots_free(&pool).await;
}

/// The most that a header block may grow before the client gives it up.
const MOST_HEADERS: usize = 32 << 20;

#[tokio::test]
async fn a_flood_of_headers_ends_its_connection() {
    for chunk in [1 << 14, 16] {
        let (peer, pool) = peer_and_pool().await;
        let calls = call_all(&pool, None);
        let mut raw = soon(peer.accept_raw(100)).await.unwrap();
        let mut stream = 0;
        for _ in KINDS {
            stream = soon(raw.opened()).await;
        }
        // A header block without an end.
        raw.frame(kind::HEADERS, 0, stream, &block(true, &[])).await.unwrap();
        let header = block(false, &[("x-flood", &"x".repeat(chunk - 16))]);
        let mut sent = 0;
        while raw.frame(kind::CONTINUATION, 0, stream, &header).await.is_ok() {
            sent += header.len();
            assert!(sent < 2 * MOST_HEADERS, "the client takes headers without end");
            tokio::task::yield_now().await;
        }
        all_failed(calls, &peer, Code::Unavailable, "was lost").await;
        all_slots_free(&pool).await;
        assert!(pool.counters().connections_lost <= 1);
        assert_eq!(pool.counters().transparent_retries, 0);
    }
}

#[tokio::test]
async fn a_flood_of_answers_that_are_only_beginnings_is_read_and_forgotten() {
    let (peer, pool) = peer_and_pool().await;
    let call = Kind::Unary.spawn(&pool, ask(Do::Echo, "hello"));
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    let (stream, _) = soon(raw.request()).await;
    // `:status: 103`, by a literal whose name is that of entry 8.
    let early = [&[0x08, 3][..], b"103"].concat();
    for _ in 0..1000 {
        raw.frame(kind::HEADERS, flag::END_HEADERS, stream, &early).await.unwrap();
    }
    raw.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn a_limit_of_zero_for_ever_lets_calls_end_by_their_deadline_and_says_so() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri())
        .max_connections(3)
        .wait_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let calls = call_all(&pool, Some(Duration::from_millis(300)));
    let patient = call_all(&pool, None);
    let serve = async {
        let mut connections = Vec::new();
        loop {
            connections.push(peer.accept_raw(0).await.unwrap());
        }
    };
    let fail = async {
        let (slots, at_most) = ("0 calls on 0 stream slots", " of at most 3 connections");
        let late = all_failed(calls, &peer, Code::DeadlineExceeded, slots);
        let gave_up = all_failed(patient, &peer, Code::Unavailable, at_most);
        tokio::join!(late, gave_up);
    };
    tokio::select! {
        () = fail => {}
        () = serve => {}
    }
    let counters = pool.counters();
    assert!((1..=3).contains(&counters.connections_opened), "{counters:?}");
    assert_eq!(counters.calls_ended.get(Code::DeadlineExceeded), KINDS.len() as u64);
    let status = pool.status();
    assert_eq!((status.streams, status.waiting, status.capacity), (0, 0, 0));
}

#[tokio::test]
async fn refusals_without_end_fail_calls_when_they_have_tried_often_enough() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri())
        .max_connections(1)
        .max_transparent_retries(2)
        .build()
        .unwrap();
    let calls = call_all(&pool, None);
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    for _ in 0..3 * KINDS.len() {
        let stream = soon(raw.opened()).await;
        raw.reset(stream, code::REFUSED_STREAM).await.unwrap();
    }
    all_failed(calls, &peer, Code::Unavailable, "refused").await;
    all_slots_free(&pool).await;
    let counters = pool.counters();
    assert_eq!(counters.transparent_retries, 2 * KINDS.len() as u64);
    assert_eq!((counters.connections_opened, counters.connections_lost), (1, 0));
}

#[tokio::test]
async fn an_answer_of_http_alone_has_the_code_of_its_status() {
    // gRPC's `doc/http-grpc-status-mapping.md`.
    for (http, expected) in [
        ("400", Code::Internal),
        ("401", Code::Unauthenticated),
        ("403", Code::PermissionDenied),
        ("404", Code::Unimplemented),
        ("429", Code::Unavailable),
        ("502", Code::Unavailable),
        ("503", Code::Unavailable),
        ("504", Code::Unavailable),
        ("500", Code::Unknown),
    ] {
        for has_body in [false, true] {
            let (peer, pool) = peer_and_pool().await;
            let calls = call_all(&pool, None);
            let mut raw = soon(peer.accept_raw(100)).await.unwrap();
            // `:status`, by a literal whose name is that of entry 8.
            let headers =
                [&[0x08, 3][..], http.as_bytes(), &block(false, &[("content-type", "text/plain")])]
                    .concat();
            for _ in KINDS {
                let stream = soon(raw.opened()).await;
                let ends = if has_body { 0 } else { flag::END_STREAM };
                raw.frame(kind::HEADERS, flag::END_HEADERS | ends, stream, &headers).await.unwrap();
                if has_body {
                    raw.frame(kind::DATA, flag::END_STREAM, stream, b"sorry").await.unwrap();
                }
            }
            for (kind, result) in soon(calls.join_all()).await {
                let status = result.unwrap_err();
                assert_eq!(status.code(), expected, "{kind:?} {http} {has_body} {status}");
            }
            all_slots_free(&pool).await;
            let ended = pool.counters().calls_ended;
            assert_eq!(ended.get(expected), KINDS.len() as u64, "{http} {has_body} {ended:?}");
        }
    }
}
