//! Which chunk belongs to which cell, and which are free.

use std::{vec, vec::Vec};

use super::{
    super::{LOOKUP_CELLS, LOOKUP_ROOTS},
    Cell, Cells, GracePeriod,
};

/// A cell's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) chunk: u32,
    pub(super) place: u8,
}

/// What a chunk belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Nothing leads to it.
    Nobody,
    /// This cell, and no other, leads to it.
    Cell(At),
    /// Several cells lead to it, so the table is broken there.
    Several,
}

/// The chunks other than the roots.
#[derive(Debug)]
pub(super) struct Chunks {
    owners: Vec<Owner>,
    /// Nobody can be reading these.
    free: Vec<u32>,
    /// Nothing leads to these any more, but somebody may still be reading them.
    quarantined: Vec<u32>,
}

/// A grace period takes milliseconds: it is waited for in the middle of a change only for one chunk in so many.
const WORTH_WAITING: usize = 64;

/// Every place of a chunk.
pub(super) fn places(chunk: u32) -> impl Iterator<Item = At> {
    (0..=u8::MAX).map(move |place| At { chunk, place })
}

impl Chunks {
    /// All chunks, of a table that an earlier process may have left. Of those that nothing leads to, only ones that
    /// have never been written are free: no chunk is published that has nothing but zeros.
    pub(super) fn of_table(cells: &impl Cells) -> Self {
        let untouched =
            |chunk: &u32| places(*chunk).all(|at| cells.load(at.chunk, at.place) == Cell::ASK_TRIE);
        Self {
            owners: Vec::new(),
            free: (LOOKUP_ROOTS..cells.chunks()).rev().filter(untouched).collect(),
            quarantined: Vec::new(),
        }
    }

    /// Goes through the table and finds out what each chunk belongs to. One that belongs to nothing although something
    /// leads to it is left alone until a later survey finds that nothing does any more.
    pub(super) fn survey(&mut self, cells: &impl Cells) {
        let mut leads = Leads::new(cells.chunks());
        for at in (0..LOOKUP_ROOTS).flat_map(places) {
            if let Some(child) = leads.follow(cells, at)
                && !std::mem::replace(&mut leads.walked[child as usize], true)
            {
                for at in places(child) {
                    leads.follow(cells, at);
                }
            }
        }
        let owners = &leads.owners;
        let is_unused = |chunk: &u32| owners[*chunk as usize] == Owner::Nobody;
        self.free.retain(is_unused);
        let mut is_free = vec![false; owners.len()];
        self.free.iter().for_each(|chunk| is_free[*chunk as usize] = true);
        let rest = (LOOKUP_ROOTS..cells.chunks()).filter(is_unused);
        self.quarantined = rest.filter(|chunk| !is_free[*chunk as usize]).collect();
        self.owners =
            owners.iter().map(|owner| if leads.is_sound(*owner) { *owner } else { Owner::Nobody }).collect();
    }

    /// A chunk to fill, if there is one.
    pub(super) fn take(&mut self, grace_period: &mut impl GracePeriod) -> Option<u32> {
        let worth_waiting = (self.owners.len() - LOOKUP_ROOTS as usize).div_ceil(WORTH_WAITING);
        if self.free.is_empty() && self.quarantined.len() >= worth_waiting {
            self.release(grace_period);
        }
        self.free.pop()
    }

    /// Sees to it that as many chunks as possible are free, where that is worth it.
    pub(super) fn replenish(&mut self, grace_period: &mut impl GracePeriod) {
        if self.free.len() < self.quarantined.len() {
            self.release(grace_period);
        }
    }

    fn release(&mut self, grace_period: &mut impl GracePeriod) {
        if grace_period.wait() {
            self.free.append(&mut self.quarantined);
        }
    }

    /// Takes back a chunk that was taken and has never been published.
    pub(super) fn give_back(&mut self, chunk: u32) {
        self.free.push(chunk);
    }

    /// Notes that a cell leads to this chunk.
    pub(super) fn own(&mut self, chunk: u32, owner: At) {
        self.owners[chunk as usize] = Owner::Cell(owner);
    }

    /// The chunk that belongs to this cell, which says `cell`.
    pub(super) fn owned(&self, at: At, cell: Cell) -> Option<u32> {
        let child = cell.child()?;
        (self.owners.get(child as usize) == Some(&Owner::Cell(at))).then_some(child)
    }

    /// The cell that leads to this chunk.
    pub(super) fn owner(&self, chunk: u32) -> Option<At> {
        if let Owner::Cell(at) = self.owners[chunk as usize] { Some(at) } else { None }
    }

    /// Notes that nothing leads to this chunk any more.
    pub(super) fn quarantine(&mut self, chunk: u32) {
        self.owners[chunk as usize] = Owner::Nobody;
        self.quarantined.push(chunk);
    }

    /// Every chunk that belongs to a cell.
    pub(super) fn used(&self) -> impl Iterator<Item = u32> {
        let numbers = (0..).zip(&self.owners);
        numbers.filter(|(_, owner)| **owner != Owner::Nobody).map(|(chunk, _)| chunk)
    }
}

impl Owner {
    fn is_root_cell(self) -> bool {
        matches!(self, Self::Cell(at) if is_root(at.chunk))
    }
}

const fn is_root(chunk: u32) -> bool {
    chunk < LOOKUP_ROOTS
}

/// What was seen on the way through the table, which may be broken in any way.
struct Leads {
    owners: Vec<Owner>,
    walked: Vec<bool>,
}

impl Leads {
    fn new(chunks: u32) -> Self {
        Self { owners: vec![Owner::Nobody; chunks as usize], walked: vec![false; chunks as usize] }
    }

    /// Whether it is one cell, in a root or in a chunk that one cell of a root leads to.
    fn is_sound(&self, owner: Owner) -> bool {
        let Owner::Cell(at) = owner else { return false };
        is_root(at.chunk) || self.owners[at.chunk as usize].is_root_cell()
    }

    /// Notes where a cell leads to, and returns it. Chunks that cannot belong to a cell are left out.
    fn follow(&mut self, cells: &impl Cells, at: At) -> Option<u32> {
        let child = cells.load(at.chunk, at.place).child().filter(|child| !is_root(*child))?;
        let owner = self.owners.get_mut(child as usize)?;
        *owner = if *owner == Owner::Nobody { Owner::Cell(at) } else { Owner::Several };
        Some(child)
    }
}

const _: () = assert!(LOOKUP_CELLS == 1 << u8::BITS);
