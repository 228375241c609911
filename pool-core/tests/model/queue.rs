//! Those that wait: in which order they are served, with what, and until when.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::{Pause, Priority};
use tokio::time::Instant;

use super::plan::Ask;
use super::reference::{Model, Resource, TICK};

#[derive(Debug)]
pub struct Waiter {
    pub get: u64,
    pub due: Instant,
    pub class: Priority,
    pub wants: usize,
    /// Resources that it has already of those.
    pub has: Vec<u64>,
}

impl Waiter {
    pub fn misses(&self) -> usize {
        self.wants - self.has.len()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has these resources, in the order in which it got them, and does not know yet.
    Lent(Vec<u64>),
    Timeout(Instant),
    Closed,
    Paused,
    TooMany,
    Fatal,
}

/// What a get has to come to when it is polled for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    Served,
    /// Served or not: there is but a vague one.
    Either,
    Queued,
    Timeout,
    Closed,
    Paused,
    TooMany,
    Full,
}

impl Model {
    /// What a get of so many comes to that has to be over by `due`.
    pub fn fresh(&self, due: Instant, wants: usize) -> Fresh {
        let free = |r: &Resource| r.places.saturating_sub(r.holders);
        let open: usize = self.resources.values().filter(|r| r.is_open()).map(free).sum();
        let vague: usize = self.resources.values().filter(|r| self.is_vague(r)).map(free).sum();
        let may = self.queue.is_empty() && self.paused.is_none();
        if self.closed {
            Fresh::Closed
        } else if self.paused == Some(Pause::Fail) {
            Fresh::Paused
        } else if !self.shared && wants > self.settings.limits.max_size {
            Fresh::TooMany
        } else if may && open >= wants {
            Fresh::Served
        } else if may && open + vague >= wants {
            Fresh::Either
        } else if due <= self.now {
            Fresh::Timeout
        } else if self.queue.len() >= self.settings.limits.max_waiters {
            Fresh::Full
        } else {
            Fresh::Queued
        }
    }

    /// Behind those of its class and of higher ones.
    pub fn join(&mut self, get: u64, due: Instant, ask: Ask) {
        let Ask { class, wants, .. } = ask;
        let behind = self.queue.iter().position(|waiter| waiter.class > class);
        let waiter = Waiter { get, due, class, wants, has: Vec::new() };
        self.queue.insert(behind.unwrap_or(self.queue.len()), waiter);
        self.serve();
        self.note();
    }

    /// What those that wait miss.
    pub fn wanted(&self) -> usize {
        self.queue.iter().map(Waiter::misses).sum()
    }

    /// A get has been served from what was free.
    pub fn lend(&mut self, id: u64, expires: Option<Instant>) {
        assert!(self.queue.is_empty(), "a late caller got {id} before those that wait: {self:?}");
        assert!(self.paused.is_none(), "a paused pool lent {id}: {self:?}");
        self.take_place(id);
        let resource = &self.resources[&id];
        let over = expires.is_some_and(|expires| expires <= self.now);
        assert!(!over, "{id} was lent after its end: {resource:?}");
        self.learn(id, expires);
        self.note();
    }

    /// A get has learned that it was served by these.
    pub fn handed(&mut self, get: u64, got: &[(u64, Option<Instant>)]) {
        let mut ids: Vec<_> = got.iter().map(|&(id, _)| id).collect();
        let set: BTreeSet<_> = got.iter().map(|(id, _)| id).collect();
        match self.outcomes.remove(&get) {
            Some(Outcome::Lent(granted)) if granted.iter().collect::<BTreeSet<_>>() == set => {}
            Some(Outcome::Lent(granted)) if self.shared && self.vague() => {
                for id in granted {
                    self.resources.get_mut(&id).unwrap().holders -= 1;
                }
                for id in ids {
                    self.take_place(id);
                }
            }
            None if self.vague() || self.unsure => {
                let first = self.queue.pop_front();
                let first = first.filter(|first| first.get == get && first.wants == ids.len());
                let first = first.unwrap_or_else(|| panic!("{get} was not the next: {self:?}"));
                for had in first.has {
                    let at = ids.iter().position(|&id| id == had);
                    ids.remove(at.unwrap_or_else(|| panic!("{get} had {had}: {self:?}")));
                }
                for id in ids {
                    self.take_place(id);
                }
                if !self.unsure {
                    // It is in service again, so it is for the others, too.
                    self.serve();
                }
            }
            other => panic!("get {get} was to come to {other:?}, and got {ids:?}: {self:?}"),
        }
        for &(id, expires) in got {
            self.learn(id, expires);
        }
        self.note();
    }

    /// A get gives up.
    pub fn cancel(&mut self, get: u64) {
        let mut had = Vec::new();
        if let Some(at) = self.queue.iter().position(|waiter| waiter.get == get) {
            had = self.queue.remove(at).unwrap().has;
        } else if let Some(Outcome::Lent(ids)) = self.outcomes.remove(&get) {
            had = ids;
        }
        for id in had {
            self.come_back_unused(id);
            self.serve();
            self.note();
        }
        self.serve();
        self.note();
    }

    /// Those fail that wait and are to; what they had comes back.
    pub fn fail(&mut self, which: impl Fn(&Waiter) -> bool, outcome: impl Fn(&Waiter) -> Outcome) {
        let mut had = Vec::new();
        for waiter in self.queue.iter_mut().filter(|waiter| which(waiter)) {
            self.outcomes.insert(waiter.get, outcome(waiter));
            had.append(&mut waiter.has);
        }
        self.queue.retain(|waiter| !which(waiter));
        for id in had {
            self.come_back_unused(id);
        }
    }

    /// It was granted, and the one that it was granted to did not come to use it.
    fn come_back_unused(&mut self, id: u64) {
        let unused = self.resources[&id].unused;
        self.come_back(id, None);
        let resource = self.resources.get_mut(&id).unwrap();
        resource.grants -= 1;
        resource.unused = unused;
    }

    /// Time has come to this.
    pub fn pass(&mut self, now: Instant) {
        while let Some(due) = self.queue.iter().map(|waiter| waiter.due).min()
            && due <= now
        {
            self.now = self.now.max(due);
            if self.left_at + TICK <= due {
                self.just_left = 0;
            }
            let expired = |waiter: &Waiter| waiter.due <= due;
            let missed = self.queue.iter().filter(|waiter| expired(waiter)).map(Waiter::misses);
            self.just_left += missed.sum::<usize>();
            self.left_at = due;
            self.fail(expired, |waiter| Outcome::Timeout(waiter.due));
            self.serve();
            self.note();
        }
        self.now = self.now.max(now);
        if self.left_at + TICK <= self.now {
            self.just_left = 0;
        }
        if self.shared {
            self.grow_old();
        }
        self.note();
    }

    /// Whoever is next gets what is free.
    pub fn serve(&mut self) {
        self.sift(|model, id| !model.resources[&id].ends.is_empty());
        while !self.queue.is_empty() && self.paused.is_none() {
            let open = self.resources.iter().filter(|(_, resource)| resource.is_open());
            let open: Vec<_> = open.map(|(&id, _)| id).collect();
            let &[id] = &open[..] else {
                // Which one it gets is the pool's affair.
                self.unsure |= !open.is_empty();
                return;
            };
            self.take_place(id);
            // Whoever has some of what it wants comes first.
            let at = self.queue.iter().position(|waiter| !waiter.has.is_empty()).unwrap_or(0);
            let first = &mut self.queue[at];
            first.has.push(id);
            if first.misses() == 0 {
                let Waiter { get, has, .. } = self.queue.remove(at).unwrap();
                self.outcomes.insert(get, Outcome::Lent(has));
            }
        }
    }

    /// What has to go is not kept by one that waits for more.
    pub fn sift(&mut self, goes: impl Fn(&Self, u64) -> bool) {
        let kept: Vec<_> = self.queue.iter().flat_map(|waiter| waiter.has.clone()).collect();
        let bad: Vec<_> = kept.into_iter().filter(|&id| goes(self, id)).collect();
        for waiter in &mut self.queue {
            waiter.has.retain(|id| !bad.contains(id));
        }
        for id in bad {
            self.come_back_unused(id);
        }
    }

    /// Whoever was served has said by what: the others get the rest.
    pub fn be_sure(&mut self) {
        self.unsure = false;
        self.serve();
        assert!(!self.unsure, "what is free is given to nobody: {self:?}");
    }

    /// In which order those learn of it that were served: who has an outcome, then as they stand.
    pub fn order(&self) -> BTreeMap<u64, usize> {
        self.queue.iter().enumerate().map(|(at, waiter)| (waiter.get, at + 1)).collect()
    }
}
