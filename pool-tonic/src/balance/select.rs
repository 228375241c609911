//! Who of the endpoints is used: the near ones before the far, of many a subset. Pure.
//!
//! Each client ranks the endpoints by a hash of their addresses and a seed of its own, and uses the first of them
//! (rendezvous hashing, as gRFC A68 asks of `random_subsetting`). So each endpoint is used by about as many clients,
//! and one that comes or goes changes one place of each subset.
//!
//! What cannot be reached is no reason to fail while there are others: if all that are chosen are failing, as many
//! again are chosen beside them, up to [`WIDEST`] times the bound, and then those of the next level of nearness.
//! Those that are failing stay chosen meanwhile, so it is seen when they are back, and nothing flaps: what is chosen
//! depends on who fails among the first, and they are asked all the time.

use twox_hash::XxHash64;

/// How many times the bound is chosen while everything that is chosen is failing. That many at random all fail
/// only where nearly all do, and a client does not dial ten thousand for that.
const WIDEST: usize = 8;

/// How far an endpoint is, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Nearness {
    Zone,
    Region,
    Elsewhere,
}

/// One endpoint, for the choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) nearness: Nearness,
    /// The last attempt failed, and none has succeeded since.
    pub(crate) failing: bool,
}

/// The place of an address in the ranking of the client that has this seed.
pub(crate) fn rank(address: &str, seed: u64) -> u64 {
    XxHash64::oneshot(seed, address.as_bytes())
}

/// The candidates to be used, which are given in the order of nearness and rank, by their indices: `bound` of the
/// nearest level, more only while all of them are failing.
pub(crate) fn select(candidates: &[Candidate], bound: usize) -> Vec<usize> {
    let (mut chosen, mut begin) = (Vec::new(), 0);
    for level in candidates.chunk_by(|a, b| a.nearness == b.nearness) {
        let (mut taken, mut wanted) = (0, bound);
        while taken < level.len() && taken < bound.saturating_mul(WIDEST) {
            let next = taken..wanted.min(level.len());
            taken = next.end;
            chosen.extend(begin + next.start..begin + next.end);
            if level[next].iter().any(|candidate| !candidate.failing) {
                return chosen;
            }
            wanted = wanted.saturating_mul(2);
        }
        begin += level.len();
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Nearness::{Elsewhere, Region, Zone};
    use super::*;

    /// The servers that a client uses.
    fn subset(
        servers: impl IntoIterator<Item = usize>,
        seed: u64,
        bound: usize,
    ) -> BTreeSet<usize> {
        let mut servers: Vec<_> = servers.into_iter().collect();
        servers.sort_by_key(|server| rank(&format!("10.0.0.{server}:50051"), seed));
        let candidates = vec![at(Elsewhere); servers.len()];
        select(&candidates, bound).into_iter().map(|index| servers[index]).collect()
    }

    fn at(nearness: Nearness) -> Candidate {
        Candidate { nearness, failing: false }
    }

    #[test]
    fn few_are_all_used() {
        assert_eq!(subset(0..5, 1, 100), (0..5).collect());
        assert!(select(&[], 100).is_empty());
    }

    #[test]
    fn the_same_seed_chooses_the_same_whatever_the_order() {
        for seed in 0..20 {
            assert_eq!(subset(0..200, seed, 20), subset((0..200).rev(), seed, 20));
        }
        assert_ne!(subset(0..200, 1, 20), subset(0..200, 2, 20));
    }

    #[test]
    fn one_that_goes_or_comes_changes_one_place_at_most() {
        for seed in 0..50 {
            let all = subset(0..200, seed, 20);
            for gone in 0..200 {
                let less = subset((0..200).filter(|server| *server != gone), seed, 20);
                let changed = all.difference(&less).count();
                assert_eq!(changed, usize::from(all.contains(&gone)), "{gone} of {seed}");
                assert_eq!(less.difference(&all).count(), changed);
            }
        }
    }

    #[test]
    fn every_server_is_used_by_about_as_many_clients() {
        let mut clients = [0_usize; 200];
        for seed in 0..1000 {
            for server in subset(0..200, seed, 20) {
                clients[server] += 1;
            }
        }
        // Binomial: 100 on average, with a deviation of 9.5.
        assert!(clients.iter().all(|clients| (60..=140).contains(clients)), "{clients:?}");
    }

    #[test]
    fn the_near_ones_are_used_alone_while_one_of_them_works() {
        let mut candidates = [Zone, Zone, Region, Elsewhere].map(at);
        assert_eq!(select(&candidates, 10), [0, 1]);
        candidates[0].failing = true;
        assert_eq!(select(&candidates, 10), [0, 1]);
        candidates[1].failing = true;
        assert_eq!(select(&candidates, 10), [0, 1, 2], "and those of the zone are asked on");
        candidates[2].failing = true;
        assert_eq!(select(&candidates, 10), [0, 1, 2, 3]);
        candidates[1].failing = false;
        assert_eq!(select(&candidates, 10), [0, 1]);
    }

    #[test]
    fn a_subset_that_is_failing_is_widened_until_one_works() {
        let mut candidates = vec![at(Zone); 100];
        let upto = |end: usize| (0..end).collect::<Vec<_>>();
        assert_eq!(select(&candidates, 3), upto(3));
        candidates[..3].iter_mut().for_each(|it| it.failing = true);
        assert_eq!(select(&candidates, 3), upto(6));
        candidates[..6].iter_mut().for_each(|it| it.failing = true);
        assert_eq!(select(&candidates, 3), upto(12));
        // One of the widened works: they stay.
        candidates[4].failing = false;
        assert_eq!(select(&candidates, 3), upto(6));
        for candidate in &mut candidates {
            candidate.failing = true;
        }
        assert_eq!(select(&candidates, 3), upto(24), "but not for ever");
    }
}
