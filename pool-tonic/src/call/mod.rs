//! One call: from a request to a response, over as many attempts as are safe.
//!
//! ```text
//!   +--> slot: reserved at once, or waited for (bounded by the deadline or the wait timeout)
//!   |      |
//!   |    attempt: headers and body out, answer's headers in (bounded by the deadline)
//!   |      |
//!   |      +-- never sent ------------------------------------+ without limit: the connection is out
//!   |      +-- sent, provably not processed: back-off --------+ within limit, if the body is kept
//!   +---------------------------------------------------------+
//!          +-- any other error: the call fails
//!          +-- answer: its body takes the slot along
//! ```
//!
//! - `request.rs`: the request, and what is kept of it
//! - `deadline.rs`: `grpc-timeout`
//! - `pump.rs`: sends a streaming request's body
//! - `response.rs`: the response's body
//! - `outcome.rs`: counts calls
//! - `status.rs`: errors to codes

mod deadline;
mod outcome;
mod pump;
mod request;
mod response;
mod status;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use h2::RecvStream;
use pool_core::{GetOptions, SharedLease};
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use crate::connection::SendError;
use crate::manager::ConnectionManager;
use crate::pool::Shared;
use deadline::{Deadline, Passed, within};
use outcome::Outcome;
use pump::PumpHandle;
use request::{Head, Payload};
use response::{Held, ResponseBody, Slot};

type Lease = SharedLease<'static, ConnectionManager>;

/// Longest pause between two attempts, before jitter.
const MAX_PAUSE: Duration = Duration::from_millis(128);

/// Makes a call, which begins now: its deadline counts from here.
///
/// # Cancel safety
///
/// Dropped, the call gives back its slot or its turn, and its stream is reset.
pub(crate) fn call(
    shared: Arc<Shared>,
    request: http::Request<Body>,
) -> impl Future<Output = Result<http::Response<Body>, Status>> + Send {
    let mut outcome = Outcome::begin(Arc::clone(shared.totals()));
    let (head, deadline, body) = Head::split(request, shared.user_agent());
    let mut call = Call {
        shared,
        head,
        payload: Payload::Unread(body),
        deadline,
        timer: None,
        late: false,
        retries: 0,
    };
    async move {
        match call.answer().await {
            Ok((response, stream)) => {
                let deadline = call.deadline.zip(call.timer.take());
                Ok(ResponseBody::respond(response, stream, outcome, deadline))
            }
            Err(status) => {
                outcome.end(status.code());
                Err(status)
            }
        }
    }
}

/// Every call has room for this in its future, so what is rare (waiting for a slot, sending again) is in
/// boxes of its own.
struct Call {
    shared: Arc<Shared>,
    head: Head,
    payload: Payload,
    deadline: Option<Deadline>,
    /// Ends with the deadline; made when something is first waited for on a connection.
    timer: Option<Pin<Box<Sleep>>>,
    /// Time has passed since the caller set `grpc-timeout`.
    late: bool,
    retries: u32,
}

/// How an attempt failed.
enum Failed {
    /// Nothing was sent.
    NotSent,
    /// The server did not process it; the status it fails with if it is not sent again.
    NotProcessed {
        refused: bool,
        status: Status,
    },
    Final(Status),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::Final(status)
    }
}

type Answer = (http::Response<RecvStream>, Held);

impl Call {
    async fn answer(&mut self) -> Result<Answer, Status> {
        loop {
            let lease = match self.shared.pool().try_get_owned() {
                Some(lease) => lease,
                None => Box::pin(self.wait()).await?,
            };
            if self.late {
                self.rewrite_deadline()?;
            }
            match self.attempt(lease).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::NotSent) => {}
                Err(Failed::NotProcessed { refused, status }) => {
                    if self.retries >= self.shared.max_transparent_retries()
                        || !self.payload.rewind()
                    {
                        return Err(status);
                    }
                    self.retries += 1;
                    self.shared.totals().transparent_retries.fetch_add(1, Ordering::Relaxed);
                    Box::pin(self.pause(refused)).await?;
                }
                Err(Failed::Final(status)) => return Err(status),
            }
            self.late = true;
        }
    }

    /// Waits for a stream slot.
    async fn wait(&mut self) -> Result<Lease, Status> {
        let book = self.shared.book();
        if let Some(error) = book.refusal() {
            return Err(status::refused(&error));
        }
        self.late = true;
        let options = match &self.deadline {
            Some(deadline) => GetOptions::new().deadline(deadline.at()),
            None => GetOptions::new(),
        };
        let got = self.shared.pool().get_owned_with(options).await;
        got.map_err(|error| status::no_slot(error, book, self.deadline.as_ref()))
    }

    /// Tells the server what is left.
    fn rewrite_deadline(&mut self) -> Result<(), Status> {
        let Some(deadline) = &self.deadline else { return Ok(()) };
        let Some(left) = deadline.left() else {
            let what = format_args!("a stream slot to {}", self.shared.book());
            return Err(status::passed(deadline, what));
        };
        self.head.set_deadline(left);
        Ok(())
    }

    /// Sends the request, and waits for the headers of the answer.
    async fn attempt(&mut self, lease: Lease) -> Result<Answer, Failed> {
        let limit = self.shared.retry_buffer_size();
        poll_fn(|cx| Poll::Ready(self.payload.look(cx, limit))).await?;
        let (mut response, mut held) = self.send(lease)?;
        let answer = within(self.timer.as_mut(), &mut response).await;
        match answer {
            Ok(Ok(response)) => {
                if let Some(pump) = &mut held.pump {
                    pump.commit();
                }
                Ok((response, held))
            }
            Ok(Err(error)) => Err(Box::pin(self.failed(error, held)).await),
            Err(Passed) => Err(Failed::Final(
                self.passed(&format_args!("{} to answer", held.slot.lease().address())),
            )),
        }
    }

    /// Sends what is there of the request, and starts what sends the rest.
    fn send(&mut self, lease: Lease) -> Result<(h2::client::ResponseFuture, Held), Failed> {
        let address = lease.address();
        let request = self.head.request(address);
        let is_whole = matches!(self.payload, Payload::Whole(None));
        let (response, mut send) = match lease.send(request, is_whole) {
            Ok(sent) => sent,
            Err(SendError::Connection) => return Err(Failed::NotSent),
            Err(SendError::Request(error)) => {
                return Err(Failed::Final(status::broken(error, address, None)));
            }
        };
        if self.timer.is_none()
            && let Some(deadline) = &self.deadline
        {
            runtime()?;
            self.timer = Some(deadline.sleep());
        }
        if let Payload::Stream(_) = &self.payload {
            let runtime = runtime()?;
            if let Payload::Stream(stream) = std::mem::replace(&mut self.payload, Payload::Lost) {
                let lease = Arc::new(lease);
                let pump = PumpHandle::start(&runtime, stream, send, Arc::clone(&lease));
                return Ok((response, Held { pump: Some(pump), slot: Slot::Shared(lease) }));
            }
        } else if let Payload::Whole(Some(data)) = &self.payload {
            // Fails only if the stream is over already, and then the response says why.
            let _ = send.send_data(data.clone(), true);
        }
        Ok((response, Held { pump: None, slot: Slot::Own(lease) }))
    }

    /// What follows from an error of the stream before the answer has begun.
    async fn failed(&mut self, error: h2::Error, held: Held) -> Failed {
        let Held { pump, slot } = held;
        if let Some(failure) = pump.as_ref().and_then(PumpHandle::failure) {
            return Failed::Final(failure);
        }
        let not_processed = status::never_processed(&error);
        let refused = status::is_refused(&error);
        let status = status::broken(error, slot.lease().address(), self.deadline.as_ref());
        if !not_processed {
            return Failed::Final(status);
        }
        if refused {
            slot.lease().refused();
        }
        if let Some(pump) = pump
            && let Some(stream) = pump.take_back().await
        {
            self.payload = Payload::Stream(stream);
        }
        Failed::NotProcessed { refused, status }
    }

    /// Waits before another attempt. Not at all after the first GOAWAY, since another connection is
    /// there or being made; otherwise twice as long each time, so that a server that refuses gets room.
    async fn pause(&mut self, refused: bool) -> Result<(), Status> {
        if (self.retries == 1 && !refused) || Handle::try_current().is_err() {
            return Ok(());
        }
        let nominal = Duration::from_millis(1 << self.retries.min(7)).min(MAX_PAUSE);
        let pause = std::pin::pin!(sleep(nominal.mul_f64(0.5 + 0.5 * fastrand::f64())));
        match within(self.timer.as_mut(), pause).await {
            Ok(()) => Ok(()),
            Err(Passed) => {
                Err(self.passed(&format_args!("{} to take the call", self.shared.book())))
            }
        }
    }

    fn passed(&self, what: &fmt::Arguments<'_>) -> Status {
        match &self.deadline {
            Some(deadline) => status::passed(deadline, what),
            None => unreachable!("bug: a timer without a deadline"),
        }
    }
}

/// The runtime of the caller, which a streaming request and a deadline need.
fn runtime() -> Result<Handle, Status> {
    Handle::try_current().map_err(|_| {
        Status::internal(
            "the call has a streaming request or a deadline: make it in a tokio runtime",
        )
    })
}
