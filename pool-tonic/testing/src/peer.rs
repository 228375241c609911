//! A listener whose connections do what the test says: as [frames](crate::raw), or through h2's server
//! where only requests and answers matter.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use crate::raw::Raw;

/// A listener for scripted connections.
#[derive(Debug)]
pub struct Peer {
    listener: TcpListener,
    addr: SocketAddr,
}

/// A connection through h2's server.
pub type PeerConnection = Connection<TcpStream, Bytes>;

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
    pub async fn accept_tcp(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The next connection, as frames, greeted with this limit of streams.
    ///
    /// # Errors
    ///
    /// If reading or writing fails.
    pub async fn accept_raw(&self, max_streams: u32) -> io::Result<Raw> {
        Raw::greet(self.accept_tcp().await?, max_streams).await
    }

    /// The next connection, through h2's server.
    ///
    /// # Panics
    ///
    /// If the client does not speak HTTP/2.
    pub async fn accept(&self) -> PeerConnection {
        let stream = self.accept_tcp().await.expect("the peer accepts");
        let handshake = Builder::new().handshake(stream).await;
        handshake.expect("the client speaks HTTP/2")
    }
}

/// The next request on a connection.
///
/// # Panics
///
/// If the connection ends first.
pub async fn next(
    connection: &mut PeerConnection,
) -> (Request<h2::RecvStream>, SendResponse<Bytes>) {
    let accepted = connection.accept().await;
    accepted.expect("the connection goes on").expect("the connection is whole")
}

/// Answers a unary call with an empty message and status OK.
///
/// # Panics
///
/// If the stream is gone.
pub fn answer(mut respond: SendResponse<Bytes>) {
    let mut response = Response::new(());
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", content_type);
    let mut body = respond.send_response(response, false).expect("the stream is open");
    // An empty message: not compressed, length 0.
    body.send_data(Bytes::from_static(&[0; 5]), false).expect("the stream is open");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    body.send_trailers(trailers).expect("the stream is open");
}
