//! Plays a scenario, and compares.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_core::test_util::{ScriptedError, ScriptedManager};
use pool_core::{
    Builder, Error, Event, Observer, Pool, ResourceHandle, ResourceId, ResourceLease, SharedPool,
};
use tokio::time::Instant;

use super::file::Scenario;
use super::get::{Get, GetState, Held, Outcome};
use super::op::{Op, Report};
use super::text::{self, Gates};
use crate::harness::{
    Bell, Driven, Known, LeaseOf, PoolOf, Side, alive_tasks, judge, pass, paused, rest, secs,
};

/// Plays a scenario on a paused clock.
///
/// # Errors
///
/// The step that went otherwise, and how; or what is wrong with the scenario.
pub fn play(scenario: &Scenario) -> Result<(), String> {
    let (manager, settings) = (ScriptedManager::new(), &scenario.pool);
    paused(async {
        if settings.shared {
            let builder = settings.apply(SharedPool::builder(manager.clone()))?;
            let builder = settings.apply_shared(builder);
            Run::begin(scenario, manager, builder)?.play(scenario).await
        } else if settings.is_for_shared_only() {
            Err("places and soft targets are for shared pools".to_owned())
        } else {
            let builder = settings.apply(Pool::builder(manager.clone()))?;
            Run::begin(scenario, manager, builder)?.play(scenario).await
        }
    })
}

/// Keeps every event but the records of decisions, which say again what the others do.
#[derive(Default)]
struct Log(Mutex<Vec<Event>>);

impl Observer for Log {
    fn event(&self, event: &Event) {
        if !matches!(event, Event::Resized { .. }) {
            self.0.lock().unwrap().push(event.clone());
        }
    }
}

pub struct Run<K: Side> {
    pub pool: Option<PoolOf<K>>,
    pub manager: ScriptedManager,
    gates: Gates,
    log: Arc<Log>,
    /// In the order in which they were first heard of.
    pub ids: Vec<ResourceId>,
    bell: Bell,
    gets: BTreeMap<String, Get<K>>,
    /// The names of the gets, in the order in which they started.
    order: Vec<String>,
    pub started: u64,
    pub max_size: usize,
    pub detached: usize,
    pub given: u64,
    pub several: u64,
    /// What the last `retain` said.
    pub retained: String,
}

impl<K: Side> Run<K> {
    fn begin(
        scenario: &Scenario,
        manager: ScriptedManager,
        builder: Builder<ScriptedManager, K>,
    ) -> Result<Self, String> {
        let (mut gates, log) = (Gates::default(), Arc::new(Log::default()));
        scenario.manager.hand_over(&manager, &mut gates)?;
        let pool = builder.observer(log.clone()).build().map_err(|error| error.to_string())?;
        Ok(Self {
            max_size: pool.status().max_size,
            pool: Some(pool),
            manager,
            gates,
            log,
            ids: Vec::new(),
            bell: Bell::default(),
            gets: BTreeMap::new(),
            order: Vec::new(),
            started: 0,
            detached: 0,
            given: 0,
            several: 0,
            retained: String::new(),
        })
    }

    async fn play(&mut self, scenario: &Scenario) -> Result<(), String> {
        self.settle().await;
        for line in &scenario.steps.0 {
            let done = self.step(&line.op).await.and_then(|()| self.judge());
            done.map_err(|problem| {
                let status = self.pool.as_ref().map(PoolOf::status);
                format!(
                    "step in line {}, `{}`: {problem}\n  the pool: {status:?}\n  told: {}",
                    line.number,
                    line.text,
                    self.told(&[]).join(", ")
                )
            })?;
        }
        if let Some(expected) = &scenario.events {
            self.compare_events(expected, &scenario.ignore)?;
        }
        self.finish().await
    }

    /// Lets everything happen that takes no time: tasks run, gets are polled once they are woken.
    async fn settle(&mut self) {
        loop {
            rest().await;
            // Those that came first are polled first.
            let gets = &self.gets;
            let due = self.order.iter().find(|name| gets.get(*name).is_some_and(Get::is_due));
            let Some(get) = due.cloned().and_then(|name| self.gets.get_mut(&name)) else { break };
            get.poll();
        }
    }

    async fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Get { names, options } => {
                for name in names {
                    let (pool, options) = (self.pool()?.clone(), options.of_get());
                    self.started += 1;
                    let get = async move { pool.get_owned_with(options).await.map(Outcome::Lease) };
                    self.start(name, get, Held::default())?;
                }
            }
            Op::TryGet(name) => {
                let lease = self.pool()?.try_get_owned();
                self.started += u64::from(lease.is_some());
                let state = lease.map_or(GetState::Nothing, GetState::Served);
                self.enter(name, state)?;
            }
            Op::Freeze(name) => self.get(name)?.frozen = true,
            Op::Thaw(name) => self.get(name)?.frozen = false,
            Op::Poll(name) => {
                if !self.get(name)?.poll() {
                    return Err(format!("{name} does not wait"));
                }
            }
            Op::Drop(names) if names == &["pool"] => drop(self.pool.take()),
            Op::Drop(names) => {
                for name in names {
                    match self.over(name)? {
                        GetState::Served(_) | GetState::ServedMany(..) | GetState::Detached(_) => {}
                        other => return Err(format!("{name} has no lease: {}", other.describe())),
                    }
                }
            }
            Op::Discard(name) => ResourceLease::discard(self.lease(name)?),
            Op::Detach(name) => {
                let resource = K::detach(self.lease(name)?);
                let resource = resource.ok_or("a shared resource cannot be detached")?;
                self.get(name)?.state = GetState::Detached(resource);
                self.detached += 1;
            }
            Op::Panic(name) => {
                let lease = self.lease(name)?;
                let unwound = catch_unwind(AssertUnwindSafe(move || {
                    let _lease = lease;
                    panic!("scripted panic of a holder");
                }));
                assert!(unwound.is_err());
            }
            Op::Cancel(names) => {
                for name in names {
                    match self.over(name)? {
                        GetState::Waiting(..) => {}
                        other => return Err(format!("{name} does not wait: {}", other.describe())),
                    }
                }
            }
            Op::Mark { name, broken } => match &self.get(name)?.state {
                GetState::Served(lease) if *broken => lease.mark_broken(),
                GetState::Served(lease) => lease.mark_dirty(),
                other => return Err(format!("{name} has no lease: {}", other.describe())),
            },
            Op::Advance(time) => self.advance(*time).await,
            Op::Handle { resource, report } => {
                let handle = self.handle(*resource)?;
                match report {
                    Report::Broken(text) => handle.broken(text.clone()),
                    Report::Drain(text) => handle.drain(text.clone()),
                    Report::SetPlaces(places) => handle.set_places(*places),
                }
            }
            Op::Script { hook, steps } => {
                for step in steps {
                    self.manager.script(*hook, [text::step(*hook, step, &mut self.gates)?]);
                }
            }
            Op::Always { hook, step } => {
                self.manager.always(*hook, text::step(*hook, step, &mut self.gates)?);
            }
            Op::Heal => self.manager.heal(),
            Op::Open(gate) => self.gates.of(gate).open(),
            Op::Expect(expect) => return self.expect(expect),
            other => self.step_whole(other)?,
        }
        self.settle().await;
        Ok(())
    }

    /// What a future holds of the pool is gone with it, so that the runner's handle is the last one.
    pub fn start(
        &mut self,
        name: &str,
        call: impl Future<Output = Result<Outcome<K>, Error<ScriptedError>>> + 'static,
        held: Held,
    ) -> Result<(), String> {
        let call = Driven::new(call, &self.bell);
        self.enter(name, GetState::Waiting(call, held))?.poll();
        Ok(())
    }

    /// A name may be used again when its get is over.
    fn enter(&mut self, name: &str, state: GetState<K>) -> Result<&mut Get<K>, String> {
        let now = Instant::now();
        let get = Get { state, frozen: false, started: now, ended: now };
        if let Some(Get { state: GetState::Waiting(..) | GetState::Served(_), .. }) =
            self.gets.insert(name.to_owned(), get)
        {
            return Err(format!("{name} is not over"));
        }
        self.order.retain(|known| known != name);
        self.order.push(name.to_owned());
        self.get(name)
    }

    async fn advance(&mut self, time: Duration) {
        let until = Instant::now() + time;
        let bell = self.bell.clone();
        loop {
            self.settle().await;
            tokio::select! {
                biased;
                () = bell.rung() => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    pub fn pool(&self) -> Result<&PoolOf<K>, String> {
        self.pool.as_ref().ok_or_else(|| "the pool was dropped".to_owned())
    }

    pub fn get(&mut self, name: &str) -> Result<&mut Get<K>, String> {
        self.gets.get_mut(name).ok_or_else(|| format!("there is no {name}"))
    }

    /// Takes what there is under this name, which is over then.
    pub fn over(&mut self, name: &str) -> Result<GetState<K>, String> {
        Ok(std::mem::replace(&mut self.get(name)?.state, GetState::Gone))
    }

    pub fn lease(&mut self, name: &str) -> Result<LeaseOf<K>, String> {
        match self.over(name)? {
            GetState::Served(lease) => Ok(lease),
            other => Err(format!("{name} has no lease: {}", other.describe())),
        }
    }

    fn handle(&mut self, resource: usize) -> Result<ResourceHandle, String> {
        self.hear();
        let id = self.ids.get(resource).ok_or("there is no such resource")?;
        let handle = self.manager.attempts().into_iter().find(|handle| handle.id() == *id);
        handle.ok_or_else(|| "its creation has not reached the manager".to_owned())
    }

    /// The events in words, by now.
    pub fn hear(&mut self) -> Vec<String> {
        let events = self.log.0.lock().unwrap().clone();
        events.iter().map(|event| text::event(event, &mut self.ids)).collect()
    }

    pub fn told(&mut self, ignore: &[String]) -> Vec<String> {
        let is_ignored = |event: &String| {
            ignore.iter().any(|word| event.split(' ').next() == Some(word.as_str()))
        };
        self.hear().into_iter().filter(|event| !is_ignored(event)).collect()
    }

    /// What has to hold in every scenario, after each step.
    fn judge(&self) -> Result<(), String> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let frozen = self.gets.values().filter(|get| get.frozen);
        let woken =
            |get: &&Get<K>| matches!(&get.state, GetState::Waiting(get, _) if get.is_woken());
        let alive = |get: &&Get<K>| matches!(get.state, GetState::Detached(_));
        let known = Known {
            max_size: self.max_size,
            started: self.started,
            unpolled: frozen.filter(woken).count() as u64,
            detached: self.detached,
            detached_alive: self.gets.values().filter(alive).count(),
            given: self.given,
            several: self.several,
            ..Known::default()
        };
        judge(pool, &self.manager, &known)
    }

    /// What has to hold at the end of every scenario: nothing is left.
    async fn finish(&mut self) -> Result<(), String> {
        self.gets.clear();
        drop(self.pool.take());
        // Destructions have a timeout, if they hang.
        pass(secs(3600)).await;
        let (counts, tasks) = (self.manager.counts(), alive_tasks());
        if (counts.live, counts.creating, tasks) == (0, 0, 0) {
            return Ok(());
        }
        Err(format!("I15: at the end there are left {tasks} tasks and {counts:?}"))
    }
}
