//! The body of a response, which holds its call's stream slot until it ends.
//!
//! The slot is freed exactly once: at the trailers, at an error, or when the body is dropped, whichever
//! comes first, by dropping [`Stream`]. Dropping it also ends the stream: what is still open of it
//! is reset.
//!
//! The deadline takes effect when the body is polled, whether there is data or not. A body that nobody polls
//! holds its slot and its stream beyond the deadline, until it is polled or dropped.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::{Code, Status};

use super::deadline::Deadline;
use super::outcome::Outcome;
use super::pump::PumpHandle;
use super::slot::Held;
use super::status;

/// A stream whose answer has begun.
struct Stream {
    /// First, so that the stream is over when the slot is free.
    recv: RecvStream,
    held: Held,
}

impl Stream {
    /// The answer is complete.
    fn finish(self) {
        drop(self.recv);
        self.held.slot.lease().finish();
        if let Some(pump) = self.held.pump {
            pump.finish();
        }
    }
}

/// See the module.
pub(super) struct ResponseBody {
    /// Present until the response ends.
    stream: Option<Stream>,
    outcome: Outcome,
    deadline: Option<(Deadline, Pin<Box<Sleep>>)>,
}

impl ResponseBody {
    /// Makes the caller's response of h2's. An answer without a body (trailers only) frees the slot here.
    pub(super) fn respond(
        response: http::Response<RecvStream>,
        held: Held,
        mut outcome: Outcome,
        deadline: Option<(Deadline, Pin<Box<Sleep>>)>,
    ) -> http::Response<Body> {
        if response.body().is_end_stream() {
            let code = outcome.end_with(response.headers());
            held.slot.lease().attempt_ended(code);
            return response.map(|recv| {
                Stream { recv, held }.finish();
                Body::empty()
            });
        }
        response
            .map(|recv| Body::new(Self { stream: Some(Stream { recv, held }), outcome, deadline }))
    }

    /// The next frame of the stream; an error is final.
    fn poll_stream(
        stream: &mut Stream,
        deadline: &mut Option<(Deadline, Pin<Box<Sleep>>)>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, Status>> {
        let served_by = stream.held.slot.lease().served_by();
        let passed = |deadline: &Deadline| {
            Err(status::passed_at(deadline, served_by, "to send the rest of the answer"))
        };
        let recv = &mut stream.recv;
        let polled = match recv.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                // By the clock: while there always is data the task may never yield, and then its budget in
                // tokio is used up and no timer ends.
                if let Some((deadline, _)) = deadline
                    && deadline.left().is_none()
                {
                    return Poll::Ready(passed(deadline));
                }
                // It fails only when the stream is gone, and its window with it.
                let _ = recv.flow_control().release_capacity(data.len());
                return Poll::Ready(Ok(Some(Frame::data(data))));
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
            Poll::Ready(None) => {
                recv.poll_trailers(cx).map_ok(|trailers| trailers.map(Frame::trailers))
            }
            Poll::Pending => Poll::Pending,
        };
        let deadline_at = deadline.as_ref().map(|(deadline, _)| deadline);
        match polled {
            Poll::Ready(result) => Poll::Ready(result.map_err(|error| {
                let failure = stream.held.pump.as_ref().and_then(PumpHandle::failure);
                let lease = stream.held.slot.lease();
                failure.unwrap_or_else(|| status::broken(error, lease, deadline_at))
            })),
            Poll::Pending => {
                let Some((deadline, timer)) = deadline else {
                    return Poll::Pending;
                };
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(passed(deadline))
            }
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        let result = ready!(Self::poll_stream(stream, &mut this.deadline, cx));
        let code = match &result {
            Ok(Some(frame)) if frame.is_data() => return Poll::Ready(result.transpose()),
            Ok(Some(frame)) => frame.trailers_ref().map(|it| this.outcome.end_with(it)),
            // The end without trailers: the server owes a status.
            Ok(None) => Some(Code::Unknown),
            Err(status) => Some(status.code()),
        };
        if let Some(code) = code {
            this.outcome.end(code);
            stream.held.slot.lease().attempt_ended(code);
        }
        if let Some(stream) = this.stream.take() {
            match &result {
                Ok(_) => stream.finish(),
                Err(_) => drop(stream),
            }
        }
        this.deadline = None;
        Poll::Ready(result.transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
