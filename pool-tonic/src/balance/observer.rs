//! Events of endpoints.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pool_core::RecentEvents;

use super::outlier::EjectedBy;
use crate::trace;
use crate::user::contain;

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

/// How much of a text is kept of an event, in bytes.
const KEPT_TEXT: usize = 512;

impl EndpointEvent {
    /// As it is kept: what a resolver says may be of any length.
    fn cut_short(mut self) -> Self {
        if let Self::ResolveFailed { error } = &mut self {
            if error.len() > KEPT_TEXT {
                let end = (0..=KEPT_TEXT).rev().find(|&end| error.is_char_boundary(end));
                error.truncate(end.unwrap_or(0));
                error.push('…');
            }
            error.shrink_to_fit();
        }
        self
    }
}

/// The observer, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Observed {
    pub(crate) observer: Option<Arc<dyn EndpointObserver>>,
    /// Of this pool.
    pub(crate) pool: Arc<str>,
}

impl Observed {
    /// Tells the observer, and keeps the event among the latest of the pool, without the end of a long text.
    pub(crate) fn tell(&self, recent: &RecentEvents<EndpointEvent>, event: EndpointEvent) {
        trace::endpoint(&self.pool, &event);
        if let Some(observer) = &self.observer {
            contain(|| observer.event(&event));
        }
        recent.add(event.cut_short());
    }
}

impl fmt::Display for EndpointEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ejected { address, by, time } => {
                let rule = match by {
                    EjectedBy::SuccessRate => "fewer of its calls succeed than of the others'",
                    EjectedBy::FailurePercentage => "too many of its calls fail",
                };
                write!(f, "{address} was ejected for {time:.1?}: {rule}")
            }
            Self::Returned { address } => write!(f, "{address} gets calls again"),
            Self::Resolved { endpoints, used, added, removed } => write!(
                f,
                "the resolver gave {endpoints} endpoints, of which {used} are used: \
                 {added} new, {removed} no more"
            ),
            Self::ResolveFailed { error } => write!(f, "the resolver gave no endpoints: {error}"),
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.observer.is_some() { ".." } else { "none" })
    }
}
