//! A client for Kubernetes: one pool, that finds its servers in one of three ways.
//!
//! | variable | | default |
//! |---|---|---|
//! | `TARGET` | the URI of the service | `http://orders:50051` |
//! | `MODE` | `dns`: the addresses of a headless service; `endpoint-slices`: what the API server says; `cluster-ip`: the one address of a service, which kube-proxy leads to its pods | `endpoint-slices` |
//! | `SERVICE`, `PORT` | with `endpoint-slices`: the service, and its port by name | `orders`, `grpc` |
//! | `LISTEN` | where to serve `/readyz`, `/livez` and `/metrics` | `0.0.0.0:9000` |
//! | `PAUSE` | between two calls | `100ms` |
//!
//! It calls for ever, and says what fails. On SIGTERM it closes the pool in good order and ends. The manifests in
//! `examples/kubernetes` run it.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use examples::environment::{duration, told_to_end, variable};
use examples::proto::Text;
use examples::proto::demo_client::DemoClient;
use pool_metrics::{Readiness, Registry};
use pool_tonic::resolve::{Dns, Kubernetes};
use pool_tonic::{ChannelPool, ChannelPoolBuilder};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// Twice as many as the manifests have pods of the service.
const CONNECTIONS: usize = 6;

/// How long calls under way may take at the end.
const GRACE: Duration = Duration::from_secs(10);

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let end = told_to_end()?;
    let pause = duration("PAUSE", "100ms")?;
    // A minimum connects at once, so that the first probe finds out what the first call would. It is shared out among
    // the pods: as many as there are of them, or more.
    let pool = builder()?.min_connections(CONNECTIONS).build()?;
    // It can do nothing without this pool, and others can that reach another pod.
    Registry::global().register_with("orders", &pool, Readiness::Connected)?;

    let listener = TcpListener::bind(variable::<String>("LISTEN", "0.0.0.0:9000")?).await?;
    println!("listening on {}", listener.local_addr()?);
    let (served, calling) = (axum::serve(listener, router()), call(&pool, pause));
    tokio::select! {
        served = served => served?,
        () = calling => {}
        () = end => {}
    }
    let report = pool.close(GRACE).await;
    println!("closed: {report:?}");
    Ok(())
}

/// What differs between the ways to find the servers.
fn builder() -> Result<ChannelPoolBuilder, Failure> {
    let pool = ChannelPool::builder(variable::<String>("TARGET", "http://orders:50051")?);
    let mode: String = variable("MODE", "endpoint-slices")?;
    Ok(match &*mode {
        "dns" => pool.resolver(Dns::new()),
        "endpoint-slices" => {
            let service: String = variable("SERVICE", "orders")?;
            pool.resolver(Kubernetes::service(service).port(variable::<String>("PORT", "grpc")?))
        }
        // Each connection is led to one pod, and led anew within five minutes, so that new pods get their share.
        "cluster-ip" => pool.max_connection_age(Duration::from_secs(5 * 60)),
        _ => return Err(format!("MODE is {mode:?}, not dns, endpoint-slices or cluster-ip").into()),
    })
}

/// `/readyz` and `/metrics` are those of `pool-metrics`. `/livez` does not ask the pool: a restart connects no better.
fn router() -> Router {
    let alive = get(|| std::future::ready("alive\n"));
    Router::new().route("/livez", alive).merge(pool_metrics::router())
}

async fn call(pool: &ChannelPool, pause: Duration) {
    let mut client = DemoClient::new(pool.channel());
    loop {
        if let Err(status) = client.echo(Text { body: "hello".to_owned() }).await {
            eprintln!("a call failed: {status}");
        }
        sleep(pause).await;
    }
}
