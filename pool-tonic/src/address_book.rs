//! The addresses of a pool: their connections, their back-off, their states.
//!
//! Two layers. [`Addresses`] decides and is pure: the clock and what is random come in. [`AddressBook`]
//! puts it under a lock, gives out [guards] for what is counted, and publishes the state.
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
//! A ready connection is *unhealthy* while its server says that it does not serve (`Live::set_serving`). It
//! takes no calls then, and for whoever looks for an address its own counts as one that is failing.
//!
//! The pool as a whole is *down*, `TRANSIENT_FAILURE`, from the moment when an attempt fails and there is
//! nothing left to hope for: no address has a connection or an attempt, and the others are in back-off.
//! Until a connection is ready again it stays so, attempts or not. An address that failed once and is out of
//! its back-off is something to hope for: its server may long be back, and nobody has asked since. It is
//! `TRANSIENT_FAILURE` as well while a server says that it does not serve, and all other addresses are failing.
//!
//! Invariants: a `Dial` counts once in `connecting`, a `Live` once in `ready`, `unhealthy` or `draining`; both
//! take themselves back when dropped, so a task that is dropped with its runtime leaves nothing behind. The watch channel always ends with the state of the last change, because the value is
//! computed while it is written. The lock of the watch is taken outside the addresses' lock, and no
//! waker runs under the latter.

mod addresses;
mod guards;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::address::Address;
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;
use crate::register::Register;
use crate::state_watch::StateWatch;
use crate::stats::AddressStatus;

use addresses::{Addresses, Entry};
pub(crate) use guards::{Dial, Live};

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
