//! The routes that the table is made from, and what they ask of each cell.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included},
};

use super::{super::LOOKUP_CELLS, Cell, block::Block};

/// Every prefix with what its route says in a cell: 16 to 20 bytes for each.
#[derive(Debug, Default)]
pub(super) struct Mirror(BTreeMap<Block, Cell>);

/// What the cells of a chunk must be.
pub(super) struct Painted {
    /// What the prefixes say that are not longer than a cell's.
    pub(super) cells: [Cell; LOOKUP_CELLS],
    /// Whether there are longer ones, for which the cell needs a chunk.
    pub(super) branches: [bool; LOOKUP_CELLS],
}

impl FromIterator<(Block, Cell)> for Mirror {
    fn from_iter<T: IntoIterator<Item = (Block, Cell)>>(routes: T) -> Self {
        Self(routes.into_iter().collect())
    }
}

impl Mirror {
    pub(super) fn set(&mut self, block: Block, cell: Cell) {
        self.0.insert(block, cell);
    }

    pub(super) fn remove(&mut self, block: Block) {
        self.0.remove(&block);
    }

    /// What the longest prefix says that contains all of this block.
    fn longest_match(&self, block: Block) -> Cell {
        let mut longest = block;
        loop {
            // In this order, what contains the block comes before it; nothing that does lies before the block that it
            // shares with its predecessor.
            let Some((before, cell)) = self.0.range(..=longest).next_back() else { return Cell::NO_ROUTE };
            if before.last() >= longest.last() {
                return *cell;
            }
            let shared = (before.first ^ longest.first).leading_zeros().to_le_bytes()[0];
            longest = Block::around(longest.first, shared);
        }
    }

    /// What the cells within `target` must be, in the chunk that holds it and whose cells stand for blocks of
    /// `cell_length`.
    pub(super) fn paint(&self, target: Block, cell_length: u8) -> Painted {
        let mut painted =
            Painted { cells: [self.longest_match(target); LOOKUP_CELLS], branches: [false; LOOKUP_CELLS] };
        let end = Included(Block { first: target.last(), length: 32 });
        let mut within = self.0.range((Excluded(target), end));
        // A prefix comes after those that contain it, so what is painted over is less specific.
        while let Some((block, cell)) = within.next() {
            let places = block.places(cell_length);
            if block.length <= cell_length {
                painted.cells[usize::from(*places.start())..=usize::from(*places.end())].fill(*cell);
            } else {
                painted.branches[usize::from(*places.start())] = true;
                // The others in this cell are for its chunk.
                let last = Block::around(block.first, cell_length).last();
                within = self.0.range((Excluded(Block { first: last, length: 32 }), end));
            }
        }
        painted
    }
}
