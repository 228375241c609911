//! The decisions about addresses: which may be dialled, how long their back-off is, what state all that makes. The
//! clock and what is random come in.
//!
//! A call waits for as long as there is *hope*: a hopeful attempt, or an address that may be dialled and has not failed
//! since a connection was ready last. An attempt is hopeful if its address was not failing when it was begun, or had been
//! *unasked* for a while. Any other one at a failing address, by whichever pool below, is no hope: attempts that overlap
//! without end would otherwise keep each other's calls waiting. gRPC has the same rule for a channel, whose `TRANSIENT_FAILURE` lasts until
//! READY, whatever is tried meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::{Attempt, Entry, Key};
use super::resolution::Resolution;
use super::side::{Side, Sides};
use crate::address::Address;
use crate::backoff;
use crate::balance::{Outcomes, Weighed};
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;

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
    hopeful: usize,
    ready: Sides<usize>,
    unhealthy: Sides<usize>,
    /// When a connection that took calls was lost last.
    lost_at: Option<Instant>,
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
                asked: known.asked,
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

    /// This side wants to connect to it.
    pub(super) fn note_asked(&mut self, key: Key, side: Side) {
        self.change(key, |entry| entry.asked[side] = true);
    }

    /// Does this side leave it to those whose attempt goes on to find out whether it is there? Yes if it was not when it
    /// was asked last. A dedicated connection serves one call, which would wait for all of this attempt: it takes
    /// another address while nothing is connected to this one and something is to others.
    pub(super) fn is_left_to_others(&self, key: Key, side: Side) -> bool {
        let is_slow = |entry: &Entry| entry.connecting > 0 && !entry.is_ready();
        self.get(key).is_some_and(|entry| {
            entry.is_being_asked()
                || side == Side::Dedicated && self.ready.sum() > 0 && is_slow(entry)
        })
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
    pub(super) fn sums(&self) -> [usize; 5] {
        let Self { listed, connecting, hopeful, ready, unhealthy, .. } = self;
        [*listed, *connecting, *hopeful, ready.sum(), unhealthy.sum()]
    }

    fn listed(&self) -> impl Iterator<Item = &Entry> {
        self.iter().map(|(_, entry)| entry)
    }

    /// Changes an entry, and the sums with it. One that is neither listed nor counted goes.
    pub(super) fn change(&mut self, key: Key, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.listed {
            self.connecting -= entry.connecting;
            self.hopeful -= entry.hopeful;
            self.ready -= entry.ready;
            self.unhealthy -= entry.unhealthy;
        }
        change(entry);
        if entry.listed {
            self.connecting += entry.connecting;
            self.hopeful += entry.hopeful;
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
        } else if self.down[side] || self.hopeful == 0 && self.refuses(side) {
            ConnectivityState::TransientFailure
        } else if self.connecting > 0 {
            ConnectivityState::Connecting
        } else {
            self.resolution.state()
        }
    }

    /// A server says that it does not serve, and there is no other address to hope for.
    fn refuses(&self, side: Side) -> bool {
        self.unhealthy[side] > 0 && self.listed().all(|entry| entry.is_unhealthy() || entry.failing)
    }

    /// Takes this address to dial, if it is listed and not in back-off. If not: why it is in back-off.
    pub(super) fn take(&mut self, key: Key, now: Instant) -> Result<Attempt, Option<ConnectError>> {
        match self.get(key) {
            Some(entry) if entry.listed && entry.retry_in(now).is_zero() => {
                let hopeful = !entry.failing || entry.is_unasked(now);
                let attempt = Attempt { key, started: now, hopeful };
                self.change(key, |entry| {
                    entry.connecting += 1;
                    entry.hopeful += usize::from(attempt.hopeful);
                });
                Ok(attempt)
            }
            entry => Err(entry.and_then(|entry| entry.last_error.clone())),
        }
    }

    /// How long until some address may be dialled.
    pub(super) fn retry_in(&self, now: Instant) -> Duration {
        let soonest = self.listed().map(|entry| entry.retry_in(now)).min();
        soonest.unwrap_or_else(|| self.resolution.retry_in(now))
    }

    pub(super) fn connected(&mut self, attempt: Attempt, side: Side) {
        let key = attempt.key;
        self.change(key, |entry| {
            entry.is_over(attempt);
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

    /// An attempt has failed by `now`.
    pub(super) fn failed(
        &mut self,
        attempt: Attempt,
        now: Instant,
        error: ConnectError,
        random: f64,
    ) {
        let Attempt { key, started, .. } = attempt;
        self.change(key, |entry| {
            entry.is_over(attempt);
            if entry.failed_at.is_none_or(|at| at <= started) {
                entry.failures = entry.failures.saturating_add(1);
                entry.failed_at = Some(now);
            }
            entry.failing = true;
            let retry_at = started + backoff::delay(entry.failures, random);
            entry.retry_at = entry.retry_at.max(Some(retry_at));
            entry.last_error = Some(error);
        });
        let is_hopeless =
            |entry: &Entry| !entry.retry_in(now).is_zero() || entry.has_failed_since(self.lost_at);
        // This one has just shown that it cannot be reached.
        if self.hopeful == 0 && self.iter().all(|(at, entry)| at == key || is_hopeless(entry)) {
            self.despair();
        }
    }

    /// An attempt was not needed in the end.
    pub(super) fn given_up(&mut self, attempt: Attempt, now: Instant) {
        self.change(attempt.key, |entry| entry.is_over(attempt));
        self.settle(now);
    }

    /// A connection takes no more calls.
    pub(super) fn lost(&mut self, now: Instant) {
        self.lost_at = Some(now);
        self.settle(now);
    }

    /// A connection or an attempt is counted no more. What is left may be nothing to hope for, as after a failure.
    pub(super) fn settle(&mut self, now: Instant) {
        let is_hopeless = |entry: &Entry| entry.failing && !entry.retry_in(now).is_zero();
        if self.listed > 0 && self.hopeful == 0 && self.listed().all(is_hopeless) {
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

    /// Should a call that finds no connection fail now? Yes if the pool is down, unless an attempt is to be hoped for or
    /// its wait would start the next one.
    pub(super) fn fails_fast(&self, side: Side, now: Instant) -> bool {
        let may_be_dialled = |entry: &Entry| !entry.is_unhealthy() && entry.retry_in(now).is_zero();
        self.state(side) == ConnectivityState::TransientFailure
            && self.hopeful == 0
            && (self.connecting > 0 || !self.listed().any(may_be_dialled))
    }

    /// Every address may be dialled now.
    pub(super) fn reset_backoff(&mut self) {
        self.resolution.reset_backoff();
        for entry in self.entries.values_mut() {
            entry.failures = 0;
            entry.failed_at = None;
            entry.retry_at = None;
        }
    }

    /// How the endpoints' calls have ended so far, and whether each has a connection that takes calls, or would if it
    /// were not ejected.
    pub(super) fn outcomes(&self) -> Vec<(Key, Outcomes, bool)> {
        let outcomes = |(key, entry): (Key, &Entry)| {
            Some((key, entry.monitor.as_ref()?.outcomes(), entry.is_ready()))
        };
        self.iter().filter_map(outcomes).collect()
    }

    pub(super) fn weighed(&self) -> Vec<Weighed> {
        let weighed = |(key, entry): (Key, &Entry)| {
            let takes_calls = entry.is_ready() && entry.ejected.is_none();
            Some(Weighed { key, monitor: entry.monitor.clone()?, takes_calls })
        };
        self.iter().filter_map(weighed).collect()
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
