//! The register of a pool's connections: each from the begin of its attempt until its socket is closed.
//!
//! It knows what the pool below does not: attempts, connections that close, and how to cut one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pool_core::{ResourceId, SharedStatus};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::address_book::Side;
use crate::connection::Control;
use crate::connectivity::ConnectivityState;
use crate::stats::ConnectionStatus;

#[derive(Debug)]
struct Row {
    /// Once it is the pool's.
    id: Option<ResourceId>,
    /// Of which pool that number is.
    side: Side,
    address: String,
    since: Instant,
    state: ConnectivityState,
    /// Once there is a driver.
    control: Option<Arc<Control>>,
}

#[derive(Debug, Default)]
struct Rows {
    /// By numbers of its own: an attempt may belong to no resource yet.
    rows: BTreeMap<u64, Row>,
    next: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Register {
    rows: Mutex<Rows>,
    left: Notify,
}

impl Register {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt begins.
    pub(crate) fn enter(self: &Arc<Self>, address: String) -> Registered {
        let state = ConnectivityState::Connecting;
        let row = Row {
            id: None,
            side: Side::Shared,
            address,
            since: Instant::now(),
            state,
            control: None,
        };
        let mut rows = self.rows();
        let key = rows.next;
        rows.next += 1;
        rows.rows.insert(key, row);
        drop(rows);
        Registered { register: Arc::clone(self), key }
    }

    /// The driver of a connection, if it has one still.
    pub(crate) fn control(&self, side: Side, id: ResourceId) -> Option<Arc<Control>> {
        let rows = self.rows();
        let row = rows.rows.values().find(|row| row.id == Some(id) && row.side == side)?;
        row.control.clone()
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        let rows = self.rows();
        let controls: Vec<_> = rows.rows.values().filter_map(|row| row.control.clone()).collect();
        drop(rows);
        for control in controls {
            control.cut();
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.rows().rows.len()
    }

    /// Waits until nothing is left.
    pub(crate) async fn empty(&self) {
        loop {
            // From here on no leaving is missed.
            let left = self.left.notified();
            if self.len() == 0 {
                return;
            }
            left.await;
        }
    }

    /// Every connection, with what the pools below know of those that they have.
    pub(crate) fn list(
        &self,
        shared: &[SharedStatus],
        dedicated: &[SharedStatus],
    ) -> Vec<ConnectionStatus> {
        let now = Instant::now();
        let of = |row: &Row| {
            let pool = match row.side {
                Side::Shared => shared,
                Side::Dedicated => dedicated,
            };
            let lent = pool.iter().find(|lent| Some(lent.id) == row.id);
            let age: Duration = lent.map_or_else(|| now - row.since, |lent| lent.age);
            ConnectionStatus {
                id: row.id,
                dedicated: row.side == Side::Dedicated,
                address: row.address.clone(),
                state: row.state,
                draining: lent.is_some_and(|lent| lent.draining.is_some()),
                streams: lent.map_or(0, |lent| lent.in_use),
                limit: lent.map_or(0, |lent| lent.places),
                age,
            }
        };
        self.rows().rows.values().map(of).collect()
    }
}

/// A row of the register, there while this lives.
#[derive(Debug)]
pub(crate) struct Registered {
    register: Arc<Register>,
    key: u64,
}

impl Registered {
    /// It is the pool's now, and has a driver.
    pub(crate) fn driven(&self, id: ResourceId, side: Side, control: Arc<Control>) {
        if let Some(row) = self.register.rows().rows.get_mut(&self.key) {
            row.id = Some(id);
            row.side = side;
            row.state = ConnectivityState::Ready;
            row.since = Instant::now();
            row.control = Some(control);
        }
    }

    pub(crate) fn set_state(&self, state: ConnectivityState) {
        if let Some(row) = self.register.rows().rows.get_mut(&self.key) {
            row.state = state;
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let row = self.register.rows().rows.remove(&self.key);
        drop(row);
        self.register.left.notify_waiters();
    }
}
