//! A manager that does as its script says, and keeps a count of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "test support")]

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_core::{CreateContext, Event, Manager, Metadata, Observer, ResourceHandle, SharedManager};

/// What a hook does when it is called next.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Ok,
    Err,
    Fatal,
    Panic,
    Never,
    Slow(Duration),
}

/// What the manager itself has seen.
#[derive(Default)]
pub struct Ledger {
    pub live: AtomicUsize,
    pub most_live: AtomicUsize,
    pub created: AtomicUsize,
    pub attempts: AtomicUsize,
    pub creating: AtomicUsize,
    pub most_creating: AtomicUsize,
    pub recycled: AtomicUsize,
    pub checked: AtomicUsize,
    pub detached: AtomicUsize,
    pub destroyed: AtomicUsize,
    pub creates: Mutex<VecDeque<Step>>,
    pub checks: Mutex<VecDeque<Step>>,
    pub recycles: Mutex<VecDeque<Step>>,
    pub handles: Mutex<Vec<ResourceHandle>>,
    /// Places of a new resource, if its manager sets them.
    pub places: AtomicUsize,
    pub destroy_never_ends: AtomicBool,
}

impl Ledger {
    pub fn live(&self) -> usize {
        self.live.load(SeqCst)
    }

    pub fn created(&self) -> usize {
        self.created.load(SeqCst)
    }

    pub fn attempts(&self) -> usize {
        self.attempts.load(SeqCst)
    }

    pub fn script_creates(&self, steps: impl IntoIterator<Item = Step>) {
        self.creates.lock().unwrap().extend(steps);
    }

    pub fn script_checks(&self, steps: impl IntoIterator<Item = Step>) {
        self.checks.lock().unwrap().extend(steps);
    }

    pub fn script_recycles(&self, steps: impl IntoIterator<Item = Step>) {
        self.recycles.lock().unwrap().extend(steps);
    }

    /// The handle of the n-th resource.
    pub fn handle(&self, n: usize) -> ResourceHandle {
        self.handles.lock().unwrap()[n].clone()
    }
}

#[derive(Clone, Default)]
pub struct Items(pub Arc<Ledger>);

/// A resource. Its drop is what the ledger goes by.
pub struct Item {
    pub number: usize,
    pub broken: bool,
    pub dirty: bool,
    ledger: Arc<Ledger>,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.ledger.live.fetch_sub(1, SeqCst);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemError {
    pub fatal: bool,
}

impl std::fmt::Display for ItemError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("scripted error")
    }
}

impl std::error::Error for ItemError {}

/// Counts a creation for as long as it runs, however it ends.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

async fn play(step: Option<Step>) -> Result<(), ItemError> {
    match step.unwrap_or(Step::Ok) {
        Step::Ok => Ok(()),
        Step::Err => Err(ItemError { fatal: false }),
        Step::Fatal => Err(ItemError { fatal: true }),
        Step::Panic => panic!("scripted panic"),
        Step::Never => pending().await,
        Step::Slow(delay) => {
            tokio::time::sleep(delay).await;
            Ok(())
        }
    }
}

fn next(script: &Mutex<VecDeque<Step>>) -> Option<Step> {
    script.lock().unwrap().pop_front()
}

impl Manager for Items {
    type Resource = Item;
    type Error = ItemError;

    async fn create(&self, cx: &CreateContext) -> Result<Item, ItemError> {
        let ledger = &self.0;
        ledger.attempts.fetch_add(1, SeqCst);
        ledger.handles.lock().unwrap().push(cx.handle());
        let creating = ledger.creating.fetch_add(1, SeqCst) + 1;
        let _running = Running(&ledger.creating);
        ledger.most_creating.fetch_max(creating, SeqCst);
        play(next(&ledger.creates)).await?;
        let places = ledger.places.load(SeqCst);
        if places > 0 {
            cx.handle().set_places(places);
        }
        let live = ledger.live.fetch_add(1, SeqCst) + 1;
        ledger.most_live.fetch_max(live, SeqCst);
        let number = ledger.created.fetch_add(1, SeqCst);
        Ok(Item { number, broken: false, dirty: false, ledger: Arc::clone(ledger) })
    }

    async fn check(&self, _item: &mut Item, _meta: &Metadata) -> Result<(), ItemError> {
        self.0.checked.fetch_add(1, SeqCst);
        play(next(&self.0.checks)).await
    }

    async fn recycle(&self, item: &mut Item, _meta: &Metadata) -> Result<(), ItemError> {
        self.0.recycled.fetch_add(1, SeqCst);
        play(next(&self.0.recycles)).await?;
        item.dirty = false;
        Ok(())
    }

    fn is_broken(&self, item: &mut Item) -> bool {
        item.broken
    }

    fn is_fatal(&self, error: &ItemError) -> bool {
        error.fatal
    }

    fn detached(&self, _item: &mut Item) {
        self.0.detached.fetch_add(1, SeqCst);
    }

    async fn destroy(&self, item: Item) {
        if self.0.destroy_never_ends.load(SeqCst) {
            pending::<()>().await;
        }
        self.0.destroyed.fetch_add(1, SeqCst);
        drop(item);
    }
}

impl SharedManager for Items {
    async fn check_shared(&self, _item: &Item, _meta: &Metadata) -> Result<(), ItemError> {
        self.0.checked.fetch_add(1, SeqCst);
        play(next(&self.0.checks)).await
    }
}

/// Keeps every event.
#[derive(Default)]
pub struct Events(pub Mutex<Vec<Event>>);

impl Observer for Events {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// Lets every task run until all of them wait, without letting time pass.
pub async fn rest() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// Lets this much time pass, and everything happen that it brings.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    rest().await;
}

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
