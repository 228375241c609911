//! The addresses of a pool: their connections, their back-off, their states.
//!
//! Two layers. [`Addresses`] decides and is pure: the clock and what is random come in. [`AddressBook`]
//! puts it under a lock, gives out guards for what is counted, and publishes the state.
//!
//! An address goes through
//!
//! ```text
//!              Dial              Dial::connected               Live::drain / drop
//!   (nothing) ------> connecting ---------------> ready  ------------------------> (nothing)
//!                         |
//!                         | Dial::failed / drop
//!                         v
//!                    in back-off, and failing until a connection is ready again
//! ```
//!
//! The pool as a whole is *down*, `TRANSIENT_FAILURE`, from the moment when an attempt fails and there is
//! nothing left to hope for: no address has a connection or an attempt, and the others are in back-off.
//! Until a connection is ready again it stays so, attempts or not. An address that failed once and is out of
//! its back-off is something to hope for: its server may long be back, and nobody has asked since.
//!
//! Invariants: a `Dial` counts once in `connecting`, a `Live` once in `ready` or, once drained, in
//! `draining`; both take themselves back when dropped, so a task that is dropped with its runtime leaves
//! nothing behind. The watch channel always ends with the state of the last change, because the value is
//! computed while it is written. The lock of the watch is taken outside the addresses' lock, and no
//! waker runs under the latter.

mod guards;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::address::Address;
use crate::backoff;
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;
use crate::register::Register;
use crate::state_watch::StateWatch;
use crate::stats::AddressStatus;

pub(crate) use guards::{Dial, Live};

/// A connection that is lost sooner than this, without a GOAWAY, counts as one that never was: a server
/// that accepts and drops at once would otherwise be dialled in a tight loop, since READY ends the back-off.
const STABLE_AFTER: Duration = Duration::from_secs(1);

/// The same for one that the server ends with a GOAWAY. Shorter, since that is how servers end
/// connections in good order, and some are set to do so often.
const GREETED_AFTER: Duration = Duration::from_millis(100);

/// Complaints of too many pings make keepalive no slower than this: clocks can add it to now.
const MAX_KEEPALIVE_TIME: Duration = Duration::from_secs(60 * 60 * 24);

/// What is known of one address.
#[derive(Debug, Default)]
struct Entry {
    connecting: usize,
    ready: usize,
    /// Connected, and its server says that it does not serve.
    unhealthy: usize,
    draining: usize,
    /// How often its server complained of too many pings.
    calmed: u32,
    /// Failed attempts since the last connection.
    failures: u32,
    /// The last attempt failed and no connection is ready since.
    failing: bool,
    /// No attempt before this.
    retry_at: Option<Instant>,
    last_error: Option<ConnectError>,
}

impl Entry {
    /// Out of its back-off, a failed address is idle again: the next call may dial it.
    fn state(&self, now: Instant) -> ConnectivityState {
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

    fn retry_in(&self, now: Instant) -> Duration {
        self.retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

/// The decisions about addresses.
#[derive(Debug)]
struct Addresses {
    entries: Vec<Entry>,
    /// An attempt failed with nothing left to hope for, and no connection is ready since.
    down: bool,
    shutdown: bool,
}

impl Addresses {
    fn new(len: usize) -> Self {
        let entries = (0..len).map(|_| Entry::default()).collect();
        Self { entries, down: false, shutdown: false }
    }

    fn state(&self) -> ConnectivityState {
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

    fn is_connecting(&self) -> bool {
        self.entries.iter().any(|entry| entry.connecting > 0)
    }

    /// Takes the address to dial: one that is not in back-off, with the fewest connections, a random one
    /// of several. `pick(n)` draws from `0..n`.
    ///
    /// With `sure`, one that did not fail last time is preferred whatever its connections, since a call
    /// waits for the result.
    fn pick(
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
    fn retry_in(&self, now: Instant) -> Duration {
        self.entries.iter().map(|entry| entry.retry_in(now)).min().unwrap_or_default()
    }

    fn connected(&mut self, index: usize) {
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
    fn failed(
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
    fn ended(
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
    fn fails_fast(&self, now: Instant) -> bool {
        let may_be_dialled = |entry: &Entry| entry.unhealthy == 0 && entry.retry_in(now).is_zero();
        self.state() == ConnectivityState::TransientFailure
            && (self.is_connecting() || !self.entries.iter().any(may_be_dialled))
    }

    /// Every address may be dialled now.
    fn reset_backoff(&mut self) {
        for entry in &mut self.entries {
            entry.failures = 0;
            entry.retry_at = None;
        }
    }

    /// The error of the address that will be tried next, which is the most telling one.
    fn last_error(&self) -> Option<ConnectError> {
        self.entries
            .iter()
            .filter(|entry| entry.last_error.is_some())
            .min_by_key(|entry| entry.retry_at)
            .and_then(|entry| entry.last_error.clone())
    }
}

/// The addresses of a pool, shared by its manager, its connections and its handles.
#[derive(Debug)]
pub(crate) struct AddressBook {
    list: Vec<Address>,
    addresses: Mutex<Addresses>,
    register: Arc<Register>,
    /// The back-off was reset.
    reset: Notify,
    state: watch::Sender<ConnectivityState>,
}

impl AddressBook {
    pub(crate) fn new(list: Vec<Address>) -> Arc<Self> {
        let addresses = Mutex::new(Addresses::new(list.len()));
        Arc::new(Self {
            list,
            addresses,
            register: Arc::default(),
            reset: Notify::new(),
            state: watch::Sender::new(ConnectivityState::Idle),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the addresses, then publishes what state that makes.
    fn change<R>(&self, change: impl FnOnce(&mut Addresses) -> R) -> R {
        let result = change(&mut self.lock());
        self.state.send_if_modified(|state| {
            let new = self.lock().state();
            let modified = *state != new;
            *state = new;
            modified
        });
        result
    }

    pub(crate) fn state(&self) -> ConnectivityState {
        *self.state.borrow()
    }

    pub(crate) fn watch(&self) -> StateWatch {
        StateWatch::new(self.state.subscribe())
    }

    pub(crate) fn register(&self) -> &Register {
        &self.register
    }

    /// Resolves when the pool is closed.
    pub(crate) async fn closed(&self) {
        // The sender lives in self.
        let _ = self.watch().wait_for(|state| state == ConnectivityState::Shutdown).await;
    }

    /// Ends every back-off.
    pub(crate) fn reset_backoff(&self) {
        self.change(Addresses::reset_backoff);
        self.reset.notify_waiters();
    }

    /// Resolves when some address may be dialled, by the clock or by a reset.
    pub(crate) async fn retry_due(&self) {
        let reset = self.reset.notified();
        let _ = tokio::time::timeout(self.retry_in(), reset).await;
    }

    /// Begins an attempt; see [`Addresses::pick`].
    pub(crate) fn dial(self: &Arc<Self>, sure: bool) -> Result<Dial, ConnectError> {
        let now = Instant::now();
        let picked = self.change(|addresses| {
            addresses
                .pick(now, sure, |n| fastrand::usize(..n))
                .ok_or_else(|| addresses.last_error())
        });
        match picked {
            Ok(index) => Ok(self.begin(index, now)),
            Err(last) => Err(ConnectError::backing_off(self, last)),
        }
    }

    /// Begins an attempt at the address of a connection that is to be replaced, unless it is in back-off.
    pub(crate) fn dial_again(self: &Arc<Self>, address: &Address) -> Result<Dial, ConnectError> {
        let now = Instant::now();
        let index = self.list.iter().position(|other| other == address);
        let begun = self.change(|addresses| {
            let entry = index.and_then(|index| addresses.entries.get_mut(index));
            match entry {
                Some(entry) if entry.retry_in(now).is_zero() => {
                    entry.connecting += 1;
                    Ok(())
                }
                entry => Err(entry.and_then(|entry| entry.last_error.clone())),
            }
        });
        match (index, begun) {
            (Some(index), Ok(())) => Ok(self.begin(index, now)),
            (_, begun) => Err(ConnectError::backing_off(address, begun.err().flatten())),
        }
    }

    pub(crate) fn retry_in(&self) -> Duration {
        self.lock().retry_in(Instant::now())
    }

    /// The error with which a call that finds no connection fails at once; `None` if it may wait.
    pub(crate) fn refusal(&self) -> Option<ConnectError> {
        // Read first, since it is right nearly always and costs no lock.
        if self.state() != ConnectivityState::TransientFailure {
            return None;
        }
        let addresses = self.lock();
        if !addresses.fails_fast(Instant::now()) {
            return None;
        }
        let last = addresses.last_error();
        drop(addresses);
        Some(last.unwrap_or_else(|| ConnectError::backing_off(self, None)))
    }

    /// Is there no address left that a waiting call could hope for?
    pub(crate) fn is_down(&self) -> bool {
        self.lock().state() == ConnectivityState::TransientFailure
    }

    pub(crate) fn last_error(&self) -> Option<ConnectError> {
        self.lock().last_error()
    }

    pub(crate) fn shutdown(&self) {
        self.change(|addresses| addresses.shutdown = true);
    }

    pub(crate) fn snapshot(&self) -> Vec<AddressStatus> {
        let now = Instant::now();
        let addresses = self.lock();
        let of = |(address, entry): (&Address, &Entry)| AddressStatus {
            address: address.to_string(),
            state: entry.state(now),
            connecting: entry.connecting,
            ready: entry.ready,
            draining: entry.draining,
            retry_in: Some(entry.retry_in(now)).filter(|left| !left.is_zero()),
            last_error: entry.last_error.clone(),
        };
        self.list.iter().zip(&addresses.entries).map(of).collect()
    }
}

/// All addresses, for messages.
impl fmt::Display for AddressBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{address}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "address_book_tests.rs"]
mod tests;
