//! The body of a response, which holds its call's stream slot until it ends.
//!
//! The slot is freed exactly once: when the trailers have come, at an error, or when the body is dropped, whichever
//! is first, by dropping [`Stream`]. Dropping it also ends the stream: what is still open of it
//! is reset.
//!
//! Behind the first data it is looked for trailers at once. The answer of a unary call is then complete with its
//! message, and h2's lock is taken twice less for it: to release the data's window, and to hear that there is no
//! more data.
//!
//! The deadline takes effect when the body is polled, whether there is data or not. A body that nobody polls
//! holds its slot and its stream beyond the deadline, until it is polled or dropped.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use super::deadline::{Deadline, Timer};
use super::outcome::{self, Outcome};
use super::pump::PumpHandle;
use super::request::Piece;
use super::slot::Held;
use super::status;

/// A stream whose answer has begun.
struct Stream {
    /// First, so that the stream is over when the slot is free.
    recv: RecvStream,
    held: Held,
    /// Data has come.
    begun: bool,
}

impl Stream {
    fn new(recv: RecvStream, held: Held) -> Self {
        Self { recv, held, begun: false }
    }

    /// The trailers, if these are the first data and the trailers are there, too. The window of the data
    /// goes back if not.
    fn trailers_behind(&mut self, data: &Bytes, cx: &mut Context<'_>) -> Option<HeaderMap> {
        if !std::mem::replace(&mut self.begun, true)
            && let Poll::Ready(Ok(Some(trailers))) = self.recv.poll_trailers(cx)
        {
            // With the stream goes what is left of its window.
            return Some(trailers);
        }
        // It fails only when the stream is gone, and its window with it.
        let _ = self.recv.flow_control().release_capacity(data.len());
        None
    }

    /// The answer is complete.
    fn finish(self, code: Code) {
        drop(self.recv);
        let lease = self.held.slot.lease();
        lease.attempt_ended(code);
        lease.finish();
        if let Some(pump) = self.held.pump {
            pump.finish();
        }
    }
}

/// See the module.
pub(super) struct ResponseBody {
    state: State,
    outcome: Outcome,
}

enum State {
    Open(Stream, Option<(Deadline, Timer)>),
    /// They came right behind the data, and are all that is left.
    Trailers(HeaderMap),
    Ended,
}

impl ResponseBody {
    /// Makes the caller's response of h2's. An answer without a body (trailers only) frees the slot here, and so does one that
    /// says in its headers that the call has failed, whatever comes behind them. One that ends with
    /// its headers and has no status in them holds it until its body is polled, and is UNKNOWN then; or until that is
    /// dropped, and is CANCELLED.
    pub(super) fn respond(
        response: http::Response<RecvStream>,
        held: Held,
        mut outcome: Outcome,
        deadline: Option<(Deadline, Timer)>,
    ) -> http::Response<Body> {
        // Only an answer with a status may be without a body, and to look at its headers takes no lock.
        if let Some(code) = outcome::status_in(response.headers())
            && (code != Code::Ok || response.body().is_end_stream())
        {
            outcome.end(code);
            return response.map(|recv| {
                Stream::new(recv, held).finish(code);
                Body::empty()
            });
        }
        response.map(|recv| {
            Body::new(Self { state: State::Open(Stream::new(recv, held), deadline), outcome })
        })
    }

    /// The next piece of the answer; an error is final.
    fn poll_stream(
        stream: &mut Stream,
        deadline: &mut Option<(Deadline, Timer)>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Piece, Status>> {
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
                return Poll::Ready(Ok(Piece::Data(data)));
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
            Poll::Ready(None) => recv.poll_trailers(cx).map_ok(Piece::End),
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

    /// The answer is over; `left` is what the caller has not been given of it.
    fn end(&mut self, code: Code, left: State) {
        self.outcome.end(code);
        if let State::Open(stream, _) = std::mem::replace(&mut self.state, left) {
            stream.finish(code);
        }
    }

    fn fail(&mut self, status: &Status) {
        self.outcome.fail(status);
        if let State::Open(stream, _) = std::mem::replace(&mut self.state, State::Ended) {
            let lease = stream.held.slot.lease();
            // What the caller's own request failed by is not the server's doing.
            if stream.held.pump.as_ref().and_then(PumpHandle::failure).is_some() {
                lease.attempt_void(status.code());
            } else {
                lease.attempt_ended(status.code());
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
        let State::Open(stream, deadline) = &mut this.state else {
            let State::Trailers(trailers) = std::mem::replace(&mut this.state, State::Ended) else {
                return Poll::Ready(None);
            };
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        };
        Poll::Ready(match ready!(Self::poll_stream(stream, deadline, cx)) {
            Ok(Piece::Data(data)) => {
                if let Some(trailers) = stream.trailers_behind(&data, cx) {
                    this.end(code_of(Some(&trailers)), State::Trailers(trailers));
                }
                Some(Ok(Frame::data(data)))
            }
            Ok(Piece::End(trailers)) => {
                this.end(code_of(trailers.as_ref()), State::Ended);
                trailers.map(|trailers| Ok(Frame::trailers(trailers)))
            }
            Err(status) => {
                this.fail(&status);
                Some(Err(status))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// What the trailers say. A server that sends none owes a status.
fn code_of(trailers: Option<&HeaderMap>) -> Code {
    trailers.and_then(outcome::status_in).unwrap_or(Code::Unknown)
}
