//! The spans: see the module above.

use std::any::type_name;
use std::error::Error as StdError;
use std::mem::replace;

use tracing::field::Empty;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span, info_span};

use crate::core::Core;
use crate::error::Error;
use crate::group::GroupId;
use crate::kind::Kind;
use crate::manager::Manager;
use crate::state::{BirthOrder, Unserved};
use crate::user::contain;

/// What OpenTelemetry's layer takes for the status of a span.
const FAILED: &str = "ERROR";

/// `pool.wait`: from when a get joins the queue until it leaves it.
pub(crate) struct WaitSpan(Span);

impl WaitSpan {
    pub(crate) const NONE: Self = Self(Span::none());

    pub(crate) fn begin<M: Manager, K: Kind<M>>(core: &Core<M, K>) -> Self {
        let span = || {
            info_span!(
                target: "pool_core",
                "pool.wait",
                pool = core.name(),
                manager = type_name::<M>(),
                outcome = Empty,
                otel.status_code = Empty,
            )
        };
        let span = contain(span).filter(|span| !span.is_disabled());
        Self(span.unwrap_or_else(Span::none))
    }

    #[inline]
    pub(crate) fn served(&mut self) {
        if !self.0.is_none() {
            self.end("ok");
        }
    }

    pub(crate) fn over<T, E: StdError>(&mut self, got: &Result<T, Error<E>>) {
        self.end(match got {
            Ok(_) => "ok",
            Err(Error::Timeout(_)) => "timeout",
            Err(Error::Closed) => "closed",
            Err(Error::Paused) => "paused",
            Err(Error::Shed) => "shed",
            Err(Error::QueueFull { .. } | Error::TooMany { .. }) => "rejected",
            Err(Error::Create(_) | Error::NoGroup | Error::NoRuntime) => "error",
        });
    }

    pub(crate) fn left(&mut self, unserved: Unserved) {
        self.end(match unserved {
            Unserved::GoesOn | Unserved::Cancelled | Unserved::Panicked => "cancelled",
            Unserved::NoRuntime => "error",
            Unserved::TimedOut => "timeout",
        });
    }

    #[cold]
    fn end(&mut self, outcome: &'static str) {
        let span = replace(&mut self.0, Span::none());
        contain(|| {
            span.record("outcome", outcome);
            if !matches!(outcome, "ok" | "cancelled") {
                span.record("otel.status_code", FAILED);
            }
            drop(span);
        });
    }
}

/// `pool.create`: a creation, to its outcome. Without one, the pool gave it up.
#[derive(Clone)]
pub(crate) struct CreateSpan(Span);

impl CreateSpan {
    pub(crate) fn begin<M: Manager, K: Kind<M>>(core: &Core<M, K>, order: &BirthOrder) -> Self {
        let span = || {
            info_span!(
                target: "pool_core",
                parent: None,
                "pool.create",
                pool = core.name(),
                manager = type_name::<M>(),
                id = %order.id,
                reason = order.reason.as_str(),
                attempt = order.attempt,
                group = order.group.map(|GroupId(group)| group),
                outcome = Empty,
                otel.status_code = Empty,
                otel.status_description = Empty,
            )
        };
        Self(contain(span).unwrap_or_else(Span::none))
    }

    /// What the manager does is in the span.
    pub(crate) fn around<F: Future>(self, creation: F) -> Instrumented<F> {
        creation.instrument(self.0)
    }

    pub(crate) fn created(&self) {
        contain(|| {
            self.0.record("outcome", "ok");
        });
    }

    pub(crate) fn failed(&self, error: &str) {
        contain(|| {
            self.0.record("outcome", "error");
            self.0.record("otel.status_code", FAILED);
            self.0.record("otel.status_description", error);
        });
    }
}
