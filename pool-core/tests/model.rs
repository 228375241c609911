//! Random plans carried out on a pool and on a naive model of one, compared after each step: who was
//! served and in which order, who has what, when what ended, and every number. The clock is paused, and
//! the test decides when a creation ends and how.
//!
//! `PROPTEST_CASES=n` carries out that many plans of each kind, `PROPTEST_RNG_SEED=n` others.
//!
//! A plan that hangs ends the whole test after a while, and is printed with its seed.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "tests")]

#[path = "model/compare.rs"]
mod compare;
#[path = "model/counts.rs"]
mod counts;
#[path = "model/driver.rs"]
mod driver;
#[path = "model/get.rs"]
mod get;
#[path = "model/judge.rs"]
mod judge;
#[path = "model/ledger.rs"]
mod ledger;
#[path = "model/plan.rs"]
mod plan;
#[path = "model/queue.rs"]
mod queue;
#[path = "model/reference.rs"]
mod reference;
#[path = "model/watchdog.rs"]
mod watchdog;
#[path = "model/whole.rs"]
mod whole;

use std::marker::PhantomData;
use std::sync::Arc;

use pool_core::{Exclusive, Kind, Pool, ResourceLease, ResourcePool, Shared, SharedPool};
use proptest::test_runner::{Config, RngSeed};
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use tokio::runtime::{Builder, Runtime};

use crate::driver::Driver;
use crate::get::Lease;
use crate::ledger::{Agent, Careful, Ledger, Plain, Thing};
use crate::plan::{Plan, Settings, Step, configure};
use crate::reference::millis;
use crate::watchdog::Watchdog;

/// A kind of pool, built as the plan says.
trait Subject<M: Agent>: Kind<M> {
    const SHARED: bool;

    fn build(ledger: Arc<Ledger>, plan: Settings) -> ResourcePool<M, Self>
    where
        Self: Sized;

    fn detach(lease: Lease<M, Self>) -> Option<Thing>
    where
        Self: Sized;
}

impl<M: Agent> Subject<M> for Exclusive {
    const SHARED: bool = false;

    fn build(ledger: Arc<Ledger>, plan: Settings) -> Pool<M> {
        let builder = Pool::builder(M::new(Arc::clone(&ledger)));
        configure(builder, plan).observer(ledger).build().unwrap()
    }

    fn detach(lease: Lease<M, Self>) -> Option<Thing> {
        Some(ResourceLease::<M, Self>::detach(lease))
    }
}

impl<M: Agent> Subject<M> for Shared {
    const SHARED: bool = true;

    fn build(ledger: Arc<Ledger>, plan: Settings) -> SharedPool<M> {
        let builder = SharedPool::builder(M::new(Arc::clone(&ledger))).places(plan.places);
        configure(builder, plan).observer(ledger).build().unwrap()
    }

    fn detach(_lease: Lease<M, Self>) -> Option<Thing> {
        None
    }
}

/// A pool of this kind, with this manager, against its model.
struct Against<M, K>(PhantomData<(M, K)>);

impl<M: Agent, K: Subject<M>> StateMachineTest for Against<M, K> {
    type SystemUnderTest = (Watchdog, Runtime, Driver<M, K>);
    type Reference = Plan;

    fn init_test(&plan: &Settings) -> Self::SystemUnderTest {
        let watchdog = Watchdog::new(plan);
        // What the pool draws by lot is the same each time.
        fastrand::seed(0);
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap();
        let driver = runtime.block_on(async {
            let ledger = Ledger::new(millis(plan.destroy));
            let pool = K::build(Arc::clone(&ledger), plan);
            Driver::new(plan, K::SHARED, ledger, pool, K::detach).await
        });
        (watchdog, runtime, driver)
    }

    fn apply(
        (watchdog, runtime, mut driver): Self::SystemUnderTest,
        _plan: &Settings,
        step: Step,
    ) -> Self::SystemUnderTest {
        watchdog.begins(step);
        runtime.block_on(driver.step(step));
        (watchdog, runtime, driver)
    }

    fn teardown((_watchdog, runtime, driver): Self::SystemUnderTest, _plan: Settings) {
        let (created, ledger) = runtime.block_on(driver.finish_off());
        drop(runtime);
        let books = ledger.books();
        assert_eq!((books.alive, books.gates.len()), (0, 0), "resources outlive their pool");
        assert_eq!(books.left, created, "told that it left");
    }
}

/// The same plans each time: a test that fails for one in ten thousand fails for the one who broke it.
fn config() -> Config {
    Config {
        cases: 256,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0),
        max_shrink_iters: 20_000,
        ..Config::default()
    }
}

type ExclusivePlain = Against<Plain, Exclusive>;
type ExclusiveCareful = Against<Careful, Exclusive>;
type SharedPlain = Against<Plain, Shared>;
type SharedCareful = Against<Careful, Shared>;

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn an_exclusive_pool_does_as_its_model(sequential 1..80 => ExclusivePlain);

    #[test]
    fn an_exclusive_pool_that_checks_does_as_its_model(sequential 1..80 => ExclusiveCareful);

    #[test]
    fn a_shared_pool_does_as_its_model(sequential 1..80 => SharedPlain);

    #[test]
    fn a_shared_pool_that_checks_does_as_its_model(sequential 1..80 => SharedCareful);
}
