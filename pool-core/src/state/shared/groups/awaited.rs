//! Groups that somebody is bound to (`waiters/bound.rs`): where a place of one has come free, and whether it has any.

use std::collections::BTreeSet;

use super::Groups;
use crate::group::GroupId;

impl Groups {
    /// Whether there is a group of this name.
    pub(in crate::state) fn is_live(&self, id: GroupId) -> bool {
        self.find(id).is_some_and(|key| !self.is_retired(key))
    }

    /// Its resources that may be lent.
    pub(in crate::state) fn size(&self, key: u32) -> usize {
        self.table[key as usize].size
    }

    /// Somebody waits for a place of a group, or nobody does any more.
    pub(in crate::state) fn set_awaited(&mut self, id: GroupId, awaited: bool) {
        let Some(key) = self.find(id) else { return };
        let row = &mut self.table[key as usize];
        row.awaited = awaited;
        if awaited && row.open > 0 {
            self.called.insert(id);
        }
        self.seat(key);
    }

    /// Those that are awaited, and have come to have a free place.
    pub(in crate::state) fn take_called(&mut self) -> BTreeSet<GroupId> {
        std::mem::take(&mut self.called)
    }
}
