//! Shedding: a burst is served, a queue that stands is cut back to those that have not waited long.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use harness::{Known, Side, judge, millis, pass, rest, secs};
use pool_core::test_util::ScriptedManager;
use pool_core::{Error, Exclusive, GetOptions, Pause, Pool, Priority, Shared, Shedding};
use tokio::time::Instant;
use tokio_test::task::spawn;

const TARGET: Duration = millis(50);
const RULE: Shedding = Shedding { target: TARGET, interval: secs(1) };

/// Callers come at a pace, each holds its resource for as long: how long those waited that were served,
/// and those that were shed.
async fn load<K: Side>(
    shed: Option<Shedding>,
    callers: usize,
    pace: Duration,
    hold: Duration,
) -> (Vec<Duration>, Vec<Duration>) {
    let manager = ScriptedManager::new();
    let pool =
        K::builder(manager.clone()).max_size(1).shed(shed).wait_timeout(secs(600)).build().unwrap();
    let waits = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let mut tasks = Vec::new();
    for _ in 0..callers {
        let (pool, waits) = (pool.clone(), waits.clone());
        tasks.push(tokio::spawn(async move {
            let began = Instant::now();
            match pool.get().await {
                Ok(_lease) => {
                    waits.lock().unwrap().0.push(Instant::now() - began);
                    tokio::time::sleep(hold).await;
                }
                Err(Error::Shed) => waits.lock().unwrap().1.push(Instant::now() - began),
                Err(other) => panic!("{other:?}"),
            }
        }));
        if pace.is_zero() {
            rest().await;
        } else {
            tokio::time::sleep(pace).await;
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let (served, shed) = Arc::try_unwrap(waits).unwrap().into_inner().unwrap();
    assert_eq!(pool.counters().gets_shed, shed.len() as u64);
    assert_eq!(pool.counters().gets_ok, served.len() as u64);
    let known = Known { max_size: 1, started: callers as u64, ..Known::default() };
    judge(&pool, &manager, &known).unwrap();
    (served, shed)
}

async fn a_burst_is_served<K: Side>() {
    // All at once, and worked off within the interval: the last one waits for 0.9 s.
    let (served, shed) = load::<K>(Some(RULE), 90, Duration::ZERO, millis(10)).await;
    assert_eq!((served.len(), shed.len()), (90, 0));
    assert!(served.iter().max().unwrap() > &millis(800));
}

#[tokio::test(start_paused = true)]
async fn a_burst_costs_nobody_anything() {
    a_burst_is_served::<Exclusive>().await;
    a_burst_is_served::<Shared>().await;
}

async fn a_standing_queue_is_cut_back<K: Side>() {
    // Twice as many come as can be served, for 20 s.
    let (served, shed) = load::<K>(Some(RULE), 4000, millis(5), millis(10)).await;
    assert!(shed.len() > 1000, "{}", shed.len());
    assert!(served.len() > 1800, "{}", served.len());
    assert!(
        shed.iter().all(|&waited| waited > TARGET * 2),
        "nobody is shed before twice the target"
    );
    // After the first interval, in which it is not known yet, all that are served wait that long at most.
    let settled = &served[served.len() / 4..];
    assert!(settled.iter().all(|&waited| waited <= TARGET * 2 + millis(10)));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_stands_sheds_those_beyond_twice_the_target() {
    a_standing_queue_is_cut_back::<Exclusive>().await;
    a_standing_queue_is_cut_back::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_shed_unless_it_is_set() {
    let (served, shed) = load::<Exclusive>(None, 1000, millis(5), millis(10)).await;
    assert_eq!((served.len(), shed.len()), (1000, 0));
    assert!(served.iter().max().unwrap() > &secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_served_in_time_stands_for_nobody() {
    // As many come as can be served, and each waits for less than the target.
    let (served, shed) = load::<Exclusive>(Some(RULE), 1000, millis(10), millis(10)).await;
    assert_eq!((served.len(), shed.len()), (1000, 0));
}

#[tokio::test(start_paused = true)]
async fn shedding_ends_with_the_queue() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).shed(RULE).build().unwrap();
    let held = pool.get().await.unwrap();
    let mut old = spawn(pool.get());
    assert!(old.poll().is_pending());
    pass(millis(999)).await;
    assert!(!old.is_woken(), "it is not known yet that the queue stands");
    pass(millis(2)).await;
    assert!(matches!(old.poll(), Poll::Ready(Err(Error::Shed))));
    // The queue was empty in between, so the next one has a whole interval.
    let mut next = spawn(pool.get());
    assert!(next.poll().is_pending());
    pass(millis(900)).await;
    assert!(!next.is_woken());
    drop(held);
    assert!(matches!(next.poll(), Poll::Ready(Ok(_))));
}

#[tokio::test(start_paused = true)]
async fn the_lowest_class_is_shed_with_the_others_and_nobody_who_came_late() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).shed(RULE).build().unwrap();
    let _held = pool.get().await.unwrap();
    let of = |class| spawn(pool.get_with(GetOptions::new().priority(class)));
    let mut early = Priority::ALL.map(of);
    assert!(early.iter_mut().all(|get| get.poll().is_pending()));
    pass(millis(950)).await;
    let mut late = Priority::ALL.map(of);
    assert!(late.iter_mut().all(|get| get.poll().is_pending()));
    pass(millis(60)).await;
    for get in &mut early {
        assert!(matches!(get.poll(), Poll::Ready(Err(Error::Shed))));
    }
    assert!(late.iter().all(|get| !get.is_woken()));
    // Until they, too, have waited for twice the target.
    pass(millis(50)).await;
    assert!(late.iter_mut().all(|get| matches!(get.poll(), Poll::Ready(Err(Error::Shed)))));
    assert_eq!((pool.counters().gets_shed, pool.status().waiting), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_shed_half_way_passes_on_what_it_has() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(2).shed(RULE).build().unwrap();
    let mut pair = pool.get_many(2).await.unwrap();
    let mut several = spawn(pool.get_many(2));
    assert!(several.poll().is_pending());
    // It is served half of what it wants, so the queue does not stand in this interval.
    drop(pair.pop());
    pass(millis(1990)).await;
    assert!(!several.is_woken());
    let mut late = spawn(pool.get());
    assert!(late.poll().is_pending());
    pass(millis(20)).await;
    assert!(matches!(several.poll(), Poll::Ready(Err(Error::Shed))));
    assert!(matches!(late.poll(), Poll::Ready(Ok(_))));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_shed_for_a_pause() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).shed(RULE).build().unwrap();
    let held = pool.get().await.unwrap();
    let mut first = spawn(pool.get());
    assert!(first.poll().is_pending());
    pool.pause(Pause::Queue);
    pass(secs(5)).await;
    let mut second = spawn(pool.get());
    assert!(second.poll().is_pending());
    pass(secs(5)).await;
    pool.resume();
    drop(held);
    for waits in [&mut first, &mut second] {
        let Poll::Ready(served) = waits.poll() else { panic!("it is its turn") };
        drop(served.unwrap());
    }
    assert_eq!(pool.counters().gets_shed, 0);
}

/// Those that waited for the pause are a burst, which takes more than an interval and less than two.
#[tokio::test(start_paused = true)]
async fn nobody_is_shed_for_what_was_waited_for_a_pause() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).shed(RULE).build().unwrap();
    drop(pool.get().await.unwrap());
    pool.pause(Pause::Queue);
    let callers: Vec<_> = (0..70)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let lease = pool.get().await?;
                pass(millis(20)).await;
                drop(lease);
                Ok::<_, Error<_>>(())
            })
        })
        .collect();
    pass(secs(5)).await;
    pool.resume();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_target_sheds_nobody() {
    let longest = Shedding { target: Duration::MAX, interval: Duration::MAX };
    let soon = Shedding { target: Duration::MAX, interval: millis(1) };
    for rule in [longest, soon] {
        let (served, shed) = load::<Exclusive>(Some(rule), 100, millis(5), millis(10)).await;
        assert_eq!((served.len(), shed.len()), (100, 0));
    }
}
