//! Managers that are chosen at run time.
#![cfg(feature = "dyn")]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod support;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use pool_core::{
    CheckPolicy, CreateContext, DynManager, DynSharedManager, Error, Manager, Metadata, Pool,
    SharedManager, SharedPool, async_trait,
};
use tokio_test::task::spawn;

use support::{Item, ItemError, Items, Step};

type AnyManager = Box<dyn DynManager<Resource = Item, Error = ItemError>>;
type AnySharedManager = Box<dyn DynSharedManager<Resource = Item, Error = ItemError>>;

/// Written as a `DynManager`: every method with something to do, and a count of it.
#[derive(Clone, Default)]
struct Busy {
    items: Items,
    calls: Arc<[AtomicUsize; 8]>,
}

impl Busy {
    fn count(&self, method: usize) {
        self.calls[method].fetch_add(1, SeqCst);
    }
}

#[async_trait]
impl DynManager for Busy {
    type Resource = Item;
    type Error = ItemError;

    async fn create(&self, cx: &CreateContext) -> Result<Item, ItemError> {
        Manager::create(&self.items, cx).await
    }

    async fn check(&self, item: &mut Item, meta: &Metadata) -> Result<(), ItemError> {
        self.count(0);
        tokio::task::yield_now().await;
        Manager::check(&self.items, item, meta).await
    }

    async fn recycle(&self, item: &mut Item, meta: &Metadata) -> Result<(), ItemError> {
        self.count(1);
        Manager::recycle(&self.items, item, meta).await
    }

    fn is_broken(&self, item: &mut Item) -> bool {
        self.count(2);
        item.broken
    }

    fn is_fatal(&self, error: &ItemError) -> bool {
        self.count(3);
        error.fatal
    }

    fn retry_in(&self, _error: &ItemError) -> Option<Duration> {
        self.count(4);
        Some(Duration::from_millis(1))
    }

    fn detached(&self, _item: &mut Item) {
        self.count(5);
    }

    async fn destroy(&self, _item: Item) {
        self.count(6);
    }
}

#[async_trait]
impl DynSharedManager for Busy {
    async fn check_shared(&self, item: &Item, meta: &Metadata) -> Result<(), ItemError> {
        self.count(7);
        SharedManager::check_shared(&self.items, item, meta).await
    }
}

/// Written as a `DynManager` with nothing but what has to be.
struct Plain(Items);

#[async_trait]
impl DynManager for Plain {
    type Resource = Item;
    type Error = ItemError;

    async fn create(&self, cx: &CreateContext) -> Result<Item, ItemError> {
        Manager::create(&self.0, cx).await
    }
}

#[tokio::test(start_paused = true)]
async fn pools_of_different_managers_are_of_one_type() {
    let (items, busy, plain) = (Items::default(), Busy::default(), Plain(Items::default()));
    let ledgers = [items.clone(), busy.items.clone(), plain.0.clone()];
    let managers: [AnyManager; 3] = [Box::new(items), Box::new(busy), Box::new(plain)];
    let pools: Vec<Pool<AnyManager>> =
        managers.into_iter().map(|manager| Pool::builder(manager).build().unwrap()).collect();
    for (pool, items) in pools.iter().zip(&ledgers) {
        drop(pool.get().await.unwrap());
        drop(pool.get().await.unwrap());
        assert_eq!((items.0.created(), pool.status().idle), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn every_method_reaches_the_manager_behind() {
    let busy = Busy::default();
    let (calls, items) = (Arc::clone(&busy.calls), busy.items.clone());
    let manager: AnyManager = Box::new(busy);
    let pool = Pool::builder(manager).check(CheckPolicy::Always).build().unwrap();
    drop(pool.get().await.unwrap());
    items.0.script_checks([Step::Err]);
    items.0.script_creates([Step::Err, Step::Fatal]);
    assert!(
        matches!(pool.get().await, Err(Error::Create(error)) if error.to_string().contains("scripted"))
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    let counts: Vec<_> = calls[..7].iter().map(|count| count.load(SeqCst)).collect();
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    assert_eq!(items.0.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shared_check_reaches_the_manager_behind() {
    let (busy, items) = (Busy::default(), Items::default());
    let (calls, ledgers) = (Arc::clone(&busy.calls), [busy.items.clone(), items.clone()]);
    let managers: [AnySharedManager; 2] = [Box::new(busy), Box::new(items)];
    for (manager, items) in managers.into_iter().zip(ledgers) {
        let pool = SharedPool::builder(manager).check(CheckPolicy::Always).build().unwrap();
        items.0.script_checks([Step::Ok, Step::Err]);
        for _get in 0..3 {
            drop(pool.get().await.unwrap());
        }
        assert_eq!(items.0.created(), 2);
    }
    assert!(calls[7].load(SeqCst) >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_manager_may_be_shared_by_pools() {
    let items = Items::default();
    let manager: Arc<dyn DynManager<Resource = Item, Error = ItemError>> = Arc::new(items.clone());
    let one = Pool::builder(Arc::clone(&manager)).build().unwrap();
    let other = Pool::builder(manager).build().unwrap();
    let _held = (one.get().await.unwrap(), other.get().await.unwrap());
    assert_eq!(items.0.created(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_manager_behind_two_pointers_is_one_still() {
    let items = Items::default();
    let inner: AnyManager = Box::new(items.clone());
    let outer: AnyManager = Box::new(inner);
    let pool = Pool::builder(outer).build().unwrap();
    items.0.script_creates([Step::Err]);
    drop(pool.get().await.unwrap());
    assert_eq!((items.0.attempts(), items.0.live()), (2, 1));
}

/// Has a look at what `check` and `recycle` box.
async fn boxed(manager: impl DynManager<Resource = Item>) -> (usize, usize) {
    struct Probe<M>(M, Arc<AtomicUsize>, Arc<AtomicUsize>);

    impl<M: DynManager<Resource = Item>> Manager for Probe<M> {
        type Resource = Item;
        type Error = M::Error;

        async fn create(&self, cx: &CreateContext) -> Result<Item, M::Error> {
            self.0.create(cx).await
        }

        async fn recycle(&self, item: &mut Item, meta: &Metadata) -> Result<(), M::Error> {
            let future = self.0.check(item, meta);
            self.1.store(size_of_val(&*future), SeqCst);
            drop(future);
            let future = self.0.recycle(item, meta);
            self.2.store(size_of_val(&*future), SeqCst);
            Ok(())
        }
    }

    let (check, recycle) = (Arc::default(), Arc::default());
    let probe = Probe(manager, Arc::clone(&check), Arc::clone(&recycle));
    let pool = Pool::builder(probe).build().unwrap();
    drop(pool.get().await.unwrap());
    drop(pool.get().await.unwrap());
    (check.load(SeqCst), recycle.load(SeqCst))
}

/// Written as a `Manager` with nothing but what has to be.
#[derive(Default)]
struct Native(Items);

impl Manager for Native {
    type Resource = Item;
    type Error = ItemError;

    async fn create(&self, cx: &CreateContext) -> Result<Item, ItemError> {
        Manager::create(&self.0, cx).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_with_nothing_to_look_at_boxes_nothing() {
    assert_eq!(boxed(Plain(Items::default())).await, (0, 0));
    assert_eq!(boxed(Native::default()).await, (0, 0));
    let (check, recycle) = boxed(Busy::default()).await;
    assert!(check > 0 && recycle > 0);
}

#[test]
fn a_default_check_is_ready_at_once_without_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let manager: AnyManager = Box::new(Plain(Items::default()));
    let pool = Pool::builder(manager).check(CheckPolicy::Always).build().unwrap();
    runtime.block_on(async { drop(pool.get().await.unwrap()) });
    let mut hit = spawn(pool.get());
    assert!(matches!(hit.poll(), Poll::Ready(Ok(_))));
}
