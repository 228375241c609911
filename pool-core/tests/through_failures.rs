//! Gets whose wait no failure to create ends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use harness::{pass, rest, secs};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{Error, GetOptions, Pool};
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};

fn patient() -> GetOptions {
    GetOptions::new().timeout(secs(60)).through_failures()
}

#[tokio::test(start_paused = true)]
async fn they_keep_their_turns_when_the_others_fail() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Fatal, Step::Fatal]);
    let pool = Pool::builder(manager).max_size(1).max_waiters(4).build().unwrap();
    let mut first = spawn(pool.get_with(patient()));
    let mut hasty = spawn(pool.get());
    let mut second = spawn(pool.get_with(patient()));
    let mut also_hasty = spawn(pool.get());
    assert_pending!(first.poll());
    assert_pending!(hasty.poll());
    assert_pending!(second.poll());
    assert_pending!(also_hasty.poll());
    rest().await;
    for hasty in [&mut hasty, &mut also_hasty] {
        assert!(matches!(assert_ready!(hasty.poll()), Err(Error::Create(_))));
    }
    assert!(!first.is_woken() && !second.is_woken(), "they are not even woken");
    assert_eq!(pool.status().waiting, 2, "and still in the queue");
    // Others who join meanwhile stand behind them, and fill the queue.
    let (mut third, mut fourth) = (spawn(pool.get()), spawn(pool.get()));
    assert_pending!(third.poll());
    assert_pending!(fourth.poll());
    assert!(matches!(pool.get().await, Err(Error::QueueFull { waiting: 4 })));
    // The second attempt fails those two, the third succeeds.
    pass(secs(20)).await;
    assert!(matches!(assert_ready!(third.poll()), Err(Error::Create(_))));
    assert_pending!(second.poll());
    drop(assert_ready!(first.poll()).unwrap());
    drop(assert_ready!(second.poll()).unwrap());
    assert_eq!(pool.counters().create_failed, 2);
}

#[tokio::test(start_paused = true)]
async fn their_time_ends_their_wait() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, std::iter::repeat_n(Step::Fatal, 100));
    let pool = Pool::builder(manager).build().unwrap();
    let began = tokio::time::Instant::now();
    let error = pool.get_with(patient()).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout(_)), "{error}");
    assert_eq!(began.elapsed().as_secs(), 60);
    assert!(pool.counters().create_failed > 2);
}

#[tokio::test(start_paused = true)]
async fn thousands_that_wait_on_do_not_keep_the_others_from_failing() {
    let manager = ScriptedManager::new();
    manager.script(Hook::Create, [Step::Fatal]);
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let mut waits: Vec<_> = (0..6000)
        .map(|n| spawn(pool.get_with(if n % 2 == 0 { patient() } else { GetOptions::new() })))
        .collect();
    for wait in &mut waits {
        assert_pending!(wait.poll());
    }
    rest().await;
    for (n, wait) in waits.iter_mut().enumerate() {
        assert_eq!(wait.is_woken(), n % 2 == 1, "{n}");
    }
    assert_eq!(pool.status().waiting, 3000);
}
