use std::{fmt, net::IpAddr};

use node_ebpf_common::{Counter, Hook, NextHopKind, Outcome};
use serde::{Deserialize, Serialize};

use super::{Explanation, Reloaded, Subject, TraceRequest};
use crate::{
    api::{PathMtuRow, Status},
    config::ProgramLog,
    events::Event,
    model::Prefix,
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
    /// The events that are remembered.
    Events {
        /// Only those with a higher number.
        since: u64,
    },
    /// What happens to packets for an address.
    Lookup {
        /// The address.
        address: IpAddr,
    },
    /// The whole way of an address, pod or prefix, with every disagreement between planes.
    Explain {
        /// What is to be explained.
        subject: Subject,
    },
    /// Lets the brake withdraw what it holds at this moment.
    Confirm,
    /// Reads the configuration again.
    Reload,
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
    /// Traces packets on this connection, until the client closes its sending side.
    Trace(TraceRequest),
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
    /// To [`Request::Events`].
    Events(EventList),
    /// To [`Request::Lookup`].
    Lookup(Box<Lookup>),
    /// To [`Request::Explain`].
    Explanation(Box<Explanation>),
    /// To [`Request::Confirm`].
    Confirmed {
        /// What was held, and is withdrawn.
        prefixes: Vec<Prefix>,
    },
    /// To [`Request::Reload`]; [`Response::Error`] if the configuration is bad: then nothing has changed.
    Reloaded(Reloaded),
    /// The change has been made.
    Done,
    /// The request cannot be answered.
    Error {
        /// What failed, and why.
        message: String,
    },
}

/// Events, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EventList {
    /// When the agent began to count, in milliseconds since 1970: with another value it is another agent's list.
    pub begun: u64,
    /// The highest number so far.
    pub last: u64,
    /// The events that were asked for and are still remembered.
    pub events: Vec<Event>,
}

/// What a route does with packets: the kinds of next hops, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// To a pod on this node.
    Local,
    /// To another node without encapsulation.
    Direct,
    /// To another node with an outer IP header.
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
    /// Where it leads: `node b1`, `node b1 (IPv6 over IPv4)`, `pod default/web-0`, `host`, `unassigned`.
    pub next_hop: String,
    /// What it does with packets; none if that is not known because it is not used.
    pub kind: Option<RouteKind>,
    /// The on-link neighbour that packets are sent to. May be of the other family.
    pub gateway: Option<IpAddr>,
    /// The interface that packets leave through.
    pub interface: Option<String>,
    /// Destination of the outer header. May be of the other family.
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

impl RouteRow {
    /// The state of a route that is used.
    pub const USED: &str = "used";
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
    /// Yes: of the family that the tunnel's ends have (RFC 2003, RFC 4213, RFC 2473).
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
    /// The on-link neighbour that packets are sent to. May be of the other family.
    pub gateway: Option<IpAddr>,
    /// The interface that packets leave through.
    pub interface: Option<String>,
    /// Source of the outer header.
    pub tunnel_source: Option<IpAddr>,
    /// Destination of the outer header.
    pub tunnel_destination: Option<IpAddr>,
    /// Largest packet in bytes, before any encapsulation.
    pub mtu: Option<u32>,
    /// What a router has told of the way, if that is why the MTU is what it is.
    pub path_mtu: Option<PathMtuRow>,
    /// The kernel's neighbour entry of the gateway or the pod.
    pub neighbour: Option<Neighbour>,
    /// Which fact the route comes from.
    pub origin: Option<String>,
    /// The route the kernel itself would take.
    pub kernel_route: Option<String>,
    /// Every route whose prefix contains the address, the one in use first.
    pub candidates: Vec<Candidate>,
    /// What is wrong if the programs' lookup table says something else than the routes map; for people.
    pub problem: Option<String>,
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
