//! What is known of one address.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::side::Sides;
use crate::address::Address;
use crate::balance::Monitor;
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;

/// What an address goes by from its listing on; never used twice.
pub(crate) type Key = u64;

/// A failing address that might have been dialled for as long may have its server back. Longer than it takes calls that wait
/// to make the next attempt.
const UNASKED: Duration = Duration::from_secs(1);

/// What is known of one address.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) address: Arc<Address>,
    /// Connections to it are wanted. It is there until nothing of it is counted any more.
    pub(super) listed: bool,
    pub(super) connecting: usize,
    /// Those of them that are to be hoped for.
    pub(super) hopeful: usize,
    pub(super) ready: Sides<usize>,
    /// Connected, and its server says that it does not serve.
    pub(super) unhealthy: Sides<usize>,
    pub(super) draining: usize,
    /// How often its server complained of too many pings.
    pub(super) calmed: u32,
    /// Failed attempts since the last connection, without those that went on when one of them failed: they say the same.
    pub(super) failures: u32,
    /// When the last of them failed.
    pub(super) failed_at: Option<Instant>,
    /// The last attempt failed and no connection is ready since.
    pub(super) failing: bool,
    /// Who has wanted to connect to it: a pool below that has may be leaving it alone.
    pub(super) asked: Sides<bool>,
    /// No attempt before this.
    pub(super) retry_at: Option<Instant>,
    pub(super) last_error: Option<ConnectError>,
    /// Where endpoints are compared.
    pub(super) monitor: Option<Arc<Monitor>>,
    /// It gets no calls until then, since it answers worse than the others.
    pub(super) ejected: Option<Instant>,
}

impl Entry {
    pub(super) fn new(address: Arc<Address>) -> Self {
        Self {
            address,
            listed: true,
            connecting: 0,
            hopeful: 0,
            ready: Sides::default(),
            unhealthy: Sides::default(),
            draining: 0,
            calmed: 0,
            failures: 0,
            failed_at: None,
            failing: false,
            asked: Sides::default(),
            retry_at: None,
            last_error: None,
            monitor: None,
            ejected: None,
        }
    }

    pub(super) fn is_counted(&self) -> bool {
        self.connected() + self.connecting + self.draining > 0
    }

    /// Connections that take calls, or may do so again.
    pub(super) fn connected(&self) -> usize {
        self.ready.sum() + self.unhealthy.sum()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.sum() > 0
    }

    /// An attempt has failed since then, or at all, and none has succeeded.
    pub(super) fn has_failed_since(&self, moment: Option<Instant>) -> bool {
        self.failed_at.is_some_and(|at| moment.is_none_or(|moment| at >= moment))
    }

    pub(super) fn is_over(&mut self, attempt: Attempt) {
        self.connecting -= 1;
        self.hopeful -= usize::from(attempt.hopeful);
    }

    /// It failed, and an attempt goes on that is no hope.
    pub(super) fn is_being_asked(&self) -> bool {
        self.failing && self.connecting > self.hopeful
    }

    /// It might have been dialled for a while, or its back-off was reset, and nobody asks: its server may long be back.
    pub(super) fn is_unasked(&self, now: Instant) -> bool {
        let since = self.retry_at.max(self.failed_at);
        self.connecting == 0 && since.is_none_or(|at| now.saturating_duration_since(at) >= UNASKED)
    }

    pub(super) fn is_unhealthy(&self) -> bool {
        self.unhealthy.sum() > 0
    }

    /// Out of its back-off, a failed address is idle again: the next call may dial it.
    pub(super) fn state(&self, now: Instant) -> ConnectivityState {
        let is_due = self.connecting == 0 && self.retry_in(now).is_zero();
        if self.is_ready() {
            ConnectivityState::Ready
        } else if self.is_unhealthy() || (self.failing && !is_due) {
            ConnectivityState::TransientFailure
        } else if self.connecting > 0 {
            ConnectivityState::Connecting
        } else {
            ConnectivityState::Idle
        }
    }

    pub(super) fn retry_in(&self, now: Instant) -> Duration {
        self.retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

/// An attempt that is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) key: Key,
    pub(super) started: Instant,
    /// Calls may wait for it: its address was not failing, or had not been asked for a while.
    pub(super) hopeful: bool,
}
