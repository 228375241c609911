//! One load over one system, from start to end: the callers, the restarts of the servers and the live
//! view run side by side, and what came of it is counted.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::calls::Workload;
use crate::error::Problem;
use crate::live::{Live, PoolProgress, Progress};
use crate::load;
use crate::report::Outcome;
use crate::stats::Stats;
use crate::supervisor::Servers;
use crate::view::History;

/// The calls per second and the latencies that are shown are those of this time.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// What all loads have in common.
#[derive(Debug)]
pub struct Loads<'a> {
    /// Where progress is shown.
    pub live: &'a Live,
    /// Callers at work at once.
    pub concurrency: usize,
    /// How long each load runs.
    pub duration: Duration,
    /// Turns true when the user wants an end before that.
    pub interrupted: watch::Receiver<bool>,
}

/// Says how a pool is doing.
pub type Gauge<'a> = &'a (dyn Fn() -> PoolProgress + Sync);

impl Loads<'_> {
    /// What has to be done before a load, unless the user wants an end first.
    ///
    /// # Errors
    ///
    /// Those of `work`, or the interrupt.
    ///
    /// # Cancel safety
    ///
    /// That of `work`, which is dropped at an interrupt too.
    pub async fn before<T>(
        &self,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let mut interrupted = self.interrupted.clone();
        tokio::select! {
            done = work => done,
            // An error means that nobody listens for an interrupt.
            Ok(_) = interrupted.wait_for(|interrupted| *interrupted) => Err(Problem::interrupted()),
        }
    }

    /// Runs the load over what `system` names. `servers` are restarted meanwhile; `gauge` is asked for
    /// the live view. A problem with the servers ends it early: it comes beside what was counted until
    /// then.
    pub async fn run<W: Workload>(
        &self,
        system: &str,
        workload: W,
        servers: Option<&mut Servers>,
        gauge: Option<Gauge<'_>>,
    ) -> (Outcome, Result<(), Problem>) {
        let stats = Arc::new(Stats::new());
        let (stop, stopped) = watch::channel(false);
        let kinds = workload.kinds();
        let start = Instant::now();

        let callers = async {
            load::run(workload, self.concurrency, &stats, &stopped).await;
            start.elapsed()
        };
        let restarts = async {
            let Some(servers) = servers else {
                return (None, Ok(()));
            };
            let (accepted, restarts) = (servers.accepted(), servers.restarts());
            let restarted = servers.restart_in_turn(stopped.clone()).await;
            // Without its servers the load is pointless; otherwise it has ended already.
            stop.send_replace(true);
            let counted = (servers.accepted() - accepted, servers.restarts() - restarts);
            (Some(counted), restarted)
        };
        let clock = async {
            let (mut stopped, mut interrupted) = (stopped.clone(), self.interrupted.clone());
            tokio::select! {
                () = time::sleep(self.duration) => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
                // An error means that nobody listens for an interrupt.
                Ok(_) = interrupted.wait_for(|interrupted| *interrupted) => {
                    self.live.say("interrupted: ending the calls under way");
                }
            }
            stop.send_replace(true);
        };
        let work = async { tokio::join!(callers, restarts, clock) };
        let (ran, (counted, restarted), ()) = tokio::select! {
            done = work => done,
            never = self.show(system, start, &stats, gauge) => match never {},
        };
        self.live.clear();

        let mut outcome = Outcome::new(stats.tally(), kinds, ran);
        if let Some((accepted, restarts)) = counted {
            outcome.connections_opened = Some(accepted);
            outcome.server_restarts = Some(restarts);
        }
        (outcome, restarted)
    }

    /// Keeps the live view up to date.
    async fn show(
        &self,
        system: &str,
        start: Instant,
        stats: &Stats,
        gauge: Option<Gauge<'_>>,
    ) -> Infallible {
        let mut ticks = time::interval(self.live.interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is at once, when there is nothing to show.
        ticks.tick().await;
        let mut past = VecDeque::from([(start, 0)]);
        let mut history = History::new(self.duration);
        let (mut latency, mut asked) = (None, start);
        let (mut last, mut calls_last) = (start, 0);
        loop {
            let now = ticks.tick().await;
            let (calls, failed) = stats.progress();
            while past.len() > 1 && now - past[0].0 > RATE_WINDOW {
                past.pop_front();
            }
            let (then, calls_then) = past[0];
            past.push_back((now, calls));
            // Until there is a whole one, what there is.
            if now - asked >= RATE_WINDOW || latency.is_none() {
                (latency, asked) = (stats.take_latency(), now);
            }
            let pool = gauge.map(|gauge| gauge());
            let waiting = pool.map_or(0, |pool| pool.waiting);
            history.add(now - start, now - last, calls - calls_last, waiting);
            (last, calls_last) = (now, calls);
            let progress = Progress {
                system,
                elapsed: now - start,
                duration: self.duration,
                pool,
                calls_per_second: (calls - calls_then) as f64 / (now - then).as_secs_f64(),
                failed,
                latency,
            };
            self.live.show(&progress, &history);
        }
    }
}
