//! The groups of the two pools below: one for each endpoint that is used, by its number in the address book.
//!
//! A group of the shared pool keeps a minimum of connections from the first connection of that pool on, so that a pool that
//! nobody uses connects to nobody, or from when no endpoint can be connected to. Those of the dedicated pool keep none.
//!
//! Where endpoints are weighed by what their calls tell, a group's weight is that of its endpoint, of which it keeps a
//! share.
//!
//! Invariants: both pools have the groups of the changes that were told so far, each change once and in the order in
//! which they came, by one at a time, and outside the lock, since what a change ends may be code of the user's.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pool_core::{Group, GroupChange, GroupId};

use super::spread::Change;
use crate::address_book::{Key, Pools};

/// The share of an endpoint that keeps all of its weight.
pub(super) const WHOLE: NonZero<u32> = NonZero::<u32>::MIN.saturating_add(1023);

/// What changes a share by less than one in so many changes nothing.
const LEAST_CHANGE: u32 = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Groups {
    /// How many connections an endpoint has at least, once the pool is in use.
    min: usize,
    /// Endpoints are weighed.
    weighs: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The shared and the dedicated one, once they are there.
    pools: Option<Pools>,
    in_use: bool,
    weights: BTreeMap<Key, NonZero<u32>>,
    /// What those keep of their weights that do not keep all.
    shares: BTreeMap<Key, NonZero<u32>>,
    /// Of which the pools have not heard.
    changed: Vec<Key>,
    /// Somebody tells the pools.
    tells: bool,
}

impl Groups {
    pub(crate) fn new(min: usize, weighs: bool) -> Self {
        Self { min, weighs, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pools are there.
    pub(crate) fn attach(&self, pools: Pools) {
        self.lock().pools = Some(pools);
        self.tell();
    }

    /// A connection is to be made.
    pub(crate) fn begin_use(&self) {
        {
            let mut inner = self.lock();
            if std::mem::replace(&mut inner.in_use, true) {
                return;
            }
            let Inner { changed, weights, .. } = &mut *inner;
            // Beside what the pools have not heard of yet.
            changed.extend(weights.keys());
        }
        self.tell();
    }

    /// A choice of endpoints has changed these, which the pools are to be [told](Self::tell).
    pub(crate) fn note(&self, changes: Vec<Change>) {
        let mut inner = self.lock();
        for change in changes {
            let key = match change {
                Change::Use(key, weight) => {
                    inner.weights.insert(key, weight);
                    key
                }
                Change::Retire(key) => {
                    inner.weights.remove(&key);
                    inner.shares.remove(&key);
                    key
                }
            };
            inner.changed.push(key);
        }
    }

    /// Endpoints keep these shares of their weights. Tells the pools.
    pub(super) fn weigh(&self, shares: Vec<(Key, NonZero<u32>)>) {
        {
            let mut inner = self.lock();
            for (key, share) in shares {
                let before = inner.shares.get(&key).copied().unwrap_or(WHOLE);
                let change = share.get().abs_diff(before.get());
                let is_new = change * LEAST_CHANGE > before.get() || share == WHOLE && change > 0;
                if is_new && inner.weights.contains_key(&key) {
                    if share == WHOLE {
                        inner.shares.remove(&key);
                    } else {
                        inner.shares.insert(key, share);
                    }
                    inner.changed.push(key);
                }
            }
        }
        self.tell();
    }

    /// Tells the pools what has changed, unless somebody does, who then tells them this, too.
    pub(crate) fn tell(&self) {
        loop {
            let (changed, pools) = {
                let mut inner = self.lock();
                let Some(pools) = inner.pools.clone() else { return };
                if inner.tells || inner.changed.is_empty() {
                    return;
                }
                inner.tells = true;
                let keys = std::mem::take(&mut inner.changed);
                let change = |key: &Key, min| match inner.weights.get(key) {
                    Some(weight) => {
                        let share = inner.shares.get(key).copied().unwrap_or(WHOLE);
                        let weight =
                            if self.weighs { weight.saturating_mul(share) } else { *weight };
                        GroupChange::Set(Group::new(GroupId(*key)).weight(weight).min(min))
                    }
                    None => GroupChange::Retire(GroupId(*key)),
                };
                let changes = |min| keys.iter().map(|key| change(key, min)).collect::<Vec<_>>();
                let min = if inner.in_use { self.min } else { 0 };
                ([changes(min), changes(0)], pools)
            };
            for (pool, changes) in pools.iter().zip(changed) {
                if let Some(pool) = pool.upgrade() {
                    pool.update_groups(changes);
                }
            }
            self.lock().tells = false;
        }
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
