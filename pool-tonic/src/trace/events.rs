//! The events: see the module above.

use tracing::{debug, warn};

use crate::balance::EndpointEvent;
use crate::connectivity::ConnectivityState;
use crate::user::contain;

/// What became of an endpoint.
pub(crate) fn endpoint(pool: &str, event: &EndpointEvent) {
    contain(|| match event {
        EndpointEvent::Ejected { address, .. } => {
            warn!(target: "pool_tonic", pool, server = address, "{event}");
        }
        EndpointEvent::Returned { address } => {
            debug!(target: "pool_tonic", pool, server = address, "{event}");
        }
        EndpointEvent::Resolved { .. } => debug!(target: "pool_tonic", pool, "{event}"),
        EndpointEvent::ResolveFailed { .. } => warn!(target: "pool_tonic", pool, "{event}"),
    });
}

/// The pool is in another state.
pub(crate) fn state(pool: &str, state: ConnectivityState) {
    contain(|| {
        if state == ConnectivityState::TransientFailure {
            warn!(target: "pool_tonic", pool, %state, "no endpoint can be connected to");
        } else {
            debug!(target: "pool_tonic", pool, %state, "state");
        }
    });
}
