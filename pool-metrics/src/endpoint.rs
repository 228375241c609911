//! The endpoint that Prometheus scrapes.
//!
//! A connection is good for one request of at most 16 KiB, which is to have come within five seconds, and for
//! ten seconds in all. So many are served at a time; of those that have not asked yet the oldest makes way for a
//! newer one, so that nobody is kept from asking by those who connect and say nothing.

mod connections;
mod routes;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use connections::Connections;

use crate::registry::Registry;

/// What a scrape's `content-type` says, unless the client prefers OpenMetrics.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same of a scrape by a client that prefers OpenMetrics.
pub const OPENMETRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where to serve unless there is a reason to serve elsewhere: on loopback, so that nobody else sees the
/// numbers, at the port that exporters of the `metrics` facade use.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);

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
    /// Serves what this registry's pools do, on `address`: see [`router`](Self::router) for what is where.
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

    /// What [`serve`](Self::serve) answers, as a router to be merged or nested into a server of one's own: a tower
    /// service as well.
    ///
    /// Limits of time and of connections are that server's. Nest it if that server has any of the paths `/`, `/metrics`,
    /// `/pools`, `/healthz` and `/readyz` itself: [`Router::merge`] panics where both have one.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use pool_metrics::Registry;
    ///
    /// let app: Router = Router::new()
    ///     .route("/", get(async || "hello"))
    ///     .nest("/pools", Registry::global().router()); // `/pools/metrics`, and the page at `/pools`
    /// ```
    pub fn router(&self) -> Router {
        routes::router(self)
    }
}

/// Where connections come from.
trait Listen {
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

impl Listen for TcpListener {
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        Ok(stream)
    }
}

async fn accept(listener: impl Listen, router: Router, mut stopped: watch::Receiver<()>) {
    let mut connections = Connections::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.changed() => break,
            () = connections.ended() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(io) => connections.serve(io, router.clone(), stopped.clone()),
            Err(error) if is_of_the_connection(&error) => {}
            Err(_) => tokio::select! {
                _ = stopped.changed() => break,
                () = sleep(ACCEPT_PAUSE) => {}
            },
        }
    }
    drop(listener);
    connections.finish().await;
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
