//! Pools of anything.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_core::{CreateContext, Manager, Pool, PoolBuilder};
use tokio::time::sleep;

use crate::Failure;

/// Makes resources, as long as it can, which break if they are to, once there are to be faults.
#[derive(Default)]
struct Things {
    fails: bool,
    breaks: bool,
}

/// What is compared with an hour before it has to have been well for that long.
static FAULTS: AtomicBool = AtomicBool::new(false);

impl Manager for Things {
    type Resource = ();
    type Error = io::Error;

    async fn create(&self, _cx: &CreateContext) -> io::Result<()> {
        if self.fails { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
    }

    fn is_broken(&self, _thing: &mut ()) -> bool {
        self.breaks && FAULTS.load(Ordering::Relaxed)
    }
}

/// Something that is kept for as long as the trouble is to last.
pub(crate) type Kept = Box<dyn Any + Send>;

fn pool(name: &str, builder: PoolBuilder<Things>) -> Result<Pool<Things>, Failure> {
    let pool = builder.build()?;
    pool_metrics::register(name, &pool)?;
    Ok(pool)
}

/// So many callers, one get after the other, each holding what it gets for this long.
fn callers(pool: &Pool<Things>, callers: usize, hold: Duration) {
    for _ in 0..callers {
        let pool = pool.clone();
        tokio::spawn(async move {
            loop {
                match pool.get().await {
                    Ok(thing) => {
                        sleep(hold).await;
                        drop(thing);
                    }
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
                tokio::task::yield_now().await;
            }
        });
    }
}

const MOMENT: Duration = Duration::from_millis(5);

/// A pool that is large enough, one that is full and has nobody waiting, and one that is well for as long as it is not
/// to break.
pub(crate) fn healthy() -> Result<Vec<Kept>, Failure> {
    let healthy = pool("healthy", Pool::builder(Things::default()).max_size(8))?;
    callers(&healthy, 4, MOMENT);
    let full = pool("full", Pool::builder(Things::default()).max_size(4))?;
    callers(&full, 4, MOMENT);
    let breaking = Things { breaks: true, ..Things::default() };
    let breaking = pool("breaking", Pool::builder(breaking).max_size(4))?;
    callers(&breaking, 1, MOMENT);
    Ok(vec![Box::new(healthy), Box::new(full), Box::new(breaking)])
}

/// A pool for each trouble, named after it.
pub(crate) fn faults() -> Result<Vec<Kept>, Failure> {
    let timeout = Duration::from_secs(1);
    let too_small = pool("too small", Pool::builder(Things::default()).max_size(1))?;
    callers(&too_small, 32, MOMENT);

    let leaking = Pool::builder(Things::default()).max_size(2).wait_timeout(timeout);
    let leaking = pool("leaking", leaking)?;
    callers(&leaking, 4, Duration::from_secs(3_600));

    let slow = pool("slow", Pool::builder(Things::default()).max_size(2))?;
    callers(&slow, 20, Duration::from_millis(500));

    let queue = Pool::builder(Things::default()).max_size(1).max_waiters(1);
    let queue = pool("queue full", queue)?;
    callers(&queue, 8, MOMENT);

    let failing = Things { fails: true, ..Things::default() };
    let failing = pool("failing", Pool::builder(failing).max_size(2).wait_timeout(timeout))?;
    callers(&failing, 1, MOMENT);

    FAULTS.store(true, Ordering::Relaxed);
    Ok([too_small, leaking, slow, queue, failing].map(|pool| Box::new(pool) as Kept).into())
}
