//! Settings of calls.

use std::time::Duration;

use http::HeaderValue;

use super::ChannelPoolBuilder;
use crate::error::ConfigError;
use crate::pool::CallConfig;
use crate::retry::{MethodName, RetryPolicy, Rules, Throttle};

/// Longer times the clock could not hold.
const FOR_EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 100);

#[derive(Debug)]
pub(super) struct Calls {
    pub(super) max_waiting: Option<usize>,
    pub(super) wait_timeout: Duration,
    retry_buffer_size: usize,
    max_transparent_retries: u32,
    pub(super) max_dedicated: usize,
    wait_for_ready: bool,
    retry: Vec<(MethodName, Option<RetryPolicy>)>,
    throttling: Option<(u32, f64)>,
    user_agent: Option<String>,
    #[cfg(feature = "tracing")]
    propagate: Option<crate::trace::Propagate>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            max_waiting: None,
            wait_timeout: Duration::from_secs(30),
            retry_buffer_size: 256 * 1024,
            max_transparent_retries: 16,
            max_dedicated: 10,
            wait_for_ready: false,
            retry: Vec::new(),
            throttling: None,
            user_agent: None,
            #[cfg(feature = "tracing")]
            propagate: None,
        }
    }
}

impl Calls {
    pub(super) fn build(&self) -> Result<CallConfig, ConfigError> {
        Ok(CallConfig {
            user_agent: user_agent(self.user_agent.as_deref())?,
            retry_buffer_size: self.retry_buffer_size,
            max_transparent_retries: self.max_transparent_retries,
            wait_timeout: self.wait_timeout.min(FOR_EVER),
            wait_for_ready: self.wait_for_ready,
            retry: Rules::new(&self.retry)?,
            #[cfg(feature = "tracing")]
            propagate: self.propagate.clone(),
        })
    }

    pub(super) fn throttle(&self) -> Result<Option<Throttle>, ConfigError> {
        let Some((max_tokens, token_ratio)) = self.throttling else { return Ok(None) };
        if let Some((field, reason)) = Throttle::flaw(max_tokens, token_ratio) {
            let name = "all calls (throttling)".to_owned();
            return Err(ConfigError::Retry { name, field, reason });
        }
        Ok(Some(Throttle::new(max_tokens, token_ratio)))
    }
}

impl ChannelPoolBuilder {
    /// Adds headers to every request, within its `grpc.call` span: what carries a trace on to the server, as W3C's
    /// `traceparent`. Called once for each call, in the place that makes it; the headers are those of all attempts. (An
    /// interceptor around the channel is called before there is a span, and makes the server's one of the caller's.)
    ///
    /// # Examples
    ///
    /// The example `opentelemetry` does this with OpenTelemetry's propagator.
    ///
    /// ```
    /// use pool_tonic::ChannelPool;
    ///
    /// # fn traceparent() -> Option<http::HeaderValue> { None }
    /// let pool = ChannelPool::builder("http://orders:50051")
    ///     .propagate(|headers| {
    ///         if let Some(traceparent) = traceparent() {
    ///             headers.insert("traceparent", traceparent);
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    #[cfg(feature = "tracing")]
    pub fn propagate(
        mut self,
        inject: impl Fn(&mut http::HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.calls.propagate = Some(crate::trace::Propagate(std::sync::Arc::new(inject)));
        self
    }

    /// The most calls that may wait for a stream slot; further ones fail with `RESOURCE_EXHAUSTED`.
    /// Default: the pool's own, which is a limit against faults.
    pub fn max_waiting_calls(mut self, calls: usize) -> Self {
        self.calls.max_waiting = Some(calls);
        self
    }

    /// How long a call without a deadline waits for a stream slot, before it fails with `UNAVAILABLE`.
    /// Default 30 s. A call that is sent again may wait as long for all its slots together. A call with a deadline
    /// (`grpc-timeout`) waits until that.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.calls.wait_timeout = timeout;
        self
    }

    /// How much of a streaming request is kept so that it can be sent again, in bytes. Default 256 KiB.
    /// A request of one message is kept whatever its size.
    pub fn retry_buffer_size(mut self, bytes: usize) -> Self {
        self.calls.retry_buffer_size = bytes;
        self
    }

    /// Whether calls that do not say so themselves ([`WaitForReady`]) wait through failures to connect.
    /// Default false: they fail at once, with the reason.
    ///
    /// [`WaitForReady`]: crate::WaitForReady
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.calls.wait_for_ready = wait;
        self
    }

    /// The most connections that carry one call at a time, beside those that are shared: for
    /// [`Dedicated`](crate::Dedicated) calls and for [exclusive](crate::ChannelPool::exclusive) use. Made when they are
    /// needed. Default 10.
    ///
    /// [`ChannelPool::exclusive`]: crate::ChannelPool::exclusive
    pub fn max_dedicated_connections(mut self, connections: usize) -> Self {
        self.calls.max_dedicated = connections;
        self
    }

    /// Sends calls of these methods again when they fail, though they may have been processed; `None` does
    /// not, whatever is said of more methods. Default: none.
    ///
    /// The most exact name decides: a method before its service, that before all. See [`RetryPolicy`].
    pub fn retry_policy(
        mut self,
        methods: MethodName,
        policy: impl Into<Option<RetryPolicy>>,
    ) -> Self {
        self.calls.retry.push((methods, policy.into()));
        self
    }

    /// A budget for the retries of all calls: gRFC A6's `retryThrottling`. Each failure that a policy would retry
    /// takes one token of `max_tokens` (1 to 1,000), each call that succeeds gives `token_ratio` (from 0.001) of one
    /// back, and while no more than half of them are left nothing is sent again by a policy. Default: none.
    pub fn retry_throttling(mut self, max_tokens: u32, token_ratio: f64) -> Self {
        self.calls.throttling = Some((max_tokens, token_ratio));
        self
    }

    /// How often a call that provably was not processed is sent again. Default 16. A call that never
    /// left the client is not counted.
    pub fn max_transparent_retries(mut self, retries: u32) -> Self {
        self.calls.max_transparent_retries = retries;
        self
    }

    /// What the `user-agent` header begins with; this crate's name and version follow.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.calls.user_agent = Some(name.into());
        self
    }
}

fn user_agent(name: Option<&str>) -> Result<HeaderValue, ConfigError> {
    const OWN: &str = concat!("pool-tonic/", env!("CARGO_PKG_VERSION"));
    let Some(name) = name else {
        return Ok(HeaderValue::from_static(OWN));
    };
    HeaderValue::try_from(format!("{name} {OWN}"))
        .map_err(|_| ConfigError::UserAgent { value: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_agent_begins_with_the_users_name() {
        let agent = user_agent(Some("shop/2")).unwrap();
        assert!(agent.to_str().unwrap().starts_with("shop/2 pool-tonic/"));
    }
}
