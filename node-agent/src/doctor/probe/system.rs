use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use caps::{CapSet, Capability};
use nix::sys::{
    statfs::{BPF_FS_MAGIC, statfs},
    utsname::uname,
};

use crate::{
    datapath,
    doctor::facts::{BpffsFact, BpffsState, SystemFacts},
};

/// What the agent needs, with what an older kernel takes instead.
const NEEDED: &[(&[Capability], &str)] = &[
    (&[Capability::CAP_NET_ADMIN], "CAP_NET_ADMIN"),
    (&[Capability::CAP_BPF, Capability::CAP_SYS_ADMIN], "CAP_BPF"),
    (&[Capability::CAP_PERFMON, Capability::CAP_SYS_ADMIN], "CAP_PERFMON"),
    (&[Capability::CAP_NET_RAW], "CAP_NET_RAW"),
];

pub(super) fn system() -> SystemFacts {
    let has = |one: &Capability| caps::has_cap(None, CapSet::Effective, *one).unwrap_or(false);
    let missing = NEEDED.iter().filter(|(any, _)| !any.iter().any(has)).map(|(_, name)| *name);
    let memlock = memlock(&fs::read_to_string("/proc/self/limits").unwrap_or_default());
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    SystemFacts {
        release: uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default(),
        too_old: datapath::check_kernel().err().map(|error| error.to_string()),
        jit: number(Path::new("/proc/sys/net/core/bpf_jit_enable")).map(|value| value != 0),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        memlock: memlock.filter(|_| datapath::counts_locked_memory()),
        missing_capabilities: missing.collect(),
        clock: since_1970.map_or(0, |since| since.as_secs()),
    }
}

/// Bytes that may be locked, in what `/proc/self/limits` says; none for as many as one likes.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The number in a file of the kernel's.
pub(super) fn number(path: &Path) -> Option<u8> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn bpffs(path: PathBuf) -> BpffsFact {
    let state = match statfs(&path) {
        Err(nix::errno::Errno::ENOENT) => BpffsState::Missing,
        Err(errno) => BpffsState::NotWritable(errno.desc().to_owned()),
        Ok(found) if found.filesystem_type() != BPF_FS_MAGIC => BpffsState::Other,
        Ok(_) => match try_folder(&path) {
            Ok(()) => BpffsState::Ready,
            Err(error) => BpffsState::NotWritable(error.to_string()),
        },
    };
    BpffsFact { path, state }
}

fn try_folder(bpffs: &Path) -> io::Result<()> {
    let folder = bpffs.join(format!("podroute-doctor-{}", std::process::id()));
    fs::create_dir(&folder)?;
    fs::remove_dir(&folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_memory_is_read_from_the_limits() {
        let limits = |soft: &str| {
            format!("Max processes 1 1 processes\nMax locked memory   {soft}   unlimited  bytes\n")
        };
        assert_eq!(memlock(&limits("65536")), Some(65_536));
        assert_eq!(memlock(&limits("unlimited")), None);
        assert_eq!(memlock(""), None);
    }
}
