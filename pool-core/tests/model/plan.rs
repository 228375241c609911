//! What is done to a pool: its settings, and the transitions one after the other. Positions are taken
//! modulo what there is when their turn comes, so every plan can be carried out and shrinks freely.

use pool_core::{Backoff, Builder, CheckPolicy, Kind, Pause, Priority};
use proptest::option;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use super::ledger::Agent;
use super::reference::millis;

/// Spans are in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub limits: Limits,
    pub wait_timeout: u64,
    pub create_timeout: u64,
    pub destroy_timeout: u64,
    /// How long a destruction takes.
    pub destroy: u64,
    pub shrink_delay: u64,
    pub idle_timeout: Option<u64>,
    pub max_lifetime: Option<u64>,
    /// After which idle time a resource is checked.
    pub check_after: u64,
    /// Places of a resource whose manager does not say how many it has.
    pub places: usize,
}

impl Settings {
    /// Whether resources that are about to go for their age are replaced before they do.
    pub fn may_age(&self) -> bool {
        self.max_lifetime.is_some() && (self.limits.min_size > 0 || self.limits.min_idle > 0)
    }
}

/// The back-off of every plan: without jitter, so that it can be foretold.
pub const BACKOFF_INITIAL: u64 = 50;
pub const BACKOFF_MAX: u64 = 400;

#[derive(Clone, Copy, Debug)]
pub enum Limit {
    Pool,
    Timeout(u64),
    Deadline(u64),
}

/// What a get asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub limit: Limit,
    pub class: Priority,
    pub wants: usize,
}

impl Ask {
    pub fn one(limit: Limit) -> Self {
        Self { limit, class: Priority::Normal, wants: 1 }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_size: usize,
    pub min_size: usize,
    pub min_idle: usize,
    pub max_idle: Option<usize>,
    pub max_creating: usize,
    pub max_waiters: usize,
}

impl Limits {
    /// There may be none, and no minimum is above its maximum.
    pub fn can_be(&self) -> bool {
        let max_idle = self.max_idle.unwrap_or(self.max_size);
        self.max_size > 0
            && self.max_creating > 0
            && self.min_size <= self.max_size
            && self.min_idle <= self.max_size.min(max_idle)
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Birth {
    Ok(Option<usize>),
    Err,
    Fatal,
}

#[derive(Clone, Copy, Debug)]
pub enum Report {
    Broken,
    Drain,
    Places(usize),
}

#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Of a shared pool, one that asks for several does not wait.
    Get(Ask),
    /// A get that is dropped before it is polled.
    GetUnpolled,
    TryGet,
    /// Polls one get, woken or not, with a new waker.
    Poll(usize),
    PollWoken,
    Cancel(usize),
    Return(usize),
    /// Returns a resource that the manager finds broken. Of a shared one, it does not look.
    ReturnBroken(usize),
    Discard(usize),
    /// Of a shared pool: a return.
    Detach(usize),
    Finish(usize, Birth),
    /// So many gets, for which everything is created that is wanted.
    Fill(usize),
    ReturnAll,
    Report(usize, Report),
    Advance(u64),
    /// Until one is about to grow too old that rests.
    Age,
    Resize(usize),
    SetLimits(Limits),
    Pause(Pause),
    Resume,
    Reset,
    /// Those with an even number stay, those with an odd one, or all.
    Retain(Option<u64>),
    Close,
}

#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub op: Op,
    /// The next step comes before a task of the pool has run.
    pub hurry: bool,
}

/// The state machine that makes plans. The model proper needs to see what the pool chose where it is
/// free to choose, so it is built beside the pool.
pub struct Plan;

impl ReferenceStateMachine for Plan {
    type State = Settings;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Settings> {
        settings().boxed()
    }

    fn transitions(_settings: &Settings) -> BoxedStrategy<Step> {
        let hurry = prop_oneof![3 => Just(false), 1 => Just(true)];
        (op(), hurry).prop_map(|(op, hurry)| Step { op, hurry }).boxed()
    }

    fn apply(settings: Settings, _step: &Step) -> Settings {
        settings
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let sizes = (1..=5_usize).prop_flat_map(|max| {
        let min = prop_oneof![3 => Just(0), 2 => 0..=max];
        let idle = prop_oneof![
            3 => Just((0, None)),
            2 => (0..=max).prop_map(|min| (min, None)),
            3 => (0..=max / 2).prop_flat_map(|max| (0..=max, Just(Some(max)))),
        ];
        (Just(max), min, idle)
    });
    let limits = (1..=3_usize, prop_oneof![1 => 0..=4_usize, 3 => Just(1000)], 1..=4_usize);
    let ends = (
        prop_oneof![1..2_000_u64, Just(30_000)],
        prop_oneof![100..2_000_u64, Just(20_000)],
        50..=200_u64,
        prop_oneof![3 => Just(0_u64), 1 => 1..=100_u64, 1 => Just(1_000_000)],
    );
    let rests = (
        prop_oneof![0..2_000_u64, Just(30_000)],
        option::of(100..5_000_u64),
        option::of(500..8_000_u64),
        500..3_000_u64,
    );
    (sizes, limits, (ends, rests)).prop_map(|(sizes, limits, times)| {
        let (max_size, min_size, (min_idle, max_idle)) = sizes;
        let (max_creating, max_waiters, places) = limits;
        let (ends, rests) = times;
        let (wait_timeout, create_timeout, destroy_timeout, destroy) = ends;
        let (shrink_delay, idle_timeout, max_lifetime, check_after) = rests;
        Settings {
            limits: Limits { max_size, min_size, min_idle, max_idle, max_creating, max_waiters },
            wait_timeout,
            create_timeout,
            destroy_timeout,
            destroy,
            shrink_delay,
            idle_timeout,
            max_lifetime,
            check_after,
            places,
        }
    })
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0..12_usize;
    let limit = prop_oneof![
        4 => Just(Limit::Pool),
        2 => (0..500_u64).prop_map(Limit::Timeout),
        1 => (0..3_000_u64).prop_map(Limit::Deadline),
    ];
    let birth = prop_oneof![
        4 => Just(Birth::Ok(None)),
        3 => (0..=4_usize).prop_map(|places| Birth::Ok(Some(places))),
        2 => Just(Birth::Err),
        1 => Just(Birth::Fatal),
    ];
    let class = prop_oneof![
        4 => Just(Priority::Normal),
        1 => Just(Priority::High),
        1 => Just(Priority::Low),
    ];
    let wants = prop_oneof![5 => Just(1), 1 => Just(2_usize)];
    let ask = (limit, class, wants).prop_map(|(limit, class, wants)| {
        // Of different classes, they may come to wait for what the other one has.
        let class = if wants == 1 { class } else { Priority::Normal };
        Ask { limit, class, wants }
    });
    let report = prop_oneof![
        2 => Just(Report::Broken),
        1 => Just(Report::Drain),
        2 => (0..=4_usize).prop_map(Report::Places),
    ];
    let advance = prop_oneof![4 => 1..300_u64, 3 => 300..3_000_u64, 1 => 3_000..40_000_u64];
    prop_oneof![
        28 => ask.prop_map(Op::Get),
        1 => Just(Op::GetUnpolled),
        5 => Just(Op::TryGet),
        4 => at.clone().prop_map(Op::Poll),
        12 => Just(Op::PollWoken),
        8 => at.clone().prop_map(Op::Cancel),
        14 => at.clone().prop_map(Op::Return),
        2 => at.clone().prop_map(Op::ReturnBroken),
        2 => at.clone().prop_map(Op::Discard),
        2 => at.clone().prop_map(Op::Detach),
        22 => (at.clone(), birth).prop_map(|(at, birth)| Op::Finish(at, birth)),
        5 => (2..=6_usize).prop_map(Op::Fill),
        5 => Just(Op::ReturnAll),
        6 => (at, report).prop_map(|(at, report)| Op::Report(at, report)),
        14 => advance.prop_map(Op::Advance),
        8 => Just(Op::Age),
        2 => (1..=6_usize).prop_map(Op::Resize),
        2 => limits().prop_map(Op::SetLimits),
        2 => prop_oneof![3 => Just(Pause::Queue), 1 => Just(Pause::Fail)].prop_map(Op::Pause),
        4 => Just(Op::Resume),
        2 => Just(Op::Reset),
        2 => option::of(0..2_u64).prop_map(Op::Retain),
        1 => Just(Op::Close),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let minima = (prop_oneof![1 => Just(0), 1 => 0..=4_usize], 0..=2_usize);
    let maxima = (1..=6_usize, option::of(0..=3_usize), prop_oneof![0..=4_usize, Just(1000)]);
    (minima, maxima, 0..=3_usize).prop_map(|(minima, maxima, max_creating)| {
        let ((min_size, min_idle), (max_size, max_idle, max_waiters)) = (minima, maxima);
        Limits { max_size, min_size, min_idle, max_idle, max_creating, max_waiters }
    })
}

/// The settings that both kinds of pool have.
pub fn configure<M: Agent, K: Kind<M>>(builder: Builder<M, K>, plan: Settings) -> Builder<M, K> {
    let builder = match plan.limits.max_idle {
        Some(max_idle) => builder.max_idle(max_idle),
        None => builder,
    };
    builder
        .max_size(plan.limits.max_size)
        .min_size(plan.limits.min_size)
        .min_idle(plan.limits.min_idle)
        .max_creating(plan.limits.max_creating)
        .max_waiters(plan.limits.max_waiters)
        .wait_timeout(millis(plan.wait_timeout))
        .create_timeout(millis(plan.create_timeout))
        .destroy_timeout(millis(plan.destroy_timeout))
        .shrink_delay(millis(plan.shrink_delay))
        .idle_timeout(plan.idle_timeout.map(millis))
        .max_lifetime(plan.max_lifetime.map(millis))
        .check(CheckPolicy::IfIdleFor(millis(plan.check_after)))
        .backoff(Backoff {
            initial: millis(BACKOFF_INITIAL),
            multiplier: 2.0,
            jitter: 0.0,
            max: millis(BACKOFF_MAX),
        })
}
