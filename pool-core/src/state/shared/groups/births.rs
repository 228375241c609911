//! Which group a birth is for.
//!
//! A live group is in back-off until the time that its last creation gave it, or else *ready*. Ready ones with fewer
//! resources than they keep are served first, in the order in which they came to be so. For load it is the ready one with
//! the fewest resources for its weight.
//!
//! A group is *doubtful* if its last creation failed, and so is a birth for it: there is one at a time, nobody counts on
//! it, and it has no room that others could have. There are bounds of their own to how many of those there are.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Groups, Row};
use crate::config::Backoff;
use crate::manager::CreateReason;
use crate::moment::Moment;

/// How many creations for minimums may run at a time, beside those for load: enough for many groups to be there soon.
const MINIMUMS: usize = 64;

/// How many of them may be doubtful.
const DOUBTFUL_MINIMUMS: usize = MINIMUMS / 2;

/// The classes of groups and births.
const SOUND: usize = 0;
const DOUBTFUL: usize = 1;

/// What a birth is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) enum Errand {
    Load,
    Minimum,
    Successor,
}

/// Where a birth belongs.
#[derive(Clone, Copy, Debug)]
pub(in crate::state) struct Origin {
    pub(in crate::state) group: u32,
    pub(in crate::state) errand: Errand,
    pub(in crate::state) doubtful: bool,
}

impl Origin {
    /// Of a birth in a pool whose resources have no groups.
    pub(in crate::state) const NOWHERE: Self =
        Self { group: super::DEFAULT, errand: Errand::Load, doubtful: false };
}

#[derive(Default)]
pub(super) struct Seats {
    /// As far as back-offs are known to be over.
    now: Moment,
    /// Those in back-off, by its end.
    backing_off: BTreeSet<(Moment, u32)>,
    /// Ready ones with fewer resources than they keep, by their turn: the sound, and the doubtful.
    short: [BTreeSet<(u64, u32)>; 2],
    /// Ready ones by their resources for their weight, as bits of a number that is not below zero, then at random: the
    /// sound, and the doubtful.
    least: [BTreeSet<(u64, u32, u32)>; 2],
    turn: u64,
    /// Births under way for minimums, and for load: the sound, and the doubtful.
    minimums: [usize; 2],
    for_load: [usize; 2],
    pub(super) rng: fastrand::Rng,
}

/// Where a row is in the sets.
#[derive(Clone, Copy, Default)]
pub(super) struct Seat {
    backing_off: Option<Moment>,
    /// In which of the two, and its turn there.
    short: Option<(usize, u64)>,
    least: Option<(usize, u64, u32)>,
}

impl Row {
    fn class(&self) -> usize {
        if self.pace.failures == 0 { SOUND } else { DOUBTFUL }
    }
}

impl Groups {
    /// Puts a row where its numbers say, and has the totals follow. Every change of them ends here.
    pub(super) fn seat(&mut self, key: u32) {
        if !self.on {
            return;
        }
        let (row, seats) = (&mut self.table[key as usize], &mut self.seats);
        let (after, totals) = (row.counted(), &mut self.totals);
        let before = std::mem::replace(&mut row.counted, after);
        totals.minimum = totals.minimum - before.minimum + after.minimum;
        totals.spare = totals.spare - before.spare + after.spare;
        totals.live = totals.live - before.live + after.live;
        totals.failing = totals.failing - before.failing + after.failing;
        totals.missing = totals.missing - before.missing + after.missing;
        totals.lost = totals.lost - before.lost + after.lost;
        totals.lost_for_load = totals.lost_for_load - before.lost_for_load + after.lost_for_load;

        let start = row.pace.next_start();
        let waits = !row.retired && start > seats.now;
        let is_ready = !row.retired && !waits;
        let backing_off = waits.then_some(start);
        if row.seat.backing_off != backing_off {
            if let Some(until) = row.seat.backing_off {
                seats.backing_off.remove(&(until, key));
            }
            if let Some(until) = backing_off {
                seats.backing_off.insert((until, key));
            }
            row.seat.backing_off = backing_off;
        }

        let class = row.class();
        // Of what is doubtful there is one at a time.
        let is_open = is_ready && (class == SOUND || row.births == 0);
        let coming = row.size + row.births;
        let short = (is_open && coming < row.floor()).then_some(class);
        if row.seat.short.map(|(class, _)| class) != short {
            if let Some((class, turn)) = row.seat.short {
                seats.short[class].remove(&(turn, key));
            }
            row.seat.short = short.map(|class| {
                seats.turn += 1;
                seats.short[class].insert((seats.turn, key));
                (class, seats.turn)
            });
        }

        let fill = (coming as f64 / f64::from(row.weight.get())).to_bits();
        let least = is_open.then_some((class, fill));
        if row.seat.least.map(|(class, fill, _)| (class, fill)) != least {
            if let Some((class, fill, tie)) = row.seat.least {
                seats.least[class].remove(&(fill, tie, key));
            }
            row.seat.least = least.map(|(class, fill)| {
                let tie = seats.rng.u32(..);
                seats.least[class].insert((fill, tie, key));
                (class, fill, tie)
            });
        }
    }

    /// Those whose back-off is over by `now` are ready.
    pub(in crate::state) fn ripen(&mut self, now: Moment) {
        self.seats.now = self.seats.now.max(now);
        while let Some(&(until, key)) = self.seats.backing_off.first()
            && until <= self.seats.now
        {
            self.seat(key);
        }
    }

    /// When the first back-off is over.
    pub(in crate::state) fn next_retry(&self) -> Moment {
        self.seats.backing_off.first().map_or(Moment::NEVER, |&(until, _)| until)
    }

    /// When there is a group that a birth for load may be for.
    pub(in crate::state) fn next_start(&self) -> Moment {
        let is_ready = self.seats.least.iter().any(|least| !least.is_empty());
        if is_ready { Moment::default() } else { self.next_retry() }
    }

    /// How many births for load may start, where so many may be under way.
    pub(in crate::state) fn room_for_load(&self, most: usize) -> usize {
        let class = if self.seats.least[SOUND].is_empty() { DOUBTFUL } else { SOUND };
        // Where all fail they are asked how they are, not stormed.
        let most = if self.all_fail() { 1 } else { most };
        let lost = if class == SOUND { self.totals.lost_for_load } else { 0 };
        most.saturating_sub(self.seats.for_load[class] - lost)
    }

    /// The group that keeps more resources than it has and whose turn it is, if a birth for one may start.
    pub(in crate::state) fn due(&self) -> Option<u32> {
        let Seats { minimums, short: [sound, doubtful], .. } = &self.seats;
        if minimums[SOUND] + minimums[DOUBTFUL] >= MINIMUMS {
            return None;
        }
        let doubtful = doubtful.first().filter(|_| minimums[DOUBTFUL] < DOUBTFUL_MINIMUMS);
        sound.first().or(doubtful).map(|&(_, key)| key)
    }

    /// Whether its last creation failed.
    pub(in crate::state) fn is_doubtful(&self, key: u32) -> bool {
        self.table[key as usize].class() == DOUBTFUL
    }

    /// Why a group is due.
    pub(in crate::state) fn reason(&self, key: u32) -> CreateReason {
        let row = &self.table[key as usize];
        if row.size + row.births < row.min {
            CreateReason::Minimum
        } else {
            CreateReason::Replacement
        }
    }

    /// The ready group with the fewest resources for its weight. So many births for load may be under way.
    pub(in crate::state) fn for_load(&self, most: usize) -> Option<u32> {
        let Seats { least: [sound, doubtful], for_load, .. } = &self.seats;
        let most = if self.all_fail() { 1 } else { most };
        let doubtful = doubtful.first().filter(|_| for_load[DOUBTFUL] < most);
        let firsts = sound.first().into_iter().chain(doubtful);
        // The sound one if it is a draw.
        firsts.min_by_key(|(fill, ..)| fill).map(|&(_, _, key)| key)
    }

    /// Of the ready groups with resources that are about to go, the one with the fewest others.
    pub(in crate::state) fn for_aging(&self) -> Option<u32> {
        let rows = self.aging.iter().filter_map(|&key| Some((key, self.table.get(key as usize)?)));
        let ready = rows.filter(|(_, row)| row.seat.least.is_some());
        let others = |row: &Row| row.size.saturating_sub(row.aging) + row.births;
        ready.min_by_key(|(_, row)| others(row)).map(|(key, _)| key)
    }

    /// A birth for a group begins.
    pub(in crate::state) fn begun(&mut self, key: u32, errand: Errand) -> Origin {
        let row = &mut self.table[key as usize];
        let is_successor = errand == Errand::Successor;
        let doubtful = row.class() == DOUBTFUL;
        if is_successor {
            row.successors += 1;
        } else {
            row.births += 1;
        }
        // The others have their turn before it has another one.
        if let Some((class, turn)) = row.seat.short.take() {
            self.seats.short[class].remove(&(turn, key));
        }
        let origin = Origin { group: key, errand, doubtful };
        self.count(origin, |count, by| count + by);
        self.seat(key);
        origin
    }

    /// It has come to something, or to nothing.
    pub(in crate::state) fn over(&mut self, origin: Origin) {
        let row = &mut self.table[origin.group as usize];
        if origin.errand == Errand::Successor {
            row.successors -= 1;
        } else {
            row.births -= 1;
        }
        self.count(origin, |count, by| count - by);
        self.seat(origin.group);
        self.note_bare(origin.group);
    }

    fn count(&mut self, origin: Origin, change: impl Fn(usize, usize) -> usize) {
        let counts = match origin.errand {
            Errand::Load => &mut self.seats.for_load,
            Errand::Minimum => &mut self.seats.minimums,
            Errand::Successor => return,
        };
        let count = &mut counts[usize::from(origin.doubtful)];
        *count = change(*count, 1);
        if !origin.doubtful {
            let row = &mut self.table[origin.group as usize];
            row.sound = change(row.sound, 1);
            let for_load = usize::from(origin.errand == Errand::Load);
            row.sound_for_load = change(row.sound_for_load, for_load);
        }
    }

    /// How many of the births under way are doubtful, or for groups that are retired: nobody should wait for those.
    pub(in crate::state) fn uncertain_under_way(&self) -> usize {
        self.seats.minimums[DOUBTFUL] + self.seats.for_load[DOUBTFUL] + self.totals.lost
    }

    pub(in crate::state) fn failures(&self, key: u32) -> u32 {
        self.table[key as usize].pace.failures
    }

    /// A creation for a group has failed, and the next one may start in so long.
    pub(in crate::state) fn failed(
        &mut self,
        key: u32,
        retry_in: Option<Duration>,
        backoff: &Backoff,
        random: f64,
        now: Moment,
    ) -> Duration {
        self.seats.now = self.seats.now.max(now);
        let delay = self.table[key as usize].pace.failed(retry_in, backoff, random, now);
        self.seat(key);
        delay
    }

    pub(in crate::state) fn succeeded(&mut self, key: u32) {
        self.table[key as usize].pace.succeeded();
        self.seat(key);
    }

    pub(in crate::state) fn infant_death(
        &mut self,
        key: u32,
        created: Moment,
        backoff: &Backoff,
        now: Moment,
    ) {
        self.table[key as usize].pace.infant_death(created, backoff, now);
        self.seat(key);
    }

    /// The next creation is due now for every group.
    pub(in crate::state) fn reset_paces(&mut self) {
        let keys: Vec<_> = self.table.iter().map(|(key, _)| super::short(key)).collect();
        for key in keys {
            self.table[key as usize].pace.reset();
            self.seat(key);
        }
    }

    /// The groups of the resources that are to be replaced, each as often as it has such.
    pub(in crate::state) fn set_aging(&mut self, mut aging: Vec<u32>) {
        aging.sort_unstable();
        for key in std::mem::take(&mut self.aging) {
            if aging.binary_search(&key).is_err() {
                self.age(key, 0);
            }
        }
        for group in aging.chunk_by(PartialEq::eq) {
            self.age(group[0], group.len());
            self.aging.push(group[0]);
        }
    }

    fn age(&mut self, key: u32, aging: usize) {
        let row = self.table.get_mut(key as usize);
        if let Some(row) = row.filter(|row| row.aging != aging) {
            row.aging = aging;
            self.seat(key);
        }
    }

    /// Whether a group keeps a minimum, so that each of its resources has a successor.
    pub(in crate::state) fn keeps_minimum(&self, key: u32) -> bool {
        self.table[key as usize].min > 0
    }
}
