//! What a lease knows about itself, in one word.

use crate::state::Key;

/// How far a lease has come, the waiter that its place was granted to, and its key where leases are kept
/// track of. In one word, since a lease is moved from hand to hand, and words are moved best.
#[derive(Clone, Copy)]
pub(super) struct Marks(u64);

impl Marks {
    const STAGE: u64 = 0b11;
    const KEY_SHIFT: u32 = 2;
    const KEYS: u64 = (1 << 30) - 1;
    const WAITER_SHIFT: u32 = 32;

    /// One is added to the key, so that 0 is none. One that does not fit is not kept track of.
    #[inline]
    pub(super) fn new(stage: Stage, waiter: Key, tracked: Option<u32>) -> Self {
        let key = tracked.map_or(0, |key| u64::from(key) + 1);
        let key = if key > Self::KEYS { 0 } else { key };
        Self(stage as u64 | key << Self::KEY_SHIFT | u64::from(waiter.bits()) << Self::WAITER_SHIFT)
    }

    #[inline]
    pub(super) fn stage(self) -> Stage {
        match self.0 & Self::STAGE {
            0 => Stage::Lent,
            1 => Stage::Checked,
            2 => Stage::Held,
            _ => Stage::Asked,
        }
    }

    #[inline]
    pub(super) fn set_stage(&mut self, stage: Stage) {
        self.0 = self.0 & !Self::STAGE | stage as u64;
    }

    #[inline]
    pub(super) fn waiter(self) -> Key {
        Key::from_bits((self.0 >> Self::WAITER_SHIFT) as u32)
    }

    #[inline]
    pub(super) fn is_tracked(self) -> bool {
        self.0 >> Self::KEY_SHIFT & Self::KEYS != 0
    }

    pub(super) fn tracked(self) -> Option<u32> {
        u32::try_from((self.0 >> Self::KEY_SHIFT & Self::KEYS).checked_sub(1)?).ok()
    }

    pub(super) fn take_tracked(&mut self) -> Option<u32> {
        let key = self.tracked();
        self.0 &= !(Self::KEYS << Self::KEY_SHIFT);
        key
    }
}

/// How far a lease has come. Dropped before it is held, its resource is discarded: nobody knows what
/// state it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Lent,
    Checked,
    Held,
    /// Checks that take no future are being asked.
    Asked,
}
