use std::fmt;

use serde::{Deserialize, Serialize};

use super::Conflict;

/// What sort of problem it is: for metrics and for machines that read the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// This node is not in the cluster state, or cannot be used as it stands there.
    OwnNodeUnusable,
    /// Two sources state the same object differently.
    DuplicateObject,
    /// Two nodes have the same address.
    DuplicateNodeAddress,
    /// Two nodes have the same pod prefix.
    DuplicatePodPrefix,
    /// Two pods, a pod and a node, or a pod and a node's host address are the same address.
    DuplicateAddress,
    /// A pod prefix contains the address of a node.
    PodPrefixHasNodeAddress,
    /// A pod is on a node that is not in the cluster state, or that is not used.
    PodOnUnknownNode,
    /// The kernel has no IPv6: IPv6 addresses and prefixes are left out.
    NoIpv6,
    /// This node and another one have no address of the same family.
    NoCommonFamily,
    /// This node's own address is on none of its links.
    OwnAddressNotOnLink,
    /// The address of a remote node is on a link of this host.
    RemoteAddressIsLocal,
    /// The kernel has no usable route to a node.
    NoRouteToNode,
    /// A node is reached only with an outer header, and the mode does not allow for that.
    NotAdjacent,
    /// Packets to a node's pods must be smaller than what every IPv6 link has to take.
    MtuTooSmall,
    /// A configured uplink does not exist or cannot be one.
    UplinkUnusable,
    /// Nodes are reached through a link that is not among the configured uplinks.
    UplinkNotListed,
    /// The interface of a local pod is missing, down, or cannot be a pod's.
    PodInterfaceUnusable,
    /// A prefix contains a network that the host is connected to, or a route is around what the host needs.
    PrefixOverlapsHost,
    /// A route to what is outside has to do with the cluster's own addresses.
    RouteOverlapsCluster,
    /// A next hop of a route to what is outside cannot be used.
    NextHopUnusable,
    /// A neighbour that one of several ways leads by does not answer.
    NeighbourSilent,
    /// The host has no loopback interface to put its host address on.
    NoLoopback,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::OwnNodeUnusable,
        Self::DuplicateObject,
        Self::DuplicateNodeAddress,
        Self::DuplicatePodPrefix,
        Self::DuplicateAddress,
        Self::PodPrefixHasNodeAddress,
        Self::PodOnUnknownNode,
        Self::NoIpv6,
        Self::NoCommonFamily,
        Self::OwnAddressNotOnLink,
        Self::RemoteAddressIsLocal,
        Self::NoRouteToNode,
        Self::NotAdjacent,
        Self::MtuTooSmall,
        Self::UplinkUnusable,
        Self::UplinkNotListed,
        Self::PodInterfaceUnusable,
        Self::PrefixOverlapsHost,
        Self::RouteOverlapsCluster,
        Self::NextHopUnusable,
        Self::NeighbourSilent,
        Self::NoLoopback,
    ];

    /// The one name it has everywhere.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OwnNodeUnusable => "own-node-unusable",
            Self::DuplicateObject => "duplicate-object",
            Self::DuplicateNodeAddress => "duplicate-node-address",
            Self::DuplicatePodPrefix => "duplicate-pod-prefix",
            Self::DuplicateAddress => "duplicate-address",
            Self::PodPrefixHasNodeAddress => "pod-prefix-has-node-address",
            Self::PodOnUnknownNode => "pod-on-unknown-node",
            Self::NoIpv6 => "no-ipv6",
            Self::NoCommonFamily => "no-common-family",
            Self::OwnAddressNotOnLink => "own-address-not-on-link",
            Self::RemoteAddressIsLocal => "remote-address-is-local",
            Self::NoRouteToNode => "no-route-to-node",
            Self::NotAdjacent => "not-adjacent",
            Self::MtuTooSmall => "mtu-too-small",
            Self::UplinkUnusable => "uplink-unusable",
            Self::UplinkNotListed => "uplink-not-listed",
            Self::PodInterfaceUnusable => "pod-interface-unusable",
            Self::PrefixOverlapsHost => "prefix-overlaps-host",
            Self::RouteOverlapsCluster => "route-overlaps-cluster",
            Self::NextHopUnusable => "next-hop-unusable",
            Self::NeighbourSilent => "neighbour-silent",
            Self::NoLoopback => "no-loopback",
        }
    }
}

/// Something in the cluster state, or in how it fits this host, that an operator should put right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// What sort of problem it is.
    pub kind: ProblemKind,
    /// What is wrong, with which objects and where these stand, and what follows from it.
    pub text: String,
    /// Who is in each other's way, if that is what is wrong.
    pub conflict: Option<Box<Conflict>>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: ProblemKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), conflict: None }
    }

    /// The problem that a conflict is.
    pub fn of(conflict: Conflict, text: impl Into<String>) -> Self {
        Self { kind: conflict.kind.problem(), text: text.into(), conflict: Some(Box::new(conflict)) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// One concept, one word: JSON has the names that metrics have.
    #[test]
    fn kinds_have_one_name_each() {
        for kind in ProblemKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
        }
        let labels: BTreeSet<_> = ProblemKind::ALL.map(ProblemKind::label).into_iter().collect();
        assert_eq!(labels.len(), ProblemKind::ALL.len());
    }
}
