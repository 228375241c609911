//! From errors to [`Status`]: which code, and what the message says.
//!
//! Codes follow "Errors" in gRPC's `doc/PROTOCOL-HTTP2.md`, "Fail fast" in `doc/wait-for-ready.md` and
//! `doc/http-grpc-status-mapping.md`. The error itself is kept as the status's source.
//!
//! One code is not the table's: a stream that the server resets with CANCEL is UNAVAILABLE here. The table has
//! CANCELLED for it, "call cancellation when sent by a server", but a caller that reads CANCELLED has to
//! think that it was itself who gave up, and neither retries nor looks for a server that went away in the middle of
//! a call, which is what sends such resets: proxies and servers that shut down.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use std::time::Duration;

use h2::{Reason, RecvStream};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use pool_core::CreateError;
use tonic::{Code, Status};

use super::deadline::Deadline;
use super::error::{CallError, Reason as Why};
use super::outcome::GRPC_STATUS;
use crate::address_book::AddressBook;
use crate::code;
use crate::connection::Connection;
use crate::error::ConnectError;
use crate::exclusive::NoTurn;
use crate::options::ServedBy;

type PoolError = pool_core::Error<ConnectError>;

fn with_source(
    code: Code,
    message: impl fmt::Display,
    source: impl StdError + Send + Sync + 'static,
) -> Status {
    let mut status = Status::new(code, message.to_string());
    status.set_source(Arc::new(source));
    status
}

/// Does `error` prove that the server's application has not seen the request?
///
/// h2 reports a remote GOAWAY only on streams above its last id (RFC 9113, section 6.8), and a refused
/// stream was not processed by definition (section 8.7).
pub(crate) fn never_processed(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || (error.is_reset() && is_refused(error)))
}

/// Is the whole connection over, for all of its streams? After a GOAWAY of the server it goes on for some.
pub(crate) fn is_connections(error: &h2::Error) -> bool {
    error.is_io() || (error.is_go_away() && !error.is_remote())
}

pub(crate) fn is_refused(error: &h2::Error) -> bool {
    error.reason() == Some(Reason::REFUSED_STREAM)
}

/// The status of a call whose stream or connection broke.
pub(crate) fn broken(
    error: h2::Error,
    connection: &Connection,
    deadline: Option<&Deadline>,
) -> Status {
    let served_by = connection.served_by();
    if let Some(by) = connection.cut_by()
        && error.is_io()
    {
        let message = format!("the connection to {served_by} was ended: {by}");
        let source = CallError::new(served_by, Why::Http2(error));
        return with_source(Code::Unavailable, message, source);
    }
    // Servers cancel a call whose deadline has passed on their clock too.
    if error.reason() == Some(Reason::CANCEL)
        && let Some(deadline) = deadline
        && deadline.left().is_none()
    {
        return passed_at(deadline, served_by, "to answer");
    }
    let (code, message) = if error.is_io() || error.is_go_away() {
        (Code::Unavailable, format!("the connection to {served_by} was lost: {error}"))
    } else {
        let code = match error.reason() {
            Some(Reason::REFUSED_STREAM | Reason::CANCEL) => Code::Unavailable,
            Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
            Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
            Some(Reason::STREAM_CLOSED | Reason::HTTP_1_1_REQUIRED) => Code::Unknown,
            _ => Code::Internal,
        };
        // All that h2 says of an answer that it cannot take is "protocol error".
        let is_bad = error.is_library() && error.reason() == Some(Reason::PROTOCOL_ERROR);
        let hint = if is_bad { " (its answer is malformed, or has too many headers)" } else { "" };
        (code, format!("the call to {served_by} was broken off: {error}{hint}"))
    };
    with_source(code, message, CallError::new(served_by, Why::Http2(error)))
}

/// The status of an answer that is not gRPC's: an HTTP error without a gRPC status, of a proxy as a rule. `None` if
/// it is the server's own, or may turn out to be.
pub(crate) fn from_http(
    response: &http::Response<RecvStream>,
    served_by: &ServedBy,
) -> Option<Status> {
    let (http, headers) = (response.status(), response.headers());
    if http == StatusCode::OK || headers.contains_key(GRPC_STATUS) {
        return None;
    }
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if content_type.starts_with(b"application/grpc") && !response.body().is_end_stream() {
        return None;
    }
    let message = format!("{served_by} answered with HTTP status {http} and no gRPC status");
    Some(with_source(code::of_http(http), message, CallError::new(served_by, Why::Http(http))))
}

/// The status of a call whose deadline passed while it waited for `what`.
pub(crate) fn passed(deadline: &Deadline, what: impl fmt::Display) -> Status {
    Status::deadline_exceeded(format!(
        "the deadline of {:?} passed while waiting for {what}",
        deadline.timeout()
    ))
}

/// The same where it is known for whom it waited: for `served_by` `to_do` something.
pub(crate) fn passed_at(deadline: &Deadline, served_by: &ServedBy, to_do: &str) -> Status {
    let mut status = passed(deadline, format_args!("{served_by} {to_do}"));
    status.set_source(Arc::new(CallError::new(served_by, Why::Deadline)));
    status
}

/// The status of a call on a connection of its own that takes no more calls.
pub(crate) fn gone(served_by: &ServedBy) -> Status {
    let message =
        format!("the exclusive connection to {served_by} takes no more calls: take another one");
    with_source(Code::Unavailable, message, CallError::new(served_by, Why::Gone))
}

/// The status of a call that needs a runtime of its caller's, which is not there, or keeps no time.
pub(crate) fn no_runtime() -> Status {
    Status::internal(
        "the call waits, or has a streaming request or a deadline: make it in a tokio runtime that keeps time",
    )
}

/// The status of a call that did not get its turn on a connection of its own.
pub(crate) fn no_turn(
    no_turn: NoTurn,
    served_by: &ServedBy,
    deadline: Option<&Deadline>,
    wait_timeout: Duration,
) -> Status {
    let before = format!("the call before it on the exclusive connection to {served_by}");
    let source = CallError::new(served_by, Why::NoTurn);
    match (no_turn, deadline) {
        (NoTurn::NoRuntime, _) => no_runtime(),
        (NoTurn::Full(waiting), _) => {
            let message = format!("{waiting} calls wait for {before} already, as many as may");
            with_source(Code::ResourceExhausted, message, source)
        }
        (NoTurn::Late, Some(deadline)) => {
            let mut status = passed(deadline, format_args!("{before} to end"));
            status.set_source(Arc::new(source));
            status
        }
        (NoTurn::Late, None) => {
            let message = format!("waited {wait_timeout:?} for {before} to end");
            with_source(Code::Unavailable, message, source)
        }
    }
}

/// The status of a call that fails at once, since no address can be connected to.
pub(crate) fn refused(error: &ConnectError) -> Status {
    with_source(Code::Unavailable, error, error.clone())
}

/// The status of a call that did not get a stream slot.
pub(crate) fn no_slot(
    error: PoolError,
    book: &AddressBook,
    deadline: Option<&Deadline>,
    waited: Duration,
) -> Status {
    match (&error, deadline) {
        (PoolError::Timeout(timeout), _) => {
            let cause = Cause(timeout.last_error.as_deref());
            let pool = &timeout.status;
            // As many drain as may, so none is made.
            let gone = pool.draining + pool.closing;
            let advice = if pool.size == 0
                && gone >= pool.max_size.saturating_add(pool.max_draining)
            {
                "; long calls keep those that drain: make such calls Dedicated, or raise max_draining_connections"
            } else {
                ""
            };
            let stands = format!(
                "{} of at most {} connections, {} being made, {} draining, {} calls on {} stream slots, {} waiting{advice}{cause}",
                pool.size.saturating_sub(pool.creating),
                pool.max_size,
                pool.creating,
                pool.draining,
                pool.in_use,
                pool.places,
                pool.waiting,
            );
            let (code, message) = match deadline {
                Some(deadline) => (
                    Code::DeadlineExceeded,
                    format!(
                        "the deadline of {:?} passed while waiting for a stream slot to {book}: {stands}",
                        deadline.timeout()
                    ),
                ),
                None => (
                    Code::Unavailable,
                    format!("no stream slot to {book} within {waited:?}: {stands}"),
                ),
            };
            with_source(code, message, error)
        }
        (PoolError::Create(create), _) => {
            let message = format!("no connection to {book}{}", Cause(Some(create)));
            with_source(Code::Unavailable, message, error)
        }
        (PoolError::QueueFull { waiting }, _) => {
            let message = format!(
                "{waiting} calls wait for a stream slot to {book} already, as many as may: raise max_waiting_calls, or send less"
            );
            with_source(Code::ResourceExhausted, message, error)
        }
        (PoolError::Closed, _) => {
            with_source(Code::Unavailable, format_args!("the pool of {book} is closed"), error)
        }
        (PoolError::NoRuntime, _) => with_source(Code::Internal, error.to_string(), error),
        (_, _) => {
            with_source(Code::Unavailable, format!("no stream slot to {book}: {error}"), error)
        }
    }
}

/// The status of a call that would go on, but the pool is closed.
pub(crate) fn closed(book: &AddressBook) -> Status {
    no_slot(PoolError::Closed, book, None, Duration::ZERO)
}

/// `: why`, where it is known.
struct Cause<'a>(Option<&'a CreateError<ConnectError>>);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(CreateError::Failed(error)) => write!(f, ": {error}"),
            Some(error) => write!(f, ": {error}"),
        }
    }
}
