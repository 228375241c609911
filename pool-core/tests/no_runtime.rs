//! Calls from threads without a runtime, on a pool that has one.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::time::Duration;

use harness::block_on;
use pool_core::test_util::ScriptedManager;
use pool_core::{Error, Pool};
use tokio::runtime;

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

#[test]
fn warming_up_and_draining_keep_time_in_the_pool_s_runtime() {
    let runtime = runtime();
    let pool = Pool::builder(ScriptedManager::new())
        .min_size(2)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    block_on(pool.warm_up(Duration::from_secs(10))).unwrap();
    let lease = pool.try_get().unwrap();
    let report = block_on(pool.drain(Duration::from_millis(20)));
    assert_eq!((report.complete, report.leases), (false, 1));
    drop(lease);
    assert!(block_on(pool.drain(Duration::from_secs(10))).complete);
}

#[test]
fn without_any_runtime_they_say_so_or_do_not_wait() {
    let pool = Pool::builder(ScriptedManager::new()).min_size(1).build().unwrap();
    assert!(matches!(block_on(pool.warm_up(Duration::from_secs(10))), Err(Error::NoRuntime)));
    assert!(block_on(pool.drain(Duration::from_secs(10))).complete);
}

#[test]
fn the_runtime_of_a_call_takes_the_place_of_the_builder_s_when_that_has_ended() {
    let first = runtime();
    let pool =
        Pool::builder(ScriptedManager::new()).runtime(first.handle().clone()).build().unwrap();
    drop(block_on(pool.get()).unwrap());
    drop(first);
    pool.reset();
    drop(runtime().block_on(pool.get()).unwrap());
}
