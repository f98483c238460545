//! What the machine's kernel must be able to do, and no package can change.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{self, Privilege};
use crate::toolchain::numbers;

/// The oldest kernel (major, minor) whose tc programs can hand a packet to a pod's own interface.
const MINIMUM_KERNEL: (u32, u32) = (5, 10);
/// The capabilities the agent and its tests use, and their bits.
const CAPABILITIES: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_BPF", 39)];

/// Everything that keeps the demo and the tests from running here, one line each.
pub fn limits(privilege: Privilege) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut limits = Vec::new();
    limits.extend(old_kernel(&read("/proc/sys/kernel/osrelease")));
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        limits.push(
            "the kernel has no type information (/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF)".into(),
        );
    }
    if !has_bpffs(&read("/proc/filesystems")) {
        limits.push("the kernel cannot mount a bpffs (/proc/filesystems does not list bpf)".into());
    }
    match privilege {
        Privilege::Root => limits.extend(missing_capabilities(&read("/proc/self/status"))),
        Privilege::Sudo => {}
        Privilege::None => limits.push("you are not root, and there is no sudo".into()),
    }
    if limits.is_empty() {
        limits.extend(refusals(privilege));
    }
    limits
}

/// Tries what cannot be read off: the bpf system call and namespaces. Asks nothing of a sudo that wants a password.
fn refusals(privilege: Privilege) -> Vec<String> {
    let command = |program: &str| match privilege {
        Privilege::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["--non-interactive", program]);
            command
        }
        Privilege::Root | Privilege::None => Command::new(program),
    };
    let works = |command: &mut Command| process::succeeds(command).unwrap_or(false);
    let mut refused = Vec::new();
    if !works(&mut command("true")) {
        return refused;
    }
    if process::is_installed("bpftool") && !works(command("bpftool").args(["map", "show"])) {
        refused.push(
            "the kernel refuses the bpf system call (`bpftool map show` fails): a container's seccomp?"
                .into(),
        );
    }
    // Without a change of the mounts' propagation, which fails in a chroot for reasons of its own.
    if !works(command("unshare").args(["--net", "--mount", "--propagation", "unchanged", "true"])) {
        refused.push(
            "no namespaces can be made (`unshare --net --mount --propagation unchanged true` fails)".into(),
        );
    }
    refused
}

/// A complaint if the kernel is older than [`MINIMUM_KERNEL`].
fn old_kernel(release: &str) -> Option<String> {
    let (major, minor) = MINIMUM_KERNEL;
    (numbers(release) < MINIMUM_KERNEL)
        .then(|| format!("the kernel is {}; {major}.{minor} is needed", release.trim()))
}

/// Whether /proc/filesystems lists the BPF file system.
fn has_bpffs(filesystems: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().last() == Some("bpf"))
}

/// The capabilities of [`CAPABILITIES`] that a /proc/<pid>/status does not have in effect.
fn missing_capabilities(status: &str) -> Vec<String> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let missing = CAPABILITIES.iter().filter(|(_, bit)| effective >> bit & 1 == 0);
    missing.map(|(name, _)| format!("root here has no {name}: a container without --privileged?")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_named() {
        assert_eq!(old_kernel("5.10.0-30-amd64\n"), None);
        assert_eq!(old_kernel("6.1.0-9-amd64"), None);
        assert!(old_kernel("5.4.0-190-generic").is_some_and(|line| line.contains("5.4.0-190-generic")));
        assert!(old_kernel("").is_some());
    }

    #[test]
    fn bpffs_is_a_word_of_its_own() {
        assert!(has_bpffs("nodev\tproc\nnodev\tbpf\n\text4\n"));
        assert!(!has_bpffs("nodev\tbpfilter\n\text4\n"));
    }

    #[test]
    fn capabilities_are_read_from_the_mask() {
        assert_eq!(missing_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), Vec::<String>::new());
        let docker = missing_capabilities("CapEff:\t00000000a80425fb\n");
        assert_eq!(docker.len(), 3);
        assert!(docker[0].contains("CAP_NET_ADMIN"), "{docker:?}");
        assert_eq!(missing_capabilities("").len(), 3);
    }
}
