//! The task that looks for outliers: it takes the counts, has [`Detector`] decide, and sets places.
//!
//! An endpoint that is ejected has no places on its connections, also on those that come later.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::monitor::Outcomes;
use super::observer::{EndpointEvent, Observed};
use super::outlier::{Detector, OutlierDetection, Tally, Verdict};
use super::single::{Single, Woken, wait};
use crate::address_book::{AddressBook, Key};
use crate::stats::Totals;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ejector {
    config: OutlierDetection,
    totals: Arc<Totals>,
    observer: Observed,
    task: Single,
}

/// What had ended of each endpoint when an interval began.
type Seen = BTreeMap<Key, Outcomes>;

impl Ejector {
    pub(crate) fn new(config: OutlierDetection, totals: Arc<Totals>, observer: Observed) -> Self {
        Self { config, totals, observer, task: Single::default() }
    }

    /// There is a connection. Called in a runtime.
    pub(crate) fn begin(self: &Arc<Self>, book: &Arc<AddressBook>) {
        self.task.begin(|| run(Arc::clone(self), Arc::downgrade(book)));
    }

    fn carry_out(&self, book: &AddressBook, verdicts: Vec<Verdict>, now: Instant) {
        for verdict in verdicts {
            match verdict {
                Verdict::Eject { key, by, until } => {
                    if let Some(address) = book.set_ejected(key, Some(until)) {
                        self.totals.endpoints_ejected.fetch_add(1, Ordering::Relaxed);
                        let time = until.saturating_duration_since(now);
                        let event = EndpointEvent::Ejected { address, by, time };
                        self.observer.tell(&self.totals.recent, event);
                    }
                }
                Verdict::Return { key } => {
                    if let Some(address) = book.set_ejected(key, None) {
                        let event = EndpointEvent::Returned { address };
                        self.observer.tell(&self.totals.recent, event);
                    }
                }
            }
        }
    }
}

async fn run(ejector: Arc<Ejector>, book: Weak<AddressBook>) {
    let mut detector = Detector::new(ejector.config.clone());
    let mut due = Instant::now() + ejector.config.interval;
    let mut seen = Seen::new();
    let Some(lone) = book.upgrade().map(|book| {
        // By a task before this one, whose runtime ended.
        let stale = book.ejected().into_iter().map(|key| Verdict::Return { key }).collect();
        ejector.carry_out(&book, stale, Instant::now());
        tally(&book, &mut seen);
        book.lone()
    }) else {
        return;
    };
    loop {
        let woken = wait(&book, Some(due), lone.notified()).await;
        let Some(book) = book.upgrade() else { return };
        let now = Instant::now();
        match woken {
            Woken::Over => return,
            Woken::Due => {
                due = now + ejector.config.interval;
                let tallies = tally(&book, &mut seen);
                let verdicts = detector.sweep(&tallies, now, || fastrand::u32(..100));
                ejector.carry_out(&book, verdicts, now);
            }
            // No endpoint that is in service is ready any more, perhaps.
            Woken::Rung => {}
        }
        if book.all_ready_are_ejected() {
            ejector.carry_out(&book, detector.return_all(), now);
        }
    }
}

/// What has ended of each endpoint since this was asked last.
fn tally(book: &AddressBook, seen: &mut Seen) -> Vec<Tally> {
    let mut known = std::mem::take(seen);
    let tally = |(key, outcomes, ready): (Key, Outcomes, bool)| {
        let new = outcomes.since(known.remove(&key).unwrap_or_default());
        seen.insert(key, outcomes);
        Tally { key, ok: new.ok, failed: new.failed, ready }
    };
    book.outcomes().into_iter().map(tally).collect()
}
