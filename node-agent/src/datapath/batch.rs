//! Many entries of a map in one system call, which aya has no function for.

use std::{
    io,
    ops::ControlFlow,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::Pod;
use nix::libc;

/// Command number of `BPF_MAP_UPDATE_BATCH` (linux/bpf.h). Kernels before 5.6 have none for hashes, those before 5.17
/// none for LPM tries: they refuse.
const MAP_UPDATE_BATCH: libc::c_int = 26;

/// Command number of `BPF_MAP_LOOKUP_BATCH`, which the same kernels have for the same maps.
const MAP_LOOKUP_BATCH: libc::c_int = 24;

/// How many entries are read at a time.
const READ_TOGETHER: usize = 1024;

/// The part of `union bpf_attr` that the batch commands have.
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// Inserts or overwrites entries of a map whose keys and values have these types. If that fails, some may have been
/// written, and which one was refused is not told.
///
/// # Errors
/// The kernel refuses an entry, or cannot do this with such a map.
pub(super) fn update<K: Pod, V: Pod>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    let count = keys.len().min(values.len());
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut attributes = Attributes {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr().expose_provenance() as u64,
        values: values.as_ptr().expose_provenance() as u64,
        count: u32::try_from(count).map_err(invalid)?,
        map_fd: u32::try_from(map.as_raw_fd()).map_err(invalid)?,
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `count` keys and values, which are plain data of the map's sizes behind each other, and
    // writes the number of those done into the attributes, whose size it is told; all outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            MAP_UPDATE_BATCH,
            std::ptr::from_mut(&mut attributes),
            size_of::<Attributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads every entry of a map whose keys and values have these types, and hands each over, until the receiver has enough.
/// If that fails, some may have been handed over.
///
/// # Errors
/// The kernel refuses, or cannot do this with such a map.
pub(super) fn read<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
    mut take: impl FnMut(K, V) -> ControlFlow<()>,
) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let (mut keys, mut values) = (vec![K::default(); READ_TOGETHER], vec![V::default(); READ_TOGETHER]);
    // A key, or a number of the kernel's own of 32 bits.
    let mut position = [0_u64; 4];
    debug_assert!(size_of::<K>() <= size_of_val(&position));
    let mut first = true;
    loop {
        let place = position.as_mut_ptr().expose_provenance() as u64;
        let mut attributes = Attributes {
            in_batch: if first { 0 } else { place },
            out_batch: place,
            keys: keys.as_mut_ptr().expose_provenance() as u64,
            values: values.as_mut_ptr().expose_provenance() as u64,
            count: u32::try_from(READ_TOGETHER).map_err(invalid)?,
            map_fd: u32::try_from(map.as_raw_fd()).map_err(invalid)?,
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel writes at most `count` keys and values of the map's sizes, for which there is room, one
        // position, for which there is room for any key of ours, and into the attributes, whose size it is told; all
        // outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                MAP_LOOKUP_BATCH,
                std::ptr::from_mut(&mut attributes),
                size_of::<Attributes>(),
            )
        };
        let error = (result < 0).then(io::Error::last_os_error);
        let last = error.as_ref().and_then(io::Error::raw_os_error) == Some(libc::ENOENT);
        if let Some(error) = error.filter(|_| !last) {
            return Err(error);
        }
        let count = usize::try_from(attributes.count).map_err(invalid)?;
        let enough =
            keys.iter().zip(&values).take(count).try_for_each(|(key, value)| take(*key, *value)).is_break();
        if last || enough {
            return Ok(());
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd as _};

    use super::*;

    #[test]
    fn what_is_no_map_is_refused() {
        let no_map = File::open("/dev/null").unwrap();
        assert!(update(no_map.as_fd(), &[1_u32, 2], &[3_u32, 4]).is_err());
        assert!(read(no_map.as_fd(), |_: u32, _: u32| panic!("nothing can be read")).is_err());
    }
}
