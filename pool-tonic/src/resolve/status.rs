//! How a resolver stands.

use std::time::Duration;

use tokio::time::Instant;

use super::ResolveError;

/// How the resolver of a pool stands. From [`ChannelPool::resolver_status`](crate::ChannelPool::resolver_status).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResolverStatus {
    /// How many endpoints the last set has, those given twice counted once; 0 before the first.
    pub endpoints: usize,
    /// How many of them were used when it came: all, or [so many](crate::ChannelPoolBuilder::max_endpoints).
    pub used: usize,
    /// How old the last set is, if there is one.
    pub age: Option<Duration>,
    /// Why there was none since, if it was asked and gave none.
    pub last_error: Option<ResolveError>,
    /// In how long it is asked again, if nothing happens until then: the loss of a connection and a reset of the back-off
    /// may make it sooner. Zero while it is being asked.
    pub next_in: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Standing {
    of: usize,
    taken: usize,
    answered: Option<Instant>,
    error: Option<ResolveError>,
    due: Option<Instant>,
}

impl Standing {
    pub(super) fn answered(
        &mut self,
        (of, taken): (usize, usize),
        due: Instant,
    ) -> Option<ResolveError> {
        (self.of, self.taken) = (of, taken);
        self.answered = Some(Instant::now());
        self.due = Some(due);
        self.error.take()
    }

    /// Gives back the error that this one replaces.
    pub(super) fn failed(&mut self, error: ResolveError, due: Instant) -> Option<ResolveError> {
        self.due = Some(due);
        self.error.replace(error)
    }

    pub(super) fn status(&self, now: Instant) -> ResolverStatus {
        ResolverStatus {
            endpoints: self.of,
            used: self.taken,
            age: self.answered.map(|at| now.saturating_duration_since(at)),
            last_error: self.error.clone(),
            next_in: self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now)),
        }
    }
}
