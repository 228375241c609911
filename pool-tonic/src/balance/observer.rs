//! Events of endpoints.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::outlier::EjectedBy;

/// Is told what becomes of endpoints, after it was done and outside every lock, so it may call back into the pool. A
/// panic in it is contained.
///
/// # Examples
///
/// ```
/// use pool_tonic::{ChannelPool, EndpointEvent, EndpointObserver, OutlierDetection};
/// use std::sync::Arc;
///
/// struct Log;
///
/// impl EndpointObserver for Log {
///     fn event(&self, event: &EndpointEvent) {
///         println!("{event:?}");
///     }
/// }
///
/// let pool = ChannelPool::endpoints(["http://a:50051", "http://b:50051"])
///     .outlier_detection(OutlierDetection::default())
///     .endpoint_observer(Arc::new(Log))
///     .build()?;
/// # Ok::<(), pool_tonic::ConfigError>(())
/// ```
pub trait EndpointObserver: Send + Sync + 'static {
    /// Something happened.
    fn event(&self, event: &EndpointEvent);
}

/// What became of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointEvent {
    /// It gets no calls for a while, since it answers worse than the others.
    Ejected {
        /// `host:port`.
        address: String,
        /// By which rule.
        by: EjectedBy,
        /// For how long. It returns when the interval ends in which this is over, or at once when no other endpoint is
        /// ready.
        time: Duration,
    },
    /// It gets calls again.
    Returned {
        /// `host:port`.
        address: String,
    },
    /// A [resolver](crate::resolve) gave a set that changes which endpoints are used. Connections to those that are not
    /// used any more finish their calls.
    Resolved {
        /// How many are in the set, those given twice counted once.
        endpoints: usize,
        /// How many of them are used: all, or [so many](crate::ChannelPoolBuilder::max_endpoints).
        used: usize,
        /// How many of the used ones were not before.
        added: usize,
        /// How many are used no more.
        removed: usize,
    },
    /// A [resolver](crate::resolve) gave no endpoints. Those of its last set stay in use.
    ResolveFailed {
        /// Why.
        error: String,
    },
}

/// The observer, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Observed(pub(crate) Option<Arc<dyn EndpointObserver>>);

impl Observed {
    pub(crate) fn tell(&self, event: &EndpointEvent) {
        if let Some(observer) = &self.0 {
            let _ = catch_unwind(AssertUnwindSafe(|| observer.event(event)));
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { ".." } else { "none" })
    }
}
