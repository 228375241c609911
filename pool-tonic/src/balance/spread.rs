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
    /// So many are used.
    Used(usize),
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
    sites: Vec<(Site, u64)>,
    used: HashMap<Arc<Address>, (Key, NonZero<u32>)>,
    /// Decided, and not yet with the pools.
    pending: Vec<Change>,
    /// Somebody brings changes to the pools.
    brings: bool,
}

impl Spread {
    /// Uses at most `bound` endpoints, of many those that the seed ranks first.
    pub(crate) fn new(book: Arc<AddressBook>, bound: usize, seed: u64) -> Self {
        Self { book, bound, seed, is_partial: AtomicBool::new(false), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another set.
    pub(crate) fn set(&self, sites: Vec<Site>, bring: impl FnMut(Vec<Change>)) -> Chosen {
        let ranked = |site: Site| {
            let rank = rank(&site.address.to_string(), self.seed);
            (site, rank)
        };
        let sites = sites.into_iter().map(ranked).collect();
        let mut inner = self.lock();
        inner.sites = sites;
        let chosen = self.choose(&mut inner);
        drop(inner);
        self.bring(bring);
        chosen
    }

    /// Chooses anew, since an attempt has failed, or one has succeeded. `None` if that changes nothing.
    pub(crate) fn look_again(&self, bring: impl FnMut(Vec<Change>)) -> Option<Chosen> {
        if !self.is_partial.load(Ordering::SeqCst) {
            return None;
        }
        let chosen = self.choose(&mut self.lock());
        self.bring(bring);
        (chosen.added + chosen.removed > 0).then_some(chosen)
    }

    fn choose(&self, inner: &mut Inner) -> Chosen {
        let failing = self.book.failing();
        let candidate = |(site, rank): &(Site, u64)| Candidate {
            rank: *rank,
            nearness: site.nearness,
            failing: inner.used.get(&site.address).is_some_and(|(key, _)| failing.contains(key)),
        };
        let candidates: Vec<_> = inner.sites.iter().map(candidate).collect();
        let selected = select(&candidates, self.bound);
        let (mut new, mut used) = (Vec::new(), HashMap::with_capacity(selected.len()));
        let mut changes = Vec::new();
        for index in selected {
            let Site { address, weight, .. } = &inner.sites[index].0;
            match inner.used.remove(address) {
                Some((key, before)) => {
                    if before != *weight {
                        changes.push(Change::Use(key, *weight));
                    }
                    used.insert(Arc::clone(address), (key, *weight));
                }
                None => new.push((Arc::clone(address), *weight)),
            }
        }
        // What is left is used no more.
        let gone: Vec<_> = inner.used.drain().map(|(_, (key, _))| key).collect();
        let keys = self.book.relist(new.iter().map(|(address, _)| Arc::clone(address)), &gone);
        let added = new.len();
        for ((address, weight), key) in new.into_iter().zip(keys) {
            changes.push(Change::Use(key, weight));
            used.insert(address, (key, weight));
        }
        // First what comes, so that nothing is missing for what goes.
        changes.extend(gone.iter().map(|key| Change::Retire(*key)));
        let chosen =
            Chosen { of: inner.sites.len(), taken: used.len(), added, removed: gone.len() };
        if added + chosen.removed > 0 {
            changes.insert(0, Change::Used(chosen.taken));
        }
        inner.used = used;
        inner.pending.append(&mut changes);
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
mod tests {
    use std::time::Duration;

    use pool_tonic_testing::EchoServer;
    use pool_tonic_testing::proto::echo_client::EchoClient;
    use pool_tonic_testing::proto::{Ask, Do};

    use super::*;
    use crate::connectivity::ConnectivityState;
    use crate::error::ConnectError;
    use crate::options::ServedBy;
    use crate::pool::ChannelPool;

    const ONE: NonZero<u32> = NonZero::<u32>::MIN;

    fn site(n: u64) -> Site {
        let address = Arc::new(Address::parse(&format!("http://a:{n}")).unwrap());
        Site { address, weight: ONE, nearness: Nearness::Elsewhere }
    }

    fn sites(ports: impl IntoIterator<Item = u64>) -> Vec<Site> {
        ports.into_iter().map(site).collect()
    }

    /// A book of nothing, and what uses at most so many.
    fn spread(bound: usize) -> (Arc<AddressBook>, Spread) {
        let book = AddressBook::new(None);
        let spread = Spread::new(Arc::clone(&book), bound, 7);
        (book, spread)
    }

    fn set(spread: &Spread, ports: impl IntoIterator<Item = u64>) -> Vec<Change> {
        let mut brought = Vec::new();
        spread.set(sites(ports), |mut changes| brought.append(&mut changes));
        brought
    }

    fn addresses(book: &AddressBook) -> Vec<String> {
        book.snapshot().into_iter().map(|status| status.address).collect()
    }

    #[test]
    fn the_first_set_is_listed_and_used() {
        let (book, spread) = spread(10);
        let uses = [Change::Used(2), Change::Use(0, ONE), Change::Use(1, ONE)];
        let brought = set(&spread, [1, 2]);
        assert_eq!(brought[0], uses[0]);
        assert!(uses[1..].iter().all(|change| brought.contains(change)), "{brought:?}");
        assert_eq!(addresses(&book).len(), 2);
    }

    #[test]
    fn the_same_set_changes_nothing() {
        let (_, spread) = spread(10);
        set(&spread, [1, 2]);
        assert_eq!(set(&spread, [2, 1]), []);
    }

    #[test]
    fn what_is_new_comes_before_what_is_gone_goes() {
        let (book, spread) = spread(10);
        set(&spread, [1]);
        let brought = set(&spread, [2]);
        assert_eq!(brought, [Change::Used(1), Change::Use(1, ONE), Change::Retire(0)]);
        assert_eq!(addresses(&book), ["a:2"]);
        // Back again, it is another one for the pools.
        let brought = set(&spread, [1]);
        assert_eq!(brought, [Change::Used(1), Change::Use(2, ONE), Change::Retire(1)]);
    }

    #[test]
    fn another_weight_is_told_and_no_more() {
        let (_, spread) = spread(10);
        set(&spread, [1]);
        let three = NonZero::new(3).unwrap();
        let mut brought = Vec::new();
        let heavier = Site { weight: three, ..site(1) };
        spread.set(vec![heavier], |mut changes| brought.append(&mut changes));
        assert_eq!(brought, [Change::Use(0, three)]);
    }

    #[test]
    fn changes_decided_while_others_are_brought_come_after_them() {
        let (_, spread) = spread(10);
        let mut brought = Vec::new();
        spread.set(sites([1]), |mut changes| {
            if brought.is_empty() {
                assert_eq!(set(&spread, [2]), [], "left to the one who brings already");
            }
            brought.append(&mut changes);
        });
        let last = [Change::Used(1), Change::Use(1, ONE), Change::Retire(0)];
        assert_eq!(brought, [&[Change::Used(1), Change::Use(0, ONE)][..], &last].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_used_while_the_chosen_fail_and_not_when_they_are_back() {
        let (book, spread) = spread(2);
        let chosen = spread.set(sites(0..10), |_| {});
        assert_eq!((chosen.of, chosen.taken), (10, 2));
        assert_eq!(spread.look_again(|_| {}), None);
        for key in 0..2 {
            book.dial_in(key).unwrap().failed(ConnectError::abandoned("a"));
        }
        let chosen = spread.look_again(|_| {}).unwrap();
        assert_eq!((chosen.taken, chosen.added, chosen.removed), (4, 2, 0));
        assert!(!book.is_down(), "there is something to hope for");
        tokio::time::advance(Duration::from_secs(2)).await;
        drop(book.dial_in(0).unwrap().counted());
        let chosen = spread.look_again(|_| {}).unwrap();
        assert_eq!((chosen.taken, chosen.removed), (2, 2));
    }

    #[tokio::test]
    async fn what_is_not_used_any_more_finishes_its_calls_and_gets_no_new_ones() {
        let (old, new) = (EchoServer::start().await.unwrap(), EchoServer::start().await.unwrap());
        let servers = [old.uri(), new.uri()];
        let pool = ChannelPool::endpoints(servers).max_endpoints(1).build().unwrap();
        let spread = pool.connections().manager().spread().unwrap();
        let set = |server: &EchoServer| {
            let address = Arc::new(Address::parse(&server.uri()).unwrap());
            spread.set(vec![Site { address, weight: ONE, nearness: Nearness::Zone }], drop);
        };
        let call = |r#do: Do| {
            let ask = Ask { text: "hello".to_owned(), r#do: r#do.into(), answers: 1 };
            let mut client = EchoClient::new(pool.channel());
            async move {
                let answer = client.unary(ask).await.unwrap();
                answer.extensions().get::<ServedBy>().unwrap().address().to_owned()
            }
        };
        set(&old);
        let long = tokio::spawn(call(Do::Wait));
        while pool.status().streams == 0 {
            tokio::task::yield_now().await;
        }
        set(&new);
        assert_eq!(pool.state(), ConnectivityState::Idle, "the old one takes no calls");
        for _ in 0..20 {
            assert_eq!(call(Do::Echo).await, new.addr().to_string());
        }
        assert_eq!(pool.status().draining, 1);
        old.open_gate();
        assert_eq!(long.await.unwrap(), old.addr().to_string());
        while pool.connection_list().len() > 1 {
            tokio::task::yield_now().await;
        }
    }
}
