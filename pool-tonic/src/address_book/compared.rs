//! Endpoints beside each other: who is ejected, and what calls tell of each.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::AddressBook;
use super::entry::Key;
use crate::balance::{Outcomes, Weighed};

impl AddressBook {
    pub(crate) fn lone(&self) -> Arc<Notify> {
        Arc::clone(&self.lone)
    }

    /// Those that are ejected.
    pub(crate) fn ejected(&self) -> Vec<Key> {
        let addresses = self.lock();
        let ejected = addresses.iter().filter(|(_, entry)| entry.ejected.is_some());
        ejected.map(|(key, _)| key).collect()
    }

    pub(crate) fn outcomes(&self) -> Vec<(Key, Outcomes, bool)> {
        self.lock().outcomes()
    }

    pub(crate) fn weighed(&self) -> Vec<Weighed> {
        self.lock().weighed()
    }

    pub(crate) fn all_ready_are_ejected(&self) -> bool {
        self.lock().all_ready_are_ejected()
    }

    /// An endpoint gets no calls until then, or does again. Says its address, if it is there.
    pub(crate) fn set_ejected(&self, key: Key, until: Option<Instant>) -> Option<String> {
        let (address, monitor) = {
            let mut addresses = self.lock();
            addresses.change(key, |entry| entry.ejected = until);
            let entry = addresses.get(key)?;
            (Arc::clone(&entry.address), entry.monitor.clone())
        };
        monitor?.set_ejected(until.is_some());
        Some(address.to_string())
    }
}
