//! What a manager is told of resources that are lent no more, and of those that are lent again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::convert::Infallible;
use std::sync::{Mutex, OnceLock};

use harness::{pass, secs};
use pool_core::{CreateContext, Manager, ResourceHandle, ResourceId, SharedManager, SharedPool};

#[derive(Default)]
struct Accountant {
    told: Mutex<Vec<(ResourceId, bool)>>,
    first: OnceLock<ResourceHandle>,
}

impl Manager for Accountant {
    type Resource = ();
    type Error = Infallible;

    async fn create(&self, cx: &CreateContext) -> Result<(), Infallible> {
        self.first.get_or_init(|| cx.handle());
        cx.handle().set_places(2);
        Ok(())
    }
}

impl SharedManager for Accountant {
    fn set_aside(&self, id: ResourceId, aside: bool) {
        self.told.lock().unwrap().push((id, aside));
    }
}

fn told(pool: &SharedPool<Accountant>) -> Vec<(ResourceId, bool)> {
    std::mem::take(&mut *pool.manager().told.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn one_that_is_shrunk_and_taken_back_is_told_both_ways() {
    let pool = SharedPool::builder(Accountant::default()).max_lifetime(None).shrink_delay(secs(10));
    let pool = pool.build().unwrap();
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.get().await.unwrap());
    }
    assert!(told(&pool).is_empty());
    // One on each: one resource would do.
    drop(leases.remove(1));
    pass(secs(11)).await;
    let aside = told(&pool);
    let &[(id, true)] = &aside[..] else { panic!("{aside:?}") };
    for _ in 0..2 {
        leases.push(pool.get().await.unwrap());
    }
    assert_eq!(told(&pool), [(id, false)]);
}

#[tokio::test(start_paused = true)]
async fn one_that_drains_with_a_holder_is_told_and_one_without_is_gone_at_once() {
    let pool = SharedPool::builder(Accountant::default()).build().unwrap();
    let lease = pool.get().await.unwrap();
    let handle = pool.manager().first.get().unwrap();
    handle.drain("it has had its day");
    assert_eq!(told(&pool), [(handle.id(), true)]);
    drop(lease);
    assert!(told(&pool).is_empty());

    let pool = SharedPool::builder(Accountant::default()).build().unwrap();
    drop(pool.get().await.unwrap());
    pool.manager().first.get().unwrap().drain("nobody has it");
    assert_eq!(pool.status().size, 0);
    assert!(told(&pool).is_empty());
}
