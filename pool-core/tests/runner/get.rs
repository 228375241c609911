//! A get of a scenario, and what has become of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use pool_core::test_util::{ScriptedError, ScriptedManager, ScriptedResource};
use pool_core::{Error, Kind};
use tokio::time::Instant;

use super::text;
use crate::harness::{Driven, LeaseOf};

pub struct Get<K: Kind<ScriptedManager>> {
    pub state: GetState<K>,
    pub frozen: bool,
    pub started: Instant,
    pub ended: Instant,
}

pub enum GetState<K: Kind<ScriptedManager>> {
    Waiting(Driven<'static, Result<LeaseOf<K>, Error<ScriptedError>>>),
    Served(LeaseOf<K>),
    Failed(Error<ScriptedError>),
    Panicked,
    /// A `try_get` that found nothing.
    Nothing,
    /// Alive for as long as it is here.
    Detached(#[expect(dead_code, reason = "for its destructor")] ScriptedResource),
    /// Given up, or given back.
    Gone,
}

impl<K: Kind<ScriptedManager>> GetState<K> {
    pub fn describe(&self) -> String {
        match self {
            Self::Waiting(_) => "it waits".to_owned(),
            Self::Served(lease) => format!("it was served with {}", lease.id()),
            Self::Failed(error) => {
                let (failure, cause) = text::failure(error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                format!("it failed: {failure}{cause}")
            }
            Self::Panicked => "it panicked".to_owned(),
            Self::Nothing => "it found nothing".to_owned(),
            Self::Detached(_) => "it was detached".to_owned(),
            Self::Gone => "it is over".to_owned(),
        }
    }
}

impl<K: Kind<ScriptedManager>> Get<K> {
    pub fn poll(&mut self) -> bool {
        let GetState::Waiting(get) = &mut self.state else { return false };
        let polled = catch_unwind(AssertUnwindSafe(|| get.poll()));
        self.state = match polled {
            Ok(Poll::Pending) => return true,
            Ok(Poll::Ready(Ok(lease))) => GetState::Served(lease),
            Ok(Poll::Ready(Err(error))) => GetState::Failed(error),
            Err(_panic) => GetState::Panicked,
        };
        self.ended = Instant::now();
        true
    }

    pub fn is_due(&self) -> bool {
        !self.frozen && matches!(&self.state, GetState::Waiting(get) if get.is_woken())
    }
}
