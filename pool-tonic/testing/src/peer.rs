//! A peer on raw HTTP/2 that does what the test says, frame by frame where it matters.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// A listener for scripted connections.
#[derive(Debug)]
pub struct Peer {
    listener: TcpListener,
    addr: SocketAddr,
}

/// A connection to a scripted peer.
pub type PeerConnection = Connection<TcpStream, Bytes>;

/// A request that a scripted peer has read.
pub type PeerRequest = (Request<h2::RecvStream>, SendResponse<Bytes>);

impl Peer {
    /// Listens on a port of the system's choice.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URI.
    pub fn uri(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The next connection, without a word said on it.
    ///
    /// # Errors
    ///
    /// If accepting fails.
    pub async fn accept_raw(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The next connection, after the HTTP/2 handshake with this limit of streams.
    ///
    /// # Panics
    ///
    /// If the client does not speak HTTP/2.
    pub async fn accept(&self, max_streams: u32) -> PeerConnection {
        let stream = self.accept_raw().await.expect("the peer accepts");
        Builder::new()
            .max_concurrent_streams(max_streams)
            .handshake(stream)
            .await
            .expect("the client speaks HTTP/2")
    }
}

/// The next request on a connection.
///
/// # Panics
///
/// If the connection ends first.
pub async fn next(connection: &mut PeerConnection) -> PeerRequest {
    let accepted = connection.accept().await;
    accepted
        .expect("the connection goes on")
        .expect("the connection is whole")
}

/// Drives a connection to its end.
pub async fn drive(connection: &mut PeerConnection) {
    while let Some(Ok(_)) = connection.accept().await {}
}

/// Answers a unary call with an empty message and status OK.
///
/// # Panics
///
/// If the stream is gone.
pub fn answer(mut respond: SendResponse<Bytes>) {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut body = respond
        .send_response(response, false)
        .expect("the stream is open");
    // An empty message: not compressed, length 0.
    body.send_data(Bytes::from_static(&[0; 5]), false)
        .expect("the stream is open");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    body.send_trailers(trailers).expect("the stream is open");
}
