use std::time::Duration;

use super::*;
use crate::address_book::Side;
use crate::error::ConnectError;

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
    let book = AddressBook::new("".into(), None);
    let spread = Spread::new(Arc::clone(&book), bound, 7);
    (book, spread)
}

fn set(spread: &Spread, ports: impl IntoIterator<Item = u64>) -> Vec<Change> {
    let mut noted = Vec::new();
    spread.set(sites(ports), |changes| noted = changes);
    noted
}

fn addresses(book: &AddressBook) -> Vec<String> {
    book.snapshot().into_iter().map(|(_, status)| status.address).collect()
}

#[test]
fn the_first_set_is_listed_and_used() {
    let (book, spread) = spread(10);
    let uses = [Change::Use(0, ONE), Change::Use(1, ONE)];
    let noted = set(&spread, [1, 2]);
    assert_eq!(noted[0], uses[0]);
    assert!(uses[1..].iter().all(|change| noted.contains(change)), "{noted:?}");
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
    let noted = set(&spread, [2]);
    assert_eq!(noted, [Change::Use(1, ONE), Change::Retire(0)]);
    assert_eq!(addresses(&book), ["a:2"]);
    // Back again, it is another one for the pools.
    let noted = set(&spread, [1]);
    assert_eq!(noted, [Change::Use(2, ONE), Change::Retire(1)]);
}

#[test]
fn another_weight_is_told_and_no_more() {
    let (_, spread) = spread(10);
    set(&spread, [1]);
    let three = NonZero::new(3).unwrap();
    let mut noted = Vec::new();
    let heavier = Site { weight: three, ..site(1) };
    spread.set(vec![heavier], |changes| noted = changes);
    assert_eq!(noted, [Change::Use(0, three)]);
}

#[tokio::test(start_paused = true)]
async fn others_are_used_while_the_chosen_fail_and_not_when_they_are_back() {
    let (book, spread) = spread(2);
    let chosen = spread.set(sites(0..10), |_| {});
    assert_eq!((chosen.of, chosen.taken), (10, 2));
    assert_eq!(spread.look_again(|_| {}), None);
    for key in 0..2 {
        book.dial_in(key, Side::Shared).unwrap().failed(ConnectError::abandoned("a"));
    }
    let chosen = spread.look_again(|_| {}).unwrap();
    assert_eq!((chosen.taken, chosen.added, chosen.removed), (4, 2, 0));
    assert!(!book.is_down(Side::Shared), "there is something to hope for");
    tokio::time::advance(Duration::from_secs(2)).await;
    drop(book.dial_in(0, Side::Shared).unwrap().counted(Side::Shared));
    let chosen = spread.look_again(|_| {}).unwrap();
    assert_eq!((chosen.taken, chosen.removed), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn where_all_are_used_since_the_chosen_fail_there_are_fewer_when_they_are_back() {
    let far = |site: Site| Site { nearness: Nearness::Elsewhere, ..site };
    let near = |site: Site| Site { nearness: Nearness::Zone, ..site };
    let (one, two) = (sites(0..3), vec![near(site(0)), far(site(1)), far(site(2))]);
    // The bound, and the zone.
    for (bound, sites, usual) in [(2, one, 2), (10, two, 1)] {
        let (book, spread) = spread(bound);
        assert_eq!(spread.set(sites, |_| {}).taken, usual);
        for key in 0..usual as u64 {
            book.dial_in(key, Side::Shared).unwrap().failed(ConnectError::abandoned("a"));
        }
        assert_eq!(spread.look_again(|_| {}).unwrap().taken, 3);
        tokio::time::advance(Duration::from_secs(2)).await;
        drop(book.dial_in(0, Side::Shared).unwrap().counted(Side::Shared));
        let chosen = spread.look_again(|_| {}).unwrap();
        assert_eq!((chosen.taken, chosen.removed), (usual, 3 - usual));
    }
}
