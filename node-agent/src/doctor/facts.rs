//! What was seen of the machine.

use std::path::PathBuf;

use crate::config::{AttachMethod, XdpMode};

/// Everything that was seen.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The kernel, and what this process may do.
    pub system: SystemFacts,
    /// What the verifier says.
    pub bpf: BpfFacts,
    /// The BPF file system.
    pub bpffs: BpffsFact,
    /// Settings of the kernel's network.
    pub sysctls: SysctlFacts,
    /// Interfaces towards other nodes.
    pub uplinks: Vec<UplinkFact>,
    /// What other networks for pods have left.
    pub others: OtherFacts,
    /// The agent's files.
    pub files: FileFacts,
    /// The agent, if it runs.
    pub agent: Option<AgentFact>,
}

/// The kernel, and what this process may do.
#[derive(Debug, Clone, Default)]
pub struct SystemFacts {
    /// The kernel's release.
    pub release: String,
    /// Why the kernel is too old.
    pub too_old: Option<String>,
    /// `net.core.bpf_jit_enable`; none if there is no such file.
    pub jit: Option<bool>,
    /// Whether the kernel describes its own types.
    pub btf: bool,
    /// Locked memory that this process may have, in bytes, where the kernel counts maps by it (before 5.11); none
    /// for as much as it likes.
    pub memlock: Option<u64>,
    /// Capabilities that the agent needs and this process lacks.
    pub missing_capabilities: Vec<&'static str>,
    /// The clock, in seconds since 1970.
    pub clock: u64,
}

/// What the verifier says.
#[derive(Debug, Clone, Default)]
pub struct BpfFacts {
    /// Each program, and why it is refused; nothing was attached.
    pub programs: Vec<(String, Result<(), String>)>,
    /// Whether there is tcx.
    pub tcx: bool,
    /// How programs are to be attached.
    pub attach: AttachMethod,
    /// What XDP is to do.
    pub xdp: XdpMode,
}

/// The BPF file system.
#[derive(Debug, Clone, Default)]
pub struct BpffsFact {
    /// Where it should be.
    pub path: PathBuf,
    /// What is there.
    pub state: BpffsState,
}

/// State of a BPF file system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BpffsState {
    /// It can be written.
    #[default]
    Ready,
    /// There is no such folder.
    Missing,
    /// It is another file system.
    Other,
    /// It cannot be written, and why.
    NotWritable(String),
}

/// Settings of the kernel's network.
#[derive(Debug, Clone, Default)]
pub struct SysctlFacts {
    /// Whether sysctls can be written here.
    pub writable: bool,
    /// `net.ipv4.ip_forward`.
    pub forwarding_v4: bool,
    /// `net.ipv6.conf.all.forwarding`; none without IPv6.
    pub forwarding_v6: Option<bool>,
    /// Whether the cluster has IPv6; none if that is not known.
    pub cluster_v6: Option<bool>,
}

/// An interface towards other nodes.
#[derive(Debug, Clone, Default)]
pub struct UplinkFact {
    /// Its name.
    pub name: String,
    /// Whether it exists.
    pub exists: bool,
    /// Whether its frames have an Ethernet header.
    pub ethernet: bool,
    /// Whether it is up.
    pub up: bool,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Its driver, where it has one.
    pub driver: Option<String>,
    /// The `rp_filter` that is in force: the larger one of all's and its own.
    pub rp_filter: u8,
    /// `accept_ra`; none without IPv6.
    pub accept_ra: Option<u8>,
    /// Whether it has a default route by router advertisement.
    pub default_by_ra: bool,
    /// Whether IPv6 is off here.
    pub ipv6_off: bool,
    /// Whether its driver is known to run XDP programs, or known not to; none if it is not known.
    pub runs_xdp: Option<bool>,
    /// Other programs at tc's hooks.
    pub other_tc: Vec<String>,
    /// Other XDP programs.
    pub other_xdp: Vec<String>,
}

/// What other networks for pods have left.
#[derive(Debug, Clone, Default)]
pub struct OtherFacts {
    /// Interfaces, with whether they are up.
    pub links: Vec<(String, bool)>,
    /// Routes: destination, interface, protocol.
    pub routes: Vec<OtherRoute>,
    /// Configurations of CNI plugins: path, and types of the plugins.
    pub cni: Vec<(PathBuf, Vec<String>)>,
    /// Chains of iptables or nftables: `ip filter cali-INPUT`.
    pub chains: Vec<String>,
}

/// A route that is not ours.
#[derive(Debug, Clone, Default)]
pub struct OtherRoute {
    /// Its destination.
    pub destination: String,
    /// The interface.
    pub interface: String,
    /// Who made it.
    pub protocol: u8,
}

/// The agent's files.
#[derive(Debug, Clone, Default)]
pub struct FileFacts {
    /// The configuration: its path, and what is wrong with it; none if none was named.
    pub config: Option<(PathBuf, Result<(), String>)>,
    /// The cluster-state files, likewise.
    pub states: Vec<(PathBuf, Result<(), String>)>,
    /// What does not fit in the cluster state, or to this host.
    pub problems: Vec<String>,
    /// The folder for what outlives the agent, and why it cannot be used.
    pub state_dir: Option<(PathBuf, Result<(), String>)>,
    /// Whether masquerade is on, and if so, why `nft` does not work.
    pub nft: Option<Result<(), String>>,
}

/// The agent that runs.
#[derive(Debug, Clone, Default)]
pub struct AgentFact {
    /// Its version.
    pub version: String,
    /// Whether it has everything that the sources have.
    pub synced: bool,
    /// Changes that have failed.
    pub pending: usize,
    /// Problems.
    pub problems: usize,
}
