//! Settings: the builder of both pools, and what it checks.

mod backoff;
mod error;
mod file;
mod limits;
mod settings;
mod shedding;
#[cfg(feature = "serde")]
mod text;
mod times;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

pub use self::backoff::Backoff;
pub use self::error::ConfigError;
pub use self::file::PoolConfig;
pub use self::limits::Limits;
pub(crate) use self::settings::Settings;
pub use self::shedding::Shedding;
pub use self::times::CheckPolicy;
pub(crate) use self::times::Times;
use crate::group::Pick;
use crate::hooks::Hooks;
use crate::kind::{Exclusive, Kind, Shared};
use crate::manager::{Manager, SharedManager};
use crate::observer::Observer;
use crate::pool::ResourcePool;

/// Collects a pool's settings: see [`PoolBuilder`] and [`SharedPoolBuilder`].
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<M: Manager, K> {
    manager: M,
    config: PoolConfig,
    pub(crate) hooks: Hooks<M>,
    name: Option<Arc<str>>,
    observer: Option<Arc<dyn Observer>>,
    runtime: Option<Handle>,
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
            config: PoolConfig::default(),
            hooks: Hooks::default(),
            name: None,
            observer: None,
            runtime: None,
            kind: PhantomData,
        }
    }

    /// Replaces every setting that is a value: those made before too. Default: that of
    /// [`PoolConfig`].
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// The most resources at a time: idle, lent, being created and being destroyed together. In a
    /// shared pool those that drain or are being destroyed come beside that, up to
    /// [`max_draining`](SharedPoolBuilder::max_draining); and if its [groups](crate::SharedPool::update_groups) keep more, so many there may be. Default 10.
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.config.max_size = max_size;
        self
    }

    /// The fewest resources that the pool keeps, idle and lent together. Created in the background,
    /// from the first asynchronous call on (or from `build` on, in a runtime). Default 0.
    pub fn min_size(mut self, min_size: usize) -> Self {
        self.config.min_size = min_size;
        self
    }

    /// The fewest idle resources that the pool keeps, as long as the maximum size allows it; in a shared pool,
    /// as many free places as so many resources have. Created like those of the minimum size. Default 0.
    pub fn min_idle(mut self, min_idle: usize) -> Self {
        self.config.min_idle = min_idle;
        self
    }

    /// The most idle resources that stay: what is above goes after the
    /// [`shrink_delay`](Self::shrink_delay), half of it at a time, oldest first. Default: the maximum
    /// size.
    pub fn max_idle(mut self, max_idle: usize) -> Self {
        self.config.max_idle = Some(max_idle);
        self
    }

    /// The most callers that may wait at a time; the next one fails at once. Default 1,000,000.
    pub fn max_waiters(mut self, max_waiters: usize) -> Self {
        self.config.max_waiters = max_waiters;
        self
    }

    /// The most creations at a time. Default 2.
    pub fn max_creating(mut self, max_creating: usize) -> Self {
        self.config.max_creating = max_creating;
        self
    }

    /// How long a get may take in all. Zero means not to wait. Default 30 s.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.config.wait_timeout = timeout;
        self
    }

    /// How long one creation may take. Default 20 s.
    pub fn create_timeout(mut self, timeout: Duration) -> Self {
        self.config.create_timeout = timeout;
        self
    }

    /// How long one check may take: [`Manager::check`], or that of a shared resource. One that takes
    /// longer has failed. Default 5 s.
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.config.check_timeout = timeout;
        self
    }

    /// How long [`Manager::recycle`] may take. One that takes longer has failed. Default 5 s.
    pub fn recycle_timeout(mut self, timeout: Duration) -> Self {
        self.config.recycle_timeout = timeout;
        self
    }

    /// How long [`Manager::destroy`] may take. Default 5 s.
    pub fn destroy_timeout(mut self, timeout: Duration) -> Self {
        self.config.destroy_timeout = timeout;
        self
    }

    /// How long more resources must have been idle than [`max_idle`](Self::max_idle), without a
    /// moment in between, before half of the surplus goes, rounded up; what is left of it has a delay
    /// of its own. In a shared pool also: how long the leases must have fitted on fewer resources
    /// before half of those that are not needed are drained. Default 30 s.
    pub fn shrink_delay(mut self, delay: Duration) -> Self {
        self.config.shrink_delay = delay;
        self
    }

    /// How long a resource may be idle before it goes, as long as the minimum stays; `None` for as
    /// long as it likes. Never early, at most an eighth late. Default 10 min.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = timeout.into();
        self
    }

    /// How old a resource may become; `None` for as old as it likes. Each one's own is up to 10 %
    /// shorter, drawn at its birth. One that is lent goes when it comes back. Default 30 min.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.config.max_lifetime = lifetime.into();
        self
    }

    /// How often a resource may be lent before it goes, on its last return; `None` for as often as it
    /// likes. Default `None`.
    pub fn max_uses(mut self, uses: impl Into<Option<u32>>) -> Self {
        self.config.max_uses = uses.into();
        self
    }

    /// When a resource is checked before it is lent. Default: if it has been idle for 1 s.
    pub fn check(mut self, policy: CheckPolicy) -> Self {
        self.config.check = policy;
        self
    }

    /// How often a resource that stays idle is checked, so that a broken one is found, and a peer that
    /// ends silent connections hears from it; `None` for not at all. Default `None`.
    pub fn keepalive(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.config.keepalive = interval.into();
        self
    }

    /// How long a lease may be out before the observer is told once, with the place in the code that
    /// took it, and again when it comes back; `None` for as long as it likes. Nothing is taken from its
    /// holder. Default `None`.
    pub fn leak_threshold(mut self, threshold: impl Into<Option<Duration>>) -> Self {
        self.config.leak_threshold = threshold.into();
        self
    }

    /// Whether it is recorded how long leases are out, for the [`timings`](crate::Timings::lease) of a
    /// [`snapshot`](crate::ResourcePool::snapshot). Each get and each return pays for it with a look at the clock and a
    /// lock. Default `false`.
    pub fn time_leases(mut self, time: bool) -> Self {
        self.config.time_leases = time;
        self
    }

    /// Whether the resource of a holder that panics is discarded, since it may have been left in the
    /// middle of something. A shared one stays either way. Default `true`.
    pub fn discard_on_panic(mut self, discard: bool) -> Self {
        self.config.discard_on_panic = discard;
        self
    }

    /// When to turn callers away since the queue has stood for too long; `None` for never. Default
    /// `None`.
    pub fn shed(mut self, shedding: impl Into<Option<Shedding>>) -> Self {
        self.config.shed = shedding.into();
        self
    }

    /// How long to wait after a creation failed. Default: 100 ms, times 1.6, at most 5 s, 20 % jitter.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// What the pool is called in traces and where it is shown for debugging. Default: nothing, and it is told by the type
    /// of its manager.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Who is told what the pool does. Default: nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The runtime in which the pool creates, destroys and keeps time. Default: that of the first
    /// asynchronous call. It has to be driven for as long as the pool is used: a current-thread runtime
    /// that nobody blocks on creates nothing and ends no wait. When it has ended, that of the next call
    /// takes its place.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Builds the pool. Nothing is created yet, but for a minimum where there is a runtime.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] names the setting that cannot be: a maximum or a span of zero where that means
    /// nothing, a minimum above a maximum, a back-off that shrinks.
    pub fn build(self) -> Result<ResourcePool<M, K>, ConfigError> {
        let (limits, times) = (self.config.limits(), self.config.times());
        limits.check()?;
        times.check()?;
        let Self { manager, config, hooks, name, observer, runtime, .. } = self;
        let pick = config.pick;
        let settings = Settings { limits, times, pick, hooks, name, observer, runtime };
        Ok(ResourcePool::from_settings(manager, settings))
    }
}

impl<M: SharedManager> Builder<M, Shared> {
    /// How many places a resource has until its manager says so through
    /// [`ResourceHandle::set_places`](crate::ResourceHandle::set_places). Default 1.
    pub fn places(mut self, places: usize) -> Self {
        self.config.places = places;
        self
    }

    /// How many resources may drain, be destroyed or be replaced beside the [maximum size](Self::max_size): all together
    /// are at most as many as both. One that drains goes with its last lease, which may take long, and its successor may
    /// come to drain meanwhile. When there are as many, no successor is created until one has gone. Default: the maximum
    /// size.
    pub fn max_draining(mut self, resources: usize) -> Self {
        self.config.max_draining = Some(resources);
        self
    }

    /// How many leases per resource are good for speed: over it the pool grows in the background, up
    /// to [`soft_max_size`](Self::soft_max_size), while gets go on. Default: no such target.
    pub fn soft_target(mut self, leases: usize) -> Self {
        self.config.soft_target = leases;
        self
    }

    /// How far the pool grows for speed. For want of places it grows up to the maximum size.
    /// Default: the maximum size.
    pub fn soft_max_size(mut self, size: usize) -> Self {
        self.config.soft_max_size = size;
        self
    }

    /// How the group is picked that the next lease is of, where there are
    /// [groups](crate::SharedPool::update_groups). Default: the less loaded one of two.
    pub fn pick(mut self, pick: Pick) -> Self {
        self.config.pick = pick;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::CreateContext;

    struct Units;

    impl Manager for Units {
        type Resource = ();
        type Error = std::convert::Infallible;

        async fn create(&self, _cx: &CreateContext) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    impl SharedManager for Units {}

    /// Every field unlike its default, and unlike every other of its type.
    fn other() -> PoolConfig {
        let secs = Duration::from_secs;
        PoolConfig {
            max_size: 101,
            min_size: 1,
            min_idle: 2,
            max_idle: Some(102),
            max_draining: Some(109),
            max_waiters: 103,
            max_creating: 104,
            wait_timeout: secs(201),
            create_timeout: secs(202),
            check_timeout: secs(203),
            recycle_timeout: secs(204),
            destroy_timeout: secs(205),
            shrink_delay: secs(206),
            idle_timeout: None,
            max_lifetime: Some(secs(208)),
            max_uses: Some(105),
            check: CheckPolicy::Always,
            keepalive: Some(secs(209)),
            leak_threshold: Some(secs(210)),
            time_leases: true,
            discard_on_panic: false,
            shed: Some(Shedding { target: secs(211), interval: secs(212) }),
            backoff: Backoff { multiplier: 2.0, ..Backoff::default() },
            places: 106,
            soft_target: 107,
            soft_max_size: 108,
            pick: Pick::RoundRobin,
        }
    }

    #[test]
    fn each_setting_has_a_field_of_its_name() {
        let other = other();
        let builder = SharedPoolBuilder::new(Units)
            .max_size(101)
            .min_size(1)
            .min_idle(2)
            .max_idle(102)
            .max_draining(109)
            .max_waiters(103)
            .max_creating(104)
            .wait_timeout(other.wait_timeout)
            .create_timeout(other.create_timeout)
            .check_timeout(other.check_timeout)
            .recycle_timeout(other.recycle_timeout)
            .destroy_timeout(other.destroy_timeout)
            .shrink_delay(other.shrink_delay)
            .idle_timeout(None)
            .max_lifetime(other.max_lifetime)
            .max_uses(105)
            .check(CheckPolicy::Always)
            .keepalive(Duration::from_secs(209))
            .leak_threshold(Duration::from_secs(210))
            .time_leases(true)
            .discard_on_panic(false)
            .shed(other.shed)
            .backoff(other.backoff)
            .places(106)
            .soft_target(107)
            .soft_max_size(108)
            .pick(Pick::RoundRobin);
        assert_eq!(builder.config, other);
    }

    #[test]
    fn a_config_replaces_what_was_set_before_and_not_what_is_set_after() {
        let builder = PoolBuilder::new(Units).max_size(3).config(other()).max_uses(7);
        assert_eq!(builder.config, PoolConfig { max_uses: Some(7), ..other() });
    }
}
