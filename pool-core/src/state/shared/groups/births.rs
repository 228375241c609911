//! Which group a birth is for.
//!
//! A live group is in back-off until the time that its last creation gave it, or else *ready*. Ready ones with fewer
//! resources than they keep are served first, in the order in which they came to be so. For load it is the ready one with
//! the fewest resources for its weight. Between the two come those that are awaited (somebody waits for a place of this
//! very group) and have no resource, or none with a free place, nor one that is being created: they are *sought*.
//!
//! A group is *doubtful* if its last creation failed, and so is a birth for it: there is one at a time, nobody counts on
//! it, and it has no room that others could have. There are bounds of their own to how many of those there are. Nor does
//! anybody count on a birth for a group that has been retired.

use std::collections::BTreeSet;

use super::{Counted, Groups, Row};
use crate::manager::CreateReason;
use crate::moment::Moment;

/// How many creations for minimums, and for those that are bound, may run at a time, beside those for load: enough for many
/// groups to be there soon. With those that go on for groups that have been retired meanwhile, twice as many.
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
    /// Those that wait for a place of this very group.
    Bound,
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

/// Keys of groups, by their turn.
type Queue = BTreeSet<(u64, u32)>;

#[derive(Default)]
pub(super) struct Seats {
    /// As far as back-offs are known to be over.
    now: Moment,
    /// Those in back-off, by its end.
    backing_off: BTreeSet<(Moment, u32)>,
    /// Ready ones with fewer resources than they keep, by their turn: the sound, and the doubtful.
    short: [Queue; 2],
    /// Ready ones that are sought, the same way.
    sought: [Queue; 2],
    /// Ready ones by their resources for their weight, as bits of a number that is not below zero, then at random: the
    /// sound, and the doubtful.
    least: [BTreeSet<(u64, u32, u32)>; 2],
    turn: u64,
    pub(super) rng: fastrand::Rng,
}

/// Where a row is in the sets.
#[derive(Clone, Copy, Default)]
pub(super) struct Seat {
    backing_off: Option<Moment>,
    /// In which of the two, and its turn there.
    short: Option<(usize, u64)>,
    sought: Option<(usize, u64)>,
    least: Option<(usize, u64, u32)>,
}

/// Births under way for load, and for minimums and those that are bound: the sound, and the doubtful.
#[derive(Clone, Copy, Default)]
pub(super) struct Births {
    for_load: [usize; 2],
    minimums: [usize; 2],
}

impl Births {
    pub(super) fn sum(&self) -> usize {
        self.for_load.iter().chain(&self.minimums).sum()
    }

    fn doubtful(&self) -> usize {
        self.for_load[DOUBTFUL] + self.minimums[DOUBTFUL]
    }

    /// Those of a row have changed, of which this is the sum.
    fn replace(&mut self, before: Self, after: Self) {
        for class in [SOUND, DOUBTFUL] {
            let load = &mut self.for_load[class];
            *load = *load - before.for_load[class] + after.for_load[class];
            let minimum = &mut self.minimums[class];
            *minimum = *minimum - before.minimums[class] + after.minimums[class];
        }
    }
}

impl Row {
    fn births_of(&mut self, origin: Origin) -> &mut usize {
        let class = usize::from(origin.doubtful);
        match origin.errand {
            Errand::Load => &mut self.births.for_load[class],
            Errand::Minimum | Errand::Bound => &mut self.births.minimums[class],
            Errand::Successor => &mut self.successors,
        }
    }

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
        totals.births.replace(before.births, after.births);
        totals.lost.replace(before.lost, after.lost);

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
        let is_open = is_ready && (class == SOUND || row.births.sum() == 0);
        let coming = row.size + row.births.sum();
        let short = (is_open && coming < row.floor()).then_some(class);
        queue_up(key, &mut seats.short, &mut row.seat.short, short, &mut seats.turn);
        // One that has places for nobody yet, or no more, says nothing of how many are wanted.
        let is_full = row.open == 0 && row.able == coming;
        let sought = (is_open && row.awaited && is_full).then_some(class);
        queue_up(key, &mut seats.sought, &mut row.seat.sought, sought, &mut seats.turn);

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
        most.saturating_sub(self.totals.births.for_load[class])
    }

    /// The group that keeps more resources than it has and whose turn it is, if a birth for one may start.
    pub(in crate::state) fn due(&self) -> Option<u32> {
        self.first_of(&self.seats.short)
    }

    /// The same of those that are sought.
    pub(in crate::state) fn sought(&self) -> Option<u32> {
        self.first_of(&self.seats.sought)
    }

    fn first_of(&self, [sound, doubtful]: &[Queue; 2]) -> Option<u32> {
        let Counted { births: Births { minimums, .. }, lost, .. } = &self.totals;
        let live: usize = minimums.iter().sum();
        let retired: usize = lost.minimums.iter().sum();
        if live >= MINIMUMS || live + retired >= 2 * MINIMUMS {
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
        if row.size + row.births.sum() < row.min {
            CreateReason::Minimum
        } else {
            CreateReason::Replacement
        }
    }

    /// The ready group with the fewest resources for its weight. So many births for load may be under way.
    pub(in crate::state) fn for_load(&self, most: usize) -> Option<u32> {
        let [sound, doubtful] = &self.seats.least;
        let for_load = &self.totals.births.for_load;
        let doubtful = doubtful.first().filter(|_| for_load[DOUBTFUL] < most);
        let firsts = sound.first().into_iter().chain(doubtful);
        // The sound one if it is a draw.
        firsts.min_by_key(|(fill, ..)| fill).map(|&(_, _, key)| key)
    }

    /// Of the ready groups with resources that are about to go, the one with the fewest others.
    pub(in crate::state) fn for_aging(&self) -> Option<u32> {
        let rows = self.aging.iter().filter_map(|&key| Some((key, self.table.get(key as usize)?)));
        let ready = rows.filter(|(_, row)| row.seat.least.is_some());
        let others = |row: &Row| row.size.saturating_sub(row.aging) + row.births.sum();
        ready.min_by_key(|(_, row)| others(row)).map(|(key, _)| key)
    }

    /// A birth for a group begins.
    pub(in crate::state) fn begun(&mut self, key: u32, errand: Errand) -> Origin {
        let row = &mut self.table[key as usize];
        let origin = Origin { group: key, errand, doubtful: row.class() == DOUBTFUL };
        *row.births_of(origin) += 1;
        // The others have their turn before it has another one.
        if let Some((class, turn)) = row.seat.short.take() {
            self.seats.short[class].remove(&(turn, key));
        }
        self.seat(key);
        origin
    }

    /// It has come to something, or to nothing.
    pub(in crate::state) fn over(&mut self, origin: Origin) {
        *self.table[origin.group as usize].births_of(origin) -= 1;
        self.seat(origin.group);
        self.note_bare(origin.group);
    }

    /// How many of the births under way are doubtful, or for groups that are retired: nobody should wait for those.
    pub(in crate::state) fn uncertain_under_way(&self) -> usize {
        let Counted { births, lost, .. } = &self.totals;
        births.doubtful() + lost.sum()
    }

    pub(in crate::state) fn failures(&self, key: u32) -> u32 {
        self.table[key as usize].pace.failures
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

/// Puts a group into the queue of a class, or into none.
fn queue_up(
    key: u32,
    queues: &mut [Queue; 2],
    seat: &mut Option<(usize, u64)>,
    class: Option<usize>,
    turns: &mut u64,
) {
    if seat.map(|(class, _)| class) == class {
        return;
    }
    if let Some((class, turn)) = *seat {
        queues[class].remove(&(turn, key));
    }
    *seat = class.map(|class| {
        *turns += 1;
        queues[class].insert((*turns, key));
        (class, *turns)
    });
}
