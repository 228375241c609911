//! How long an address, or a source of them, is left alone after a failed attempt: the series of gRPC's connection
//! back-off (`doc/connection-backoff.md`). Pure: what is random comes in, uniform in `0.0..1.0`.

use std::time::Duration;

/// Delay after the first failure.
const INITIAL: Duration = Duration::from_secs(1);
/// Factor from one failure to the next.
const MULTIPLIER: f64 = 1.6;
/// Share by which a delay is made longer or shorter, so that many clients do not come back at once.
pub(crate) const JITTER: f64 = 0.2;
/// Longest delay of an address, before jitter.
const MAX: Duration = Duration::from_secs(120);

/// The delay from the start of attempt number `failures` (from 1), which failed, to the start of the next.
pub(crate) fn delay(failures: u32, random: f64) -> Duration {
    up_to(MAX, failures, random)
}

/// The same with another longest delay.
pub(crate) fn up_to(max: Duration, failures: u32, random: f64) -> Duration {
    let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    // The power overflows to infinity, which the minimum brings back to the longest delay.
    let nominal = (INITIAL.as_secs_f64() * MULTIPLIER.powi(exponent)).min(max.as_secs_f64());
    jittered(Duration::from_secs_f64(nominal), random)
}

pub(crate) fn jittered(time: Duration, random: f64) -> Duration {
    time.mul_f64(1.0 + JITTER * (2.0 * random - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_is_grpcs() {
        let millis: Vec<u128> = (1..=12).map(|n| delay(n, 0.5).as_millis()).collect();
        assert_eq!(millis[..4], [1000, 1600, 2560, 4096]);
        assert_eq!(millis[10], 109_951);
        assert_eq!(millis[11], 120_000);
        assert_eq!(delay(u32::MAX, 0.5), MAX);
    }

    #[test]
    fn jitter_is_a_fifth_to_either_side() {
        assert_eq!(delay(1, 0.0), Duration::from_millis(800));
        assert_eq!(delay(1, 1.0), Duration::from_millis(1200));
    }
}
