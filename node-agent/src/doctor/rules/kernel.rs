//! The kernel: version, rights, BPF, sysctls, clock.

use super::{Facts, Finding, error, ok, warning};
use crate::{
    config::{AttachMethod, XdpMode},
    doctor::facts::{BpffsFact, BpffsState, SysctlFacts, SystemFacts},
};

/// Locked memory that the maps need, in bytes, and room for more.
const MEMLOCK: u64 = 512 << 20;

/// The start of 2024, in seconds since 1970: this program is younger.
const NOT_BEFORE: u64 = 1_704_067_200;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = system(&facts.system);
    found.extend(programs(facts));
    found.push(bpffs(&facts.bpffs));
    found.extend(sysctls(&facts.sysctls));
    found
}

fn system(system: &SystemFacts) -> Vec<Finding> {
    let release = format!("kernel {}", system.release);
    let mut found = vec![match &system.too_old {
        None => ok("kernel-version", release),
        Some(why) => {
            error("kernel-version", release, why.clone(), "boot kernel 5.10 or newer (6.6 or newer has tcx)")
        }
    }];
    found.push(if system.missing_capabilities.is_empty() {
        ok("capabilities", "all that the agent needs")
    } else {
        error(
            "capabilities",
            format!("missing: {}", system.missing_capabilities.join(", ")),
            "the agent cannot load programs or change routes, and not all of what follows can be seen",
            "run as root, or give these capabilities (in a container: privileged, or securityContext.capabilities)",
        )
    });
    match system.jit {
        Some(false) => found.push(warning(
            "bpf-jit",
            "net.core.bpf_jit_enable is 0",
            "programs are interpreted: each packet costs many times as much",
            "sysctl -w net.core.bpf_jit_enable=1",
        )),
        Some(true) => found.push(ok("bpf-jit", "on")),
        None => {}
    }
    found.push(ok(
        "btf",
        if system.btf { "the kernel has it" } else { "the kernel has none; the programs do without" },
    ));
    if let Some(bytes) = system.memlock.filter(|bytes| *bytes < MEMLOCK) {
        found.push(error(
            "memlock",
            format!("{bytes} bytes may be locked"),
            "kernels before 5.11 count maps by it: they cannot be made",
            "ulimit -l unlimited, or LimitMEMLOCK=infinity in the service",
        ));
    }
    found.push(if system.clock < NOT_BEFORE {
        warning(
            "clock",
            format!("{} seconds since 1970", system.clock),
            "times in logs and events are wrong, and what the brake holds is held too long or too short",
            "set the clock: systemctl restart systemd-timesyncd, or chronyc makestep",
        )
    } else {
        ok("clock", "plausible")
    });
    found
}

fn programs(facts: &Facts) -> Vec<Finding> {
    let bpf = &facts.bpf;
    let mut found: Vec<_> = bpf
        .programs
        .iter()
        .map(|(name, result)| match result {
            Ok(()) => ok("bpf-programs", format!("{name}: the kernel takes it")),
            Err(why) if name == "xdp" && bpf.xdp == XdpMode::Off => {
                ok("bpf-programs", format!("xdp: the kernel does not take it ({why}); it is off"))
            }
            Err(why) if name == "xdp" => warning(
                "bpf-programs",
                format!("xdp: {why}"),
                "tc does the work alone",
                "boot kernel 5.18 or newer, or set `xdp: off`",
            ),
            Err(why) => error(
                "bpf-programs",
                format!("{name}: {why}"),
                "the agent does not start",
                "boot a kernel 5.10 or newer with CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT, CONFIG_NET_CLS_BPF; run as root",
            ),
        })
        .collect();
    found.push(match (bpf.tcx, bpf.attach) {
        (true, _) => ok("tcx", "the kernel has it"),
        (false, AttachMethod::Tcx) => error(
            "tcx",
            "the kernel has none",
            "`attach: tcx` cannot be done: the agent attaches nothing",
            "set `attach: auto` or `attach: clsact`, or boot kernel 6.6 or newer",
        ),
        (false, _) => ok("tcx", "the kernel has none: programs are attached as clsact filters"),
    });
    found
}

fn bpffs(BpffsFact { path, state }: &BpffsFact) -> Finding {
    let path = path.display();
    let mount = format!("mount -t bpf bpf {path}");
    match state {
        BpffsState::Ready => ok("bpffs", format!("{path}, writable")),
        BpffsState::Missing => {
            let fix = format!("mkdir -p {path} && {mount}");
            error(
                "bpffs",
                format!("{path} does not exist"),
                "nothing can be pinned: the agent does not start",
                fix,
            )
        }
        BpffsState::Other => error(
            "bpffs",
            format!("{path} is on another file system"),
            "nothing can be pinned: the agent does not start",
            mount,
        ),
        BpffsState::NotWritable(why) => error(
            "bpffs",
            format!("{path} cannot be written: {why}"),
            "nothing can be pinned: the agent does not start, and a running one can attach nothing more",
            format!("mount -o remount,rw {path}"),
        ),
    }
}

fn sysctls(facts: &SysctlFacts) -> Vec<Finding> {
    let mut found = vec![forwarding("net.ipv4.ip_forward", facts.forwarding_v4, facts.writable)];
    match (facts.forwarding_v6, facts.cluster_v6) {
        (None, Some(true)) => found.push(error(
            "ipv6",
            "the kernel has no IPv6, the cluster has",
            "IPv6 addresses and prefixes are left out on this node",
            "boot without ipv6.disable=1, or take the IPv6 addresses out of the cluster state",
        )),
        (Some(on), Some(true)) => found.push(forwarding("net.ipv6.conf.all.forwarding", on, facts.writable)),
        _ => {}
    }
    found
}

fn forwarding(name: &'static str, on: bool, writable: bool) -> Finding {
    match (on, writable) {
        (true, _) => ok("forwarding", format!("{name} is 1")),
        (false, true) => warning(
            "forwarding",
            format!("{name} is 0"),
            "the host forwards nothing until the agent turns it on at its start",
            format!("sysctl -w {name}=1"),
        ),
        (false, false) => error(
            "forwarding",
            format!("{name} is 0, and /proc/sys cannot be written here"),
            "the agent cannot turn it on: packets that no program takes are not forwarded",
            format!("on the host: sysctl -w {name}=1 (in a container: privileged)"),
        ),
    }
}
