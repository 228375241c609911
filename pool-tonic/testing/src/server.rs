//! Echo servers on loopback.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;

use crate::accepted::Accepted;
use crate::books::{Books, OnCall};
use crate::echo::Service;
use crate::proto::echo_server::EchoServer as Generated;

/// An echo server. Dropped, it is gone with its connections.
#[derive(Debug)]
pub struct EchoServer {
    addr: SocketAddr,
    books: Books,
    gate: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl EchoServer {
    /// Starts one on a port of the system's choice.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(SocketAddr::from(([127, 0, 0, 1], 0)), |server| server).await
    }

    /// Starts one on a given address, with settings.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    ///
    /// # Panics
    ///
    /// Later, in its task, if it cannot serve.
    pub async fn start_with(
        addr: SocketAddr,
        configure: impl FnOnce(Server) -> Server,
    ) -> io::Result<Self> {
        Self::start_told(addr, configure, |_| {}).await
    }

    /// Starts one that tells what calls begin.
    pub(crate) async fn start_told(
        addr: SocketAddr,
        configure: impl FnOnce(Server) -> Server,
        on_call: OnCall,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let incoming = TcpListenerStream::new(listener).map(|accepted| {
            let stream = accepted?;
            // The server's own setting does not reach a listener that it did not make.
            stream.set_nodelay(true)?;
            let peer = stream.peer_addr()?;
            Ok(Accepted::new(stream, peer))
        });
        Ok(Self::begin(addr, incoming, configure, on_call))
    }

    /// Starts one on connections that something else accepts, at this address where it is one of TCP.
    ///
    /// # Panics
    ///
    /// Later, in its task, if it cannot serve.
    pub fn serve<S, I>(
        addr: SocketAddr,
        incoming: S,
        configure: impl FnOnce(Server) -> Server,
    ) -> Self
    where
        S: Stream<Item = io::Result<Accepted<I>>> + Send + 'static,
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::begin(addr, incoming, configure, |_| {})
    }

    fn begin<S, I>(
        addr: SocketAddr,
        incoming: S,
        configure: impl FnOnce(Server) -> Server,
        on_call: OnCall,
    ) -> Self
    where
        S: Stream<Item = io::Result<Accepted<I>>> + Send + 'static,
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let books = Books::new(on_call);
        let gate = watch::Sender::new(false);
        let service = Service { books: books.clone(), gate: gate.clone() };
        let (stop, stopped) = oneshot::channel::<()>();
        let mut server = configure(Server::builder());
        let service = Generated::new(service);
        #[cfg(feature = "gzip")]
        let service = service
            .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
            .send_compressed(tonic::codec::CompressionEncoding::Gzip);
        let serving = server.add_service(service).serve_with_incoming_shutdown(incoming, async {
            let _ = stopped.await;
        });
        let task = tokio::spawn(async move {
            serving.await.expect("the echo server serves until it is stopped");
        });
        Self { addr, books, gate, stop: Some(stop), task }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URI.
    pub fn uri(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it has seen.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Lets calls that wait answer.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Stops in good order: GOAWAY, running calls finish. Returns when they have.
    ///
    /// # Panics
    ///
    /// If it had failed.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // A failed server has panicked, and the test with it.
        (&mut self.task).await.expect("the echo server stops");
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
