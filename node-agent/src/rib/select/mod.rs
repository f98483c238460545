//! Which of the stated facts are used. The decision is the same on every node of the cluster and does not
//! depend on the order in which the facts came in:
//!
//! 0. An object that several sources state is taken from the preferred one.
//! 1. Nodes in order of their names: one whose address an earlier node has is not used at all, so that
//!    the source of an encapsulated packet names one node.
//! 2. Pod prefixes: the same prefix on two nodes goes to the first by name. One that contains a node's
//!    address is not used: reaching the nodes comes before reaching pods.
//! 3. Addresses: a node's own, then a node's host address, then a pod's. Among equals the one whose
//!    node holds the longest pod prefix around it, then the first by name.
//! 4. An address that longest match leads to the right node anyway gets no route of its own.
//!
//! 5. Routes to what is outside come last: one that contains a node's address, has the prefix of any of the above, or is
//!    inside of a node's pod prefix, is not used.
//!
//! That a prefix is this node's own never decides: two nodes that each prefer themselves would disagree.

mod addresses;
mod nodes;
mod prefixes;
mod routes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use serde::Serialize;

use super::{Claimant, Conflict, ConflictKind, Problem, ProblemKind, Table};
use crate::model::{Cluster, Node, NodeName, Origin, Pod, PodName, Prefix, Route};

/// What a candidate says about a prefix, in order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It is the address of a node.
    NodeAddress,
    /// It is the address that a node's host takes in its own pod prefix.
    HostAddress,
    /// It is the address of a pod.
    PodAddress,
    /// It is the range of a node's pods.
    PodPrefix,
    /// It is outside of the cluster, and a route to it is stated.
    Route,
}

/// Where a prefix leads on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To this node's own stack.
    Host,
    /// Nowhere: it is the unassigned rest of this node's pod prefixes.
    Unassigned,
    /// To a remote node; which of the ways to it is for `resolve` to find.
    Node(NodeName),
    /// To a local pod.
    Pod(PodName),
    /// To one of these neighbours or nodes; which of them can be used is for `resolve` to find.
    NextHops(BTreeSet<IpAddr>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Unassigned => f.write_str("unassigned"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Pod(name) => write!(f, "pod {name}"),
            Self::NextHops(next_hops) => {
                let texts: Vec<String> = next_hops.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(", "))
            }
        }
    }
}

/// Who claims a prefix, and where that would lead on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What the prefix is.
    pub role: Role,
    /// The node that has it; none if it is outside of the cluster.
    pub node: Option<NodeName>,
    /// The pod, if it is a pod's address.
    pub pod: Option<PodName>,
    /// Where it leads.
    pub target: Target,
    /// Where it is stated.
    pub origin: Origin,
}

impl Candidate {
    fn new(role: Role, node: &Node, pod: Option<&Pod>, own: &NodeName) -> Self {
        let target = match (role, pod) {
            _ if node.name != *own => Target::Node(node.name.clone()),
            (Role::PodAddress, Some(pod)) => Target::Pod(pod.name.clone()),
            (Role::PodPrefix, _) => Target::Unassigned,
            (Role::NodeAddress | Role::HostAddress | Role::PodAddress | Role::Route, _) => Target::Host,
        };
        let origin = pod.map_or(&node.origin, |pod| &pod.origin).clone();
        Self { role, node: Some(node.name.clone()), pod: pod.map(|pod| pod.name.clone()), target, origin }
    }

    /// A route to what is outside of the cluster.
    fn outside(route: &Route) -> Self {
        let target = Target::NextHops(route.next_hops.clone());
        Self { role: Role::Route, node: None, pod: None, target, origin: route.origin.clone() }
    }

    /// Bits of `node_ebpf_common::Route` that the route carries.
    #[must_use]
    pub fn flags(&self) -> u32 {
        match (self.role, &self.target) {
            (Role::NodeAddress, Target::Node(_)) => node_ebpf_common::Route::NODE_ADDRESS,
            _ => 0,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, .. } = self;
        let node = self.node.as_ref().map_or("", NodeName::as_str);
        match (self.role, &self.pod) {
            (Role::NodeAddress, _) => write!(f, "the address of node {node}")?,
            (Role::HostAddress, _) => write!(f, "the host address of node {node}")?,
            (Role::PodAddress, Some(pod)) => write!(f, "the address of pod {pod} on node {node}")?,
            (Role::PodAddress, None) => write!(f, "the address of a pod on node {node}")?,
            (Role::PodPrefix, _) => write!(f, "a pod prefix of node {node}")?,
            (Role::Route, _) => write!(f, "a route to {}", self.target)?,
        }
        write!(f, " ({origin})")
    }
}

/// A candidate that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loser {
    /// Who claims the prefix.
    pub candidate: Candidate,
    /// Why it is not used, for people.
    pub reason: String,
}

/// This node as the cluster state has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnNode {
    /// Its entry.
    pub node: Node,
    /// The addresses that its host takes in its own pod prefixes, at most one of each family: the first
    /// usable address of the first pod prefix that it holds.
    pub host_addresses: Vec<IpAddr>,
}

/// What is used of the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The cluster's settings.
    pub cluster: Cluster,
    /// This node; none if it is not in the state or cannot be used (a problem tells).
    pub own: Option<OwnNode>,
    /// The other nodes that are used.
    pub nodes: BTreeMap<NodeName, Node>,
    /// This node's pods, with those of their addresses that are theirs.
    pub pods: BTreeMap<PodName, Pod>,
    /// The route for each prefix. All pod prefixes of a node share one candidate.
    pub routes: BTreeMap<Prefix, Arc<Candidate>>,
    /// What is not used, by prefix.
    pub losers: BTreeMap<Prefix, Vec<Loser>>,
    /// Conflicts, in order of kind and text.
    pub problems: Vec<Problem>,
}

/// Nodes that are used, by name.
type Nodes<'a> = BTreeMap<&'a NodeName, &'a Node>;

/// Which node holds a pod prefix.
type HeldPrefixes<'a> = JointPrefixMap<IpNet, &'a Node>;

/// Selects what is used of the table on the node with this name.
#[must_use]
pub fn select(table: &Table, own: &NodeName) -> Selection {
    select_from(table.cluster(), table.nodes(), (table.pods(), table.routes()), own)
}

fn select_from<'a>(
    cluster: Cluster,
    nodes: impl Iterator<Item = &'a Node>,
    (pods, outside): (impl Iterator<Item = &'a Pod>, impl Iterator<Item = &'a Route>),
    own: &NodeName,
) -> Selection {
    let mut notes = Notes::new(own);
    let nodes = nodes::used(nodes, &mut notes);
    let held = prefixes::held(&nodes, &mut notes);
    let pods = addresses::pods_on_used_nodes(pods, &nodes, &mut notes);
    let winners = addresses::winners(&nodes, &pods, &held, &mut notes);

    let of_node = |node: &&'a Node| Arc::new(Candidate::new(Role::PodPrefix, node, None, own));
    let of_nodes: BTreeMap<&NodeName, Arc<Candidate>> =
        nodes.iter().map(|(name, node)| (*name, of_node(node))).collect();
    let mut routes: BTreeMap<Prefix, Arc<Candidate>> = held
        .iter()
        .filter_map(|(net, node)| Some((Prefix::containing(net), Arc::clone(of_nodes.get(&node.name)?))))
        .collect();
    let mut local_pods: BTreeMap<PodName, Pod> = BTreeMap::new();
    let mut host_addresses = Vec::new();
    for (address, claim) in winners {
        let local = claim.node.name == *own;
        match (claim.role, claim.pod) {
            (Role::HostAddress, _) if local => host_addresses.push(address),
            (Role::PodAddress, Some(pod)) if local => local_pods
                .entry(pod.name.clone())
                .or_insert_with(|| Pod { addresses: Vec::new(), ..pod.clone() })
                .addresses
                .push(address),
            _ => {}
        }
        if local || claim.role == Role::NodeAddress || !claim.home {
            let candidate = Arc::new(Candidate::new(claim.role, claim.node, claim.pod, own));
            notes.displace(Prefix::host(address), &candidate, routes.get(&Prefix::host(address)));
            routes.insert(Prefix::host(address), candidate);
        }
    }
    routes::outside(outside, (&nodes, &held), &mut routes, &mut notes);
    let own_node = nodes.get(own).map(|node| OwnNode { node: (*node).clone(), host_addresses });
    let others = nodes.into_iter().filter(|(name, _)| *name != own);
    notes.problems.sort();
    Selection {
        cluster,
        own: own_node,
        nodes: others.map(|(name, node)| (name.clone(), node.clone())).collect(),
        pods: local_pods,
        routes,
        losers: notes.losers,
        problems: notes.problems,
    }
}

/// Losers and problems as they are found.
struct Notes<'a> {
    own: &'a NodeName,
    losers: BTreeMap<Prefix, Vec<Loser>>,
    problems: Vec<Problem>,
}

impl<'a> Notes<'a> {
    fn new(own: &'a NodeName) -> Self {
        Self { own, losers: BTreeMap::new(), problems: Vec::new() }
    }

    fn problem(&mut self, kind: ProblemKind, text: String) {
        self.problems.push(Problem::new(kind, text));
    }

    /// A conflict: who claims what, who has it and who does not.
    fn conflict(
        &mut self,
        (kind, about): (ConflictKind, &impl ToString),
        (winner, loser): (impl Into<Claimant>, impl Into<Claimant>),
        text: String,
    ) {
        let conflict =
            Conflict { kind, about: about.to_string(), winner: winner.into(), loser: loser.into() };
        self.problems.push(Problem::of(conflict, text));
    }

    fn lose(&mut self, prefix: Prefix, candidate: Candidate, reason: String) {
        self.losers.entry(prefix).or_default().push(Loser { candidate, reason });
    }

    /// Notes that an object's prefixes are not used as this source states them, as a preferred one states the object.
    fn outranked(
        &mut self,
        (name, first, second): (&dyn fmt::Display, &Origin, &Origin),
        candidates: impl IntoIterator<Item = (Prefix, Candidate)>,
    ) {
        let reason = format!("source {} comes after source {}", second.source, first.source);
        let text = format!("{name} is stated twice: {first} is used, {second} is not ({reason})");
        self.problem(ProblemKind::DuplicateObject, text);
        for (prefix, candidate) in candidates {
            self.lose(prefix, candidate, reason.clone());
        }
    }

    /// Notes that an address takes the place of a pod prefix of just that address.
    fn displace(&mut self, prefix: Prefix, winner: &Candidate, loser: Option<&Arc<Candidate>>) {
        let Some(loser) = loser else { return };
        let reason = format!("{prefix} is {winner}, and an address comes before a pod prefix");
        if winner.node != loser.node {
            let text = format!("{prefix} is {winner} and {loser}: the address comes first");
            let of = (ConflictKind::DuplicateAddress, &prefix.address());
            self.conflict(of, (winner, &**loser), text);
        }
        self.lose(prefix, Candidate::clone(loser), reason);
    }
}

#[cfg(test)]
mod tests;
