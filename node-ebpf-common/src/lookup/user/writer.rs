//! Changes of the table.

use ipnet::Ipv4Net;

use super::{
    super::{Found, LOOKUP_ROOTS, look_up},
    Cell, Cells, GracePeriod,
    block::Block,
    chunks::{At, Chunks, places},
    mirror::Mirror,
};
use crate::Route;

/// Keeps a lookup table as its routes say.
///
/// At every moment, also if the process ends there, each address has its answer from before a change or the one
/// from after it. What is to lead to new cells leads to a whole chunk of them, in one store; a chunk that nothing
/// leads to any more is used again only after a grace period.
#[derive(Debug)]
pub struct LookupWriter<C, G> {
    cells: C,
    grace_period: G,
    mirror: Mirror,
    chunks: Chunks,
    /// Whether a cell had to be left to the trie, because no chunk was free.
    exhausted: bool,
    /// Cells changed since the last [`Self::reconcile`] began, except ones that had been left to the trie.
    changed: usize,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupUsage {
    /// Chunks in use, those of the /16 prefixes included.
    pub chunks: u32,
    /// Chunks that there are.
    pub max_chunks: u32,
    /// Cells whose addresses are looked up in the trie, because no chunk is free or no cell can say it.
    pub left_to_trie: usize,
}

impl<C: Cells, G: GracePeriod> LookupWriter<C, G> {
    /// Takes a table over, whatever it says, and makes it say what these routes say. What is right already is not
    /// written.
    pub fn start(cells: C, grace_period: G, routes: impl IntoIterator<Item = (Ipv4Net, Route)>) -> Self {
        let chunks = Chunks::of_table(&cells);
        let mirror = Mirror::default();
        let mut writer = Self { cells, grace_period, mirror, chunks, exhausted: false, changed: 0 };
        writer.reconcile(routes);
        writer
    }

    /// Makes the table say what these routes say, whatever it says now, also if it is broken in any way. Cells that
    /// were left to the trie get chunks, if there are any now. Returns how many other cells were not as written.
    pub fn reconcile(&mut self, routes: impl IntoIterator<Item = (Ipv4Net, Route)>) -> usize {
        let cell = |(prefix, route): (Ipv4Net, Route)| (Block::from(prefix), Cell::of_route(route));
        self.mirror = routes.into_iter().map(cell).collect();
        self.audit()
    }

    /// The same, where the routes are those that it has.
    pub fn audit(&mut self) -> usize {
        self.chunks.survey(&self.cells);
        self.chunks.replenish(&mut self.grace_period);
        self.changed = 0;
        let was_exhausted = std::mem::take(&mut self.exhausted);
        for root in 0..LOOKUP_ROOTS {
            self.make_right(root, Block::of_root(root), Block::ALL, was_exhausted);
        }
        self.changed
    }

    /// Adds a route or changes it.
    pub fn set(&mut self, prefix: Ipv4Net, route: Route) {
        self.mirror.set(prefix.into(), Cell::of_route(route));
        self.update(prefix.into());
    }

    /// Removes a route.
    pub fn remove(&mut self, prefix: Ipv4Net) {
        self.mirror.remove(prefix.into());
        self.update(prefix.into());
    }

    /// What programs find in the table.
    pub fn look_up(&self, address: [u8; 4]) -> Found {
        look_up(address, |chunk, place| self.cells.load(chunk, place))
    }

    /// How full the table is.
    pub fn usage(&self) -> LookupUsage {
        let roots = 0..LOOKUP_ROOTS;
        let is_left = |at: &At| self.load(*at) == Cell::ASK_TRIE;
        LookupUsage {
            chunks: LOOKUP_ROOTS + u32::try_from(self.chunks.used().count()).unwrap_or(u32::MAX),
            max_chunks: self.cells.chunks(),
            left_to_trie: roots.chain(self.chunks.used()).flat_map(places).filter(is_left).count(),
        }
    }

    fn load(&self, at: At) -> Cell {
        self.cells.load(at.chunk, at.place)
    }

    fn update(&mut self, changed: Block) {
        let last = changed.last() >> 24;
        for root in changed.first >> 24..=last {
            self.make_right(root, Block::of_root(root), changed, true);
        }
    }

    /// Makes the cells right that stand for addresses of `changed`, in a chunk that stands for `block`.
    /// `was_exhausted` says that cells which need a chunk may rightly be without.
    fn make_right(&mut self, chunk: u32, block: Block, changed: Block, was_exhausted: bool) {
        let cell_length = block.length + 8;
        let target = if changed.length > block.length {
            Block::around(changed.first, changed.length.min(cell_length))
        } else {
            block
        };
        let painted = self.mirror.paint(target, cell_length);
        for place in target.places(cell_length) {
            let (at, index) = (At { chunk, place }, usize::from(place));
            let before = self.load(at);
            let branch = painted.branches[index];
            if let Some(child) = self.chunks.owned(at, before).filter(|_| branch) {
                self.make_right(child, block.of_cell(place), changed, was_exhausted);
                if chunk >= LOOKUP_ROOTS && self.chunks.owner(chunk).is_none() {
                    // Given up together with its last child.
                    return;
                }
                continue;
            }
            let cell = if branch { self.build(at, block.of_cell(place)) } else { painted.cells[index] };
            if before == cell {
                continue;
            }
            let was_left = branch && before == Cell::ASK_TRIE && was_exhausted;
            self.changed += usize::from(!was_left);
            if cell == Cell::ASK_TRIE && self.is_last_word(at) {
                // No chunk is published that says nothing: see `Chunks::of_table`.
                return self.leave_to_trie(chunk);
            }
            self.replace(at, before, cell);
        }
    }

    /// Whether the rest of a chunk that has an owner leaves everything to the trie.
    fn is_last_word(&self, at: At) -> bool {
        at.chunk >= LOOKUP_ROOTS
            && places(at.chunk).all(|other| other == at || self.load(other) == Cell::ASK_TRIE)
    }

    /// Leaves all that a chunk stands for to the trie, and what is around it if nothing is left there either.
    fn leave_to_trie(&mut self, chunk: u32) {
        match self.chunks.owner(chunk) {
            Some(owner) if self.is_last_word(owner) => self.leave_to_trie(owner.chunk),
            Some(owner) => self.replace(owner, Cell::of_child(chunk), Cell::ASK_TRIE),
            None => {}
        }
    }

    /// Fills a chunk for this block and what is in it. Returns the cell that leads to it; it is for the place `owner`.
    fn build(&mut self, owner: At, block: Block) -> Cell {
        let Some(chunk) = self.chunks.take(&mut self.grace_period) else {
            self.exhausted = true;
            return Cell::ASK_TRIE;
        };
        let painted = self.mirror.paint(block, block.length + 8);
        let mut says_nothing = true;
        for at in places(chunk) {
            let index = usize::from(at.place);
            let cell = if painted.branches[index] {
                self.build(at, block.of_cell(at.place))
            } else {
                painted.cells[index]
            };
            self.cells.store(chunk, at.place, cell);
            says_nothing &= cell == Cell::ASK_TRIE;
        }
        if says_nothing {
            self.chunks.give_back(chunk);
            return Cell::ASK_TRIE;
        }
        self.chunks.own(chunk, owner);
        Cell::of_child(chunk)
    }

    /// Writes a cell that readers see, and takes out the chunk that it led to.
    fn replace(&mut self, at: At, before: Cell, cell: Cell) {
        self.cells.store(at.chunk, at.place, cell);
        if let Some(child) = self.chunks.owned(at, before) {
            self.take_out(child);
        }
    }

    fn take_out(&mut self, chunk: u32) {
        for at in places(chunk) {
            if let Some(child) = self.chunks.owned(at, self.load(at)) {
                self.chunks.quarantine(child);
            }
        }
        self.chunks.quarantine(chunk);
    }
}
