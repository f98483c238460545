//! What the running agent gives up at its start: capabilities that it has no use for, and that others may read what it
//! writes.

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::stat::{Mode, umask};

/// What it keeps, and what for. The systemd unit grants the same.
pub const KEPT: [Capability; 8] = [
    // Maps and programs.
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    // Routes, addresses, hooks, sysctls and nftables.
    Capability::CAP_NET_ADMIN,
    // What routers say of path MTUs.
    Capability::CAP_NET_RAW,
    // The pods' own namespaces, and BPF objects by their number.
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_PTRACE,
    // Memory that is locked, where maps still count as that.
    Capability::CAP_SYS_RESOURCE,
    // Files and sockets of other users' that it is pointed to.
    Capability::CAP_DAC_OVERRIDE,
];

/// Capabilities could not be given up.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot give up capabilities ({0}); let the agent have CAP_SETPCAP, or start it without those that it does not need"
)]
pub struct PrivilegesError(#[from] caps::errors::CapsError);

/// Keeps of the capabilities that this thread has only what the agent needs (capabilities(7)); threads and processes that
/// it starts have no more. What it writes from now on is its user's alone.
///
/// Only the bounding set cannot be made smaller without CAP_SETPCAP: then it is left as it is.
///
/// # Errors
/// The kernel refuses.
pub fn give_up() -> Result<(), PrivilegesError> {
    umask(Mode::from_bits_truncate(0o077));
    let kept: CapsHashSet = KEPT.into_iter().collect();
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for other in caps::all().difference(&kept) {
            // One that this kernel does not have is not there either.
            if caps::has_cap(None, CapSet::Bounding, *other).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, *other)?;
            }
        }
    }
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let left: CapsHashSet = caps::read(None, set)?.intersection(&kept).copied().collect();
        caps::set(None, set, &left)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_unit_grants_the_same() {
        let unit = include_str!("../../deploy/systemd/podroute.service");
        let granted = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
        let granted: BTreeSet<String> = granted.split(' ').map(str::to_owned).collect();
        assert_eq!(granted, KEPT.iter().map(ToString::to_string).collect());
        assert!(unit.contains("\nUMask=0077\n"));
    }
}
