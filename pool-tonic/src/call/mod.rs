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

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

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
use response::{ResponseBody, Slot, Stream};

type Lease = SharedLease<'static, ConnectionManager>;

/// Longest pause between two attempts, before jitter.
const MAX_PAUSE: Duration = Duration::from_millis(128);

/// Makes a call.
///
/// # Cancel safety
///
/// Dropped, the call gives back its slot or its turn, and its stream is reset.
pub(crate) async fn call(
    shared: Arc<Shared>,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Status> {
    let mut outcome = Outcome::begin(Arc::clone(shared.totals()));
    let (head, body) = Head::split(request, shared.user_agent());
    let deadline = head.deadline();
    let mut call = Call {
        shared: &shared,
        head,
        payload: Payload::Unread(body),
        deadline,
        timer: None,
        late: false,
        retries: 0,
    };
    match call.answer().await {
        Ok((head, stream)) => {
            let deadline = deadline.zip(call.timer);
            Ok(ResponseBody::respond(head, stream, outcome, deadline))
        }
        Err(status) => {
            outcome.end(status.code());
            Err(status)
        }
    }
}

struct Call<'a> {
    shared: &'a Shared,
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

impl Call<'_> {
    async fn answer(&mut self) -> Result<(http::Response<()>, Stream), Status> {
        loop {
            let lease = self.slot().await?;
            match self.attempt(lease).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::NotSent) => {}
                Err(Failed::NotProcessed { refused, status }) => {
                    let max = self.shared.max_transparent_retries();
                    if self.retries >= max || !self.payload.rewind() {
                        return Err(status);
                    }
                    self.retries += 1;
                    let totals = self.shared.totals();
                    totals.transparent_retries.fetch_add(1, Ordering::Relaxed);
                    self.pause(refused).await?;
                }
                Err(Failed::Final(status)) => return Err(status),
            }
            self.late = true;
        }
    }

    /// Reserves a stream slot.
    async fn slot(&mut self) -> Result<Lease, Status> {
        let shared = self.shared;
        let lease = if let Some(lease) = shared.pool().try_get_owned() {
            lease
        } else {
            if let Some(error) = shared.book().refusal() {
                return Err(status::refused(&error));
            }
            self.late = true;
            let options = match &self.deadline {
                Some(deadline) => GetOptions::new().deadline(deadline.at()),
                None => GetOptions::new(),
            };
            let got = shared.pool().get_owned_with(options).await;
            got.map_err(|error| status::no_slot(error, shared.book(), self.deadline.as_ref()))?
        };
        if self.late
            && let Some(deadline) = &self.deadline
        {
            let Some(left) = deadline.left() else {
                return Err(status::passed(
                    deadline,
                    format_args!("a stream slot to {}", shared.book()),
                ));
            };
            self.head.set_deadline(left);
        }
        Ok(lease)
    }

    /// Sends the request, and waits for the headers of the answer.
    async fn attempt(&mut self, lease: Lease) -> Result<(http::Response<()>, Stream), Failed> {
        let limit = self.shared.retry_buffer_size();
        poll_fn(|cx| Poll::Ready(self.payload.look(cx, limit))).await?;
        let address = lease.address();
        let request = self.head.request(address);
        let whole = matches!(self.payload, Payload::Whole(None));
        let (response, mut send) = match lease.send(request, whole) {
            Ok(sent) => sent,
            Err(SendError::Connection) => return Err(Failed::NotSent),
            Err(SendError::Request(error)) => {
                return Err(Failed::Final(status::broken(error, address, None)));
            }
        };
        let (slot, mut pump) = match std::mem::replace(&mut self.payload, Payload::Lost) {
            Payload::Stream(stream) => {
                let runtime = runtime()?;
                let lease = Arc::new(lease);
                let pump = PumpHandle::start(&runtime, stream, send, Arc::clone(&lease));
                (Slot::Shared(lease), Some(pump))
            }
            payload => {
                if let Payload::Whole(Some(data)) = &payload {
                    // Fails only if the stream is over already, and then the response says why.
                    let _ = send.send_data(data.clone(), true);
                }
                self.payload = payload;
                (Slot::Own(lease), None)
            }
        };
        if let Some(deadline) = &self.deadline
            && self.timer.is_none()
        {
            runtime()?;
            self.timer = Some(deadline.sleep());
        }
        let answer = within(self.timer.as_mut(), response).await;
        let address = slot.lease().address();
        match (answer, &self.deadline) {
            (Ok(Ok(response)), _) => {
                if let Some(pump) = &mut pump {
                    pump.commit();
                }
                let (head, recv) = response.into_parts();
                let head = http::Response::from_parts(head, ());
                Ok((head, Stream { recv, pump, slot }))
            }
            (Ok(Err(error)), deadline) => {
                if let Some(failure) = pump.as_ref().and_then(PumpHandle::failure) {
                    return Err(Failed::Final(failure));
                }
                let not_processed = status::never_processed(&error);
                let refused = status::is_refused(&error);
                let status = status::broken(error, address, deadline.as_ref());
                if !not_processed {
                    return Err(Failed::Final(status));
                }
                if refused {
                    slot.lease().refused();
                }
                if let Some(pump) = pump
                    && let Some(stream) = pump.take_back().await
                {
                    self.payload = Payload::Stream(stream);
                }
                Err(Failed::NotProcessed { refused, status })
            }
            (Err(Passed), Some(deadline)) => {
                Err(Failed::Final(status::passed(deadline, format_args!("{address} to answer"))))
            }
            (Err(Passed), None) => unreachable!("bug: a timer without a deadline"),
        }
    }

    /// Waits before another attempt. Not at all after the first GOAWAY, since another connection is
    /// there or being made; otherwise twice as long each time, so that a server that refuses gets room.
    async fn pause(&mut self, refused: bool) -> Result<(), Status> {
        if (self.retries == 1 && !refused) || Handle::try_current().is_err() {
            return Ok(());
        }
        let nominal = Duration::from_millis(1 << self.retries.min(7)).min(MAX_PAUSE);
        let pause = std::pin::pin!(sleep(nominal.mul_f64(0.5 + 0.5 * fastrand::f64())));
        match (within(self.timer.as_mut(), pause).await, &self.deadline) {
            (Err(Passed), Some(deadline)) => Err(status::passed(
                deadline,
                format_args!("{} to take the call", self.shared.book()),
            )),
            _ => Ok(()),
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
