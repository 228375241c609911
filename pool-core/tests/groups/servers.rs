//! A manager of servers, of which each is a group, and what the tests ask of a pool of them.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_core::{
    CreateContext, CreateReason, Error, GetOptions, Group, GroupChange, GroupId, GroupStatus,
    Manager, ResourceHandle, ResourceId, SharedLease, SharedManager, SharedPool, SharedPoolBuilder,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::harness::secs;

pub(crate) const A: GroupId = GroupId(1);
pub(crate) const B: GroupId = GroupId(2);
pub(crate) const C: GroupId = GroupId(3);

/// What creations for a group come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Fail,
    /// As nothing that may be tried again.
    Fatal,
    /// They take as long as they may.
    Never,
    Slow(Duration),
}

/// A creation that began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) group: Option<GroupId>,
    pub(crate) number: u32,
    pub(crate) reason: CreateReason,
    pub(crate) replaces: Option<ResourceId>,
    pub(crate) at: Duration,
}

#[derive(Default)]
pub(crate) struct Books {
    pub(crate) fates: HashMap<GroupId, Fate>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) creating: HashMap<GroupId, usize>,
    pub(crate) most_creating: usize,
    pub(crate) destroyed: Vec<Option<GroupId>>,
    pub(crate) handles: HashMap<ResourceId, ResourceHandle>,
}

/// A manager of servers, of which each is a group.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) books: Arc<Mutex<Books>>,
    began: Instant,
    pub(crate) places: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) group: Option<GroupId>,
}

#[derive(Debug)]
pub(crate) struct Down {
    is_fatal: bool,
}

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for Down {}

impl Servers {
    pub(crate) fn new(places: usize) -> Self {
        Self { books: Arc::default(), began: Instant::now(), places }
    }

    pub(crate) fn pool(&self) -> SharedPoolBuilder<Self> {
        SharedPool::builder(self.clone()).idle_timeout(None).max_lifetime(None).max_size(100)
    }

    pub(crate) fn set(&self, group: GroupId, fate: impl Into<Option<Fate>>) {
        let mut books = self.books.lock().unwrap();
        match fate.into() {
            Some(fate) => books.fates.insert(group, fate),
            None => books.fates.remove(&group),
        };
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.books.lock().unwrap().attempts.clone()
    }

    /// When those for a group began.
    pub(crate) fn attempts_for(&self, group: GroupId) -> Vec<Duration> {
        let attempts = self.attempts();
        attempts.iter().filter(|it| it.group == Some(group)).map(|it| it.at).collect()
    }

    pub(crate) fn handle(&self, id: ResourceId) -> ResourceHandle {
        self.books.lock().unwrap().handles[&id].clone()
    }

    /// That of some resource of a group, if it has one.
    pub(crate) fn handle_in(&self, pool: &Pool, group: GroupId) -> Option<ResourceHandle> {
        let of_group = pool.list().into_iter().find(|it| it.group == Some(group))?;
        Some(self.handle(of_group.id))
    }

    pub(crate) fn destroyed(&self) -> Vec<Option<GroupId>> {
        self.books.lock().unwrap().destroyed.clone()
    }
}

/// A creation under way.
struct Creating(Servers, Option<GroupId>);

impl Drop for Creating {
    fn drop(&mut self) {
        if let Some(group) = self.1 {
            *self.0.books.lock().unwrap().creating.get_mut(&group).unwrap() -= 1;
        }
    }
}

impl Manager for Servers {
    type Resource = Server;
    type Error = Down;

    async fn create(&self, cx: &CreateContext) -> Result<Server, Down> {
        let group = cx.group();
        let fate = {
            let mut books = self.books.lock().unwrap();
            let (number, reason, at) = (cx.attempt(), cx.reason(), self.began.elapsed());
            books.attempts.push(Attempt { group, number, reason, replaces: cx.replaces(), at });
            books.handles.insert(cx.handle().id(), cx.handle());
            if let Some(group) = group {
                *books.creating.entry(group).or_default() += 1;
            }
            books.most_creating = books.most_creating.max(books.creating.values().sum());
            group.and_then(|group| books.fates.get(&group).copied())
        };
        let _creating = Creating(self.clone(), group);
        match fate {
            None => {}
            Some(Fate::Fail) => return Err(Down { is_fatal: false }),
            Some(Fate::Fatal) => return Err(Down { is_fatal: true }),
            Some(Fate::Never) => std::future::pending().await,
            Some(Fate::Slow(time)) => sleep(time).await,
        }
        cx.handle().set_places(self.places);
        Ok(Server { group })
    }

    fn is_fatal(&self, error: &Down) -> bool {
        error.is_fatal
    }

    fn retry_in(&self, _error: &Down, _cx: &CreateContext) -> Option<Duration> {
        Some(secs(2))
    }

    async fn destroy(&self, server: Server) {
        self.books.lock().unwrap().destroyed.push(server.group);
    }
}

impl SharedManager for Servers {}

pub(crate) type Pool = SharedPool<Servers>;
pub(crate) type Lease = SharedLease<'static, Servers>;

pub(crate) fn set(pool: &Pool, groups: impl IntoIterator<Item = Group>) {
    pool.update_groups(groups.into_iter().map(GroupChange::Set));
}

pub(crate) fn retire(pool: &Pool, id: GroupId) {
    pool.update_groups([GroupChange::Retire(id)]);
}

pub(crate) fn group(id: GroupId, min: usize, weight: u32) -> Group {
    Group::new(id).min(min).weight(NonZero::new(weight).unwrap())
}

pub(crate) fn status(pool: &Pool, id: GroupId) -> GroupStatus {
    pool.groups().into_iter().find(|it| it.id == id).unwrap()
}

/// Resources of some groups that may be lent.
pub(crate) fn sizes<const N: usize>(pool: &Pool, ids: [GroupId; N]) -> [usize; N] {
    ids.map(|id| status(pool, id).size)
}

/// How many of some leases are of which group.
pub(crate) fn shares<const N: usize>(leases: &[Lease], ids: [GroupId; N]) -> [usize; N] {
    ids.map(|id| leases.iter().filter(|lease| lease.group == Some(id)).count())
}

/// One that waits for a lease.
pub(crate) fn waiter(pool: &Pool) -> JoinHandle<Result<Lease, Error<Down>>> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.get_owned().await })
}

/// One that waits for a lease of one group.
pub(crate) fn bound(pool: &Pool, group: GroupId) -> JoinHandle<Result<Lease, Error<Down>>> {
    bound_with(pool, GetOptions::new().group(group))
}

pub(crate) fn bound_with(
    pool: &Pool,
    options: GetOptions,
) -> JoinHandle<Result<Lease, Error<Down>>> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.get_owned_with(options).await })
}

pub(crate) async fn lend(pool: &Pool, leases: usize) -> Vec<Lease> {
    let mut held = Vec::with_capacity(leases);
    for _ in 0..leases {
        held.push(pool.get_owned().await.unwrap());
    }
    held
}

/// How many of so many gets, each of which ends before the next one, are of which group.
pub(crate) fn one_by_one<const N: usize>(
    pool: &Pool,
    gets: usize,
    ids: [GroupId; N],
) -> [usize; N] {
    let mut shares = [0; N];
    for _ in 0..gets {
        let group = pool.try_get().unwrap().group.unwrap();
        shares[ids.iter().position(|&id| id == group).unwrap()] += 1;
    }
    shares
}

#[track_caller]
pub(crate) fn about(share: usize, expected: usize, tolerance: usize) {
    assert!(share.abs_diff(expected) <= tolerance, "{share} is not about {expected}");
}
