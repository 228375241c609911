//! Settings of how long connections live.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::Request;

use super::{ChannelPoolBuilder, FAR};
use crate::connection::{KeepaliveConfig, LAST_STREAM, Priming, Upkeep};
use crate::error::ConfigError;

/// No keepalive ping more often than this, whatever is set (gRFC A8).
const LEAST_KEEPALIVE_TIME: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Life {
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_connection_age: Option<Duration>,
    pub(super) shrink_delay: Option<Duration>,
    keepalive_time: Option<Duration>,
    keepalive_timeout: Duration,
    keepalive_without_calls: bool,
    priming: Option<(String, Request<Bytes>)>,
    health_service: Option<Arc<str>>,
    last_stream: u32,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            max_connection_age: Some(Duration::from_secs(30 * 60)),
            shrink_delay: None,
            keepalive_time: Some(Duration::from_secs(60)),
            keepalive_timeout: Duration::from_secs(20),
            keepalive_without_calls: false,
            priming: None,
            health_service: None,
            last_stream: LAST_STREAM,
        }
    }
}

impl Life {
    /// The pool below would refuse these too, by names that are not this builder's.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (setting, time) in [
            ("idle_timeout", self.idle_timeout),
            ("max_connection_age", self.max_connection_age),
            ("keepalive_timeout", Some(self.keepalive_timeout)),
        ] {
            if time == Some(Duration::ZERO) {
                return Err(ConfigError::ZeroTime { setting });
            }
        }
        Ok(())
    }

    pub(super) fn upkeep(&mut self) -> Result<Upkeep, ConfigError> {
        Ok(Upkeep {
            keepalive: self.keepalive(),
            priming: self.priming()?,
            health_service: self.health_service.take(),
            last_stream: self.last_stream,
        })
    }

    fn keepalive(&self) -> Option<KeepaliveConfig> {
        let time = self.keepalive_time?.max(LEAST_KEEPALIVE_TIME).min(FAR);
        let timeout = self.keepalive_timeout.min(FAR);
        Some(KeepaliveConfig { time, timeout, without_calls: self.keepalive_without_calls })
    }

    fn priming(&mut self) -> Result<Option<Arc<Priming>>, ConfigError> {
        let Some((method, request)) = self.priming.take() else { return Ok(None) };
        let path = PathAndQuery::try_from(method.as_str());
        match path.ok().filter(|path| path.path().len() > 1 && path.query().is_none()) {
            Some(path) => Ok(Some(Arc::new(Priming::new(path, request)))),
            None => Err(ConfigError::Method { method }),
        }
    }
}

impl ChannelPoolBuilder {
    /// For tests, which cannot open two billion streams.
    #[cfg(test)]
    pub(crate) fn last_stream(mut self, id: u32) -> Self {
        self.life.last_stream = id;
        self
    }

    /// How long a connection without calls is kept; `None` keeps it. Default 10 min.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.life.idle_timeout = timeout.into();
        self
    }

    /// After this time (less up to a tenth, drawn for each) a connection takes no more calls and finishes
    /// those it has; `None` never does so. Default 30 min. Its successor is made before that where it will
    /// be needed: where a minimum is kept, or calls have come lately that no other connection has room for; with
    /// as many connections as there may be, when it has gone. Below the age at which the server ends connections it
    /// spares calls that server's ways of doing so.
    pub fn max_connection_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.life.max_connection_age = age.into();
        self
    }

    /// How long nothing may have come on a connection with calls before a ping asks whether its server is
    /// there; `None` asks never. Less than 10 s is taken as 10 s, as gRFC A8 says. Default 60 s.
    ///
    /// One ping is out at a time. If nothing at all has come by the
    /// [timeout](Self::keepalive_timeout), the connection is ended: its calls fail with `UNAVAILABLE`, and
    /// the next ones go to another one.
    ///
    /// A server that finds pings too many says so (`too_many_pings`; grpc-go's and C-core's servers allow one
    /// in 5 minutes unless they are told otherwise, though while data flows they forget); later
    /// connections to its address then ask half as often as the one that it said so of.
    pub fn keepalive_time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.life.keepalive_time = time.into();
        self
    }

    /// How long something has to come in after a ping. Default 20 s. A dead connection is ended no later
    /// than the time and the timeout after the last byte from it.
    pub fn keepalive_timeout(mut self, timeout: Duration) -> Self {
        self.life.keepalive_timeout = timeout;
        self
    }

    /// Whether connections without calls are asked, too. Default no, since servers take it amiss: a
    /// connection that carries no call is asked when the next one begins.
    pub fn keepalive_without_calls(mut self, asks: bool) -> Self {
        self.life.keepalive_without_calls = asks;
        self
    }

    /// A unary call that is made on each new connection before it is lent: `/package.Service/Method` with
    /// its metadata and its message as it is encoded. Whatever its server does for the first call on a
    /// connection is done by then. If it does not end with OK within the
    /// [connect timeout](Self::connect_timeout), the attempt to connect has failed. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::Bytes;
    /// use pool_tonic::ChannelPool;
    /// use tonic::Request;
    ///
    /// let pool = ChannelPool::builder("http://orders:50051")
    ///     .priming("/shop.Orders/Ping", Request::new(Bytes::new()))
    ///     .build()?;
    /// # Ok::<(), pool_tonic::ConfigError>(())
    /// ```
    pub fn priming(mut self, method: impl Into<String>, request: Request<Bytes>) -> Self {
        self.life.priming = Some((method.into(), request));
        self
    }

    /// Asks the server on each connection whether `service` is healthy (`grpc.health.v1`, `Watch`; the
    /// empty name asks for the server as a whole). Default: nobody is asked.
    ///
    /// A connection whose server does not say SERVING gets no calls; one that is new counts as a failed
    /// attempt, so that calls fail at once with the reason when there is no other. A server
    /// that does not know the method counts as healthy, and so does one behind a proxy that has no route for it (HTTP
    /// 404). The question takes one of the streams that the server allows; one that allows a single stream is not asked.
    ///
    /// What the server said last holds while it does not answer: a `Watch` that ends is begun anew, with a back-off, and
    /// a connection that served goes on serving meanwhile. (By gRFC A17 it would be taken out, and a health service that
    /// fails alone would stop all calls.)
    pub fn health_check(mut self, service: impl Into<String>) -> Self {
        self.life.health_service = Some(service.into().into());
        self
    }

    /// For how long there have to be more connections than the calls need until half of those that are too many go; the
    /// others have a delay of their own. Default: the pool's own, 30 s.
    pub fn shrink_delay(mut self, delay: Duration) -> Self {
        self.life.shrink_delay = Some(delay);
        self
    }
}
