//! Retry by configuration (gRFC A6): what is sent again although it may have been processed, and what not.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::time::Duration;

use common::acts::{Act, Calls, play, seen};
use common::{all_slots_free, ask, client, dead_uri, soon, until};
use h2::Reason;
use memory::{eventually, in_memory, pass};
use pool_tonic::{ChannelPool, ChannelPoolBuilder, MethodName, RetryPolicy};
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::{Ask, Do};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

const SERVICE: &str = "pool.testing.Echo";

/// Quick, so that no test waits for long.
fn quick(attempts: u32, codes: impl IntoIterator<Item = Code>) -> RetryPolicy {
    let short = Duration::from_millis(1);
    RetryPolicy::new(attempts, codes).initial_backoff(short).max_backoff(short)
}

async fn peer(acts: &[Act]) -> (Calls, ChannelPoolBuilder) {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri());
    (play(peer, acts), pool)
}

const UNAVAILABLE: Act = Act::Fail(Code::Unavailable);

#[tokio::test]
async fn nothing_that_failed_is_sent_again_by_default() {
    let (mut calls, pool) = peer(&[UNAVAILABLE]).await;
    let pool = pool.build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!((status.code(), seen(&mut calls)), (Code::Unavailable, 1));
    assert_eq!(pool.counters().retries, 0);
}

#[tokio::test]
async fn a_call_that_failed_by_one_of_the_codes_is_sent_again_and_the_server_told_so() {
    let (mut calls, pool) = peer(&[UNAVAILABLE, Act::Fail(Code::Aborted)]).await;
    let policy = quick(3, [Code::Unavailable, Code::Aborted]);
    let pool = pool.retry_policy(MethodName::all(), policy).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    let mut bodies = Vec::new();
    for previous in [None, Some("1"), Some("2")] {
        let call = soon(calls.recv()).await.unwrap();
        assert_eq!(call.header("grpc-previous-rpc-attempts"), previous);
        bodies.push(call.body);
    }
    assert!(!bodies[0].is_empty());
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    assert_eq!(seen(&mut calls), 0);
    let counters = pool.counters();
    assert_eq!((counters.retries, counters.transparent_retries), (2, 0));
    assert_eq!((counters.calls_started, counters.calls_ended.get(Code::Ok)), (1, 1));
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn attempts_are_bounded_and_the_last_status_is_the_callers() {
    let acts = [UNAVAILABLE, UNAVAILABLE, Act::Fail(Code::Aborted), Act::Answer];
    let (mut calls, pool) = peer(&acts).await;
    let policy = quick(3, [Code::Unavailable, Code::Aborted]);
    let pool = pool.retry_policy(MethodName::service(SERVICE), policy).build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!((status.code(), seen(&mut calls)), (Code::Aborted, 3));
    assert_eq!(status.message(), "so the script says");
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn no_policy_makes_more_than_five_attempts() {
    let (mut calls, pool) = peer(&[UNAVAILABLE; 10]).await;
    let pool = pool.retry_policy(MethodName::all(), quick(9, [Code::Unavailable])).build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!((status.code(), seen(&mut calls)), (Code::Unavailable, 5));
}

#[tokio::test]
async fn other_codes_and_other_methods_are_not_sent_again() {
    let (mut calls, pool) = peer(&[Act::Fail(Code::Internal), UNAVAILABLE, UNAVAILABLE]).await;
    let policy = quick(3, [Code::Unavailable]);
    let pool = pool
        .retry_policy(MethodName::all(), policy.clone())
        .retry_policy(MethodName::method(SERVICE, "ServerStream"), None)
        .build()
        .unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!((status.code(), seen(&mut calls)), (Code::Internal, 1));
    let status = soon(client(&pool).server_stream(ask(Do::Echo))).await.unwrap_err();
    assert_eq!((status.code(), seen(&mut calls)), (Code::Unavailable, 1));
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(seen(&mut calls), 2);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_the_callers() {
    let late = [Act::FailLate(Code::Unavailable), Act::ResetLate(Reason::CANCEL)];
    let (mut calls, pool) = peer(&late).await;
    let pool = pool.retry_policy(MethodName::all(), quick(3, [Code::Unavailable])).build().unwrap();
    for _ in late {
        let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
        assert_eq!((status.code(), seen(&mut calls)), (Code::Unavailable, 1), "{status}");
    }
    assert_eq!(pool.counters().retries, 0);
}

#[tokio::test]
async fn a_status_in_headers_that_do_not_end_the_answer_is_one_like_others() {
    let (mut calls, pool) = peer(&[Act::FailOpen(Code::Unavailable)]).await;
    let pool = pool.build().unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "so the script says"));
    let ended = pool.counters().calls_ended;
    assert_eq!((ended.get(Code::Unavailable), ended.get(Code::Cancelled)), (1, 0));
    all_slots_free(&pool).await;
    assert_eq!(seen(&mut calls), 1);

    let (mut calls, pool) = peer(&[Act::FailOpen(Code::Unavailable)]).await;
    let pool = pool.retry_policy(MethodName::all(), quick(2, [Code::Unavailable])).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!((seen(&mut calls), pool.counters().retries), (2, 1));
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_answer_is_sent_again() {
    let acts = [Act::Reset(Reason::CANCEL), Act::Reset(Reason::INTERNAL_ERROR)];
    let (mut calls, pool) = peer(&acts).await;
    let policy = quick(4, [Code::Unavailable, Code::Internal]);
    let pool = pool.retry_policy(MethodName::all(), policy).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(seen(&mut calls), 3);
}

#[tokio::test]
async fn an_http_error_is_judged_by_the_code_that_it_stands_for() {
    let page = "<html>Service Unavailable</html>";
    let acts = [Act::Http(503, ""), Act::Http(503, page), Act::Http(429, page)];
    let (mut calls, pool) = peer(&[&acts[..], &[Act::Answer, Act::Http(403, page)]].concat()).await;
    let policy = quick(4, [Code::Unavailable]);
    let pool = pool.retry_policy(MethodName::all(), policy).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(seen(&mut calls), 4);
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!((status.code(), seen(&mut calls)), (Code::PermissionDenied, 1));
    assert_eq!(pool.counters().retries, 3);
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn what_was_not_processed_is_no_attempt() {
    let refused = Act::Reset(Reason::REFUSED_STREAM);
    let (mut calls, pool) = peer(&[refused, UNAVAILABLE, refused, refused]).await;
    let pool = pool.retry_policy(MethodName::all(), quick(2, [Code::Unavailable])).build().unwrap();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    let previous = [None, None, Some("1"), Some("1"), Some("1")];
    for previous in previous {
        let call = soon(calls.recv()).await.unwrap();
        assert_eq!(call.header("grpc-previous-rpc-attempts"), previous);
    }
    let counters = pool.counters();
    assert_eq!((counters.retries, counters.transparent_retries), (1, 3));
}

#[tokio::test]
async fn a_missing_connection_is_a_failure_like_others() {
    let (uri, _port) = dead_uri();
    let pool = ChannelPool::builder(uri)
        .retry_policy(MethodName::all(), quick(3, [Code::Unavailable]))
        .build()
        .unwrap();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("refused"), "{status}");
    assert_eq!(pool.counters().retries, 2);
}

#[tokio::test]
async fn a_pool_that_is_closed_is_no_failure_of_a_server() {
    let (_calls, pool) = peer(&[]).await;
    let pool = pool.retry_policy(MethodName::all(), quick(5, [Code::Unavailable])).build().unwrap();
    pool.close_now();
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("is closed"), "{status}");
    assert_eq!(pool.counters().retries, 0);
}

#[tokio::test]
async fn a_pool_that_is_closed_ends_the_pauses_between_attempts() {
    let (mut calls, pool) = peer(&[Act::Push(Code::Unavailable, "29000")]).await;
    let pool = pool.retry_policy(MethodName::all(), quick(5, [Code::Unavailable])).build().unwrap();
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.unary(ask(Do::Echo)).await });
    soon(calls.recv()).await.unwrap();
    all_slots_free(&pool).await;
    soon(pool.close(Duration::from_secs(60))).await;
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("is closed"), "{status}");
    assert_eq!(pool.counters().retries, 0);
}

#[tokio::test(start_paused = true)]
async fn all_waits_of_a_call_together_are_bounded_by_the_wait_timeout() {
    let (pool, mut network) = in_memory();
    let pool = pool
        .max_connections(1)
        .max_streams_per_connection(1)
        .wait_timeout(Duration::from_secs(10))
        .retry_policy(MethodName::all(), quick(5, [Code::Unavailable]))
        .build()
        .unwrap();
    let spawn = || {
        let mut client = client(&pool);
        tokio::spawn(async move { client.unary(ask(Do::Echo)).await })
    };
    let first = spawn();
    let mut peer = network.accept(100).await;
    let (stream, _) = eventually(peer.request()).await;
    let start = Instant::now();
    let call = spawn();
    pass(6).await;
    peer.answer(stream).await.unwrap();
    eventually(first).await.unwrap().unwrap();
    let (stream, _) = eventually(peer.request()).await;
    // What it spends with the server counts as no wait.
    pass(15).await;
    let next = spawn();
    until(|| pool.status().waiting == 1).await;
    peer.trailers_only(stream, "14").await.unwrap();
    eventually(peer.request()).await;
    let status = eventually(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("no stream slot"), "{status}");
    let took = start.elapsed();
    assert!((15 + 10..15 + 12).contains(&took.as_secs()), "{took:?}");
    assert_eq!(pool.counters().retries, 1, "the wait itself is not retried");
    next.abort();
}

#[tokio::test]
async fn the_servers_word_on_when_to_come_back_goes_before_back_off() {
    let (mut calls, pool) = peer(&[Act::Push(Code::Unavailable, "120")]).await;
    // Its own delay would be over an hour.
    let slow = Duration::from_secs(5000);
    let policy = RetryPolicy::new(2, [Code::Unavailable]).initial_backoff(slow).max_backoff(slow);
    let pool = pool.retry_policy(MethodName::all(), policy).build().unwrap();
    let start = Instant::now();
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
    assert_eq!(seen(&mut calls), 2);
}

#[tokio::test]
async fn a_server_that_says_no_more_is_left_alone() {
    // The last one asks for a pause that is longer than a call without a deadline waits for anything.
    for pushback in ["-1", "never", "40000"] {
        let (mut calls, pool) = peer(&[Act::Push(Code::Unavailable, pushback)]).await;
        let pool =
            pool.retry_policy(MethodName::all(), quick(3, [Code::Unavailable])).build().unwrap();
        let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
        assert_eq!((status.code(), seen(&mut calls)), (Code::Unavailable, 1), "{pushback}");
    }
}

#[tokio::test]
async fn the_pools_budget_stops_retries_until_calls_succeed() {
    let (mut calls, pool) = peer(&[UNAVAILABLE; 5]).await;
    let pool = pool
        .retry_policy(MethodName::all(), quick(5, [Code::Unavailable]))
        .retry_throttling(4, 1.0)
        .build()
        .unwrap();
    // 3 of 4 tokens are left after the first failure, and 2 after the second.
    let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!((status.code(), seen(&mut calls)), (Code::Unavailable, 2));
    for _ in 2..5 {
        let status = soon(client(&pool).unary(ask(Do::Echo))).await.unwrap_err();
        assert_eq!((status.code(), seen(&mut calls)), (Code::Unavailable, 1));
    }
    assert_eq!(pool.counters().retries_throttled, 4);
    for _ in 0..4 {
        soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    }
    assert_eq!(pool.counters().retries, 1);
}

#[tokio::test]
async fn one_deadline_covers_all_attempts_and_the_server_is_told_what_is_left() {
    let (mut calls, pool) = peer(&[Act::Push(Code::Unavailable, "30"), Act::Hang]).await;
    let pool = pool.retry_policy(MethodName::all(), quick(5, [Code::Unavailable])).build().unwrap();
    let mut request = Request::new(ask(Do::Echo));
    request.set_timeout(Duration::from_millis(200));
    let status = soon(client(&pool).unary(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("to answer"), "{status}");
    let micros = |text: &str| text.trim_end_matches('u').parse::<u32>().unwrap();
    let mut timeouts = Vec::new();
    for _ in 0..2 {
        let call = soon(calls.recv()).await.unwrap();
        timeouts.push(micros(call.header("grpc-timeout").unwrap()));
    }
    assert!(timeouts[1] <= timeouts[0].min(200_000) - 30_000, "{timeouts:?}");
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn a_deadline_that_passes_between_attempts_says_what_it_waited_for() {
    let (mut calls, pool) = peer(&[Act::Push(Code::Unavailable, "60000")]).await;
    let pool = pool.retry_policy(MethodName::all(), quick(5, [Code::Unavailable])).build().unwrap();
    let mut request = Request::new(ask(Do::Echo));
    request.set_timeout(Duration::from_millis(100));
    let status = soon(client(&pool).unary(request)).await.unwrap_err();
    assert_eq!((status.code(), seen(&mut calls)), (Code::DeadlineExceeded, 1));
    assert!(status.message().contains("the next attempt"), "{status}");
    assert!(status.message().contains("so the script says"), "{status}");
}

#[tokio::test]
async fn a_request_stream_is_sent_again_from_its_beginning_while_it_is_kept() {
    let (mut calls, pool) = peer(&[UNAVAILABLE, Act::Reset(Reason::CANCEL)]).await;
    let pool = pool
        .retry_policy(MethodName::all(), quick(5, [Code::Unavailable]))
        .retry_buffer_size(1 << 10)
        .build()
        .unwrap();
    // Not there when it is first looked at, so that it is sent as it comes.
    let (send, receive) = mpsc::channel(1);
    let mut client = client(&pool);
    let call =
        tokio::spawn(async move { client.client_stream(ReceiverStream::new(receive)).await });
    for _ in 0..3 {
        send.send(ask(Do::Echo)).await.unwrap();
    }
    drop(send);
    soon(call).await.unwrap().unwrap();
    let mut bodies = Vec::new();
    for _ in 0..3 {
        bodies.push(soon(calls.recv()).await.unwrap().body);
    }
    assert_eq!(bodies[0].len() % 3, 0);
    assert!(bodies.iter().all(|body| *body == bodies[0] && !body.is_empty()));
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn a_request_stream_beyond_the_buffer_is_not_sent_again() {
    let (mut calls, pool) = peer(&[UNAVAILABLE]).await;
    let pool = pool
        .retry_policy(MethodName::all(), quick(5, [Code::Unavailable]))
        .retry_buffer_size(1 << 10)
        .build()
        .unwrap();
    let (send, receive) = mpsc::channel(1);
    let mut client = client(&pool);
    let call =
        tokio::spawn(async move { client.client_stream(ReceiverStream::new(receive)).await });
    send.send(ask(Do::Echo)).await.unwrap();
    send.send(Ask { text: "x".repeat(1 << 10), ..ask(Do::Echo) }).await.unwrap();
    drop(send);
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!((status.code(), seen(&mut calls)), (Code::Unavailable, 1));
    assert_eq!(status.message(), "so the script says");
    assert_eq!(pool.counters().retries, 0);
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn an_error_of_the_request_itself_is_not_retried() {
    let (mut calls, pool) = peer(&[]).await;
    let every = (1..17).map(Code::from_i32);
    let pool = pool.retry_policy(MethodName::all(), quick(5, every)).build().unwrap();
    let mut client = client(&pool).max_encoding_message_size(1);
    let unary = soon(client.unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(unary.code(), Code::OutOfRange);
    let (send, receive) = mpsc::channel(1);
    let call =
        tokio::spawn(async move { client.client_stream(ReceiverStream::new(receive)).await });
    send.send(ask(Do::Echo)).await.unwrap();
    assert_eq!(soon(call).await.unwrap().unwrap_err().code(), Code::OutOfRange);
    assert_eq!(pool.counters().retries, 0);
    all_slots_free(&pool).await;
    drop(pool);
    while let Ok(call) = calls.try_recv() {
        assert!(call.body.is_empty(), "{call:?}");
    }
}

/// The failure that would be retried is there first, and nobody has looked at it.
#[tokio::test(start_paused = true)]
async fn an_error_of_the_request_goes_before_an_answer_that_would_be_retried() {
    let (pool, mut network) = in_memory();
    let policy = quick(5, [Code::Unavailable]);
    let pool = pool.retry_policy(MethodName::all(), policy).build().unwrap();
    let mut client = client(&pool).max_encoding_message_size(1);
    let (send, receive) = mpsc::channel(1);
    let call =
        tokio::spawn(async move { client.client_stream(ReceiverStream::new(receive)).await });
    let mut peer = network.accept(100).await;
    let stream = eventually(peer.opened()).await;
    peer.trailers_only(stream, "14").await.unwrap();
    send.try_send(ask(Do::Echo)).unwrap();
    assert_eq!(eventually(call).await.unwrap().unwrap_err().code(), Code::OutOfRange);
    assert_eq!(pool.counters().retries, 0);
}

#[tokio::test]
async fn a_dropped_call_is_not_sent_again() {
    let (mut calls, pool) = peer(&[Act::Push(Code::Unavailable, "20000")]).await;
    let pool = pool.retry_policy(MethodName::all(), quick(5, [Code::Unavailable])).build().unwrap();
    {
        let mut client = client(&pool);
        let call = client.unary(ask(Do::Echo));
        tokio::select! {
            _ = call => panic!("it waits for its next attempt"),
            first = soon(calls.recv()) => assert_eq!(first.unwrap().path, "/pool.testing.Echo/Unary"),
        }
    }
    all_slots_free(&pool).await;
    assert_eq!(seen(&mut calls), 0);
    assert_eq!(pool.counters().calls_ended.get(Code::Cancelled), 1);
}

#[test]
fn a_policy_that_breaks_the_specification_is_refused_by_the_name_of_its_field() {
    let build = |policy| {
        let pool = ChannelPool::builder("http://orders:50051");
        pool.retry_policy(MethodName::all(), policy).build().unwrap_err().to_string()
    };
    assert_eq!(
        build(RetryPolicy::new(1, [Code::Unavailable])),
        "retries of *: max_attempts has to be at least 2: the first attempt is one of them"
    );
    assert!(build(RetryPolicy::new(2, [])).contains("codes"));
    let pool = ChannelPool::builder("http://orders:50051").retry_throttling(0, 1.0);
    assert!(pool.build().unwrap_err().to_string().contains("max_tokens"));
}
