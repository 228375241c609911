//! Which resources are in which group, and where a free place is.

use super::{Groups, short};

impl Groups {
    /// One more lease of a group, of one of these. So many of them have a free place, the first ones.
    #[inline]
    pub(in crate::state::shared) fn lend(&mut self, group: u32) -> (&[u32], u32) {
        self.table[group as usize].in_use += 1;
        if self.order.is_some() {
            self.turn_is_taken(group);
        }
        let row = &self.table[group as usize];
        (&row.members, row.open)
    }

    /// One lease less.
    #[inline]
    pub(in crate::state::shared) fn took_back(&mut self, group: u32) {
        self.table[group as usize].in_use -= 1;
        if self.order.is_some() {
            self.load_has_changed(group);
        }
    }

    pub(in crate::state::shared) fn is_open(&self, group: u32) -> bool {
        self.table[group as usize].open > 0
    }

    pub(in crate::state::shared) fn member(&self, group: u32, at: u32) -> usize {
        self.table[group as usize].members[at as usize] as usize
    }

    /// The resources with a free place.
    pub(in crate::state::shared) fn open_members(&self) -> impl Iterator<Item = usize> {
        let open = self.open.iter().map(|&group| &self.table[group as usize]);
        open.flat_map(|row| &row.members[..row.open as usize]).map(|&key| key as usize)
    }

    /// Takes a resource into a group, as one without a free place. Says where it is there.
    pub(in crate::state::shared) fn add(&mut self, group: u32, key: u32) -> u32 {
        let members = &mut self.table[group as usize].members;
        members.push(key);
        short(members.len() - 1)
    }

    /// Takes out a resource that has no free place. Says which one is where it was, if another one is.
    pub(in crate::state::shared) fn remove(&mut self, group: u32, at: u32) -> Option<usize> {
        let row = &mut self.table[group as usize];
        row.members.swap_remove(at as usize);
        let moved = row.members.get(at as usize).map(|&key| key as usize);
        self.note_bare(group);
        moved
    }

    pub(super) fn note_bare(&mut self, group: u32) {
        let row = &self.table[group as usize];
        if self.on && row.retired && row.is_bare() {
            self.bare.push(group);
        }
    }

    /// Puts a resource where it belongs in its group. Two have changed places if there are two positions.
    pub(in crate::state::shared) fn sort(
        &mut self,
        group: u32,
        at: u32,
        is_open: bool,
    ) -> Option<(u32, u32)> {
        let row = &mut self.table[group as usize];
        if is_open == (at < row.open) {
            return None;
        }
        let to = if is_open { row.open } else { row.open - 1 };
        row.members.swap(at as usize, to as usize);
        let before = row.open;
        row.open = if is_open { before + 1 } else { before - 1 };
        if before == 0 {
            row.open_at = short(self.open.len());
            self.open.push(group);
            if row.awaited {
                self.called.extend(row.id);
            }
            self.enters_order(group);
        } else if row.open == 0 {
            let at = row.open_at as usize;
            self.open.swap_remove(at);
            if let Some(&moved) = self.open.get(at) {
                self.table[moved as usize].open_at = short(at);
            }
            self.leaves_order(group);
        }
        let row = &self.table[group as usize];
        if row.awaited && (before == 0 || row.open == 0) {
            self.seat(group);
        }
        Some((at, to))
    }
}
