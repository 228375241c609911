//! The scripted manager does what it is told, and its books are right.

use std::time::Duration;

use pool_core::test_util::{Gate, Hook, ScriptedError, ScriptedManager, Step};
use pool_core::{CheckPolicy, CreateError, Error, Lease, Pool, SharedPool};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn without_a_script_everything_works() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).check(CheckPolicy::Always).build().unwrap();
    for _ in 0..2 {
        let resource = pool.get().await.unwrap();
        assert!(!resource.is_dirty(), "not recycled");
        resource.mark_dirty();
    }
    let counts = manager.counts();
    assert_eq!((counts.attempts, counts.created, counts.live), (1, 1, 1));
    assert_eq!((counts.checks, counts.recycles), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn queued_steps_come_first_and_then_the_standing_one() {
    let manager = ScriptedManager::new();
    manager.always(Hook::Create, Step::Fatal);
    manager.script(Hook::Create, [Step::Slow(SECOND), Step::Slow(SECOND).then(Step::Fail)]);
    let pool = Pool::builder(manager.clone()).build().unwrap();
    let started = Instant::now();
    let held = pool.get().await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 1);
    assert_eq!(manager.queued(Hook::Create), 1);
    let Err(Error::Create(error)) = pool.get().await else { panic!("fails at its second try") };
    assert!(started.elapsed() >= 2 * SECOND);
    let CreateError::Failed(error) = &*error else { panic!("{error:?}") };
    assert_eq!(*error, ScriptedError::fatal(Hook::Create));
    assert_eq!(error.to_string(), "scripted failure of create");
    manager.heal();
    assert_eq!(pool.get().await.unwrap().number(), 1);
    assert_eq!((held.number(), manager.counts().attempts), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_gate_holds_steps_up_until_it_is_opened() {
    let (manager, gate) = (ScriptedManager::new(), Gate::new());
    manager.always(Hook::Create, Step::Wait(gate.clone()));
    let pool = Pool::builder(manager.clone()).max_creating(2).min_size(3).build().unwrap();
    manager.until(|counts| counts.creating == 2).await;
    gate.reached().await;
    assert_eq!((gate.waiting(), gate.is_open(), manager.counts().created), (2, false, 0));
    gate.open();
    manager.until(|counts| counts.created == 3).await;
    assert_eq!((gate.waiting(), manager.counts().most_creating), (0, 2));
    gate.close();
    drop(pool);
}

#[tokio::test(start_paused = true)]
async fn the_books_tell_detached_destroyed_and_dropped_apart() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(2).build().unwrap();
    let mine = Lease::detach(pool.get().await.unwrap());
    let counts = manager.counts();
    assert_eq!((counts.detached, counts.destroyed, counts.dropped, counts.live), (1, 0, 0, 1));
    drop(mine);
    assert_eq!((manager.counts().dropped, manager.counts().live), (1, 0));
    pool.get().await.unwrap().mark_broken();
    manager.until(|counts| counts.live == 0).await;
    let counts = manager.counts();
    assert_eq!((counts.detached, counts.destroyed, counts.dropped), (2, 1, 2));
    manager.script(Hook::Destroy, [Step::Panic]);
    Lease::discard(pool.get().await.unwrap());
    manager.until(|counts| counts.live == 0).await;
    assert_eq!((manager.counts().destroyed, manager.counts().dropped), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn synchronous_hooks_are_scripted_too() {
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).max_size(1).build().unwrap();
    for step in [Step::Fail, Step::Panic] {
        let before = pool.get().await.unwrap().number();
        manager.script(Hook::IsBroken, [step]);
        drop(pool.get().await.unwrap());
        assert_eq!(pool.get().await.unwrap().number(), before + 1);
    }
    manager.script(Hook::Create, [Step::Fail, Step::Fail]);
    manager.script(Hook::IsFatal, [Step::Fatal, Step::Panic]);
    manager.set_retry_in(7 * SECOND);
    Lease::discard(pool.get().await.unwrap());
    assert!(matches!(pool.get().await, Err(Error::Create(_))));
    let started = Instant::now();
    assert!(pool.get().await.is_ok());
    assert_eq!(started.elapsed().as_secs(), 14, "one wait after each failure");
}

#[tokio::test(start_paused = true)]
async fn shared_resources_get_the_places_that_are_set() {
    let manager = ScriptedManager::new();
    manager.set_places(3);
    let pool = SharedPool::builder(manager.clone()).max_size(1).build().unwrap();
    let one = pool.get().await.unwrap();
    assert_eq!(pool.status().places, 3);
    assert_eq!(one.handle().id(), manager.handle(0).id());
    manager.always(Hook::Check, Step::Fail);
    drop(one);
    tokio::time::sleep(2 * SECOND).await;
    let checked = pool.get().await.unwrap();
    assert_eq!((checked.number(), manager.counts().checks), (1, 1));
}

#[test]
#[should_panic(expected = "is_broken cannot do this: Never")]
fn a_step_that_a_hook_cannot_do_is_refused() {
    ScriptedManager::new().script(Hook::IsBroken, [Step::Never]);
}

#[test]
#[should_panic(expected = "no resource with the number 0 has been created")]
fn the_handle_of_a_resource_that_is_not_there_is_refused() {
    ScriptedManager::new().handle(0);
}
