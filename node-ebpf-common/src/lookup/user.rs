//! The writing side of the lookup table: makes it say what a set of routes says, while programs read it.

mod block;
mod chunks;
mod mapped;
mod mirror;
#[cfg(test)]
mod tests;
mod writer;

pub use mapped::{MapLookupError, MappedCells, RunningPrograms};
pub use writer::{LookupUsage, LookupWriter};

use super::Cell;

/// Memory that holds the table's cells, while others read it.
pub trait Cells {
    /// How many chunks there are: at least [`crate::LOOKUP_ROOTS`], at most [`crate::LOOKUP_CHUNKS`].
    fn chunks(&self) -> u32;

    /// Reads a cell.
    fn load(&self, chunk: u32, place: u8) -> Cell;

    /// Writes a cell in one piece. A reader that sees it also sees all that was stored before.
    fn store(&mut self, chunk: u32, place: u8, cell: Cell);
}

/// How to find out that nobody can be in the middle of a lookup any more that has begun before.
pub trait GracePeriod {
    /// Waits for that. False if it cannot be found out.
    fn wait(&mut self) -> bool;
}
