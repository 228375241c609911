//! A get of a scenario, and what has become of it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;

use pool_core::test_util::{ScriptedError, ScriptedManager, ScriptedResource};
use pool_core::{Error, Kind, ResourceId};
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
    Waiting(Driven<'static, Result<Outcome<K>, Error<ScriptedError>>>, Held),
    Served(LeaseOf<K>),
    /// Several leases, which its future holds until it is dropped.
    ServedMany(#[expect(dead_code, reason = "for its destructor")] Many<K>, Vec<ResourceId>),
    /// Something that is no get has ended.
    Done(String),
    Failed(Error<ScriptedError>),
    Panicked,
    /// A `try_get` that found nothing.
    Nothing,
    /// Alive for as long as it is here.
    Detached(ScriptedResource),
    /// Given up, or given back.
    Gone,
}

type Many<K> = Driven<'static, Result<Outcome<K>, Error<ScriptedError>>>;

/// What an asynchronous call came to.
pub enum Outcome<K: Kind<ScriptedManager>> {
    Lease(LeaseOf<K>),
    Done(String),
}

/// The resources that a future has got and holds on to, instead of ending.
pub type Held = Rc<RefCell<Option<Vec<ResourceId>>>>;

impl<K: Kind<ScriptedManager>> GetState<K> {
    pub fn describe(&self) -> String {
        match self {
            Self::Waiting(..) => "it waits".to_owned(),
            Self::Served(lease) => format!("it was served with {}", lease.id()),
            Self::ServedMany(_, ids) => format!("it was served with {}", ids.len()),
            Self::Done(report) => format!("it is done: {report}"),
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
        let GetState::Waiting(get, held) = &mut self.state else { return false };
        let polled = catch_unwind(AssertUnwindSafe(|| get.poll()));
        self.state = match polled {
            Ok(Poll::Pending) => {
                let Some(ids) = held.borrow_mut().take() else { return true };
                let waited = std::mem::replace(&mut self.state, GetState::Gone);
                let GetState::Waiting(many, _) = waited else { return true };
                GetState::ServedMany(many, ids)
            }
            Ok(Poll::Ready(Ok(Outcome::Lease(lease)))) => GetState::Served(lease),
            Ok(Poll::Ready(Ok(Outcome::Done(report)))) => GetState::Done(report),
            Ok(Poll::Ready(Err(error))) => GetState::Failed(error),
            Err(_panic) => GetState::Panicked,
        };
        self.ended = Instant::now();
        true
    }

    pub fn is_due(&self) -> bool {
        !self.frozen && matches!(&self.state, GetState::Waiting(get, _) if get.is_woken())
    }
}
