use std::{fmt, net::IpAddr};

use node_ebpf_common::{Counter, Hook, NextHopKind, Outcome};
use serde::{Deserialize, Serialize};

use crate::{
    config::ProgramLog,
    model::{EncapsulationMode, NodeName, Prefix, SourceId},
};

/// What a client asks the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the agent and its datapath are.
    Status,
    /// Every route, those that are not used included.
    Routes,
    /// Every counter, zeros included.
    Counters,
    /// What happens to packets for an address.
    Lookup {
        /// The address.
        address: IpAddr,
    },
    /// Sets up to which level the BPF programs' messages are logged.
    ProgramLog {
        /// The level.
        level: ProgramLog,
    },
    /// Sets the filter of the agent's own log.
    AgentLog {
        /// A filter that `config::log_filter` accepts.
        filter: String,
    },
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Routes`].
    Routes(Vec<RouteRow>),
    /// To [`Request::Counters`].
    Counters(Vec<CounterRow>),
    /// To [`Request::Lookup`].
    Lookup(Box<Lookup>),
    /// The change has been made.
    Done,
    /// The request cannot be answered.
    Error {
        /// What failed, and why.
        message: String,
    },
}

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
    /// Whether every source has told everything it had at its start.
    pub synced: bool,
    /// Where the facts come from.
    pub sources: Vec<SourceStatus>,
    /// When packets to other nodes' pods are encapsulated.
    pub encapsulation: EncapsulationMode,
    /// This node's addresses; empty while the node is not known.
    pub addresses: Vec<IpAddr>,
    /// The source of what this host sends to remote pods.
    pub host_address: Option<IpAddr>,
    /// Programs in place.
    pub attachments: Vec<AttachmentRow>,
    /// Maps and how full they are.
    pub maps: Vec<MapRow>,
    /// Routes in use, by kind.
    pub routes: RouteCounts,
    /// What is wrong or refused, for people.
    pub problems: Vec<String>,
    /// How the datapath and the kernel's routes follow what is wanted.
    pub reconcile: ReconcileStatus,
    /// Up to which level the BPF programs' messages are logged.
    pub program_log: ProgramLog,
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
}

/// A program at an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AttachmentRow {
    /// The interface.
    pub interface: String,
    /// Which program, at which side.
    pub hook: String,
    /// `tcx` or `clsact`.
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

/// Numbers of routes in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteCounts {
    /// To pods on this node.
    pub local: usize,
    /// To other nodes without encapsulation.
    pub direct: usize,
    /// To other nodes with an IPIP header.
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
    /// Changes that failed and are tried again.
    pub pending: Vec<PendingChange>,
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

/// What a route does with packets: the kinds of next hops, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// To a pod on this node.
    Local,
    /// To another node without encapsulation.
    Direct,
    /// To another node with an IPIP header.
    Ipip,
    /// To this node itself.
    Host,
    /// An address of this node's pod prefixes that no pod has: dropped.
    Unassigned,
}

impl RouteKind {
    /// The kind of a next-hop object; none for a free entry.
    #[must_use]
    pub const fn of(kind: NextHopKind) -> Option<Self> {
        Some(match kind {
            NextHopKind::Unused => return None,
            NextHopKind::LocalPod => Self::Local,
            NextHopKind::Direct => Self::Direct,
            NextHopKind::Ipip => Self::Ipip,
            NextHopKind::Host => Self::Host,
            NextHopKind::Unassigned => Self::Unassigned,
        })
    }

    const fn next_hop_kind(self) -> NextHopKind {
        match self {
            Self::Local => NextHopKind::LocalPod,
            Self::Direct => NextHopKind::Direct,
            Self::Ipip => NextHopKind::Ipip,
            Self::Host => NextHopKind::Host,
            Self::Unassigned => NextHopKind::Unassigned,
        }
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.next_hop_kind().label())
    }
}

/// A route, used or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteRow {
    /// Its prefix.
    pub prefix: Prefix,
    /// Where it leads: `node b1`, `pod default/web-0`, `host`, `unassigned`.
    pub next_hop: String,
    /// What it does with packets; none if that is not known because it is not used.
    pub kind: Option<RouteKind>,
    /// The on-link neighbour that packets are sent to.
    pub gateway: Option<IpAddr>,
    /// The interface that packets leave through.
    pub interface: Option<String>,
    /// Destination of the IPIP header.
    pub tunnel_destination: Option<IpAddr>,
    /// Largest packet in bytes, before any encapsulation.
    pub mtu: Option<u32>,
    /// Which fact it comes from: `file cluster.yaml:12`.
    pub origin: String,
    /// Whether the BPF map holds it.
    pub in_bpf: bool,
    /// Whether the kernel's routing table holds it.
    pub in_kernel: bool,
    /// `used`, or why it is not.
    pub state: String,
}

/// Packets that ended in one outcome at one hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CounterRow {
    /// The hook.
    pub hook: String,
    /// The outcome.
    pub outcome: String,
    /// `forwarded`, `stack` or `dropped`.
    pub ending: String,
    /// Packets; a GSO super-packet is one.
    pub packets: u64,
    /// Bytes, link-layer headers included.
    pub bytes: u64,
    /// What the outcome means.
    pub meaning: String,
}

impl CounterRow {
    /// The row for what has been counted, all CPUs together.
    #[must_use]
    pub fn new(hook: Hook, outcome: Outcome, counted: Counter) -> Self {
        Self {
            hook: hook.label().to_owned(),
            outcome: outcome.label().to_owned(),
            ending: outcome.ending().label().to_owned(),
            packets: counted.packets,
            bytes: counted.bytes,
            meaning: outcome.meaning().to_owned(),
        }
    }

    /// Rows of all outcomes of all hooks, zeros included.
    #[must_use]
    pub fn all(counted: impl Fn(Hook, Outcome) -> Counter) -> Vec<Self> {
        let outcomes = |hook| Outcome::ALL.into_iter().map(move |outcome| (hook, outcome));
        let pairs = Hook::ALL.into_iter().flat_map(outcomes);
        pairs.map(|(hook, outcome)| Self::new(hook, outcome, counted(hook, outcome))).collect()
    }
}

/// Whether packets get an outer header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encapsulation {
    /// No.
    #[default]
    None,
    /// IPIP (RFC 2003).
    Ipip,
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Ipip => "ipip",
        })
    }
}

/// What happens to packets for an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lookup {
    /// The address.
    pub address: IpAddr,
    /// The longest prefix that contains it; none: Podroute leaves its packets to the host's stack.
    pub prefix: Option<Prefix>,
    /// Where that leads, as in [`RouteRow::next_hop`].
    pub next_hop: Option<String>,
    /// What is done with packets.
    pub kind: Option<RouteKind>,
    /// Whether packets get an outer header.
    pub encapsulation: Encapsulation,
    /// The on-link neighbour that packets are sent to.
    pub gateway: Option<IpAddr>,
    /// The interface that packets leave through.
    pub interface: Option<String>,
    /// Source of the outer header.
    pub tunnel_source: Option<IpAddr>,
    /// Destination of the outer header.
    pub tunnel_destination: Option<IpAddr>,
    /// Largest packet in bytes, before any encapsulation.
    pub mtu: Option<u32>,
    /// The kernel's neighbour entry of the gateway or the pod.
    pub neighbour: Option<Neighbour>,
    /// Which fact the route comes from.
    pub origin: Option<String>,
    /// The route the kernel itself would take.
    pub kernel_route: Option<String>,
    /// Every route whose prefix contains the address, the one in use first.
    pub candidates: Vec<Candidate>,
}

/// An entry of the kernel's neighbour table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address; none while it is not resolved.
    pub mac: Option<String>,
    /// The kernel's state of it: `reachable`, `stale`, `permanent`, `failed` …
    pub state: String,
}

/// A route that contains an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Candidate {
    /// Its prefix.
    pub prefix: Prefix,
    /// Where it leads.
    pub next_hop: String,
    /// Which fact it comes from.
    pub origin: String,
    /// `used`, or why it is not.
    pub state: String,
}
