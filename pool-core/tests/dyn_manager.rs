//! Managers that are chosen at run time.
#![cfg(feature = "dyn")]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use pool_core::test_util::{Hook, ScriptedError, ScriptedManager, ScriptedResource, Step};
use pool_core::{
    CheckPolicy, CreateContext, DynManager, DynSharedManager, Error, Manager, Metadata, Pool,
    SharedManager, SharedPool, async_trait,
};
use tokio_test::task::spawn;

type AnyManager = Box<dyn DynManager<Resource = ScriptedResource, Error = ScriptedError>>;
type AnySharedManager =
    Box<dyn DynSharedManager<Resource = ScriptedResource, Error = ScriptedError>>;

/// Written as a `DynManager`: every method with something to do, and a count of it.
#[derive(Clone, Default)]
struct Busy {
    scripted: ScriptedManager,
    calls: Arc<[AtomicUsize; 8]>,
}

impl Busy {
    fn count(&self, method: usize) {
        self.calls[method].fetch_add(1, SeqCst);
    }
}

#[async_trait]
impl DynManager for Busy {
    type Resource = ScriptedResource;
    type Error = ScriptedError;

    async fn create(&self, cx: &CreateContext) -> Result<ScriptedResource, ScriptedError> {
        Manager::create(&self.scripted, cx).await
    }

    async fn check(
        &self,
        resource: &mut ScriptedResource,
        meta: &Metadata,
    ) -> Result<(), ScriptedError> {
        self.count(0);
        tokio::task::yield_now().await;
        Manager::check(&self.scripted, resource, meta).await
    }

    async fn recycle(
        &self,
        resource: &mut ScriptedResource,
        meta: &Metadata,
    ) -> Result<(), ScriptedError> {
        self.count(1);
        Manager::recycle(&self.scripted, resource, meta).await
    }

    fn is_broken(&self, resource: &mut ScriptedResource) -> bool {
        self.count(2);
        resource.is_broken()
    }

    fn is_fatal(&self, error: &ScriptedError) -> bool {
        self.count(3);
        error.is_fatal()
    }

    fn retry_in(&self, _error: &ScriptedError, _cx: &CreateContext) -> Option<Duration> {
        self.count(4);
        Some(Duration::from_millis(1))
    }

    fn detached(&self, _resource: &mut ScriptedResource) {
        self.count(5);
    }

    async fn destroy(&self, _resource: ScriptedResource) {
        self.count(6);
    }
}

#[async_trait]
impl DynSharedManager for Busy {
    async fn check_shared(
        &self,
        resource: &ScriptedResource,
        meta: &Metadata,
    ) -> Result<(), ScriptedError> {
        self.count(7);
        SharedManager::check_shared(&self.scripted, resource, meta).await
    }
}

/// Written as a `DynManager` with nothing but what has to be.
struct Plain(ScriptedManager);

#[async_trait]
impl DynManager for Plain {
    type Resource = ScriptedResource;
    type Error = ScriptedError;

    async fn create(&self, cx: &CreateContext) -> Result<ScriptedResource, ScriptedError> {
        Manager::create(&self.0, cx).await
    }
}

#[tokio::test(start_paused = true)]
async fn pools_of_different_managers_are_of_one_type() {
    let (scripted, busy, plain) =
        (ScriptedManager::new(), Busy::default(), Plain(ScriptedManager::new()));
    let ledgers = [scripted.clone(), busy.scripted.clone(), plain.0.clone()];
    let managers: [AnyManager; 3] = [Box::new(scripted), Box::new(busy), Box::new(plain)];
    let pools: Vec<Pool<AnyManager>> =
        managers.into_iter().map(|manager| Pool::builder(manager).build().unwrap()).collect();
    for (pool, scripted) in pools.iter().zip(&ledgers) {
        drop(pool.get().await.unwrap());
        drop(pool.get().await.unwrap());
        assert_eq!((scripted.counts().created, pool.status().idle), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn every_method_reaches_the_manager_behind() {
    let busy = Busy::default();
    let (calls, scripted) = (Arc::clone(&busy.calls), busy.scripted.clone());
    let manager: AnyManager = Box::new(busy);
    let pool = Pool::builder(manager).check(CheckPolicy::Always).build().unwrap();
    drop(pool.get().await.unwrap());
    scripted.script(Hook::Check, [Step::Fail]);
    scripted.script(Hook::Create, [Step::Fail, Step::Fatal]);
    assert!(
        matches!(pool.get().await, Err(Error::Create(error)) if error.to_string().contains("scripted"))
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    let counts: Vec<_> = calls[..7].iter().map(|count| count.load(SeqCst)).collect();
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    assert_eq!(scripted.counts().live, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shared_check_reaches_the_manager_behind() {
    let (busy, scripted) = (Busy::default(), ScriptedManager::new());
    let (calls, ledgers) = (Arc::clone(&busy.calls), [busy.scripted.clone(), scripted.clone()]);
    let managers: [AnySharedManager; 2] = [Box::new(busy), Box::new(scripted)];
    for (manager, scripted) in managers.into_iter().zip(ledgers) {
        let pool = SharedPool::builder(manager).check(CheckPolicy::Always).build().unwrap();
        scripted.script(Hook::Check, [Step::Ok, Step::Fail]);
        for _get in 0..3 {
            drop(pool.get().await.unwrap());
        }
        assert_eq!(scripted.counts().created, 2);
    }
    assert!(calls[7].load(SeqCst) >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_manager_may_be_shared_by_pools() {
    let scripted = ScriptedManager::new();
    let manager: Arc<dyn DynManager<Resource = ScriptedResource, Error = ScriptedError>> =
        Arc::new(scripted.clone());
    let one = Pool::builder(Arc::clone(&manager)).build().unwrap();
    let other = Pool::builder(manager).build().unwrap();
    let _held = (one.get().await.unwrap(), other.get().await.unwrap());
    assert_eq!(scripted.counts().created, 2);
}

#[tokio::test(start_paused = true)]
async fn a_manager_behind_two_pointers_is_one_still() {
    let scripted = ScriptedManager::new();
    let inner: AnyManager = Box::new(scripted.clone());
    let outer: AnyManager = Box::new(inner);
    let pool = Pool::builder(outer).build().unwrap();
    scripted.script(Hook::Create, [Step::Fail]);
    drop(pool.get().await.unwrap());
    assert_eq!((scripted.counts().attempts, scripted.counts().live), (2, 1));
}

/// Has a look at what `check` and `recycle` box.
async fn boxed(manager: impl DynManager<Resource = ScriptedResource>) -> (usize, usize) {
    struct Probe<M>(M, Arc<AtomicUsize>, Arc<AtomicUsize>);

    impl<M: DynManager<Resource = ScriptedResource>> Manager for Probe<M> {
        type Resource = ScriptedResource;
        type Error = M::Error;

        async fn create(&self, cx: &CreateContext) -> Result<ScriptedResource, M::Error> {
            self.0.create(cx).await
        }

        async fn recycle(
            &self,
            resource: &mut ScriptedResource,
            meta: &Metadata,
        ) -> Result<(), M::Error> {
            let future = self.0.check(resource, meta);
            self.1.store(size_of_val(&*future), SeqCst);
            drop(future);
            let future = self.0.recycle(resource, meta);
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
struct Native(ScriptedManager);

impl Manager for Native {
    type Resource = ScriptedResource;
    type Error = ScriptedError;

    async fn create(&self, cx: &CreateContext) -> Result<ScriptedResource, ScriptedError> {
        Manager::create(&self.0, cx).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_with_nothing_to_look_at_boxes_nothing() {
    assert_eq!(boxed(Plain(ScriptedManager::new())).await, (0, 0));
    assert_eq!(boxed(Native::default()).await, (0, 0));
    let (check, recycle) = boxed(Busy::default()).await;
    assert!(check > 0 && recycle > 0);
}

#[test]
fn a_default_check_is_ready_at_once_without_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let manager: AnyManager = Box::new(Plain(ScriptedManager::new()));
    let pool = Pool::builder(manager).check(CheckPolicy::Always).build().unwrap();
    runtime.block_on(async { drop(pool.get().await.unwrap()) });
    let mut hit = spawn(pool.get());
    assert!(matches!(hit.poll(), Poll::Ready(Ok(_))));
}
