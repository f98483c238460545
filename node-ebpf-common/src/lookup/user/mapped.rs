//! The table as programs read it: the map's memory, mapped.

use core::{
    num::NonZeroUsize,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};
use std::os::fd::AsFd;

use nix::{
    errno::Errno,
    libc,
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
};

use super::{super::LOOKUP_CELLS, Cell, Cells, GracePeriod};
use crate::{LOOKUP_CHUNKS, LookupChunk, map_name};

/// Why the table cannot be mapped.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot map the memory of {map}: {errno} (the map must be an array of {LOOKUP_CHUNKS} chunks of {size} bytes, made with BPF_F_MMAPABLE; if it is pinned and was made by something else, `node-agent cleanup` removes it)",
    map = map_name::LOOKUP_V4,
    size = size_of::<LookupChunk>()
)]
pub struct MapLookupError {
    errno: Errno,
}

/// The cells of the map `LOOKUP_V4`, which programs read at the same time. Dropping it leaves the map as it is.
#[derive(Debug)]
pub struct MappedCells(NonNull<[AtomicU16]>);

// SAFETY: the mapping belongs to this value alone, and its cells are atomics.
unsafe impl Send for MappedCells {}

const CELLS: usize = LOOKUP_CHUNKS as usize * LOOKUP_CELLS;
const LENGTH: NonZeroUsize =
    NonZeroUsize::new(CELLS * size_of::<AtomicU16>()).expect("the table is not empty");

impl MappedCells {
    /// Maps the map with this descriptor, which is not needed afterwards.
    ///
    /// # Errors
    /// The map was not made for that, is too small, or the kernel has no room.
    pub fn map(map: impl AsFd) -> Result<Self, MapLookupError> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of this process.
        let start = unsafe { mmap(None, LENGTH, protection, MapFlags::MAP_SHARED, map, 0) };
        let start = start.map_err(|errno| MapLookupError { errno })?;
        Ok(Self(NonNull::slice_from_raw_parts(start.cast(), CELLS)))
    }

    fn cell(&self, chunk: u32, place: u8) -> &AtomicU16 {
        // SAFETY: the kernel has mapped that many cells, no shorter than that since an array's size is fixed, and they
        // stay mapped until this is dropped. Whoever else writes the map does it in the kernel or through atomics.
        let cells = unsafe { self.0.as_ref() };
        &cells[chunk as usize * LOOKUP_CELLS + usize::from(place)]
    }
}

impl Cells for MappedCells {
    fn chunks(&self) -> u32 {
        LOOKUP_CHUNKS
    }

    fn load(&self, chunk: u32, place: u8) -> Cell {
        Cell(self.cell(chunk, place).load(Ordering::Relaxed))
    }

    fn store(&mut self, chunk: u32, place: u8, cell: Cell) {
        self.cell(chunk, place).store(cell.0, Ordering::Release);
    }
}

impl Drop for MappedCells {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing refers to it any more. Failing leaves it mapped.
        let _ = unsafe { munmap(self.0.cast(), LENGTH.get()) };
    }
}

/// Waits until no BPF program runs any more that ran before: an RCU grace period.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunningPrograms;

impl GracePeriod for RunningPrograms {
    /// False where the kernel has CPUs without a tick (`nohz_full`) or no `membarrier`.
    fn wait(&mut self) -> bool {
        /// `MEMBARRIER_CMD_GLOBAL` (linux/membarrier.h), which is `synchronize_rcu`. With one CPU it does nothing:
        /// no program is half-way when this process runs.
        const GLOBAL: libc::c_int = 1;
        // SAFETY: the call takes numbers only.
        unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) == 0 }
    }
}
