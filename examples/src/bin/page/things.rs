//! Pools of anything: what they lend is there in a moment, late or not at all.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    CheckPolicy, CreateContext, GetOptions, Lease, Manager, Pause, Pool, SharedManager, SharedPool,
};
use pool_metrics::Readiness;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{FOREVER, Failure, keep};

/// When the pool goes that is to be dropped.
const DROPPED_AFTER: Duration = Duration::from_secs(6);

/// When holders come that keep what they got for longer.
const SLOWER_AFTER: Duration = Duration::from_secs(25);

/// How long a get waits that is to wait in vain.
const SHORT: Duration = Duration::from_millis(500);

/// A name and an error that are markup.
const HOSTILE: &str = "<script>alert(1)</script> & <b>\"name\"</b>";
const HOSTILE_ERROR: &str = "<img src=x onerror=alert(2)> said no & hung up";

/// Connections to a peer that is not there.
pub(crate) struct Things {
    /// What the peer takes at once, and what it says to more.
    room: Arc<Semaphore>,
    refusal: &'static str,
    /// How long it takes to connect.
    takes: Duration,
    /// Whether each is broken after it was used.
    breaks: bool,
}

impl Things {
    fn new() -> Self {
        Self::limited(Semaphore::MAX_PERMITS, "")
    }

    fn limited(room: usize, refusal: &'static str) -> Self {
        let room = Arc::new(Semaphore::new(room));
        Self { room, refusal, takes: Duration::from_millis(15), breaks: false }
    }
}

impl Manager for Things {
    type Resource = OwnedSemaphorePermit;
    type Error = io::Error;

    async fn create(&self, _cx: &CreateContext) -> io::Result<OwnedSemaphorePermit> {
        sleep(self.takes).await;
        let room = Arc::clone(&self.room);
        room.try_acquire_owned().map_err(|_| io::Error::other(self.refusal))
    }

    fn is_broken(&self, _: &mut OwnedSemaphorePermit) -> bool {
        self.breaks
    }
}

impl SharedManager for Things {}

fn things(max_size: usize) -> Result<Pool<Things>, Failure> {
    let pool = Pool::builder(Things::new()).max_size(max_size).check(CheckPolicy::Never);
    Ok(pool.build()?)
}

/// Callers that hold what they get for a while, and rest. What they do not get shows on the page.
fn load(tasks: &mut JoinSet<()>, pool: &Pool<Things>, callers: usize, hold: u64, rest: u64) {
    for caller in 0..callers {
        let pool = pool.clone();
        tasks.spawn(async move {
            for round in 0_usize.. {
                if let Ok(lease) = pool.get().await {
                    sleep(Duration::from_millis(hold)).await;
                    // Now and then one is no good any more.
                    if caller == 0 && round % 200 == 199 {
                        Lease::discard(lease);
                    }
                }
                sleep(Duration::from_millis(rest)).await;
            }
        });
    }
}

pub(crate) async fn well(tasks: &mut JoinSet<()>) -> Result<(), Failure> {
    let sessions = things(10)?;
    pool_metrics::register("sessions", &sessions)?;
    load(tasks, &sessions, 3, 5, 20);

    let cache = SharedPool::builder(Things::new()).max_size(2).places(10).build()?;
    pool_metrics::register("cache", &cache)?;
    keep(tasks, (cache.get_owned().await?, cache.get_owned().await?, cache));

    // All that it may have is out, and nobody wants more.
    let cart = things(2)?;
    pool_metrics::register("cart", &cart)?;
    keep(tasks, (cart.get_owned().await?, cart.get_owned().await?, cart));

    // Nobody wants any.
    let audit = things(2)?;
    pool_metrics::register("audit", &audit)?;
    drop(audit.get().await?);
    keep(tasks, audit);
    Ok(())
}

/// More is wanted than there is.
pub(crate) async fn short(tasks: &mut JoinSet<()>) -> Result<(), Failure> {
    let orders = things(8)?;
    pool_metrics::register("orders", &orders)?;
    load(tasks, &orders, 20, 40, 10);

    // The maximum was enough before its holders took so long.
    let tokens = things(2)?;
    pool_metrics::register("tokens", &tokens)?;
    load(tasks, &tokens, 4, 20, 0);
    tasks.spawn(async move {
        sleep(SLOWER_AFTER).await;
        let mut slower = JoinSet::new();
        load(&mut slower, &tokens, 8, 400, 0);
        slower.join_all().await;
    });

    // Some have been turned away, and more are.
    let tickets = Pool::builder(Things::new()).max_size(2).wait_timeout(SHORT).build()?;
    pool_metrics::register("tickets", &tickets)?;
    keep(tasks, (tickets.get_owned().await?, tickets.get_owned().await?));
    load(tasks, &tickets, 3, 0, 0);

    // Some have been turned away, and nobody waits for long.
    let ledger =
        Pool::builder(Things::new()).max_size(1).wait_timeout(Duration::from_millis(10)).build()?;
    pool_metrics::register("ledger", &ledger)?;
    keep(tasks, ledger.get_owned_with(GetOptions::new().timeout(FOREVER)).await?);
    load(tasks, &ledger, 1, 0, 1000);

    // Its peer needs long for each.
    let search = Pool::builder(Things { takes: FOREVER, ..Things::new() })
        .create_timeout(FOREVER)
        .wait_timeout(FOREVER)
        .build()?;
    pool_metrics::register("search", &search)?;
    load(tasks, &search, 3, 0, 0);

    // Its peer takes no more.
    let payments =
        Pool::builder(Things::limited(2, "too many connections")).wait_timeout(FOREVER).build()?;
    pool_metrics::register("payments", &payments)?;
    keep(tasks, (payments.get_owned().await?, payments.get_owned().await?));
    load(tasks, &payments, 3, 0, 0);
    Ok(())
}

pub(crate) async fn in_trouble(tasks: &mut JoinSet<()>) -> Result<(), Failure> {
    let hostile = Pool::builder(Things::limited(0, HOSTILE_ERROR)).wait_timeout(SHORT).build()?;
    pool_metrics::register_with(HOSTILE, &hostile, Readiness::Connected)?;
    load(tasks, &hostile, 1, 0, 100);

    let mail = Pool::builder(Things { breaks: true, ..Things::new() }).build()?;
    pool_metrics::register("mail", &mail)?;
    load(tasks, &mail, 1, 5, 200);

    // One lease is out for long; another is too, over and over.
    let exports = Pool::builder(Things::new()).leak_threshold(SHORT).build()?;
    pool_metrics::register("exports", &exports)?;
    keep(tasks, exports.get_owned().await?);
    load(tasks, &exports, 1, 1500, 500);
    Ok(())
}

pub(crate) async fn out_of_use(tasks: &mut JoinSet<()>) -> Result<(), Failure> {
    let archive = things(2)?;
    pool_metrics::register("archive", &archive)?;
    drop(archive.get().await?);
    archive.close();
    keep(tasks, archive);

    let reports = things(2)?;
    pool_metrics::register("reports", &reports)?;
    drop(reports.get().await?);
    reports.pause(Pause::Queue);
    keep(tasks, reports);

    let import = things(2)?;
    pool_metrics::register("import", &import)?;
    tasks.spawn(async move {
        sleep(DROPPED_AFTER).await;
        drop(import);
    });
    Ok(())
}
