//! Groups in the order in which they are picked, where that is not left to chance: a heap of those with a free place, in
//! which each knows its position. Nothing is allocated once it has grown.
//!
//! Each has a *turn*, a time that is its own: it comes again after a span that is the shorter, the more it weighs. By that
//! alone they come one after the other. By load first, it decides between those with the same load, so that they
//! come in turn as well.

use super::{Groups, Row, short};

/// How far apart the turns are of a group of weight 1.
const STRIDE: u128 = 1 << 64;

pub(super) struct Order {
    /// By their load first.
    by_load: bool,
    /// Keys of the groups with a free place.
    heap: Vec<u32>,
    /// The last turn that came.
    now: u128,
}

/// A group's.
#[derive(Clone, Copy, Default)]
pub(super) struct Turn {
    /// 0 before the first.
    at: u128,
    /// Its position in the heap.
    position: Option<u32>,
}

impl Row {
    fn stride(&self) -> u128 {
        STRIDE / u128::from(self.weight.get())
    }
}

impl Order {
    pub(super) fn new(by_load: bool) -> Self {
        Self { by_load, heap: Vec::new(), now: 0 }
    }
}

impl Groups {
    /// The first one, where there is an order.
    pub(super) fn first_in_order(&self) -> Option<u32> {
        self.order.as_ref()?.heap.first().copied()
    }

    /// A group has a free place again.
    pub(super) fn enters_order(&mut self, key: u32) {
        let Some(order) = &mut self.order else { return };
        let row = &mut self.table[key as usize];
        // A new one somewhere in the turn, so that not all clients begin with the same.
        let ahead = u128::from(self.seats.rng.u64(..)) % row.stride();
        let is_new = row.turn.at == 0;
        row.turn.at = if is_new { order.now + 1 + ahead } else { row.turn.at.max(order.now) };
        let position = order.heap.len();
        row.turn.position = Some(short(position));
        order.heap.push(key);
        self.sift_up(position);
    }

    /// A group has no free place any more.
    pub(super) fn leaves_order(&mut self, key: u32) {
        let Some(order) = &mut self.order else { return };
        let Some(position) = self.table[key as usize].turn.position.take() else { return };
        order.heap.swap_remove(position as usize);
        if let Some(&moved) = order.heap.get(position as usize) {
            self.table[moved as usize].turn.position = Some(position);
            self.sort_in_order(moved);
        }
    }

    /// A lease of a group begins: its next turn comes later.
    pub(super) fn turn_is_taken(&mut self, key: u32) {
        let Some(order) = &mut self.order else { return };
        let row = &mut self.table[key as usize];
        // One that was asked for by name has not come in its turn.
        if order.heap.first() == Some(&key) {
            order.now = order.now.max(row.turn.at);
        }
        row.turn.at = order.now + row.stride();
        self.sort_in_order(key);
    }

    /// A group may weigh more than before: its next turn is not as far as it was.
    pub(super) fn turn_comes_sooner(&mut self, key: u32) {
        let Some(order) = &self.order else { return };
        let row = &mut self.table[key as usize];
        row.turn.at = row.turn.at.min(order.now + row.stride());
        self.sort_in_order(key);
    }

    /// The load of a group has changed.
    pub(super) fn load_has_changed(&mut self, key: u32) {
        if self.order.as_ref().is_some_and(|order| order.by_load) {
            self.sort_in_order(key);
        }
    }

    fn sort_in_order(&mut self, key: u32) {
        if let Some(position) = self.table[key as usize].turn.position {
            self.sift_up(position as usize);
            if self.table[key as usize].turn.position == Some(position) {
                self.sift_down(position as usize);
            }
        }
    }

    fn heap(&self) -> &[u32] {
        self.order.as_ref().map_or(&[], |order| &order.heap)
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.comes_before(at, parent) {
                break;
            }
            self.swap(at, parent);
            at = parent;
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let children = (2 * at + 1..self.heap().len()).take(2);
            let first = children.reduce(
                |one, other| {
                    if self.comes_before(other, one) { other } else { one }
                },
            );
            match first.filter(|&child| self.comes_before(child, at)) {
                Some(child) => {
                    self.swap(at, child);
                    at = child;
                }
                None => break,
            }
        }
    }

    fn comes_before(&self, one: usize, other: usize) -> bool {
        let [one, other] = [one, other].map(|at| self.heap()[at]);
        let turns = || self.table[one as usize].turn.at < self.table[other as usize].turn.at;
        if !self.order.as_ref().is_some_and(|order| order.by_load) {
            return turns();
        }
        let (load, others) = (self.load(one), self.load(other));
        load < others || load <= others && turns()
    }

    fn swap(&mut self, one: usize, other: usize) {
        let Some(order) = &mut self.order else { return };
        order.heap.swap(one, other);
        for at in [one, other] {
            self.table[order.heap[at] as usize].turn.position = Some(short(at));
        }
    }
}
