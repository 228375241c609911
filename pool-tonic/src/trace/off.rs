//! What stands for the rest where the feature is off.

#![expect(clippy::unused_self, reason = "the signatures are those of the real ones")]

use std::fmt;

use tonic::{Code, Status};

use crate::balance::EndpointEvent;
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;
use crate::options::ServedBy;
use crate::pool::CallConfig;

#[inline]
pub(crate) fn endpoint(_pool: &str, _event: &EndpointEvent) {}

#[inline]
pub(crate) fn state(_pool: &str, _state: ConnectivityState) {}

pub(crate) struct CallSpan;

impl CallSpan {
    pub(crate) const NONE: Self = Self;

    #[inline]
    pub(crate) fn begin(_pool: &str, _path: &str) -> Self {
        Self
    }

    #[inline]
    pub(crate) fn scope(&self) -> CallScope {
        CallScope
    }

    #[inline]
    pub(crate) fn sent(&mut self, _to: &ServedBy) {}

    #[inline]
    pub(crate) fn attempt_failed(&self, _why: &dyn fmt::Display) {}

    #[inline]
    pub(crate) fn failed(&self, _status: &Status) {}

    #[inline]
    pub(crate) fn end(&mut self, _code: Code) {}
}

pub(crate) struct CallScope;

impl CallScope {
    #[inline]
    pub(crate) fn propagate<B>(&self, _: &CallConfig, _: &mut http::Request<B>) {}

    #[inline]
    pub(crate) fn around<F: Future>(self, call: F) -> F {
        call
    }
}

pub(crate) struct ConnectSpan;

impl ConnectSpan {
    #[inline]
    pub(crate) fn begin(_pool: &str, _address: &impl fmt::Display) -> Self {
        Self
    }

    #[inline]
    pub(crate) async fn around<T>(
        self,
        attempt: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        attempt.await
    }
}
