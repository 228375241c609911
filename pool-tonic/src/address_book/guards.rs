//! What an address is counted by: an attempt, then a connection.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pool_core::ResourceId;
use tokio::time::Instant;

use super::AddressBook;
use super::addresses::Addresses;
use super::entry::{Attempt, Entry, Key};
use super::side::{Side, Sides};
use crate::address::Address;
use crate::balance::Monitor;
use crate::connection::{Control, Health};
use crate::connectivity::ConnectivityState;
use crate::error::ConnectError;
use crate::register::Registered;

/// A connection that is lost sooner than this, without a GOAWAY, counts as one that never was: a server
/// that accepts and drops at once would otherwise be dialled in a tight loop, since READY ends the back-off.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(1);

/// The same for one that the server ends with a GOAWAY. Shorter, since that is how servers end
/// connections in good order, and some are set to do so often.
const GREETED_AFTER: Duration = Duration::from_millis(100);

/// Complaints of too many pings make keepalive no slower than this: clocks can add it to now.
const MAX_KEEPALIVE_TIME: Duration = Duration::from_secs(60 * 60 * 24);

impl AddressBook {
    /// The attempt that was counted just now.
    pub(super) fn begin(self: &Arc<Self>, attempt: Attempt, address: Arc<Address>) -> Dial {
        Dial {
            book: Arc::clone(self),
            attempt,
            progress: Progress::Goes,
            registered: Some(self.register.enter(address.to_string())),
            address,
        }
    }
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Goes,
    /// The server's settings are here. It cannot fail any more.
    Settled,
    Over,
}

/// An attempt to connect, counted while it lasts. Dropped without a result it says nothing of its address, unless what
/// connects has panicked.
#[derive(Debug)]
pub(crate) struct Dial {
    book: Arc<AddressBook>,
    attempt: Attempt,
    address: Arc<Address>,
    progress: Progress,
    /// Present until there is a connection.
    registered: Option<Registered>,
}

impl Dial {
    /// What the pool is called.
    pub(crate) fn pool(&self) -> &str {
        self.book.name()
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The server's settings are here.
    pub(crate) fn settled(&mut self) {
        self.progress = Progress::Settled;
    }

    /// Is its address still one that is used?
    pub(crate) fn is_wanted(&self) -> bool {
        self.book.lock().get(self.attempt.key).is_some_and(|entry| entry.listed)
    }

    /// The connection is the pool's, by this number: READY. It can be cut by `control`.
    pub(crate) fn connected(mut self, id: ResourceId, side: Side, control: Arc<Control>) -> Live {
        if let Some(registered) = &self.registered {
            registered.driven(id, side, control);
        }
        self.counted(side)
    }

    pub(crate) fn counted(&mut self, side: Side) -> Live {
        self.progress = Progress::Over;
        let held_up = self.book.change(|addresses| {
            let entry = addresses.get(self.attempt.key).filter(|entry| entry.failing);
            let asked = entry.map_or(Sides::default(), |entry| entry.asked);
            addresses.connected(self.attempt, side);
            Side::BOTH.map(|of| of != side && asked[of])
        });
        self.book.hasten(held_up);
        Live {
            book: Arc::clone(&self.book),
            key: self.attempt.key,
            address: Arc::clone(&self.address),
            started: self.attempt.started,
            side,
            stage: Stage::Ready,
            aside: false,
            farewell: false,
            unhealthy: false,
            calmed: 0,
            registered: self.registered.take(),
        }
    }

    pub(crate) fn failed(mut self, error: ConnectError) {
        self.fail(error);
    }

    fn fail(&mut self, error: ConnectError) {
        self.progress = Progress::Over;
        self.book.change(|addresses| {
            addresses.failed(self.attempt, Instant::now(), error, fastrand::f64());
        });
        self.book.asks.disconnected();
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        match self.progress {
            Progress::Goes if thread::panicking() => {
                let error = ConnectError::abandoned(self.address());
                self.fail(error);
            }
            Progress::Goes | Progress::Settled => {
                self.book.change(|addresses| addresses.given_up(self.attempt, Instant::now()));
            }
            Progress::Over => {}
        }
    }
}

/// How a connection counts for its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ready,
    Unhealthy,
    /// It takes no new calls.
    Draining,
    /// Not at all: it closes.
    Left,
}

impl Stage {
    fn count(self, entry: &mut Entry, side: Side) -> Option<&mut usize> {
        match self {
            Self::Ready => Some(&mut entry.ready[side]),
            Self::Unhealthy => Some(&mut entry.unhealthy[side]),
            Self::Draining => Some(&mut entry.draining),
            Self::Left => None,
        }
    }
}

/// A connection, counted until it leaves, and registered while this lives.
#[derive(Debug)]
pub(crate) struct Live {
    book: Arc<AddressBook>,
    key: Key,
    address: Arc<Address>,
    started: Instant,
    side: Side,
    stage: Stage,
    /// The pool lends it no more, and may do so again.
    aside: bool,
    /// The server said GOAWAY.
    farewell: bool,
    unhealthy: bool,
    /// How often its server had complained of too many pings when it began to ask.
    calmed: u32,
    registered: Option<Registered>,
}

impl Live {
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Of the endpoint, where it is compared with others.
    pub(crate) fn monitor(&self) -> Option<Arc<Monitor>> {
        self.book.lock().get(self.key).and_then(|entry| entry.monitor.clone())
    }

    /// Has the server said GOAWAY?
    pub(crate) fn is_draining(&self) -> bool {
        self.farewell
    }

    pub(crate) fn is_counted(&self) -> bool {
        self.stage != Stage::Left
    }

    /// Counts it as what it is by now.
    fn pass(&mut self, and: impl FnOnce(&mut Addresses)) {
        let stage = match self.stage {
            Stage::Left => Stage::Left,
            _ if self.farewell || self.aside => Stage::Draining,
            _ if self.unhealthy => Stage::Unhealthy,
            _ => Stage::Ready,
        };
        self.count_as(stage, and);
    }

    fn count_as(&mut self, stage: Stage, and: impl FnOnce(&mut Addresses)) {
        let before = std::mem::replace(&mut self.stage, stage);
        let side = self.side;
        self.book.change(|addresses| {
            and(addresses);
            addresses.change(self.key, |entry| {
                before.count(entry, side).into_iter().for_each(|count| *count -= 1);
                stage.count(entry, side).into_iter().for_each(|count| *count += 1);
            });
            if stage == Stage::Ready && addresses.get(self.key).is_some_and(|entry| entry.listed) {
                addresses.down = Sides::default();
            } else if before == Stage::Ready {
                addresses.lost(Instant::now());
            }
        });
        if before == Stage::Ready {
            // Perhaps all that are ready now are ejected.
            self.book.lone.notify_one();
        }
        if let Some(registered) = &self.registered {
            registered.set_state(match stage {
                Stage::Ready | Stage::Draining => ConnectivityState::Ready,
                Stage::Unhealthy => ConnectivityState::TransientFailure,
                Stage::Left => ConnectivityState::Shutdown,
            });
        }
    }

    /// It takes no new calls, since the server said GOAWAY: the address is as good as not connected.
    pub(crate) fn drain(&mut self, reason: String) {
        if !self.farewell && self.stage != Stage::Left {
            self.farewell = true;
            let ended = self.ended(reason, GREETED_AFTER);
            self.pass(ended);
            self.book.asks.disconnected();
        }
    }

    /// The pool lends it no more, or does so again.
    pub(crate) fn set_aside(&mut self, aside: bool) {
        if self.aside != aside {
            self.aside = aside;
            self.pass(|_| {});
        }
    }

    /// The server says that it takes no calls, or does not say so any more.
    pub(crate) fn set_health(&mut self, health: Health) {
        let key = self.key;
        let error = health.refuses().then(|| ConnectError::unhealthy(self.address(), health));
        if self.unhealthy != health.refuses() {
            self.unhealthy = health.refuses();
            self.pass(|addresses| addresses.change(key, |entry| entry.last_error = error));
        }
    }

    /// The connection ended, and not because it was to.
    pub(crate) fn lost(&self, reason: String) {
        let ended = self.ended(reason, STABLE_AFTER);
        self.book.change(ended);
        self.book.asks.disconnected();
    }

    /// It closes, or has ended.
    pub(crate) fn leave(&mut self) {
        if self.is_counted() {
            self.count_as(Stage::Left, |_| {});
        }
    }

    /// The server complained of too many pings: the next connections ask it half as often as this one did. Several
    /// that asked alike and are complained of together count once.
    pub(crate) fn too_many_pings(&self) {
        let calmed = self.calmed.saturating_add(1);
        self.book.change(|addresses| {
            addresses.change(self.key, |entry| entry.calmed = entry.calmed.max(calmed));
        });
    }

    /// The keepalive time for this connection, where `time` is set: doubled for each complaint.
    pub(crate) fn keepalive_time(&mut self, time: Duration) -> Duration {
        self.calmed = self.book.lock().get(self.key).map_or(0, |entry| entry.calmed);
        time.saturating_mul(1_u32.checked_shl(self.calmed).unwrap_or(u32::MAX))
            .min(MAX_KEEPALIVE_TIME.max(time))
    }

    fn ended(&self, reason: String, stable: Duration) -> impl FnOnce(&mut Addresses) + use<> {
        let key = self.key;
        let now = Instant::now();
        let error = ConnectError::lost(self.address(), reason);
        let lived = now.saturating_duration_since(self.started);
        move |addresses| addresses.ended(key, now, (lived, stable), error, fastrand::f64())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.leave();
    }
}
