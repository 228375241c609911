//! Cancel at every poll: each public asynchronous function, in every situation that makes it take several
//! polls, is run once to learn how many those are, and then again for each of them, to be dropped after
//! that poll. Whatever it was doing, nothing is lost: by the manager's books the pool then stands as if
//! the call had never been, and serves as many as it may.
//!
//! A future is dropped either as soon as it has said that it waits, or only when it was woken, with its
//! outcome on the way.
#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use harness::{
    Bell, Driven, Known, LeaseOf, PoolOf, Side, alive_tasks, ends, hush, judge, millis, pass,
    paused, rest, secs,
};
use pool_core::test_util::{Hook, ScriptedManager, Step};
use pool_core::{CheckPolicy, Exclusive, GetOptions, Shared};
use tokio::time::Instant;

/// How the pool stands when the call comes, and what happens meanwhile.
#[derive(Clone)]
struct Situation {
    name: &'static str,
    max_size: usize,
    /// Resources at rest. They were used once, so they are recycled before they are lent again.
    idle: usize,
    /// Whether they have been idle for long enough to be checked.
    stale: bool,
    /// Resources whose places are all lent.
    lent: usize,
    /// When they come back, and whether they are found broken then.
    back_after: Duration,
    back_broken: bool,
    /// Callers that wait already, and callers that come after the first poll.
    ahead: usize,
    behind: usize,
    /// Whether every lend is checked, also of what is fresh or was handed over.
    check_always: bool,
    /// When the pool is closed.
    close_after: Option<Duration>,
    script: Vec<(Hook, Vec<Step>)>,
    always: Vec<(Hook, Step)>,
}

impl Situation {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            max_size: 2,
            idle: 0,
            stale: false,
            lent: 0,
            back_after: secs(1),
            back_broken: false,
            ahead: 0,
            behind: 0,
            check_always: false,
            close_after: None,
            script: Vec::new(),
            always: Vec::new(),
        }
    }

    fn max_size(mut self, max_size: usize) -> Self {
        self.max_size = max_size;
        self
    }

    fn idle(mut self, idle: usize) -> Self {
        self.idle = idle;
        self
    }

    fn stale(mut self, idle: usize) -> Self {
        (self.idle, self.stale) = (idle, true);
        self
    }

    fn lent(mut self, lent: usize) -> Self {
        self.lent = lent;
        self
    }

    fn back_after(mut self, after: Duration) -> Self {
        self.back_after = after;
        self
    }

    fn back_broken(mut self) -> Self {
        self.back_broken = true;
        self
    }

    fn ahead(mut self, ahead: usize) -> Self {
        self.ahead = ahead;
        self
    }

    fn behind(mut self, behind: usize) -> Self {
        self.behind = behind;
        self
    }

    fn check_always(mut self) -> Self {
        self.check_always = true;
        self
    }

    fn close_after(mut self, after: Duration) -> Self {
        self.close_after = Some(after);
        self
    }

    fn script(mut self, hook: Hook, steps: impl IntoIterator<Item = Step>) -> Self {
        self.script.push((hook, steps.into_iter().collect()));
        self
    }

    fn always(mut self, hook: Hook, step: Step) -> Self {
        self.always.push((hook, step));
        self
    }
}

fn situations() -> Vec<Situation> {
    let slow = || Step::Slow(millis(50));
    let late = |step: Step| slow().then(step);
    let new = Situation::new;
    let mut all = vec![
        new("a hit").idle(2),
        new("a hit that is checked").stale(1),
        new("a miss"),
        new("a miss, created slowly").script(Hook::Create, [slow()]),
        new("a miss, with others behind").script(Hook::Create, [slow(), slow()]).behind(3),
        new("a miss, whose creation fails once").script(Hook::Create, [late(Step::Fail)]),
        new("a miss, whose creation fails always").always(Hook::Create, Step::Fail),
        new("a miss, whose creation panics").script(Hook::Create, [late(Step::Panic)]),
        new("a miss, whose creation is fatal").script(Hook::Create, [late(Step::Fatal)]).behind(2),
        new("a miss, whose creation hangs").script(Hook::Create, [Step::Never, slow()]),
        new("a miss, and all creations hang").always(Hook::Create, Step::Never),
        new("a wait for a return").max_size(1).lent(1),
        new("a wait for one that comes back broken").max_size(1).lent(1).back_broken(),
        new("a wait behind others").max_size(1).lent(1).ahead(3),
        new("a wait before others").max_size(1).lent(1).behind(3),
        new("a wait in the middle").lent(2).ahead(2).behind(2),
        new("a wait in the middle, all come back broken").lent(2).back_broken().ahead(2).behind(2),
        new("a return races a slow creation").lent(1).script(Hook::Create, [Step::Slow(secs(2))]),
        new("a creation races a slow return").lent(1).script(Hook::Create, [slow()]).behind(1),
        new("a wait that ends by its timeout").max_size(1).lent(1).back_after(secs(10)).ahead(1),
        new("a wait that ends by a close").lent(2).ahead(1).behind(1).close_after(millis(500)),
        new("a creation that ends by a close")
            .script(Hook::Create, [Step::Slow(secs(2))])
            .close_after(millis(500)),
    ];
    for (hook, name) in [(Hook::Check, "check"), (Hook::Recycle, "recycling")] {
        let steps = [
            ("slow", slow()),
            ("fails", Step::Fail),
            ("fails late", late(Step::Fail)),
            ("panics", Step::Panic),
            ("panics late", late(Step::Panic)),
            ("hangs", Step::Never),
        ];
        for (how, step) in steps {
            let name = |what: &str| &*format!("{what}: the {name} {how}").leak();
            all.push(new(name("a hit")).stale(2).script(hook, [step.clone()]));
            let always = new(name("a hit with others behind, always")).stale(1).behind(2);
            all.push(always.always(hook, step.clone()));
            if hook == Hook::Check {
                let fresh = new(name("a miss")).check_always().script(hook, [step.clone()]);
                all.push(fresh.script(Hook::Create, [slow()]).behind(1));
            }
            // It was handed over, and has to be made ready.
            let waits = new(name("a wait")).max_size(1).lent(1).behind(2);
            all.push(waits.check_always().script(hook, [step.clone(), step]));
        }
    }
    let closed = new("a check that a close overtakes").stale(1).close_after(millis(20));
    all.push(closed.script(Hook::Check, [slow()]));
    all
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Get,
    GetWith,
    GetOwned,
    GetOwnedWith,
    GetMany,
    GetManyWith,
    WarmUp,
    Replace,
    Drain,
    Closed,
}

impl Call {
    const ALL: [Self; 10] = [
        Self::Get,
        Self::GetWith,
        Self::GetOwned,
        Self::GetOwnedWith,
        Self::GetMany,
        Self::GetManyWith,
        Self::WarmUp,
        Self::Replace,
        Self::Drain,
        Self::Closed,
    ];

    /// Whether it is a get, by the counters.
    fn is_get(self) -> bool {
        !matches!(self, Self::WarmUp | Self::Replace | Self::Drain | Self::Closed)
    }

    fn is_of_several(self) -> bool {
        matches!(self, Self::GetMany | Self::GetManyWith)
    }

    /// The call, whose leases are given back as soon as they are there.
    fn of<K: Side>(self, pool: &PoolOf<K>) -> Pin<Box<dyn Future<Output = bool> + '_>> {
        match self {
            Self::Get => Box::pin(async { pool.get().await.is_ok() }),
            Self::GetWith => Box::pin(async {
                pool.get_with(GetOptions::new().timeout(millis(1_500))).await.is_ok()
            }),
            Self::GetOwned => Box::pin(async { pool.get_owned().await.is_ok() }),
            Self::GetOwnedWith => Box::pin(async {
                let options = GetOptions::new().deadline(Instant::now() + millis(1_500));
                pool.get_owned_with(options).await.is_ok()
            }),
            Self::GetMany => Box::pin(async { pool.get_many(2).await.is_ok() }),
            Self::GetManyWith => Box::pin(async {
                let options = GetOptions::new().timeout(millis(1_500)).check_timeout(millis(500));
                pool.get_many_with(2, options).await.is_ok()
            }),
            Self::WarmUp => Box::pin(async {
                let mut limits = pool.limits();
                limits.min_size = limits.max_size;
                pool.set_limits(limits).unwrap();
                pool.warm_up(secs(2)).await.is_ok()
            }),
            Self::Replace => Box::pin(K::succeed(pool)),
            Self::Drain => Box::pin(async { pool.drain(secs(2)).await.complete }),
            Self::Closed => Box::pin(async {
                pool.closed().await;
                true
            }),
        }
    }
}

/// Until when the future is there: it is dropped after its last poll, or when it is woken after that.
#[derive(Clone, Copy, Debug)]
enum Until {
    TheEnd,
    Poll(usize),
    WokenAfter(usize),
}

/// Places of each resource.
const fn places<K: Side>() -> usize {
    if K::SHARED { 2 } else { 1 }
}

struct Run<K: Side> {
    situation: Situation,
    call: Call,
    manager: ScriptedManager,
    pool: PoolOf<K>,
    started: u64,
}

impl<K: Side> Run<K> {
    fn new(situation: &Situation, call: Call) -> Self {
        let manager = ScriptedManager::new();
        manager.set_places(places::<K>());
        let policy = if situation.check_always {
            CheckPolicy::Always
        } else {
            CheckPolicy::IfIdleFor(secs(1))
        };
        let pool = K::builder(manager.clone())
            .max_size(situation.max_size)
            .wait_timeout(secs(3))
            .create_timeout(secs(2))
            .check_timeout(secs(1))
            .recycle_timeout(secs(1))
            .destroy_timeout(secs(1))
            .check(policy)
            .build();
        let (situation, pool) = (situation.clone(), pool.unwrap());
        Self { situation, call, manager, pool, started: 0 }
    }

    /// How many polls the call took, if it came to its end.
    async fn play(mut self, until: Until) -> usize {
        let lent = self.set_up().await;
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut others = Vec::new();
        for number in 0..self.situation.ahead {
            others.push(self.spawn_other(number, &served));
            rest().await;
        }
        let before = self.pool.snapshot();
        tokio::spawn({
            let (after, broken) = (self.situation.back_after, self.situation.back_broken);
            async move {
                tokio::time::sleep(after).await;
                for lease in lent {
                    if broken {
                        lease.mark_broken();
                    }
                }
            }
        });
        if let Some(after) = self.situation.close_after {
            let pool = self.pool.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                pool.close();
            });
        }
        let polls = self.call(until, &served, &mut others).await;
        if matches!(until, Until::Poll(0) | Until::WokenAfter(0)) {
            assert_eq!(self.pool.snapshot(), before, "I5: a call that was not polled");
        }
        self.started += u64::from(polls > 0 && self.call.is_get());
        rest().await;
        self.judge();
        pass(secs(120)).await;
        for other in others {
            assert!(other.await.is_ok() || self.panics(), "I8: a caller fails with another's");
        }
        let served = std::mem::take(&mut *served.lock().unwrap());
        let order: Vec<_> = served.iter().map(|&(number, _)| number).collect();
        let is_plain = self.situation.script.is_empty() && self.situation.always.is_empty();
        if is_plain && !self.pool.is_closed() {
            assert!(order.is_sorted(), "I4: served in the order {order:?}");
            let late = served.iter().filter(|(_, ok)| !ok).count();
            let may_be_late = self.situation.back_after >= secs(3);
            assert!(late == 0 || may_be_late, "I3: {late} callers were not served");
        }
        self.settled();
        self.serves_again().await;
        self.leaves_nothing().await;
        polls
    }

    async fn set_up(&mut self) -> Vec<LeaseOf<K>> {
        let Situation { idle, lent, .. } = self.situation;
        let mut leases = Vec::new();
        for _ in 0..(idle + lent) * places::<K>() {
            leases.push(self.pool.get_owned().await.unwrap());
            self.started += 1;
        }
        let mut resources = BTreeMap::<_, Vec<_>>::new();
        for lease in leases {
            resources.entry(lease.number()).or_default().push(lease);
        }
        let lent = resources.into_values().skip(idle).flatten().collect();
        if self.situation.stale {
            pass(secs(2)).await;
        }
        for (hook, step) in &self.situation.always {
            self.manager.always(*hook, step.clone());
        }
        for (hook, steps) in &self.situation.script {
            self.manager.script(*hook, steps.clone());
        }
        rest().await;
        lent
    }

    fn spawn_other(
        &mut self,
        number: usize,
        served: &Arc<Mutex<Vec<(usize, bool)>>>,
    ) -> tokio::task::JoinHandle<()> {
        self.started += 1;
        let (pool, served) = (self.pool.clone(), Arc::clone(served));
        tokio::spawn(async move {
            let lease = pool.get().await;
            served.lock().unwrap().push((number, lease.is_ok()));
            tokio::time::sleep(millis(10)).await;
        })
    }

    async fn call(
        &mut self,
        until: Until,
        served: &Arc<Mutex<Vec<(usize, bool)>>>,
        others: &mut Vec<tokio::task::JoinHandle<()>>,
    ) -> usize {
        let (bell, pool) = (Bell::default(), self.pool.clone());
        let mut call = Driven::new(self.call.of(&pool), &bell);
        let mut polls = 0;
        'call: loop {
            if matches!(until, Until::Poll(last) if last == polls) {
                break;
            }
            // One that was never polled has never been woken.
            while polls > 0 && !call.is_woken() {
                // Nobody closes the pool that it waits for.
                if tokio::time::timeout(secs(200), bell.rung()).await.is_err() {
                    assert_eq!(self.call, Call::Closed, "I3: a call is not woken");
                    break 'call;
                }
            }
            if matches!(until, Until::WokenAfter(last) if last == polls) {
                break;
            }
            let polled = catch_unwind(AssertUnwindSafe(|| call.poll()));
            polls += 1;
            if polls == 1 {
                for number in 0..self.situation.behind {
                    others.push(self.spawn_other(self.situation.ahead + number, served));
                }
                rest().await;
            }
            match polled {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(_)) => break,
                Err(panic) if self.panics() => {
                    drop(panic);
                    break;
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        polls
    }

    fn panics(&self) -> bool {
        self.situation.name.contains("panics")
    }

    fn judge(&self) {
        let known = Known {
            max_size: self.situation.max_size,
            started: self.started,
            several: u64::from(self.call.is_of_several()),
            ..Known::default()
        };
        if let Err(problem) = judge(&self.pool, &self.manager, &known) {
            panic!("{problem}");
        }
    }

    /// As if nobody had ever called.
    fn settled(&self) {
        self.judge();
        let status = self.pool.status();
        let busy = [status.in_use, status.waiting, status.checking, status.closing];
        assert_eq!(busy, [0; 4], "I5: nobody is there: {status:?}");
        assert_eq!(self.manager.counts().live, status.idle + status.draining, "{status:?}");
    }

    async fn serves_again(&self) {
        if self.pool.is_closed() {
            let live = self.manager.counts().live;
            assert_eq!(
                live, 0,
                "I9: closed, and not empty: {:?}: {}",
                self.call, self.situation.name
            );
            return;
        }
        self.manager.heal();
        // What hangs, and the back-off.
        pass(secs(20)).await;
        let mut leases = Vec::new();
        for _ in 0..self.situation.max_size * places::<K>() {
            let options = GetOptions::new().timeout(secs(1));
            leases.push(self.pool.get_owned_with(options).await.expect("I7: it serves again"));
        }
        assert_eq!(self.pool.status().in_use, self.situation.max_size * places::<K>());
    }

    async fn leaves_nothing(self) {
        drop(self.pool);
        pass(secs(2)).await;
        assert_eq!((self.manager.counts().live, alive_tasks()), (0, 0), "I15");
    }
}

impl<K: Side> fmt::Debug for Run<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.call, self.situation.name)
    }
}

fn every_poll<K: Side>() {
    hush();
    ends(secs(20), |at| {
        let mut most = 0;
        for situation in situations() {
            for call in Call::ALL {
                let run = |until: Until| {
                    let run = Run::<K>::new(&situation, call);
                    at(format!("in {run:?}, until {until:?}"));
                    paused(run.play(until))
                };
                let polls = run(Until::TheEnd);
                for last in 0..polls {
                    run(Until::Poll(last));
                    run(Until::WokenAfter(last));
                }
                most = most.max(polls);
            }
        }
        assert!(most >= 3, "no situation takes more than {most} polls");
    });
}

#[test]
fn a_call_on_an_exclusive_pool_may_be_dropped_after_any_poll() {
    every_poll::<Exclusive>();
}

#[test]
fn a_call_on_a_shared_pool_may_be_dropped_after_any_poll() {
    every_poll::<Shared>();
}
