//! [`CallError`]: what lies behind the status of a call that was sent.

use std::error::Error as StdError;
use std::fmt;

use http::StatusCode;

use crate::options::ServedBy;

/// Where a call was when it failed, and why: the [source](std::error::Error::source) of the
/// [`tonic::Status`] of every call that was sent to a server and did not get a status from it, or that had an
/// [exclusive](crate::ExclusiveChannel) connection and could not be sent on it. (A status that the
/// server sent has no source. The address is in the [extensions](ServedBy) of the response then, which a layer sees,
/// and the caller has it by [`SentTo`](crate::SentTo).)
///
/// Its own source is HTTP/2's error, if that is what it was.
///
/// # Examples
///
/// ```
/// use std::error::Error as _;
///
/// use pool_tonic::CallError;
///
/// fn log(status: &tonic::Status) {
///     if let Some(error) = status.source().and_then(|source| source.downcast_ref::<CallError>()) {
///         println!("{} failed a call: {status}", error.served_by());
///     }
/// }
/// ```
#[derive(Debug)]
pub struct CallError {
    served_by: ServedBy,
    reason: Reason,
}

#[derive(Debug)]
pub(super) enum Reason {
    Http2(h2::Error),
    Http(StatusCode),
    Deadline,
    /// Its connection, which is its holder's own, takes no more calls.
    Gone,
    /// The call before it on that has not ended in time, or too many wait for that.
    NoTurn,
}

impl CallError {
    pub(super) fn new(served_by: &ServedBy, reason: Reason) -> Self {
        Self { served_by: served_by.clone(), reason }
    }

    /// The address that the call was sent to, or was to be.
    pub fn served_by(&self) -> &ServedBy {
        &self.served_by
    }

    /// The error of the stream or of the connection.
    pub fn http2(&self) -> Option<&h2::Error> {
        match &self.reason {
            Reason::Http2(error) => Some(error),
            Reason::Http(_) | Reason::Deadline | Reason::Gone | Reason::NoTurn => None,
        }
    }

    /// The HTTP status of an answer that was not gRPC's: that of a proxy, as a rule.
    pub fn http_status(&self) -> Option<u16> {
        match &self.reason {
            Reason::Http(status) => Some(status.as_u16()),
            _ => None,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.served_by;
        match &self.reason {
            Reason::Http2(error) => write!(f, "{address}: {error}"),
            Reason::Http(status) => write!(f, "{address}: HTTP status {status}"),
            Reason::Deadline => write!(f, "{address}: the deadline passed"),
            Reason::Gone => write!(f, "{address}: the connection takes no more calls"),
            Reason::NoTurn => write!(f, "{address}: the connection has other calls"),
        }
    }
}

impl StdError for CallError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.reason {
            Reason::Http2(error) => Some(error),
            Reason::Http(_) | Reason::Deadline | Reason::Gone | Reason::NoTurn => None,
        }
    }
}
