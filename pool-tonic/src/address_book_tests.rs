use std::time::Duration;

use super::ConnectivityState::{Connecting, Idle, Ready, Shutdown, TransientFailure};
use super::entry::Attempt;
use super::guards::STABLE_AFTER;
use super::side::Side::Shared;
use super::side::Sides;
use super::*;

fn error() -> ConnectError {
    ConnectError::abandoned("a:1")
}

/// Begins an attempt at the first address that is not in back-off.
fn pick(addresses: &mut Addresses, now: Instant) -> Option<Attempt> {
    let keys: Vec<_> = addresses.iter().map(|(key, _)| key).collect();
    keys.into_iter().find_map(|key| addresses.take(key, now).ok())
}

/// A book of as many addresses, which go by the numbers from 0.
fn of(len: Key) -> Addresses {
    let mut addresses = Addresses::default();
    for n in 0..len {
        assert_eq!(addresses.list(address(n)), n);
    }
    addresses
}

/// Fails the next dial of each address at `now`, without jitter.
fn fail_all(addresses: &mut Addresses, now: Instant) {
    while let Some(attempt) = pick(addresses, now) {
        addresses.failed(attempt, now, error(), 0.5);
    }
}

#[test]
fn a_failed_address_is_left_alone_for_its_back_off() {
    let moment = Duration::from_nanos(1);
    let mut addresses = of(1);
    let mut now = Instant::now();
    for millis in [1000, 1600, 2560] {
        let attempt = pick(&mut addresses, now).unwrap();
        addresses.failed(attempt, now, error(), 0.5);
        assert_eq!(addresses.retry_in(now), Duration::from_millis(millis));
        now += Duration::from_millis(millis);
        assert!(pick(&mut addresses, now - moment).is_none());
    }
    // The delay is counted from the start of an attempt, so a slow failure may be followed at once.
    let attempt = pick(&mut addresses, now).unwrap();
    addresses.failed(attempt, now, error(), 0.5);
    assert!(addresses.retry_in(now + Duration::from_secs(20)).is_zero());
}

#[test]
fn ready_ends_back_off_and_failure() {
    let now = Instant::now();
    let mut addresses = of(1);
    fail_all(&mut addresses, now);
    let later = now + Duration::from_secs(1);
    let attempt = pick(&mut addresses, later).unwrap();
    assert_eq!(
        addresses.state(Shared),
        TransientFailure,
        "an attempt does not show while all failed"
    );
    addresses.connected(attempt, Shared);
    assert_eq!(addresses.state(Shared), Ready);
    assert!(addresses.retry_in(later).is_zero());
    assert!(addresses.last_error().is_none());
    addresses.change(0, |entry| entry.ready[Shared] -= 1);
    assert_eq!(addresses.state(Shared), Idle);
}

#[test]
fn another_address_is_free_while_one_is_in_back_off() {
    let now = Instant::now();
    let mut addresses = of(2);
    let attempt = pick(&mut addresses, now).unwrap();
    addresses.failed(attempt, now, error(), 0.5);
    assert!(addresses.retry_in(now).is_zero());
    assert_eq!(pick(&mut addresses, now).unwrap().key, 1 - attempt.key);
    assert_eq!(addresses.state(Shared), Connecting);
}

#[test]
fn calls_fail_fast_only_when_all_failed_and_none_is_due() {
    let now = Instant::now();
    let mut addresses = of(2);
    assert!(!addresses.fails_fast(Shared, now));
    let attempt = pick(&mut addresses, now).unwrap();
    addresses.failed(attempt, now, error(), 0.5);
    assert!(!addresses.fails_fast(Shared, now), "the other address was not tried");
    fail_all(&mut addresses, now);
    assert!(addresses.fails_fast(Shared, now));
    let due = now + Duration::from_secs(1);
    assert!(!addresses.fails_fast(Shared, due), "this call makes the next attempt");
    pick(&mut addresses, due).unwrap();
    assert!(addresses.fails_fast(Shared, due), "and the others do not wait for it");
}

#[test]
fn a_connection_lost_at_once_is_not_dialled_again_at_once() {
    let now = Instant::now();
    let mut addresses = of(1);
    let attempt = pick(&mut addresses, now).unwrap();
    addresses.connected(attempt, Shared);
    let lived = Duration::from_millis(10);
    addresses.ended(0, now + lived, (lived, STABLE_AFTER), error(), 0.5);
    assert_eq!(addresses.retry_in(now + lived), Duration::from_millis(990));
    addresses.change(0, |entry| entry.retry_at = None);
    addresses.ended(0, now + STABLE_AFTER, (STABLE_AFTER, STABLE_AFTER), error(), 0.5);
    assert!(addresses.retry_in(now + STABLE_AFTER).is_zero());
}

#[tokio::test(start_paused = true)]
async fn guards_take_themselves_back_and_the_state_follows() {
    let book = AddressBook::new("".into(), None);
    book.relist([address(1)], &[]);
    let mut watch = book.watch();
    let mut states = vec![watch.state()];
    let mut next = |watch: &mut StateWatch| {
        assert!(watch.has_changed());
        states.push(watch.state());
    };
    let mut dial = book.dial(Shared).unwrap();
    next(&mut watch);
    let mut live = dial.counted(Shared);
    next(&mut watch);
    live.drain("GOAWAY".to_owned());
    next(&mut watch);
    drop(live);
    assert!(!watch.has_changed());
    // It had lived for less than a server that means well gives one.
    assert!(book.dial(Shared).is_err());
    tokio::time::advance(Duration::from_secs(2)).await;
    // Given up, it says nothing of the address.
    drop(book.dial(Shared).unwrap());
    assert_eq!(book.state(), Idle);
    book.dial(Shared).unwrap().failed(error());
    next(&mut watch);
    assert!(book.dial(Shared).unwrap_err().to_string().contains("back-off"));
    assert!(book.refusal(Shared).is_some());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(book.refusal(Shared).is_none());
    let live = book.dial(Shared).unwrap().counted(Shared);
    next(&mut watch);
    live.lost("reset".to_owned());
    drop(live);
    next(&mut watch);
    book.shutdown();
    next(&mut watch);
    assert_eq!(states, [Idle, Connecting, Ready, Idle, TransientFailure, Ready, Idle, Shutdown]);
}

#[test]
fn an_address_that_nobody_has_asked_since_its_back_off_is_something_to_hope_for() {
    let now = Instant::now();
    let mut addresses = of(2);
    let attempt = pick(&mut addresses, now).unwrap();
    let first_down = attempt.key;
    addresses.failed(attempt, now, error(), 0.5);
    let attempt = pick(&mut addresses, now).unwrap();
    let up = attempt.key;
    addresses.connected(attempt, Shared);
    // Ten seconds on, the first server is back and the other one goes.
    let later = now + Duration::from_secs(10);
    addresses.change(up, |entry| entry.ready[Shared] -= 1);
    addresses.lost(later);
    let again = addresses.take(up, later).unwrap();
    let first_down = addresses.take(first_down, later).unwrap();
    addresses.failed(again, later, error(), 0.5);
    assert_eq!(addresses.state(Shared), Connecting);
    assert!(!addresses.fails_fast(Shared, later), "the first one is being asked");
    // When that one fails, too, there is nothing left.
    addresses.failed(first_down, later, error(), 0.5);
    assert_eq!(addresses.state(Shared), TransientFailure);
    assert!(addresses.fails_fast(Shared, later));
}

#[test]
fn attempts_at_an_address_that_fails_already_are_nothing_to_hope_for() {
    let at = |now: Instant, seconds| now + Duration::from_secs(seconds);
    let now = Instant::now();
    let mut addresses = of(1);
    // Those of two pools, each of which takes three seconds to fail.
    let first = pick(&mut addresses, now).unwrap();
    let second = pick(&mut addresses, at(now, 2)).unwrap();
    addresses.failed(first, at(now, 3), error(), 0.5);
    assert_eq!(addresses.state(Shared), Connecting, "the second one was begun before");
    let third = pick(&mut addresses, at(now, 3)).unwrap();
    addresses.failed(second, at(now, 5), error(), 0.5);
    assert_eq!(addresses.state(Shared), TransientFailure);
    assert!(addresses.fails_fast(Shared, at(now, 5)));
    // READY is what ends that.
    addresses.connected(third, Shared);
    addresses.change(0, |entry| entry.ready[Shared] -= 1);
    addresses.lost(at(now, 10));
    let attempt = pick(&mut addresses, at(now, 10)).unwrap();
    assert_eq!(addresses.state(Shared), Connecting);
    addresses.given_up(attempt, at(now, 10));
    assert_eq!(addresses.state(Shared), Idle);
}

#[test]
fn addresses_that_fail_slowly_one_after_the_other_are_nothing_to_hope_for_when_all_have() {
    let mut now = Instant::now();
    let mut addresses = of(3);
    for key in 0..3 {
        assert_eq!(addresses.state(Shared), Idle);
        let attempt = addresses.take(key, now).unwrap();
        now += Duration::from_secs(20);
        addresses.failed(attempt, now, error(), 0.5);
        assert!(addresses.retry_in(now).is_zero(), "it was slower than its back-off");
    }
    assert_eq!(addresses.state(Shared), TransientFailure);
    assert!(!addresses.fails_fast(Shared, now), "this call makes the next attempt");
    // Whoever knows better says so.
    let mut addresses = of(2);
    fail_all(&mut addresses, now);
    addresses.down = Sides::default();
    addresses.reset_backoff();
    let attempt = pick(&mut addresses, now).unwrap();
    addresses.failed(attempt, now, error(), 0.5);
    assert_eq!(addresses.state(Shared), Idle, "the other one is to be asked again");
}

#[test]
fn a_server_that_does_not_serve_fails_calls_while_the_others_are_asked_whether_they_fail_still() {
    let now = Instant::now();
    let mut addresses = of(2);
    let attempt = addresses.take(0, now).unwrap();
    addresses.connected(attempt, Shared);
    let attempt = addresses.take(1, now).unwrap();
    addresses.failed(attempt, now, error(), 0.5);
    addresses.change(0, |entry| (entry.ready[Shared], entry.unhealthy[Shared]) = (0, 1));
    let due = now + Duration::from_secs(1);
    addresses.take(1, due).unwrap();
    assert_eq!(addresses.state(Shared), TransientFailure);
    assert!(addresses.fails_fast(Shared, due));
}

#[test]
fn an_attempt_that_outlasts_its_back_off_shows_that_the_address_cannot_be_reached() {
    let now = Instant::now();
    let mut addresses = of(1);
    let attempt = pick(&mut addresses, now).unwrap();
    addresses.failed(attempt, now + Duration::from_secs(20), error(), 0.5);
    assert_eq!(addresses.state(Shared), TransientFailure);
}

#[test]
fn an_address_that_does_not_serve_fails_no_call_while_there_is_another_to_hope_for() {
    let now = Instant::now();
    let mut addresses = of(2);
    let attempt = pick(&mut addresses, now).unwrap();
    assert_eq!(attempt.key, 0);
    addresses.connected(attempt, Shared);
    addresses.change(0, |entry| (entry.ready[Shared], entry.unhealthy[Shared]) = (0, 1));
    assert_eq!(addresses.state(Shared), Idle);
    assert!(!addresses.fails_fast(Shared, now));

    let attempt = addresses.take(1, now).unwrap();
    assert_eq!(addresses.state(Shared), Connecting);
    addresses.failed(attempt, now, error(), 0.5);
    assert_eq!(addresses.state(Shared), TransientFailure);
    assert!(addresses.fails_fast(Shared, now));
    assert!(!addresses.fails_fast(Shared, now + Duration::from_secs(2)), "it may be back");
}

fn address(n: Key) -> Arc<Address> {
    Arc::new(Address::parse(&format!("http://a:{n}")).unwrap())
}

#[test]
fn what_is_listed_twice_is_one_address() {
    let mut addresses = of(2);
    assert_eq!(addresses.list(address(0)), 0);
    assert_eq!(addresses.len(), 2);
}

#[test]
fn an_address_that_is_not_listed_any_more_makes_nothing_ready_and_is_not_dialled() {
    let now = Instant::now();
    let mut addresses = of(2);
    let attempt = addresses.take(0, now).unwrap();
    addresses.connected(attempt, Shared);
    addresses.unlist(0);
    assert_eq!((addresses.state(Shared), addresses.len()), (Idle, 1));
    assert!(addresses.take(0, now).is_err());
    let attempt = pick(&mut addresses, now).unwrap();
    assert_eq!(attempt.key, 1);
    addresses.unlist(1);
    assert!(pick(&mut addresses, now).is_none());
    // Its attempt goes on, and does not count for the state.
    addresses.connected(attempt, Shared);
    assert_eq!(addresses.state(Shared), Idle);
}

#[test]
fn an_entry_is_there_until_nothing_of_it_is_counted() {
    let now = Instant::now();
    let mut addresses = of(1);
    let attempt = pick(&mut addresses, now).unwrap();
    addresses.connected(attempt, Shared);
    addresses.unlist(0);
    assert!(addresses.get(0).is_some());
    addresses.change(0, |entry| entry.ready[Shared] -= 1);
    assert!(addresses.get(0).is_none() && addresses.find(&address(0)).is_none());
    // One of which nothing is counted goes at once.
    let key = addresses.list(address(7));
    addresses.unlist(key);
    assert!(addresses.get(key).is_none());
}

#[test]
fn an_address_that_comes_back_has_a_new_number_and_its_old_back_off() {
    let now = Instant::now();
    let mut addresses = of(1);
    let (first, second) = (pick(&mut addresses, now).unwrap(), pick(&mut addresses, now).unwrap());
    addresses.failed(first, now, error(), 0.5);
    addresses.unlist(0);
    assert_eq!(addresses.list(address(0)), 1);
    assert_eq!(addresses.retry_in(now), Duration::from_secs(1));
    // What is left of the time before changes nothing of it.
    addresses.connected(second, Shared);
    assert_eq!(addresses.retry_in(now), Duration::from_secs(1));
    addresses.change(0, |entry| entry.ready[Shared] -= 1);
    assert_eq!(addresses.find(&address(0)), Some(1));
}

#[test]
fn a_new_address_is_something_to_hope_for() {
    let now = Instant::now();
    let mut addresses = of(2);
    fail_all(&mut addresses, now);
    assert!(addresses.fails_fast(Shared, now));
    addresses.list(address(2));
    assert!(!addresses.fails_fast(Shared, now));
    pick(&mut addresses, now).unwrap();
    assert_eq!(addresses.state(Shared), Connecting);
    assert!(!addresses.fails_fast(Shared, now), "calls wait for it");
}

#[test]
fn the_sums_are_those_of_the_listed_entries() {
    let mut random = fastrand::Rng::with_seed(7);
    let now = Instant::now();
    let mut addresses = of(4);
    let mut attempts = Vec::new();
    for _ in 0..2000 {
        let key = random.u64(..addresses.next_key);
        let side = Side::BOTH[random.usize(..2)];
        match random.u32(..8) {
            0 => _ = addresses.list(address(random.u64(..6))),
            1 => addresses.unlist(key),
            2 => attempts.extend(addresses.take(key, now)),
            over @ 3..6 if !attempts.is_empty() => {
                let attempt = attempts.swap_remove(random.usize(..attempts.len()));
                match over {
                    3 => addresses.connected(attempt, side),
                    4 => addresses.failed(attempt, now, error(), 0.5),
                    _ => addresses.given_up(attempt, now),
                }
            }
            6 => addresses.change(key, |entry| {
                let ready = std::mem::take(&mut entry.ready);
                entry.unhealthy += ready;
            }),
            7 => addresses.change(key, |entry| entry.unhealthy[side] = 0),
            _ => addresses.reset_backoff(),
        }
        let sum = |of: fn(&Entry) -> usize| addresses.iter().map(|(_, entry)| of(entry)).sum();
        let sums: [usize; 5] = [
            sum(|_| 1),
            sum(|entry| entry.connecting),
            sum(|entry| entry.hopeful),
            sum(|entry| entry.ready.sum()),
            sum(|entry| entry.unhealthy.sum()),
        ];
        assert_eq!(addresses.sums(), sums);
    }
}

#[tokio::test(start_paused = true)]
async fn the_pool_is_down_when_the_only_address_to_hope_for_is_listed_no_more() {
    let book = AddressBook::new("".into(), None);
    book.relist([address(1)], &[]);
    book.dial(Shared).unwrap().failed(error());
    assert!(book.refusal(Shared).is_some());
    let new = book.relist([address(2)], &[]);
    assert!(book.refusal(Shared).is_none());
    book.relist([], &new);
    book.settle();
    assert_eq!(book.state(), TransientFailure);
    assert!(book.refusal(Shared).is_some());
}

#[test]
fn the_first_attempt_after_a_silence_is_something_to_hope_for() {
    let now = Instant::now();
    let mut addresses = of(1);
    fail_all(&mut addresses, now);
    let later = now + Duration::from_secs(1);
    let _next = pick(&mut addresses, later).unwrap();
    assert!(addresses.fails_fast(Shared, later), "it followed as soon as it might");

    let mut addresses = of(1);
    fail_all(&mut addresses, now);
    let later = now + Duration::from_secs(2);
    let first = pick(&mut addresses, later).unwrap();
    assert!(!addresses.fails_fast(Shared, later));
    addresses.failed(first, later, error(), 0.5);
    assert!(addresses.fails_fast(Shared, later));
    addresses.reset_backoff();
    let _after_reset = pick(&mut addresses, later).unwrap();
    assert!(!addresses.fails_fast(Shared, later));
}
