//! Which group the next lease is of, at a cost that does not grow with their number; by an order (`order.rs`), with its
//! logarithm.

use super::{Groups, Row};

/// How often a group is drawn again whose weight is less than the heaviest's.
const DRAWS: usize = 8;

impl Row {
    /// A group has no more leases for having more resources, but for having resources with more places.
    pub(super) fn note_cost(&mut self) {
        let room = self.places as f64 * f64::from(self.weight.get());
        self.cost = if room > 0.0 { self.able as f64 / room } else { 0.0 };
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
        if let Some(first) = self.first_in_order() {
            return first;
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

    /// Leases for what it weighs, and for the places that one of its resources has.
    pub(super) fn load(&self, key: u32) -> f64 {
        let row = &self.table[key as usize];
        row.in_use as f64 * row.cost
    }
}
