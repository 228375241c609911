//! A pool in `tracing`: its events, and the spans as OpenTelemetry gets them.

#![allow(clippy::unwrap_used, reason = "a test's panic is its report, in its helpers too")]

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::{SpanId, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{Error, GetOptions, Pool, ResourceLease};
use tokio_test::{assert_pending, assert_ready, task};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Instrument, Metadata, Subscriber, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

/// Keeps each event as a line: level and fields. Knows no spans.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pool_core" && metadata.is_event()
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Panics whenever it is told something of a pool.
struct Broken;

impl Subscriber for Broken {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pool_core"
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        panic!("a new span")
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {
        panic!("an event")
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Runs `scenario` on the paused clock, with this subscriber.
fn run(subscriber: impl Subscriber + Send + Sync + 'static, scenario: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    tracing::subscriber::with_default(subscriber, || runtime.unwrap().block_on(scenario));
}

/// The spans that OpenTelemetry gets of `scenario`.
fn spans_of(scenario: impl Future<Output = ()>) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    run(tracing_subscriber::registry().with(layer), scenario);
    exporter.get_finished_spans().unwrap()
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> Vec<&'a SpanData> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// An attribute of a span, as text.
fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string())
}

fn outcomes(spans: &[SpanData], name: &str) -> Vec<Option<String>> {
    named(spans, name).into_iter().map(|span| attribute(span, "outcome")).collect()
}

#[test]
fn what_a_pool_does_is_traced_without_an_observer() {
    let lines = Lines::default();
    run(lines.clone(), async {
        let manager = ScriptedManager::new();
        manager.script(Hook::Create, [Step::Fail]);
        let pool = Pool::builder(manager).name("orders").build().unwrap();
        ResourceLease::discard(pool.get().await.unwrap());
        pool.close();
    });
    let lines = lines.0.lock().unwrap();
    let has = |level: &str, text: &str| {
        lines.iter().any(|line| line.starts_with(level) && line.contains(text))
    };
    assert!(lines.iter().all(|line| line.contains("ScriptedManager")), "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("pool=\"orders\"")), "{lines:#?}");
    assert!(has("WARN", "creation failed"), "{lines:#?}");
    assert!(has("DEBUG", "message=created"), "{lines:#?}");
    assert!(has("DEBUG", "reason=\"discarded\""), "{lines:#?}");
    assert!(has("DEBUG", "message=closed"), "{lines:#?}");
}

#[test]
fn a_wait_is_a_span_of_its_caller_and_a_hit_is_none() {
    let spans = spans_of(async {
        let pool = Pool::builder(ScriptedManager::new()).name("orders").min_idle(1).max_size(1);
        let pool = pool.build().unwrap();
        pool.warm_up(Duration::from_secs(1)).await.unwrap();
        let lease = pool.get().await.unwrap();
        let request = info_span!("request");
        let mut waiting = task::spawn(pool.get().instrument(request));
        assert_pending!(waiting.poll());
        drop(lease);
        drop(assert_ready!(waiting.poll()).unwrap());
    });
    let [wait] = named(&spans, "pool.wait")[..] else { panic!("{spans:#?}") };
    let [request] = named(&spans, "request")[..] else { panic!("{spans:#?}") };
    assert_eq!(wait.parent_span_id, request.span_context.span_id());
    assert_eq!(attribute(wait, "pool").as_deref(), Some("orders"));
    assert!(attribute(wait, "manager").unwrap().ends_with("ScriptedManager"), "{wait:#?}");
    assert_eq!(attribute(wait, "outcome").as_deref(), Some("ok"));
    assert_eq!(wait.status, Status::Unset);
}

#[test]
fn a_wait_that_comes_to_nothing_says_why() {
    let spans = spans_of(async {
        let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
        let lease = pool.get().await.unwrap();
        let patience = GetOptions::new().timeout(Duration::from_secs(1));
        let late = pool.get_with(patience).await;
        assert!(matches!(late, Err(Error::Timeout(_))), "{late:?}");
        let mut dropped = task::spawn(pool.get());
        assert_pending!(dropped.poll());
        drop(dropped);
        let mut several = task::spawn(pool.get_many(1));
        assert_pending!(several.poll());
        pool.close();
        let closed = assert_ready!(several.poll());
        assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
        drop(lease);
    });
    let outcomes = outcomes(&spans, "pool.wait");
    // The first is that of the get for which the resource was created.
    let expected = ["ok", "timeout", "cancelled", "closed"];
    assert_eq!(outcomes, expected.map(|outcome| Some(outcome.to_owned())));
    let statuses = named(&spans, "pool.wait").into_iter().map(|span| &span.status);
    let failed: Vec<_> = statuses.map(|status| matches!(status, Status::Error { .. })).collect();
    assert_eq!(failed, [false, true, false, true]);
}

#[test]
fn a_creation_is_a_root_span_with_the_managers_own_in_it() {
    let spans = spans_of(async {
        let manager = ScriptedManager::new();
        manager.script(Hook::Create, [Step::Fail]);
        let pool = Pool::builder(manager)
            .name("orders")
            .after_create(|_, _, _| {
                Box::pin(async {
                    info_span!("login").in_scope(|| ());
                    Ok(())
                })
            })
            .build()
            .unwrap();
        let request = info_span!("request");
        drop(pool.get().instrument(request).await.unwrap());
    });
    let [failed, created] = named(&spans, "pool.create")[..] else { panic!("{spans:#?}") };
    assert_eq!(failed.parent_span_id, SpanId::INVALID);
    assert_eq!(created.parent_span_id, SpanId::INVALID);
    assert_eq!(attribute(failed, "outcome").as_deref(), Some("error"));
    let Status::Error { description } = &failed.status else { panic!("{failed:#?}") };
    assert!(description.contains("could not create"), "{description}");
    assert_eq!(attribute(created, "outcome").as_deref(), Some("ok"));
    assert_eq!(attribute(created, "pool").as_deref(), Some("orders"));
    assert_eq!(attribute(created, "reason").as_deref(), Some("demand"));
    let [login] = named(&spans, "login")[..] else { panic!("{spans:#?}") };
    assert_eq!(login.parent_span_id, created.span_context.span_id());
}

#[test]
fn a_subscriber_that_panics_harms_no_caller() {
    run(Broken, async {
        let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
        let lease = pool.get().await.unwrap();
        let mut waiting = task::spawn(pool.get());
        assert_pending!(waiting.poll());
        drop(lease);
        drop(assert_ready!(waiting.poll()).unwrap());
        assert_eq!(pool.status().idle, 1);
    });
}
