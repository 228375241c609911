//! What is sent again, how often, and after which delay.

use std::time::Duration;

use tonic::Code;

/// The most attempts that any policy makes; what asks for more gets this (gRFC A6).
const MOST_ATTEMPTS: u32 = 5;

/// Share by which a delay is made longer or shorter (gRFC A6).
const JITTER: f64 = 0.2;

/// How calls that failed are sent again: `retryPolicy` of a gRPC service config, as in
/// [gRFC A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md). For a method, a service or
/// all of a pool by [`retry_policy`](crate::ChannelPoolBuilder::retry_policy). None by default.
///
/// A call that failed with one of the codes **may have been processed**. A policy says that processing
/// it twice does no harm. Calls that provably were not processed are sent again without any policy, and
/// do not count as attempts.
///
/// - A call is sent again only before its answer has begun: it failed without headers, or with nothing but
///   them ("trailers only"); an answer that breaks off is the caller's to judge. An HTTP error of a proxy is
///   the code that it stands for.
/// - A streaming request is sent again only as long as all that was sent of it is in its
///   [buffer](crate::ChannelPoolBuilder::retry_buffer_size).
/// - The deadline of the call covers all attempts and the delays between them; one that finds no stream slot in
///   time is not retried. When the pool is closed there is no further attempt.
/// - The server may say when to send the call again (`grpc-retry-pushback-ms`), or not to (a negative number, or
///   none). It is told by `grpc-previous-rpc-attempts` how many attempts there were before.
/// - A [budget](crate::ChannelPoolBuilder::retry_throttling) over all calls of a pool can keep retries from making
///   an overload worse.
///
/// There is no hedging, which sends a call again before the first attempt has failed: it multiplies the load of
/// a server just when that is slow, it needs calls of which several may run at once, and a
/// pool cannot choose its place well, since two attempts may share one connection. Where it is wanted, a `tower`
/// layer around the channel can do it for the few calls that it suits.
///
/// # Examples
///
/// ```
/// use pool_tonic::{ChannelPool, MethodName, RetryPolicy};
/// use std::time::Duration;
/// use tonic::Code;
///
/// let reads = RetryPolicy::new(4, [Code::Unavailable])
///     .initial_backoff(Duration::from_millis(50))
///     .max_backoff(Duration::from_secs(1));
/// let pool = ChannelPool::builder("http://orders:50051")
///     .retry_policy(MethodName::method("shop.Orders", "GetOrder"), reads)
///     .build()?;
/// # Ok::<(), pool_tonic::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    max_attempts: u32,
    initial_backoff: Duration,
    max_backoff: Duration,
    backoff_multiplier: f64,
    codes: Codes,
}

impl RetryPolicy {
    /// At most `max_attempts` attempts, the first one included, for calls that fail with one of `codes`.
    /// More than 5 attempts are taken as 5, as the specification says.
    ///
    /// Back-off is 100 ms before the second attempt, doubled for each further one, at most 1 s, unless
    /// set otherwise.
    pub fn new(max_attempts: u32, codes: impl IntoIterator<Item = Code>) -> Self {
        Self {
            max_attempts,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            backoff_multiplier: 2.0,
            codes: codes.into_iter().collect(),
        }
    }

    /// The delay before the second attempt. Each delay is drawn from 0.8 to 1.2 times its length.
    pub fn initial_backoff(mut self, backoff: Duration) -> Self {
        self.initial_backoff = backoff;
        self
    }

    /// The longest delay, before it is drawn.
    pub fn max_backoff(mut self, backoff: Duration) -> Self {
        self.max_backoff = backoff;
        self
    }

    /// The factor from one delay to the next.
    pub fn backoff_multiplier(mut self, multiplier: f64) -> Self {
        self.backoff_multiplier = multiplier;
        self
    }

    /// What is wrong with it: the field, and the rule.
    pub(crate) fn flaw(&self) -> Option<(&'static str, &'static str)> {
        if self.max_attempts < 2 {
            Some(("max_attempts", "has to be at least 2: the first attempt is one of them"))
        } else if self.initial_backoff.is_zero() {
            Some(("initial_backoff", "has to be above zero"))
        } else if self.max_backoff.is_zero() {
            Some(("max_backoff", "has to be above zero"))
        } else if !(self.backoff_multiplier > 0.0 && self.backoff_multiplier.is_finite()) {
            Some(("backoff_multiplier", "has to be a number above zero"))
        } else if self.codes.is_empty() {
            Some(("codes", "have to be at least one"))
        } else if self.codes.contains(Code::Ok) {
            Some(("codes", "must not have OK among them"))
        } else {
            None
        }
    }

    pub(crate) fn max_attempts(&self) -> u32 {
        self.max_attempts.min(MOST_ATTEMPTS)
    }

    pub(crate) fn retries(&self, code: Code) -> bool {
        self.codes.contains(code)
    }

    /// The delay before retry number `retry`, from 1. `random` is uniform in `0.0..1.0`.
    pub(crate) fn delay(&self, retry: u32, random: f64) -> Duration {
        let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        let nominal = self.initial_backoff.as_secs_f64() * self.backoff_multiplier.powi(exponent);
        let nominal = nominal.min(self.max_backoff.as_secs_f64());
        let drawn = nominal * (1.0 + JITTER * (2.0 * random - 1.0));
        Duration::try_from_secs_f64(drawn).unwrap_or(Duration::MAX)
    }
}

/// A set of codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Codes(u32);

impl Codes {
    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn contains(self, code: Code) -> bool {
        self.0 & (1 << code as u32) != 0
    }
}

impl FromIterator<Code> for Codes {
    fn from_iter<I: IntoIterator<Item = Code>>(codes: I) -> Self {
        Self(codes.into_iter().fold(0, |set, code| set | 1 << code as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_by_the_factor_up_to_the_longest() {
        let policy = RetryPolicy::new(5, [Code::Unavailable]);
        let millis: Vec<u128> = (1..=6).map(|n| policy.delay(n, 0.5).as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(policy.delay(u32::MAX, 0.5), Duration::from_secs(1));
    }

    #[test]
    fn a_delay_is_drawn_from_a_fifth_to_either_side() {
        let policy = RetryPolicy::new(5, [Code::Unavailable]);
        assert_eq!(policy.delay(1, 0.0), Duration::from_millis(80));
        assert_eq!(policy.delay(1, 1.0), Duration::from_millis(120));
        let endless = policy.initial_backoff(Duration::MAX).max_backoff(Duration::MAX);
        assert_eq!(endless.delay(3, 1.0), Duration::MAX);
    }

    #[test]
    fn more_attempts_than_the_specification_allows_are_as_many_as_it_does() {
        assert_eq!(RetryPolicy::new(100, [Code::Aborted]).max_attempts(), 5);
        assert_eq!(RetryPolicy::new(3, [Code::Aborted]).max_attempts(), 3);
    }

    #[test]
    fn only_the_codes_that_were_named_are_retried() {
        let policy = RetryPolicy::new(2, [Code::Unavailable, Code::Unauthenticated]);
        let retried = (0..17).map(Code::from_i32).filter(|code| policy.retries(*code));
        assert_eq!(retried.collect::<Vec<_>>(), [Code::Unavailable, Code::Unauthenticated]);
    }
}
