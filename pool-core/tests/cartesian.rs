//! Every hook of a manager, in everything that may become of it, crossed with every end: the work is run to
//! its end, all callers give up, the pool is closed, the pool is dropped. Afterwards, by the manager's
//! books, nothing is lost, nothing is left, and where there is still a pool it serves again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::{
    Known, PoolOf, Side, alive_tasks, ends, hush, judge, millis, pass, paused, rest, secs,
};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{Builder, CheckPolicy, Error, Exclusive, GetOptions, HookError, Shared};
use tokio::task::JoinHandle;

const MAX_SIZE: usize = 2;

/// What becomes of a hook, the first few times or always.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Ok,
    Error,
    LateError,
    Fatal,
    Panic,
    LatePanic,
    Slow,
    Never,
}

impl Fate {
    const ALL: [Self; 8] = [
        Self::Ok,
        Self::Error,
        Self::LateError,
        Self::Fatal,
        Self::Panic,
        Self::LatePanic,
        Self::Slow,
        Self::Never,
    ];

    fn step(self) -> Step {
        let slow = Step::Slow(millis(50));
        match self {
            Self::Ok => Step::Ok,
            Self::Error => Step::Fail,
            Self::LateError => slow.then(Step::Fail),
            Self::Fatal => Step::Fatal,
            Self::Panic => Step::Panic,
            Self::LatePanic => slow.then(Step::Panic),
            Self::Slow => slow,
            Self::Never => Step::Never,
        }
    }
}

/// A hook of the manager, or of the pool.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Manager(Hook),
    AfterCreate,
    BeforeLend,
    AfterReturn,
    BeforeDestroy,
}

impl What {
    fn all() -> impl Iterator<Item = Self> {
        let of_pool = [Self::AfterCreate, Self::BeforeLend, Self::AfterReturn, Self::BeforeDestroy];
        Hook::ALL.into_iter().map(Self::Manager).chain(of_pool)
    }

    fn can(self, fate: Fate) -> bool {
        match self {
            Self::Manager(hook) => hook.can(&fate.step()),
            Self::AfterCreate | Self::BeforeLend => fate != Fate::Fatal,
            Self::AfterReturn => matches!(fate, Fate::Ok | Fate::Error | Fate::Panic),
            Self::BeforeDestroy => matches!(fate, Fate::Ok | Fate::Panic),
        }
    }

    /// Whether its panic is its caller's.
    fn is_callers(self) -> bool {
        matches!(self, Self::Manager(Hook::Check | Hook::Recycle) | Self::BeforeLend)
    }
}

/// What a hook of the pool is to do: this for so many times, then what it should.
#[derive(Clone, Default)]
struct Plan(Arc<Mutex<(usize, Option<Fate>)>>);

impl Plan {
    fn set(&self, times: usize, fate: Fate) {
        *self.0.lock().unwrap() = (times, Some(fate));
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().0
    }

    fn next(&self) -> Fate {
        let mut plan = self.0.lock().unwrap();
        let (times, Some(fate)) = *plan else { return Fate::Ok };
        if times == 0 {
            return Fate::Ok;
        }
        plan.0 -= 1;
        fate
    }

    async fn play(&self) -> Result<(), HookError> {
        let fate = self.next();
        match fate {
            Fate::Slow | Fate::LateError | Fate::LatePanic => tokio::time::sleep(millis(50)).await,
            Fate::Never => std::future::pending().await,
            _ => {}
        }
        fate.play_now()
    }
}

impl Fate {
    fn play_now(self) -> Result<(), HookError> {
        match self {
            Self::Error | Self::LateError => Err(HookError::new("refused")),
            Self::Panic | Self::LatePanic => panic!("scripted panic of a hook"),
            _ => Ok(()),
        }
    }
}

/// A kind of pool, with its form of the hooks.
trait Hooked: Side {
    fn before_lend(builder: BuilderOf<Self>, plan: Plan) -> BuilderOf<Self>;
    fn after_return(builder: BuilderOf<Self>, plan: Plan) -> BuilderOf<Self>;

    fn hooked(builder: BuilderOf<Self>, what: What, plan: Plan) -> BuilderOf<Self> {
        match what {
            What::Manager(_) => builder,
            What::AfterCreate => builder.after_create(move |_, _, _| {
                let plan = plan.clone();
                Box::pin(async move { plan.play().await })
            }),
            What::BeforeLend => Self::before_lend(builder, plan),
            What::AfterReturn => Self::after_return(builder, plan),
            What::BeforeDestroy => builder.before_destroy(move |_, _, _| {
                drop(plan.next().play_now());
            }),
        }
    }
}

type BuilderOf<K> = Builder<ScriptedManager, K>;

macro_rules! hooked {
    ($kind:ty) => {
        impl Hooked for $kind {
            fn before_lend(builder: BuilderOf<Self>, plan: Plan) -> BuilderOf<Self> {
                builder.before_lend(move |_, _, _| {
                    let plan = plan.clone();
                    Box::pin(async move { plan.play().await })
                })
            }

            fn after_return(builder: BuilderOf<Self>, plan: Plan) -> BuilderOf<Self> {
                builder.after_return(move |_, _, _| plan.next().play_now())
            }
        }
    };
}

hooked!(Exclusive);
hooked!(Shared);

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Everybody waits for what comes.
    Run,
    /// All callers give up.
    Cancel,
    Close,
    /// All callers give up, and the last handle is dropped.
    Drop,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    what: What,
    fate: Fate,
    /// Whether it is so each time, or twice.
    always: bool,
    end: End,
    /// When that comes, after the callers.
    after: Duration,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for what in What::all() {
        for fate in Fate::ALL.into_iter().filter(|fate| what.can(*fate)) {
            for always in [false, true] {
                for end in [End::Run, End::Cancel, End::Close, End::Drop] {
                    for after in [0, 1, 20, 60, 700] {
                        let after = millis(after);
                        cases.push(Case { what, fate, always, end, after });
                    }
                }
            }
        }
    }
    cases
}

/// Leases that are out at most.
const fn leases<K: Side>() -> usize {
    if K::SHARED { 2 * MAX_SIZE } else { MAX_SIZE }
}

/// A caller, and what it got.
type Caller = JoinHandle<Option<&'static str>>;

struct Run<K: Hooked> {
    case: Case,
    manager: ScriptedManager,
    pool: PoolOf<K>,
    /// Of the pool's hook, if the case is about one.
    plan: Plan,
    started: u64,
}

impl<K: Hooked> Run<K> {
    fn new(case: Case) -> Self {
        let manager = ScriptedManager::new();
        manager.set_places(leases::<K>() / MAX_SIZE);
        let plan = Plan::default();
        let builder = K::hooked(K::builder(manager.clone()), case.what, plan.clone());
        let pool = builder
            .max_size(MAX_SIZE)
            .wait_timeout(secs(8))
            .create_timeout(secs(2))
            .check_timeout(secs(1))
            .recycle_timeout(secs(1))
            .destroy_timeout(secs(1))
            .check(CheckPolicy::IfIdleFor(secs(1)))
            .build();
        Self { case, manager, pool: pool.unwrap(), plan, started: 0 }
    }

    async fn play(mut self) {
        let Case { what, fate, always, end, after } = self.case;
        // One resource at rest, to be checked and recycled.
        drop(self.pool.get().await.unwrap());
        self.started += 1;
        pass(secs(2)).await;
        if matches!(what, What::Manager(Hook::IsFatal | Hook::RetryIn)) {
            // Asked about an error only.
            self.manager.script(Hook::Create, [Step::Fail, Step::Fail]);
        }
        match what {
            What::Manager(hook) if always => self.manager.always(hook, fate.step()),
            What::Manager(hook) => self.manager.script(hook, [fate.step(), fate.step()]),
            _ => self.plan.set(if always { usize::MAX } else { 2 }, fate),
        }
        let callers: Vec<_> = (0..6).map(|number| self.call(number)).collect();
        rest().await;
        pass(after).await;
        match end {
            End::Run => self.run(callers).await,
            End::Cancel => self.cancel(callers).await,
            End::Close => return self.close(callers).await,
            End::Drop => return self.drop(callers).await,
        }
        self.serves_again().await;
        self.leaves_nothing().await;
    }

    /// Gets a resource, works with it, and gives it back, every second one broken.
    fn call(&mut self, number: u64) -> Caller {
        let pool = self.pool.clone();
        self.started += 1;
        tokio::spawn(async move {
            let lease = match pool.get().await {
                Ok(lease) => lease,
                Err(Error::Closed) => return Some("closed"),
                Err(Error::Timeout(_)) => return Some("timeout"),
                Err(Error::Create(_)) => return Some("fatal"),
                Err(error) => panic!("{error}"),
            };
            tokio::time::sleep(millis(10)).await;
            if number % 2 == 1 {
                lease.mark_broken();
            }
            if number % 3 == 2 {
                pool_core::ResourceLease::discard(lease);
            }
            None
        })
    }

    async fn run(&mut self, callers: Vec<Caller>) {
        let (mut served, mut panicked) = (0, 0);
        for caller in callers {
            match caller.await {
                Ok(None) => served += 1,
                Ok(Some(failure)) => self.may_fail(failure),
                Err(error) => panicked += usize::from(error.is_panic()),
            }
        }
        let Case { what, fate, always, .. } = self.case;
        let left = match what {
            What::Manager(hook) => self.manager.queued(hook),
            _ => self.plan.left(),
        };
        let unasked = matches!(what, What::Manager(Hook::Recycle | Hook::IsBroken));
        assert!(always || (K::SHARED && unasked) || left < 2, "the hook was not called");
        // A panic is its own caller's: no more of them than the script has.
        let panics = matches!(fate, Fate::Panic | Fate::LatePanic);
        let reaches_caller = panics && what.is_callers();
        let most = if !reaches_caller {
            0
        } else if always {
            6
        } else {
            2
        };
        assert!(panicked <= most, "I8: {panicked} callers panicked");
        let all_served = served + panicked == 6;
        assert!(all_served || always || fate == Fate::Fatal, "I3: {served} of 6 were served");
    }

    /// Only what a case is about may be the end of a caller.
    fn may_fail(&self, failure: &str) {
        let Case { what, fate, always, .. } = self.case;
        let may = match failure {
            "timeout" => always,
            "fatal" => fate == Fate::Fatal,
            "closed" => false,
            _ => unreachable!("no such failure"),
        };
        assert!(may, "{what:?}: a caller failed with {failure}");
    }

    async fn cancel(&mut self, callers: Vec<Caller>) {
        for caller in callers {
            caller.abort();
            drop(caller.await);
        }
        rest().await;
        self.judge();
    }

    async fn close(mut self, callers: Vec<Caller>) {
        self.pool.close();
        rest().await;
        assert_eq!(self.pool.status().waiting, 0, "I9: somebody waits for a closed pool");
        self.judge();
        assert!(matches!(self.pool.get().await, Err(Error::Closed)));
        self.started += 1;
        for caller in callers {
            if let Ok(Some(failure)) = caller.await
                && failure != "closed"
            {
                self.may_fail(failure);
            }
        }
        self.pool.close();
        // The longest that a creation, a check or a destruction takes.
        pass(secs(5)).await;
        self.judge();
        let (status, counts) = (self.pool.status(), self.manager.counts());
        assert_eq!((status.size, counts.live, counts.creating), (0, 0, 0), "I9: {status:?}");
        self.leaves_nothing().await;
    }

    async fn drop(self, callers: Vec<Caller>) {
        let weak = self.pool.downgrade();
        drop(self.pool);
        for caller in &callers {
            caller.abort();
        }
        for caller in callers {
            drop(caller.await);
        }
        assert!(weak.upgrade().is_none());
        rest().await;
        let counts = self.manager.counts();
        assert_eq!((counts.live, counts.creating, alive_tasks()), (0, 0, 0), "I15: at once");
    }

    fn judge(&self) {
        let known = Known {
            max_size: MAX_SIZE,
            started: self.started,
            looked_at: self.case.what == What::AfterCreate,
            ..Known::default()
        };
        if let Err(problem) = judge(&self.pool, &self.manager, &known) {
            panic!("{problem}");
        }
    }

    /// I7: a back-off after the fault has ended, the pool serves.
    async fn serves_again(&mut self) {
        self.manager.heal();
        self.plan.set(0, Fate::Ok);
        pass(secs(10)).await;
        self.judge();
        let status = self.pool.status();
        let busy =
            [status.in_use, status.waiting, status.checking, status.creating, status.closing];
        assert_eq!(busy, [0; 5], "{status:?}");
        let mut held = Vec::new();
        for _ in 0..leases::<K>() {
            let options = GetOptions::new().timeout(secs(1));
            held.push(self.pool.get_with(options).await.expect("I7: it serves again"));
            self.started += 1;
        }
        self.judge();
    }

    async fn leaves_nothing(self) {
        drop(self.pool);
        pass(secs(2)).await;
        let counts = self.manager.counts();
        assert_eq!((counts.live, alive_tasks()), (0, 0), "I15: {counts:?}");
        assert_eq!(counts.created, counts.dropped, "I2: every resource ends once");
    }
}

fn all_cases<K: Hooked>() {
    hush();
    ends(secs(20), |at| {
        for case in cases() {
            at(format!("in {case:?}"));
            paused(Run::<K>::new(case).play());
        }
    });
}

#[test]
fn an_exclusive_pool_outlives_whatever_becomes_of_a_hook() {
    all_cases::<Exclusive>();
}

#[test]
fn a_shared_pool_outlives_whatever_becomes_of_a_hook() {
    all_cases::<Shared>();
}
