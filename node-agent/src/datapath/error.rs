//! What can go wrong between the agent and the kernel's BPF side.

use std::{error::Error, io, path::PathBuf};

use aya::{
    EbpfError,
    maps::MapError,
    programs::{ProgramError, tc::TcError},
};
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
    /// The pin of a map is gone, and cannot be made again.
    #[error("cannot pin the map {map} again: {error}")]
    Repin {
        /// The map's name.
        map: &'static str,
        /// Why not, and what to do.
        error: String,
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
        "cannot load the BPF program of hook {hook}: {error}{advice} (a kernel with CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT and CONFIG_NET_CLS_BPF is needed)",
        advice = advice(errno(&**error))
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
    match errno(error).map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => " (the agent needs root, or CAP_BPF and CAP_NET_ADMIN)",
        other => advice(other.map(|errno| errno as i32)),
    }
}

/// The error number behind an error, if it has one.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let here = match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::TcError(error)) => tc_errno(error),
        _ => match (error.downcast_ref::<io::Error>(), error.downcast_ref::<MapError>()) {
            (Some(error), _) | (_, Some(MapError::IoError(error))) => error.raw_os_error(),
            _ => error.downcast_ref::<TcError>().and_then(tc_errno),
        },
    };
    here.or_else(|| errno(error.source()?))
}

fn tc_errno(error: &TcError) -> Option<i32> {
    match error {
        TcError::NetlinkError(error) => error.raw_os_error(),
        TcError::IoError(error) => error.raw_os_error(),
        _ => None,
    }
}

/// An error down to its first cause, and what the user can do.
pub(super) fn told(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ") + advice(errno(error))
}

/// Whether the kernel, or this process, is short of something: that passes, and says nothing of the object.
pub(super) fn is_shortage(errno: Option<i32>) -> bool {
    let Some(errno) = errno.map(Errno::from_raw) else { return false };
    let short = [Errno::ENOMEM, Errno::ENOBUFS, Errno::EMFILE, Errno::ENFILE, Errno::EAGAIN, Errno::EINTR];
    short.contains(&errno)
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
            "; there are no more file descriptors: raise the limit (`LimitNOFILE` of the service), the agent tries again"
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

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    fn refused(errno: Errno) -> SyscallError {
        SyscallError { call: "bpf_link_create", io_error: io::Error::from_raw_os_error(errno as i32) }
    }

    #[test]
    fn the_number_is_found_wherever_it_is() {
        let full = io::Error::from_raw_os_error(Errno::EMFILE as i32);
        assert_eq!(errno(&ProgramError::from(refused(Errno::ENOMEM))), Some(Errno::ENOMEM as i32));
        assert_eq!(errno(&MapError::from(refused(Errno::E2BIG))), Some(Errno::E2BIG as i32));
        assert_eq!(errno(&ProgramError::from(TcError::IoError(full))), Some(Errno::EMFILE as i32));
        assert_eq!(errno(&EbpfError::from(MapError::from(refused(Errno::EPERM)))), Some(Errno::EPERM as i32));
        assert_eq!(errno(&ProgramError::NotLoaded), None);
    }

    #[test]
    fn what_is_told_goes_down_to_the_cause_and_says_what_to_do() {
        let text = told(&ProgramError::from(refused(Errno::ENOMEM)));
        assert!(text.starts_with("`bpf_link_create` failed: Cannot allocate memory"), "{text}");
        assert!(text.ends_with("; the kernel is short of memory: the agent tries again"), "{text}");
    }

    #[test]
    fn a_shortage_passes_and_a_refusal_does_not() {
        assert!(is_shortage(Some(Errno::ENOMEM as i32)) && is_shortage(Some(Errno::EMFILE as i32)));
        assert!(!is_shortage(Some(Errno::EOPNOTSUPP as i32)) && !is_shortage(Some(Errno::ENOENT as i32)));
        assert!(!is_shortage(None));
    }
}
