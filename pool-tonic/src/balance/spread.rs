//! From what is known of the servers to connections: which endpoints are used, and what that changes below.
//!
//! ```text
//!   a set ──▶ select ──▶ what is new is listed, what is gone is not ──▶ groups of the pools below
//!                ▲                    (address book)                     (minimum, weight; retired)
//!                └── the selected ones fail, or one is back: chosen anew
//! ```
//!
//! Invariants: an address that is used has one number in the book, and a group by that number in each pool below,
//! from when it is chosen until it is not; changes reach the pools in the order in which they were decided, by one
//! at a time, and outside the lock, since what they end may be code of the user's.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::select::{Candidate, Nearness, rank, select};
use crate::address::Address;
use crate::address_book::{AddressBook, Key};

/// An endpoint that could be used.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) address: Arc<Address>,
    pub(crate) weight: NonZero<u32>,
    pub(crate) nearness: Nearness,
}

/// What changes for the pools below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// This one is used, with this weight.
    Use(Key, NonZero<u32>),
    /// This one is used no more.
    Retire(Key),
}

/// What a choice has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) of: usize,
    pub(crate) taken: usize,
    pub(crate) added: usize,
    pub(crate) removed: usize,
}

/// The choice of endpoints; see the module.
#[derive(Debug)]
pub(crate) struct Spread {
    book: Arc<AddressBook>,
    bound: usize,
    seed: u64,
    /// Not all endpoints are used, so which are depends on who fails.
    is_partial: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sites: Vec<Ranked>,
    /// Decided, and not yet with the pools.
    pending: Vec<Change>,
    /// Somebody brings changes to the pools.
    brings: bool,
}

#[derive(Debug)]
struct Ranked {
    site: Site,
    rank: u64,
    /// Its number in the book, while it is used.
    used: Option<Key>,
}

impl Spread {
    /// Uses at most `bound` endpoints, of many those that the seed ranks first.
    pub(crate) fn new(book: Arc<AddressBook>, bound: usize, seed: u64) -> Self {
        Self { book, bound, seed, is_partial: AtomicBool::new(false), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another set, of addresses that differ.
    pub(crate) fn set(&self, sites: Vec<Site>, bring: impl FnMut(Vec<Change>)) -> Chosen {
        let mut inner = self.lock();
        let used = inner.sites.drain(..).filter_map(|it| Some((it.site, it.used?)));
        let mut used: HashMap<_, _> =
            used.map(|(site, key)| (site.address, (key, site.weight))).collect();
        for site in sites {
            let known = used.remove(&site.address);
            if let Some((key, weight)) = known
                && weight != site.weight
            {
                inner.pending.push(Change::Use(key, site.weight));
            }
            let rank = rank(site.address.name(), self.seed);
            inner.sites.push(Ranked { site, rank, used: known.map(|(key, _)| key) });
        }
        let gone = used.into_values().map(|(key, _)| key).collect();
        let chosen = self.choose(&mut inner, gone);
        drop(inner);
        self.bring(bring);
        chosen
    }

    /// Chooses anew, since an attempt has failed, or one has succeeded. `None` if that changes nothing.
    pub(crate) fn look_again(&self, bring: impl FnMut(Vec<Change>)) -> Option<Chosen> {
        if !self.is_partial.load(Ordering::SeqCst) {
            return None;
        }
        let chosen = self.choose(&mut self.lock(), Vec::new());
        self.bring(bring);
        (chosen.added + chosen.removed > 0).then_some(chosen)
    }

    /// `gone` are used, and not in the set any more.
    fn choose(&self, inner: &mut Inner, mut gone: Vec<Key>) -> Chosen {
        let failing = self.book.failing();
        let candidate = |it: &Ranked| Candidate {
            rank: it.rank,
            nearness: it.site.nearness,
            failing: it.used.is_some_and(|key| failing.contains(&key)),
        };
        let candidates: Vec<_> = inner.sites.iter().map(candidate).collect();
        let selected = select(&candidates, self.bound);
        let mut is_selected = vec![false; inner.sites.len()];
        for index in &selected {
            is_selected[*index] = true;
        }
        for (ranked, selected) in inner.sites.iter_mut().zip(is_selected) {
            if !selected {
                gone.extend(ranked.used.take());
            }
        }
        let new: Vec<_> =
            selected.iter().copied().filter(|at| inner.sites[*at].used.is_none()).collect();
        let addresses = new.iter().map(|index| Arc::clone(&inner.sites[*index].site.address));
        let keys = self.book.relist(addresses, &gone);
        let chosen = Chosen {
            of: inner.sites.len(),
            taken: selected.len(),
            added: new.len(),
            removed: gone.len(),
        };
        // First what comes, so that nothing is missing for what goes.
        for (index, key) in new.into_iter().zip(keys) {
            let ranked = &mut inner.sites[index];
            ranked.used = Some(key);
            inner.pending.push(Change::Use(key, ranked.site.weight));
        }
        inner.pending.extend(gone.into_iter().map(Change::Retire));
        self.is_partial.store(chosen.taken < chosen.of, Ordering::SeqCst);
        chosen
    }

    fn bring(&self, mut bring: impl FnMut(Vec<Change>)) {
        loop {
            let changes = {
                let mut inner = self.lock();
                if inner.brings || inner.pending.is_empty() {
                    return;
                }
                inner.brings = true;
                std::mem::take(&mut inner.pending)
            };
            bring(changes);
            self.lock().brings = false;
        }
    }
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
