//! Memory that the agent has done with.

/// Gives free memory back to the kernel. A pass needs several times what it leaves behind, and the C library would keep
/// all of it for the next one.
#[cfg(target_env = "gnu")]
pub(super) fn give_back() {
    // SAFETY: looks at the allocator's own lists of free memory only, under its own locks.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Other C libraries give it back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}
