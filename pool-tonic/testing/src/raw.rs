//! A server that is nothing but frames: it sends exactly what the test says, and reads what comes.

use std::collections::HashMap;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

const MAX_CONCURRENT_STREAMS: u16 = 0x3;

/// Error codes of RFC 9113, section 7, that tests send.
pub mod code {
    #![allow(missing_docs)]
    pub const NO_ERROR: u32 = 0x0;
    pub const INTERNAL_ERROR: u32 = 0x2;
    pub const REFUSED_STREAM: u32 = 0x7;
    pub const CANCEL: u32 = 0x8;
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// What a client sent, as far as tests care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// HEADERS, which open this stream.
    Open(u32),
    /// DATA of a stream.
    Data(u32, Vec<u8>),
    /// The last frame of a stream's request.
    End(u32),
    /// `RST_STREAM` with a code.
    Reset(u32, u32),
    /// GOAWAY.
    Goaway,
    /// The connection is closed.
    Closed,
}

/// A connection of frames.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// A frame that is two things at once says them one by one.
    held: Option<Heard>,
    /// Requests that have begun, while whole ones are waited for.
    begun: HashMap<u32, Vec<u8>>,
}

impl Raw {
    /// Reads the client's preface, and says nothing.
    ///
    /// # Errors
    ///
    /// If reading fails.
    ///
    /// # Panics
    ///
    /// If what comes is no preface.
    pub async fn mute(mut stream: TcpStream) -> io::Result<Self> {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await?;
        assert_eq!(preface, PREFACE, "the client speaks HTTP/2");
        Ok(Self { stream, held: None, begun: HashMap::new() })
    }

    /// Reads the client's preface and sends settings with this limit of streams.
    ///
    /// # Errors
    ///
    /// If reading or writing fails.
    pub async fn greet(stream: TcpStream, max_streams: u32) -> io::Result<Self> {
        let mut raw = Self::mute(stream).await?;
        raw.limit(max_streams).await?;
        Ok(raw)
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(9 + payload.len());
        frame.extend_from_slice(&length.to_be_bytes()[1..]);
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await
    }

    /// Announces a limit of streams.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn limit(&mut self, max_streams: u32) -> io::Result<()> {
        let mut payload = MAX_CONCURRENT_STREAMS.to_be_bytes().to_vec();
        payload.extend_from_slice(&max_streams.to_be_bytes());
        self.frame(SETTINGS, 0, 0, &payload).await
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
        self.frame(GOAWAY, 0, 0, &payload).await
    }

    /// Resets a stream.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn reset(&mut self, stream: u32, code: u32) -> io::Result<()> {
        self.frame(RST_STREAM, 0, stream, &code.to_be_bytes()).await
    }

    /// Begins an answer: its headers.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn headers(&mut self, stream: u32) -> io::Result<()> {
        // HPACK: `:status: 200` from the static table, and a literal content type.
        let mut block = vec![0x88, 0x0f, 0x10];
        literal(&mut block, "application/grpc");
        self.frame(HEADERS, END_HEADERS, stream, &block).await
    }

    /// Ends an answer: one empty message, and trailers with status OK.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub async fn finish(&mut self, stream: u32) -> io::Result<()> {
        self.frame(DATA, 0, stream, &[0; 5]).await?;
        let mut block = vec![0x00];
        literal(&mut block, "grpc-status");
        literal(&mut block, "0");
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block).await
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

    /// What the client says next; control frames are passed over.
    ///
    /// # Panics
    ///
    /// If a frame is cut short.
    pub async fn hear(&mut self) -> Heard {
        if let Some(held) = self.held.take() {
            return held;
        }
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).await.is_err() {
                return Heard::Closed;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; usize::try_from(length).expect("a frame fits into memory")];
            self.stream.read_exact(&mut payload).await.expect("the frame is whole");
            let ends = flags & END_STREAM != 0;
            match kind {
                HEADERS => {
                    self.held = ends.then_some(Heard::End(stream));
                    return Heard::Open(stream);
                }
                DATA if payload.is_empty() && ends => return Heard::End(stream),
                DATA => {
                    self.held = ends.then_some(Heard::End(stream));
                    return Heard::Data(stream, payload);
                }
                RST_STREAM => {
                    let code = payload.first_chunk().copied().expect("a reset has a code");
                    return Heard::Reset(stream, u32::from_be_bytes(code));
                }
                GOAWAY => return Heard::Goaway,
                _ => {}
            }
        }
    }

    /// Waits until the client opens a stream.
    ///
    /// # Panics
    ///
    /// If it says goodbye instead.
    pub async fn opened(&mut self) -> u32 {
        loop {
            match self.hear().await {
                Heard::Open(stream) => return stream,
                Heard::Goaway | Heard::Closed => panic!("the client went without a request"),
                Heard::Data(..) | Heard::End(_) | Heard::Reset(..) => {}
            }
        }
    }

    /// Waits until the client has sent a whole request; its stream and its data.
    ///
    /// # Panics
    ///
    /// If it says goodbye instead.
    pub async fn request(&mut self) -> (u32, Vec<u8>) {
        loop {
            match self.hear().await {
                Heard::Open(stream) => {
                    self.begun.insert(stream, Vec::new());
                }
                Heard::Data(stream, data) => self.begun.entry(stream).or_default().extend(data),
                Heard::End(stream) => {
                    return (stream, self.begun.remove(&stream).unwrap_or_default());
                }
                Heard::Reset(..) => {}
                Heard::Goaway | Heard::Closed => panic!("the client went before its request"),
            }
        }
    }
}

/// A string as HPACK writes it, without Huffman's code.
fn literal(block: &mut Vec<u8>, text: &str) {
    block.push(u8::try_from(text.len()).expect("tests send short headers"));
    block.extend_from_slice(text.as_bytes());
}
