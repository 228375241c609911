//! The channel among what is built around channels: generated clients, interceptors, compression, limits, layers.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;

use std::time::Duration;

use common::acts::play;
use common::{all_slots_free, ask, client, soon};
use pool_tonic::{ChannelPool, PooledChannel, ServedBy};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Ask, Do};
use tokio::task::JoinSet;
use tokio_test::{assert_ready, task};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::CompressionEncoding;
use tonic::codegen::StdError;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use tower::ServiceBuilder;
use tower::ServiceExt as _;
use tower::util::{BoxCloneService, BoxService};

async fn server_and_pool() -> (EchoServer, ChannelPool) {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    (server, pool)
}

#[tokio::test]
async fn interceptors_add_to_requests_and_turn_calls_away() {
    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut calls = play(peer, &[]);
    let token = |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", MetadataValue::from_static("Bearer a"));
        Ok(request)
    };
    let mut client = EchoClient::with_interceptor(pool.channel(), token);
    soon(client.unary(ask(Do::Echo))).await.unwrap();
    let call = soon(calls.recv()).await.unwrap();
    assert_eq!(call.header("authorization"), Some("Bearer a"));

    let no = |_: Request<()>| Err(Status::unauthenticated("who are you?"));
    let mut client = EchoClient::with_interceptor(pool.channel(), no);
    let status = soon(client.unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(pool.counters().calls_started, 1, "it did not come so far");
}

#[tokio::test]
async fn compressed_messages_go_both_ways() {
    let (_server, pool) = server_and_pool().await;
    let zipped = |channel: PooledChannel| {
        EchoClient::new(channel)
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip)
    };
    let text = "again and ".repeat(10_000);
    let long = Ask { text: text.clone(), ..ask(Do::Echo) };
    let answer = soon(zipped(pool.channel()).unary(long.clone())).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(answer.into_inner().text, text);
    let asks = tokio_stream::iter([long.clone(), long.clone()]);
    let mut answers = soon(zipped(pool.channel()).bidi(asks)).await.unwrap().into_inner();
    for _ in 0..2 {
        assert_eq!(soon(answers.message()).await.unwrap().unwrap().text, text);
    }

    let peer = Peer::listen().await.unwrap();
    let pool = ChannelPool::builder(peer.uri()).build().unwrap();
    let mut calls = play(peer, &[]);
    soon(zipped(pool.channel()).unary(long)).await.unwrap();
    let call = soon(calls.recv()).await.unwrap();
    assert_eq!(call.header("grpc-encoding"), Some("gzip"));
    assert!(call.body.len() < text.len() / 10, "{} bytes", call.body.len());
}

#[tokio::test]
async fn message_size_limits_hold_in_both_directions() {
    let (_server, pool) = server_and_pool().await;
    let long = || Ask { text: "x".repeat(1000), ..ask(Do::Echo) };
    let mut sends_little = client(&pool).max_encoding_message_size(100);
    let status = soon(sends_little.unary(long())).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let mut takes_little = client(&pool).max_decoding_message_size(100);
    let status = soon(takes_little.unary(long())).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let status = soon(takes_little.server_stream(long())).await.unwrap();
    let status = soon(status.into_inner().message()).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    soon(client(&pool).unary(long())).await.unwrap();
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn tower_layers_go_around_it() {
    let (server, pool) = server_and_pool().await;
    let channel = ServiceBuilder::new()
        .map_request(|mut request: http::Request<Body>| {
            request.headers_mut().insert("x-layer", http::HeaderValue::from_static("1"));
            request
        })
        .map_response(|response: http::Response<Body>| {
            assert!(response.extensions().get::<ServedBy>().is_some());
            response
        })
        .timeout(Duration::from_millis(100))
        .service(pool.channel());
    let mut client = EchoClient::new(channel);
    soon(client.unary(ask(Do::Echo))).await.unwrap();
    let status = soon(client.unary(ask(Do::Hang))).await.unwrap_err();
    let elapsed = std::error::Error::source(&status).unwrap();
    assert!(elapsed.is::<tower::timeout::error::Elapsed>(), "{status:?}");
    all_slots_free(&pool).await;
    soon(server.books().until(|now| now.active == 0)).await;
    assert_eq!(pool.counters().calls_ended.get(Code::Cancelled), 1);
}

#[tokio::test]
async fn it_may_be_boxed_with_or_without_clone() {
    let (_server, pool) = server_and_pool().await;
    let boxed: BoxService<_, _, Status> = BoxService::new(pool.channel());
    soon(EchoClient::new(boxed).unary(ask(Do::Echo))).await.unwrap();
    let boxed: BoxCloneService<_, _, Status> = BoxCloneService::new(pool.channel());
    let mut client = EchoClient::new(boxed);
    soon(client.clone().unary(ask(Do::Echo))).await.unwrap();
    soon(client.unary(ask(Do::Echo))).await.unwrap();
    // Its errors may be those of a layered stack, too.
    let boxed: BoxCloneService<_, _, StdError> =
        pool.channel().map_err(StdError::from).boxed_clone();
    soon(EchoClient::new(boxed).unary(ask(Do::Echo))).await.unwrap();
}

/// As libraries write it that take any channel.
async fn greet<T>(channel: T, text: &str) -> Result<String, Status>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
    let ask = Ask { text: text.to_owned(), ..Ask::default() };
    Ok(EchoClient::new(channel).unary(ask).await?.into_inner().text)
}

#[tokio::test]
async fn functions_over_any_channel_take_it() {
    let (_server, pool) = server_and_pool().await;
    assert_eq!(soon(greet(pool.channel(), "hi")).await.unwrap(), "hi");
    assert_eq!(soon(greet(pool.exclusive().await.unwrap(), "you")).await.unwrap(), "you");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_are_used_at_once() {
    let (server, pool) = server_and_pool().await;
    let client = client(&pool);
    let mut calls = JoinSet::new();
    for n in 0..50 {
        let mut client = client.clone();
        calls.spawn(async move {
            let text = n.to_string();
            let answer = client.unary(Ask { text: text.clone(), ..ask(Do::Echo) }).await;
            assert_eq!(answer.unwrap().into_inner().text, text);
        });
    }
    soon(calls.join_all()).await;
    assert_eq!(server.books().now().calls, 50);
}

#[test]
fn calls_that_need_a_clock_fail_where_there_is_none() {
    let one = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (_server, pool) = one.block_on(server_and_pool());
    one.block_on(client(&pool).unary(ask(Do::Echo))).unwrap();
    let mut exclusive = EchoClient::new(one.block_on(pool.exclusive()).unwrap());
    let running = one.block_on(exclusive.server_stream(ask(Do::Hang))).unwrap();
    let bounded = || {
        let mut request = Request::new(ask(Do::Echo));
        request.set_timeout(Duration::from_secs(10));
        request
    };
    let no_clock = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fails = |answered: Result<_, Status>| {
        let status = answered.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("runtime that keeps time"), "{status}");
    };
    fails(no_clock.block_on(client(&pool).unary(bounded())));
    fails(no_clock.block_on(exclusive.unary(ask(Do::Echo))));
    // Nor is there one where there is no runtime.
    let mut shared = client(&pool);
    fails(assert_ready!(task::spawn(shared.unary(bounded())).poll()));
    fails(assert_ready!(task::spawn(exclusive.unary(ask(Do::Echo))).poll()));
    one.block_on(async {
        drop(running);
        soon(exclusive.unary(ask(Do::Echo))).await.unwrap();
        all_slots_free(&pool).await;
    });
}

#[test]
fn two_runtimes_use_one_pool() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    };
    let (one, other) = (runtime(), runtime());
    let (server, pool) = one.block_on(server_and_pool());
    let calls = |runtime: &tokio::runtime::Runtime| {
        let client = client(&pool);
        runtime.spawn(async move {
            for _ in 0..20 {
                let mut client = client.clone();
                client.unary(ask(Do::Echo)).await?;
                let asks = tokio_stream::iter([ask(Do::Echo), ask(Do::Echo)]);
                assert_eq!(client.client_stream(asks).await?.into_inner().messages, 2);
            }
            Ok::<(), Status>(())
        })
    };
    let (here, there) = (calls(&one), calls(&other));
    one.block_on(async {
        soon(here).await.unwrap().unwrap();
        soon(there).await.unwrap().unwrap();
    });
    assert_eq!(server.books().now().calls, 80);
    one.block_on(all_slots_free(&pool));
}
