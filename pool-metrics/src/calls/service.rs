//! What goes around a channel, its calls and their answers.
//!
//! ```text
//!   call ---- headers without a status ---> answer ---- trailers, error, end, drop ----> counted
//!     |                                                                                    ^
//!     +------------- headers with a status, error, drop -----------------------------------+
//! ```
//!
//! A call is counted once, at the first of these.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use pool_tonic::ObserveAttempts;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower_service::Service;

use super::{Method, Methods};

type BoxError = Box<dyn StdError + Send + Sync>;

/// A channel whose calls are counted, made by [`CallMetrics`](crate::CallMetrics). For generated clients, as the channel
/// that is in it.
///
/// Its errors are what such a client would make of the channel's: [`Status`]es.
#[derive(Clone)]
pub struct CountedCalls<S> {
    channel: S,
    methods: Arc<Methods>,
}

impl<S> CountedCalls<S> {
    pub(super) fn new(channel: S, methods: Arc<Methods>) -> Self {
        Self { channel, methods }
    }
}

impl<S: fmt::Debug> fmt::Debug for CountedCalls<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountedCalls").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl<S, Q, A> Service<Request<Q>> for CountedCalls<S>
where
    S: Service<Request<Q>, Response = Response<A>>,
    S::Error: Into<BoxError>,
    A: Body,
    A::Error: Into<BoxError>,
{
    type Response = Response<CallBody<A>>;
    type Error = Status;
    type Future = CallFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.channel.poll_ready(cx).map_err(|error| Status::from_error(error.into()))
    }

    fn call(&mut self, mut request: Request<Q>) -> CallFuture<S::Future> {
        let method = Arc::clone(self.methods.find(request.uri().path()));
        let extensions = request.extensions_mut();
        if extensions.get::<ObserveAttempts>().is_none() {
            extensions.insert(ObserveAttempts::new(method.clone()));
        }
        let running = Running::begin(method);
        CallFuture { call: self.channel.call(request), running: Some(running) }
    }
}

/// A call that has begun and was not counted as ended. Dropped, it was cancelled.
struct Running {
    method: Arc<Method>,
    began: Instant,
    status: Code,
}

impl Running {
    fn begin(method: Arc<Method>) -> Self {
        method.calls.begin();
        Self { method, began: Instant::now(), status: Code::Cancelled }
    }

    fn end(mut self, status: Code) {
        self.status = status;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.method.calls.end(self.status, self.began.elapsed());
    }
}

fn end(running: &mut Option<Running>, status: Code) {
    if let Some(running) = running.take() {
        running.end(status);
    }
}

fn status_in(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

/// The status of an answer that is no gRPC, as gRPC's `doc/http-grpc-status-mapping.md` has it.
fn status_by(http: StatusCode) -> Option<Code> {
    Some(match http.as_u16() {
        200 => return None,
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    })
}

pin_project! {
    /// The future of a counted call's response. Dropped, it cancels the call, which counts as `CANCELLED`.
    #[must_use = "futures do nothing unless polled"]
    pub struct CallFuture<F> {
        #[pin]
        call: F,
        running: Option<Running>,
    }
}

impl<F> fmt::Debug for CallFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").finish_non_exhaustive()
    }
}

impl<F, A, E> Future for CallFuture<F>
where
    F: Future<Output = Result<Response<A>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<CallBody<A>>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match ready!(this.call.poll(cx)) {
            Ok(response) => response,
            Err(error) => {
                let status = Status::from_error(error.into());
                end(this.running, status.code());
                return Poll::Ready(Err(status));
            }
        };
        if let Some(status) = status_in(response.headers()).or_else(|| status_by(response.status()))
        {
            end(this.running, status);
        }
        let running = this.running.take();
        Poll::Ready(Ok(response.map(|body| CallBody { body, running })))
    }
}

pin_project! {
    /// The answer of a counted call. Dropped before its end, it cancels the call, which counts as `CANCELLED`.
    pub struct CallBody<A> {
        #[pin]
        body: A,
        running: Option<Running>,
    }
}

impl<A> fmt::Debug for CallBody<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallBody").finish_non_exhaustive()
    }
}

impl<A> Body for CallBody<A>
where
    A: Body,
    A::Error: Into<BoxError>,
{
    type Data = A::Data;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<A::Data>, Status>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx))
            .map(|frame| frame.map_err(|error| Status::from_error(error.into())));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    end(this.running, status_in(trailers).unwrap_or(Code::Unknown));
                }
            }
            Some(Err(status)) => end(this.running, status.code()),
            // It ended without a status.
            None => end(this.running, Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
