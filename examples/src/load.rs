//! The callers: each makes one call after the other until the load is stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{self, Instant};

use crate::calls::Workload;
use crate::stats::Stats;

/// A caller whose call failed waits this long. Without it, a transport that fails at once would be
/// called in a tight loop, and its failures would say more about that loop than about the transport.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// Makes calls from `concurrency` callers until `stopped` turns true (or its sender is gone), and
/// returns when the last call under way has ended. Every call is counted in `stats`.
///
/// # Panics
///
/// Panics if a call does.
///
/// # Cancel safety
///
/// Dropping it drops the calls under way, uncounted.
pub async fn run<W: Workload>(
    workload: W,
    concurrency: usize,
    stats: &Arc<Stats>,
    stopped: &watch::Receiver<bool>,
) {
    let mut callers = JoinSet::new();
    for caller in 0..concurrency {
        callers.spawn(call_on(workload.clone(), caller, Arc::clone(stats), stopped.clone()));
    }
    while let Some(ended) = callers.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// One caller, at work until the load is stopped.
async fn call_on<W: Workload>(
    mut workload: W,
    caller: usize,
    stats: Arc<Stats>,
    stopped: watch::Receiver<bool>,
) {
    for call in 0.. {
        if *stopped.borrow() || stopped.has_changed().is_err() {
            break;
        }
        let kind = workload.kind(caller, call);
        let start = Instant::now();
        let result = workload.call(kind).await;
        let failed = result.is_err();
        stats.record(kind, start.elapsed(), result);
        if failed {
            time::sleep(AFTER_FAILURE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::calls::{Failure, Kind};

    /// Calls that take 100 ms each; those of callers over the first fail.
    #[derive(Clone, Default)]
    struct Scripted {
        under_way: Arc<AtomicUsize>,
        failing: bool,
    }

    impl Workload for Scripted {
        fn kinds(&self) -> &'static [Kind] {
            &Kind::ALL
        }

        fn kind(&self, caller: usize, call: usize) -> Kind {
            Kind::ALL[(caller + call) % 4]
        }

        async fn call(&mut self, _kind: Kind) -> Result<(), Failure> {
            self.under_way.fetch_add(1, Ordering::Relaxed);
            if !self.failing {
                time::sleep(Duration::from_millis(100)).await;
            }
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            if self.failing {
                return Err(Failure { code: "UNAVAILABLE", message: String::new() });
            }
            Ok(())
        }
    }

    async fn run_for(time: Duration, workload: Scripted) -> crate::stats::Tally {
        let stats = Arc::new(Stats::new());
        let (stop, stopped) = watch::channel(false);
        tokio::join!(run(workload, 8, &stats, &stopped), async {
            time::sleep(time).await;
            stop.send_replace(true);
        });
        stats.tally()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_load_ends_the_calls_under_way_and_starts_no_more() {
        let workload = Scripted::default();
        let under_way = Arc::clone(&workload.under_way);
        let tally = run_for(Duration::from_millis(350), workload).await;
        assert_eq!(under_way.load(Ordering::Relaxed), 0, "calls were left");
        assert_eq!(tally.by_kind, [8; 4], "8 callers, 4 calls each, every kind in turn");
        assert_eq!(tally.failed(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_pauses_after_a_failure() {
        let tally =
            run_for(Duration::from_millis(95), Scripted { failing: true, ..Scripted::default() })
                .await;
        assert_eq!(tally.calls(), 80, "8 callers, one failure each 10 ms");
        assert_eq!(tally.failed(), 80);
    }
}
