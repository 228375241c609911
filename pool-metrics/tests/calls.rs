//! Calls by method and status, against a server on loopback.
#![cfg(feature = "calls")]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn, ready};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use pool_metrics::{CallMetrics, CountedCalls, Registry};
use pool_tonic::{ChannelPool, MethodName, PooledChannel, RetryPolicy};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::proto::echo_client::EchoClient;
use pool_tonic_testing::proto::{Ask, Do};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::service_fn;

const METHODS: [&str; 4] = [
    "pool.testing.Echo/Unary",
    "/pool.testing.Echo/ServerStream",
    "pool.testing.Echo/ClientStream",
    "pool.testing.Echo/Bidi",
];

/// A generous bound: reached only when the behaviour is broken.
async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("it should have happened by now")
}

fn ask(r#do: Do) -> Ask {
    Ask { text: "hello".to_owned(), r#do: r#do.into(), answers: 3 }
}

fn asks(r#do: Do) -> tokio_stream::Iter<std::array::IntoIter<Ask, 2>> {
    tokio_stream::iter([ask(r#do), ask(r#do)])
}

/// A server, a counted client of it, and where its calls are shown.
struct Shop {
    _server: EchoServer,
    _pool: ChannelPool,
    client: EchoClient<CountedCalls<PooledChannel>>,
    registry: Registry,
}

async fn shop(methods: impl IntoIterator<Item = &'static str>) -> Shop {
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let calls = CallMetrics::new(methods);
    let client = EchoClient::new(calls.around(pool.channel()));
    let registry = Registry::new();
    registry.register("shop", &(&pool, &calls)).unwrap();
    Shop { _server: server, _pool: pool, client, registry }
}

/// The value of a series, a whole number, if it is there.
fn value(scrape: &str, name: &str, labels: &str) -> Option<u64> {
    let series = format!("{name}{{pool=\"shop\",{labels}}} ");
    let line = scrape.lines().find_map(|line| line.strip_prefix(&series))?;
    Some(line.parse().unwrap())
}

fn started(registry: &Registry, method: &str) -> u64 {
    let labels = format!("method=\"{method}\"");
    value(&registry.render(), "grpc_client_call_started_total", &labels).unwrap()
}

/// How many calls have ended so, none if none ever has.
fn ended(registry: &Registry, method: &str, status: &str) -> u64 {
    let labels = format!("method=\"{method}\",status=\"{status}\"");
    let name = "grpc_client_call_duration_seconds_count";
    value(&registry.render(), name, &labels).unwrap_or(0)
}

#[tokio::test]
async fn all_four_kinds_of_calls_are_counted_with_the_status_of_their_trailers() {
    let Shop { client, registry, .. } = &mut shop(METHODS).await;
    let echo = "pool.testing.Echo";
    soon(client.unary(ask(Do::Echo))).await.unwrap();
    soon(client.client_stream(asks(Do::Echo))).await.unwrap();
    let mut answers = soon(client.server_stream(ask(Do::Echo))).await.unwrap().into_inner();
    soon(answers.message()).await.unwrap();
    assert_eq!(ended(registry, "pool.testing.Echo/ServerStream", "OK"), 0, "it has not ended");
    while soon(answers.message()).await.unwrap().is_some() {}
    let mut answers = soon(client.bidi(asks(Do::Echo))).await.unwrap().into_inner();
    while soon(answers.message()).await.unwrap().is_some() {}
    for method in ["Unary", "ServerStream", "ClientStream", "Bidi"] {
        let method = format!("{echo}/{method}");
        assert_eq!(started(registry, &method), 1, "{method}");
        assert_eq!(ended(registry, &method, "OK"), 1, "{method}");
    }
    assert_eq!(started(registry, "other"), 0);
}

#[tokio::test]
async fn an_answer_that_is_headers_only_has_the_status_of_its_headers() {
    let Shop { client, registry, .. } = &mut shop(METHODS).await;
    let status = soon(client.unary(ask(Do::Fail))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(ended(registry, "pool.testing.Echo/Unary", "INVALID_ARGUMENT"), 1);
    assert_eq!(ended(registry, "pool.testing.Echo/Unary", "OK"), 0);
}

#[tokio::test]
async fn a_call_or_an_answer_that_is_dropped_was_cancelled() {
    let Shop { client, registry, .. } = &mut shop(METHODS).await;
    {
        let mut call = pin!(client.unary(ask(Do::Hang)));
        assert!(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
    }
    assert_eq!(ended(registry, "pool.testing.Echo/Unary", "CANCELLED"), 1);

    let mut answers = soon(client.server_stream(ask(Do::Hang))).await.unwrap().into_inner();
    soon(answers.message()).await.unwrap().unwrap();
    drop(answers);
    assert_eq!(ended(registry, "pool.testing.Echo/ServerStream", "CANCELLED"), 1);
}

#[tokio::test]
async fn a_call_that_finds_no_server_fails_as_its_caller_sees_it() {
    let Shop { registry, .. } = &shop([]).await;
    let calls = CallMetrics::new(METHODS);
    let pool = ChannelPool::builder("http://127.0.0.1:1").build().unwrap();
    registry.unregister("shop");
    registry.register("shop", &calls).unwrap();
    let mut client = EchoClient::new(calls.around(pool.channel()));
    let status = soon(client.unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let first: &(dyn Error + 'static) = &status;
    let mut causes = std::iter::successors(Some(first), |error| (*error).source());
    assert!(causes.any(<dyn Error>::is::<pool_tonic::ConnectError>), "the cause is there");
    assert_eq!(ended(registry, "pool.testing.Echo/Unary", "UNAVAILABLE"), 1);
}

#[tokio::test]
async fn the_attempts_of_a_call_are_counted_and_how_often_it_was_sent_again() {
    let server = EchoServer::start().await.unwrap();
    let brief = Duration::from_millis(1);
    let policy =
        RetryPolicy::new(3, [Code::InvalidArgument]).initial_backoff(brief).max_backoff(brief);
    let pool = ChannelPool::builder(server.uri()).retry_policy(MethodName::all(), policy);
    let pool = pool.build().unwrap();
    let calls = CallMetrics::new(METHODS);
    let registry = Registry::new();
    registry.register("shop", &calls).unwrap();
    let mut client = EchoClient::new(calls.around(pool.channel()));
    soon(client.unary(ask(Do::Fail))).await.unwrap_err();
    soon(client.unary(ask(Do::Echo))).await.unwrap();
    let scrape = registry.render();
    let of =
        |name, labels| value(&scrape, name, &format!("method=\"pool.testing.Echo/Unary\"{labels}"));
    assert_eq!(of("grpc_client_call_started_total", ""), Some(2));
    assert_eq!(of("grpc_client_attempt_started_total", ""), Some(4));
    let attempts = "grpc_client_attempt_duration_seconds_count";
    assert_eq!(of(attempts, ",status=\"INVALID_ARGUMENT\""), Some(3));
    assert_eq!(of(attempts, ",status=\"OK\""), Some(1));
    assert_eq!(of("grpc_client_call_retries_count", ""), Some(1));
    assert_eq!(of("grpc_client_call_retries_bucket", ",le=\"1\""), Some(0));
    assert_eq!(of("grpc_client_call_retries_bucket", ",le=\"2\""), Some(1));
    assert_eq!(of("grpc_client_call_transparent_retries_count", ""), Some(0));
}

#[tokio::test]
async fn methods_that_are_not_listed_are_counted_together() {
    let Shop { client, registry, .. } = &mut shop(["pool.testing.Echo/Bidi"]).await;
    soon(client.unary(ask(Do::Echo))).await.unwrap();
    soon(client.client_stream(asks(Do::Echo))).await.unwrap();
    assert_eq!(ended(registry, "other", "OK"), 2);
    assert_eq!(started(registry, "pool.testing.Echo/Bidi"), 0);
    assert!(!registry.render().contains("Echo/Unary"));
}

#[tokio::test]
async fn the_channel_of_tonic_is_counted_too() {
    let server = EchoServer::start().await.unwrap();
    let calls = CallMetrics::new(METHODS);
    let registry = Registry::new();
    registry.register("shop", &calls).unwrap();
    let channel = soon(Channel::from_shared(server.uri()).unwrap().connect()).await.unwrap();
    let mut client = EchoClient::new(calls.around(channel));
    soon(client.unary(ask(Do::Echo))).await.unwrap();
    soon(client.unary(ask(Do::Fail))).await.unwrap_err();
    assert_eq!(ended(&registry, "pool.testing.Echo/Unary", "OK"), 1);
    assert_eq!(ended(&registry, "pool.testing.Echo/Unary", "INVALID_ARGUMENT"), 1);
}

#[tokio::test]
async fn an_answer_of_a_proxy_has_the_status_that_grpc_gives_it() {
    let calls = CallMetrics::new(METHODS);
    let registry = Registry::new();
    registry.register("shop", &calls).unwrap();
    let proxy = service_fn(|_: Request<Body>| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::BAD_GATEWAY;
        ready(Ok::<_, Infallible>(response))
    });
    let mut client = EchoClient::new(calls.around(proxy));
    let status = soon(client.unary(ask(Do::Echo))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(ended(&registry, "pool.testing.Echo/Unary", "UNAVAILABLE"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_is_that_from_the_begin_to_the_status() {
    let calls = CallMetrics::new(METHODS);
    let registry = Registry::new();
    registry.register("shop", &calls).unwrap();
    let slow = service_fn(|_: Request<Body>| async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Err::<Response<Body>, _>(Status::aborted("no"))
    });
    let mut client = EchoClient::new(calls.around(slow));
    client.unary(ask(Do::Echo)).await.unwrap_err();
    let scrape = registry.render();
    let labels = "method=\"pool.testing.Echo/Unary\",status=\"ABORTED\"";
    let name = "grpc_client_call_duration_seconds";
    let bucket = |le| value(&scrape, &format!("{name}_bucket"), &format!("{labels},le=\"{le}\""));
    assert_eq!((bucket("2"), bucket("5")), (Some(0), Some(1)));
}
