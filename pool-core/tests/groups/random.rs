//! Random operations on random groups, and what holds after each of them. A seed is replayed by `SEED=n`, and `SEEDS=n`
//! runs that many of them.

use std::collections::HashMap;
use std::env;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use pool_core::{
    Error, GetOptions, Group, GroupChange, GroupId, Pause, Pick, SharedLease, SharedStatus,
};

use crate::harness::{ended_gets, ends, millis, pass, paused, rest, secs};
use crate::servers::{Fate, Lease, Pool, Servers, group};

const SEEDS: u64 = 60;
const STEPS: usize = 300;
const GROUPS: u64 = 5;

type Waiting = Arc<Mutex<HashMap<u64, Option<GroupId>>>>;

/// One that waits, until it does no more.
struct Waits(Waiting, u64);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.lock().unwrap().remove(&self.1);
    }
}

struct Plan {
    rng: Rng,
    servers: Servers,
    pool: Pool,
    held: Arc<Mutex<Vec<Lease>>>,
    /// The groups that those wait for who wait.
    waiting: Waiting,
    gets: u64,
    /// The most resources that there may have been at any time.
    most: usize,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let servers = Servers::new(3);
        let builder = servers.pool().max_size(6).idle_timeout(secs(8)).shrink_delay(secs(2));
        let builder = builder.create_timeout(secs(1)).soft_target(rng.usize(1..4)).max_creating(2);
        let builder = if rng.bool() { builder.max_lifetime(secs(30)) } else { builder };
        let picks = [Pick::PowerOfTwo, Pick::LeastLoaded, Pick::RoundRobin];
        let pool = builder.pick(picks[rng.usize(..picks.len())]).build();
        let mut plan = Self {
            rng,
            servers,
            pool: pool.unwrap(),
            held: Arc::default(),
            waiting: Arc::default(),
            gets: 0,
            most: 6,
            tasks: Vec::new(),
        };
        plan.update();
        plan
    }

    fn id(&mut self) -> GroupId {
        GroupId(self.rng.u64(..GROUPS))
    }

    fn group(&mut self) -> Group {
        let id = self.id();
        group(id, self.rng.usize(..3), self.rng.u32(1..5))
    }

    fn update(&mut self) {
        let mut changes = vec![GroupChange::Set(self.group())];
        for _ in 0..self.rng.usize(..3) {
            let change = if self.rng.bool() {
                GroupChange::Set(self.group())
            } else {
                GroupChange::Retire(self.id())
            };
            changes.push(change);
        }
        self.rng.shuffle(&mut changes);
        self.pool.update_groups(changes);
    }

    fn get(&mut self) {
        let (pool, held) = (self.pool.clone(), Arc::clone(&self.held));
        let options = GetOptions::new().timeout(millis(self.rng.u64(1..4000)));
        let options = if self.rng.bool() { options.through_failures() } else { options };
        let group = self.rng.bool().then(|| self.id());
        let options = group.map_or(options, |group| options.group(group));
        self.gets += 1;
        self.waiting.lock().unwrap().insert(self.gets, group);
        let waits = Waits(Arc::clone(&self.waiting), self.gets);
        self.tasks.push(tokio::spawn(async move {
            let got = pool.get_owned_with(options).await;
            drop(waits);
            match got {
                Ok(lease) => {
                    assert!(group.is_none() || lease.group == group);
                    held.lock().unwrap().push(lease);
                }
                Err(Error::NoGroup | Error::Create(_)) => assert!(group.is_some()),
                Err(Error::Timeout(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }));
    }

    /// One that waits gives up, perhaps just when it was served.
    fn give_up(&mut self) {
        if let Some(task) = self.rng.choice(&self.tasks) {
            task.abort();
        }
    }

    fn replace(&mut self) {
        let list = self.pool.list();
        let Some(old) = self.rng.choice(list) else { return };
        let pool = self.pool.clone();
        self.tasks.push(tokio::spawn(async move {
            drop(pool.replace(old.id, secs(3)).await);
        }));
    }

    fn tell(&mut self) {
        let list = self.pool.list();
        let Some(one) = self.rng.choice(list) else { return };
        let handle = self.servers.handle(one.id);
        match self.rng.u8(..4) {
            0 => handle.broken("test"),
            1 => handle.drain("test"),
            _ => handle.set_places(self.rng.usize(..5)),
        }
    }

    /// Lets go of some leases.
    fn let_go(&mut self) {
        for _ in 0..self.rng.usize(1..5) {
            let mut held = self.held.lock().unwrap();
            if held.is_empty() {
                return;
            }
            let at = self.rng.usize(..held.len());
            let lease = held.swap_remove(at);
            drop(held);
            if self.rng.u8(..8) == 0 {
                SharedLease::discard(lease);
            }
        }
    }

    async fn step(&mut self) {
        match self.rng.u8(..32) {
            0 | 1 => self.update(),
            2 => {
                let slow = Some(Fate::Slow(millis(self.rng.u64(..900))));
                let fates = [None, None, Some(Fate::Fail), Some(Fate::Never), slow];
                let fate = fates[self.rng.usize(..fates.len())];
                let id = self.id();
                self.servers.set(id, fate);
            }
            3..=9 => {
                for _ in 0..self.rng.usize(1..4) {
                    self.get();
                }
            }
            10 | 11 => {
                let lease = self.pool.try_get_owned();
                self.gets += u64::from(lease.is_some());
                self.held.lock().unwrap().extend(lease);
            }
            12 => self.give_up(),
            13..=15 => {
                let id = self.id();
                if let Some(lease) = self.pool.try_get_owned_of(id) {
                    assert_eq!(lease.group, Some(id));
                    self.gets += 1;
                    self.held.lock().unwrap().push(lease);
                }
            }
            16..=21 => {
                self.let_go();
                if self.rng.u8(..4) == 0 {
                    self.give_up();
                }
            }
            22..=24 => self.tell(),
            25 => self.pool.resize(self.rng.usize(1..8)),
            26 => self.replace(),
            27 if self.rng.u8(..4) == 0 => drop(self.pool.reset()),
            28 if self.rng.u8(..4) == 0 => self.pool.pause(Pause::Queue),
            28 => self.pool.resume(),
            _ => pass(millis(self.rng.u64(1..3000))).await,
        }
        rest().await;
        self.judge();
    }

    fn judge(&mut self) {
        let (groups, list, status) = (self.pool.groups(), self.pool.list(), self.pool.status());
        let kept: usize = groups.iter().filter(|it| !it.retired).map(|it| it.min).sum();
        // Those that are about to go for their age have successors beside that.
        let old = list.iter().filter(|it| it.age > secs(20)).count();
        self.most = self.most.max(status.max_size).max(kept + old);
        let active = list.iter().filter(|it| it.draining.is_none()).count();
        assert!(active <= self.most, "{status:?}");
        assert_eq!(active, status.size - status.creating);
        let in_all = list.len() + status.closing + status.replacing;
        assert!(in_all <= 2 * self.most, "{status:?}");
        for group in &groups {
            let all = list.iter().filter(|it| it.group == Some(group.id));
            let active: Vec<_> = all.clone().filter(|it| it.draining.is_none()).collect();
            assert_eq!(active.len(), group.size, "{group:?}");
            assert_eq!(all.clone().count() - active.len(), group.draining, "{group:?}");
            assert_eq!(all.map(|it| it.in_use).sum::<usize>(), group.in_use, "{group:?}");
            assert_eq!(active.iter().map(|it| it.places).sum::<usize>(), group.places, "{group:?}");
            assert!(!group.retired || group.size == 0, "{group:?}");
        }
        let sum = |of: fn(&pool_core::GroupStatus) -> usize| groups.iter().map(of).sum::<usize>();
        assert_eq!(sum(|it| it.size + it.creating), status.size, "{groups:?}");
        assert_eq!(sum(|it| it.in_use), status.in_use, "{groups:?}");
        let waiting = self.waiting.lock().unwrap();
        assert_eq!(status.waiting, waiting.len());
        let is_free = |it: &&SharedStatus| it.draining.is_none() && it.in_use < it.places;
        for group in waiting.values() {
            let mut free = list.iter().filter(is_free);
            let is_served = free.all(|it| group.is_some() && it.group != *group);
            assert!(is_served || status.paused, "somebody waits beside a place: {list:?}");
            let Some(group) = *group else { continue };
            let group = groups.iter().find(|it| it.id == group);
            let Some(group) = group.filter(|it| !it.retired) else {
                panic!("somebody waits for what is not there: {groups:?}")
            };
            let in_all = list.len() + status.creating + status.closing + status.replacing;
            let has_room = status.size < status.max_size && in_all < 2 * status.max_size;
            let is_sought = group.size == 0 && group.creating == 0 && group.retry_in.is_none();
            assert!(!(is_sought && has_room) || status.paused, "nothing comes: {groups:?}");
        }
    }

    /// In peace each group has what it keeps, and nothing is left of those that were retired.
    async fn end(mut self) {
        (0..GROUPS).for_each(|id| self.servers.set(GroupId(id), None));
        self.pool.resume();
        self.pool.resize(6);
        for task in self.tasks.drain(..) {
            if let Err(error) = task.await {
                assert!(error.is_cancelled(), "{error}");
            }
        }
        self.held.lock().unwrap().clear();
        pass(secs(60)).await;
        self.judge();
        for group in self.pool.groups() {
            // Those that are about to go for their age have successors.
            let list = self.pool.list();
            let old = list.iter().filter(|it| it.group == Some(group.id) && it.age > secs(20));
            let most = old.count();
            assert!((group.min..=group.min + most).contains(&group.size), "{group:?}");
            assert!(!group.retired && group.draining == 0 && group.retry_in.is_none(), "{group:?}");
        }
        let counters = self.pool.counters();
        assert_eq!((ended_gets(&counters), self.pool.status().waiting), (self.gets, 0));
        let (created, ended) = (self.pool.counters().created, self.pool.counters().ended.total());
        assert_eq!(created - ended, self.pool.list().len() as u64);
        assert!(self.pool.drain(secs(10)).await.complete);
        assert_eq!(self.servers.destroyed().len() as u64, created);
    }
}

#[test]
fn random_changes_of_groups_lose_nothing_and_hold_up_nobody() {
    let number = |name| env::var(name).ok().map(|number| number.parse().unwrap());
    let seeds = number("SEED").map_or(0..number("SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    ends(secs(60), move |at| {
        for seed in seeds {
            at(format!("to replay: SEED={seed}"));
            paused(async {
                let mut plan = Plan::new(seed);
                for _ in 0..STEPS {
                    plan.step().await;
                }
                plan.end().await;
            });
        }
    });
}
