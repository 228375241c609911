//! Settings: the builder of both pools, and what it checks.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::kind::{Exclusive, Kind, Shared};
use crate::manager::{Manager, SharedManager};
use crate::observer::Observer;
use crate::pool::ResourcePool;

/// When a resource is checked before it is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckPolicy {
    /// Each time.
    Always,
    /// When it has been idle for this long. Errs towards checking: from seven eighths of it on.
    IfIdleFor(Duration),
    /// Never.
    Never,
}

/// How long to wait after a creation failed, before the next attempt: `initial` after the first, each
/// time `multiplier` as long, at most `max`; each wait is off by up to `jitter` of itself, either way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub initial: Duration,
    /// The factor from one wait to the next, at least 1.
    pub multiplier: f64,
    /// The share of a wait that is random, from 0 to 1.
    pub jitter: f64,
    /// The longest wait, before jitter.
    pub max: Duration,
}

impl Backoff {
    /// The wait after this many failures in a row, with `random` in -1..=1.
    pub(crate) fn delay(&self, failures: u32, random: f64) -> Duration {
        let steps = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let nominal = self.initial.as_secs_f64() * self.multiplier.powi(steps);
        let nominal = nominal.min(self.max.as_secs_f64());
        let seconds = nominal * (1.0 + self.jitter * random);
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(self.max)
    }
}

/// A setting that cannot be, found by `build`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    field: &'static str,
    problem: String,
}

impl ConfigError {
    fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }

    /// The name of the setting.
    pub fn field(&self) -> &'static str {
        self.field
    }
}

/// How many of everything.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub(crate) max_size: usize,
    pub(crate) min_size: usize,
    pub(crate) min_idle: usize,
    pub(crate) max_idle: Option<usize>,
    pub(crate) max_waiters: usize,
    pub(crate) max_creating: usize,
    /// Places of a shared resource whose manager has not said how many it has.
    pub(crate) places: usize,
    /// Leases per shared resource over which the pool grows in the background.
    pub(crate) soft_target: usize,
    /// How far it grows for that.
    pub(crate) soft_max_size: usize,
}

impl Limits {
    pub(crate) fn max_idle(&self) -> usize {
        self.max_idle.unwrap_or(self.max_size)
    }
}

/// How long everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) wait: Duration,
    pub(crate) create: Duration,
    pub(crate) check: Duration,
    pub(crate) destroy: Duration,
    pub(crate) shrink_delay: Duration,
    pub(crate) idle: Option<Duration>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) check_policy: CheckPolicy,
    pub(crate) backoff: Backoff,
}

/// The share of the maximum lifetime by which each resource's own may be shorter, so that those
/// created together do not end together.
const LIFETIME_JITTER: f64 = 0.1;

impl Times {
    /// The lifetime of one resource, with `random` in 0..=1.
    pub(crate) fn draw_lifetime(&self, random: f64) -> Option<Duration> {
        let seconds = self.lifetime?.as_secs_f64() * (1.0 - LIFETIME_JITTER * random);
        // Longer than can be said is for ever.
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// How far apart the ticks of the coarse clock are, by which returns are stamped: an eighth of the
    /// shortest span that is measured by it. `None` when none is.
    pub(crate) fn tick(&self) -> Option<Duration> {
        let check = match self.check_policy {
            CheckPolicy::IfIdleFor(idle) => Some(idle),
            CheckPolicy::Always | CheckPolicy::Never => None,
        };
        let shortest = check.into_iter().chain(self.idle).min()?;
        Some((shortest / 8).max(Duration::from_millis(1)))
    }
}

/// Collects a pool's settings: see [`PoolBuilder`] and [`SharedPoolBuilder`].
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<M, K> {
    manager: M,
    pub(crate) limits: Limits,
    pub(crate) times: Times,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) runtime: Option<Handle>,
    kind: PhantomData<K>,
}

/// Collects the settings of a [`Pool`](crate::Pool).
pub type PoolBuilder<M> = Builder<M, Exclusive>;

/// Collects the settings of a [`SharedPool`](crate::SharedPool).
pub type SharedPoolBuilder<M> = Builder<M, Shared>;

impl<M: Manager, K: Kind<M>> Builder<M, K> {
    pub(crate) fn new(manager: M) -> Self {
        Self {
            manager,
            limits: Limits {
                max_size: 10,
                min_size: 0,
                min_idle: 0,
                max_idle: None,
                // Against faults, not a policy: a queue this long is a bug somewhere.
                max_waiters: 1_000_000,
                // Enough to grow, too few to storm a peer that comes back.
                max_creating: 2,
                places: 1,
                soft_target: usize::MAX,
                soft_max_size: usize::MAX,
            },
            times: Times {
                wait: Duration::from_secs(30),
                create: Duration::from_secs(20),
                check: Duration::from_secs(5),
                destroy: Duration::from_secs(5),
                shrink_delay: Duration::from_secs(30),
                idle: Some(Duration::from_secs(10 * 60)),
                lifetime: Some(Duration::from_secs(30 * 60)),
                check_policy: CheckPolicy::IfIdleFor(Duration::from_secs(1)),
                backoff: Backoff {
                    initial: Duration::from_millis(100),
                    multiplier: 1.6,
                    jitter: 0.2,
                    max: Duration::from_secs(5),
                },
            },
            observer: None,
            runtime: None,
            kind: PhantomData,
        }
    }

    /// The most resources at a time: idle, lent, being created and being destroyed together. In a
    /// shared pool those that drain or are being destroyed come beside that, up to as many again.
    /// Default 10.
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.limits.max_size = max_size;
        self
    }

    /// The fewest resources that the pool keeps, idle and lent together. Created in the background,
    /// from the first asynchronous call on (or from `build` on, in a runtime). Default 0.
    pub fn min_size(mut self, min_size: usize) -> Self {
        self.limits.min_size = min_size;
        self
    }

    /// The fewest idle resources that the pool keeps, as long as the maximum size allows it. Created
    /// like those of the minimum size. Default 0.
    pub fn min_idle(mut self, min_idle: usize) -> Self {
        self.limits.min_idle = min_idle;
        self
    }

    /// The most idle resources that stay: what is above goes after the
    /// [`shrink_delay`](Self::shrink_delay), oldest first. Default: the maximum size.
    pub fn max_idle(mut self, max_idle: usize) -> Self {
        self.limits.max_idle = Some(max_idle);
        self
    }

    /// The most callers that may wait at a time; the next one fails at once. Default 1,000,000.
    pub fn max_waiters(mut self, max_waiters: usize) -> Self {
        self.limits.max_waiters = max_waiters;
        self
    }

    /// The most creations at a time. Default 2.
    pub fn max_creating(mut self, max_creating: usize) -> Self {
        self.limits.max_creating = max_creating;
        self
    }

    /// How long a get may take in all. Default 30 s.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.times.wait = timeout;
        self
    }

    /// How long one creation may take. Default 20 s.
    pub fn create_timeout(mut self, timeout: Duration) -> Self {
        self.times.create = timeout;
        self
    }

    /// How long one check may take, and bringing back one resource to a clean state. Default 5 s.
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.times.check = timeout;
        self
    }

    /// How long [`Manager::destroy`] may take. Default 5 s.
    pub fn destroy_timeout(mut self, timeout: Duration) -> Self {
        self.times.destroy = timeout;
        self
    }

    /// How long more resources must have been idle than [`max_idle`](Self::max_idle), without a
    /// moment in between, before some go: half of the surplus, at least one. In a shared pool also:
    /// how long the leases must have fitted on fewer resources before one is drained. Default 30 s.
    pub fn shrink_delay(mut self, delay: Duration) -> Self {
        self.times.shrink_delay = delay;
        self
    }

    /// How long a resource may be idle before it goes, as long as the minimum stays; `None` for as
    /// long as it likes. Never early, at most an eighth late. Default 10 min.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.times.idle = timeout.into();
        self
    }

    /// How old a resource may become; `None` for as old as it likes. Each one's own is up to 10 %
    /// shorter, drawn at its birth. One that is lent goes when it comes back. Default 30 min.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.times.lifetime = lifetime.into();
        self
    }

    /// When a resource is checked before it is lent. Default: if it has been idle for 1 s.
    pub fn check(mut self, policy: CheckPolicy) -> Self {
        self.times.check_policy = policy;
        self
    }

    /// How long to wait after a creation failed. Default: 100 ms, times 1.6, at most 5 s, 20 % jitter.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.times.backoff = backoff;
        self
    }

    /// Who is told what the pool does. Default: nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The runtime in which the pool creates, destroys and keeps time. Default: that of the first
    /// asynchronous call. It has to be driven for as long as the pool is used: a current-thread runtime
    /// that nobody blocks on creates nothing and ends no wait.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Builds the pool. Nothing is created yet, but for a minimum where there is a runtime.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] names the setting that cannot be: a maximum of zero, a minimum above the
    /// maximum, a back-off that shrinks.
    pub fn build(self) -> Result<ResourcePool<M, K>, ConfigError> {
        let Limits { max_size, min_size, min_idle, .. } = self.limits;
        let at_least_one = [
            ("max_size", max_size),
            ("max_creating", self.limits.max_creating),
            ("places", self.limits.places),
            ("soft_target", self.limits.soft_target),
            ("soft_max_size", self.limits.soft_max_size),
        ];
        if let Some((field, _)) = at_least_one.into_iter().find(|&(_, value)| value == 0) {
            return Err(ConfigError::new(field, "must be at least 1"));
        }
        for (field, value) in [("min_size", min_size), ("min_idle", min_idle)] {
            if value > max_size {
                let problem = format!("{value} is above max_size, which is {max_size}");
                return Err(ConfigError::new(field, problem));
            }
        }
        if min_idle > self.limits.max_idle() {
            let problem =
                format!("{min_idle} is above max_idle, which is {}", self.limits.max_idle());
            return Err(ConfigError::new("min_idle", problem));
        }
        let Backoff { initial, multiplier, jitter, .. } = self.times.backoff;
        let grows = !initial.is_zero() && multiplier.is_finite() && multiplier >= 1.0;
        if !(grows && (0.0..=1.0).contains(&jitter)) {
            let problem =
                "initial must be above zero, the multiplier at least 1, the jitter from 0 to 1";
            return Err(ConfigError::new("backoff", problem));
        }
        let spans = [("idle_timeout", self.times.idle), ("max_lifetime", self.times.lifetime)];
        if let Some((field, _)) = spans.into_iter().find(|(_, span)| *span == Some(Duration::ZERO))
        {
            return Err(ConfigError::new(field, "must be above zero; None turns it off"));
        }
        Ok(ResourcePool::from_settings(
            self.manager,
            self.limits,
            self.times,
            self.observer,
            self.runtime,
        ))
    }
}

impl<M: SharedManager> Builder<M, Shared> {
    /// How many places a resource has until its manager says so through
    /// [`ResourceHandle::set_places`](crate::ResourceHandle::set_places). Default 1.
    pub fn places(mut self, places: usize) -> Self {
        self.limits.places = places;
        self
    }

    /// How many leases per resource are good for speed: over it the pool grows in the background, up
    /// to [`soft_max_size`](Self::soft_max_size), while gets go on. Default: no such target.
    pub fn soft_target(mut self, leases: usize) -> Self {
        self.limits.soft_target = leases;
        self
    }

    /// How far the pool grows for speed. For want of places it grows up to the maximum size.
    /// Default: the maximum size.
    pub fn soft_max_size(mut self, size: usize) -> Self {
        self.limits.soft_max_size = size;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_maximum() {
        let backoff = Backoff {
            initial: Duration::from_secs(1),
            multiplier: 1.6,
            jitter: 0.2,
            max: Duration::from_secs(120),
        };
        assert_eq!(backoff.delay(1, 0.0), Duration::from_secs(1));
        assert_eq!(backoff.delay(2, 0.0), Duration::from_millis(1600));
        assert_eq!(backoff.delay(3, 0.5), Duration::from_millis(2816));
        assert_eq!(backoff.delay(u32::MAX, -1.0), Duration::from_secs(96));
    }
}
