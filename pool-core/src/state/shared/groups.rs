//! The groups of shared resources, and which of them have a free place.

use slab::Slab;

/// The group of what is in no other.
pub(super) const DEFAULT: u32 = 0;

struct Group {
    /// Keys of its resources, those with a free place before the others.
    members: Vec<u32>,
    /// How many have one.
    open: u32,
    /// Its position among the groups of which one has.
    open_at: u32,
    /// Leases of its resources.
    in_use: usize,
}

pub(in crate::state) struct Groups {
    table: Slab<Group>,
    /// Keys of the groups with a free place.
    open: Vec<u32>,
}

impl Default for Groups {
    fn default() -> Self {
        let mut table = Slab::new();
        table.insert(Group { members: Vec::new(), open: 0, open_at: 0, in_use: 0 });
        Self { table, open: Vec::new() }
    }
}

impl Groups {
    /// A group with a free place.
    #[inline]
    pub(super) fn pick(&self) -> Option<u32> {
        self.open.first().copied()
    }

    /// One more lease of a group, of one of these, which have a free place.
    #[inline]
    pub(super) fn lend(&mut self, group: u32) -> &[u32] {
        let group = &mut self.table[group as usize];
        group.in_use += 1;
        &group.members[..group.open as usize]
    }

    /// One lease less. Says whether its resource had a free place.
    #[inline]
    pub(super) fn took_back(&mut self, group: u32, at: u32) -> bool {
        let group = &mut self.table[group as usize];
        group.in_use -= 1;
        at < group.open
    }

    pub(super) fn member(&self, group: u32, at: u32) -> usize {
        self.table[group as usize].members[at as usize] as usize
    }

    /// The resources with a free place.
    pub(super) fn open_members(&self) -> impl Iterator<Item = usize> {
        let open = self.open.iter().map(|&group| &self.table[group as usize]);
        open.flat_map(|group| &group.members[..group.open as usize]).map(|&key| key as usize)
    }

    /// Takes a resource into a group, as one without a free place. Says where it is there.
    pub(super) fn add(&mut self, group: u32, key: u32) -> u32 {
        let members = &mut self.table[group as usize].members;
        members.push(key);
        short(members.len() - 1)
    }

    /// Takes out a resource that has no free place. Says which one is where it was, if another one is.
    pub(super) fn remove(&mut self, group: u32, at: u32) -> Option<usize> {
        let members = &mut self.table[group as usize].members;
        members.swap_remove(at as usize);
        members.get(at as usize).map(|&key| key as usize)
    }

    /// Puts a resource where it belongs in its group. Two have changed places if there are two positions.
    pub(super) fn sort(&mut self, key: u32, at: u32, is_open: bool) -> Option<(u32, u32)> {
        let group = &mut self.table[key as usize];
        if is_open == (at < group.open) {
            return None;
        }
        let to = if is_open { group.open } else { group.open - 1 };
        group.members.swap(at as usize, to as usize);
        let before = group.open;
        group.open = if is_open { before + 1 } else { before - 1 };
        if before == 0 {
            group.open_at = short(self.open.len());
            self.open.push(key);
        } else if group.open == 0 {
            let at = group.open_at as usize;
            self.open.swap_remove(at);
            if let Some(&moved) = self.open.get(at) {
                self.table[moved as usize].open_at = short(at);
            }
        }
        Some((at, to))
    }
}

/// A key or a position in half the space.
pub(super) fn short(key: usize) -> u32 {
    match u32::try_from(key) {
        Ok(key) => key,
        Err(_) => unreachable!("bug: more resources than could be counted"),
    }
}
