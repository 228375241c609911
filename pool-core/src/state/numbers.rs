//! How many there are of everything.

use std::error::Error as StdError;

use super::{ActionsOf, State, Store};
use crate::manager::ResourceId;
use crate::observer::{Event, Resize, Sizing};
use crate::status::{Counters, Status};

impl<S: Store, E: StdError + 'static> State<S, E> {
    pub(crate) fn status(&self) -> Status {
        Status {
            max_size: self.limits.max_size,
            min_size: self.limits.min_size,
            max_idle: self.limits.max_idle_or_size(),
            min_idle: self.limits.min_idle,
            max_draining: if S::CLOSING_HOLDS_PLACE { 0 } else { self.most_beside() },
            size: self.size() + self.uncertain(),
            idle: self.store.idle(),
            lent: self.store.size() - self.store.idle(),
            in_use: self.store.in_use(),
            creating: self.births.len(),
            replacing: self.replacements.len(),
            waiting: self.waiters.waiting_in_all(),
            checking: self.checking,
            draining: self.store.draining(),
            closing: self.closing,
            places: self.store.places(),
            generation: self.generation,
            paused: self.paused.is_some(),
            closed: self.closed,
        }
    }

    pub(crate) fn counters(&mut self) -> Counters {
        // A get may be looked at between being lent a place and the begin of its check: what was said
        // is not taken back.
        let (hits, picked_up) = self.front.counted();
        let waits_ok = self.counters.waits_ok.wrapping_add(picked_up);
        let served = self.counters.gets_ok.wrapping_add(hits).wrapping_add(waits_ok);
        self.served =
            self.served.max(served.saturating_sub((self.checking + self.withheld) as u64));
        let waits = self.waiters.joined_in_all();
        let mut counters = Counters { gets_ok: self.served, waits, waits_ok, ..self.counters };
        // Nor is it that a get has begun: one is nowhere between being granted a place and picking it up, and between a
        // check that failed and what comes after it.
        let ended = counters.gets_ended();
        let others = ended - self.served;
        let waiting = self.waiters.waiting_in_all() as u64;
        let begun = served.saturating_sub(self.withheld as u64) + others + waiting;
        self.started = self.started.max(begun).max(ended);
        counters.gets_started = self.started;
        counters
    }

    /// What counts towards the maximum size.
    pub(super) fn size(&self) -> usize {
        let closing = if S::CLOSING_HOLDS_PLACE { self.closing } else { 0 };
        self.store.size() + self.coming() + closing
    }

    /// What there is beside that: those that drain go with their last holder, which may take long. How many of them there
    /// may be has a bound of its own.
    pub(super) fn beside(&self) -> usize {
        let closing = if S::CLOSING_HOLDS_PLACE { 0 } else { self.closing };
        self.store.draining() + closing + self.replacements.len()
    }

    /// Everything that there is, but for creations.
    pub(crate) fn resources(&self) -> usize {
        self.store.size() + self.store.draining() + self.closing
    }

    /// Nothing is there, and nothing is to come that was begun.
    pub(crate) fn is_empty(&self) -> bool {
        self.resources() == 0 && self.births.is_empty() && self.replacements.is_empty()
    }

    /// Puts a decision about the size on record, with the numbers.
    pub(super) fn decided(&self, id: ResourceId, change: Resize, actions: &mut ActionsOf<S, E>) {
        let sizing = Sizing {
            size: self.size(),
            min_size: self.limits.min_size,
            max_size: self.limits.max_size,
            idle: self.store.idle(),
            creating: self.births.len(),
            draining: self.store.draining(),
            leases: self.store.in_use(),
            places: self.store.places(),
            wanted: self.waiters.wanted().saturating_add(self.waiters.bound_waiting()),
        };
        actions.events.push(Event::Resized { id, change, sizing });
    }
}
