//! The four kinds of calls through a generated client, and where their stream slots go.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use common::acts::{Act, play};
use common::{all_slots_free, ask, client, soon};
use pool_tonic::{ChannelPool, ConnectivityState};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::{Ask, Do};
use pool_tonic_testing::raw::message;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

async fn server_and_pool() -> (EchoServer, ChannelPool) {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    (server, pool)
}

#[tokio::test]
async fn all_four_kinds_of_calls_are_answered_over_one_connection() {
    let (server, pool) = server_and_pool().await;
    let mut client = client(&pool);
    assert_eq!(pool.state(), ConnectivityState::Idle);

    let answer = soon(client.unary(ask(Do::Echo))).await.unwrap();
    assert_eq!(answer.into_inner().text, "hello");

    let answers = soon(client.server_stream(ask(Do::Echo))).await.unwrap();
    let answers: Vec<_> = soon(answers.into_inner().collect()).await;
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(Result::is_ok));

    let asks = tokio_stream::iter([ask(Do::Echo), ask(Do::Echo)]);
    let answer = soon(client.client_stream(asks)).await.unwrap();
    assert_eq!(answer.into_inner().messages, 2);

    let (send, receive) = mpsc::channel(1);
    let answers = client.bidi(ReceiverStream::new(receive));
    let mut answers = soon(answers).await.unwrap().into_inner();
    for _ in 0..5 {
        send.send(ask(Do::Echo)).await.unwrap();
        assert!(soon(answers.message()).await.unwrap().is_some());
    }
    assert_eq!(pool.status().streams, 1, "held until the trailers");
    drop(send);
    assert!(soon(answers.message()).await.unwrap().is_none());

    all_slots_free(&pool).await;
    let status = pool.status();
    assert_eq!((status.ready, status.idle, status.connecting), (1, 1, 0));
    assert_eq!(status.state, ConnectivityState::Ready);
    let counters = pool.counters();
    assert_eq!(counters.calls_started, 4);
    assert_eq!(counters.calls_ended.get(Code::Ok), 4);
    assert_eq!(counters.connections_opened, 1);
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.status, snapshot.counters), (status, counters));
    assert_eq!((snapshot.connections.size, snapshot.connection_counters.gets_ok), (1, 4));
    assert_eq!(server.books().now().connections, 1);
}

#[tokio::test]
async fn a_request_has_no_header_of_connections_of_http_1() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut calls = play(peer, &[Act::Answer]);
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    let seen = soon(calls.recv()).await.unwrap();
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("te"), Some("trailers"));
}

#[tokio::test]
async fn an_answer_of_trailers_only_frees_its_slot() {
    let (_server, pool) = server_and_pool().await;
    for _ in 0..3 {
        let status = soon(client(&pool).unary(ask(Do::Fail))).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "hello");
        assert_eq!(pool.status().streams, 0);
    }
    let status = soon(client(&pool).server_stream(ask(Do::Fail))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(pool.status().streams, 0);
    assert_eq!(pool.counters().calls_ended.get(Code::InvalidArgument), 4);
}

#[tokio::test]
async fn a_complete_answer_frees_its_slot_with_its_message_and_is_counted_as_the_server_said() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).max_connections(1).build().unwrap();
    let call = tokio::spawn({
        let mut client = client(&pool);
        async move { client.server_stream(ask(Do::Echo)).await }
    });
    let mut raw = soon(peer.accept_raw(10)).await.unwrap();
    let (stream, _) = soon(raw.request()).await;
    raw.headers(stream).await.unwrap();
    let mut answers = soon(call).await.unwrap().unwrap().into_inner();
    raw.data(stream, &message("one")).await.unwrap();
    raw.trailers(stream, "5").await.unwrap();
    raw.ping([1; 8]).await.unwrap();
    assert_eq!(soon(raw.ponged()).await, Some([1; 8]), "all of it is there");
    assert_eq!(pool.status().streams, 1);
    assert_eq!(soon(answers.message()).await.unwrap().unwrap().text, "one");
    assert_eq!(pool.status().streams, 0, "nothing of it is to come");

    drop(answers);
    assert_eq!(pool.counters().calls_ended.get(Code::NotFound), 1);
    assert_eq!(pool.counters().calls_ended.total(), 1);
    raw.ping([2; 8]).await.unwrap();
    assert_eq!(soon(raw.ponged()).await, Some([2; 8]));
    assert_eq!(raw.kept(), [], "there was nothing to reset");
}

#[tokio::test]
async fn an_error_within_a_stream_frees_its_slot() {
    let (_server, pool) = server_and_pool().await;
    let asks = tokio_stream::iter([ask(Do::Echo), ask(Do::Fail)]);
    let answers = soon(client(&pool).bidi(asks)).await.unwrap();
    let answers: Vec<_> = soon(answers.into_inner().collect()).await;
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1].as_ref().unwrap_err().code(), Code::InvalidArgument);
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn a_dropped_future_cancels_the_call_and_frees_its_slot() {
    let (server, pool) = server_and_pool().await;
    let mut client = client(&pool);
    {
        let call = client.unary(ask(Do::Hang));
        tokio::select! {
            _ = call => panic!("it hangs"),
            _ = server.books().until(|now| now.active == 1) => {}
        }
    }
    assert_eq!(pool.status().streams, 0);
    soon(server.books().until(|now| now.active == 0)).await;
    assert_eq!(pool.counters().calls_ended.get(Code::Cancelled), 1);
}

#[tokio::test]
async fn a_dropped_body_cancels_the_call_and_frees_its_slot() {
    let (server, pool) = server_and_pool().await;
    let answers = soon(client(&pool).server_stream(ask(Do::Hang))).await.unwrap();
    let mut answers = answers.into_inner();
    assert!(soon(answers.message()).await.unwrap().is_some());
    assert_eq!(pool.status().streams, 1);
    drop(answers);
    assert_eq!(pool.status().streams, 0);
    soon(server.books().until(|now| now.active == 0)).await;
    assert_eq!(pool.counters().calls_ended.get(Code::Cancelled), 1);
}

#[tokio::test]
async fn dropping_the_answers_stops_the_request_stream() {
    let (server, pool) = server_and_pool().await;
    let (send, receive) = mpsc::channel::<Ask>(1);
    let answers = soon(client(&pool).bidi(ReceiverStream::new(receive))).await.unwrap();
    assert_eq!(pool.status().streams, 1);
    drop(answers);
    soon(send.closed()).await;
    all_slots_free(&pool).await;
    soon(server.books().until(|now| now.active == 0)).await;
}

#[tokio::test]
async fn dropping_a_streaming_call_before_its_answer_stops_the_request_stream() {
    let (server, pool) = server_and_pool().await;
    let (send, receive) = mpsc::channel::<Ask>(1);
    let mut client = client(&pool);
    {
        let call = client.client_stream(ReceiverStream::new(receive));
        tokio::select! {
            _ = call => panic!("it waits for more"),
            _ = server.books().until(|now| now.active == 1) => {}
        }
    }
    soon(send.closed()).await;
    all_slots_free(&pool).await;
    soon(server.books().until(|now| now.active == 0)).await;
}

#[tokio::test]
async fn an_early_answer_ends_the_request_stream() {
    let (_server, pool) = server_and_pool().await;
    let (send, receive) = mpsc::channel(1);
    send.send(ask(Do::Early)).await.unwrap();
    let answer = soon(client(&pool).client_stream(ReceiverStream::new(receive))).await.unwrap();
    assert_eq!(answer.into_inner().messages, 1);
    soon(send.closed()).await;
    all_slots_free(&pool).await;
    assert_eq!(pool.counters().calls_ended.get(Code::Ok), 1);
}

#[tokio::test]
async fn an_error_of_the_request_itself_reaches_the_caller() {
    let (_server, pool) = server_and_pool().await;
    let mut client = client(&pool).max_encoding_message_size(1);
    let unary = soon(client.unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(unary.code(), Code::OutOfRange);
    let (send, receive) = mpsc::channel(1);
    let (streamed, ()) = soon(async {
        tokio::join!(client.client_stream(ReceiverStream::new(receive)), async {
            send.send(ask(Do::Echo)).await.unwrap();
            send.closed().await;
        })
    })
    .await;
    assert_eq!(streamed.unwrap_err().code(), Code::OutOfRange);
    all_slots_free(&pool).await;
    assert_eq!(pool.counters().calls_ended.get(Code::OutOfRange), 2);
}

#[tokio::test]
async fn a_request_stream_that_panics_fails_its_call() {
    let (server, pool) = server_and_pool().await;
    let asks = tokio_stream::iter(0..3).map(|n| {
        assert!(n < 2, "a panic that this test asks for");
        ask(Do::Echo)
    });
    let (send, receive) = mpsc::channel::<Ask>(1);
    // Not ready at first, so that it panics in the pump and not in the caller's task.
    let asks = ReceiverStream::new(receive).chain(asks);
    let mut client = client(&pool);
    let call = tokio::spawn(async move { client.client_stream(asks).await });
    soon(server.books().until(|now| now.active == 1)).await;
    drop(send);
    let status = soon(call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains("panicked"), "{status}");
    all_slots_free(&pool).await;
    soon(server.books().until(|now| now.active == 0)).await;
}

#[test]
fn a_pool_outlives_the_runtime_of_its_connections() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    };
    let servers = runtime();
    let server = servers.block_on(EchoServer::start()).unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    for calls in 1..=3 {
        let runtime = runtime();
        let answer = runtime.block_on(soon(client(&pool).unary(ask(Do::Echo))));
        assert_eq!(answer.unwrap().into_inner().text, "hello");
        assert_eq!(pool.status().streams, 0);
        assert_eq!(pool.counters().connections_opened, calls);
        drop(runtime);
    }
}

#[tokio::test]
async fn messages_larger_than_every_window_arrive_whole() {
    let (_server, pool) = server_and_pool().await;
    // Beyond the window of a stream (2 MiB here, 64 KiB at the server) and of the connection.
    let size = 8 << 20;
    let big = Ask { text: "x".repeat(size), ..ask(Do::Echo) };
    let mut client =
        client(&pool).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX);
    let pieces = (0..64).map(move |_| Ask { text: "y".repeat(size / 64), ..ask(Do::Echo) });
    let answers = soon(client.bidi(tokio_stream::iter(pieces))).await.unwrap();
    let answers: Vec<_> = soon(answers.into_inner().collect()).await;
    let received: usize = answers.iter().map(|answer| answer.as_ref().unwrap().text.len()).sum();
    assert_eq!(received, size);
    // The server takes 4 MiB at most.
    let refused = soon(client.unary(big)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let half = Ask { text: "x".repeat(3 << 20), ..ask(Do::Echo) };
    let answer = soon(client.unary(half)).await.unwrap();
    assert_eq!(answer.into_inner().text.len(), 3 << 20);
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn dropping_the_pool_and_its_channels_closes_its_connections() {
    let (server, pool) = server_and_pool().await;
    soon(client(&pool).unary(ask(Do::Echo))).await.unwrap();
    let mut state = pool.watch();
    assert_eq!(state.state(), ConnectivityState::Ready);
    drop(pool);
    // The address lives as long as its connection's task.
    soon(state.wait_for(|state| state == ConnectivityState::Idle)).await;
    soon(server.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_are_shared_by_few_connections() {
    let (server, pool) = server_and_pool().await;
    let calls = (0..200).map(|n| {
        let mut client = client(&pool);
        tokio::spawn(async move {
            let text = n.to_string();
            for _ in 0..10 {
                let ask = Ask { text: text.clone(), ..ask(Do::Echo) };
                let answer = client.unary(ask).await?.into_inner();
                assert_eq!(answer.text, text);
            }
            Ok::<(), tonic::Status>(())
        })
    });
    for call in calls.collect::<Vec<_>>() {
        soon(call).await.unwrap().unwrap();
    }
    all_slots_free(&pool).await;
    let connections = server.books().now().connections;
    assert!((1..=4).contains(&connections), "{connections}");
    assert_eq!(pool.counters().calls_ended.get(Code::Ok), 2000);
}
