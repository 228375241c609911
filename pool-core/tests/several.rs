//! Several resources at once: all or none, in the order of arrival.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::collections::HashSet;
use std::task::Poll;

use harness::{Known, PoolOf, Side, judge, millis, pass, rest, secs};
use pool_core::test_util::{Gate, Hook, ScriptedManager, Step};
use pool_core::{
    CheckPolicy, EndReason, Error, Exclusive, GetOptions, Pool, Priority, ResourceLease, Shared,
    SharedPool,
};
use tokio_test::task::{Spawn, spawn};

/// A pool of this many places: a resource each, or of one resource.
fn pool_of<K: Side>(manager: &ScriptedManager, places: usize) -> PoolOf<K> {
    let (size, each) = if K::SHARED { (1, places) } else { (places, 1) };
    manager.set_places(each);
    K::builder(manager.clone()).max_size(size).max_creating(8).build().unwrap()
}

async fn none_and_one<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<K>(&manager, 2);
    assert!(pool.get_many(0).await.unwrap().is_empty());
    assert_eq!((manager.counts().attempts, pool.counters().gets_ok), (0, 0));
    let one = pool.get_many(1).await.unwrap();
    assert_eq!((one.len(), pool.counters().gets_ok), (1, 1));
    // Nothing is waited for where nothing is wanted.
    let two = pool.get_many(1).await.unwrap();
    assert!(spawn(pool.get_many(0)).poll().is_ready());
    drop((one, two));
    rest().await;
    assert_eq!(pool.status().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn none_are_had_at_once_and_one_is_had_like_any() {
    none_and_one::<Exclusive>().await;
    none_and_one::<Shared>().await;
}

async fn all_or_none<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<K>(&manager, 4);
    let all = pool.get_many(4).await.unwrap();
    let ids: HashSet<_> = all.iter().map(ResourceLease::id).collect();
    assert_eq!(ids.len(), if K::SHARED { 1 } else { 4 });
    let mut several = spawn(pool.get_many(3));
    assert!(several.poll().is_pending());
    let mut behind = spawn(pool.get());
    assert!(behind.poll().is_pending());
    let mut all = all.into_iter();
    // Two come back, and nobody behind gets hold of them.
    drop((all.next(), all.next()));
    rest().await;
    assert!(!several.is_woken() && !behind.is_woken());
    assert_eq!(pool.status().waiting, 2);
    drop(all.next());
    let Poll::Ready(Ok(three)) = several.poll() else { panic!("there are three") };
    assert_eq!(three.len(), 3);
    assert!(!behind.is_woken());
    drop(three);
    assert!(matches!(behind.poll(), Poll::Ready(Ok(_))));
    drop((behind, several, all));
    let known = Known { max_size: 4, started: 3, several: 5, ..Known::default() };
    judge(&pool, &manager, &known).unwrap();
    assert_eq!(pool.status().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn all_are_lent_at_once_or_none() {
    all_or_none::<Exclusive>().await;
    all_or_none::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_is_gathered_and_the_rest_created() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    let pool = pool_of::<Exclusive>(&manager, 4);
    drop(pool.get().await.unwrap());
    manager.always(Hook::Create, Step::Wait(gate.clone()));
    let mut several = spawn(pool.get_many(3));
    assert!(several.poll().is_pending());
    rest().await;
    assert_eq!(manager.counts().creating, 2, "as many as are missing");
    assert_eq!(pool.status().idle, 0);
    gate.open();
    rest().await;
    let Poll::Ready(Ok(three)) = several.poll() else { panic!("there are three") };
    let numbers: HashSet<_> = three.iter().map(|lease| lease.number()).collect();
    assert_eq!(numbers, HashSet::from([0, 1, 2]));
}

#[tokio::test(start_paused = true)]
async fn more_than_there_may_be_are_refused_at_once() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<Exclusive>(&manager, 3);
    for asked in [4, usize::MAX] {
        let refused = pool.get_many(asked).await;
        let Err(Error::TooMany { asked: told, max_size: 3 }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(told, asked);
    }
    assert_eq!((pool.counters().gets_rejected, manager.counts().attempts), (2, 0));
    assert_eq!(pool.get_many(3).await.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn more_places_than_a_shared_pool_has_are_waited_for() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<Shared>(&manager, 3);
    let mut several = spawn(pool.get_many_with(4, GetOptions::new().timeout(secs(5))));
    assert!(several.poll().is_pending());
    pass(secs(4)).await;
    assert!(!several.is_woken());
    manager.handle(0).set_places(4);
    let Poll::Ready(Ok(four)) = several.poll() else { panic!("there are four now") };
    assert_eq!(four.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_maximum_that_is_lowered_fails_those_that_want_more() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<Exclusive>(&manager, 4);
    let mut all = pool.get_many(4).await.unwrap();
    let mut four = spawn(pool.get_many(4));
    let mut two = spawn(pool.get_many(2));
    assert!(four.poll().is_pending() && two.poll().is_pending());
    all.truncate(3);
    pool.resize(2);
    let failed = four.poll();
    assert!(matches!(failed, Poll::Ready(Err(Error::TooMany { asked: 4, max_size: 2 }))));
    assert!(!two.is_woken(), "three are out, and two may be");
    drop(all);
    rest().await;
    let Poll::Ready(Ok(pair)) = two.poll() else { panic!("two are there") };
    assert_eq!((pair.len(), manager.counts().live), (2, 2));
    let counters = pool.counters();
    assert_eq!((counters.gets_rejected, counters.ended.get(EndReason::Excess)), (1, 2));
}

async fn cancelled_half_way<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<K>(&manager, 3);
    let mut all = pool.get_many(3).await.unwrap();
    let mut several = spawn(pool.get_many(3));
    assert!(several.poll().is_pending());
    let mut behind: Vec<_> = (0..3).map(|_| spawn(pool.get())).collect();
    assert!(behind.iter_mut().all(|get| get.poll().is_pending()));
    all.truncate(1);
    // It has two, and gives up: they go to those behind it, in their order.
    drop(several);
    let polled: Vec<_> = behind.iter_mut().map(Spawn::poll).collect();
    let served: Vec<_> = polled.iter().map(Poll::is_ready).collect();
    assert_eq!(served, [true, true, false]);
    assert_eq!(pool.counters().gets_cancelled, 1);
    drop((polled, behind, all));
    let known = Known { max_size: 3, started: 5, several: 4, ..Known::default() };
    judge(&pool, &manager, &known).unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_up_half_way_passes_on_what_it_has() {
    cancelled_half_way::<Exclusive>().await;
    cancelled_half_way::<Shared>().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_runs_out_of_time_half_way_passes_on_what_it_has() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<Exclusive>(&manager, 2);
    let mut pair = pool.get_many(2).await.unwrap();
    let mut several = spawn(pool.get_many_with(2, GetOptions::new().timeout(secs(1))));
    let mut behind = spawn(pool.get());
    assert!(several.poll().is_pending() && behind.poll().is_pending());
    pair.truncate(1);
    pass(millis(1010)).await;
    let Poll::Ready(Err(Error::Timeout(timeout))) = several.poll() else {
        panic!("its time is over")
    };
    assert_eq!(timeout.waited.as_secs(), 1);
    assert!(matches!(behind.poll(), Poll::Ready(Ok(_))));
}

#[tokio::test(start_paused = true)]
async fn higher_classes_are_served_while_one_gathers() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<Exclusive>(&manager, 2);
    let mut pair = pool.get_many(2).await.unwrap();
    let mut several = spawn(pool.get_many_with(2, GetOptions::new().priority(Priority::Low)));
    assert!(several.poll().is_pending());
    let mut normal = spawn(pool.get());
    let mut high = spawn(pool.get_with(GetOptions::new().priority(Priority::High)));
    assert!(normal.poll().is_pending() && high.poll().is_pending());
    drop(pair.pop());
    let Poll::Ready(Ok(first)) = high.poll() else { panic!("high goes first") };
    assert!(!normal.is_woken() && !several.is_woken());
    drop(first);
    let Poll::Ready(Ok(second)) = normal.poll() else { panic!("then normal") };
    drop((second, pair));
    assert!(matches!(several.poll(), Poll::Ready(Ok(leases)) if leases.len() == 2));
}

#[tokio::test(start_paused = true)]
async fn close_and_a_fatal_error_fail_one_that_gathers() {
    for fatal in [false, true] {
        let manager = ScriptedManager::new();
        let pool = pool_of::<Exclusive>(&manager, 3);
        drop(pool.get().await.unwrap());
        let gate = Gate::new();
        manager.always(Hook::Create, Step::Wait(gate.clone()).then(Step::Fatal));
        let mut several = spawn(pool.get_many(2));
        assert!(several.poll().is_pending());
        gate.reached().await;
        if fatal {
            gate.open();
        } else {
            pool.close();
        }
        rest().await;
        let Poll::Ready(Err(error)) = several.poll() else { panic!("it fails") };
        assert_eq!(matches!(error, Error::Create(_)), fatal, "{error:?}");
        assert_eq!(matches!(error, Error::Closed), !fatal, "{error:?}");
        assert_eq!(pool.status().idle, usize::from(fatal), "what it had is idle, or gone");
        assert_eq!(manager.counts().live, usize::from(fatal));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_up_while_one_of_several_is_checked_gives_back_the_others() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<Exclusive>(&manager, 3);
    drop(pool.get_many(3).await.unwrap());
    pass(secs(2)).await;
    manager.script(Hook::Check, [Step::Ok, Step::Never]);
    let mut several = spawn(pool.get_many(3));
    assert!(several.poll().is_pending());
    assert_eq!(pool.status().checking, 1);
    drop(several);
    rest().await;
    let counters = pool.counters();
    assert_eq!(
        (pool.status().idle, manager.counts().live),
        (2, 2),
        "all but the one in the middle"
    );
    assert_eq!((counters.gets_cancelled, counters.gets_ok), (1, 3));
    assert_eq!(counters.ended.get(EndReason::Discarded), 1);
}

#[tokio::test(start_paused = true)]
async fn all_of_several_are_ready_or_none_is_lent() {
    let manager = ScriptedManager::new();
    manager.set_places(1);
    let pool =
        Exclusive::builder(manager.clone()).max_size(3).check(CheckPolicy::Always).build().unwrap();
    drop(pool.get_many(3).await.unwrap());
    manager.script(Hook::Check, [Step::Ok, Step::Fail, Step::Ok, Step::Fail, Step::Ok]);
    let three = pool.get_many(3).await.unwrap();
    assert_eq!(three.len(), 3);
    rest().await;
    assert_eq!(pool.counters().ended.get(EndReason::CheckFailed), 2);
    assert_eq!((manager.counts().live, manager.counts().most_at_once), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn several_tasks_that_want_several_all_get_them() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<Exclusive>(&manager, 5);
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let leases = pool.get_many(1 + n % 5).await.unwrap();
                tokio::time::sleep(millis(10)).await;
                leases.len()
            })
        })
        .collect();
    let mut lent = 0;
    for task in tasks {
        lent += task.await.unwrap();
    }
    rest().await;
    assert_eq!((lent, pool.counters().gets_ok), (180, 180));
    assert_eq!((pool.status().idle, manager.counts().most_at_once), (5, 5));
}

/// Every use of a shared resource counts, also where several are lent at once.
#[tokio::test(start_paused = true)]
async fn several_places_of_a_shared_resource_are_no_more_than_its_uses() {
    let manager = ScriptedManager::new();
    let builder = SharedPool::builder(manager.clone()).max_size(2).places(4).max_uses(3);
    let pool = builder.build().unwrap();
    drop(pool.get().await.unwrap());
    let leases = pool.get_many(3).await.unwrap();
    assert_eq!(leases.len(), 3);
    let of_first = leases.iter().filter(|lease| lease.id() == leases[0].id()).count();
    assert_eq!(of_first, 2, "one use was over: {leases:?}");
    drop(leases);
    rest().await;
    let counters = pool.counters();
    assert_eq!((counters.created, counters.ended.get(EndReason::Uses)), (2, 1));
}

/// What is gathered for its last use is used, and not thrown away for being used up.
#[tokio::test(start_paused = true)]
async fn several_are_gathered_for_their_last_use() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(2).max_uses(1).build().unwrap();
    let held = pool.get_owned().await.unwrap();
    let mut pair = spawn(pool.get_many(2));
    assert!(pair.poll().is_pending());
    rest().await;
    assert!(pair.poll().is_pending());
    drop(held);
    rest().await;
    let Poll::Ready(Ok(pair)) = pair.poll() else { panic!("there are two") };
    assert_eq!(pair.len(), 2);
    assert_eq!(pool.counters().created, 3, "each was created once, and used");

    let shared = SharedPool::builder(manager.clone()).max_size(2).places(1).max_uses(1);
    let shared = shared.build().unwrap();
    let held = shared.get_owned().await.unwrap();
    let mut pair = spawn(shared.get_many(2));
    assert!(pair.poll().is_pending());
    rest().await;
    drop(held);
    rest().await;
    let Poll::Ready(Ok(pair)) = pair.poll() else { panic!("there are two") };
    assert_eq!(pair.len(), 2);
    assert_eq!(shared.counters().ended.get(EndReason::Uses), 1, "that of the holder that left");
}

async fn owned<K: Side>() {
    let manager = ScriptedManager::new();
    let pool = pool_of::<K>(&manager, 2);
    let pair = pool.get_many_owned(2).await.unwrap();
    let nobody = pool.get_many_owned_with(1, GetOptions::new().no_wait()).await;
    assert!(matches!(nobody, Err(Error::Timeout(_))));
    drop(pool);
    tokio::spawn(async move { drop(pair) }).await.unwrap();
    rest().await;
    assert_eq!(manager.counts().live, 0, "they kept it alive, and closed it");
}

#[tokio::test(start_paused = true)]
async fn several_that_are_owned_outlive_their_pool() {
    owned::<Exclusive>().await;
    owned::<Shared>().await;
}
