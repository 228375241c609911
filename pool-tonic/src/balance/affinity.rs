//! Which endpoint a key belongs to: a table by Maglev's hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software
//! Network Load Balancer", section 3.4).
//!
//! Each endpoint has an order of its own in which it wants the slots of the table; they take turns until all are taken.
//! So all have the same number of slots, but for one, and an endpoint that comes or goes moves little beside its own
//! share. Who has the same endpoints has the same table.

use std::sync::{Mutex, PoisonError};

use twox_hash::XxHash64;

use crate::address_book::Key;

/// The length of the table: a prime, much more than there are endpoints. A length that followed their number would move
/// every key whenever one comes or goes.
const SLOTS: usize = 65_537;

/// Seeds of the two hashes by which an endpoint orders the slots.
const OFFSET: u64 = 0x6f66_6673;
const SKIP: u64 = 0x736b_6970;

/// The table of the endpoints that are used, made when it is first asked after they have changed.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    /// Of which change of the endpoints it is.
    made: Mutex<(u64, Table)>,
}

impl Homes {
    /// The endpoint of a key that has this hash, after so many changes of the endpoints.
    pub(crate) fn find(
        &self,
        hash: u64,
        changes: u64,
        endpoints: impl FnOnce() -> Vec<(String, Key)>,
    ) -> Option<Key> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != changes {
            *made = (changes, Table::new(endpoints()));
        }
        made.1.find(hash)
    }
}

/// See the module.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<Key>,
}

impl Table {
    /// Of the endpoints by their names. The order in which they are given does not matter.
    fn new(mut endpoints: Vec<(String, Key)>) -> Self {
        endpoints.sort_unstable();
        if endpoints.is_empty() {
            return Self::default();
        }
        let modulo = |hash: u64, by: usize| {
            usize::try_from(hash % by as u64).expect("bug: a remainder is larger than its divisor")
        };
        // Where each begins, how far it steps, and where it is.
        let mut wishes: Vec<(usize, usize)> = endpoints
            .iter()
            .map(|(name, _)| {
                let hash = |seed| XxHash64::oneshot(seed, name.as_bytes());
                (modulo(hash(OFFSET), SLOTS), modulo(hash(SKIP), SLOTS - 1) + 1)
            })
            .collect();
        let mut slots = vec![None; SLOTS];
        let mut left = SLOTS;
        'turns: loop {
            for (wish, (_, key)) in wishes.iter_mut().zip(&endpoints) {
                // A step and a prime have no common divisor, so each slot is wished for once in `SLOTS` steps.
                while slots[wish.0].is_some() {
                    wish.0 = (wish.0 + wish.1) % SLOTS;
                }
                slots[wish.0] = Some(*key);
                left -= 1;
                if left == 0 {
                    break 'turns;
                }
            }
        }
        Self { slots: slots.into_iter().flatten().collect() }
    }

    /// The endpoint of a key that has this hash.
    fn find(&self, hash: u64) -> Option<Key> {
        let len = u64::try_from(self.slots.len()).ok()?;
        let slot = usize::try_from(hash.checked_rem(len)?).ok()?;
        self.slots.get(slot).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn table(of: impl IntoIterator<Item = u64>) -> Table {
        Table::new(of.into_iter().map(|key| (format!("10.0.0.{key}:50051"), key)).collect())
    }

    fn shares(table: &Table) -> HashMap<Key, usize> {
        let mut shares = HashMap::new();
        for key in &table.slots {
            *shares.entry(*key).or_default() += 1;
        }
        shares
    }

    #[test]
    fn nobody_is_found_among_none() {
        assert_eq!(table([]).find(7), None);
    }

    #[test]
    fn all_have_the_same_share_but_for_one_slot() {
        for endpoints in [1, 2, 3, 7, 100, 1000] {
            let shares = shares(&table(0..endpoints));
            let (least, most) = (shares.values().min().unwrap(), shares.values().max().unwrap());
            assert!(most - least <= 1, "{endpoints}: {least} to {most}");
        }
    }

    #[test]
    fn the_order_does_not_matter() {
        assert_eq!(table(0..20).slots, table((0..20).rev()).slots);
    }

    #[test]
    fn one_that_goes_moves_little_beside_its_own() {
        let (before, after) = (table(0..50), table((0..50).filter(|key| *key != 17)));
        let moved = |(a, b): &(&Key, &Key)| **a != 17 && a != b;
        let moved = before.slots.iter().zip(&after.slots).filter(moved).count();
        assert!(moved * 10 < before.slots.len(), "{moved} of {}", before.slots.len());
    }

    #[test]
    fn one_that_comes_moves_few_keys() {
        let (before, after) = (table(0..100), table(0..101));
        let hashes = (0..10_000_u64).map(|n| XxHash64::oneshot(0, &n.to_le_bytes()));
        let moved = hashes.filter(|hash| before.find(*hash) != after.find(*hash)).count();
        assert!((50..500).contains(&moved), "{moved} of 10,000");
    }

    #[test]
    fn a_table_is_made_once_for_each_change() {
        let homes = Homes::default();
        let named = |key: Key| move || vec![(format!("{key}"), key)];
        assert_eq!(homes.find(3, 1, named(7)), Some(7));
        assert_eq!(homes.find(3, 1, || unreachable!()), Some(7));
        assert_eq!(homes.find(3, 2, named(8)), Some(8));
    }
}
