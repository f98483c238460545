use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{NodeName, PodName, Prefix, SourceId};

/// When packets to another node's pods get an IPIP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncapsulationMode {
    /// Never: every node must be adjacent (Flannel host-gw, Calico IPIP Never).
    Never,
    /// To every other node (Calico IPIP Always).
    Always,
    /// Only to nodes that are not adjacent (Calico IPIP CrossSubnet).
    #[default]
    CrossSubnet,
}

/// What to do with a node that is not adjacent while the mode is `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NonAdjacent {
    /// No route to its pods, and a problem that names it.
    #[default]
    Refuse,
    /// Encapsulate to this node all the same, and a problem that names it.
    Ipip,
}

/// Where exactly a fact stands, for people: `file cluster.yaml:12`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The source.
    pub source: SourceId,
    /// The place within it; the object and every route made of it share the text.
    pub place: Arc<str>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source, self.place)
    }
}

/// What holds for the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cluster {
    /// When to encapsulate.
    pub encapsulation: EncapsulationMode,
    /// What to do with a node that is not adjacent while the mode is `never`.
    pub non_adjacent: NonAdjacent,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// The prefixes its pods' addresses come from. There may be very many, so that whoever keeps the node shares them.
    pub pod_prefixes: Arc<Vec<Prefix>>,
    /// Where this stands.
    pub origin: Origin,
}

/// A pod. Each agent routes to the pods of its own node by their interface, and to a pod of another
/// node by that node's prefixes, or by the pod's own address if no prefix of its node contains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name.
    pub name: PodName,
    /// The node it runs on.
    pub node: NodeName,
    /// Its addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// The host-side interface of its veth pair.
    pub interface: String,
    /// The MAC address inside the pod, if known: delivered packets carry it as their destination.
    pub mac: Option<[u8; 6]>,
    /// Where this stands.
    pub origin: Origin,
}

/// A route to what is outside of the cluster. Each node uses it by itself, as far as it reaches its next hops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// What is reached.
    pub prefix: Prefix,
    /// By which neighbours or nodes: of the prefix's family, at least one. Flows are spread over them.
    pub next_hops: BTreeSet<IpAddr>,
    /// Where this stands.
    pub origin: Origin,
}

impl Route {
    /// So many next hops a route has at most.
    pub const MAX_NEXT_HOPS: usize = 16;
}

/// A fact that a source states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// The cluster's settings.
    Cluster(Cluster),
    /// A node.
    Node(Node),
    /// A pod.
    Pod(Pod),
    /// A route.
    Route(Route),
}

/// What a fact is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// The cluster's settings.
    Cluster,
    /// A node.
    Node(NodeName),
    /// A pod.
    Pod(PodName),
    /// A route.
    Route(Prefix),
}

impl Object {
    /// What the fact is about.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Cluster(_) => ObjectKey::Cluster,
            Self::Node(node) => ObjectKey::Node(node.name.clone()),
            Self::Pod(pod) => ObjectKey::Pod(pod.name.clone()),
            Self::Route(route) => ObjectKey::Route(route.prefix),
        }
    }
}

/// What a source tells the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    /// The object is new or has changed.
    Upsert(Box<Object>),
    /// The object is gone.
    Withdraw(ObjectKey),
    /// Everything the source had at its start, or after a reload, has been told. Nothing is deleted
    /// anywhere before every source has said so once (invariant 2).
    Synced,
    /// Reading and checking what is told next took this long.
    Read(Duration),
    /// The source cannot be read; what it said before stays in force. The text says what, where, why.
    Failed(String),
}

/// An event and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUpdate {
    /// The source.
    pub source: SourceId,
    /// What it says.
    pub event: SourceEvent,
}
