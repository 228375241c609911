//! Creations: begun, and what they come to.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use super::store::{Ended, Store};
use super::waiters::Whom;
use super::{ActionsOf, Errand, Failure, LastError, Origin, State};
use crate::data::Data;
use crate::error::CreateError;
use crate::group::GroupId;
use crate::manager::{CreateReason, ResourceId};
use crate::metadata::Slot;
use crate::moment::Moment;
use crate::observer::{EndReason, Event, Resize};

/// A creation under way.
pub(crate) struct Birth {
    pub(super) started: Moment,
    /// What the manager has said about the resource before it was there.
    pub(super) places: Option<usize>,
    pub(super) end: Option<EndReason>,
    /// Somebody has a handle of it.
    pub(super) known: bool,
    // The parts of its origin, which take less room so: the table of births keeps the room of the most there were.
    group: u32,
    errand: Errand,
    doubtful: bool,
}

impl Birth {
    pub(super) fn begun(now: Moment, origin: Origin) -> Self {
        let Origin { group, errand, doubtful } = origin;
        Self { started: now, places: None, end: None, known: false, group, errand, doubtful }
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { group: self.group, errand: self.errand, doubtful: self.doubtful }
    }
}

/// What a creation came to.
pub(crate) struct Newborn<R> {
    pub(crate) resource: R,
    /// What a hook has put down about it.
    pub(crate) data: Data,
}

/// A creation to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BirthOrder {
    pub(crate) id: ResourceId,
    pub(crate) attempt: u32,
    pub(crate) reason: CreateReason,
    pub(crate) generation: u32,
    /// The resource that it takes over from.
    pub(crate) replaces: Option<ResourceId>,
    pub(crate) group: Option<GroupId>,
}

/// The error of a creation that ended with what it was for.
const GIVEN_UP: &str = "it was given up";

/// How many creations are started under one lock, so that it stays short.
const BIRTHS_AT_ONCE: usize = 256;

/// Those that are left to fail for a creation, how many of those that wait for any group and of those that wait for its own.
#[derive(Clone, Copy)]
pub(crate) struct Doomed {
    any: usize,
    bound: Option<(GroupId, usize)>,
}

impl Doomed {
    const NOBODY: Self = Self { any: 0, bound: None };

    pub(crate) fn are_left(self) -> bool {
        self.any > 0 || self.bound.is_some_and(|(_, left)| left > 0)
    }
}

/// A creation that came to nothing.
pub(crate) struct Stillborn<E: StdError + 'static> {
    pub(crate) error: Arc<CreateError<E>>,
    /// The error in words, which are the user's too.
    pub(crate) text: String,
    pub(crate) fatal: bool,
    pub(crate) retry_in: Option<Duration>,
}

impl<S: Store, E: StdError + 'static> State<S, E> {
    /// Starts the births that are due, as many as may be under one lock.
    pub(super) fn start_births(
        &mut self,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Vec<BirthOrder> {
        let mut orders = Vec::new();
        while orders.len() < BIRTHS_AT_ONCE
            && let Some((group, errand, reason)) = self.next_birth(now, actions)
        {
            let id = self.next_id();
            self.wished = false;
            let attempt = self.attempts(group).saturating_add(1);
            let origin = self.begun(group, errand);
            self.births.insert(id, Birth::begun(now, origin));
            self.decided(id, Resize::Create(reason), actions);
            actions.events.push(Event::CreateStarted { id, reason });
            let (generation, group) = (self.generation, self.group_name(group));
            orders.push(BirthOrder { id, attempt, reason, generation, replaces: None, group });
        }
        orders
    }

    /// A resource was created. Says whether it took over from another one.
    pub(crate) fn born(
        &mut self,
        id: ResourceId,
        newborn: Newborn<S::Resource>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> bool {
        let (birth, replaces) = match self.births.remove(&id) {
            Some(birth) => (birth, None),
            None => match self.replacements.remove(&id) {
                Some((old, birth)) => (birth, Some(old)),
                None => return false,
            },
        };
        let group = birth.group;
        let is_retired = self.is_retired(group);
        self.over(birth.origin());
        // Where the other one is gone meanwhile, it is a resource like any other.
        let replaced = replaces.filter(|&old| self.store.is_active(old));
        // It need be no better than the old one.
        let is_for_nobody =
            birth.places == Some(0) && replaced.is_some_and(|old| self.store.has_places(old));
        self.counters.created += 1;
        actions.events.push(Event::Created { id, elapsed: now.since(birth.started) });
        let expires = self.draw_expiry(now);
        let Newborn { resource, data } = newborn;
        let slot = Box::new(Slot {
            resource,
            id,
            created: now,
            expires,
            returned: now,
            uses: 0,
            generation: self.generation,
            data,
        });
        let end = if self.closed {
            Some(EndReason::Closed)
        } else if id.0 < self.oldest {
            Some(EndReason::Stale)
        } else if is_retired {
            birth.end.or(Some(EndReason::Removed))
        } else if is_for_nobody
            || replaced.is_none() && !self.finds_room(birth.origin(), now, actions)
        {
            birth.end.or(Some(EndReason::Excess))
        } else {
            birth.end
        };
        if let Some(reason) = end {
            // Dead on arrival: the next attempt waits, as after a failure. So it does where there is no room for it.
            if birth.end.is_some() || birth.doubtful && reason == EndReason::Excess {
                self.back_off(group, None, now);
            }
            let mut ended = Ended::new(slot, reason, false);
            ended.group = group;
            self.end(Some(ended), now, actions);
        } else {
            self.succeeded(group);
            actions.error = self.last_error.take();
            self.expires_at(expires);
            if birth.known {
                self.store.know(id);
            }
            self.store.insert(slot, birth.places.unwrap_or(self.limits.places), group);
            if let Some(old) = replaced {
                let ended = self.store.end(old, EndReason::Removed);
                self.end(ended, now, actions);
            }
            self.note_time(now);
        }
        self.settle(now, actions);
        end.is_none() && replaced.is_some()
    }

    /// A creation has failed. For a group that is retired nothing comes of that but its event. A fatal error fails those
    /// that wait for any group and for its own, and any error those that wait for its own if nothing of it is there: says
    /// who is left to [fail](Self::fail_doomed).
    pub(crate) fn stillborn(
        &mut self,
        id: ResourceId,
        failed: Stillborn<E>,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Doomed {
        let Some(birth) = self.births.remove(&id) else {
            self.not_replaced(id, failed.text, now, actions);
            return Doomed::NOBODY;
        };
        let group = birth.group;
        let is_retired = self.is_retired(group);
        self.over(birth.origin());
        actions.bare |= self.store.size() == 0;
        if is_retired {
            Self::came_to_nothing(id, &birth, failed.text, Duration::ZERO, now, actions);
            self.settle(now, actions);
            return Doomed::NOBODY;
        }
        self.counters.create_failed += 1;
        let delay = self.back_off(group, failed.retry_in, now);
        Self::came_to_nothing(id, &birth, failed.text, delay, now, actions);
        let Stillborn { error, fatal, .. } = failed;
        let ends_bound = fatal || self.groups().is_some_and(|groups| groups.size(group) == 0);
        let bound = self.group_name(group).filter(|_| ends_bound);
        let doomed = Doomed {
            any: if fatal { self.waiters.waiting() } else { 0 },
            bound: bound.map(|group| (group, self.waiters.bound_waiting())),
        };
        let left = self.fail_some(&error, doomed, now, actions);
        actions.error = self.last_error.replace(LastError { error, fatal });
        self.settle(now, actions);
        left
    }

    /// Fails those that are left to fail for a creation. Says who is left then.
    pub(crate) fn fail_doomed(
        &mut self,
        error: &Arc<CreateError<E>>,
        doomed: Doomed,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Doomed {
        let left = self.fail_some(error, doomed, now, actions);
        self.settle(now, actions);
        left
    }

    fn fail_some(
        &mut self,
        error: &Arc<CreateError<E>>,
        Doomed { any, bound }: Doomed,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) -> Doomed {
        let failure = || Failure::Create(Arc::clone(error));
        Doomed {
            any: self.fail_first(any, Whom::Hasty, failure, now, actions),
            bound: bound.map(|(group, left)| {
                let whom = Whom::HastyBoundTo(group);
                (group, self.fail_first(left, whom, failure, now, actions))
            }),
        }
    }

    /// A creation was dropped with its runtime, before it came to anything.
    pub(crate) fn abandoned(&mut self, id: ResourceId, now: Moment, actions: &mut ActionsOf<S, E>) {
        let text = GIVEN_UP.to_owned();
        if let Some(birth) = self.births.remove(&id) {
            self.over(birth.origin());
            actions.bare |= self.store.size() == 0;
            Self::came_to_nothing(id, &birth, text, Duration::ZERO, now, actions);
            self.settle(now, actions);
        } else {
            self.not_replaced(id, text, now, actions);
        }
    }

    /// The pool is gone, and with it every creation that is under way.
    pub(crate) fn give_up_births(&mut self, now: Moment, actions: &mut ActionsOf<S, E>) {
        let births = std::mem::take(&mut self.births).into_iter();
        let successors = std::mem::take(&mut self.replacements).into_iter();
        for (id, birth) in births.chain(successors.map(|(id, (_, birth))| (id, birth))) {
            Self::came_to_nothing(id, &birth, GIVEN_UP.to_owned(), Duration::ZERO, now, actions);
        }
    }

    /// Every creation that was told of ends with being told of, as this or as one that was created.
    pub(super) fn came_to_nothing(
        id: ResourceId,
        birth: &Birth,
        error: String,
        retry_in: Duration,
        now: Moment,
        actions: &mut ActionsOf<S, E>,
    ) {
        let elapsed = now.since(birth.started);
        actions.events.push(Event::CreateFailed { id, elapsed, error, retry_in });
    }

    pub(super) fn next_id(&mut self) -> ResourceId {
        self.next_id += 1;
        ResourceId(self.next_id - 1)
    }

    /// When a resource that is created now is to go for its age.
    pub(crate) fn draw_expiry(&mut self, now: Moment) -> Moment {
        let lifetime = self.times.draw_lifetime(self.rng.f64());
        lifetime.map_or(Moment::NEVER, |lifetime| now.after(lifetime))
    }
}
