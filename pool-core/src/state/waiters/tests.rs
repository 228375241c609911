//! The queue beside a list that is searched from end to end.

use std::convert::Infallible;
use std::mem::offset_of;

use super::*;
use crate::group::GroupId;
use crate::options::Priority;
use crate::state::{IdleStore, ShareStore, State};

const MILLISECOND: u64 = 1_000_000;

/// Threads read the clock in one order and join in another.
#[test]
fn deadlines_that_a_timer_cannot_tell_apart_are_in_order() {
    let mut waiters: Waiters<Box<()>, ()> = Waiters::new(Arc::new(Mailboxes::new()));
    for bits in [5 * MILLISECOND, 5 * MILLISECOND - 1, 4 * MILLISECOND + 1, 4 * MILLISECOND] {
        let ask = Ask::one(Moment::from_bits(bits));
        let joined = waiters.join(Moment::default(), ask, Waker::noop().clone(), None);
        joined.expect("there are few");
    }
    assert_eq!(waiters.odd.len(), 1);
    assert_eq!(waiters.next_deadline(), Moment::from_bits(4 * MILLISECOND));
    assert!(waiters.fail_expired(Moment::from_bits(4 * MILLISECOND), ()).is_some());
    assert_eq!(waiters.next_deadline(), Moment::from_bits(5 * MILLISECOND));
}

/// By as much as maintenance was late when it looked at the clock next, and no more with each further look.
#[test]
fn deadlines_move_once() {
    let at = |milliseconds| Moment::from_bits(milliseconds * MILLISECOND);
    let mut waiters: Waiters<Box<()>, ()> = Waiters::new(Arc::new(Mailboxes::new()));
    let mut from = waiters.next_stand();
    for span in 10..20 {
        let ask = Ask::one(at(span + 50));
        waiters.join(at(span), ask, Waker::noop().clone(), None).expect("there are few");
        waiters.join_later(from, at(span), at(span + 1));
        from = waiters.next_stand();
    }
    assert_eq!(waiters.next_deadline(), at(61));
    assert_eq!(waiters.earliest_joined(), Some(at(11)));
}

/// One that has joined, and when it did, beside the others.
struct Listed {
    ticket: Ticket,
    ask: Ask,
    joined: i64,
}

/// Whose turn it is of some, the class first, then when they joined.
fn next<'a>(listed: impl Iterator<Item = (usize, &'a Listed)>) -> Option<(Priority, i64, usize)> {
    listed.map(|(at, it)| (it.ask.priority, it.joined, at)).min()
}

/// Joins, gives up, is served and fails at random, beside a list that is searched from end to end.
#[test]
fn order_and_deadlines_are_those_of_a_plain_list() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let mut waiters: Waiters<Box<()>, ()> = Waiters::new(Arc::new(Mailboxes::new()));
        let mut list: Vec<Listed> = Vec::new();
        // Those that have an outcome and have not looked yet.
        let mut settled = Vec::new();
        for turn in 1..400 {
            match rng.u8(..9) {
                0..=3 => {
                    let group = (rng.u8(..3) == 0).then(|| GroupId(rng.u64(..3)));
                    let class = rng.usize(..3);
                    let ask = Ask {
                        deadline: Moment::from_bits(rng.u64(1..50) * MILLISECOND),
                        priority: Priority::ALL[if group.is_some() { 1 } else { class }],
                        group,
                        places: 1,
                        again: rng.u8(..8) == 0,
                        through_failures: rng.bool(),
                    };
                    let joined = waiters.join(Moment::default(), ask, Waker::noop().clone(), None);
                    let ticket = joined.expect("there are few");
                    let joined = if ask.again { -turn } else { turn };
                    list.push(Listed { ticket, ask, joined });
                }
                4..=5 if !list.is_empty() => {
                    let gone = list.swap_remove(rng.usize(..list.len()));
                    assert!(matches!(waiters.leave(gone.ticket), Left::Waiting(..)));
                }
                6 => {
                    let of_any = list.iter().enumerate().filter(|(_, it)| it.ask.group.is_none());
                    match (waiters.grant(Box::new(())), next(of_any)) {
                        (Granted::Served(_), Some((.., first))) => {
                            settled.push(list.swap_remove(first).ticket);
                        }
                        (Granted::Nobody(_), None) => {}
                        _ => panic!("somebody waits, or nobody does"),
                    }
                }
                7 => {
                    let group = GroupId(rng.u64(..3));
                    let bound =
                        list.iter().enumerate().filter(|(_, it)| it.ask.group == Some(group));
                    let of_any = list.iter().enumerate().filter(|(_, it)| it.ask.group.is_none());
                    let (bound, of_any) = (next(bound), next(of_any));
                    let first = waiters.first_bound_to(group);
                    assert_eq!(first, bound.map(|(.., at)| list[at].ticket));
                    let Some((class, joined, at)) = bound else { continue };
                    let ticket = list[at].ticket;
                    let is_first = of_any.is_none_or(|(other, others, _)| {
                        let both_again = joined < 0 && others < 0;
                        class < other || class == other && joined < others && !both_again
                    });
                    assert_eq!(waiters.comes_first(ticket), is_first);
                    waiters.grant_bound(ticket, Box::new(()));
                    settled.push(list.swap_remove(at).ticket);
                }
                _ => {
                    let now = Moment::from_bits(rng.u64(1..20) * MILLISECOND);
                    while waiters.fail_expired(now, ()).is_some() {}
                    let (late, in_time): (Vec<_>, Vec<_>) =
                        list.drain(..).partition(|it| it.ask.deadline <= now);
                    list = in_time;
                    settled.extend(late.into_iter().map(|it| it.ticket));
                }
            }
            if rng.u8(..4) == 0 {
                for ticket in settled.drain(..) {
                    assert!(matches!(waiters.leave(ticket), Left::Settled(_)));
                }
            }
            let nearest = list.iter().map(|it| it.ask.deadline).min();
            assert_eq!(waiters.next_deadline(), nearest.unwrap_or(Moment::NEVER));
            assert_eq!(waiters.waiting_in_all(), list.len());
            let count =
                |which: &dyn Fn(&Ask) -> bool| list.iter().filter(|it| which(&it.ask)).count();
            assert_eq!(waiters.bound_waiting(), count(&|ask| ask.group.is_some()));
            let some = |whom| waiters.first_of(usize::MAX, whom).len();
            assert_eq!(some(Whom::All), list.len());
            let hasty = |group| move |ask: &Ask| ask.group == group && !ask.through_failures;
            assert_eq!(some(Whom::Hasty), count(&hasty(None)));
            let group = GroupId(rng.u64(..3));
            assert_eq!(some(Whom::HastyBoundTo(group)), count(&hasty(Some(group))));
            assert_eq!(waiters.bound_to(group).count(), count(&|ask| ask.group == Some(group)));
        }
    }
}

/// The nearest deadline is sought when it is asked for: here after long whiles, in which gaps were closed and whole
/// rings were served.
#[test]
fn the_nearest_deadline_is_found_after_whiles_in_which_nobody_has_looked() {
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..200 {
        let mut waiters: Waiters<Box<()>, ()> = Waiters::new(Arc::new(Mailboxes::new()));
        let mut list: Vec<(Ticket, Moment)> = Vec::new();
        for turn in 0..60 {
            for _ in 0..rng.usize(..100) {
                let again = rng.u8(..16) == 0;
                // Most deadlines grow with time. Behind one that is far off the next are odd, and so is itself in front of
                // nearer ones.
                let far = if rng.u8(..if again { 2 } else { 100 }) == 0 { 1_000 } else { 0 };
                let deadline = Moment::from_bits((turn + far + rng.u64(..3)) * MILLISECOND);
                let ask = Ask { again, ..Ask::one(deadline) };
                let joined = waiters.join(Moment::default(), ask, Waker::noop().clone(), None);
                let ticket = joined.expect("there are few");
                list.insert(if again { 0 } else { list.len() }, (ticket, deadline));
            }
            // So many at times that gaps are closed.
            let leave = if rng.bool() { 20 } else { list.len() * 9 / 10 };
            for _ in 0..leave.min(list.len()) {
                let (gone, _) = list.remove(rng.usize(..list.len()));
                assert!(matches!(waiters.leave(gone), Left::Waiting(..)));
            }
            let serve = if rng.u8(..4) == 0 { rng.usize(..60) } else { 0 };
            for _ in 0..serve.min(list.len()) {
                let (served, _) = list.remove(0);
                assert!(matches!(waiters.grant(Box::new(())), Granted::Served(_)));
                assert!(matches!(waiters.leave(served), Left::Settled(_)));
            }
            if rng.u8(..4) == 0 {
                let nearest = list.iter().map(|(_, deadline)| *deadline).min();
                assert_eq!(waiters.next_deadline(), nearest.unwrap_or(Moment::NEVER));
            }
        }
    }
}

/// So it comes along with the lock.
#[test]
fn what_a_usual_wait_changes_lies_in_the_line_of_the_lock() {
    type Exclusive = State<IdleStore<()>, Infallible>;
    type Shared = State<ShareStore<()>, Infallible>;
    assert_eq!(Class::Normal as usize, 0);
    assert_eq!(offset_of!(Waiters<Box<()>, ()>, lines), 0);
    assert_eq!((offset_of!(Exclusive, waiters), offset_of!(Shared, waiters)), (0, 0));
    for align in [align_of::<Exclusive>(), align_of::<Shared>()] {
        // Before it there are the lock's own words, and what is left free for its alignment.
        assert!(align.max(size_of::<u64>()) + offset_of!(Line, gaps) <= 64);
    }
}
