//! A pool in `tracing`: its spans as OpenTelemetry gets them, and its events.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

mod common;
#[path = "common/resolving.rs"]
mod resolving;

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::acts::{Act, play};
use common::{all_slots_free, ask, call, client, dead_uri, soon};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use pool_tonic::resolve::ResolveError;
use pool_tonic::{ChannelPool, MethodName, RetryPolicy};
use pool_tonic_testing::EchoServer;
use pool_tonic_testing::peer::Peer;
use pool_tonic_testing::proto::Do;
use resolving::{Answer, Script};
use tokio_stream::StreamExt as _;
use tonic::Code;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Instrument, Span, Subscriber, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// What this thread's tasks tell, for as long as it lives.
struct Traces {
    exporter: InMemorySpanExporter,
    lines: Lines,
    _guard: DefaultGuard,
}

/// Each event of the pool as a line: level and fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "pool_tonic" {
            let mut text = Text(event.metadata().level().to_string());
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
    }
}

impl Traces {
    fn begin() -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let lines = Lines::default();
        let subscriber = tracing_subscriber::registry().with(layer).with(lines.clone());
        Self { exporter, lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Spans that have ended, by name.
    fn named(&self, name: &str) -> Vec<SpanData> {
        let spans = self.exporter.get_finished_spans().unwrap();
        spans.into_iter().filter(|span| span.name == name).collect()
    }

    /// The only one of this name.
    fn only(&self, name: &str) -> SpanData {
        let mut spans = self.named(name);
        assert_eq!(spans.len(), 1, "{name}: {spans:#?}");
        spans.remove(0)
    }
}

const UNARY: &str = "pool.testing.Echo/Unary";
const SERVER_STREAM: &str = "pool.testing.Echo/ServerStream";

/// An attribute of a span, as text.
fn attribute(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
}

/// The events of a span, by what they say.
fn events<'a>(span: &'a SpanData, name: &str) -> Vec<&'a opentelemetry::trace::Event> {
    span.events.iter().filter(|event| event.name == name).collect()
}

/// Of so many attempts, one right after the other.
fn brief(attempts: u32) -> RetryPolicy {
    let time = Duration::from_millis(1);
    RetryPolicy::new(attempts, [Code::Unavailable]).initial_backoff(time).max_backoff(time)
}

#[tokio::test]
async fn a_call_is_a_span_of_its_caller_with_its_wait_in_it() {
    let traces = Traces::begin();
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).name("orders").build().unwrap();
    soon(call(&pool).instrument(info_span!("request"))).await.unwrap();
    let (request, call) = (traces.only("request"), traces.only(UNARY));
    assert_eq!(call.parent_span_id, request.span_context.span_id());
    assert_eq!((&call.span_kind, &call.status), (&SpanKind::Client, &Status::Unset));
    let port = server.uri().rsplit_once(':').unwrap().1.to_owned();
    for (key, value) in [
        ("pool", "orders"),
        ("rpc.system.name", "grpc"),
        ("rpc.method", UNARY),
        ("rpc.response.status_code", "OK"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("attempts", "1"),
        ("error.type", ""),
    ] {
        assert_eq!(attribute(&call, key), value, "{key}");
    }
    // There was no connection yet.
    let wait = traces.only("pool.wait");
    assert_eq!(wait.parent_span_id, call.span_context.span_id());
    assert_eq!(
        (attribute(&wait, "pool"), attribute(&wait, "outcome")),
        ("orders".into(), "ok".into())
    );
    let (create, connect) = (traces.only("pool.create"), traces.only("grpc.connect"));
    assert_eq!(create.parent_span_id, SpanId::INVALID);
    assert_eq!(connect.parent_span_id, create.span_context.span_id());
    assert_eq!(attribute(&connect, "server.port"), port);
    assert_eq!(attribute(&connect, "outcome"), "ok");
}

#[tokio::test]
async fn a_call_that_finds_no_server_says_why() {
    let traces = Traces::begin();
    let (uri, _socket) = dead_uri();
    let pool = ChannelPool::builder(uri.clone()).build().unwrap();
    assert_eq!(pool.name(), uri);
    let status = soon(call(&pool)).await.unwrap_err();
    let call = traces.only(UNARY);
    assert_eq!(attribute(&call, "rpc.response.status_code"), "UNAVAILABLE");
    assert_eq!(attribute(&call, "error.type"), "UNAVAILABLE");
    assert_eq!((attribute(&call, "attempts"), attribute(&call, "pool")), ("0".into(), uri));
    let description = |span: &SpanData| match &span.status {
        Status::Error { description } => description.to_string(),
        status => panic!("{status:?}"),
    };
    assert_eq!(description(&call), status.message());
    assert!(description(&traces.only("grpc.connect")).contains("refused"));
    let lines = traces.lines.0.lock().unwrap();
    let warned =
        lines.iter().any(|line| line.starts_with("WARN") && line.contains("TRANSIENT_FAILURE"));
    assert!(warned, "{lines:#?}");
}

#[tokio::test]
async fn each_attempt_of_a_call_is_told_in_its_span() {
    let traces = Traces::begin();
    let peer = Peer::listen().await.unwrap();
    let uri = peer.uri();
    let _calls = play(peer, &[Act::Fail(Code::Unavailable), Act::Answer]);
    let pool = ChannelPool::builder(uri).retry_policy(MethodName::all(), brief(3)).build().unwrap();
    soon(call(&pool)).await.unwrap();
    let call = traces.only(UNARY);
    assert_eq!(attribute(&call, "attempts"), "2");
    assert_eq!(attribute(&call, "rpc.response.status_code"), "OK");
    assert_eq!(events(&call, "sent").len(), 2);
    let failed = events(&call, "attempt failed");
    let told = failed.iter().flat_map(|event| &event.attributes).map(|it| it.value.to_string());
    assert_eq!(failed.len(), 1);
    assert!(told.into_iter().any(|text| text.contains("so the script says")), "{failed:#?}");
}

#[tokio::test]
async fn what_carries_the_trace_is_asked_for_within_the_calls_span() {
    let traces = Traces::begin();
    let peer = Peer::listen().await.unwrap();
    let uri = peer.uri();
    let mut calls = play(peer, &[Act::Fail(Code::Unavailable), Act::Answer]);
    let pool = ChannelPool::builder(uri)
        .retry_policy(MethodName::all(), brief(2))
        .propagate(|headers| {
            let context = Span::current().context();
            let span = context.span().span_context().span_id();
            headers.insert("x-span", span.to_string().parse().unwrap());
            panic!("which fails no call");
        })
        .build()
        .unwrap();
    soon(call(&pool).instrument(info_span!("request"))).await.unwrap();
    let span = traces.only(UNARY).span_context.span_id();
    for _attempt in 0..2 {
        let seen = soon(calls.recv()).await.unwrap();
        assert_eq!(seen.header("x-span"), Some(&*span.to_string()));
    }
}

#[tokio::test]
async fn the_span_of_a_stream_ends_with_it_and_says_how() {
    let traces = Traces::begin();
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::builder(server.uri()).build().unwrap();
    let mut left = soon(client(&pool).server_stream(ask(Do::Hang))).await.unwrap().into_inner();
    soon(left.next()).await.unwrap().unwrap();
    assert!(traces.named(SERVER_STREAM).is_empty());
    drop(left);
    assert_eq!(attribute(&traces.only(SERVER_STREAM), "rpc.response.status_code"), "CANCELLED");
    let mut read = soon(client(&pool).server_stream(ask(Do::Echo))).await.unwrap().into_inner();
    while let Some(answer) = soon(read.next()).await {
        answer.unwrap();
    }
    let read = traces.named(SERVER_STREAM).pop().unwrap();
    assert_eq!(attribute(&read, "rpc.response.status_code"), "OK");
    all_slots_free(&pool).await;
}

#[tokio::test]
async fn the_state_of_a_pool_and_a_resolver_that_fails_are_events() {
    let traces = Traces::begin();
    let server = EchoServer::start().await.unwrap();
    let pool = ChannelPool::endpoints([server.uri(), server.uri()]).build().unwrap();
    assert_eq!(pool.name(), format!("{} and 1 more", server.uri()));
    soon(call(&pool)).await.unwrap();
    let lost = Answer::Fail(ResolveError::new("no such name"));
    let (_script, resolver) = Script::new(lost);
    let nowhere = ChannelPool::builder("http://orders:1").resolver(resolver).build().unwrap();
    soon(call(&nowhere)).await.unwrap_err();
    let lines = traces.lines.0.lock().unwrap();
    let find = |text: &str| lines.iter().find(|line| line.contains(text)).unwrap();
    let ready = find("state=READY");
    assert!(ready.starts_with("DEBUG") && ready.contains("and 1 more"), "{ready}");
    let failed = find("no such name");
    assert!(failed.starts_with("WARN") && failed.contains("http://orders:1"), "{failed}");
}
