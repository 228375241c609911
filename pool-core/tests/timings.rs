//! How long everything took, by the pool's own account.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use harness::{Bell, Driven, Events, millis, pass, rest, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{CheckPolicy, Error, Event, GetOptions, Histogram, Lease, Pool, SharedPool};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The bound of the only bucket that has anything in it, and how many are in there.
fn only(histogram: &Histogram) -> (Duration, u64) {
    let filled: Vec<_> = histogram.buckets().filter(|(_, count)| *count > 0).collect();
    match filled[..] {
        [(Some(bound), count)] => (bound, count),
        _ => panic!("{filled:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_lasts_from_joining_the_queue_until_the_caller_resumes() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let created = pool.snapshot().timings.wait;
    assert_eq!(created.count(), 1, "the first one waited for its creation");

    let bell = Bell::default();
    let mut waiter = Driven::new(pool.get(), &bell);
    assert!(waiter.poll().is_pending());
    pass(millis(300)).await;
    drop(held);
    pass(millis(100)).await;
    assert_eq!(pool.snapshot().timings.wait, created, "it has not resumed");
    drop(waiter.poll());
    let wait = pool.snapshot().timings.wait;
    assert_eq!(wait.count(), 2);
    let sum = created.sum() + millis(400);
    assert!((sum..sum + millis(2)).contains(&wait.sum()), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hit_and_a_return_record_nothing() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    drop(pool.get().await.unwrap());
    let before = pool.snapshot();
    for _ in 0..10 {
        drop(pool.get().await.unwrap());
    }
    assert_eq!(pool.snapshot().timings, before.timings);
    assert_eq!(pool.snapshot().counters.gets_ok, before.counters.gets_ok + 10);
}

#[tokio::test(start_paused = true)]
async fn a_wait_counts_however_it_ends() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let before = pool.snapshot().timings.wait.count();
    let bell = Bell::default();

    let short = GetOptions::new().timeout(millis(20));
    assert!(matches!(pool.get_with(short).await, Err(Error::Timeout(_))));
    assert_eq!(pool.snapshot().timings.wait.count(), before + 1, "timed out");

    let mut cancelled = Driven::new(pool.get(), &bell);
    assert!(cancelled.poll().is_pending());
    drop(cancelled);
    assert_eq!(pool.snapshot().timings.wait.count(), before + 2, "cancelled");

    let mut several = Driven::new(pool.get_many(1), &bell);
    assert!(several.poll().is_pending());
    pool.close();
    assert!(several.poll().is_ready());
    assert_eq!(pool.snapshot().timings.wait.count(), before + 3, "closed");
    drop(held);
    assert_eq!(pool.snapshot().counters.waits, before + 3, "as many as are counted");
}

type Scripted = Pool<ScriptedManager>;

/// A pool of one resource, which has a holder.
async fn taken() -> (Scripted, Lease<'static, ScriptedManager>) {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let held = pool.get_owned().await.unwrap();
    assert_eq!(waited(&pool), (0, Duration::ZERO));
    // The time that maintenance keeps is none at the pool's very first moment.
    pass(millis(20)).await;
    (pool, held)
}

/// How many have waited, by the pool, and how long in all: without the first, which waited for no time.
fn waited(pool: &Scripted) -> (u64, Duration) {
    let wait = pool.snapshot().timings.wait;
    (wait.count() - 1, wait.sum())
}

/// One that waits for no longer than that, and holds what it gets for a millisecond: it says how long it waited.
fn waits(pool: &Scripted, timeout: Duration) -> JoinHandle<Duration> {
    let pool = pool.clone();
    tokio::spawn(async move {
        let began = Instant::now();
        let lease = pool.get_with(GetOptions::new().timeout(timeout)).await;
        let waited = began.elapsed();
        sleep(millis(1)).await;
        drop(lease);
        waited
    })
}

async fn in_all(waits: Vec<JoinHandle<Duration>>) -> Duration {
    let mut sum = Duration::ZERO;
    for wait in waits {
        sum += wait.await.unwrap();
    }
    sum
}

#[tokio::test(start_paused = true)]
async fn few_waits_are_timed_each() {
    let (pool, held) = taken().await;
    let mut all = Vec::new();
    for _ in 0..50 {
        all.extend((0..8).map(|_| waits(&pool, secs(5))));
        pass(millis(10)).await;
    }
    drop(held);
    let sum = in_all(all).await;
    assert_eq!(waited(&pool), (400, sum));
}

/// How far off the pool is, as parts of what is right: of the number, and of the sum.
fn off(pool: &Scripted, number: u32, sum: Duration) -> (f64, f64) {
    let (counted, time) = waited(pool);
    let [number, sum] = [f64::from(number), sum.as_secs_f64()];
    ((counted as f64 - number).abs() / number, (time.as_secs_f64() - sum).abs() / sum)
}

#[tokio::test(start_paused = true)]
async fn of_many_waits_the_timed_ones_stand_for_the_others() {
    let (pool, held) = taken().await;
    // They are served one after the other: each waits for a millisecond more than the one before it.
    let all = (0..4000).map(|_| waits(&pool, secs(20))).collect();
    pass(millis(1)).await;
    drop(held);
    let sum = in_all(all).await;
    // Those that are timed are spread as evenly as can be: 250 of them, or two more or fewer.
    let (number, time) = off(&pool, 4000, sum);
    assert!(number < 0.01 && time < 0.01, "{number} of the number, {time} of the sum");
}

#[tokio::test(start_paused = true)]
async fn no_rhythm_of_those_that_wait_deceives_the_sample() {
    for every in [2, 3, 8, 13, 16] {
        let (pool, _held) = taken().await;
        // Its time is over first: none of the others changes when the pool is to look next, and is timed for that.
        let mut all = vec![waits(&pool, millis(50))];
        for n in 1..16_000 {
            let timeout = if n % every == 0 { secs(10) } else { millis(100) };
            all.push(waits(&pool, timeout));
            if n % 4000 == 0 {
                // From the second time on there are so many that they go by the pool's clock.
                pass(millis(1)).await;
            }
        }
        let sum = in_all(all).await;
        // The sum is that of the long ones, a thousand at least. 62 of those are timed, or two more or fewer: if chance
        // chose them it would be eight, and if the rhythm did, all or none.
        let (number, time) = off(&pool, 16_000, sum);
        assert!(number < 0.01 && time < 0.05, "{every}: {number} of the number, {time} of the sum");
    }
}

#[tokio::test(start_paused = true)]
async fn a_creation_is_timed_by_how_it_ended() {
    let manager = ScriptedManager::new();
    manager.script(
        Hook::Create,
        [Step::Slow(millis(30)).then(Step::Fail), Step::Never, Step::Slow(millis(700))],
    );
    let pool = Pool::builder(manager).create_timeout(secs(3)).max_size(1).build().unwrap();
    assert_eq!(pool.snapshot().timings.last_create_failure, None);
    let before = SystemTime::now();
    drop(pool.get().await.unwrap());
    let timings = pool.snapshot().timings;
    assert_eq!(only(&timings.create.error), (millis(50), 1));
    assert_eq!(only(&timings.create.timeout), (secs(5), 1));
    assert_eq!(only(&timings.create.ok), (secs(1), 1));
    let failed = timings.last_create_failure.unwrap();
    // It is kept in whole microseconds.
    assert!(before - Duration::from_micros(1) <= failed && failed <= SystemTime::now());
}

#[tokio::test(start_paused = true)]
async fn a_check_is_timed_where_it_takes_time() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .check(CheckPolicy::Always)
        .check_timeout(secs(2))
        .max_size(1)
        .build()
        .unwrap();
    for _ in 0..3 {
        drop(pool.get().await.unwrap());
    }
    let none = pool.snapshot().timings.check;
    assert_eq!((none.ok.count(), none.failed.count(), none.timeout.count()), (0, 0, 0));

    manager.script(Hook::Check, [Step::Slow(millis(3))]);
    drop(pool.get().await.unwrap());
    manager.script(Hook::Check, [Step::Slow(millis(70)).then(Step::Fail)]);
    drop(pool.get().await.unwrap());
    manager.script(Hook::Recycle, [Step::Slow(millis(4))]);
    manager.script(Hook::Check, [Step::Never]);
    drop(pool.get().await.unwrap());
    let check = pool.snapshot().timings.check;
    assert_eq!(only(&check.ok), (millis(5), 2), "a check and a recycling");
    assert_eq!(only(&check.failed), (millis(100), 1));
    assert_eq!(only(&check.timeout), (millis(2500), 1));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_its_caller_gives_up_counts_nowhere() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).check(CheckPolicy::Always).build().unwrap();
    drop(pool.get().await.unwrap());
    manager.script(Hook::Check, [Step::Wait(Gate::new())]);
    let mut checked = Driven::new(pool.get(), &Bell::default());
    assert!(checked.poll().is_pending());
    drop(checked);
    let check = pool.snapshot().timings.check;
    assert_eq!((check.ok.count(), check.failed.count(), check.timeout.count()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_checks_of_idle_resources_are_timed() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).keepalive(secs(10)).max_size(1).build().unwrap();
    drop(pool.get().await.unwrap());
    manager.script(Hook::Check, [Step::Slow(millis(40)), Step::Slow(millis(200)).then(Step::Fail)]);
    pass(secs(30)).await;
    let check = pool.snapshot().timings.check;
    assert_eq!(only(&check.ok), (millis(50), 1));
    assert_eq!(only(&check.failed), (millis(250), 1));
}

#[tokio::test(start_paused = true)]
async fn leases_are_timed_where_that_is_asked_for() {
    let pool = Pool::builder(ScriptedManager::new()).build().unwrap();
    drop(pool.get().await.unwrap());
    assert_eq!(pool.snapshot().timings.lease, None);

    let pool = Pool::builder(ScriptedManager::new()).time_leases(true).build().unwrap();
    for _ in 0..2 {
        let lease = pool.get().await.unwrap();
        pass(millis(20)).await;
        drop(lease);
    }
    let lease = pool.get().await.unwrap();
    pass(millis(20)).await;
    Lease::discard(lease);
    let _out = pool.get().await.unwrap();
    assert_eq!(only(&pool.snapshot().timings.lease.unwrap()), (millis(25), 3));

    let pool = SharedPool::builder(ScriptedManager::new())
        .places(2)
        .max_size(1)
        .time_leases(true)
        .build()
        .unwrap();
    let (one, other) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    pass(millis(20)).await;
    drop(one);
    pass(millis(20)).await;
    drop(other);
    let lease = pool.snapshot().timings.lease.unwrap();
    assert_eq!(lease.count(), 2);
    assert!((millis(60)..millis(64)).contains(&lease.sum()), "{lease:?}");
}

#[tokio::test(start_paused = true)]
async fn times_of_leases_are_no_leaks() {
    let events = Arc::new(Events::default());
    let pool = Pool::builder(ScriptedManager::new())
        .time_leases(true)
        .observer(events.clone())
        .build()
        .unwrap();
    let lease = pool.get().await.unwrap();
    pass(secs(3600)).await;
    assert_eq!(pool.longest_holders(2).len(), 1);
    drop(lease);
    rest().await;
    let told = events.0.lock().unwrap();
    let is_leak =
        |event: &Event| matches!(event, Event::Leaked { .. } | Event::LeakReturned { .. });
    assert!(!told.iter().any(is_leak), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn every_get_that_began_has_ended_or_is_pending() {
    let pool = Pool::builder(ScriptedManager::new()).max_size(1).build().unwrap();
    let bell = Bell::default();
    let held = pool.get().await.unwrap();
    let mut waiters: Vec<_> = (0..3).map(|_| Driven::new(pool.get(), &bell)).collect();
    for waiter in &mut waiters {
        assert!(waiter.poll().is_pending());
    }
    let counters = pool.counters();
    assert_eq!((counters.gets_started, counters.gets_pending()), (4, 3));

    // One that has been granted a place, and has not picked it up, is pending as well.
    drop(held);
    let counters = pool.counters();
    assert_eq!((counters.gets_started, counters.gets_ended(), counters.gets_pending()), (4, 1, 3));
    drop(waiters);
    rest().await;
    let counters = pool.counters();
    assert_eq!((counters.gets_started, counters.gets_ended(), counters.gets_pending()), (4, 4, 0));
}
