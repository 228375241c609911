//! Calls that the pool makes for itself on one connection, below everything that calls of a user go
//! through: one request message, answers read one by one.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::uri::PathAndQuery;
use tonic::{Code, Status};

use crate::address::Address;
use crate::code;

/// A frame of gRPC's: a flag for compression, and the length.
const PREFIX: usize = 5;

/// The longest answer that is read, as with tonic's clients.
const MAX_MESSAGE: usize = 4 << 20;

/// The answers to a call, as they come.
pub(super) struct Answers {
    recv: RecvStream,
    read: BytesMut,
}

/// Begins a call with one message.
///
/// # Errors
///
/// The status that it ended with before an answer came.
pub(super) async fn call(
    mut sender: SendRequest<Bytes>,
    address: &Address,
    path: PathAndQuery,
    metadata: HeaderMap,
    message: &[u8],
) -> Result<Answers, Status> {
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = address.uri(Some(path));
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = metadata;
    let headers = request.headers_mut();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let length = u32::try_from(message.len())
        .map_err(|_| Status::internal("the message is longer than gRPC allows"))?;
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    poll_fn(|cx| sender.poll_ready(cx)).await.map_err(broken)?;
    let (response, mut send) = sender.send_request(request, false).map_err(broken)?;
    // Held back no longer than it has to be: the connection is kept open by it.
    drop(sender);
    send.send_data(frame.freeze(), true).map_err(broken)?;
    let response = response.await.map_err(broken)?;
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() != Code::Ok
    {
        return Err(status);
    }
    let http = response.status();
    if http != StatusCode::OK {
        return Err(Status::new(code::of_http(http), format!("it answered with HTTP {http}")));
    }
    Ok(Answers { recv: response.into_body(), read: BytesMut::new() })
}

impl Answers {
    /// The next message; `None` when the call has ended with OK.
    ///
    /// # Errors
    ///
    /// The status that it ended with.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            match poll_fn(|cx| self.recv.poll_data(cx)).await {
                Some(data) => {
                    let data = data.map_err(broken)?;
                    // It fails only when the stream is gone, and its window with it.
                    let _ = self.recv.flow_control().release_capacity(data.len());
                    self.read.extend_from_slice(&data);
                }
                None => return self.end().await,
            }
        }
    }

    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(mut prefix) = self.read.get(..PREFIX) else { return Ok(None) };
        let compressed = prefix.get_u8() != 0;
        let length = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX);
        if compressed || length > MAX_MESSAGE {
            return Err(Status::internal("its answer is compressed, or too long"));
        }
        if self.read.len() < PREFIX + length {
            return Ok(None);
        }
        self.read.advance(PREFIX);
        Ok(Some(self.read.split_to(length).freeze()))
    }

    async fn end(&mut self) -> Result<Option<Bytes>, Status> {
        let trailers = poll_fn(|cx| self.recv.poll_trailers(cx)).await.map_err(broken)?;
        let status = trailers.as_ref().and_then(Status::from_header_map);
        match status {
            Some(status) if status.code() == Code::Ok => Ok(None),
            Some(status) => Err(status),
            None => Err(Status::unknown("it ended without a status")),
        }
    }
}

fn broken(error: h2::Error) -> Status {
    let mut status = Status::unavailable(error.to_string());
    status.set_source(Arc::new(error));
    status
}
