//! From what is known of the servers to connections: which endpoints are used, and what that changes below.
//!
//! ```text
//!   a set ──▶ select ──▶ what is new is listed, what is gone is not ──▶ groups of the pools below
//!                ▲                    (address book)                     (minimum, weight; retired)
//!                └── the selected ones fail, or one is back: chosen anew
//! ```
//!
//! Invariants: an address that is used has one number in the book, and a group by that number in each pool below,
//! from when it is chosen until it is not. Changes are noted for the pools ([`Groups`](super::Groups)) under the lock, in
//! the order in which they are decided. They are told after that: what they end may be code of the user's.

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
    /// There are more endpoints than are used while none fails, so which are depends on who fails.
    is_choice: AtomicBool,
    /// The near ones before the far, and then by rank.
    sites: Mutex<Vec<Ranked>>,
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
        Self { book, bound, seed, is_choice: AtomicBool::new(false), sites: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Ranked>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another set, of addresses that differ. What that changes for the pools is to be noted.
    pub(crate) fn set(&self, new: Vec<Site>, note: impl FnOnce(Vec<Change>)) -> Chosen {
        let mut sites = self.lock();
        let mut changes = Vec::new();
        let used = sites.drain(..).filter_map(|it| Some((it.site, it.used?)));
        let mut used: HashMap<_, _> =
            used.map(|(site, key)| (site.address, (key, site.weight))).collect();
        for site in new {
            let known = used.remove(&site.address);
            if let Some((key, weight)) = known
                && weight != site.weight
            {
                changes.push(Change::Use(key, site.weight));
            }
            let rank = rank(site.address.name(), self.seed);
            sites.push(Ranked { site, rank, used: known.map(|(key, _)| key) });
        }
        sites.sort_by_key(|it| (it.site.nearness, it.rank));
        let [first, last] = [sites.first(), sites.last()].map(|it| Some(it?.site.nearness));
        self.is_choice.store(sites.len() > self.bound || first != last, Ordering::SeqCst);
        let gone = used.into_values().map(|(key, _)| key).collect();
        let chosen = self.choose(&mut sites, gone, &mut changes);
        note(changes);
        chosen
    }

    /// Chooses anew, since an attempt has failed, or one has succeeded. `None` if that changes nothing.
    pub(crate) fn look_again(&self, note: impl FnOnce(Vec<Change>)) -> Option<Chosen> {
        if !self.is_choice.load(Ordering::SeqCst) {
            return None;
        }
        let (mut sites, mut changes) = (self.lock(), Vec::new());
        let chosen = self.choose(&mut sites, Vec::new(), &mut changes);
        (!changes.is_empty()).then(|| {
            note(changes);
            chosen
        })
    }

    /// `gone` are used, and not in the set any more.
    fn choose(
        &self,
        sites: &mut [Ranked],
        mut gone: Vec<Key>,
        changes: &mut Vec<Change>,
    ) -> Chosen {
        let failing = self.book.failing();
        let candidate = |it: &Ranked| Candidate {
            nearness: it.site.nearness,
            failing: it.used.is_some_and(|key| failing.contains(&key)),
        };
        let candidates: Vec<_> = sites.iter().map(candidate).collect();
        let selected = select(&candidates, self.bound);
        let mut is_selected = vec![false; sites.len()];
        for index in &selected {
            is_selected[*index] = true;
        }
        for (ranked, selected) in sites.iter_mut().zip(is_selected) {
            if !selected {
                gone.extend(ranked.used.take());
            }
        }
        let new: Vec<_> = selected.iter().copied().filter(|at| sites[*at].used.is_none()).collect();
        let addresses = new.iter().map(|index| Arc::clone(&sites[*index].site.address));
        let keys = self.book.relist(addresses, &gone);
        let chosen = Chosen {
            of: sites.len(),
            taken: selected.len(),
            added: new.len(),
            removed: gone.len(),
        };
        // First what comes, so that nothing is missing for what goes.
        for (index, key) in new.into_iter().zip(keys) {
            let ranked = &mut sites[index];
            ranked.used = Some(key);
            changes.push(Change::Use(key, ranked.site.weight));
        }
        changes.extend(gone.into_iter().map(Change::Retire));
        chosen
    }
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
