//! The floor: HTTP/2 streams with nothing above them.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderValue, Request, header};
use prost::Message as _;
use tokio::net::TcpStream;

use super::proto::Answer;
use super::{Call, Caller, Failure, Kind, Scenario, Server, System};

/// The windows that a `Channel` has.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;

/// The streams that a `Channel` opens before the server has said how many it allows.
const FIRST_STREAMS: usize = 100;

/// What a message is preceded by: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// As many connections as there are to be, in turn. Answers are read, but not decoded.
#[derive(Clone, Debug)]
pub struct H2 {
    connections: Vec<SendRequest<Bytes>>,
    /// One of each kind, in the order of [`Kind`].
    requests: Vec<Request<()>>,
    next: Arc<AtomicUsize>,
}

impl System for H2 {
    const NAME: &'static str = "h2";

    async fn connect(server: &Server, scenario: &Scenario) -> Result<Self, Failure> {
        let uri = server.uri();
        let mut senders = Vec::new();
        for _ in 0..scenario.connections.fixed() {
            let stream = TcpStream::connect(uri.trim_start_matches("http://")).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = h2::client::Builder::new()
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .initial_max_send_streams(FIRST_STREAMS)
                .handshake(stream)
                .await?;
            // If it ends, every call says so.
            tokio::spawn(connection);
            senders.push(sender);
        }
        let kinds = [Kind::Unary, Kind::ServerStream, Kind::ClientStream, Kind::Bidi];
        let requests = kinds.map(|kind| {
            Request::post(format!("{uri}{}", kind.path()))
                .header(header::TE, HeaderValue::from_static("trailers"))
                .header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
                .body(())
        });
        let requests = requests.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { connections: senders, requests, next: Arc::default() })
    }
}

impl Caller for H2 {
    async fn call(&mut self, call: &Call, read: &AtomicUsize) -> Result<(), Failure> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let mut sender = self.connections[turn].clone().ready().await?;
        let request = self.requests[call.kind as usize].clone();
        let (response, stream) = sender.send_request(request, false)?;
        let ((), bytes) = tokio::try_join!(send(stream, call), receive(response, read))?;
        let answer = PREFIX + Answer { payload: call.ask().payload }.encoded_len();
        call.expect(bytes / answer * call.size)
    }
}

async fn send(mut stream: SendStream<Bytes>, call: &Call) -> Result<(), Failure> {
    let ask = call.ask();
    let length = ask.encoded_len();
    let mut message = BytesMut::with_capacity(PREFIX + length);
    message.put_u8(0);
    message.put_u32(u32::try_from(length)?);
    ask.encode(&mut message)?;
    let message = message.freeze();
    let asks = call.asks();
    if asks == 1 {
        return Ok(stream.send_data(message, true)?);
    }
    for _ in 0..asks {
        let mut left = message.clone();
        while !left.is_empty() {
            stream.reserve_capacity(left.len());
            let capacity = poll_fn(|cx| stream.poll_capacity(cx)).await;
            let capacity = capacity.ok_or("the stream has ended before its messages")??;
            stream.send_data(left.split_to(capacity.min(left.len())), false)?;
        }
    }
    Ok(stream.send_data(Bytes::new(), true)?)
}

/// The bytes of the answers, with what precedes each.
async fn receive(response: ResponseFuture, read: &AtomicUsize) -> Result<usize, Failure> {
    let mut body = response.await?.into_body();
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let length = data?.len();
        body.flow_control().release_capacity(length)?;
        read.fetch_add(length, Ordering::Relaxed);
        bytes += length;
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    match trailers.get("grpc-status") {
        Some(status) if status == "0" => Ok(bytes),
        status => Err(format!("the call ended with grpc-status {status:?}").into()),
    }
}
