//! The lookup table in front of the IPv4 trie: what an address leads to in three loads at most, whatever the
//! number of prefixes.
//!
//! It is a multibit trie of 16, 8 and 8 bits, in chunks of 256 cells: chunks 0 to 255 hold one cell for each /16,
//! a further chunk one for each /24 of a /16, or one for each address of a /24. It is exact, never a guess: where
//! it cannot say, its cell says so ([`Cell::ASK_TRIE`]), and so does all of a table that nobody has written. The
//! trie stays what counts.

#[cfg(feature = "user")]
pub mod user;

use crate::{MAX_NEXT_HOPS, Route};

/// Chunks that the map holds.
pub const LOOKUP_CHUNKS: u32 = 1 << 15;

/// The first chunks, which hold the cells of the /16 prefixes.
pub const LOOKUP_ROOTS: u32 = 1 << 8;

/// Cells in a chunk.
pub const LOOKUP_CELLS: usize = 1 << 8;

/// Value of the map: 256 cells, each a [`Cell`] as a number.
pub type LookupChunk = [u16; LOOKUP_CELLS];

/// What the addresses of a prefix lead to: 16 bits, so that a cell is written in one store.
///
/// ```text
/// 0f nn nnnn nnnn nnnn   next hop n, with or without Route::NODE_ADDRESS (f); n = 0: ask the trie, or (f) no route
/// 1c cc cccc cccc cccc   chunk c has the cells of the longer prefixes
/// ```
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell(pub u16);

const CHILD: u16 = 0x8000;
const NODE_ADDRESS: u16 = 0x4000;
const NEXT_HOP: u16 = 0x3fff;

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The longest prefix that matches leads here.
    Route(Route),
    /// No prefix matches.
    NoRoute,
    /// Only the trie knows.
    AskTrie,
}

impl Cell {
    /// The table does not know.
    pub const ASK_TRIE: Self = Self(0);
    /// No prefix matches.
    pub const NO_ROUTE: Self = Self(NODE_ADDRESS);

    /// The cell that says the same as this route, or that the trie must be asked if no cell can.
    #[must_use]
    pub const fn of_route(route: Route) -> Self {
        let flag = match route.flags {
            0 => 0,
            Route::NODE_ADDRESS => NODE_ADDRESS,
            _ => return Self::ASK_TRIE,
        };
        // Index 0 names no next hop.
        match route.next_hop {
            1..MAX_NEXT_HOPS => Self(flag | low_bits(route.next_hop)),
            _ => Self::ASK_TRIE,
        }
    }

    /// The cell that leads to this chunk, which is below [`LOOKUP_CHUNKS`].
    #[must_use]
    pub const fn of_child(chunk: u32) -> Self {
        Self(CHILD | low_bits(chunk))
    }

    /// The chunk that it leads to.
    #[inline(always)]
    #[must_use]
    pub const fn child(self) -> Option<u32> {
        if self.0 & CHILD == 0 { None } else { Some((self.0 & !CHILD) as u32) }
    }

    /// What a cell says that leads to no chunk.
    #[inline(always)]
    #[must_use]
    pub const fn found(self) -> Found {
        match (self.0 & NEXT_HOP, self.0 & NODE_ADDRESS) {
            (0, 0) => Found::AskTrie,
            (0, _) => Found::NoRoute,
            (next_hop, flag) => Found::Route(Route {
                next_hop: next_hop as u32,
                flags: if flag == 0 { 0 } else { Route::NODE_ADDRESS },
            }),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "indices of next hops and chunks are below 2^15")]
const fn low_bits(index: u32) -> u16 {
    index as u16
}

const _: () = assert!(MAX_NEXT_HOPS <= NODE_ADDRESS as u32 && LOOKUP_CHUNKS <= CHILD as u32);
const _: () = assert!(Route::NODE_ADDRESS == 1);

/// Looks an address up, in network byte order, through a function that reads the cell at a place of a chunk.
#[inline(always)]
pub fn look_up(address: [u8; 4], cell: impl Fn(u32, u8) -> Cell) -> Found {
    let [first, second, third, fourth] = address;
    let mut found = cell(first as u32, second);
    if let Some(chunk) = found.child() {
        found = cell(chunk, third);
        if let Some(chunk) = found.child() {
            found = cell(chunk, fourth);
        }
    }
    // A chunk of single addresses leads nowhere: a cell that does is not trusted.
    if found.child().is_some() { Found::AskTrie } else { found.found() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_that_fits_a_cell_can_be_read_back() {
        for flags in [0, Route::NODE_ADDRESS] {
            for next_hop in 1..MAX_NEXT_HOPS {
                let route = Route { next_hop, flags };
                let cell = Cell::of_route(route);
                assert_eq!((cell.child(), cell.found()), (None, Found::Route(route)));
            }
        }
        for chunk in 0..LOOKUP_CHUNKS {
            assert_eq!(Cell::of_child(chunk).child(), Some(chunk));
        }
        assert_eq!(Cell::NO_ROUTE.found(), Found::NoRoute);
        assert_eq!((Cell::NO_ROUTE.child(), Cell::ASK_TRIE.child()), (None, None));
    }

    /// The trie answers for what no cell can hold, and for a table that nobody has written.
    #[test]
    fn what_fits_no_cell_is_left_to_the_trie() {
        for (next_hop, flags) in [(0, 0), (0, Route::NODE_ADDRESS), (MAX_NEXT_HOPS, 0), (5, 2), (5, 3)] {
            assert_eq!(Cell::of_route(Route { next_hop, flags }), Cell::ASK_TRIE);
        }
        assert_eq!(look_up([10, 0, 0, 1], |_, _| Cell::default()), Found::AskTrie);
        assert_eq!(look_up([10, 0, 0, 1], |_, _| Cell::of_child(300)), Found::AskTrie);
    }

    #[test]
    fn three_cells_are_read_at_most() {
        let cells = |chunk, place| match (chunk, place) {
            (10, 244) => Cell::of_child(256),
            (256, 3) => Cell::of_child(257),
            (257, 9) => Cell::of_route(Route { next_hop: 7, flags: 1 }),
            _ => Cell::NO_ROUTE,
        };
        assert_eq!(look_up([10, 244, 3, 9], cells), Found::Route(Route { next_hop: 7, flags: 1 }));
        for address in [[10, 244, 3, 8], [10, 244, 4, 9], [10, 243, 3, 9]] {
            assert_eq!(look_up(address, cells), Found::NoRoute);
        }
    }
}
