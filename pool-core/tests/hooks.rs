//! What a user's hooks see, and what their errors mean.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;

use harness::{hush, millis, pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{
    CheckPolicy, CreateError, EndReason, Error, Exclusive, Lease, Pool, SharedLease, SharedPool,
    WeakPool,
};
use tokio_test::task::spawn;

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: &str, number: usize, uses: u32) {
    log.lock().unwrap().push(format!("{what} {number} uses {uses}"));
}

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn each_hook_is_called_at_its_moment() {
    let log = Log::default();
    let of = |what: &'static str| (log.clone(), what);
    let (created, lends, returns, ends) = (of("create"), of("lend"), of("return"), of("destroy"));
    let pool = Pool::builder(ScriptedManager::new())
        .max_size(1)
        .after_create(move |it, _, meta| {
            note(&created.0, created.1, it.number(), meta.uses());
            assert!(meta.expires().is_none() && meta.last_used().is_none());
            Box::pin(async { Ok(()) })
        })
        .before_lend(move |it, _, meta| {
            note(&lends.0, lends.1, it.number(), meta.uses());
            Box::pin(async { Ok(()) })
        })
        .after_return(move |it, _, meta| {
            note(&returns.0, returns.1, it.number(), meta.uses());
            Ok(())
        })
        .before_destroy(move |it, _, meta| note(&ends.0, ends.1, it.number(), meta.uses()))
        .build()
        .unwrap();
    let lease = pool.get().await.unwrap();
    assert_eq!(take(&log), ["create 0 uses 0", "lend 0 uses 1"]);
    drop(lease);
    assert_eq!(take(&log), ["return 0 uses 1"]);
    // Whoever tries gets it as it is, and whoever waits gets it made ready.
    let lease = pool.try_get().unwrap();
    assert_eq!(take(&log), [""; 0]);
    let mut waiter = spawn(pool.get());
    assert!(waiter.poll().is_pending());
    drop(lease);
    let Poll::Ready(Ok(lease)) = waiter.poll() else { panic!("it was handed over") };
    assert_eq!(take(&log), ["return 0 uses 2", "lend 0 uses 3"]);
    // What its holder knows to be no good is not asked about, and what leaves is not destroyed.
    Lease::discard(lease);
    rest().await;
    assert_eq!(take(&log), ["destroy 0 uses 3"]);
    drop(Lease::detach(pool.get().await.unwrap()));
    rest().await;
    assert_eq!(take(&log), ["create 1 uses 0", "lend 1 uses 1"]);
    drop(pool.get().await.unwrap());
    take(&log);
    pool.close();
    rest().await;
    assert_eq!(take(&log), ["destroy 2 uses 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_resource_that_its_hook_refuses_is_a_failed_creation() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(2)
        .wait_timeout(secs(10))
        .after_create(|it, _, _| {
            let refuses = it.number() == 0;
            Box::pin(async move { if refuses { Err("not this one".into()) } else { Ok(()) } })
        })
        .build()
        .unwrap();
    let mut get = spawn(pool.get());
    assert!(get.poll().is_pending());
    rest().await;
    let error = pool.last_error().unwrap();
    assert!(
        matches!(&*error, CreateError::Refused(reason) if reason.to_string() == "not this one")
    );
    let counters = pool.counters();
    assert_eq!((counters.created, counters.create_failed), (0, 1));
    assert!(!get.is_woken(), "the back-off");
    pass(millis(500)).await;
    let Poll::Ready(Ok(lease)) = get.poll() else { panic!("the second one is good") };
    assert_eq!((lease.number(), manager.counts().live), (1, 1));
    assert!(pool.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_hook_after_a_creation_is_within_its_timeout() {
    let manager = ScriptedManager::new();
    manager.always(Hook::Create, Step::Slow(secs(2)));
    let pool = Pool::builder(manager.clone())
        .max_size(1)
        .create_timeout(secs(3))
        .wait_timeout(secs(4))
        .after_create(|_, _, _| Box::pin(std::future::pending()))
        .build()
        .unwrap();
    let error = pool.get().await.unwrap_err();
    let Error::Timeout(timeout) = error else { panic!("{error:?}") };
    let last = timeout.last_error.unwrap();
    assert!(matches!(*last, CreateError::TimedOut(limit) if limit == secs(3)));
    rest().await;
    assert_eq!(manager.counts().live, 0);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_is_refused_before_it_is_lent_is_discarded_and_another_is_lent() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(3)
        .check_timeout(secs(2))
        .before_lend(|it, data, _| {
            let number = it.number();
            data.insert(number * 10);
            Box::pin(async move {
                match number {
                    0 => Err(std::fmt::Error.into()),
                    1 => std::future::pending().await,
                    _ => Ok(()),
                }
            })
        })
        .build()
        .unwrap();
    let lease = pool.get().await.unwrap();
    assert_eq!(lease.number(), 2);
    assert_eq!(Lease::data(&lease).get::<usize>(), Some(&20));
    rest().await;
    assert_eq!(pool.counters().ended.get(EndReason::CheckFailed), 2);
    assert_eq!((pool.counters().gets_ok, manager.counts().live), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_is_refused_on_return_is_broken() {
    hush();
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(3)
        .after_return(|it, data, _| {
            assert!(it.number() != 1, "scripted panic");
            if data.get::<bool>() == Some(&true) { Err("unfit".into()) } else { Ok(()) }
        })
        .build()
        .unwrap();
    let mut three = pool.get_many(3).await.unwrap();
    three.sort_by_key(|lease| lease.number());
    Lease::data_mut(&mut three[0]).insert(true);
    Lease::data_mut(&mut three[2]).insert(false);
    drop(three);
    rest().await;
    assert_eq!(pool.counters().ended.get(EndReason::Broken), 2);
    assert_eq!(pool.get().await.unwrap().number(), 2);
    // It is refused in the hands of the one who gives it to the next: the next gets another one.
    let mut lease = pool.get().await.unwrap();
    pool.resize(1);
    let mut waiter = spawn(pool.get());
    assert!(waiter.poll().is_pending());
    Lease::data_mut(&mut lease).insert(true);
    drop(lease);
    rest().await;
    assert!(matches!(waiter.poll(), Poll::Ready(Ok(lease)) if lease.number() == 3));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_is_like_a_manager_that_does() {
    hush();
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone())
        .max_size(2)
        .after_create(|it, _, _| {
            assert!(it.number() != 0, "scripted panic");
            Box::pin(async { Ok(()) })
        })
        .before_lend(|it, _, _| {
            let panics = it.number() == 1;
            Box::pin(async move {
                assert!(!panics, "scripted panic");
                Ok(())
            })
        })
        .before_destroy(|_, _, _| panic!("scripted panic"))
        .build()
        .unwrap();
    let task = tokio::spawn({
        let pool = pool.clone();
        async move { drop(pool.get().await) }
    });
    assert!(task.await.unwrap_err().is_panic(), "the panic before a lend is the caller's");
    let lease = pool.get().await.unwrap();
    assert_eq!(lease.number(), 2);
    rest().await;
    assert_eq!((pool.counters().create_failed, manager.counts().live), (1, 1));
    Lease::discard(lease);
    rest().await;
    assert_eq!((pool.status().size, manager.counts().live), (0, 0), "the place is free");
}

#[tokio::test(start_paused = true)]
async fn hooks_of_a_shared_resource_see_every_holder() {
    let manager = ScriptedManager::new();
    let log = Log::default();
    let (lends, returns, ends) = (log.clone(), log.clone(), log.clone());
    let pool = SharedPool::builder(manager.clone())
        .max_size(2)
        .places(3)
        .check(CheckPolicy::Never)
        .after_create(|it, data, _| {
            data.insert(it.number() + 100);
            Box::pin(async { Ok(()) })
        })
        .before_lend(move |it, data, meta| {
            note(&lends, "lend", it.number(), meta.uses());
            let refuses = data.get::<usize>() == Some(&100) && meta.uses() == 3;
            Box::pin(async move { if refuses { Err("enough".into()) } else { Ok(()) } })
        })
        .after_return(move |it, _, meta| {
            note(&returns, "return", it.number(), meta.uses());
            if it.number() == 1 { Err("once".into()) } else { Ok(()) }
        })
        .before_destroy(move |it, _, meta| {
            let what = meta.last_used().map_or("destroy", |_| "destroy, and it knows who was last");
            note(&ends, what, it.number(), meta.uses());
        })
        .build()
        .unwrap();
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert_eq!(take(&log), ["lend 0 uses 1", "lend 0 uses 2"]);
    // The third is refused by the hook: it gets another one, and those that have it keep it.
    let three = pool.get().await.unwrap();
    assert_eq!(SharedLease::data(&three).get::<usize>(), Some(&101));
    assert_eq!(take(&log), ["lend 0 uses 3", "lend 1 uses 1"]);
    assert_eq!(pool.status().draining, 1);
    drop(one);
    assert_eq!(manager.counts().live, 2);
    drop(two);
    rest().await;
    assert_eq!(take(&log), ["return 0 uses 3", "return 0 uses 3", "destroy 0 uses 3"]);
    let four = pool.get().await.unwrap();
    drop(three);
    assert_eq!(pool.status().draining, 1, "refused on return, and still held");
    drop(four);
    rest().await;
    assert_eq!(manager.counts().live, 0);
    assert_eq!(pool.counters().ended.get(EndReason::Broken), 1);
}

#[tokio::test(start_paused = true)]
async fn hooks_may_use_the_pool() {
    let manager = ScriptedManager::new();
    let shelf: Arc<OnceLock<WeakPool<ScriptedManager, Exclusive>>> = Arc::default();
    let look = |shelf: &Arc<OnceLock<WeakPool<_, _>>>| {
        let shelf = shelf.clone();
        move || {
            if let Some(pool) = shelf.get().and_then(WeakPool::upgrade) {
                pool.retain(|_, _| true);
                pool.resize(pool.status().max_size);
            }
        }
    };
    let (a, b, c, d) = (look(&shelf), look(&shelf), look(&shelf), look(&shelf));
    let pool = Pool::builder(manager.clone())
        .max_size(2)
        .after_create(move |_, _, _| {
            a();
            Box::pin(async { Ok(()) })
        })
        .before_lend(move |_, _, _| {
            b();
            Box::pin(async { Ok(()) })
        })
        .after_return(move |_, _, _| {
            c();
            Ok(())
        })
        .before_destroy(move |_, _, _| d())
        .build()
        .unwrap();
    shelf.set(pool.downgrade()).unwrap();
    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    pool.reset();
    rest().await;
    assert_eq!((manager.counts().created, manager.counts().live), (2, 0));
}
