//! Compares a pool with its model: at every moment, when all rests, and at the end.

use std::sync::Arc;

use pool_core::{Counters, Kind, Snapshot};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::driver::Driver;
use super::get::Get;
use super::judge::in_time;
use super::ledger::{Agent, Ledger, What};
use super::plan::{Ask, Birth, Limit};
use super::queue::Outcome;
use super::reference::millis;

impl<M: Agent, K: Kind<M>> Driver<M, K> {
    /// How many resources there may be by the manager's count.
    pub fn most(&self, max_size: usize) -> usize {
        if self.model.shared { max_size * 2 } else { max_size }
    }

    /// Lets the model know what has ended that it is going to be told of.
    pub fn foresee(&mut self) {
        let books = self.ledger.books();
        let fates = books.log.iter().filter_map(|entry| match entry.what {
            What::Ended(reason) => Some((entry.id, (reason, entry.at))),
            _ => None,
        });
        self.model.fates = fates.collect();
    }

    /// At every moment.
    pub fn compare(&mut self) {
        self.foresee();
        let log = std::mem::take(&mut self.ledger.books().log);
        for (at, &entry) in log.iter().enumerate() {
            let dies = log[at..].iter().find_map(|later| match later.what {
                What::Ended(reason) if later.id == entry.id => Some(reason),
                _ => None,
            });
            self.model.did(entry, dies);
        }
        self.model.pass(Instant::now());
        if self.model.shared {
            if self.model.vague() || self.model.settings.max_lifetime.is_some() {
                self.poll_woken();
            }
            self.model.reconcile(self.pool.status().draining);
        }
        if self.model.unsure {
            self.poll_woken();
            self.model.be_sure();
        }
        for Get { number, alarm, .. } in &self.gets {
            match (self.model.outcomes.get(number), alarm.rang()) {
                (Some(Outcome::Timeout(due)), Some(at)) => {
                    assert!(in_time(*due, at), "get {number} was to end {due:?}, ended {at:?}");
                }
                (Some(_), Some(_)) | (None, None) => {}
                (outcome, rang) => {
                    panic!("get {number}: {outcome:?}, woken {rang:?}: {:?}", self.model)
                }
            }
        }
        let Snapshot { status, counters, .. } = self.pool.snapshot();
        self.model.judge_state(&status);
        self.compare_counters(&counters);
    }

    fn compare_counters(&self, counters: &Counters) {
        let (model, expected) = (&self.model, &self.counters);
        let gets = |c: &Counters| {
            let ended = [c.gets_ok, c.gets_timeout, c.gets_cancelled, c.gets_closed];
            (ended, c.gets_error, c.gets_rejected, c.gets_paused, [c.waits, c.waits_ok])
        };
        assert_eq!(gets(counters), gets(expected), "gets: {model:?}");
        let (ended, error, rejected, paused, _) = gets(counters);
        let pending = self.gets.len() as u64;
        let sum = ended.iter().sum::<u64>() + error + rejected + paused + pending;
        assert_eq!(sum, self.asked, "every get is counted once: {model:?}");
        let births = (counters.created, counters.create_failed);
        assert_eq!(births, (model.created, model.create_failed), "births: {model:?}");
        for (reason, ended) in counters.ended.iter() {
            let expected = model.ended.get(reason.as_str()).copied().unwrap_or(0);
            assert_eq!(ended, expected, "ended for {reason:?}: {model:?}");
        }
        let there = model.resources.len() as u64;
        assert_eq!(counters.created, counters.ended.total() + there, "conservation: {model:?}");
    }

    /// Lets every task of the pool run until all of them wait.
    pub async fn rest(&mut self) {
        run_tasks().await;
        self.compare();
        self.model.judge_rest();
        let most = self.most(self.model.settings.limits.max_size);
        let mut books = self.ledger.books();
        let model = &self.model;
        assert_eq!(books.faults, Vec::<String>::new(), "{model:?}");
        assert_eq!(books.alive, model.resources.len() + model.closing.len(), "alive: {model:?}");
        assert_eq!(books.gates.len(), model.births.len(), "creations: {model:?}");
        assert_eq!(books.left, model.ended.values().sum::<u64>(), "told that it left: {model:?}");
        assert_eq!(books.recycled, self.recycled, "recycled: {model:?}");
        books.most = most;
    }

    /// The pool recovers, serves, and leaves nothing behind. Returns what it created and the ledger.
    pub async fn finish_off(mut self) -> (u64, Arc<Ledger>) {
        self.poll_woken();
        while !self.gets.is_empty() {
            self.cancel(0);
        }
        self.compare();
        self.return_all();
        self.detached.clear();
        if !self.model.closed {
            self.recover().await;
        }
        drop(self.held);
        drop(self.pool);
        run_tasks().await;
        let tasks = Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks, 0, "tasks outlive their pool");
        (self.model.created, self.ledger)
    }

    /// Once creation works again, a get is served.
    async fn recover(&mut self) {
        // A place for everybody, whatever the managers have said.
        let handles = self.ledger.books().handles.clone();
        for (id, handle) in handles {
            handle.set_places(1);
            self.model.set_places(id, 1);
        }
        self.rest().await;
        self.resume();
        self.compare();
        self.get(Ask::one(Limit::Timeout(60_000)));
        while !self.gets.is_empty() {
            let waited = Instant::now() - self.gets[0].started;
            assert!(waited < millis(10_000), "the pool does not recover: {:?}", self.model);
            self.finish(0, Birth::Ok(Some(1)));
            self.rest().await;
            self.poll_woken();
            self.advance(millis(100)).await;
            self.compare();
            self.poll_woken();
        }
    }
}

pub async fn run_tasks() {
    for _ in 0..16 {
        yield_now().await;
    }
}
