//! Counts a call: once when it begins, once when it ends, however it does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderName, Response, StatusCode};
use tonic::{Code, Status};

use crate::stats::Totals;
use crate::trace::CallSpan;

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The count of one call. Dropped before its end is known, the call was cancelled.
pub(crate) struct Outcome {
    totals: Arc<Totals>,
    pub(super) span: CallSpan,
    ended: bool,
}

impl Outcome {
    pub(crate) fn begin(totals: Arc<Totals>) -> Self {
        totals.calls_started.fetch_add(1, Ordering::Relaxed);
        Self { totals, span: CallSpan::NONE, ended: false }
    }

    /// The pool ends the call with this status.
    pub(crate) fn fail(&mut self, status: &Status) {
        self.span.failed(status);
        self.end(status.code());
    }

    pub(crate) fn end(&mut self, code: Code) {
        if !self.ended {
            self.ended = true;
            // Release: whoever sees this end sees the beginning, too.
            self.totals.calls_ended[code as usize].fetch_add(1, Ordering::Release);
            if code == Code::Ok
                && let Some(throttle) = &self.totals.throttle
            {
                throttle.succeeded();
            }
            self.span.end(code);
        }
    }
}

/// What trailers say, or the headers of an answer that has no others.
pub(super) fn status_in(headers: &HeaderMap) -> Option<Code> {
    // A pass over the few there are costs less than a look-up.
    let status = headers.iter().find(|(name, _)| **name == GRPC_STATUS);
    status.map(|(_, code)| Code::from_bytes(code.as_bytes()))
}

/// The headers of an answer have a status that says that the call has failed.
pub(super) fn is_failure(headers: &HeaderMap) -> bool {
    status_in(headers).is_some_and(|code| code != Code::Ok)
}

/// The headers of an answer say that the call has failed.
pub(super) fn has_failed<B>(response: &Response<B>) -> bool {
    response.status() != StatusCode::OK || is_failure(response.headers())
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}
