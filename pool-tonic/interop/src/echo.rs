//! The service `interop.Echo`, as both sides know it: its methods, and messages that are bytes.

use bytes::{Buf, BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The service's name.
pub(crate) const SERVICE: &str = "interop.Echo";

/// The header that says a call's number.
pub(crate) const CALL_ID: &str = "call-id";

/// The header that says how many attempts of a call are to fail at first.
pub(crate) const FAIL_FIRST: &str = "fail-first";

/// How often a server-streaming call answers, and how many messages the streaming requests have.
pub(crate) const MESSAGES: usize = 3;

/// The four call types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ServerStream,
    ClientStream,
    Bidi,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Unary, Self::ServerStream, Self::ClientStream, Self::Bidi];

    /// The types in turn, by the number of the call.
    pub(crate) fn of(id: usize) -> Self {
        Self::ALL[id % Self::ALL.len()]
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Unary => "/interop.Echo/Unary",
            Self::ServerStream => "/interop.Echo/ServerStream",
            Self::ClientStream => "/interop.Echo/ClientStream",
            Self::Bidi => "/interop.Echo/Bidi",
        }
    }

    pub(crate) fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.path() == path)
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
