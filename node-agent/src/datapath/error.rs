//! What can go wrong between the agent and the kernel's BPF side.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use nix::errno::Errno;
use node_ebpf_common::MapLookupError;

/// Why the datapath could not be opened, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The kernel lacks what the programs need.
    #[error(
        "kernel {found} is too old: {needed} or newer is needed (redirect to a neighbour and to a veth peer)"
    )]
    OldKernel {
        /// The running kernel.
        found: String,
        /// The oldest that works.
        needed: &'static str,
    },
    /// The directory is on no bpffs.
    #[error(
        "{path} is not on a bpffs: mount one with `mount -t bpf bpf {path}`, or set `bpffs` in the agent's config"
    )]
    NotBpffs {
        /// The configured directory.
        path: PathBuf,
    },
    /// A directory or pin could not be made, read or removed.
    #[error("cannot {action} {path}: {error}{advice}", advice = advice(error.raw_os_error()))]
    Pin {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A pinned map has another shape than this build's layout.
    #[error("pinned map {path} has {found}, but layout {version} has {expected}: it was not made by Podroute; remove it, or run `node-agent cleanup`", version = crate::fault::layout_version())]
    ForeignMap {
        /// The pin.
        path: PathBuf,
        /// Its type and sizes.
        found: String,
        /// What they must be.
        expected: String,
    },
    /// The kernel refused the object.
    #[error("cannot load the BPF object: {0}{hint}", hint = hint(.0))]
    Load(#[source] Box<EbpfError>),
    /// The kernel refused a program.
    #[error(
        "cannot load the BPF program of hook {hook}: {error} (a kernel with CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT and CONFIG_NET_CLS_BPF is needed)"
    )]
    Program {
        /// The hook.
        hook: &'static str,
        /// Why not.
        error: Box<ProgramError>,
    },
    /// The object that the agent embeds lacks a part.
    #[error("the embedded BPF object has no {0}: this build of the agent is broken")]
    Missing(&'static str),
    /// A map could not be read or written.
    #[error("cannot {action} in map {map}: {error}{advice}", advice = advice(errno(error)))]
    Map {
        /// What was tried.
        action: String,
        /// The map's name.
        map: &'static str,
        /// Why not.
        error: MapError,
    },
    /// The lookup table cannot be written.
    #[error(transparent)]
    Lookup(#[from] MapLookupError),
    /// A program could not be attached to, or detached from, an interface.
    #[error("cannot {action} {hook} at {interface}: {error}")]
    Attach {
        /// What was tried.
        action: &'static str,
        /// The hook.
        hook: &'static str,
        /// The interface.
        interface: String,
        /// Why not.
        error: String,
    },
}

fn hint(error: &EbpfError) -> &'static str {
    let text = format!("{error:?}");
    if text.contains("PermissionDenied") || text.contains("code: 1,") {
        " (the agent needs root, or CAP_BPF and CAP_NET_ADMIN)"
    } else {
        ""
    }
}

/// The error number behind a map's error, if it has one.
fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        MapError::IoError(error) => error.raw_os_error(),
        _ => None,
    }
}

/// What the user can do, as the rest of a sentence; empty where we know nothing.
pub(super) fn advice(errno: Option<i32>) -> &'static str {
    match errno.map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::E2BIG) => {
            "; the map is full (`node-agent status` shows its room): what is in it goes on, the kernel's own routes have the rest, and the agent tries again"
        }
        Some(Errno::ENOMEM | Errno::ENOBUFS) => "; the kernel is short of memory: the agent tries again",
        Some(Errno::EBUSY) => "; somebody else uses it at the moment: the agent tries again",
        Some(Errno::EROFS) => {
            "; the bpffs is mounted read-only: `mount -o remount,rw` it, the agent tries again"
        }
        Some(Errno::EMFILE | Errno::ENFILE) => {
            "; there are no more file descriptors: raise the limit (`ulimit -n`)"
        }
        _ => "",
    }
}

impl DatapathError {
    /// Whether there was no room in a map.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Map { error, .. } = self else { return false };
        matches!(errno(error).map(Errno::from_raw), Some(Errno::ENOSPC | Errno::E2BIG))
    }

    pub(super) fn pin(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Pin { action, path, error }
    }
}
