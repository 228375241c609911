//! Settings of HTTP/2, by the names of tonic's `Endpoint`.

use super::ChannelPoolBuilder;
use crate::connection::Http2;
use crate::error::ConfigError;

/// What RFC 9113, section 6.9 allows as a window. A connection's begins with the default size, and cannot
/// be made smaller than that.
const MAX_WINDOW: u32 = (1 << 31) - 1;
const DEFAULT_WINDOW: u32 = (1 << 16) - 1;

/// What RFC 9113, section 6.5.2 allows as a frame size.
const FRAME_SIZES: (u32, u32) = (1 << 14, (1 << 24) - 1);

pub(super) fn check(http2: &Http2) -> Result<(), ConfigError> {
    let connection = (DEFAULT_WINDOW, MAX_WINDOW);
    for (setting, value, (min, max)) in [
        ("initial_stream_window_size", http2.stream_window, (1, MAX_WINDOW)),
        ("initial_connection_window_size", http2.connection_window, connection),
        ("max_frame_size", http2.max_frame_size, FRAME_SIZES),
        ("http2_max_header_list_size", http2.max_header_list_size, (1, u32::MAX)),
    ] {
        if !(min..=max).contains(&value) {
            return Err(ConfigError::OutOfRange { setting, value, min, max });
        }
    }
    Ok(())
}

impl ChannelPoolBuilder {
    /// How much of an answer may be under way, or here unread, on one stream, in bytes. `None` is the
    /// default, 2 MiB, as in hyper's clients: at 10 ms of round trip it allows 200 MB/s.
    pub fn initial_stream_window_size(mut self, size: impl Into<Option<u32>>) -> Self {
        self.transport.http2.stream_window = size.into().unwrap_or(Http2::default().stream_window);
        self
    }

    /// The same of all streams of a connection together: when as much is here unread, no answer on
    /// that connection goes on. `None` is the default, 5 MiB.
    pub fn initial_connection_window_size(mut self, size: impl Into<Option<u32>>) -> Self {
        self.transport.http2.connection_window =
            size.into().unwrap_or(Http2::default().connection_window);
        self
    }

    /// The largest frame that the server may send, from 16,384 to 16,777,215 bytes (RFC 9113, section 6.5.2). `None` is
    /// the default, 32 KiB: streams are faster than with the 16 KiB that HTTP/2 begins with, and calls beside them
    /// are, too.
    pub fn max_frame_size(mut self, size: impl Into<Option<u32>>) -> Self {
        self.transport.http2.max_frame_size =
            size.into().unwrap_or(Http2::default().max_frame_size);
        self
    }

    /// The most that the headers or the trailers of an answer may hold, uncompressed, in bytes; an
    /// answer with more fails. Default 16 KiB, as with hyper's clients, and where gRPC's C library draws
    /// its hard limit. Raise it for servers that send large error details
    /// (`grpc-status-details-bin`).
    pub fn http2_max_header_list_size(mut self, size: u32) -> Self {
        self.transport.http2.max_header_list_size = size;
        self
    }
}
