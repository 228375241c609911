//! The events: see the module above.

use std::any::type_name;

use tracing::{debug, warn};

use crate::core::Core;
use crate::kind::Kind;
use crate::manager::Manager;
use crate::observer::{EndReason, Event};
use crate::user::contain;

pub(crate) fn event<M: Manager, K: Kind<M>>(core: &Core<M, K>, event: &Event) {
    contain(|| emit(core.name(), type_name::<M>(), event));
}

fn emit(pool: Option<&str>, manager: &str, event: &Event) {
    match event {
        Event::CreateStarted { id, reason } => {
            debug!(target: "pool_core", pool, manager, %id, reason = reason.as_str(), "creating");
        }
        Event::Created { id, elapsed } => {
            debug!(target: "pool_core", pool, manager, %id, ?elapsed, "created");
        }
        Event::CreateFailed { id, elapsed, error, retry_in } => {
            warn!(
                target: "pool_core", pool, manager, %id, ?elapsed, error, ?retry_in,
                "creation failed"
            );
        }
        Event::Reported { id, reason, text } => {
            let reason = reason.as_str();
            debug!(target: "pool_core", pool, manager, %id, reason, %text, "reported");
        }
        Event::Ended { id, reason: reason @ (EndReason::Broken | EndReason::CheckFailed) } => {
            warn!(target: "pool_core", pool, manager, %id, reason = reason.as_str(), "ended");
        }
        Event::Ended { id, reason } => {
            debug!(target: "pool_core", pool, manager, %id, reason = reason.as_str(), "ended");
        }
        Event::Draining { id, reason } => {
            debug!(target: "pool_core", pool, manager, %id, reason = reason.as_str(), "draining");
        }
        Event::Resized { id, change, sizing } => {
            let (rule, change) = (change.rule(), change.as_str());
            debug!(target: "pool_core", pool, manager, %id, change, rule, ?sizing, "resized");
        }
        Event::Leaked { id, held_for, taken_at } => {
            warn!(
                target: "pool_core", pool, manager, %id, ?held_for, %taken_at,
                "a lease is out for long"
            );
        }
        Event::LeakReturned { id, held_for, taken_at } => {
            debug!(
                target: "pool_core", pool, manager, %id, ?held_for, %taken_at, "it has come back"
            );
        }
        Event::Paused => debug!(target: "pool_core", pool, manager, "paused"),
        Event::Resumed => debug!(target: "pool_core", pool, manager, "resumed"),
        Event::Reset { generation } => {
            debug!(target: "pool_core", pool, manager, generation, "reset");
        }
        Event::Closed => debug!(target: "pool_core", pool, manager, "closed"),
    }
}
