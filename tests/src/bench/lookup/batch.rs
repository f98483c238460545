//! Many entries of a map in one system call (`BPF_MAP_UPDATE_BATCH`), which aya does not have.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use anyhow::{Context, Result, ensure};
use aya::{Pod, maps::lpm_trie::Key};
use nix::libc;

const COMMAND: libc::c_long = 26;

/// `union bpf_attr` for the commands on batches (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Key of an LPM trie, as the kernel wants it.
#[repr(C, packed)]
struct Plain<A> {
    length: u32,
    address: A,
}

/// Writes entries into an LPM trie.
///
/// # Errors
/// The kernel did not take all of them.
pub fn update_trie<A: Pod, V: Pod>(trie: BorrowedFd<'_>, entries: &[(Key<A>, V)]) -> Result<()> {
    let keys: Vec<Plain<A>> =
        entries.iter().map(|(key, _)| Plain { length: key.prefix_len(), address: key.data() }).collect();
    let values: Vec<V> = entries.iter().map(|(_, value)| *value).collect();
    let mut attributes = Attributes {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: u32::try_from(entries.len())?,
        map: u32::try_from(trie.as_raw_fd())?,
        ..Attributes::default()
    };
    let size = size_of::<Attributes>();
    // SAFETY: the attributes are of the layout of this command; keys and values are as many as they say, of the map's
    // sizes, and outlive the call.
    let failed = unsafe { libc::syscall(libc::SYS_bpf, COMMAND, &raw mut attributes, size) } != 0;
    let error = io::Error::last_os_error();
    if failed {
        return Err(error).context("writing many entries of a trie at once");
    }
    ensure!(attributes.count as usize == entries.len(), "only {} entries were written", attributes.count);
    Ok(())
}
