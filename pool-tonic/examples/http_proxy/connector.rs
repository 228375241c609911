//! A connector that goes through an HTTP proxy with CONNECT (RFC 9110, section 9.3.6).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower_service::Service;

/// The most that a proxy may say before the tunnel begins.
const MAX_ANSWER: usize = 8 << 10;

/// Connects through a proxy, which only ever sees the host and the port of the server.
#[derive(Clone, Debug)]
pub(crate) struct HttpProxy {
    /// `host:port`.
    address: String,
}

impl HttpProxy {
    /// A proxy at `host:port`.
    pub(crate) fn new(address: impl Into<String>) -> Self {
        Self { address: address.into() }
    }

    async fn tunnel(self, target: String) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        // A proxy that wants a password is sent `Proxy-Authorization` here.
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let answer = read_head(&mut stream).await?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            let line = answer.lines().next().unwrap_or_default();
            return Err(io::Error::other(format!("the proxy {} says {line:?}", self.address)));
        }
        Ok(stream)
    }
}

/// Reads up to the empty line, and not a byte of what follows, which is the server's.
async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_ANSWER {
            return Err(io::Error::other("the proxy's answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

impl Service<Uri> for HttpProxy {
    type Response = TcpStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, endpoint: Uri) -> Self::Future {
        let proxy = self.clone();
        Box::pin(async move {
            let host = endpoint.host().ok_or_else(|| io::Error::other("no host to connect to"))?;
            let default = if endpoint.scheme_str() == Some("https") { 443 } else { 80 };
            let port = endpoint.port_u16().unwrap_or(default);
            proxy.tunnel(format!("{host}:{port}")).await
        })
    }
}
