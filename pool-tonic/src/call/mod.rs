//! One call: from a request to a response, over as many attempts as are safe.
//!
//! ```text
//!   +--> slot: reserved at once, or waited for (bounded by the deadline or the wait timeout)
//!   |      |
//!   |    attempt: headers and body out, answer's headers in (bounded by the deadline)
//!   |      |
//!   |      +-- never sent ------------------------------------+ without limit: the connection is out
//!   |      +-- sent, provably not processed: back-off --------+ within limit, if the body is kept
//!   |      +-- failed as the retry policy names it: back-off -+ within that, if the body is kept
//!   +---------------------------------------------------------+
//!          +-- any other error: the call fails
//!          +-- answer: its body takes the slot along
//! ```
//!
//! - `request.rs`: the request, and what is kept of it
//! - `deadline.rs`: `grpc-timeout`
//! - `slot.rs`: what a call holds of a connection
//! - `wait.rs`: waits for a slot
//! - `again.rs`: what follows when an attempt has failed
//! - `retry.rs`: the attempts that a policy allows
//! - `pump.rs`: sends a streaming request's body
//! - `response.rs`: the response's body
//! - `outcome.rs`: counts calls
//! - `status.rs`: errors to codes
//! - `error.rs`: what lies behind them

mod again;
mod deadline;
mod error;
mod outcome;
mod pump;
mod request;
mod response;
mod retry;
mod slot;
mod status;
mod wait;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use h2::RecvStream;
use http::{Extensions, StatusCode};
use pool_core::ResourceId;
use tokio::runtime::Handle;
use tonic::body::Body;
use tonic::{Code, GrpcMethod, Status};

use crate::attempts::Attempts;
use crate::balance::Stopwatch;
use crate::connection::SendError;
use crate::options::{Affinity, Dedicated, SentTo, ServedBy, WaitForReady};
use crate::pool::Shared;
use crate::trace::CallSpan;
use deadline::{Deadline, Timer};
use outcome::Outcome;
use pump::PumpHandle;
use request::{Payload, Split};
use response::ResponseBody;
use retry::Retry;
use slot::{Held, Lease, Slot, Upload};

pub(crate) use deadline::{Passed, timer, within};
pub use error::CallError;
pub(crate) use slot::Source;
pub(crate) use wait::slot_until;

/// Makes a call, which begins now: its deadline counts from here.
///
/// # Cancel safety
///
/// Dropped, the call gives back its slot or its turn, and its stream is reset.
pub(crate) fn call(
    shared: Arc<Shared>,
    source: Source,
    mut request: http::Request<Body>,
) -> impl Future<Output = Result<http::Response<Body>, Status>> + Send {
    let mut outcome = Outcome::begin(Arc::clone(shared.totals()));
    outcome.span = CallSpan::begin(shared.book().name(), request.uri().path());
    let scope = outcome.span.scope();
    scope.propagate(shared.calls(), &mut request);
    let Split { head, deadline, body, mut extensions } =
        Split::new(request, &shared.calls().user_agent);
    let config = shared.calls();
    let asked = Asked::by(&extensions);
    let wait_for_ready = asked.wait_for_ready.unwrap_or(config.wait_for_ready);
    let source = match source {
        Source::Shared if asked.dedicated => Source::Dedicated,
        source => source,
    };
    let retry = match &config.retry {
        Some(rules) => rules.find(head.path()).map(|policy| Box::new(Retry::new(policy))),
        None => None,
    };
    let wish = match asked.affinity {
        Some(affinity) if shared.pool().manager().has_several() => Wish::At(affinity),
        _ => Wish::Any,
    };
    extensions.clear();
    let call = Call {
        shared,
        source,
        outcome: Some(outcome),
        extensions,
        head,
        payload: Payload::Unread(body),
        deadline,
        timer: None,
        wait_for_ready,
        sent_to: asked.sent_to,
        attempts: asked.attempts,
        late: false,
        waited: Duration::ZERO,
        retries: 0,
        wish,
        retry,
    };
    scope.around(call.run())
}

/// What a caller asks for in the request's extensions.
#[derive(Default)]
struct Asked {
    wait_for_ready: Option<bool>,
    sent_to: Option<SentTo>,
    attempts: Option<Box<Attempts>>,
    dedicated: bool,
    affinity: Option<Affinity>,
}

impl Asked {
    fn by(extensions: &Extensions) -> Self {
        // What generated clients put there is all that most calls have.
        if extensions.len() == usize::from(extensions.get::<GrpcMethod<'static>>().is_some()) {
            return Self::default();
        }
        Self {
            wait_for_ready: extensions.get().map(|WaitForReady(wait)| *wait),
            sent_to: extensions.get().cloned(),
            attempts: extensions.get().cloned().map(|observer| Box::new(Attempts::new(observer))),
            dedicated: extensions.get::<Dedicated>().is_some(),
            affinity: extensions.get().copied(),
        }
    }
}

/// Which connection a call is to go on.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Any,
    /// Any but this one, which refused it, if there is another one.
    Other(ResourceId),
    /// One to the endpoint of its key.
    At(Affinity),
}

/// Every call has room for this in its future, so what is rare (waiting for a slot, sending again) is in
/// boxes of its own.
struct Call {
    shared: Arc<Shared>,
    source: Source,
    /// Until the answer has it.
    outcome: Option<Outcome>,
    /// The request's map, emptied, for the answer: a new one would cost three allocations.
    extensions: Extensions,
    head: request::Head,
    payload: Payload,
    deadline: Option<Deadline>,
    /// Ends with the deadline; made when something is first waited for on a connection.
    timer: Option<Timer>,
    /// Failures to connect do not end it.
    wait_for_ready: bool,
    /// Of the caller, who wants to know.
    sent_to: Option<SentTo>,
    /// If they are observed.
    attempts: Option<Box<Attempts>>,
    /// Time has passed since the caller set `grpc-timeout`.
    late: bool,
    /// How long it has waited for slots: the wait timeout bounds the sum.
    waited: Duration,
    /// Times that it was sent again because it had not been processed.
    retries: u32,
    /// Which connection it is to go on.
    wish: Wish,
    /// What is sent again although it may have been.
    retry: Option<Box<Retry>>,
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
    /// There is an answer, but it may not be what the caller gets: an HTTP error, or nothing but headers
    /// where there is a retry policy.
    Answered(Box<(http::Response<RecvStream>, Held)>),
    /// It fails, unless a retry policy says otherwise.
    Broken(Status),
    Final(Status),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::Final(status)
    }
}

/// An attempt under way.
struct Begun {
    held: Held,
    response: h2::client::ResponseFuture,
    /// What the connection had tried to write before.
    writes: u64,
    /// Where it matters how long the answer takes.
    stopwatch: Option<Stopwatch>,
}

/// What the caller gets.
type Answer = http::Response<Body>;

impl Call {
    /// One future from end to end: an answer is moved once for each that it goes through.
    #[expect(
        clippy::manual_async_fn,
        reason = "that would hold `self` twice, and move it once more"
    )]
    fn run(mut self) -> impl Future<Output = Result<Answer, Status>> + Send {
        async move {
            loop {
                let lease = match self.try_slot() {
                    Some(lease) => Ok(lease),
                    None => Box::pin(self.wait()).await,
                };
                let failed = match lease.and_then(|lease| self.begin(lease)) {
                    // What is bound last is dropped first: the stream is over when the slot is free.
                    Ok(Begun { held, mut response, writes, stopwatch }) => {
                        let answered = within(self.timer.as_mut(), &mut response).await;
                        if let Some(stopwatch) = stopwatch {
                            stop(stopwatch, &answered);
                        }
                        match answered {
                            Ok(Ok(response)) if self.is_final(&response) => {
                                return Ok(self.respond(response, held));
                            }
                            Ok(Ok(response)) => Failed::Answered(Box::new((response, held))),
                            Ok(Err(error)) => Box::pin(self.failed(error, held, writes)).await,
                            Err(Passed) => {
                                let lease = held.slot.lease();
                                lease.attempt_ended(Code::DeadlineExceeded);
                                Failed::Final(self.passed_at(lease.served_by(), "to answer"))
                            }
                        }
                    }
                    Err(failed) => failed,
                };
                match Box::pin(self.again(failed)).await {
                    Ok(Some(answer)) => return Ok(answer),
                    Ok(None) => self.late = true,
                    Err(status) => {
                        if let Some(outcome) = &mut self.outcome {
                            outcome.fail(&status);
                        }
                        return Err(status);
                    }
                }
            }
        }
    }

    /// Begins an attempt.
    fn begin(&mut self, lease: Lease) -> Result<Begun, Failed> {
        if let Some(deadline) = self.deadline {
            self.tell_deadline(&deadline)?;
        }
        self.payload.look(self.shared.calls().retry_buffer_size)?;
        let (writes, stopwatch) = (lease.writes(), lease.time());
        let (response, held) = self.send(lease)?;
        Ok(Begun { held, response, writes, stopwatch })
    }

    /// Whether an answer is the caller's, whatever there is of a retry policy.
    fn is_final(&self, response: &http::Response<RecvStream>) -> bool {
        let has_ended =
            || response.body().is_end_stream() || outcome::is_failure(response.headers());
        !(self.retry.is_some() && has_ended()) && response.status() == StatusCode::OK
    }

    /// Sends what is there of the request, and starts what sends the rest.
    fn send(&mut self, mut lease: Lease) -> Result<(h2::client::ResponseFuture, Held), Failed> {
        let request = self.head.request(lease.address(), &self.shared.calls().user_agent);
        let is_whole = matches!(self.payload, Payload::Whole(None));
        let (response, send) = match lease.send(request, is_whole) {
            Ok(sent) => sent,
            Err(SendError::Connection) => return Err(Failed::NotSent),
            Err(SendError::Request(error)) => {
                return Err(Failed::Final(status::broken(error, &lease, None)));
            }
        };
        if let Some(sent_to) = &self.sent_to {
            sent_to.set(lease.served_by());
        }
        if let Some(attempts) = &mut self.attempts {
            lease.observe(attempts.start());
        }
        if let Some(outcome) = &mut self.outcome {
            outcome.span.sent(lease.served_by());
        }
        if self.timer.is_none()
            && let Some(deadline) = &self.deadline
        {
            let timer = deadline.timer().ok_or_else(status::no_runtime);
            self.timer = Some(timer.inspect_err(|status| lease.attempt_void(status.code()))?);
        }
        if let Payload::Stream(_) = &self.payload {
            let runtime = Handle::try_current().map_err(|_| status::no_runtime());
            let runtime = runtime.inspect_err(|status| lease.attempt_void(status.code()))?;
            if let Payload::Stream(stream) = std::mem::replace(&mut self.payload, Payload::Lost) {
                let lease = Arc::new(lease);
                let pump = PumpHandle::start(&runtime, stream, send, Arc::clone(&lease));
                let slot = Slot::Shared(lease);
                return Ok((response, Held { pump: Some(pump), upload: None, slot }));
            }
        }
        let mut upload = None;
        if let Payload::Whole(Some(data)) = &self.payload {
            upload = Upload::send(send, data.clone(), &lease);
        }
        Ok((response, Held { pump: None, upload, slot: Slot::Own(lease) }))
    }

    /// Makes the caller's answer of h2's: the request will not be sent again.
    fn respond(&mut self, mut response: http::Response<RecvStream>, mut held: Held) -> Answer {
        held.commit();
        self.extensions.insert::<ServedBy>(held.slot.lease().served_by().clone());
        *response.extensions_mut() = std::mem::take(&mut self.extensions);
        let Some(outcome) = self.outcome.take() else { unreachable!("bug: a second answer") };
        let deadline = self.deadline.zip(self.timer.take());
        ResponseBody::respond(response, held, outcome, deadline)
    }

    fn passed(&self, what: &fmt::Arguments<'_>) -> Status {
        match &self.deadline {
            Some(deadline) => status::passed(deadline, what),
            None => unreachable!("bug: a timer without a deadline"),
        }
    }

    fn passed_at(&self, served_by: &ServedBy, what: &str) -> Status {
        match &self.deadline {
            Some(deadline) => status::passed_at(deadline, served_by, what),
            None => unreachable!("bug: a timer without a deadline"),
        }
    }
}

/// An attempt has come to an answer, or not.
#[cold]
fn stop(
    stopwatch: Stopwatch,
    answered: &Result<Result<http::Response<RecvStream>, h2::Error>, Passed>,
) {
    match answered {
        Ok(Ok(response)) => stopwatch.stop(outcome::has_failed(response)),
        Ok(Err(_)) => stopwatch.stop(true),
        Err(Passed) => drop(stopwatch),
    }
}
