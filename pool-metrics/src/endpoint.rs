//! The endpoint that Prometheus scrapes.
//!
//! A connection is good for one request and for ten seconds, and sixteen are served at a time: whoever
//! connects and says nothing takes neither memory nor file descriptors for long. A connection over the
//! limit waits in the system's backlog.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::registry::Registry;

/// What a scrape's `content-type` says.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where to serve unless there is a reason to serve elsewhere: on loopback, so that nobody else sees the
/// numbers, at the port that exporters of the `metrics` facade use.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);

/// Prometheus needs one, and a second one for each replica.
const MAX_CONNECTIONS: usize = 16;

/// Prometheus' default scrape timeout: nobody waits for longer.
const MAX_CONNECTION_TIME: Duration = Duration::from_secs(10);

/// How long to let be when the system gives no more connections (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A metrics endpoint at work, which stops with this handle.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// // Port 0 lets the system choose; give Prometheus one that stays, as "127.0.0.1:9000".
/// let endpoint = pool_metrics::serve("127.0.0.1:0").await?;
/// println!("http://{}/metrics", endpoint.local_addr());
/// // ...
/// endpoint.shutdown().await;
/// # Ok(()) }
/// ```
#[must_use = "the endpoint stops when this is dropped"]
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    /// Dropped, it tells the task and every connection to end.
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Where the endpoint listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Listens no more, and lets responses under way finish: for ten seconds at most.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the endpoint still stops.
    pub async fn shutdown(self) {
        let Self { stop, task, .. } = self;
        drop(stop);
        // A task that the end of its runtime took away listens no more either.
        let _ = task.await;
    }
}

impl Registry {
    /// Serves the numbers of this registry's pools at `/metrics`, on `address`.
    ///
    /// The endpoint is bound when this returns. It asks nobody who they are: listen on loopback
    /// (`"127.0.0.1:9000"`), unless the network around is to see the numbers.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on, with the system's kind of error, and outside a tokio
    /// runtime.
    ///
    /// # Panics
    ///
    /// In a tokio runtime without I/O or time (both are on with `enable_all`).
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, nothing listens.
    pub async fn serve(&self, address: impl ToSocketAddrs + Debug) -> io::Result<Endpoint> {
        let wanted = format!("{address:?}");
        let refused = |error: io::Error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => "; choose another port, or 0 for any that is free",
                _ => "",
            };
            let text = format!("metrics cannot be served on {wanted}: {error}{advice}");
            io::Error::new(error.kind(), text)
        };
        let runtime = Handle::try_current()
            .map_err(|_| refused(io::Error::other("the endpoint needs a tokio runtime")))?;
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (stop, stopped) = watch::channel(());
        let task = runtime.spawn(accept(listener, self.router(), stopped));
        Ok(Endpoint { address, stop, task })
    }

    /// `/metrics` as a router, to be merged into a server of one's own.
    ///
    /// It answers `GET` and `HEAD`.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use pool_metrics::Registry;
    ///
    /// let app: Router = Router::new()
    ///     .route("/", get(async || "hello"))
    ///     .merge(Registry::global().router());
    /// ```
    pub fn router(&self) -> Router {
        let registry = self.clone();
        Router::new().route(
            "/metrics",
            get(move || {
                let text = registry.render();
                async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], text) }
            }),
        )
    }
}

async fn accept(listener: TcpListener, router: Router, mut stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve_one(stream, router.clone(), stopped.clone()));
            }
            Err(error) if is_of_the_connection(&error) => {}
            Err(_) => tokio::select! {
                _ = stopped.changed() => break,
                () = sleep(ACCEPT_PAUSE) => {}
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_one(stream: TcpStream, router: Router, mut stopped: watch::Receiver<()>) {
    let service = TowerToHyperService::new(router);
    let connection =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // Neither its time running out nor what went wrong on it is of interest to anyone but the peer.
    let _ = timeout(MAX_CONNECTION_TIME, async {
        tokio::select! {
            served = connection.as_mut() => served,
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    })
    .await;
}

/// The peer was gone before it was accepted: the next one may be there already.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
