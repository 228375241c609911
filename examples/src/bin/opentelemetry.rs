//! Traces: what a pool does as spans of OpenTelemetry, from the caller to the server.
//!
//! Two calls at a time on a connection that takes one: the trace shows which of them waited, and for how long.
//! `cargo run -p examples --features opentelemetry --bin opentelemetry` calls a server of its own, prints the trace,
//! and ends.
//!
//! Where [`Tree`] is, a program has the exporter of its collector (the crate `opentelemetry-otlp`), with
//! `with_batch_exporter`.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use examples::proto::Text;
use examples::proto::demo_client::DemoClient;
use examples::proto::demo_server::DemoServer;
use examples::service::DemoService;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use pool_tonic::ChannelPool;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue, Request};
use tonic::transport::Server;
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The headers of a request, in which a trace goes from one process to the next.
struct Headers<H>(H);

impl Injector for Headers<&mut HeaderMap> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

impl Extractor for Headers<&HeaderMap> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// The span of a call on the server: a child of the client's.
fn server_span(request: &Request<()>) -> Span {
    let method = request.uri().path().trim_start_matches('/');
    let span = info_span!("server", otel.name = method, otel.kind = "server");
    let context = TraceContextPropagator::new().extract(&Headers(request.headers()));
    // It fails for a span that is not recorded, and then there is nothing to be the child of.
    let _ = span.set_parent(context);
    span
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let spans = Tree::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    tracing_subscriber::registry().with(layer.with_filter(LevelFilter::INFO)).init();

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let uri = format!("http://{}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(
        Server::builder()
            .trace_fn(server_span)
            .add_service(DemoServer::new(DemoService))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                // A sender that is gone means the same.
                let _ = stopped.await;
            }),
    );

    let pool = ChannelPool::builder(uri)
        .name("demo")
        .max_connections(1)
        .max_streams_per_connection(1)
        .propagate(|headers| {
            let context = Span::current().context();
            TraceContextPropagator::new().inject_context(&context, &mut Headers(headers));
        })
        .build()?;
    let call = |body: &str| {
        let (mut client, body) = (DemoClient::new(pool.channel()), body.to_owned());
        async move { client.echo(Text { body }).await }
    };
    let checkout = async { tokio::try_join!(call("stock"), call("price")) };
    checkout.instrument(info_span!("checkout")).await?;

    drop(pool);
    drop(stop);
    server.await??;
    provider.shutdown()?;
    spans.print();
    Ok(())
}

/// Keeps the spans, to print them as a tree.
#[derive(Clone, Debug, Default)]
struct Tree(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Tree {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(batch);
        Ok(())
    }
}

impl Tree {
    fn print(&self) {
        let mut spans = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        spans.sort_by_key(|span| span.start_time);
        let mut children = BTreeMap::<_, Vec<_>>::new();
        for span in &spans {
            children.entry(span.parent_span_id.to_bytes()).or_default().push(span);
        }
        print_children(SpanId::INVALID, &children, 0);
    }
}

/// What is told of each span, where it has it.
const SHOWN: [&str; 5] = ["pool", "outcome", "server.port", "rpc.response.status_code", "attempts"];

fn print_children(parent: SpanId, children: &BTreeMap<[u8; 8], Vec<&SpanData>>, depth: usize) {
    for span in children.get(&parent.to_bytes()).into_iter().flatten() {
        let time = span.end_time.duration_since(span.start_time).unwrap_or_default();
        print!("{:1$}{2} {time:.1?}", "", 2 * depth, span.name);
        for attribute in &span.attributes {
            if SHOWN.contains(&attribute.key.as_str()) {
                print!(" {}={}", attribute.key, attribute.value);
            }
        }
        println!();
        print_children(span.span_context.span_id(), children, depth + 1);
    }
}
