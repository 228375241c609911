//! A successor is made while its predecessor goes on, and takes over from it under one lock.
//!
//! The creation counts neither towards the size nor as one that is to come, since it adds nothing: it counts
//! beside them, as its predecessor will when it is used up.

use std::error::Error as StdError;
use std::time::Duration;

use super::births::Birth;
use super::{ActionsOf, BirthOrder, Errand, State, Store};
use crate::control::Pause;
use crate::manager::{CreateReason, ResourceId};
use crate::moment::Moment;

/// Whether a successor is to be made.
pub(crate) enum Replacing {
    /// By this order.
    Begun(BirthOrder),
    /// The resource is gone, or going.
    Gone,
    Closed,
    Paused,
}

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Begins to replace a resource; `None` while as many go already as may be there beside the size.
    pub(crate) fn begin_replacing(&mut self, old: ResourceId, now: Moment) -> Option<Replacing> {
        if self.closed {
            return Some(Replacing::Closed);
        }
        match self.paused {
            Some(Pause::Fail) => return Some(Replacing::Paused),
            Some(Pause::Queue) => return None,
            None => {}
        }
        if !self.store.is_active(old) {
            return Some(Replacing::Gone);
        }
        if self.beside() >= self.most_beside() {
            return None;
        }
        let id = self.next_id();
        let group = self.store.group_of(old);
        let origin = self.begun(group, Errand::Successor);
        self.replacements.insert(id, (old, Birth::begun(now, origin)));
        Some(Replacing::Begun(BirthOrder {
            id,
            attempt: 1,
            reason: CreateReason::Replacement,
            generation: self.generation,
            replaces: Some(old),
            group: self.group_name(group),
        }))
    }

    /// The successor could not be made, or was given up: all is as it was. For a group that is retired it is no failure.
    pub(super) fn not_replaced(
        &mut self,
        id: ResourceId,
        error: String,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        let Some((_, birth)) = self.replacements.remove(&id) else { return };
        let origin = birth.origin();
        self.counters.create_failed += u64::from(!self.is_retired(origin.group));
        self.over(origin);
        Self::came_to_nothing(id, &birth, error, Duration::ZERO, now, actions);
        self.settle(now, actions);
    }
}
