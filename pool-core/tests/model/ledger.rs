//! A manager whose creations end when the test says so and how it says, with books of its own; and what
//! the pool's observer is told, in order and with the time.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pool_core::{
    CreateContext, EndReason, Event, Manager, Metadata, Observer, ResourceHandle, ResourceId,
    SharedManager,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::plan::Birth;

/// Something that the pool did of itself, or said that it did.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub at: Instant,
    pub id: u64,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
pub enum What {
    Started,
    Created,
    Failed {
        retry_in: Duration,
    },
    Draining(EndReason),
    Ended(EndReason),
    /// Its destruction is over.
    Gone,
}

#[derive(Default)]
pub struct Books {
    pub log: Vec<Entry>,
    /// Creations that run, with what ends one until it has been told to.
    pub gates: BTreeMap<u64, Option<oneshot::Sender<Birth>>>,
    pub handles: BTreeMap<u64, ResourceHandle>,
    /// Resources that have not been dropped, without those that were detached.
    pub alive: usize,
    pub left: u64,
    pub checked: u64,
    pub recycled: u64,
    /// How many resources there may be, to be created included.
    pub most: usize,
    /// What a hook saw that must not be: a panic there would be contained.
    pub faults: Vec<String>,
}

pub struct Ledger {
    books: Mutex<Books>,
    destroy: Duration,
}

impl Ledger {
    pub fn new(destroy: Duration) -> Arc<Self> {
        Arc::new(Self { books: Mutex::default(), destroy })
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, id: u64, what: What) {
        self.books().log.push(Entry { at: Instant::now(), id, what });
    }

    async fn create(self: &Arc<Self>, cx: &CreateContext) -> Result<Thing, Refused> {
        let handle = cx.handle();
        let id = number(handle.id());
        let (gate, outcome) = oneshot::channel();
        {
            let mut books = self.books();
            books.gates.insert(id, Some(gate));
            books.handles.insert(id, handle.clone());
            let (there, most) = (books.alive + books.gates.len(), books.most);
            if there > most {
                books.faults.push(format!("{there} resources and creations, {most} at most"));
            }
        }
        let _running = Running { ledger: self, id };
        match outcome.await {
            Ok(Birth::Ok(places)) => {
                if let Some(places) = places {
                    handle.set_places(places);
                }
                self.books().alive += 1;
                Ok(Thing {
                    id,
                    broken: AtomicBool::new(false),
                    detached: false,
                    ledger: Arc::clone(self),
                })
            }
            Ok(Birth::Err) => Err(Refused { fatal: false }),
            Ok(Birth::Fatal) | Err(_) => Err(Refused { fatal: true }),
        }
    }

    fn check(&self) {
        self.books().checked += 1;
    }

    fn recycle(&self, meta: &Metadata) {
        let mut books = self.books();
        books.recycled += 1;
        if meta.uses() < 2 {
            books.faults.push(format!("{} is recycled unused", meta.id()));
        }
    }

    fn detached(&self) {
        self.books().left += 1;
    }

    async fn destroy(&self, thing: Thing) {
        if !self.destroy.is_zero() {
            sleep(self.destroy).await;
        }
        drop(thing);
    }
}

impl Observer for Ledger {
    fn event(&self, event: &Event) {
        match event {
            Event::CreateStarted { id, .. } => self.log(number(*id), What::Started),
            Event::Created { id, .. } => self.log(number(*id), What::Created),
            Event::CreateFailed { id, retry_in, .. } => {
                self.log(number(*id), What::Failed { retry_in: *retry_in });
            }
            Event::Draining { id, reason } => self.log(number(*id), What::Draining(*reason)),
            Event::Ended { id, reason } => self.log(number(*id), What::Ended(*reason)),
            _ => {}
        }
    }
}

struct Running<'a> {
    ledger: &'a Ledger,
    id: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.ledger.books().gates.remove(&self.id);
    }
}

pub fn number(id: ResourceId) -> u64 {
    id.to_string().parse().unwrap()
}

/// A resource.
pub struct Thing {
    pub id: u64,
    pub broken: AtomicBool,
    detached: bool,
    ledger: Arc<Ledger>,
}

impl Thing {
    /// It is out of the pool.
    pub fn detach(&mut self) {
        self.detached = true;
        self.ledger.books().alive -= 1;
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        if !self.detached {
            self.ledger.books().alive -= 1;
            self.ledger.log(self.id, What::Gone);
        }
    }
}

#[derive(Debug)]
pub struct Refused {
    fatal: bool,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

/// The managers that the model knows.
pub trait Agent: SharedManager<Resource = Thing, Error = Refused> {
    /// Whether it looks at resources before they are lent.
    const LOOKS: bool;

    fn new(ledger: Arc<Ledger>) -> Self;
}

/// Its resources are lent as they are, on the shortest way.
pub struct Plain(Arc<Ledger>);

/// Its resources are checked and recycled, by futures that have state.
pub struct Careful(Arc<Ledger>);

macro_rules! common {
    () => {
        type Resource = Thing;
        type Error = Refused;

        async fn create(&self, cx: &CreateContext) -> Result<Thing, Refused> {
            self.0.create(cx).await
        }

        fn is_broken(&self, thing: &mut Thing) -> bool {
            *thing.broken.get_mut()
        }

        fn is_fatal(&self, error: &Refused) -> bool {
            error.fatal
        }

        fn detached(&self, _thing: &mut Thing) {
            self.0.detached();
        }

        async fn destroy(&self, thing: Thing) {
            self.0.destroy(thing).await;
        }
    };
}

impl Manager for Plain {
    common!();
}

impl SharedManager for Plain {}

impl Agent for Plain {
    const LOOKS: bool = false;

    fn new(ledger: Arc<Ledger>) -> Self {
        Self(ledger)
    }
}

impl Manager for Careful {
    common!();

    async fn check(&self, _thing: &mut Thing, _meta: &Metadata) -> Result<(), Refused> {
        self.0.check();
        Ok(())
    }

    async fn recycle(&self, _thing: &mut Thing, meta: &Metadata) -> Result<(), Refused> {
        self.0.recycle(meta);
        Ok(())
    }
}

impl SharedManager for Careful {
    async fn check_shared(&self, _thing: &Thing, _meta: &Metadata) -> Result<(), Refused> {
        self.0.check();
        Ok(())
    }
}

impl Agent for Careful {
    const LOOKS: bool = true;

    fn new(ledger: Arc<Ledger>) -> Self {
        Self(ledger)
    }
}
