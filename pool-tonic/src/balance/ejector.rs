//! The task that looks for outliers: it takes the counts, has [`Detector`] decide, and sets places.
//!
//! It begins with a connection and ends with the pool, or with its runtime; then the next connection begins it anew.
//! An endpoint that is ejected has no places on its connections, also on those that come later.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

use super::observer::{EndpointEvent, Observed};
use super::outlier::{Detector, OutlierDetection, Verdict};
use crate::address_book::AddressBook;
use crate::stats::Totals;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ejector {
    config: OutlierDetection,
    totals: Arc<Totals>,
    observer: Observed,
    runs: AtomicBool,
}

/// The task is there while this is.
struct Running(Arc<Ejector>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.runs.store(false, Ordering::SeqCst);
    }
}

enum Woken {
    /// The interval is over.
    Due,
    /// No endpoint that is in service is ready any more.
    Lone,
    Over,
}

impl Ejector {
    pub(crate) fn new(config: OutlierDetection, totals: Arc<Totals>, observer: Observed) -> Self {
        Self { config, totals, observer, runs: AtomicBool::new(false) }
    }

    /// There is a connection. Called in a runtime.
    pub(crate) fn begin(self: &Arc<Self>, book: &Arc<AddressBook>) {
        if !self.runs.swap(true, Ordering::SeqCst) {
            tokio::spawn(run(Running(Arc::clone(self)), Arc::downgrade(book)));
        }
    }

    fn carry_out(&self, book: &AddressBook, verdicts: Vec<Verdict>, now: Instant) {
        for verdict in verdicts {
            match verdict {
                Verdict::Eject { key, by, until } => {
                    if let Some(address) = book.set_ejected(key, Some(until)) {
                        self.totals.endpoints_ejected.fetch_add(1, Ordering::Relaxed);
                        let time = until.saturating_duration_since(now);
                        self.observer.tell(&EndpointEvent::Ejected { address, by, time });
                    }
                }
                Verdict::Return { key } => {
                    if let Some(address) = book.set_ejected(key, None) {
                        self.observer.tell(&EndpointEvent::Returned { address });
                    }
                }
            }
        }
    }
}

async fn run(running: Running, book: Weak<AddressBook>) {
    let ejector = &running.0;
    let mut detector = Detector::new(ejector.config.clone());
    let mut due = Instant::now() + ejector.config.interval;
    if let Some(book) = book.upgrade() {
        // By a task before this one, whose runtime ended.
        let stale = book.ejected().into_iter().map(|key| Verdict::Return { key }).collect();
        ejector.carry_out(&book, stale, Instant::now());
    }
    loop {
        let woken = wait(&book, due).await;
        let Some(book) = book.upgrade() else { return };
        let now = Instant::now();
        match woken {
            Woken::Over => return,
            Woken::Due => {
                due = now + ejector.config.interval;
                let verdicts = detector.sweep(&book.tallies(), now, || fastrand::u32(..100));
                ejector.carry_out(&book, verdicts, now);
            }
            Woken::Lone => {}
        }
        if book.all_ready_are_ejected() {
            ejector.carry_out(&book, detector.return_all(), now);
        }
    }
}

/// Holds the book no longer than it takes to look.
async fn wait(book: &Weak<AddressBook>, due: Instant) -> Woken {
    let Some((mut watch, lone)) = book.upgrade().map(|book| (book.watch(), book.lone())) else {
        return Woken::Over;
    };
    let (mut lone, mut due) = (pin!(lone.notified()), pin!(sleep_until(due)));
    let woken = poll_fn(|cx| {
        if lone.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Woken::Lone);
        }
        due.as_mut().poll(cx).map(|()| Woken::Due)
    });
    watch.until_closed(woken).await.unwrap_or(Woken::Over)
}
