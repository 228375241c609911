//! A server that is nothing but frames: it sends exactly what the test [says](Raw::frame), and reads what
//! comes. It answers nothing by itself, no PING and no SETTINGS either.

mod say;

use std::collections::{HashMap, VecDeque};
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;

pub use say::{block, message};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113, section 6).
pub mod kind {
    #![allow(missing_docs)]
    pub const DATA: u8 = 0x0;
    pub const HEADERS: u8 = 0x1;
    pub const RST_STREAM: u8 = 0x3;
    pub const SETTINGS: u8 = 0x4;
    pub const PING: u8 = 0x6;
    pub const GOAWAY: u8 = 0x7;
    pub const WINDOW_UPDATE: u8 = 0x8;
    pub const CONTINUATION: u8 = 0x9;
}

/// Flags of frames.
pub mod flag {
    #![allow(missing_docs)]
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
}

/// Settings (RFC 9113, section 6.5.2) that tests send.
pub mod setting {
    #![allow(missing_docs)]
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub const MAX_FRAME_SIZE: u16 = 0x5;
}

/// Error codes of RFC 9113, section 7, that tests send.
pub mod code {
    #![allow(missing_docs)]
    pub const NO_ERROR: u32 = 0x0;
    pub const INTERNAL_ERROR: u32 = 0x2;
    pub const FLOW_CONTROL_ERROR: u32 = 0x3;
    pub const REFUSED_STREAM: u32 = 0x7;
    pub const CANCEL: u32 = 0x8;
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// The highest id that a stream can have.
pub const MAX_STREAM: u32 = (1 << 31) - 1;

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

/// A connection of frames, over TCP or whatever can be read and written.
#[derive(Debug)]
pub struct Raw<S = TcpStream> {
    stream: S,
    /// Read and not heard yet: a frame may be two things at once, or come while another one is waited for.
    held: VecDeque<Heard>,
    /// Requests that have begun, while whole ones are waited for.
    begun: HashMap<u32, Vec<u8>>,
    /// SETTINGS sent that the client has not acknowledged.
    unsettled: usize,
    /// PINGs of the client that were not looked at yet.
    pings: VecDeque<[u8; 8]>,
    /// Acknowledgements of PINGs that were not looked at yet.
    pongs: VecDeque<[u8; 8]>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Reads the client's preface, and says nothing.
    ///
    /// # Errors
    ///
    /// If reading fails.
    ///
    /// # Panics
    ///
    /// If what comes is no preface.
    pub async fn mute(mut stream: S) -> io::Result<Self> {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await?;
        assert_eq!(preface, PREFACE, "the client speaks HTTP/2");
        Ok(Self {
            stream,
            held: VecDeque::new(),
            begun: HashMap::new(),
            unsettled: 0,
            pings: VecDeque::new(),
            pongs: VecDeque::new(),
        })
    }

    /// Reads the client's preface and sends settings with this limit of streams.
    ///
    /// # Errors
    ///
    /// If reading or writing fails.
    pub async fn greet(stream: S, max_streams: u32) -> io::Result<Self> {
        let mut raw = Self::mute(stream).await?;
        raw.limit(max_streams).await?;
        Ok(raw)
    }

    /// Reads a frame, which is then held, or noted. False if the connection is closed.
    async fn read(&mut self) -> bool {
        let mut head = [0; 9];
        if self.stream.read_exact(&mut head).await.is_err() {
            return false;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; usize::try_from(length).expect("a frame fits into memory")];
        self.stream.read_exact(&mut payload).await.expect("the frame is whole");
        let ends = flags & flag::END_STREAM != 0;
        let ack = flags & flag::ACK != 0;
        match kind {
            kind::HEADERS => self.held.push_back(Heard::Open(stream)),
            kind::DATA if payload.is_empty() && ends => {}
            kind::DATA => self.held.push_back(Heard::Data(stream, payload)),
            kind::RST_STREAM => {
                let code = payload.first_chunk().copied().expect("a reset has a code");
                self.held.push_back(Heard::Reset(stream, u32::from_be_bytes(code)));
            }
            kind::GOAWAY => self.held.push_back(Heard::Goaway),
            kind::SETTINGS if ack => self.unsettled -= 1,
            kind::PING => {
                let data = payload.try_into().expect("a PING has eight bytes");
                if ack { &mut self.pongs } else { &mut self.pings }.push_back(data);
            }
            _ => {}
        }
        if ends && matches!(kind, kind::HEADERS | kind::DATA) {
            self.held.push_back(Heard::End(stream));
        }
        true
    }

    /// What the client says next; control frames are passed over.
    ///
    /// # Panics
    ///
    /// If a frame is cut short.
    pub async fn hear(&mut self) -> Heard {
        loop {
            if let Some(held) = self.held.pop_front() {
                return held;
            }
            if !self.read().await {
                return Heard::Closed;
            }
        }
    }

    /// What it is read from and written to, to be ended as the test likes.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// What was read already, while something else was waited for.
    pub fn kept(&mut self) -> Vec<Heard> {
        self.held.drain(..).collect()
    }

    /// Waits until the client has acknowledged all settings: it knows them. What it said before that is
    /// [kept](Self::kept).
    ///
    /// # Panics
    ///
    /// If it closes the connection instead.
    pub async fn settled(&mut self) {
        while self.unsettled > 0 {
            assert!(self.read().await, "the client went without a word on the settings");
        }
    }

    /// Waits for a PING of the client, which [`pong`](Self::pong) answers. What else it says is kept.
    ///
    /// `None` if the connection is closed.
    pub async fn pinged(&mut self) -> Option<[u8; 8]> {
        loop {
            if let Some(ping) = self.pings.pop_front() {
                return Some(ping);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// Waits for an acknowledgement of a PING. What else the client says is kept.
    ///
    /// `None` if the connection is closed.
    pub async fn ponged(&mut self) -> Option<[u8; 8]> {
        loop {
            if let Some(pong) = self.pongs.pop_front() {
                return Some(pong);
            }
            if !self.read().await {
                return None;
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

    /// Waits until the client resets a stream, and returns the code.
    ///
    /// # Panics
    ///
    /// If it says goodbye instead.
    pub async fn reset_of(&mut self, wanted: u32) -> u32 {
        loop {
            match self.hear().await {
                Heard::Reset(stream, code) if stream == wanted => return code,
                Heard::Goaway | Heard::Closed => panic!("the client went without a reset"),
                _ => {}
            }
        }
    }

    /// Waits until the client has closed the connection.
    pub async fn closed(&mut self) {
        while self.hear().await != Heard::Closed {}
    }
}
