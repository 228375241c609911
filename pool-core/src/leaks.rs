//! Leases that are out for too long: who has them, and since when.
//!
//! Off unless a threshold is set or the times of leases are taken, since it takes a clock and a lock per get and per
//! return. Apart from the state, because no decision rests on it.

use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;

use crate::config::Times;
use crate::manager::ResourceId;
use crate::moment::Moment;
use crate::observer::Event;

/// A lease that is out.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Holder {
    /// The resource.
    pub id: ResourceId,
    /// For how long it has been held.
    pub held_for: Duration,
    /// The call that took it.
    pub taken_at: &'static Location<'static>,
    /// Whether the observer was told that it is out for too long.
    pub leaked: bool,
}

pub(crate) struct Leaks {
    threshold: Duration,
    table: Mutex<Table>,
}

struct Table {
    out: Slab<Out>,
    /// Maintenance looks at the table by then.
    armed: Moment,
}

#[derive(Clone, Copy)]
struct Out {
    id: ResourceId,
    since: Moment,
    taken_at: &'static Location<'static>,
    reported: bool,
}

impl Leaks {
    /// If they are wanted. Without a threshold a lease may be out for as long as it likes.
    pub(crate) fn wanted(times: &Times) -> Option<Self> {
        let threshold = times.leak_threshold.or(times.time_leases.then_some(Duration::MAX))?;
        let table = Table { out: Slab::new(), armed: Moment::NEVER };
        Some(Self { threshold, table: Mutex::new(table) })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease is taken. Returns its key, and whether maintenance has to look earlier than it would.
    pub(crate) fn taken(
        &self,
        id: ResourceId,
        taken_at: &'static Location<'static>,
        now: Moment,
    ) -> (Option<u32>, bool) {
        let mut table = self.table();
        let due = now.after(self.threshold);
        let earlier = due < table.armed;
        table.armed = table.armed.min(due);
        let key = table.out.insert(Out { id, since: now, taken_at, reported: false });
        (u32::try_from(key).ok(), earlier)
    }

    /// A lease has another resource now.
    pub(crate) fn replaced(&self, key: u32, id: ResourceId) {
        if let Some(out) = self.table().out.get_mut(key as usize) {
            out.id = id;
        }
    }

    /// A lease has come back, or left the pool. Returns how long it was out, and what there is to be told.
    pub(crate) fn returned(&self, key: u32, now: Moment) -> Option<(Duration, Option<Event>)> {
        let Out { id, since, taken_at, reported } = self.table().out.try_remove(key as usize)?;
        let held_for = now.since(since);
        Some((held_for, reported.then_some(Event::LeakReturned { id, held_for, taken_at })))
    }

    /// Those that are out for too long and were not reported, and when to look again.
    pub(crate) fn due(&self, now: Moment) -> (Vec<Event>, Moment) {
        let mut table = self.table();
        let mut events = Vec::new();
        if table.armed > now {
            return (events, table.armed);
        }
        let mut next = Moment::NEVER;
        for (_, out) in table.out.iter_mut().filter(|(_, out)| !out.reported) {
            let due = out.since.after(self.threshold);
            if due <= now {
                out.reported = true;
                let Out { id, since, taken_at, .. } = *out;
                events.push(Event::Leaked { id, held_for: now.since(since), taken_at });
            } else {
                next = next.min(due);
            }
        }
        table.armed = next;
        (events, next)
    }

    /// Those that have been out for longest.
    pub(crate) fn longest(&self, most: usize, now: Moment) -> Vec<Holder> {
        let mut out: Vec<_> = self.table().out.iter().map(|(_, out)| *out).collect();
        // Every get and return waits for the table: what takes time is done without it.
        if most < out.len() {
            out.select_nth_unstable_by_key(most, |out| out.since);
            out.truncate(most);
        }
        out.sort_by_key(|out| out.since);
        let holder = |Out { id, since, taken_at, reported }| Holder {
            id,
            held_for: now.since(since),
            taken_at,
            leaked: reported,
        };
        out.into_iter().map(holder).collect()
    }
}
