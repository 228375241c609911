//! What an address book is before a resolver has given its first set.
//!
//! ```text
//!   unasked (IDLE) --> asked (CONNECTING) --+--> known
//!         ^                                 |     ^
//!         | the task ended                  v     |
//!         +-------------------------- failing (TRANSIENT_FAILURE), asked again meanwhile
//! ```
//!
//! Known it stays: the last set is kept. A book of fixed addresses is known from the beginning.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::AddressBook;
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Resolution {
    /// What is resolved, for messages.
    pub(super) target: Option<Arc<str>>,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Known,
    Unasked,
    Asked,
    Failing {
        error: ConnectError,
        retry_at: Instant,
    },
}

impl Resolution {
    /// Of a pool without a connection, an attempt or an address.
    pub(super) fn state(&self) -> ConnectivityState {
        match self.stage {
            Stage::Known | Stage::Unasked => ConnectivityState::Idle,
            Stage::Asked => ConnectivityState::Connecting,
            Stage::Failing { .. } => ConnectivityState::TransientFailure,
        }
    }

    pub(super) fn error(&self) -> Option<ConnectError> {
        match &self.stage {
            Stage::Failing { error, .. } => Some(error.clone()),
            _ => None,
        }
    }

    /// How long until the resolver is asked again.
    pub(super) fn retry_in(&self, now: Instant) -> Duration {
        match self.stage {
            Stage::Failing { retry_at, .. } => retry_at.saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn reset_backoff(&mut self) {
        if let Stage::Failing { retry_at, .. } = &mut self.stage {
            *retry_at = Instant::now();
        }
    }

    /// `None` while it is worth waiting: it is being asked, or about to be.
    fn outcome(&self, now: Instant) -> Option<Result<(), ConnectError>> {
        match &self.stage {
            Stage::Known => Some(Ok(())),
            Stage::Failing { error, retry_at } if *retry_at > now => Some(Err(error.clone())),
            Stage::Unasked | Stage::Asked | Stage::Failing { .. } => None,
        }
    }
}

/// Reasons to ask a resolver again before it is due.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    rung: Notify,
    /// The back-off was reset.
    at_once: AtomicBool,
}

impl Asks {
    /// Resolves when there is one, to whether it is to be asked without a delay. One that came while nobody waited
    /// counts.
    pub(crate) async fn next(&self) -> bool {
        self.rung.notified().await;
        self.at_once.swap(false, Ordering::SeqCst)
    }

    /// A connection was lost, or could not be made.
    pub(super) fn disconnected(&self) {
        self.rung.notify_one();
    }

    pub(super) fn reset(&self) {
        self.at_once.store(true, Ordering::SeqCst);
        self.rung.notify_one();
    }
}

impl AddressBook {
    pub(crate) fn asks(&self) -> Arc<Asks> {
        Arc::clone(&self.asks)
    }

    /// Its addresses are to come from a resolver.
    pub(crate) fn expect_endpoints(&self, target: &str) {
        self.lock().resolution.target = Some(target.into());
        self.pass(|_| Some(Stage::Unasked));
    }

    /// The resolver is asked.
    pub(crate) fn asked(&self) {
        self.pass(|stage| matches!(stage, Stage::Unasked).then_some(Stage::Asked));
    }

    /// The resolver has failed, and is asked again then.
    pub(crate) fn not_resolved(&self, error: &ConnectError, retry_at: Instant) {
        self.pass(|stage| {
            let is_known = matches!(stage, Stage::Known);
            (!is_known).then(|| Stage::Failing { error: error.clone(), retry_at })
        });
    }

    /// Nobody asks the resolver any more: whoever needs an address next begins anew.
    pub(crate) fn asked_no_more(&self) {
        self.pass(|stage| (!matches!(stage, Stage::Known)).then_some(Stage::Unasked));
    }

    /// There is a set, and it is listed.
    pub(crate) fn resolved(&self) {
        self.pass(|_| Some(Stage::Known));
    }

    /// From one stage to the next, if there is one.
    fn pass(&self, next: impl FnOnce(&Stage) -> Option<Stage>) {
        let replaced = self.change(|addresses| {
            let stage = &mut addresses.resolution.stage;
            next(stage).map(|next| std::mem::replace(stage, next))
        });
        // An error has a destructor of the user's, perhaps.
        drop(replaced);
        self.settled.notify_waiters();
    }

    /// Waits until there are addresses to dial.
    ///
    /// # Errors
    ///
    /// The resolver's, if it has failed and is not to be asked again yet.
    pub(crate) async fn endpoints(&self) -> Result<(), ConnectError> {
        loop {
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            let outcome = self.lock().resolution.outcome(Instant::now());
            match outcome {
                Some(outcome) => return outcome,
                None => settled.await,
            }
        }
    }
}
