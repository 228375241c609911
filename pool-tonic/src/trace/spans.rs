//! The spans: see the module above.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use tonic::{Code, Status};
use tracing::field::Empty;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span, debug, info_span};

use crate::code::code_name;
use crate::error::ConnectError;
use crate::options::ServedBy;
use crate::pool::CallConfig;
use crate::user::contain;

/// What OpenTelemetry's layer takes for the status of a span.
const FAILED: &str = "ERROR";

/// `grpc.call`: from the call to its status.
pub(crate) struct CallSpan(Option<Box<Open>>);

struct Open {
    span: Span,
    /// How often it was sent.
    attempts: u32,
    /// Where it was sent last.
    server: Option<ServedBy>,
}

impl CallSpan {
    pub(crate) const NONE: Self = Self(None);

    /// `path` is `/package.Service/Method`.
    pub(crate) fn begin(pool: &str, path: &str) -> Self {
        let method = path.strip_prefix('/').unwrap_or(path);
        let span = contain(|| {
            info_span!(
                target: "pool_tonic",
                "grpc.call",
                pool,
                otel.name = method,
                otel.kind = "client",
                rpc.system.name = "grpc",
                rpc.method = method,
                rpc.response.status_code = Empty,
                server.address = Empty,
                server.port = Empty,
                attempts = Empty,
                error.type = Empty,
                otel.status_code = Empty,
                otel.status_description = Empty,
            )
        });
        let span = span.filter(|span| !span.is_disabled());
        Self(span.map(|span| Box::new(Open { span, attempts: 0, server: None })))
    }

    pub(crate) fn scope(&self) -> CallScope {
        CallScope(self.0.as_ref().map_or_else(Span::none, |open| open.span.clone()))
    }

    /// The call is with a connection.
    pub(crate) fn sent(&mut self, to: &ServedBy) {
        if let Some(open) = &mut self.0 {
            open.attempts += 1;
            let (span, attempt) = (&open.span, open.attempts);
            contain(|| debug!(target: "pool_tonic", parent: span, server = %to, attempt, "sent"));
            open.server = Some(to.clone());
        }
    }

    /// An attempt came to nothing, which does not end the call yet.
    pub(crate) fn attempt_failed(&self, why: &dyn fmt::Display) {
        if let Some(open) = &self.0 {
            let span = &open.span;
            contain(|| debug!(target: "pool_tonic", parent: span, error = %why, "attempt failed"));
        }
    }

    /// The pool ends the call with this.
    pub(crate) fn failed(&self, status: &Status) {
        if let Some(open) = &self.0 {
            contain(|| {
                open.span.record("otel.status_description", status.message());
            });
        }
    }

    #[inline]
    pub(crate) fn end(&mut self, code: Code) {
        if let Some(open) = self.0.take() {
            contain(|| (*open).end(code));
        }
    }
}

impl Open {
    #[cold]
    fn end(self, code: Code) {
        let Self { span, attempts, server } = self;
        span.record("attempts", attempts);
        if let Some(server) = server {
            let (address, port) = split(server.address());
            span.record("server.address", address);
            if let Some(port) = port {
                span.record("server.port", port);
            }
        }
        let code_name = code_name(code);
        span.record("rpc.response.status_code", code_name);
        if code != Code::Ok {
            span.record("error.type", code_name);
            span.record("otel.status_code", FAILED);
        }
    }
}

/// What is done within a `grpc.call`, which it does not end.
pub(crate) struct CallScope(Span);

impl CallScope {
    /// Adds what carries the span to the server.
    pub(crate) fn propagate<B>(&self, calls: &CallConfig, request: &mut http::Request<B>) {
        if let Some(Propagate(inject)) = &calls.propagate {
            contain(|| self.0.in_scope(|| inject(request.headers_mut())));
        }
    }

    pub(crate) fn around<F: Future>(self, call: F) -> Instrumented<F> {
        call.instrument(self.0)
    }
}

/// Adds headers to a request, within its span.
#[derive(Clone)]
pub(crate) struct Propagate(pub(crate) Arc<dyn Fn(&mut HeaderMap) + Send + Sync>);

impl fmt::Debug for Propagate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// `grpc.connect`: one attempt to connect. Dropped before its end is known, the pool gave it up.
pub(crate) struct ConnectSpan(Span);

impl ConnectSpan {
    pub(crate) fn begin(pool: &str, address: &impl fmt::Display) -> Self {
        let name = address.to_string();
        let (address, port) = split(&name);
        let span = contain(|| {
            info_span!(
                target: "pool_tonic",
                "grpc.connect",
                pool,
                server.address = address,
                server.port = port,
                outcome = Empty,
                otel.status_code = Empty,
                otel.status_description = Empty,
            )
        });
        Self(span.unwrap_or_else(Span::none))
    }

    pub(crate) async fn around<T>(
        self,
        attempt: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let span = self.0;
        let result = attempt.instrument(span.clone()).await;
        contain(|| match &result {
            Ok(_) => {
                span.record("outcome", "ok");
            }
            Err(error) => {
                span.record("outcome", "error");
                span.record("otel.status_code", FAILED);
                span.record("otel.status_description", tracing::field::display(error));
            }
        });
        result
    }
}

/// The host, or the path of a socket, and the port, if it is named.
fn split(address: &str) -> (&str, Option<u16>) {
    let split = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let address = address.strip_prefix("unix:").unwrap_or(address);
    let (host, port) = match split {
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    };
    (host.trim_matches(['[', ']']), port)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(split("orders:50051"), ("orders", Some(50051)));
        assert_eq!(split("orders"), ("orders", None));
        assert_eq!(split("[::1]:50051"), ("::1", Some(50051)));
        assert_eq!(split("[::1]"), ("::1", None));
        assert_eq!(split("unix:/run/orders.sock"), ("/run/orders.sock", None));
    }
}
