//! Waits for a stream slot.

use std::time::Duration;

use pool_core::{CreateError, Error, GetOptions, GroupId, ResourceId, SharedLease};
use tokio::task::yield_now;
use tokio::time::Instant;
use tonic::Status;

use super::deadline::Deadline;
use super::slot::{Lease, Source};
use super::{Call, Failed, Wish, status};
use crate::address_book::Side;
use crate::error::ConnectError;
use crate::manager::ConnectionManager;
use crate::options::Affinity;
use crate::pool::Shared;

/// What no timer can tell: a header that is off by less is right.
const TICK: Duration = Duration::from_millis(1);

impl Call {
    /// A slot that is free now.
    pub(super) fn try_slot(&self) -> Option<Lease> {
        match self.wish {
            Wish::Any => self.try_any_slot(),
            Wish::Other(refused_by) => self.try_other_slot(refused_by),
            Wish::At(affinity) => self.try_slot_at(affinity),
        }
    }

    /// A slot that is free now at the endpoint of a key, or anywhere if that will do.
    #[cold]
    fn try_slot_at(&self, affinity: Affinity) -> Option<Lease> {
        let Some(side) = self.source.side() else { return self.try_any_slot() };
        let home = self.shared.book().home(affinity.hash);
        let lease = home.and_then(|key| self.shared.side(side).try_get_owned_of(GroupId(key)));
        match lease {
            Some(lease) => Some(Lease::pooled(lease)),
            None if affinity.hard => None,
            None => self.try_any_slot(),
        }
    }

    /// A slot that is free now, of another connection than this if there is one: by its load alone one that refuses what
    /// it gets looks best.
    #[cold]
    fn try_other_slot(&self, refused_by: ResourceId) -> Option<Lease> {
        let pool = self.source.side().map(|side| self.shared.side(side));
        let other = pool.and_then(|pool| pool.try_get_owned_other(refused_by));
        other.map(Lease::pooled).or_else(|| self.try_any_slot())
    }

    fn try_any_slot(&self) -> Option<Lease> {
        match &self.source {
            Source::Shared => self.shared.pool().try_get_owned().map(Lease::pooled),
            Source::Dedicated => self.shared.dedicated().try_get_owned().map(Lease::pooled),
            Source::Exclusive(exclusive) => exclusive.try_turn().map(Lease::exclusive),
        }
    }

    /// The next slot, for as long as the call may wait: until its deadline, or for what all its waits together
    /// have left of the wait timeout.
    pub(super) async fn wait(&mut self) -> Result<Lease, Failed> {
        self.late = true;
        let began = Instant::now();
        let wait_timeout = self.shared.calls().wait_timeout;
        let until = match &self.deadline {
            Some(deadline) => deadline.at(),
            None => began + wait_timeout.saturating_sub(self.waited),
        };
        let side = match &self.source {
            Source::Shared => Side::Shared,
            Source::Dedicated => Side::Dedicated,
            Source::Exclusive(exclusive) => {
                let most = self.shared.dedicated().limits().max_waiters;
                let turn = exclusive.turn(until, most).await.map_err(|no_turn| {
                    let (served_by, deadline) = (exclusive.served_by(), self.deadline.as_ref());
                    Failed::Final(status::no_turn(no_turn, served_by, deadline, wait_timeout))
                })?;
                self.waited += began.elapsed();
                return Ok(Lease::exclusive(turn));
            }
        };
        let got = match self.wish {
            Wish::At(Affinity { hash, hard: true }) => {
                slot_at(&self.shared, side, hash, until, self.wait_for_ready).await
            }
            _ => slot_until(&self.shared, side, until, self.wait_for_ready).await,
        };
        self.waited += began.elapsed();
        got.map(Lease::pooled).map_err(|none| {
            // A policy is about servers. What is closed does not open, and time that is up is up.
            let is_final = matches!(none, NoSlot::Pool(Error::Closed | Error::Timeout(_)));
            let status = none.status(&self.shared, self.deadline.as_ref(), self.waited);
            if is_final { Failed::Final(status) } else { Failed::Broken(status) }
        })
    }

    /// Tells the server what is left, or ends the call if nothing is.
    pub(super) fn tell_deadline(&mut self, deadline: &Deadline) -> Result<(), Status> {
        let Some(left) = deadline.left() else {
            return Err(if self.late {
                let what = format_args!("a stream slot to {}", self.shared.book());
                status::passed(deadline, what)
            } else {
                status::passed(deadline, "the call to be polled")
            });
        };
        // As a rule it is what the caller has just asked for, and its header is there.
        if self.late || deadline.timeout().saturating_sub(left) >= TICK {
            self.head.set_deadline(left);
        }
        Ok(())
    }
}

/// Why there is no slot.
pub(crate) enum NoSlot {
    /// No address can be connected to.
    Down(ConnectError),
    Pool(Error<ConnectError>),
}

impl NoSlot {
    /// The status of a call that has `waited` for one.
    pub(crate) fn status(
        self,
        shared: &Shared,
        deadline: Option<&Deadline>,
        waited: Duration,
    ) -> Status {
        match self {
            Self::Down(error) => status::refused(&error),
            Self::Pool(error) => status::no_slot(error, shared.book(), deadline, waited),
        }
    }
}

/// The next slot of one side. A failure to connect ends the wait unless it is `through_failures`.
pub(crate) async fn slot_until(
    shared: &Shared,
    side: Side,
    until: Instant,
    through_failures: bool,
) -> Result<SharedLease<'static, ConnectionManager>, NoSlot> {
    let mut options = GetOptions::new().deadline(until);
    if through_failures {
        options = options.through_failures();
    } else if let Some(error) = shared.book().refusal(side) {
        return Err(NoSlot::Down(error));
    }
    shared.side(side).get_owned_with(options).await.map_err(NoSlot::Pool)
}

/// The next slot at the endpoint of a key, which may become another one meanwhile.
async fn slot_at(
    shared: &Shared,
    side: Side,
    hash: u64,
    until: Instant,
    through_failures: bool,
) -> Result<SharedLease<'static, ConnectionManager>, NoSlot> {
    loop {
        let Some(key) = shared.book().home(hash) else {
            // No endpoint is known yet. There is one when anybody has a connection.
            drop(slot_until(shared, side, until, through_failures).await?);
            continue;
        };
        let mut options = GetOptions::new().deadline(until).group(GroupId(key));
        if through_failures {
            options = options.through_failures();
        } else if let Some(error) = shared.book().refusal_at(key, side) {
            return Err(NoSlot::Down(error));
        }
        match shared.side(side).get_owned_with(options).await {
            // It is used no more, or the pool is about to hear of it.
            Err(Error::NoGroup) if Instant::now() < until => yield_now().await,
            // It is left alone for a while, and has not failed. The next slot is waited for until that is over.
            Err(Error::Create(_)) if !shared.book().has_failed(key) && Instant::now() < until => {
                yield_now().await;
            }
            Err(Error::Create(error)) => {
                return Err(match &*error {
                    // Of this endpoint, and not of all.
                    CreateError::Failed(error) => NoSlot::Down(error.clone()),
                    _ => NoSlot::Pool(Error::Create(error)),
                });
            }
            got => return got.map_err(NoSlot::Pool),
        }
    }
}
