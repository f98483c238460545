use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Candidate, ProblemKind};
use crate::model::{Node, Origin};

/// What sort of conflict it is. Each is a kind of problem, too, and has the same name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictKind {
    /// Two nodes have the same address.
    DuplicateNodeAddress,
    /// Two nodes have the same pod prefix.
    DuplicatePodPrefix,
    /// Two pods, a pod and a node, or a pod and a node's host address are the same address.
    DuplicateAddress,
    /// A pod prefix contains the address of a node.
    PodPrefixHasNodeAddress,
    /// A prefix contains a network that the host is connected to, or a route is around what the host needs.
    PrefixOverlapsHost,
    /// A route to what is outside has to do with the cluster's own addresses.
    RouteOverlapsCluster,
}

impl ConflictKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::DuplicateNodeAddress,
        Self::DuplicatePodPrefix,
        Self::DuplicateAddress,
        Self::PodPrefixHasNodeAddress,
        Self::PrefixOverlapsHost,
        Self::RouteOverlapsCluster,
    ];

    /// The one name it has everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::DuplicateNodeAddress => "duplicate-node-address",
            Self::DuplicatePodPrefix => "duplicate-pod-prefix",
            Self::DuplicateAddress => "duplicate-address",
            Self::PodPrefixHasNodeAddress => "pod-prefix-has-node-address",
            Self::PrefixOverlapsHost => "prefix-overlaps-host",
            Self::RouteOverlapsCluster => "route-overlaps-cluster",
        }
    }

    /// The problem that it is.
    #[must_use]
    pub const fn problem(self) -> ProblemKind {
        match self {
            Self::DuplicateNodeAddress => ProblemKind::DuplicateNodeAddress,
            Self::DuplicatePodPrefix => ProblemKind::DuplicatePodPrefix,
            Self::DuplicateAddress => ProblemKind::DuplicateAddress,
            Self::PodPrefixHasNodeAddress => ProblemKind::PodPrefixHasNodeAddress,
            Self::PrefixOverlapsHost => ProblemKind::PrefixOverlapsHost,
            Self::RouteOverlapsCluster => ProblemKind::RouteOverlapsCluster,
        }
    }
}

impl fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// Two that claim the same, of which one has it: the same one on every node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Conflict {
    /// What sort of conflict it is.
    pub kind: ConflictKind,
    /// The address or prefix that both claim.
    pub about: String,
    /// Who has it.
    pub winner: Claimant,
    /// Who does not.
    pub loser: Claimant,
}

/// Someone who claims an address or a prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Claimant {
    /// Who: `node a1`, `pod default/web on node a1`, `the network 10.0.1.0/24 of eth0`.
    pub name: String,
    /// Where it is stated; none for this host itself.
    pub origin: Option<Origin>,
}

impl From<&Node> for Claimant {
    fn from(node: &Node) -> Self {
        Self { name: format!("node {}", node.name), origin: Some(node.origin.clone()) }
    }
}

impl From<&Candidate> for Claimant {
    fn from(candidate: &Candidate) -> Self {
        let name = match (&candidate.node, &candidate.pod) {
            (Some(node), Some(pod)) => format!("pod {pod} on node {node}"),
            (Some(node), None) => format!("node {node}"),
            (None, _) => format!("the route to {}", candidate.target),
        };
        Self { name, origin: Some(candidate.origin.clone()) }
    }
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, origin } = self;
        match origin {
            Some(origin) => write!(f, "{name} ({origin})"),
            None => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One concept, one word: a conflict has the name that it has as a problem.
    #[test]
    fn kinds_have_one_name_each() {
        for kind in ConflictKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
            assert_eq!(serde_json::to_value(kind.problem()).unwrap(), kind.label());
        }
    }
}
