//! The decisions about addresses: which may be dialled, how long their back-off is, what state all that makes. The
//! clock and what is random come in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::resolution::Resolution;
use super::side::{Side, Sides};
use crate::address::Address;
use crate::backoff;
use crate::balance::{Monitor, Tally};
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;

/// What an address goes by from its listing on; never used twice.
pub(crate) type Key = u64;

/// What is known of one address.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) address: Arc<Address>,
    /// Connections to it are wanted. It is there until nothing of it is counted any more.
    pub(super) listed: bool,
    pub(super) connecting: usize,
    pub(super) ready: Sides<usize>,
    /// Connected, and its server says that it does not serve.
    pub(super) unhealthy: Sides<usize>,
    pub(super) draining: usize,
    /// How often its server complained of too many pings.
    pub(super) calmed: u32,
    /// Failed attempts since the last connection, without those that went on when one of them failed: they say the same.
    failures: u32,
    /// When the last of them failed.
    failed_at: Option<Instant>,
    /// The last attempt failed and no connection is ready since.
    pub(super) failing: bool,
    /// No attempt before this.
    pub(super) retry_at: Option<Instant>,
    pub(super) last_error: Option<ConnectError>,
    /// Where endpoints are compared.
    pub(super) monitor: Option<Arc<Monitor>>,
    /// It gets no calls until then, since it answers worse than the others.
    pub(super) ejected: Option<Instant>,
}

impl Entry {
    fn new(address: Arc<Address>) -> Self {
        Self {
            address,
            listed: true,
            connecting: 0,
            ready: Sides::default(),
            unhealthy: Sides::default(),
            draining: 0,
            calmed: 0,
            failures: 0,
            failed_at: None,
            failing: false,
            retry_at: None,
            last_error: None,
            monitor: None,
            ejected: None,
        }
    }

    fn is_counted(&self) -> bool {
        self.connected() + self.connecting + self.draining > 0
    }

    /// Connections that take calls, or may do so again.
    fn connected(&self) -> usize {
        self.ready.sum() + self.unhealthy.sum()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.sum() > 0
    }

    /// It failed, and an attempt goes on.
    pub(super) fn is_being_asked(&self) -> bool {
        self.failing && self.connecting > 0
    }

    fn is_unhealthy(&self) -> bool {
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

/// The decisions about addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    entries: BTreeMap<Key, Entry>,
    /// The last entry of each address, listed or not.
    by_address: HashMap<Arc<Address>, Key>,
    pub(super) next_key: Key,
    /// Sums over the listed ones, so that the state takes no look at each.
    listed: usize,
    connecting: usize,
    ready: Sides<usize>,
    unhealthy: Sides<usize>,
    /// An attempt failed with nothing left to hope for, and no connection is ready since.
    pub(super) down: Sides<bool>,
    pub(super) shutdown: bool,
    pub(super) resolution: Resolution,
}

impl Addresses {
    /// Lists an address, unless it is; says what it goes by. One that was listed before keeps its back-off for as
    /// long as something of it is counted.
    pub(super) fn list(&mut self, address: Arc<Address>) -> Key {
        let mut entry = Entry::new(Arc::clone(&address));
        if let Some(key) = self.by_address.get(&address)
            && let Some(known) = self.entries.get(key)
        {
            if known.listed {
                return *key;
            }
            entry = Entry {
                calmed: known.calmed,
                failures: known.failures,
                failed_at: known.failed_at,
                failing: known.failing,
                retry_at: known.retry_at,
                last_error: known.last_error.clone(),
                ..entry
            };
        }
        // Something to hope for, if it did not fail just now.
        if !entry.failing {
            self.down = Sides::default();
        }
        let key = self.next_key;
        self.next_key += 1;
        self.listed += 1;
        self.entries.insert(key, entry);
        self.by_address.insert(address, key);
        key
    }

    /// It is dialled no more, and what is left of it does not make the pool ready.
    pub(super) fn unlist(&mut self, key: Key) {
        if self.get(key).is_some_and(|entry| entry.listed) {
            self.listed -= 1;
            self.change(key, |entry| entry.listed = false);
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.entries.get(&key)
    }

    #[cfg(test)]
    pub(super) fn find(&self, address: &Address) -> Option<Key> {
        self.by_address.get(address).copied()
    }

    /// The listed ones, in the order in which they were.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Entry)> {
        self.entries.iter().filter(|(_, entry)| entry.listed).map(|(key, entry)| (*key, entry))
    }

    pub(super) fn len(&self) -> usize {
        self.listed
    }

    #[cfg(test)]
    pub(super) fn sums(&self) -> [usize; 4] {
        [self.listed, self.connecting, self.ready.sum(), self.unhealthy.sum()]
    }

    fn listed(&self) -> impl Iterator<Item = &Entry> {
        self.iter().map(|(_, entry)| entry)
    }

    /// Changes an entry, and the sums with it. One that is neither listed nor counted goes.
    pub(super) fn change(&mut self, key: Key, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.listed {
            self.connecting -= entry.connecting;
            self.ready -= entry.ready;
            self.unhealthy -= entry.unhealthy;
        }
        change(entry);
        if entry.listed {
            self.connecting += entry.connecting;
            self.ready += entry.ready;
            self.unhealthy += entry.unhealthy;
        } else if !entry.is_counted() {
            if self.by_address.get(&entry.address) == Some(&key) {
                self.by_address.remove(&entry.address);
            }
            self.entries.remove(&key);
        }
    }

    /// For all: that of the shared side, unless only the other one is in use.
    pub(super) fn overall(&self) -> ConnectivityState {
        match self.state(Side::Shared) {
            ConnectivityState::Idle if self.ready[Side::Dedicated] > 0 => ConnectivityState::Ready,
            state => state,
        }
    }

    /// For the calls of this side.
    pub(super) fn state(&self, side: Side) -> ConnectivityState {
        if self.shutdown {
            ConnectivityState::Shutdown
        } else if self.ready[side] > 0 {
            ConnectivityState::Ready
        } else if self.down[side] {
            ConnectivityState::TransientFailure
        } else if self.connecting > 0 {
            ConnectivityState::Connecting
        } else if self.refuses(side) {
            ConnectivityState::TransientFailure
        } else {
            self.resolution.state()
        }
    }

    /// A server says that it does not serve, and there is no other address to hope for.
    fn refuses(&self, side: Side) -> bool {
        self.unhealthy[side] > 0 && self.listed().all(|entry| entry.is_unhealthy() || entry.failing)
    }

    /// Takes this address to dial, if it is listed and not in back-off. If not: why it is in back-off.
    pub(super) fn take(&mut self, key: Key, now: Instant) -> Result<Key, Option<ConnectError>> {
        match self.get(key) {
            Some(entry) if entry.listed && entry.retry_in(now).is_zero() => {
                self.change(key, |entry| entry.connecting += 1);
                Ok(key)
            }
            entry => Err(entry.and_then(|entry| entry.last_error.clone())),
        }
    }

    /// How long until some address may be dialled.
    pub(super) fn retry_in(&self, now: Instant) -> Duration {
        let soonest = self.listed().map(|entry| entry.retry_in(now)).min();
        soonest.unwrap_or_else(|| self.resolution.retry_in(now))
    }

    pub(super) fn connected(&mut self, key: Key, side: Side) {
        self.change(key, |entry| {
            entry.connecting -= 1;
            entry.ready[side] += 1;
            entry.failures = 0;
            entry.failed_at = None;
            entry.failing = false;
            entry.retry_at = None;
            entry.last_error = None;
        });
        if self.get(key).is_some_and(|entry| entry.listed) {
            self.down = Sides::default();
        }
    }

    /// An attempt that began at `started` has failed by `now`.
    pub(super) fn failed(
        &mut self,
        key: Key,
        (started, now): (Instant, Instant),
        error: ConnectError,
        random: f64,
    ) {
        self.change(key, |entry| {
            entry.connecting -= 1;
            if entry.failed_at.is_none_or(|at| at <= started) {
                entry.failures = entry.failures.saturating_add(1);
                entry.failed_at = Some(now);
            }
            entry.failing = true;
            let retry_at = started + backoff::delay(entry.failures, random);
            entry.retry_at = entry.retry_at.max(Some(retry_at));
            entry.last_error = Some(error);
        });
        // This one has just shown that it cannot be reached, even if its back-off is over by now.
        if self.connecting == 0
            && self.iter().all(|(at, entry)| at == key || !entry.retry_in(now).is_zero())
        {
            self.despair();
        }
    }

    /// A connection or an attempt is counted no more. What is left may be nothing to hope for, as after a failure.
    pub(super) fn settle(&mut self, now: Instant) {
        let is_hopeless = |entry: &Entry| entry.failing && !entry.retry_in(now).is_zero();
        if self.listed > 0 && self.connecting == 0 && self.listed().all(is_hopeless) {
            self.despair();
        }
    }

    /// There is nothing left to hope for.
    fn despair(&mut self) {
        for side in Side::BOTH {
            self.down[side] |= self.ready[side] == 0;
        }
    }

    /// A ready connection ended, `lived` after it was dialled. If it was shorter than `stable`, that
    /// counts for the back-off, though not as a failure.
    pub(super) fn ended(
        &mut self,
        key: Key,
        now: Instant,
        (lived, stable): (Duration, Duration),
        error: ConnectError,
        random: f64,
    ) {
        if lived < stable {
            self.change(key, |entry| {
                let retry_at = now + backoff::delay(1, random).saturating_sub(lived);
                entry.retry_at = entry.retry_at.max(Some(retry_at));
                entry.last_error = Some(error);
            });
        }
    }

    /// Should a call that finds no connection fail now? Yes if the pool is down, unless its wait would
    /// start the next attempt.
    pub(super) fn fails_fast(&self, side: Side, now: Instant) -> bool {
        let may_be_dialled = |entry: &Entry| !entry.is_unhealthy() && entry.retry_in(now).is_zero();
        self.state(side) == ConnectivityState::TransientFailure
            && (self.connecting > 0 || !self.listed().any(may_be_dialled))
    }

    /// Every address may be dialled now.
    pub(super) fn reset_backoff(&mut self) {
        self.resolution.reset_backoff();
        for entry in self.entries.values_mut() {
            entry.failures = 0;
            entry.retry_at = None;
        }
    }

    /// What the endpoints' calls have shown since this was asked last.
    pub(super) fn tallies(&self) -> Vec<Tally> {
        let tally = |(key, entry): (Key, &Entry)| {
            let (ok, failed) = entry.monitor.as_ref()?.take_outcomes();
            Some(Tally { key, ok, failed, ready: entry.is_ready() })
        };
        self.iter().filter_map(tally).collect()
    }

    pub(super) fn all_ready_are_ejected(&self) -> bool {
        self.listed().all(|entry| !entry.is_ready() || entry.ejected.is_some())
    }

    /// The error of the address that will be tried next, which is the most telling one.
    pub(super) fn last_error(&self) -> Option<ConnectError> {
        self.listed()
            .filter(|entry| entry.last_error.is_some())
            .min_by_key(|entry| entry.retry_at)
            .map_or_else(|| self.resolution.error(), |entry| entry.last_error.clone())
    }
}
