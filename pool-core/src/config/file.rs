//! [`PoolConfig`]: every setting that is a value, in one struct.

use std::time::Duration;

use super::{Backoff, CheckPolicy, Limits, Shedding, Times};
use crate::group::Pick;

/// Every setting of a pool that is a value, by the name that it has in the builder, which says what it
/// means. What is not a value, as hooks, the name, the observer and the runtime, only the builder takes.
///
/// The default is that of the builder. What cannot be is found when the pool is built.
///
/// # In a configuration file
///
/// With the feature `serde`, from any format that serde reads. What is missing has its default, and a
/// name that there is not is an error. Durations are written as `"30s"` or `"10min"`; those that can be
/// turned off also as `"never"`, and counts of which there may be any number as `"unlimited"`.
///
/// ```toml
/// max_size = 50
/// min_idle = 5
/// wait_timeout = "3s"
/// idle_timeout = "never"
/// check = { if_idle_for = "10s" }     # or "always", or "never"
/// backoff = { initial = "1s", max = "2min" }
/// shed = {}                           # with its defaults; without this line, not at all
/// ```
///
/// # Examples
///
/// ```
/// # use pool_core::{CreateContext, Manager};
/// # struct Units;
/// # impl Manager for Units {
/// #     type Resource = ();
/// #     type Error = std::convert::Infallible;
/// #     async fn create(&self, _cx: &CreateContext) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// use pool_core::{Pool, PoolConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(feature = "serde")]
/// let config: PoolConfig = toml::from_str("max_size = 50")?;
/// # #[cfg(not(feature = "serde"))]
/// # let config = PoolConfig { max_size: 50, ..PoolConfig::default() };
/// let pool = Pool::builder(Units).config(config).build()?;
/// assert_eq!(pool.status().max_size, 50);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct PoolConfig {
    /// The most resources at a time.
    #[cfg_attr(feature = "serde", serde(with = "super::text::count"))]
    pub max_size: usize,
    /// The fewest resources that the pool keeps, idle and lent together.
    pub min_size: usize,
    /// The fewest idle resources that the pool keeps.
    pub min_idle: usize,
    /// The most idle resources that stay; `None` for as many as the maximum size.
    pub max_idle: Option<usize>,
    /// How many shared resources may drain, be destroyed or be replaced beside the maximum size; `None` for as many as that.
    pub max_draining: Option<usize>,
    /// The most callers that may wait at a time.
    #[cfg_attr(feature = "serde", serde(with = "super::text::count"))]
    pub max_waiters: usize,
    /// The most creations at a time.
    #[cfg_attr(feature = "serde", serde(with = "super::text::count"))]
    pub max_creating: usize,
    /// How long a get may take in all.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub wait_timeout: Duration,
    /// How long one creation may take.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub create_timeout: Duration,
    /// How long one check may take.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub check_timeout: Duration,
    /// How long bringing back one resource to a clean state may take.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub recycle_timeout: Duration,
    /// How long the destruction of one resource may take.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub destroy_timeout: Duration,
    /// For how long there must have been more idle resources than may stay, before half of the surplus
    /// goes.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub shrink_delay: Duration,
    /// How long a resource may be idle before it goes; `None` for as long as it likes.
    #[cfg_attr(feature = "serde", serde(with = "super::text::span"))]
    pub idle_timeout: Option<Duration>,
    /// How old a resource may become; `None` for as old as it likes.
    #[cfg_attr(feature = "serde", serde(with = "super::text::span"))]
    pub max_lifetime: Option<Duration>,
    /// How often a resource may be lent; `None` for as often as it likes.
    pub max_uses: Option<u32>,
    /// When a resource is checked before it is lent.
    pub check: CheckPolicy,
    /// How often idle resources are checked; `None` for not at all.
    #[cfg_attr(feature = "serde", serde(with = "super::text::span"))]
    pub keepalive: Option<Duration>,
    /// How long a lease may be out before it is reported; `None` for as long as it likes.
    #[cfg_attr(feature = "serde", serde(with = "super::text::span"))]
    pub leak_threshold: Option<Duration>,
    /// Whether it is recorded how long leases are out.
    pub time_leases: bool,
    /// Whether the resource of a holder that panics goes.
    pub discard_on_panic: bool,
    /// When callers are turned away since the queue stands; `None` for never.
    pub shed: Option<Shedding>,
    /// How long to wait after a creation failed.
    pub backoff: Backoff,
    /// Places of a shared resource whose manager has not said how many it has.
    #[cfg_attr(feature = "serde", serde(with = "super::text::count"))]
    pub places: usize,
    /// Leases per shared resource over which the pool grows in the background; `usize::MAX` for none.
    #[cfg_attr(feature = "serde", serde(with = "super::text::count"))]
    pub soft_target: usize,
    /// How far a shared pool grows for that; `usize::MAX` for as far as the maximum size.
    #[cfg_attr(feature = "serde", serde(with = "super::text::count"))]
    pub soft_max_size: usize,
    /// How a shared pool picks the group that the next lease is of.
    pub pick: Pick,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_size: 10,
            min_size: 0,
            min_idle: 0,
            max_idle: None,
            max_draining: None,
            // Against faults, not a policy: a queue this long is a bug somewhere.
            max_waiters: 1_000_000,
            // Enough to grow, too few to storm a peer that comes back.
            max_creating: 2,
            wait_timeout: Duration::from_secs(30),
            create_timeout: Duration::from_secs(20),
            check_timeout: Duration::from_secs(5),
            recycle_timeout: Duration::from_secs(5),
            destroy_timeout: Duration::from_secs(5),
            shrink_delay: Duration::from_secs(30),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            max_uses: None,
            check: CheckPolicy::IfIdleFor(Duration::from_secs(1)),
            keepalive: None,
            leak_threshold: None,
            time_leases: false,
            // It may have left the resource in the middle of something.
            discard_on_panic: true,
            shed: None,
            backoff: Backoff::default(),
            places: 1,
            soft_target: usize::MAX,
            soft_max_size: usize::MAX,
            pick: Pick::PowerOfTwo,
        }
    }
}

impl PoolConfig {
    /// The settings that are [`Limits`], as a running pool takes them.
    pub fn limits(&self) -> Limits {
        Limits {
            max_size: self.max_size,
            min_size: self.min_size,
            min_idle: self.min_idle,
            max_idle: self.max_idle,
            max_draining: self.max_draining,
            max_waiters: self.max_waiters,
            max_creating: self.max_creating,
            soft_target: self.soft_target,
            soft_max_size: self.soft_max_size,
            places: self.places,
        }
    }

    pub(super) fn times(&self) -> Times {
        Times {
            wait: self.wait_timeout,
            create: self.create_timeout,
            check: self.check_timeout,
            recycle: self.recycle_timeout,
            destroy: self.destroy_timeout,
            shrink_delay: self.shrink_delay,
            idle: self.idle_timeout,
            lifetime: self.max_lifetime,
            max_uses: self.max_uses,
            check_policy: match self.check {
                // The same, without a clock that ticks for it.
                CheckPolicy::IfIdleFor(Duration::ZERO) => CheckPolicy::Always,
                policy => policy,
            },
            keepalive: self.keepalive,
            leak_threshold: self.leak_threshold,
            time_leases: self.time_leases,
            shed: self.shed,
            discard_on_panic: self.discard_on_panic,
            backoff: self.backoff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_of_whatever_has_been_idle_is_a_check_each_time() {
        let check = CheckPolicy::IfIdleFor(Duration::ZERO);
        let times = PoolConfig { check, ..PoolConfig::default() }.times();
        assert_eq!(times.check_policy, CheckPolicy::Always);
    }
}
