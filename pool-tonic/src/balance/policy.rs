//! What a user says of how calls are spread.

use std::time::Duration;

/// Which endpoint the next call goes to, of those that have a connection with a free stream slot. An endpoint with twice
/// the weight has about twice the calls, whatever number of connections each has.
///
/// What is *outstanding* are the calls that this pool has on an endpoint and that are not over, streams among them. Each
/// of many clients sees its own alone.
///
/// # Examples
///
/// ```
/// use pool_tonic::{Balance, ChannelPool, PeakEwma};
///
/// let pool = ChannelPool::endpoints(["http://a:50051", "http://b:50051"])
///     .balance(Balance::PeakEwma(PeakEwma::default()))
///     .build()?;
/// # Ok::<(), pool_tonic::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Balance {
    /// Of two random endpoints, the one with fewer outstanding calls for its weight and for the streams that its server
    /// allows on a connection; the first one if it is a draw. What `least_request` does in
    /// [gRFC A48](https://github.com/grpc/proposal/blob/master/A48-xds-least-request-lb-policy.md). Nearly as even as
    /// looking at all of them, at a cost that does not depend on their number, and many clients do not all choose the
    /// same one.
    #[default]
    PowerOfTwo,
    /// Of all endpoints, the one with the fewest outstanding calls for its weight and for the streams that its server
    /// allows; in turn between those that have as many. The most even for one client. Many clients with few calls each may
    /// choose the same one at the same time.
    LeastOutstanding,
    /// One endpoint after the other, but for their weights and what [errors](ErrorPenalty) cost: a slow one gets as many
    /// calls as a fast one, and has more of them outstanding.
    RoundRobin,
    /// As [`PowerOfTwo`](Self::PowerOfTwo), with each endpoint's weight divided by the time that its answers take.
    PeakEwma(PeakEwma),
}

/// How the times of answers are averaged: a slower one counts at once and in full, faster ones by and by.
///
/// What is measured is the time from sending a request to the first headers of the answer; so the pool looks at the clock
/// twice for each call. Answers that are errors from their headers on are not counted: they may come fast. A call that is
/// given up, by its deadline or its caller, counts with the time that it has waited if that is more than the average. An
/// endpoint that has not answered yet is taken to be as fast as the fastest, and one that gets no calls for being slow is
/// forgiven with time, until it counts as the fastest. All of that is lost when an endpoint is listed anew.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeakEwma {
    /// An answer weighs 37 % (1/e) after this time. Default 10 s.
    pub decay: Duration,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self { decay: Duration::from_secs(10) }
    }
}

/// What errors cost an endpoint when calls are spread: a server that fails at once has few calls outstanding, and would
/// get more of them than the others.
///
/// An endpoint's weight is divided by `1 + factor · rate`, where `rate` is the share of its calls that failed lately:
/// with `UNAVAILABLE`, `RESOURCE_EXHAUSTED`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNKNOWN` or `DATA_LOSS`. It always keeps
/// some of its calls, so that it is seen when it is well again; to take an endpoint out there is
/// [`OutlierDetection`](crate::OutlierDetection). Where few calls are made, one that fails costs more than half of the weight for
/// some seconds; where all endpoints fail alike, nothing changes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ErrorPenalty {
    /// An endpoint all of whose calls fail gets one for this many and one of the others'. Default 10; 0 or less is none.
    pub factor: f32,
    /// A call weighs 37 % (1/e) after this time. Default 5 s.
    pub decay: Duration,
}

impl Default for ErrorPenalty {
    fn default() -> Self {
        Self { factor: 10.0, decay: Duration::from_secs(5) }
    }
}
