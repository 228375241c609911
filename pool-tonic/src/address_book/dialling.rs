//! The attempts that the two pools below make, or may not make yet.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::addresses::Addresses;
use super::entry::{Attempt, Key};
use super::{AddressBook, Dial, Side};
use crate::backoff;
use crate::error::ConnectError;

impl AddressBook {
    /// Begins an attempt at the only address, unless it is in back-off.
    pub(crate) fn dial(self: &Arc<Self>, side: Side) -> Result<Dial, ConnectError> {
        self.dial_picked(|addresses, now| {
            let only = addresses.iter().map(|(key, _)| key).next().ok_or(None)?;
            addresses.note_asked(only, side);
            addresses.take(only, now)
        })
        .map_err(|last| ConnectError::backing_off(self, last))
    }

    /// Begins an attempt at this address, unless it is in back-off or not listed any more.
    pub(crate) fn dial_in(self: &Arc<Self>, key: Key, side: Side) -> Result<Dial, ConnectError> {
        let address = self.lock().get(key).map(|entry| Arc::clone(&entry.address));
        let take = |addresses: &mut Addresses, now| {
            addresses.note_asked(key, side);
            match addresses.get(key) {
                Some(entry) if addresses.is_left_to_others(key, side) => {
                    Err(entry.last_error.clone())
                }
                _ => addresses.take(key, now),
            }
        };
        self.dial_picked(take).map_err(|last| match address {
            Some(address) => ConnectError::backing_off(address, last),
            None => ConnectError::abandoned(self),
        })
    }

    fn dial_picked<E>(
        self: &Arc<Self>,
        pick: impl FnOnce(&mut Addresses, Instant) -> Result<Attempt, E>,
    ) -> Result<Dial, E> {
        let now = Instant::now();
        let (attempt, address) = self.change(|addresses| {
            let attempt = pick(addresses, now)?;
            let entry = addresses.get(attempt.key);
            let entry = entry.expect("bug: an address is picked that is not there");
            Ok((attempt, Arc::clone(&entry.address)))
        })?;
        Ok(self.begin(attempt, address))
    }

    /// How long until this side may make an attempt, at this endpoint or at any. Never is for a while: one that is not
    /// listed is about to be retired.
    pub(crate) fn retry_in(&self, key: Option<Key>, side: Side) -> Duration {
        let (addresses, now) = (self.lock(), Instant::now());
        let Some(key) = key else { return addresses.retry_in(now) };
        match addresses.get(key) {
            Some(entry) if entry.listed && !addresses.is_left_to_others(key, side) => {
                entry.retry_in(now)
            }
            _ => backoff::delay(1, fastrand::f64()),
        }
    }
}
