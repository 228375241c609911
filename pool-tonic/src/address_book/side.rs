//! The two pools below, which have the addresses in common and their calls apart.

use std::ops::{AddAssign, Index, IndexMut, SubAssign};

/// The pool that a connection is of. A call waits for those of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Connections that many calls share.
    #[default]
    Shared,
    /// Connections that carry one call at a time.
    Dedicated,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Shared, Self::Dedicated];
}

/// One for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sides<T>([T; 2]);

impl<T> Index<Side> for Sides<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        let Self([shared, dedicated]) = self;
        match side {
            Side::Shared => shared,
            Side::Dedicated => dedicated,
        }
    }
}

impl<T> IndexMut<Side> for Sides<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        let Self([shared, dedicated]) = self;
        match side {
            Side::Shared => shared,
            Side::Dedicated => dedicated,
        }
    }
}

impl Sides<usize> {
    pub(crate) fn sum(&self) -> usize {
        self.0.iter().sum()
    }
}

impl AddAssign for Sides<usize> {
    fn add_assign(&mut self, other: Self) {
        for side in Side::BOTH {
            self[side] += other[side];
        }
    }
}

impl SubAssign for Sides<usize> {
    fn sub_assign(&mut self, other: Self) {
        for side in Side::BOTH {
            self[side] -= other[side];
        }
    }
}
