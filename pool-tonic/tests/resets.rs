//! Streams that the server resets, and streams that the client does: one connection, one slot, and both as
//! before when the call is over.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
mod kinds;

use std::time::Duration;

use common::{all_slots_free, soon, until};
use kinds::{Asks, KINDS, Kind, STREAMED, ask, open};
use pool_tonic::{ChannelPool, MethodName, RetryPolicy};
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::{Ask, Do};
use pool_tonic_testing::raw::{Heard, Raw, code, message, setting};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_test::task;
use tonic::{Code, Status};

/// A peer, and a pool with one slot to it.
async fn peer_and_pool() -> (Peer, ChannelPool) {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri())
        .max_connections(1)
        .max_streams_per_connection(1)
        .build()
        .unwrap();
    (peer, pool)
}

/// A call whose request stays open, where it is a stream.
fn spawn(kind: Kind, pool: &ChannelPool) -> JoinHandle<Result<usize, Status>> {
    let call = kind.begin(pool.channel(), ask(Do::Echo, "hello"), open(), None);
    tokio::spawn(async move { call.await?.rest().await.map(|answers| answers.len()) })
}

/// The one slot is free, and one: two calls come one after the other.
async fn slot_is_one(raw: &mut Raw, pool: &ChannelPool, last: u32) {
    all_slots_free(pool).await;
    let calls = [(); 2].map(|()| Kind::Unary.spawn(pool, ask(Do::Echo, "hello")));
    for _ in &calls {
        let mut stream = last;
        while stream <= last {
            // The end of the last request may have come after its answer.
            (stream, _) = soon(raw.request()).await;
        }
        raw.ping([1; 8]).await.unwrap();
        soon(raw.ponged()).await.unwrap();
        assert_eq!(raw.kept(), [], "one at a time");
        raw.answer(stream).await.unwrap();
    }
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    all_slots_free(pool).await;
}

/// Reads as much of requests as the connection's window has room for.
async fn use_up_window(raw: &mut Raw) {
    let mut room = (1 << 16) - 1;
    while room > 0 {
        if let Heard::Data(_, data) = soon(raw.hear()).await {
            room -= data.len();
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum When {
    Before,
    AfterHeaders,
    WithinMessage,
    AfterMessage,
}

#[tokio::test]
async fn a_reset_at_any_point_fails_the_call_and_frees_its_slot() {
    let (peer, pool) = peer_and_pool().await;
    let mut connection = None;
    let mut failed = 0;
    for kind in KINDS {
        for when in [When::Before, When::AfterHeaders, When::WithinMessage, When::AfterMessage] {
            let call = spawn(kind, &pool);
            let raw = match &mut connection {
                Some(raw) => raw,
                none => none.insert(soon(peer.accept_raw(100)).await.unwrap()),
            };
            let stream = soon(raw.opened()).await;
            if !matches!(when, When::Before) {
                raw.headers(stream).await.unwrap();
            }
            match when {
                When::Before | When::AfterHeaders => {}
                When::WithinMessage => raw.data(stream, &message("hello")[..6]).await.unwrap(),
                When::AfterMessage => raw.data(stream, &message("hello")).await.unwrap(),
            }
            raw.reset(stream, code::INTERNAL_ERROR).await.unwrap();
            let status = soon(call).await.unwrap().unwrap_err();
            failed += 1;
            assert_eq!(status.code(), Code::Internal, "{kind:?} {when:?} {status}");
            let message = status.message();
            assert!(message.contains(&peer.addr().to_string()), "{kind:?} {when:?} {status}");
            assert!(message.contains("broken off"), "{kind:?} {when:?} {status}");
            slot_is_one(raw, &pool, stream).await;
            assert_eq!(pool.counters().calls_ended.get(Code::Internal), failed);
        }
    }
    let counters = pool.counters();
    assert_eq!((counters.connections_opened, counters.transparent_retries), (1, 0));
}

#[tokio::test]
async fn answers_of_trailers_only_free_the_slot_of_every_kind() {
    let (peer, pool) = peer_and_pool().await;
    let mut connection = None;
    for kind in KINDS {
        for (status, expected) in [("0", Code::Ok), ("7", Code::PermissionDenied)] {
            let call = spawn(kind, &pool);
            let raw = match &mut connection {
                Some(raw) => raw,
                none => none.insert(soon(peer.accept_raw(100)).await.unwrap()),
            };
            let stream = soon(raw.opened()).await;
            raw.trailers_only(stream, status).await.unwrap();
            let result = soon(call).await.unwrap();
            match (result, kind) {
                (Ok(answers), Kind::ServerStream | Kind::Bidi) => {
                    assert_eq!((answers, expected), (0, Code::Ok));
                }
                // A single answer is owed, and there is none.
                (Err(status), _) if expected == Code::Ok => {
                    assert_eq!(status.code(), Code::Internal, "{kind:?} {status}");
                }
                (Err(status), _) => assert_eq!(status.code(), expected, "{kind:?} {status}"),
                (Ok(answers), _) => panic!("{kind:?} {expected:?} {answers}"),
            }
            slot_is_one(raw, &pool, stream).await;
        }
    }
    assert_eq!(pool.counters().connections_opened, 1);
}

#[tokio::test]
async fn a_response_that_is_dropped_cancels_its_stream() {
    let (peer, pool) = peer_and_pool().await;
    let mut connection = None;
    for kind in KINDS {
        for headers in [false, true] {
            let (send, receive) = mpsc::channel::<Ask>(1);
            let asks = Asks::new(ReceiverStream::new(receive));
            let call = tokio::spawn(kind.begin(pool.channel(), ask(Do::Echo, "hello"), asks, None));
            let raw = match &mut connection {
                Some(raw) => raw,
                none => none.insert(soon(peer.accept_raw(100)).await.unwrap()),
            };
            let stream = soon(raw.opened()).await;
            assert_eq!(pool.status().streams, 1);
            if headers {
                raw.headers(stream).await.unwrap();
                raw.data(stream, &message("hello")).await.unwrap();
            }
            if headers && matches!(kind, Kind::ServerStream | Kind::Bidi) {
                drop(soon(call).await.unwrap().unwrap());
            } else {
                // It may have got the headers, or not.
                call.abort();
                assert!(soon(call).await.unwrap_err().is_cancelled());
            }
            assert_eq!(soon(raw.reset_of(stream)).await, code::CANCEL, "{kind:?} {headers}");
            if matches!(kind, Kind::ClientStream | Kind::Bidi) {
                soon(send.closed()).await;
            }
            slot_is_one(raw, &pool, stream).await;
        }
    }
    assert_eq!(pool.counters().calls_ended.get(Code::Cancelled), 8);
    assert_eq!(pool.counters().connections_opened, 1);
}

#[tokio::test]
async fn a_deadline_that_passes_cancels_the_stream() {
    let (peer, pool) = peer_and_pool().await;
    let mut connection = None;
    for kind in KINDS {
        for headers in [false, true] {
            let timeout = Some(Duration::from_millis(50));
            let call = kind.begin(pool.channel(), ask(Do::Echo, "hello"), open(), timeout);
            let call = tokio::spawn(async move { call.await?.rest().await });
            let raw = match &mut connection {
                Some(raw) => raw,
                none => none.insert(soon(peer.accept_raw(100)).await.unwrap()),
            };
            let stream = soon(raw.opened()).await;
            if headers {
                raw.headers(stream).await.unwrap();
            }
            let status = soon(call).await.unwrap().unwrap_err();
            assert_eq!(status.code(), Code::DeadlineExceeded, "{kind:?} {status}");
            let message = status.message();
            assert!(message.contains("50ms"), "{status}");
            assert!(message.contains(&peer.addr().to_string()), "{status}");
            assert_eq!(soon(raw.reset_of(stream)).await, code::CANCEL, "{kind:?} {headers}");
            until(|| pool.status().streams == 0).await;
            slot_is_one(raw, &pool, stream).await;
        }
    }
}

#[tokio::test]
async fn an_answer_before_a_large_request_is_through_ends_the_request() {
    let (peer, pool) = peer_and_pool().await;
    let mut connection = None;
    for kind in KINDS {
        // Beyond the window of a stream, which is 2^16 - 1.
        let call = kind.begin(pool.channel(), ask(Do::Echo, "x".repeat(1 << 17)), open(), None);
        let call = tokio::spawn(async move { call.await?.rest().await });
        let raw = match &mut connection {
            Some(raw) => raw,
            none => none.insert(soon(peer.accept_raw(100)).await.unwrap()),
        };
        let stream = soon(raw.opened()).await;
        raw.answer(stream).await.unwrap();
        assert_eq!(soon(call).await.unwrap().unwrap().len(), 1, "{kind:?}");
        let reason = soon(raw.reset_of(stream)).await;
        assert!([code::NO_ERROR, code::CANCEL].contains(&reason), "{kind:?} {reason}");
        // What of it was on its way has used up the connection's window.
        raw.window_update(0, 1 << 16).await.unwrap();
        slot_is_one(raw, &pool, stream).await;
    }
    assert_eq!(pool.counters().calls_ended.get(Code::Ok), 3 * KINDS.len() as u64);
}

#[tokio::test]
async fn an_answer_that_nobody_has_looked_at_ends_a_request_that_has_no_window() {
    let (peer, pool) = peer_and_pool().await;
    let call = Kind::Unary.spawn(&pool, ask(Do::Echo, "hello"));
    let mut raw = soon(peer.accept_raw(100)).await.unwrap();
    let stream = soon(raw.opened()).await;
    raw.answer(stream).await.unwrap();
    soon(call).await.unwrap().unwrap();
    let call = Kind::Unary.call(pool.channel(), ask(Do::Echo, "x".repeat(1 << 17)));
    let mut call = task::spawn(call);
    assert!(call.poll().is_pending());
    let stream = soon(raw.opened()).await;
    raw.trailers_only(stream, "14").await.unwrap();
    // It has been read then.
    raw.ping([1; 8]).await.unwrap();
    assert_eq!(soon(raw.ponged()).await, Some([1; 8]));
    drop(call);
    assert_eq!(soon(raw.reset_of(stream)).await, code::CANCEL);
    all_slots_free(&pool).await;
}

/// A stream that its server does not read has used up the connection's window.
#[tokio::test]
async fn an_answer_before_a_small_request_that_has_no_window_ends_the_request() {
    const LIMIT: u32 = 2;
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_connections(1).build().unwrap();
    let unread = ask(Do::Echo, "x".repeat(1 << 17));
    let unread = Kind::ClientStream.begin(pool.channel(), unread, open(), None);
    let unread = tokio::spawn(async move { unread.await?.rest().await });
    let mut raw = soon(peer.accept_raw(LIMIT)).await.unwrap();
    use_up_window(&mut raw).await;
    for _ in 0..2 * LIMIT {
        let call = Kind::Unary.spawn(&pool, ask(Do::Echo, "hello"));
        let stream = soon(raw.opened()).await;
        raw.answer(stream).await.unwrap();
        soon(call).await.unwrap().unwrap();
        assert_eq!(soon(raw.reset_of(stream)).await, code::CANCEL);
    }
    unread.abort();
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn an_answer_before_a_request_that_its_stream_has_no_room_for_ends_it() {
    const LIMIT: u32 = 2;
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_connections(1).build().unwrap();
    let mut connection = None;
    for _ in 0..2 * LIMIT {
        let call = Kind::Unary.spawn(&pool, ask(Do::Echo, "x".repeat(10_000)));
        if connection.is_none() {
            let mut raw = Raw::mute(soon(peer.accept_tcp()).await.unwrap()).await.unwrap();
            let windows = (setting::INITIAL_WINDOW_SIZE, 1000);
            raw.settings(&[(setting::MAX_CONCURRENT_STREAMS, LIMIT), windows]).await.unwrap();
            connection = Some(raw);
        }
        let raw = connection.as_mut().unwrap();
        let stream = soon(raw.opened()).await;
        raw.answer(stream).await.unwrap();
        soon(call).await.unwrap().unwrap();
        assert_eq!(soon(raw.reset_of(stream)).await, code::CANCEL);
    }
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn an_answer_before_a_request_that_is_sent_but_for_the_window_ends_it() {
    let (peer, pool) = peer_and_pool().await;
    let mut connection = None;
    for kind in STREAMED {
        let (send, receive) = mpsc::channel::<Ask>(1);
        let more = Asks::new(ReceiverStream::new(receive));
        let call = kind.begin(pool.channel(), ask(Do::Echo, "hello"), more, None);
        let call = tokio::spawn(async move { call.await?.rest().await });
        let raw = match &mut connection {
            Some(raw) => raw,
            none => none.insert(soon(peer.accept_raw(100)).await.unwrap()),
        };
        let stream = soon(raw.opened()).await;
        // All of it is with HTTP/2 then, and half of it has no room.
        send.send(ask(Do::Echo, "x".repeat(1 << 17))).await.unwrap();
        drop(send);
        use_up_window(raw).await;
        raw.answer(stream).await.unwrap();
        assert_eq!(soon(call).await.unwrap().unwrap().len(), 1, "{kind:?}");
        soon(raw.reset_of(stream)).await;
        raw.window_update(0, 1 << 17).await.unwrap();
        slot_is_one(raw, &pool, stream).await;
    }
}

/// h2 remembers the streams that this side has reset, so as to pass over what comes late for them, but only so many.
#[tokio::test]
async fn calls_that_are_complete_are_not_remembered_like_cancelled_ones() {
    const MANY: u32 = 1100;
    /// More than a window.
    const LARGE: usize = 70 << 10;
    /// Streams below this are first attempts.
    const FAIL: u32 = 2 * MANY;
    let again = RetryPolicy::new(2, [Code::Unavailable]).initial_backoff(Duration::from_millis(1));
    for (kind, size, fails) in [
        (Kind::ClientStream, 5, false),
        (Kind::Unary, 20 << 10, false),
        (Kind::Unary, LARGE, false),
        (Kind::Unary, LARGE, true),
    ] {
        let peer = Peer::listen().await.unwrap();
        let builder = ChannelPool::builder(peer.uri()).max_connections(1);
        let builder = builder.max_streams_per_connection(MANY as usize);
        let pool = builder.retry_policy(MethodName::all(), again.clone()).build().unwrap();
        let calls: Vec<_> =
            (0..MANY).map(|_| kind.spawn(&pool, ask(Do::Echo, "x".repeat(size)))).collect();
        let mut raw = soon(peer.accept_raw(u32::MAX)).await.unwrap();
        let (mut opened, mut answered) = (0, 0);
        let mut ended = Vec::new();
        while answered < MANY {
            match soon(raw.hear()).await {
                Heard::Open(stream) => {
                    opened += 1;
                    for stream in [stream, 0] {
                        raw.window_update(stream, 1 << 17).await.unwrap();
                    }
                }
                Heard::End(stream) => ended.push(stream),
                heard => assert!(matches!(heard, Heard::Data(..)), "{heard:?}"),
            }
            // All calls begin before any is answered.
            if opened < MANY {
                continue;
            }
            for stream in ended.drain(..) {
                if fails && stream < FAIL {
                    raw.trailers_only(stream, "14").await.unwrap();
                } else {
                    raw.answer(stream).await.unwrap();
                    answered += 1;
                }
            }
        }
        for call in calls {
            soon(call).await.unwrap().unwrap();
        }
        let call = Kind::Unary.spawn(&pool, ask(Do::Echo, "too late"));
        let (stream, _) = soon(raw.request()).await;
        call.abort();
        soon(raw.reset_of(stream)).await;
        // What was on its way meanwhile.
        raw.answer(stream).await.unwrap();
        // A pong goes before what else there is to say.
        for ping in [[1; 8], [2; 8]] {
            raw.ping(ping).await.unwrap();
            soon(raw.ponged()).await.unwrap();
        }
        assert_eq!(raw.kept(), [], "{kind:?} of {size} bytes, {fails}: it is passed over");
    }
}
