//! Which group the next lease is of, at a cost that does not grow with their number; in turn, with its logarithm.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::{Groups, Row};

/// How often a group is drawn again whose weight is less than the heaviest's.
const DRAWS: usize = 8;

/// How far apart the turns are of a group of weight 1.
const STRIDE: u128 = 1 << 32;

/// The groups that come in turn. Each comes again after a span that is the shorter, the more it weighs.
#[derive(Default)]
pub(super) struct Turns {
    /// When each comes next, with its serial number and its key. One that has no free place then drops out.
    next: BinaryHeap<Reverse<(u128, u64, u32)>>,
    now: u128,
    serial: u64,
}

/// The turn of a group.
#[derive(Clone, Copy, Default)]
pub(super) struct Turn {
    at: u128,
    /// That of its entry; 0 if there is none.
    serial: u64,
}

impl Row {
    /// A group has no more leases for having more resources, but for having resources with more places.
    pub(super) fn note_cost(&mut self) {
        let room = self.places as f64 * f64::from(self.weight.get());
        self.cost = if room > 0.0 { self.able as f64 / room } else { 0.0 };
    }

    fn stride(&self) -> u128 {
        STRIDE / u128::from(self.weight.get())
    }
}

impl Groups {
    /// A group with a free place.
    #[inline]
    pub(in crate::state::shared) fn pick(&mut self, rng: &mut fastrand::Rng) -> Option<u32> {
        match *self.open {
            [] => None,
            [only] => Some(only),
            _ => Some(self.pick_of_several(rng)),
        }
    }

    #[inline(never)]
    fn pick_of_several(&mut self, rng: &mut fastrand::Rng) -> u32 {
        if let Some(next) = self.next_in_turn() {
            return next;
        }
        let open = self.open.len();
        let first = self.draw(rng, |rng| rng.usize(..open));
        // One of the others.
        let second = self.draw(rng, |rng| {
            let ahead = first + rng.usize(1..open);
            if ahead < open { ahead } else { ahead - open }
        });
        let (first, second) = (self.open[first], self.open[second]);
        // Where it is a draw, the one that was drawn first by its weight.
        if self.load(second) < self.load(first) { second } else { first }
    }

    /// Draws a position in `open`, by the weights.
    fn draw(&self, rng: &mut fastrand::Rng, draw: impl Fn(&mut fastrand::Rng) -> usize) -> usize {
        let mut at = draw(rng);
        for _ in 1..DRAWS {
            let weight = self.table[self.open[at] as usize].weight.get();
            if weight >= self.heaviest || rng.u32(..self.heaviest) < weight {
                break;
            }
            at = draw(rng);
        }
        at
    }

    fn load(&self, key: u32) -> f64 {
        let row = &self.table[key as usize];
        row.in_use as f64 * row.cost
    }

    /// The one whose turn it is, where they come in turn.
    fn next_in_turn(&mut self) -> Option<u32> {
        let turns = self.turns.as_mut()?;
        while let Some(mut next) = turns.next.peek_mut() {
            let Reverse((at, serial, key)) = *next;
            let row = self.table.get_mut(key as usize).filter(|row| row.turn.serial == serial);
            match row {
                Some(row) if row.open > 0 => {
                    turns.now = at;
                    row.turn.at = at + row.stride();
                    *next = Reverse((row.turn.at, serial, key));
                    return Some(key);
                }
                Some(row) => row.turn.serial = 0,
                // It is of a group that has been forgotten.
                None => {}
            }
            PeekMut::pop(next);
        }
        None
    }

    /// A group has a free place again.
    pub(super) fn comes_in_turn(&mut self, key: u32) {
        let Some(turns) = &mut self.turns else { return };
        let row = &mut self.table[key as usize];
        if row.turn.serial > 0 {
            return;
        }
        turns.serial += 1;
        row.turn.serial = turns.serial;
        // A new one somewhere in the turn, so that not all clients begin with the same.
        let ahead = u128::from(self.seats.rng.u64(..)) % row.stride();
        let is_new = row.turn.at == 0;
        row.turn.at = if is_new { turns.now + ahead } else { row.turn.at.max(turns.now) };
        turns.next.push(Reverse((row.turn.at, row.turn.serial, key)));
    }
}
