//! The addresses of a pool: their connections, their back-off, their states.
//!
//! Two layers. [`Addresses`] decides and is pure: the clock and what is random come in. [`AddressBook`]
//! puts it under a lock, gives out [guards] for what is counted, and publishes the state.
//!
//! An address is *listed* while connections to it are wanted. Entries come and go with the sets that a resolver
//! gives; what is still counted of one that is not listed any more (an attempt, a connection that finishes its
//! calls) keeps its entry until it is over, and makes the pool neither ready nor connecting.
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
//! The pool as a whole is *down*, `TRANSIENT_FAILURE`, from the moment when an attempt fails, or the last connection
//! goes, and there is nothing left to hope for: no address has a connection, and the last that each has said is a
//! failure, or it is in back-off. A pool below whose calls wait is told so, since it may have had no part in it. Until a
//! connection is ready again it stays so, attempts or not. An attempt is something to hope for if it was begun while its
//! address was not failing; one at an address that is already failing only says whether that is so still, and two pools
//! below whose slow attempts overlap would never be without one. An address that failed before the last connection was
//! lost, and is out of its back-off, is something to hope for: its server may long be back, and nobody has asked
//! since. So is the first attempt at a failing address that nobody has asked for a while although it might be, or whose
//! back-off was reset: calls wait for its outcome, and no burst fails before it. When addresses are listed no more, what
//! is left is looked at again once the pools below know of it ([`AddressBook::settle`]). The pool is `TRANSIENT_FAILURE` as
//! well while a server says that it does not serve, and all other addresses are failing.
//!
//! The connections of the two pools below are counted apart: one that carries one call at a time is of no use to a
//! call that waits for a shared one, which has to fail fast nevertheless, and the other way round. Attempts and
//! back-off are of the address, and so common: when one side connects to an address that was failing, the other one, if
//! it has asked for it as well, need not wait for its own next attempt. Where several may be asked, a side leaves one to
//! those who ask it already ([`Addresses::is_left_to_others`]). Only what takes calls is ready: not one that the pool
//! itself is about to be rid of, for its age or its number ([`Live::set_aside`]).
//!
//! Invariants: a `Dial` counts once in `connecting`, and in `hopeful` if its attempt is to be hoped for; a `Live` once in
//! `ready`, `unhealthy` or `draining`; both take themselves back when dropped, so a task that is dropped with its runtime leaves nothing behind. An entry
//! is there while it is listed or counted, and the sums that make the state are those of the listed ones. The
//! watch channel always ends with the state of the last change, because the value is computed while it is written. The
//! lock of the watch is taken outside the addresses' lock, and no waker runs under the latter.

mod addresses;
mod compared;
mod dialling;
mod entry;
mod guards;
mod resolution;
mod side;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pool_core::{RecentEvents, Shared, WeakPool};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::address::Address;
use crate::balance::{Homes, Measures, Monitor};
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;
use crate::manager::ConnectionManager;
use crate::register::Register;
use crate::state_watch::StateWatch;
use crate::stats::AddressStatus;
use crate::trace;

use addresses::Addresses;
use entry::Entry;
pub(crate) use entry::Key;
pub(crate) use guards::{Dial, Live};
pub(crate) use resolution::Asks;
pub(crate) use side::Side;

/// Messages name as many addresses, and say how many more there are.
const ADDRESSES_IN_MESSAGES: usize = 10;

/// The addresses of a pool, shared by its manager, its connections and its handles.
#[derive(Debug)]
pub(crate) struct AddressBook {
    /// Of the pool.
    name: Arc<str>,
    addresses: Mutex<Addresses>,
    register: Arc<Register>,
    /// What is to be known of endpoints, where they are compared.
    measures: Option<Measures>,
    /// How often the endpoints have changed, from 1 on.
    changes: AtomicU64,
    homes: Homes,
    /// A connection takes no more calls: perhaps none is left whose endpoint is not ejected.
    lone: Arc<Notify>,
    /// The back-off was reset.
    reset: Notify,
    /// Why a resolver is to be asked again.
    asks: Arc<Asks>,
    /// A resolver has answered, or failed.
    settled: Notify,
    /// Absent until they are built.
    pools: OnceLock<Pools>,
    state: watch::Sender<ConnectivityState>,
    /// The states that the pool was in last.
    pub(crate) recent: RecentEvents<ConnectivityState>,
}

/// The pools below, in the order of [`Side::BOTH`].
pub(crate) type Pools = [WeakPool<ConnectionManager, Shared>; 2];

impl AddressBook {
    /// A book without an address yet.
    pub(crate) fn new(name: Arc<str>, measures: Option<Measures>) -> Arc<Self> {
        Arc::new(Self {
            name,
            addresses: Mutex::default(),
            register: Arc::default(),
            measures,
            changes: AtomicU64::new(1),
            homes: Homes::default(),
            lone: Arc::default(),
            reset: Notify::new(),
            asks: Arc::default(),
            settled: Notify::new(),
            pools: OnceLock::new(),
            state: watch::Sender::new(ConnectivityState::Idle),
            recent: RecentEvents::new(),
        })
    }

    /// What the pool is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pools of both sides are there.
    pub(crate) fn attach(&self, pools: Pools) {
        // Once, when they are built.
        let _ = self.pools.set(pools);
    }

    /// Changes the addresses, then publishes what state that makes.
    fn change<R>(&self, change: impl FnOnce(&mut Addresses) -> R) -> R {
        let (result, down) = {
            let mut addresses = self.lock();
            let before = addresses.down;
            let result = change(&mut addresses);
            let is_new = |side: &Side| addresses.down[*side] && !before[*side];
            (result, Side::BOTH.map(|side| is_new(&side)))
        };
        let mut changed = None;
        self.state.send_if_modified(|state| {
            let new = self.lock().overall();
            let modified = *state != new;
            *state = new;
            if modified {
                self.recent.add(new);
                changed = Some(new);
            }
            modified
        });
        if let Some(state) = changed {
            trace::state(&self.name, state);
        }
        // Their next creation fails at once, and those that wait for one with it.
        self.hasten(down);
        result
    }

    /// The pools below of these sides, of each in the order of [`Side::BOTH`], create at once what they are to: something
    /// happened of which they know nothing.
    fn hasten(&self, sides: [bool; 2]) {
        if sides.contains(&true) {
            let pools = self.pools.get().into_iter().flatten().zip(sides);
            for pool in pools.filter_map(|(pool, is_one)| pool.upgrade().filter(|_| is_one)) {
                pool.reset_backoff();
            }
        }
    }

    /// Did the last attempt at this endpoint fail?
    pub(crate) fn has_failed(&self, key: Key) -> bool {
        self.lock().get(key).is_some_and(|entry| entry.failing)
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
        self.asks.reset();
    }

    /// Resolves when some address may be dialled, by the clock or by a reset.
    pub(crate) async fn retry_due(&self) {
        let reset = self.reset.notified();
        let due = self.lock().retry_in(Instant::now());
        let _ = tokio::time::timeout(due, reset).await;
    }

    /// Lists some, and others no more, at once. Says by what numbers those go that are listed now. The pools below are to
    /// be told of the others, whose connections finish their calls.
    pub(crate) fn relist(
        &self,
        added: impl IntoIterator<Item = Arc<Address>>,
        removed: &[Key],
    ) -> Vec<Key> {
        let list = |addresses: &mut Addresses, address| {
            let key = addresses.list(address);
            if let Some(measures) = &self.measures {
                let monitor = || Arc::new(Monitor::new(measures.clone()));
                addresses.change(key, |entry| _ = entry.monitor.get_or_insert_with(monitor));
            }
            key
        };
        let keys = self.change(|addresses| {
            let keys = added.into_iter().map(|address| list(addresses, address)).collect();
            for key in removed {
                addresses.unlist(*key);
            }
            keys
        });
        self.changes.fetch_add(1, Ordering::Release);
        keys
    }

    /// Those that are listed no more may have been the only ones to hope for. For after [`relist`](Self::relist), when the
    /// pools below have been told: it wakes them.
    pub(crate) fn settle(&self) {
        self.change(|addresses| addresses.settle(Instant::now()));
    }

    /// The endpoint of a key that has this hash, if there is any.
    pub(crate) fn home(&self, hash: u64) -> Option<Key> {
        // Before the endpoints are looked at: a table may be newer than it is said to be, and is made again then.
        let changes = self.changes.load(Ordering::Acquire);
        let name = |(key, entry): (Key, &Entry)| (entry.address.name().to_owned(), key);
        self.homes.find(hash, changes, || self.lock().iter().map(name).collect())
    }

    /// Those whose last attempt failed, without a connection that is ready since.
    pub(crate) fn failing(&self) -> HashSet<Key> {
        let addresses = self.lock();
        addresses.iter().filter(|(_, entry)| entry.failing).map(|(key, _)| key).collect()
    }

    /// The error with which a call of this side that finds no connection fails at once; `None` if it may wait.
    pub(crate) fn refusal(&self, side: Side) -> Option<ConnectError> {
        let addresses = self.lock();
        if !addresses.fails_fast(side, Instant::now()) {
            return None;
        }
        let last = addresses.last_error();
        drop(addresses);
        Some(last.unwrap_or_else(|| ConnectError::backing_off(self, None)))
    }

    /// The error with which a call fails at once that is for this endpoint alone, and finds it in its back-off, or not
    /// serving.
    pub(crate) fn refusal_at(&self, key: Key, side: Side) -> Option<ConnectError> {
        let addresses = self.lock();
        let entry = addresses.get(key)?;
        let is_left_alone =
            entry.is_unhealthy() || entry.failing && !entry.retry_in(Instant::now()).is_zero();
        let error = entry.last_error.clone().filter(|_| is_left_alone && entry.ready[side] == 0);
        // An error has a destructor of the user's, perhaps.
        drop(addresses);
        error
    }

    /// Is there no address left that a waiting call of this side could hope for?
    pub(crate) fn is_down(&self, side: Side) -> bool {
        self.lock().state(side) == ConnectivityState::TransientFailure
    }

    /// Has this side a connection that takes calls?
    pub(crate) fn is_ready(&self, side: Side) -> bool {
        self.lock().state(side) == ConnectivityState::Ready
    }

    pub(crate) fn last_error(&self) -> Option<ConnectError> {
        self.lock().last_error()
    }

    pub(crate) fn shutdown(&self) {
        self.change(|addresses| addresses.shutdown = true);
    }

    pub(crate) fn snapshot(&self) -> Vec<(Key, AddressStatus)> {
        let now = Instant::now();
        let addresses = self.lock();
        let of = |(key, entry): (Key, &Entry)| {
            let status = AddressStatus {
                address: entry.address.to_string(),
                state: entry.state(now),
                connecting: entry.connecting,
                ready: entry.ready.sum(),
                draining: entry.draining,
                retry_in: Some(entry.retry_in(now)).filter(|left| !left.is_zero()),
                last_error: entry.last_error.clone(),
                ejected: entry.ejected.map(|until| until.saturating_duration_since(now)),
                share: None,
            };
            (key, status)
        };
        addresses.iter().map(of).collect()
    }
}

/// The addresses, or the first of them, for messages; while there are none, what a resolver is to find.
impl fmt::Display for AddressBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, more, target) = {
            let addresses = self.lock();
            let first = addresses.iter().take(ADDRESSES_IN_MESSAGES);
            let first: Vec<_> = first.map(|(_, entry)| Arc::clone(&entry.address)).collect();
            let more = addresses.len() - first.len();
            (first, more, addresses.resolution.target.clone())
        };
        if first.is_empty()
            && let Some(target) = target
        {
            return f.write_str(&target);
        }
        for (index, address) in first.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{address}")?;
        }
        if more > 0 {
            write!(f, " and {more} more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "address_book_tests.rs"]
mod tests;
