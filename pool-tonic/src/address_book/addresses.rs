//! The decisions about addresses: which is dialled, how long its back-off is, what state all that makes. The
//! clock and what is random come in.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff;
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;

/// What is known of one address.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) connecting: usize,
    pub(super) ready: usize,
    /// Connected, and its server says that it does not serve.
    pub(super) unhealthy: usize,
    pub(super) draining: usize,
    /// How often its server complained of too many pings.
    pub(super) calmed: u32,
    /// Failed attempts since the last connection.
    failures: u32,
    /// The last attempt failed and no connection is ready since.
    pub(super) failing: bool,
    /// No attempt before this.
    pub(super) retry_at: Option<Instant>,
    pub(super) last_error: Option<ConnectError>,
}

impl Entry {
    /// Out of its back-off, a failed address is idle again: the next call may dial it.
    pub(super) fn state(&self, now: Instant) -> ConnectivityState {
        let is_due = self.connecting == 0 && self.retry_in(now).is_zero();
        if self.ready > 0 {
            ConnectivityState::Ready
        } else if self.unhealthy > 0 || (self.failing && !is_due) {
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

/// The decisions about addresses.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) entries: Vec<Entry>,
    /// An attempt failed with nothing left to hope for, and no connection is ready since.
    pub(super) down: bool,
    pub(super) shutdown: bool,
}

impl Addresses {
    pub(super) fn new(len: usize) -> Self {
        let entries = (0..len).map(|_| Entry::default()).collect();
        Self { entries, down: false, shutdown: false }
    }

    pub(super) fn state(&self) -> ConnectivityState {
        if self.shutdown {
            ConnectivityState::Shutdown
        } else if self.entries.iter().any(|entry| entry.ready > 0) {
            ConnectivityState::Ready
        } else if self.down {
            ConnectivityState::TransientFailure
        } else if self.is_connecting() {
            ConnectivityState::Connecting
        } else if self.is_unhealthy() {
            ConnectivityState::TransientFailure
        } else {
            ConnectivityState::Idle
        }
    }

    /// A server says that it does not serve, and there is no other address to hope for.
    fn is_unhealthy(&self) -> bool {
        self.entries.iter().any(|entry| entry.unhealthy > 0)
            && self.entries.iter().all(|entry| entry.unhealthy > 0 || entry.failing)
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.entries.iter().any(|entry| entry.connecting > 0)
    }

    /// Takes the address to dial: one that is not in back-off, with the fewest connections, a random one
    /// of several. `pick(n)` draws from `0..n`.
    ///
    /// With `sure`, one that did not fail last time is preferred whatever its connections, since a call
    /// waits for the result.
    pub(super) fn pick(
        &mut self,
        now: Instant,
        sure: bool,
        pick: impl FnOnce(usize) -> usize,
    ) -> Option<usize> {
        // A failing address is tried by one attempt at a time.
        let key = |entry: &Entry| {
            let connections = entry.connecting + entry.ready + entry.unhealthy;
            let is_failing = entry.failing || entry.unhealthy > 0;
            (is_failing && (sure || entry.connecting > 0), connections)
        };
        let free =
            || self.entries.iter().enumerate().filter(|(_, entry)| entry.retry_in(now).is_zero());
        let best = free().map(|(_, entry)| key(entry)).min()?;
        let ties = || free().filter(|(_, entry)| key(entry) == best);
        let (index, _) = ties().nth(pick(ties().count()))?;
        self.entries[index].connecting += 1;
        Some(index)
    }

    /// How long until some address may be dialled.
    pub(super) fn retry_in(&self, now: Instant) -> Duration {
        self.entries.iter().map(|entry| entry.retry_in(now)).min().unwrap_or_default()
    }

    pub(super) fn connected(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        entry.connecting -= 1;
        entry.ready += 1;
        entry.failures = 0;
        entry.failing = false;
        entry.retry_at = None;
        entry.last_error = None;
        self.down = false;
    }

    /// An attempt that began at `started` has failed by `now`.
    pub(super) fn failed(
        &mut self,
        index: usize,
        (started, now): (Instant, Instant),
        error: ConnectError,
        random: f64,
    ) {
        let entry = &mut self.entries[index];
        entry.connecting -= 1;
        entry.failures = entry.failures.saturating_add(1);
        entry.failing = true;
        let retry_at = started + backoff::delay(entry.failures, random);
        entry.retry_at = entry.retry_at.max(Some(retry_at));
        entry.last_error = Some(error);
        // This one has just shown that it cannot be reached, even if its back-off is over by now.
        self.down |= self.entries.iter().enumerate().all(|(at, entry)| {
            let is_hopeless = at == index || !entry.retry_in(now).is_zero();
            entry.ready == 0 && entry.connecting == 0 && is_hopeless
        });
    }

    /// A ready connection ended, `lived` after it was dialled. If it was shorter than `stable`, that
    /// counts for the back-off, though not as a failure.
    pub(super) fn ended(
        &mut self,
        index: usize,
        now: Instant,
        (lived, stable): (Duration, Duration),
        error: ConnectError,
        random: f64,
    ) {
        if lived < stable {
            let entry = &mut self.entries[index];
            let retry_at = now + backoff::delay(1, random).saturating_sub(lived);
            entry.retry_at = entry.retry_at.max(Some(retry_at));
            entry.last_error = Some(error);
        }
    }

    /// Should a call that finds no connection fail now? Yes if the pool is down, unless its wait would
    /// start the next attempt.
    pub(super) fn fails_fast(&self, now: Instant) -> bool {
        let may_be_dialled = |entry: &Entry| entry.unhealthy == 0 && entry.retry_in(now).is_zero();
        self.state() == ConnectivityState::TransientFailure
            && (self.is_connecting() || !self.entries.iter().any(may_be_dialled))
    }

    /// Every address may be dialled now.
    pub(super) fn reset_backoff(&mut self) {
        for entry in &mut self.entries {
            entry.failures = 0;
            entry.retry_at = None;
        }
    }

    /// The error of the address that will be tried next, which is the most telling one.
    pub(super) fn last_error(&self) -> Option<ConnectError> {
        self.entries
            .iter()
            .filter(|entry| entry.last_error.is_some())
            .min_by_key(|entry| entry.retry_at)
            .and_then(|entry| entry.last_error.clone())
    }
}
