//! From errors to [`Status`]: which code, and what the message says.
//!
//! Codes follow "Errors" in gRPC's `doc/PROTOCOL-HTTP2.md` and "Fail fast" in `doc/wait-for-ready.md`.
//! The error itself is kept as the status's source.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use h2::Reason;
use pool_core::CreateError;
use tonic::{Code, Status};

use super::deadline::Deadline;
use crate::address::Address;
use crate::address_book::AddressBook;
use crate::error::ConnectError;

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

pub(crate) fn is_refused(error: &h2::Error) -> bool {
    error.reason() == Some(Reason::REFUSED_STREAM)
}

/// The status of a call whose stream or connection broke.
pub(crate) fn broken(error: h2::Error, address: &Address, deadline: Option<&Deadline>) -> Status {
    if error.is_io() || error.is_go_away() {
        let message = format!("the connection to {address} was lost: {error}");
        return with_source(Code::Unavailable, message, error);
    }
    // Servers cancel a call whose deadline has passed on their clock too.
    if error.reason() == Some(Reason::CANCEL)
        && let Some(deadline) = deadline
        && deadline.left().is_none()
    {
        return passed(deadline, format_args!("{address} to answer"));
    }
    let code = match error.reason() {
        Some(Reason::REFUSED_STREAM) => Code::Unavailable,
        Some(Reason::CANCEL) => Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(Reason::STREAM_CLOSED | Reason::HTTP_1_1_REQUIRED) => Code::Unknown,
        _ => Code::Internal,
    };
    let message = format!("the call to {address} was broken off: {error}");
    with_source(code, message, error)
}

/// The status of a call whose deadline passed while it waited for `what`.
pub(crate) fn passed(deadline: &Deadline, what: impl fmt::Display) -> Status {
    Status::deadline_exceeded(format!(
        "the deadline of {:?} passed while waiting for {what}",
        deadline.timeout()
    ))
}

/// The status of a call that fails at once, since no address can be connected to.
pub(crate) fn refused(error: &ConnectError) -> Status {
    with_source(Code::Unavailable, error, error.clone())
}

/// The status of a call that did not get a stream slot.
pub(crate) fn no_slot(error: PoolError, book: &AddressBook, deadline: Option<&Deadline>) -> Status {
    match (&error, deadline) {
        (PoolError::Timeout(timeout), _) => {
            let cause = Cause(timeout.last_error.as_deref());
            let pool = &timeout.status;
            let stands = format!(
                "{} of at most {} connections, {} being made, {} calls on {} stream slots, {} waiting{cause}",
                pool.size.saturating_sub(pool.creating),
                pool.max_size,
                pool.creating,
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
                    format!("no stream slot to {book} within {:?}: {stands}", timeout.waited),
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
