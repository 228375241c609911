//! The systems: pools with a `u64` as resource and a manager that does nothing.
//!
//! Every pool has its own defaults and the size of the scenario. Those defaults are not the same:
//!
//! | | waits for at most | before a resource is lent | a resource that comes back |
//! |---|---|---|---|
//! | pool-core | 30 s | is checked if it was idle for a second | is kept |
//! | deadpool | no limit | is recycled | is kept |
//! | bb8 | 30 s | is checked | is kept |
//! | mobc | 30 s | is checked | is closed if two are idle |
//! | `fast_pool` | 30 s | is checked, for at most 10 s | is dropped if 32 are idle |

use std::convert::Infallible;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, Object, RecycleResult};
use pool_core::{CreateContext, Lease, SharedLease};

use super::System;

/// Makes resources, for every pool.
#[derive(Debug)]
pub struct Numbers;

impl pool_core::Manager for Numbers {
    type Resource = u64;
    type Error = Infallible;

    async fn create(&self, _: &CreateContext) -> Result<u64, Infallible> {
        Ok(1)
    }
}

impl pool_core::SharedManager for Numbers {}

impl managed::Manager for Numbers {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(1)
    }

    async fn recycle(&self, _: &mut u64, _: &Metrics) -> RecycleResult<Infallible> {
        Ok(())
    }
}

impl bb8::ManageConnection for Numbers {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(1)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

#[mobc::async_trait]
impl mobc::Manager for Numbers {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(1)
    }

    async fn check(&self, number: u64) -> Result<u64, Infallible> {
        Ok(number)
    }
}

impl fast_pool::Manager for Numbers {
    type Connection = u64;
    // It wants an error that its own words can be.
    type Error = String;

    async fn connect(&self) -> Result<u64, String> {
        Ok(1)
    }

    async fn check(&self, _: &mut u64) -> Result<(), String> {
        Ok(())
    }
}

/// This project's pool, with its defaults.
pub struct PoolCore(pool_core::Pool<Numbers>);

impl PoolCore {
    /// The pool itself.
    pub fn pool(&self) -> &pool_core::Pool<Numbers> {
        &self.0
    }
}

impl System for PoolCore {
    type Lease<'a> = Lease<'a, Numbers>;
    const NAME: &'static str = "pool-core";

    fn new(size: usize) -> Self {
        Self(pool_core::Pool::builder(Numbers).max_size(size).build().expect("a size is enough"))
    }

    async fn get(&self) -> Lease<'_, Numbers> {
        self.0.get().await.expect("creation cannot fail")
    }
}

/// This project's pool, with leases that borrow nothing.
pub struct PoolCoreOwned(PoolCore);

impl System for PoolCoreOwned {
    type Lease<'a> = Lease<'static, Numbers>;
    const NAME: &'static str = "pool-core owned";

    fn new(size: usize) -> Self {
        Self(PoolCore::new(size))
    }

    async fn get(&self) -> Lease<'static, Numbers> {
        self.0.0.get_owned().await.expect("creation cannot fail")
    }
}

/// This project's pool of shared resources, each of which may be lent once at a time.
pub struct PoolCoreShared(pool_core::SharedPool<Numbers>);

impl System for PoolCoreShared {
    type Lease<'a> = SharedLease<'a, Numbers>;
    const NAME: &'static str = "pool-core shared";

    fn new(size: usize) -> Self {
        let pool = pool_core::SharedPool::builder(Numbers).max_size(size).build();
        Self(pool.expect("a size is enough"))
    }

    async fn get(&self) -> SharedLease<'_, Numbers> {
        self.0.get().await.expect("creation cannot fail")
    }
}

/// This project's pool of one shared resource, which may be lent so often at a time.
pub struct PoolCorePlaces(pool_core::SharedPool<Numbers>);

impl System for PoolCorePlaces {
    type Lease<'a> = SharedLease<'a, Numbers>;
    const NAME: &'static str = "pool-core, one shared";

    fn new(size: usize) -> Self {
        let pool = pool_core::SharedPool::builder(Numbers).max_size(1).places(size).build();
        Self(pool.expect("a size is enough"))
    }

    async fn get(&self) -> SharedLease<'_, Numbers> {
        self.0.get().await.expect("creation cannot fail")
    }
}

/// deadpool as it comes: without any timeout.
#[derive(Debug)]
pub struct Deadpool(managed::Pool<Numbers>);

impl System for Deadpool {
    type Lease<'a> = Object<Numbers>;
    const NAME: &'static str = "deadpool";

    fn new(size: usize) -> Self {
        let pool = managed::Pool::builder(Numbers).max_size(size).build();
        Self(pool.expect("no timeout, hence no runtime is asked for"))
    }

    async fn get(&self) -> Object<Numbers> {
        self.0.get().await.expect("creation cannot fail")
    }
}

/// deadpool that lends what came back last, as this project's pool does: what is near is lent again.
#[derive(Debug)]
pub struct DeadpoolLifo(Deadpool);

impl System for DeadpoolLifo {
    type Lease<'a> = Object<Numbers>;
    const NAME: &'static str = "deadpool, LIFO";

    fn new(size: usize) -> Self {
        let builder = managed::Pool::builder(Numbers).max_size(size);
        let pool = builder.queue_mode(managed::QueueMode::Lifo).build();
        Self(Deadpool(pool.expect("no timeout, hence no runtime is asked for")))
    }

    async fn get(&self) -> Object<Numbers> {
        self.0.get().await
    }
}

/// deadpool with the timeouts that this project has by default.
#[derive(Debug)]
pub struct DeadpoolTimeouts(managed::Pool<Numbers>);

impl System for DeadpoolTimeouts {
    type Lease<'a> = Object<Numbers>;
    const NAME: &'static str = "deadpool with timeouts";

    fn new(size: usize) -> Self {
        let pool = managed::Pool::builder(Numbers)
            .max_size(size)
            .wait_timeout(Some(Duration::from_secs(30)))
            .create_timeout(Some(Duration::from_secs(20)))
            .recycle_timeout(Some(Duration::from_secs(5)))
            .runtime(Runtime::Tokio1)
            .build();
        Self(pool.expect("a runtime is given"))
    }

    async fn get(&self) -> Object<Numbers> {
        self.0.get().await.expect("creation cannot fail")
    }
}

/// bb8 as it comes.
#[derive(Debug)]
pub struct Bb8(bb8::Pool<Numbers>);

impl Bb8 {
    /// With other settings than it comes with.
    fn with(
        size: usize,
        settings: impl FnOnce(bb8::Builder<Numbers>) -> bb8::Builder<Numbers>,
    ) -> Self {
        let size = size.try_into().expect("no scenario is that large");
        Self(settings(bb8::Pool::builder().max_size(size)).build_unchecked(Numbers))
    }
}

impl System for Bb8 {
    type Lease<'a> = bb8::PooledConnection<'a, Numbers>;
    const NAME: &'static str = "bb8";

    fn new(size: usize) -> Self {
        Self::with(size, |builder| builder)
    }

    async fn get(&self) -> bb8::PooledConnection<'_, Numbers> {
        self.0.get().await.expect("creation cannot fail")
    }
}

/// bb8 without the check before each lend, and without a look at the age at each return.
#[derive(Debug)]
pub struct Bb8Unchecked(Bb8);

impl System for Bb8Unchecked {
    type Lease<'a> = bb8::PooledConnection<'a, Numbers>;
    const NAME: &'static str = "bb8 unchecked";

    fn new(size: usize) -> Self {
        Self(Bb8::with(size, |builder| builder.test_on_check_out(false).max_lifetime(None)))
    }

    async fn get(&self) -> bb8::PooledConnection<'_, Numbers> {
        self.0.get().await
    }
}

/// bb8 that lends what came back last, as this project's pool does: what is near is lent again.
#[derive(Debug)]
pub struct Bb8Lifo(Bb8);

impl System for Bb8Lifo {
    type Lease<'a> = bb8::PooledConnection<'a, Numbers>;
    const NAME: &'static str = "bb8, LIFO";

    fn new(size: usize) -> Self {
        Self(Bb8::with(size, |builder| builder.queue_strategy(bb8::QueueStrategy::Lifo)))
    }

    async fn get(&self) -> bb8::PooledConnection<'_, Numbers> {
        self.0.get().await
    }
}

/// mobc as it comes. A lease that is dropped starts a task, which brings the resource back; two are kept idle
/// and the others closed, so that where more are in use some of what is measured is creation.
pub struct Mobc(mobc::Pool<Numbers>);

impl System for Mobc {
    type Lease<'a> = mobc::Connection<Numbers>;
    const NAME: &'static str = "mobc";

    fn new(size: usize) -> Self {
        Self(mobc::Pool::builder().max_open(size as u64).build(Numbers))
    }

    async fn get(&self) -> mobc::Connection<Numbers> {
        self.0.get().await.expect("creation cannot fail")
    }
}

/// mobc told to keep all that it makes, to check nothing, and to wait without a timeout.
pub struct MobcKeeping(Mobc);

impl System for MobcKeeping {
    type Lease<'a> = mobc::Connection<Numbers>;
    const NAME: &'static str = "mobc keeping all";

    fn new(size: usize) -> Self {
        let size = size as u64;
        let builder = mobc::Pool::builder().max_open(size).max_idle(size);
        Self(Mobc(builder.test_on_check_out(false).get_timeout(None).build(Numbers)))
    }

    async fn get(&self) -> mobc::Connection<Numbers> {
        self.0.get().await
    }
}

/// `fast_pool` as it comes.
#[derive(Debug)]
pub struct FastPool(fast_pool::Pool<Numbers>);

impl System for FastPool {
    type Lease<'a> = fast_pool::ConnectionGuard<Numbers>;
    const NAME: &'static str = "fast_pool";

    fn new(size: usize) -> Self {
        let pool = fast_pool::Pool::new(Numbers);
        pool.set_max_open(size as u64);
        Self(pool)
    }

    async fn get(&self) -> fast_pool::ConnectionGuard<Numbers> {
        self.0.get().await.expect("creation cannot fail")
    }
}

/// `fast_pool` told to keep all that it makes.
#[derive(Debug)]
pub struct FastPoolKeeping(FastPool);

impl System for FastPoolKeeping {
    type Lease<'a> = fast_pool::ConnectionGuard<Numbers>;
    const NAME: &'static str = "fast_pool keeping all";

    fn new(size: usize) -> Self {
        let pool = FastPool::new(size);
        pool.0.set_max_idle_conns(size as u64);
        Self(pool)
    }

    async fn get(&self) -> fast_pool::ConnectionGuard<Numbers> {
        self.0.get().await
    }
}
