//! The API on loopback.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::Api;

/// An [`Api`] that is reached through loopback. Dropped, it is gone with its connections.
#[derive(Debug)]
pub struct ApiServer {
    api: Api,
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl ApiServer {
    /// Starts one on a port of the system's choice.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (addr, api) = (listener.local_addr()?, Api::default());
        let task = tokio::spawn(serve(listener, api.clone()));
        Ok(Self { api, addr, task })
    }

    /// Its URI.
    pub fn uri(&self) -> String {
        format!("http://{}", self.addr)
    }
}

async fn serve(listener: TcpListener, api: Api) {
    let mut connections = JoinSet::new();
    // One that cannot be accepted is the client's to complain about.
    while let Ok((stream, _)) = listener.accept().await {
        let api = api.clone();
        connections.spawn(async move { api.serve(stream).await });
        while connections.try_join_next().is_some() {}
    }
}

impl Api {
    /// Answers what comes on a connection, until that ends.
    pub async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let answer =
            service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
        // Cut off on demand, or by the client.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
    }
}

impl Deref for ApiServer {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
