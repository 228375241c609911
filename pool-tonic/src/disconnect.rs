//! Why a connection that was ready is one no more, in the words of gRFC A94.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};

use h2::Reason;

/// Why a READY connection took calls no more: the first that was seen of it, as gRFC A94 names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectError {
    /// The server said GOAWAY with the code `NO_ERROR`.
    GoawayNoError,
    /// GOAWAY with `PROTOCOL_ERROR`.
    GoawayProtocolError,
    /// GOAWAY with `INTERNAL_ERROR`, or with a code that HTTP/2 does not know, which is the same by RFC 9113.
    GoawayInternalError,
    /// GOAWAY with `FLOW_CONTROL_ERROR`.
    GoawayFlowControlError,
    /// GOAWAY with `SETTINGS_TIMEOUT`.
    GoawaySettingsTimeout,
    /// GOAWAY with `STREAM_CLOSED`.
    GoawayStreamClosed,
    /// GOAWAY with `FRAME_SIZE_ERROR`.
    GoawayFrameSizeError,
    /// GOAWAY with `REFUSED_STREAM`.
    GoawayRefusedStream,
    /// GOAWAY with `CANCEL`.
    GoawayCancel,
    /// GOAWAY with `COMPRESSION_ERROR`.
    GoawayCompressionError,
    /// GOAWAY with `CONNECT_ERROR`.
    GoawayConnectError,
    /// GOAWAY with `ENHANCE_YOUR_CALM`.
    GoawayEnhanceYourCalm,
    /// GOAWAY with `INADEQUATE_SECURITY`.
    GoawayInadequateSecurity,
    /// GOAWAY with `HTTP_1_1_REQUIRED`.
    GoawayHttp11Required,
    /// The pool was done with it: idle, too old, one too many, used up, its address gone, or the pool closed; or the
    /// runtime ended that drove it.
    SubchannelShutdown,
    /// The server or the network reset it.
    ConnectionReset,
    /// The network gave it up, or nothing came within the timeout of keepalive.
    ConnectionTimedOut,
    /// This system aborted it.
    ConnectionAborted,
    /// Any other error of the socket.
    SocketError,
    /// Anything else: the server closed it without a GOAWAY, or did not keep to HTTP/2.
    Unknown,
}

impl DisconnectError {
    /// Every one of them.
    pub const ALL: [Self; 20] = [
        Self::GoawayNoError,
        Self::GoawayProtocolError,
        Self::GoawayInternalError,
        Self::GoawayFlowControlError,
        Self::GoawaySettingsTimeout,
        Self::GoawayStreamClosed,
        Self::GoawayFrameSizeError,
        Self::GoawayRefusedStream,
        Self::GoawayCancel,
        Self::GoawayCompressionError,
        Self::GoawayConnectError,
        Self::GoawayEnhanceYourCalm,
        Self::GoawayInadequateSecurity,
        Self::GoawayHttp11Required,
        Self::SubchannelShutdown,
        Self::ConnectionReset,
        Self::ConnectionTimedOut,
        Self::ConnectionAborted,
        Self::SocketError,
        Self::Unknown,
    ];

    /// The value of A94's label `grpc.disconnect_error`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GoawayNoError => "GOAWAY NO_ERROR",
            Self::GoawayProtocolError => "GOAWAY PROTOCOL_ERROR",
            Self::GoawayInternalError => "GOAWAY INTERNAL_ERROR",
            Self::GoawayFlowControlError => "GOAWAY FLOW_CONTROL_ERROR",
            Self::GoawaySettingsTimeout => "GOAWAY SETTINGS_TIMEOUT",
            Self::GoawayStreamClosed => "GOAWAY STREAM_CLOSED",
            Self::GoawayFrameSizeError => "GOAWAY FRAME_SIZE_ERROR",
            Self::GoawayRefusedStream => "GOAWAY REFUSED_STREAM",
            Self::GoawayCancel => "GOAWAY CANCEL",
            Self::GoawayCompressionError => "GOAWAY COMPRESSION_ERROR",
            Self::GoawayConnectError => "GOAWAY CONNECT_ERROR",
            Self::GoawayEnhanceYourCalm => "GOAWAY ENHANCE_YOUR_CALM",
            Self::GoawayInadequateSecurity => "GOAWAY INADEQUATE_SECURITY",
            Self::GoawayHttp11Required => "GOAWAY HTTP_1_1_REQUIRED",
            Self::SubchannelShutdown => "subchannel shutdown",
            Self::ConnectionReset => "connection reset",
            Self::ConnectionTimedOut => "connection timed out",
            Self::ConnectionAborted => "connection aborted",
            Self::SocketError => "socket error",
            Self::Unknown => "unknown",
        }
    }

    /// What h2 says of a connection that takes no more streams.
    pub(crate) fn of(error: &h2::Error) -> Self {
        if error.is_go_away() && error.is_remote() {
            return error.reason().map_or(Self::Unknown, Self::goaway);
        }
        error.get_io().map_or(Self::Unknown, |error| Self::socket(error.kind()))
    }

    fn socket(error: ErrorKind) -> Self {
        match error {
            // No error of the socket: a frame, or a TLS record, is not there as a whole.
            ErrorKind::UnexpectedEof => Self::Unknown,
            ErrorKind::ConnectionReset => Self::ConnectionReset,
            ErrorKind::TimedOut => Self::ConnectionTimedOut,
            ErrorKind::ConnectionAborted => Self::ConnectionAborted,
            _ => Self::SocketError,
        }
    }

    fn goaway(reason: Reason) -> Self {
        match reason {
            Reason::NO_ERROR => Self::GoawayNoError,
            Reason::PROTOCOL_ERROR => Self::GoawayProtocolError,
            Reason::FLOW_CONTROL_ERROR => Self::GoawayFlowControlError,
            Reason::SETTINGS_TIMEOUT => Self::GoawaySettingsTimeout,
            Reason::STREAM_CLOSED => Self::GoawayStreamClosed,
            Reason::FRAME_SIZE_ERROR => Self::GoawayFrameSizeError,
            Reason::REFUSED_STREAM => Self::GoawayRefusedStream,
            Reason::CANCEL => Self::GoawayCancel,
            Reason::COMPRESSION_ERROR => Self::GoawayCompressionError,
            Reason::CONNECT_ERROR => Self::GoawayConnectError,
            Reason::ENHANCE_YOUR_CALM => Self::GoawayEnhanceYourCalm,
            Reason::INADEQUATE_SECURITY => Self::GoawayInadequateSecurity,
            Reason::HTTP_1_1_REQUIRED => Self::GoawayHttp11Required,
            _ => Self::GoawayInternalError,
        }
    }
}

/// A number of connections for each [`DisconnectError`]. Each connection that was opened counts once, when it takes
/// calls no more. One that finishes its calls since the pool wants to be rid of it, for its age or its number, may be taken
/// back for others until then: it counts when it closes, or when its server ends it before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disconnections([u64; DisconnectError::ALL.len()]);

impl Disconnections {
    /// The number for one reason.
    pub fn get(&self, error: DisconnectError) -> u64 {
        self.0[error as usize]
    }

    /// Every reason with its number, also those at 0.
    pub fn iter(&self) -> impl Iterator<Item = (DisconnectError, u64)> + '_ {
        DisconnectError::ALL.into_iter().zip(self.0)
    }

    /// The sum over all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Those at work.
#[derive(Debug, Default)]
pub(crate) struct DisconnectTotals([AtomicU64; DisconnectError::ALL.len()]);

impl DisconnectTotals {
    pub(crate) fn count(&self, error: DisconnectError) {
        // After what opened it, as whoever reads both sees it.
        self.0[error as usize].fetch_add(1, Ordering::Release);
    }

    pub(crate) fn snapshot(&self) -> Disconnections {
        Disconnections(std::array::from_fn(|error| self.0[error].load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_number_and_its_name() {
        let totals = DisconnectTotals::default();
        totals.count(DisconnectError::Unknown);
        totals.count(DisconnectError::GoawayCancel);
        let seen = totals.snapshot();
        assert!(seen.iter().all(|(error, number)| number == seen.get(error)));
        assert_eq!((seen.get(DisconnectError::GoawayCancel), seen.total()), (1, 2));
        let names: std::collections::HashSet<_> =
            DisconnectError::ALL.into_iter().map(DisconnectError::as_str).collect();
        assert_eq!(names.len(), DisconnectError::ALL.len());
    }

    #[test]
    fn a_code_that_nobody_knows_is_an_internal_error() {
        let unknown = DisconnectError::goaway(Reason::from(0x77));
        assert_eq!(unknown, DisconnectError::GoawayInternalError);
        let calm = DisconnectError::goaway(Reason::ENHANCE_YOUR_CALM);
        assert_eq!(calm.as_str(), "GOAWAY ENHANCE_YOUR_CALM");
    }

    #[test]
    fn an_error_of_the_socket_is_what_it_is() {
        let of = DisconnectError::socket;
        assert_eq!(of(ErrorKind::ConnectionReset), DisconnectError::ConnectionReset);
        assert_eq!(of(ErrorKind::TimedOut), DisconnectError::ConnectionTimedOut);
        assert_eq!(of(ErrorKind::ConnectionAborted), DisconnectError::ConnectionAborted);
        assert_eq!(of(ErrorKind::BrokenPipe), DisconnectError::SocketError);
        assert_eq!(of(ErrorKind::UnexpectedEof), DisconnectError::Unknown);
    }
}
