//! Waits for a stream slot.

use std::sync::Arc;

use pool_core::{Error, GetOptions, SharedLease, SharedPool};
use tokio::time::Instant;
use tonic::Status;

use super::deadline::Deadline;
use super::slot::{Lease, Source};
use super::{Call, Failed, status};
use crate::manager::ConnectionManager;
use crate::pool::Shared;

impl Call {
    /// A slot that is free now.
    pub(super) fn try_slot(&self) -> Option<Lease> {
        match &self.source {
            Source::Shared => self.shared.pool().try_get_owned().map(Lease::pooled),
            Source::Dedicated => self.shared.dedicated().try_get_owned().map(Lease::pooled),
            Source::Exclusive(exclusive) => exclusive.try_turn().map(Lease::exclusive),
        }
    }

    /// The next slot, for as long as the call may wait.
    pub(super) async fn wait(&mut self) -> Result<Lease, Failed> {
        self.late = true;
        let pool = match &self.source {
            Source::Shared => self.shared.pool(),
            Source::Dedicated => self.shared.dedicated(),
            Source::Exclusive(exclusive) => {
                let exclusive = Arc::clone(exclusive);
                let until = self.patience();
                let Some(turn) = exclusive.turn(until).await else {
                    return Err(Failed::Final(status::no_turn(
                        exclusive.served_by(),
                        self.deadline.as_ref(),
                        self.shared.calls().wait_timeout,
                    )));
                };
                return Ok(Lease::exclusive(turn));
            }
        };
        let deadline = self.deadline.as_ref();
        let got = slot_until(&self.shared, pool, deadline, self.wait_for_ready).await;
        got.map(Lease::pooled).map_err(Failed::Broken)
    }

    fn patience(&self) -> Instant {
        match &self.deadline {
            Some(deadline) => deadline.at(),
            None => Instant::now() + self.shared.calls().wait_timeout,
        }
    }

    /// Tells the server what is left.
    pub(super) fn rewrite_deadline(&mut self) -> Result<(), Status> {
        let Some(deadline) = &self.deadline else { return Ok(()) };
        let Some(left) = deadline.left() else {
            let what = format_args!("a stream slot to {}", self.shared.book());
            return Err(status::passed(deadline, what));
        };
        self.head.set_deadline(left);
        Ok(())
    }
}

/// The next slot of `pool`: until the deadline, or within the wait timeout. A failure to connect ends the wait
/// unless it is `through_failures`.
pub(crate) async fn slot_until(
    shared: &Shared,
    pool: &SharedPool<ConnectionManager>,
    deadline: Option<&Deadline>,
    through_failures: bool,
) -> Result<SharedLease<'static, ConnectionManager>, Status> {
    let book = shared.book();
    if !through_failures && let Some(error) = book.refusal() {
        return Err(status::refused(&error));
    }
    let began = Instant::now();
    let until = match deadline {
        Some(deadline) => deadline.at(),
        None => began + shared.calls().wait_timeout,
    };
    loop {
        let error = match pool.get_owned_with(GetOptions::new().deadline(until)).await {
            Ok(lease) => return Ok(lease),
            Err(error) => error,
        };
        // Once more in the queue, where it is counted: the pool connects again when it may.
        if !(through_failures && matches!(error, Error::Create(_))) {
            return Err(status::no_slot(error, book, deadline, began.elapsed()));
        }
    }
}
