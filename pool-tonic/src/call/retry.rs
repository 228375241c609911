//! Retry by configuration, of one call: gRFC A6's rules, without the call.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tonic::Code;

use crate::retry::{RetryPolicy, Throttle};

/// How many attempts there were before this one.
pub(super) const PREVIOUS_ATTEMPTS: HeaderName =
    HeaderName::from_static("grpc-previous-rpc-attempts");

const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What the server said about another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushback {
    /// Nothing.
    None,
    /// Not before this time.
    After(Duration),
    /// Not at all.
    Never,
}

impl Pushback {
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(PUSHBACK).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::None,
            (Some(value), None) => value
                .to_str()
                .ok()
                .and_then(|text| text.parse::<u32>().ok())
                .map_or(Self::Never, |millis| Self::After(Duration::from_millis(millis.into()))),
            // Two answers are none.
            (Some(_), Some(_)) => Self::Never,
        }
    }
}

/// What is to become of a call after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is sent again after this time.
    Again(Duration),
    /// It would be sent again, but the pool's budget is used up.
    Throttled,
    /// It has failed.
    Failed,
}

/// The attempts of one call.
#[derive(Debug)]
pub(super) struct Retry {
    policy: Arc<RetryPolicy>,
    /// Attempts that have failed.
    failed: u32,
    /// Those of them since the server last said when.
    since_pushback: u32,
}

impl Retry {
    pub(super) fn new(policy: Arc<RetryPolicy>) -> Self {
        Self { policy, failed: 0, since_pushback: 0 }
    }

    /// Attempts before the next one.
    pub(super) fn previous(&self) -> u32 {
        self.failed
    }

    /// An attempt has failed. `random` is uniform in `0.0..1.0`.
    pub(super) fn judge(
        &mut self,
        code: Code,
        pushback: Pushback,
        throttle: Option<&Throttle>,
        random: f64,
    ) -> Verdict {
        self.failed += 1;
        let is_retryable = self.policy.retries(code);
        if !is_retryable && pushback != Pushback::Never {
            return Verdict::Failed;
        }
        // A server that asks for no more counts as a failure whatever its code.
        let may = throttle.is_none_or(Throttle::failed);
        if pushback == Pushback::Never || self.failed >= self.policy.max_attempts() {
            return Verdict::Failed;
        }
        if !may {
            return Verdict::Throttled;
        }
        match pushback {
            Pushback::After(delay) => {
                self.since_pushback = 0;
                Verdict::Again(delay)
            }
            Pushback::None | Pushback::Never => {
                self.since_pushback += 1;
                Verdict::Again(self.policy.delay(self.since_pushback, random))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const UNAVAILABLE: Code = Code::Unavailable;

    fn retry(attempts: u32) -> Retry {
        Retry::new(Arc::new(RetryPolicy::new(attempts, [UNAVAILABLE])))
    }

    fn millis(millis: u64) -> Verdict {
        Verdict::Again(Duration::from_millis(millis))
    }

    #[test]
    fn attempts_are_counted_and_delays_grow() {
        let mut retry = retry(4);
        assert_eq!(retry.previous(), 0);
        assert_eq!(retry.judge(UNAVAILABLE, Pushback::None, None, 0.5), millis(100));
        assert_eq!(retry.judge(UNAVAILABLE, Pushback::None, None, 0.5), millis(200));
        assert_eq!(retry.previous(), 2);
        assert_eq!(retry.judge(UNAVAILABLE, Pushback::None, None, 0.5), millis(400));
        assert_eq!(retry.judge(UNAVAILABLE, Pushback::None, None, 0.5), Verdict::Failed);
    }

    #[test]
    fn the_servers_delay_is_taken_as_it_is_and_back_off_begins_anew() {
        let mut retry = retry(5);
        assert_eq!(retry.judge(UNAVAILABLE, Pushback::None, None, 0.5), millis(100));
        assert_eq!(retry.judge(UNAVAILABLE, Pushback::None, None, 0.5), millis(200));
        let after = Pushback::After(Duration::from_millis(7));
        assert_eq!(retry.judge(UNAVAILABLE, after, None, 0.0), millis(7));
        assert_eq!(retry.judge(UNAVAILABLE, Pushback::None, None, 0.5), millis(100));
    }

    #[test]
    fn other_codes_and_a_server_that_says_no_end_the_call() {
        assert_eq!(retry(4).judge(Code::Internal, Pushback::None, None, 0.5), Verdict::Failed);
        let after = Pushback::After(Duration::ZERO);
        assert_eq!(retry(4).judge(Code::Internal, after, None, 0.5), Verdict::Failed);
        assert_eq!(retry(4).judge(UNAVAILABLE, Pushback::Never, None, 0.5), Verdict::Failed);
    }

    #[test]
    fn the_budget_counts_what_would_be_retried_and_what_the_server_forbids() {
        let throttle = Throttle::new(4, 0.1);
        retry(4).judge(Code::Internal, Pushback::None, Some(&throttle), 0.5);
        retry(4).judge(UNAVAILABLE, Pushback::Never, Some(&throttle), 0.5);
        let verdict = retry(4).judge(UNAVAILABLE, Pushback::None, Some(&throttle), 0.5);
        assert_eq!(verdict, Verdict::Throttled, "2 of 4 are left");
        let throttle = Throttle::new(4, 0.1);
        retry(4).judge(Code::Internal, Pushback::Never, Some(&throttle), 0.5);
        let verdict = retry(4).judge(UNAVAILABLE, Pushback::None, Some(&throttle), 0.5);
        assert_eq!(verdict, Verdict::Throttled, "2 of 4 are left");
        let verdict =
            retry(4).judge(UNAVAILABLE, Pushback::None, Some(&Throttle::new(4, 0.1)), 0.5);
        assert_eq!(verdict, millis(100));
    }

    #[test]
    fn only_a_number_of_milliseconds_asks_for_another_attempt() {
        let pushback = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(PUSHBACK, HeaderValue::from_static(value));
            }
            Pushback::from_headers(&headers)
        };
        assert_eq!(pushback(&[]), Pushback::None);
        assert_eq!(pushback(&["0"]), Pushback::After(Duration::ZERO));
        assert_eq!(pushback(&["1500"]), Pushback::After(Duration::from_millis(1500)));
        for values in [&["-1"][..], &[""], &["soon"], &["1.5"], &["99999999999"], &["1", "1"]] {
            assert_eq!(pushback(values), Pushback::Never, "{values:?}");
        }
    }
}
