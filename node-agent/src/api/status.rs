use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{BrakeStatus, ConfigStatus, ConflictRow, RouteKind};
use crate::{
    config::ProgramLog,
    model::{EncapsulationMode, NodeName, SourceId},
};

/// How the agent and its datapath are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// This node.
    pub node: NodeName,
    /// The agent's process.
    pub pid: u32,
    /// The agent's version.
    pub version: String,
    /// Version of the layout of the pinned maps.
    pub layout_version: u32,
    /// How long the agent has been running.
    pub uptime_seconds: u64,
    /// Whether every source has told everything it had at its start, and a pass was made with all of it.
    pub synced: bool,
    /// Where the facts come from.
    pub sources: Vec<SourceStatus>,
    /// When packets to other nodes' pods are encapsulated.
    pub encapsulation: EncapsulationMode,
    /// This node's addresses; empty while the node is not known.
    pub addresses: Vec<IpAddr>,
    /// The sources of what this host sends to remote pods, at most one of each family.
    pub host_addresses: Vec<IpAddr>,
    /// How large pods' packets may be.
    pub pod_mtu: PodMtu,
    /// Programs in place.
    pub attachments: Vec<AttachmentRow>,
    /// Maps and how full they are.
    pub maps: Vec<MapRow>,
    /// The lookup table in front of the IPv4 routes map.
    pub lookup_table: LookupTableStatus,
    /// Other nodes to which routers have told of a smaller path MTU than the uplinks'.
    pub path_mtus: Vec<PathMtuRow>,
    /// Routes in use, by kind.
    pub routes: RouteCounts,
    /// What is wrong or refused, for people, conflicts included.
    pub problems: Vec<String>,
    /// Objects that claim the same address or prefix.
    pub conflicts: Vec<ConflictRow>,
    /// The brake on mass withdrawal, and what it holds.
    pub brake: BrakeStatus,
    /// Whether what pods send out of the cluster gets the node's address.
    pub masquerade: MasqueradeStatus,
    /// How the datapath and the kernel's routes follow what is wanted.
    pub reconcile: ReconcileStatus,
    /// The configuration that is in force.
    pub config: ConfigStatus,
    /// The filter of the agent's own log.
    pub log: String,
    /// Up to which level the BPF programs' messages are logged.
    pub program_log: ProgramLog,
    /// Clients that trace packets; while there are none, the programs in place cannot trace.
    pub trace_clients: usize,
}

/// How large pods' packets may be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PodMtu {
    /// MTU of pods' interfaces in bytes; none if it is left as it is.
    pub bytes: Option<u32>,
    /// Where that comes from, for people.
    pub from: String,
}

/// A source of facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceStatus {
    /// Which one.
    pub source: SourceId,
    /// Where it reads, such as the path of a file.
    pub place: String,
    /// Whether it has told everything it had at its start.
    pub synced: bool,
    /// Why it cannot be read now; what it said before stays in force.
    pub error: Option<String>,
    /// How long it took to read and check what it told last, in microseconds; none if it told nothing yet.
    pub read_us: Option<u64>,
    /// How much it has told.
    pub objects: ObjectCounts,
}

/// Numbers of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ObjectCounts {
    /// Nodes.
    pub nodes: usize,
    /// Pods, of all nodes.
    pub pods: usize,
    /// Routes to what is outside of the cluster.
    #[serde(default)]
    pub routes: usize,
}

/// A program at an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AttachmentRow {
    /// The interface.
    pub interface: String,
    /// Which program, at which side.
    pub hook: String,
    /// `tcx` or `clsact`; of XDP `native` and its mode.
    pub method: String,
    /// The kernel's number of the program, as bpftool shows it.
    pub program_id: u32,
}

/// A map and how full it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MapRow {
    /// Name.
    pub name: String,
    /// Entries in use.
    pub entries: u32,
    /// Entries it has room for.
    pub max_entries: u32,
}

/// How full the lookup table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LookupTableStatus {
    /// Chunks of 256 cells in use; 256 of them always are.
    pub chunks: u32,
    /// Chunks that there are.
    pub max_chunks: u32,
    /// Cells whose addresses are looked up in the routes map, because there is no chunk for them.
    pub left_to_trie: usize,
}

/// What a router has told of the way to another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PathMtuRow {
    /// Address of the other node.
    pub node_address: IpAddr,
    /// Largest packet that passes, in bytes, outer header included.
    pub bytes: u32,
    /// The router.
    pub router: IpAddr,
    /// How long it holds, before a larger one is tried again.
    pub seconds_left: u64,
}

/// Numbers of routes in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteCounts {
    /// To pods on this node.
    pub local: usize,
    /// To other nodes without encapsulation.
    pub direct: usize,
    /// To other nodes with an outer IP header.
    pub ipip: usize,
    /// To this node itself.
    pub host: usize,
    /// Of this node's pod prefixes, for addresses no pod has.
    pub unassigned: usize,
}

impl RouteCounts {
    /// Counts one more.
    pub fn count(&mut self, kind: RouteKind) {
        *match kind {
            RouteKind::Local => &mut self.local,
            RouteKind::Direct => &mut self.direct,
            RouteKind::Ipip => &mut self.ipip,
            RouteKind::Host => &mut self.host,
            RouteKind::Unassigned => &mut self.unassigned,
        } += 1;
    }
}

/// How it is with the masquerade table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MasqueradeStatus {
    /// Whether it is wanted.
    pub on: bool,
    /// Whether it is in place, as last seen.
    pub in_place: bool,
    /// Prefixes of this node's pods in it, neighbouring ones joined.
    pub local_pods: usize,
    /// Prefixes in it that are not masqueraded towards: pods and nodes of the cluster, neighbouring ones joined.
    pub cluster: usize,
}

/// How the datapath and the kernel's routes follow what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReconcileStatus {
    /// Comparisons of what is in place with what is wanted.
    pub passes: u64,
    /// How long ago the last change was made; none if there was none.
    pub last_change_seconds_ago: Option<u64>,
    /// How long the last pass took, in milliseconds.
    pub last_duration_ms: Option<u64>,
    /// The last pass; none before the first.
    pub last_pass: Option<PassStatus>,
    /// The last pass that changed anything; none if none did.
    pub last_changing_pass: Option<PassStatus>,
    /// How many changes failed and are tried again.
    pub pending_total: usize,
    /// The first 100 of them.
    pub pending: Vec<PendingChange>,
}

/// What a pass did, and how long each part of it took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PassStatus {
    /// Which pass it was; the first is 1.
    pub number: u64,
    /// Whether it looked at one changed object only, because nothing else had to do with the change.
    pub shortcut: bool,
    /// Changes to maps and hooks that were made.
    pub datapath_changes: usize,
    /// Changes to the kernel's own tables that were made.
    pub host_changes: usize,
    /// From the first word of a source that this pass acts on, until the maps held what follows of it; none if no
    /// source had said anything.
    pub source_to_datapath_us: Option<u64>,
    /// Reading the host's network.
    pub observe_us: u64,
    /// Deciding between what the sources say.
    pub select_us: u64,
    /// Finding what it means on this host.
    pub resolve_us: u64,
    /// Planning the changes to the datapath, after reading it back where that was due.
    pub plan_us: u64,
    /// Making those to maps.
    pub maps_us: u64,
    /// Making those to hooks.
    pub hooks_us: u64,
    /// Planning and making the changes to the kernel's own tables.
    pub host_us: u64,
    /// All of it.
    pub total_us: u64,
}

/// A change that failed and is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PendingChange {
    /// The change.
    pub change: String,
    /// Why it failed the last time.
    pub error: String,
    /// How often it has been tried.
    pub attempts: u32,
    /// When it is tried again.
    pub next_retry_seconds: u64,
}
