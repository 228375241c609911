//! What the types of the crate are, for the compiler: what may cross threads, be moved, be shared, be
//! used as an object, and how large the things are that every call makes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    Backoff, CheckPolicy, ConfigError, Counters, CreateContext, CreateError, CreateReason, Data,
    DrainReport, EndReason, Ended, Error, Event, Exclusive, GetOptions, Holder, HookError,
    HookFuture, Kind, Lease, Limits, Manager, Metadata, Observer, Pause, Pool, PoolBuilder,
    PoolConfig, Priority, ResourceHandle, ResourceId, ResourceLease, ResourcePool, Retained,
    Shared, SharedLease, SharedManager, SharedPool, SharedPoolBuilder, Shedding, Status, Timeout,
    WeakPool,
};
use static_assertions::{
    assert_impl_all, assert_not_impl_any, assert_obj_safe, assert_type_eq_all,
};

#[derive(Debug)]
struct Refused;

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl StdError for Refused {}

/// Plain numbers.
struct Numbers;

impl Manager for Numbers {
    type Resource = u64;
    type Error = Refused;

    async fn create(&self, _cx: &CreateContext) -> Result<u64, Refused> {
        Ok(0)
    }
}

impl SharedManager for Numbers {}

/// Resources that may be sent to another thread, and not be used from two.
struct Cells;

impl Manager for Cells {
    type Resource = Cell<u64>;
    type Error = Refused;

    async fn create(&self, _cx: &CreateContext) -> Result<Cell<u64>, Refused> {
        Ok(Cell::new(0))
    }
}

/// Checks that take time and keep something meanwhile.
struct Checked;

impl Manager for Checked {
    type Resource = u64;
    type Error = Refused;

    async fn create(&self, _cx: &CreateContext) -> Result<u64, Refused> {
        Ok(0)
    }

    async fn check(&self, number: &mut u64, _meta: &Metadata) -> Result<(), Refused> {
        tokio::task::yield_now().await;
        *number += 1;
        Ok(())
    }

    async fn recycle(&self, number: &mut u64, _meta: &Metadata) -> Result<(), Refused> {
        tokio::task::yield_now().await;
        *number += 1;
        Ok(())
    }
}

// Handles go anywhere.
assert_impl_all!(Pool<Numbers>: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(SharedPool<Numbers>: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(Pool<Cells>: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(WeakPool<Numbers, Exclusive>: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(WeakPool<Numbers, Shared>: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(ResourceHandle: Send, Sync, Unpin, Clone, Debug);
assert_impl_all!(CreateContext: Send, Sync, Unpin, Debug);

// A lease is what its resource is.
assert_impl_all!(Lease<'static, Numbers>: Send, Sync, Unpin, Debug);
assert_impl_all!(SharedLease<'static, Numbers>: Send, Sync, Unpin, Debug);
assert_impl_all!(Lease<'static, Cells>: Send, Unpin, Debug);
assert_not_impl_any!(Lease<'static, Cells>: Sync);
// Two leases of one place would be two holders.
assert_not_impl_any!(Lease<'static, Numbers>: Clone, Copy);
assert_not_impl_any!(SharedLease<'static, Numbers>: Clone, Copy);
assert_type_eq_all!(Lease<'static, Numbers>, ResourceLease<'static, Numbers, Exclusive>);
assert_type_eq_all!(SharedLease<'static, Numbers>, ResourceLease<'static, Numbers, Shared>);

// Settings are made wherever it suits.
assert_impl_all!(PoolBuilder<Numbers>: Send, Sync, Unpin);
assert_impl_all!(SharedPoolBuilder<Numbers>: Send, Sync, Unpin);
assert_impl_all!(GetOptions: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Default);
assert_impl_all!(CheckPolicy: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Eq);
assert_impl_all!(Backoff: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, PartialEq);
assert_impl_all!(PoolConfig: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Default);
assert_impl_all!(PoolConfig: PartialEq);
assert_impl_all!(Limits: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Eq);
assert_impl_all!(Shedding: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Default, Eq);
assert_impl_all!(Pause: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Eq, Hash);
assert_impl_all!(Priority: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Default);
assert_impl_all!(Priority: Ord, Hash);
// Limits that are not those of a pool would be somebody's guess.
assert_not_impl_any!(Limits: Default);

// Errors go through `?` into a boxed one, and into another thread.
assert_impl_all!(Error<Refused>: StdError, Send, Sync, Unpin, Into<Box<dyn StdError + Send + Sync>>);
assert_impl_all!(Timeout<Refused>: StdError, Send, Sync, Unpin);
assert_impl_all!(CreateError<Refused>: StdError, Send, Sync, Unpin);
assert_impl_all!(ConfigError: StdError, Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Clone, Eq);

// A hook's error is made from every other one, so it is none itself.
assert_impl_all!(HookError: Send, Sync, Unpin, Debug, Display, From<Refused>, From<&'static str>);
assert_not_impl_any!(HookError: StdError, Clone);
assert_impl_all!(HookFuture<'static>: Future, Send, Unpin);

// What is kept beside a resource goes where the resource goes, and there is one of it.
assert_impl_all!(Data: Send, Sync, Unpin, Debug, Default);
assert_not_impl_any!(Data: Clone);

// What is told is plain data.
assert_impl_all!(Status: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Default, Eq);
assert_impl_all!(Counters: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Default, Eq);
assert_impl_all!(Ended: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Default, Eq);
assert_impl_all!(Event: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Clone, Debug, Eq);
assert_impl_all!(EndReason: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Eq, Hash);
assert_impl_all!(CreateReason: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Eq, Hash);
assert_impl_all!(Metadata: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug);
assert_impl_all!(Holder: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug);
assert_impl_all!(Retained: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Default, Eq);
assert_impl_all!(DrainReport: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Debug, Eq);
assert_impl_all!(ResourceId: Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Copy, Ord, Hash, Display);

// One observer may stand for another.
assert_obj_safe!(Observer);
assert_impl_all!(Arc<dyn Observer>: Send, Sync);

fn is_static<T: 'static>(_: &T) {}

fn is_send<T: Send>(_: &T) {}

/// How large the future is that a call makes, which has to be one to be sent to another thread.
fn size_of_future<T: Future + Send>(future: &T) -> usize {
    size_of_val(future)
}

#[tokio::test]
async fn what_owns_its_pool_is_static() {
    let pool = Pool::builder(Numbers).build().unwrap();
    is_static(&pool);
    is_static(&pool.downgrade());
    let lease = pool.get_owned().await.unwrap();
    is_static(&lease);
    is_static(&pool.try_get_owned());
    // So a lease goes into a task, together with its pool.
    let task = tokio::spawn(async move {
        let other = pool.get_owned().await.unwrap();
        (lease, other)
    });
    let (lease, other) = task.await.unwrap();
    assert_ne!(lease.id(), other.id());
}

#[tokio::test]
async fn a_close_is_waited_for_without_the_pool_or_a_lease_of_it() {
    let pool = Pool::builder(Cells).build().unwrap();
    let lease = pool.get().await.unwrap();
    let (of_pool, of_lease) = (pool.closed(), Lease::closed(&lease));
    drop(lease);
    drop(pool);
    tokio::spawn(of_pool).await.unwrap();
    tokio::spawn(of_lease).await.unwrap();
}

/// Looks at the futures of a pool, without running one.
fn are_send<M: Manager, K: Kind<M>>(pool: &ResourcePool<M, K>) {
    let options = GetOptions::new();
    is_send(&pool.get());
    is_send(&pool.get_with(options));
    is_send(&pool.get_owned());
    is_send(&pool.get_owned_with(options));
    is_send(&pool.get_many(2));
    is_send(&pool.get_many_with(2, options));
    is_send(&pool.get_many_owned(2));
    is_send(&pool.get_many_owned_with(2, options));
    is_send(&pool.warm_up(Duration::ZERO));
    is_send(&pool.drain(Duration::ZERO));
    is_send(&pool.closed());
    // While a lease is held, too, of which this knows no more than that it may be sent.
    is_send(&async {
        if let Ok(lease) = pool.get_owned().await {
            is_send(&lease);
            is_send(&ResourceLease::closed(&lease));
        }
    });
}

#[test]
fn futures_of_every_call_are_sent_to_other_threads() {
    are_send(&Pool::builder(Cells).build().unwrap());
    are_send(&Pool::builder(Checked).build().unwrap());
    let pool = SharedPool::builder(Numbers).build().unwrap();
    are_send(&pool);
    // While a lease is held, too.
    is_send(&async {
        let lease = pool.get().await;
        tokio::task::yield_now().await;
        drop(lease);
    });
}

#[test]
fn futures_are_small() {
    // A get is embedded in the future of every handler that makes one, as many as there are of them.
    let pool = Pool::builder(Numbers).build().unwrap();
    let shared = SharedPool::builder(Numbers).build().unwrap();
    let checked = Pool::builder(Checked).build().unwrap();
    let sizes = [
        ("get", size_of_future(&pool.get())),
        ("get_with", size_of_future(&pool.get_with(GetOptions::new()))),
        ("get_owned", size_of_future(&pool.get_owned())),
        ("get of a shared pool", size_of_future(&shared.get())),
        ("get_owned of a shared pool", size_of_future(&shared.get_owned())),
    ];
    for (call, size) in sizes {
        println!("{call}: {size} bytes");
        assert!(size <= MOST_OF_A_FUTURE, "the future of {call} has {size} bytes");
    }
    // The manager's own futures come on top, and with them what bounds them in time.
    let size = size_of_future(&checked.get());
    println!("get with checks: {size} bytes");
    assert!(size <= MOST_OF_A_FUTURE + 256, "the future of a get with checks has {size} bytes");
}

const MOST_OF_A_FUTURE: usize = 800;

#[test]
fn what_is_passed_around_is_small() {
    // A cache line, and not all of it.
    assert!(size_of::<Lease<'_, Numbers>>() <= 40);
    assert!(size_of::<SharedLease<'_, Numbers>>() <= 40);
    assert_eq!(size_of::<Pool<Numbers>>(), size_of::<usize>());
    assert_eq!(size_of::<SharedPool<Numbers>>(), size_of::<usize>());
    // An error is seldom, so it is not what makes a result large.
    assert!(size_of::<Error<Refused>>() <= 3 * size_of::<usize>());
}
