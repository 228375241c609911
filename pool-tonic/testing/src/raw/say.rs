//! What a scripted server says.

use std::io;

use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{Raw, flag, kind, setting};
use crate::proto::Answer;

/// The longest frame that a client takes which has not said otherwise (RFC 9113, section 6.5.2).
const FRAME: usize = 1 << 14;

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Says nothing more. The client may still write.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub async fn fall_silent(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Sends a frame, whatever it is.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(9 + payload.len());
        frame.extend_from_slice(&length.to_be_bytes()[1..]);
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.bytes(&frame).await
    }

    /// Sends settings, in this order.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn settings(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.unsettled += 1;
        self.frame(kind::SETTINGS, 0, 0, &payload).await
    }

    /// Acknowledges the client's settings: only then it takes as much data as they allow.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn acknowledge(&mut self) -> io::Result<()> {
        self.frame(kind::SETTINGS, flag::ACK, 0, &[]).await
    }

    /// Announces a limit of streams.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn limit(&mut self, max_streams: u32) -> io::Result<()> {
        self.settings(&[(setting::MAX_CONCURRENT_STREAMS, max_streams)]).await
    }

    /// Sends a PING.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn ping(&mut self, data: [u8; 8]) -> io::Result<()> {
        self.frame(kind::PING, 0, 0, &data).await
    }

    /// Acknowledges a PING.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn pong(&mut self, data: [u8; 8]) -> io::Result<()> {
        self.frame(kind::PING, flag::ACK, 0, &data).await
    }

    /// Gives the client room for so many bytes more on a stream, or on the connection (0).
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn window_update(&mut self, stream: u32, bytes: u32) -> io::Result<()> {
        self.frame(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()).await
    }

    /// Sends a GOAWAY.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn goaway(&mut self, last_stream: u32, code: u32, debug: &str) -> io::Result<()> {
        let mut payload = last_stream.to_be_bytes().to_vec();
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(debug.as_bytes());
        self.frame(kind::GOAWAY, 0, 0, &payload).await
    }

    /// Resets a stream.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn reset(&mut self, stream: u32, code: u32) -> io::Result<()> {
        self.frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes()).await
    }

    /// Begins an answer: its headers.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn headers(&mut self, stream: u32) -> io::Result<()> {
        let block = block(true, &[("content-type", "application/grpc")]);
        self.frame(kind::HEADERS, flag::END_HEADERS, stream, &block).await
    }

    /// Sends data of an answer, which goes on, in as many frames as it takes.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn data(&mut self, stream: u32, data: &[u8]) -> io::Result<()> {
        for data in data.chunks(FRAME) {
            self.frame(kind::DATA, 0, stream, data).await?;
        }
        Ok(())
    }

    /// Ends an answer: trailers with this status.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn trailers(&mut self, stream: u32, status: &str) -> io::Result<()> {
        let block = block(false, &[("grpc-status", status)]);
        self.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &block).await
    }

    /// Answers with trailers only: one block of headers, and the end.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn trailers_only(&mut self, stream: u32, status: &str) -> io::Result<()> {
        let block = block(true, &[("content-type", "application/grpc"), ("grpc-status", status)]);
        self.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &block).await
    }

    /// Ends an answer: one empty message, and trailers with status OK.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn finish(&mut self, stream: u32) -> io::Result<()> {
        self.data(stream, &message("")).await?;
        self.trailers(stream, "0").await
    }

    /// Answers a call with an empty message.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn answer(&mut self, stream: u32) -> io::Result<()> {
        self.headers(stream).await?;
        self.finish(stream).await
    }
}

/// An [`Answer`] as a gRPC message.
///
/// # Panics
///
/// If it is longer than 4 GiB.
pub fn message(text: &str) -> Vec<u8> {
    let answer = Answer { text: text.to_owned(), messages: 0 }.encode_to_vec();
    let length = u32::try_from(answer.len()).expect("tests send short messages");
    let mut message = vec![0];
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(&answer);
    message
}

/// Headers as HPACK writes them, without its tables and without Huffman's code: after `:status: 200`, if they
/// begin an answer, those given.
pub fn block(begins: bool, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    if begins {
        // Entry 8 of the static table.
        block.push(0x88);
    }
    for (name, value) in headers {
        // A literal that is not indexed, with a new name.
        block.push(0x00);
        literal(&mut block, name);
        literal(&mut block, value);
    }
    block
}

/// A string (RFC 7541, section 5.2), with its length as an integer of a prefix of 7 bits (section 5.1).
fn literal(block: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length) if length < 0x7f => block.push(length),
        _ => {
            block.push(0x7f);
            let mut rest = text.len() - 0x7f;
            while rest >= 0x80 {
                block.push(u8::try_from(rest % 0x80).expect("it is below 128") | 0x80);
                rest /= 0x80;
            }
            block.push(u8::try_from(rest).expect("it is below 128"));
        }
    }
    block.extend_from_slice(text.as_bytes());
}
