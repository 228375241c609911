//! The events of a pool as `tracing` events: feature `tracing`.
//!
//! Target `pool_core`, level `DEBUG`, and `WARN` for what somebody may have to look at: a failed creation,
//! a broken resource, a leak. The field `manager` is the type's name, to tell pools apart.

use tracing::{debug, warn};

use crate::observer::{EndReason, Event};

pub(crate) fn trace(manager: &'static str, event: &Event) {
    match event {
        Event::CreateStarted { id, reason } => {
            debug!(target: "pool_core", manager, %id, reason = reason.as_str(), "creating");
        }
        Event::Created { id, elapsed } => {
            debug!(target: "pool_core", manager, %id, ?elapsed, "created");
        }
        Event::CreateFailed { id, elapsed, error, retry_in } => {
            warn!(target: "pool_core", manager, %id, ?elapsed, error, ?retry_in, "creation failed");
        }
        Event::Reported { id, reason, text } => {
            debug!(target: "pool_core", manager, %id, reason = reason.as_str(), %text, "reported");
        }
        Event::Ended { id, reason: reason @ (EndReason::Broken | EndReason::CheckFailed) } => {
            warn!(target: "pool_core", manager, %id, reason = reason.as_str(), "ended");
        }
        Event::Ended { id, reason } => {
            debug!(target: "pool_core", manager, %id, reason = reason.as_str(), "ended");
        }
        Event::Draining { id, reason } => {
            debug!(target: "pool_core", manager, %id, reason = reason.as_str(), "draining");
        }
        Event::Resized { id, change, sizing } => {
            let (rule, change) = (change.rule(), change.as_str());
            debug!(target: "pool_core", manager, %id, change, rule, ?sizing, "resized");
        }
        Event::Leaked { id, held_for, taken_at } => {
            warn!(target: "pool_core", manager, %id, ?held_for, %taken_at, "a lease is out for long");
        }
        Event::LeakReturned { id, held_for, taken_at } => {
            debug!(target: "pool_core", manager, %id, ?held_for, %taken_at, "it has come back");
        }
        Event::Paused => debug!(target: "pool_core", manager, "paused"),
        Event::Resumed => debug!(target: "pool_core", manager, "resumed"),
        Event::Reset { generation } => debug!(target: "pool_core", manager, generation, "reset"),
        Event::Closed => debug!(target: "pool_core", manager, "closed"),
    }
}
