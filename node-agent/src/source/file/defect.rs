use std::net::IpAddr;

use crate::{
    model::{InterfaceNameError, NameError, NodeName, PodName, Prefix, PrefixError, Route},
    yaml::Structure,
};

/// What can be wrong in a cluster state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateDefect {
    /// The document's structure.
    #[error(transparent)]
    Structure(#[from] Structure),
    /// A name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// An interface's name.
    #[error(transparent)]
    InterfaceName(#[from] InterfaceNameError),
    /// `non-adjacent` where every node that is not adjacent is encapsulated to anyway.
    #[error("{value:?} has no meaning here; allowed: only together with encapsulation: never")]
    NonAdjacentUnused {
        /// What it says.
        value: String,
    },
    /// No node at all.
    #[error("a cluster without nodes; allowed: at least one node")]
    NoNodes,
    /// Two nodes of the same name.
    #[error("node {name} stands in line {line} already; allowed: each node once")]
    DuplicateNode {
        /// Their name.
        name: NodeName,
        /// Line of the first one.
        line: u64,
    },
    /// Two pods of the same name.
    #[error("pod {name} stands in line {line} already; allowed: each pod once")]
    DuplicatePod {
        /// Their name.
        name: PodName,
        /// Line of the first one.
        line: u64,
    },
    /// Not an address.
    #[error("{value:?} is not an IP address; allowed: one such as {example}, without a length")]
    NotAnAddress {
        /// What it says.
        value: String,
        /// What it could look like.
        example: &'static str,
    },
    /// An empty list of addresses.
    #[error("no address; allowed: at least one, at most one each of IPv4 and IPv6")]
    NoAddress,
    /// Two addresses of one family.
    #[error(
        "{address} is the second {family} address, after {first}; allowed: at least one, at most one each of IPv4 and IPv6"
    )]
    SecondAddress {
        /// The address.
        address: IpAddr,
        /// The first one of the family.
        first: IpAddr,
        /// The family.
        family: &'static str,
    },
    /// An address that no node or pod can have.
    #[error("{address} is {kind}; allowed: a unicast address outside of {range}")]
    ReservedAddress {
        /// The address.
        address: IpAddr,
        /// What kind of range it is in.
        kind: &'static str,
        /// The range.
        range: Prefix,
    },
    /// A prefix with addresses that no pod can have.
    #[error("{prefix} overlaps {range}, which is {kind}; allowed: a prefix of unicast addresses")]
    ReservedPrefix {
        /// The prefix.
        prefix: Prefix,
        /// What kind of range it overlaps.
        kind: &'static str,
        /// The range.
        range: Prefix,
    },
    /// The same prefix twice at one node.
    #[error("{prefix} stands in line {line} already; allowed: each prefix once")]
    DuplicatePrefix {
        /// The prefix.
        prefix: Prefix,
        /// Line of the first one.
        line: u64,
    },
    /// Prefixes of one node that overlap.
    #[error(
        "{prefix} overlaps {other} of the same node (line {line}); allowed: prefixes that do not overlap"
    )]
    OverlappingPrefix {
        /// The prefix.
        prefix: Prefix,
        /// The other one.
        other: Prefix,
        /// Line of the other one.
        line: u64,
    },
    /// A pod on a node that does not exist.
    #[error("node {name} does not exist; allowed: {known}")]
    UnknownNode {
        /// The name.
        name: NodeName,
        /// Nodes that do.
        known: String,
    },
    /// Two pods of one node with the same address.
    #[error(
        "{address} is the address of pod {pod} on the same node (line {line}); allowed: an address of its own"
    )]
    DuplicatePodAddress {
        /// The address.
        address: IpAddr,
        /// The pod that has it.
        pod: String,
        /// Line of that pod.
        line: u64,
    },
    /// A pod with a node's address.
    #[error(
        "{address} is the address of node {node}; allowed: an address of the pod's own (pods in the host network are not listed)"
    )]
    NodesAddress {
        /// The address.
        address: IpAddr,
        /// The node that has it.
        node: String,
    },
    /// Two pods of one node behind the same interface.
    #[error("interface {interface} leads to pod {pod} (line {line}); allowed: an interface of its own")]
    DuplicateInterface {
        /// The interface.
        interface: String,
        /// The pod that has it.
        pod: String,
        /// Line of that pod.
        line: u64,
    },
    /// Two routes of the same prefix.
    #[error("{prefix} stands in line {line} already; allowed: each prefix once, with all its next hops")]
    DuplicateRoute {
        /// The prefix.
        prefix: Prefix,
        /// Line of the first one.
        line: u64,
    },
    /// A route to everything.
    #[error(
        "{prefix} is everything; allowed: a prefix of unicast addresses, as the default route is the host's own"
    )]
    DefaultRoute {
        /// The prefix.
        prefix: Prefix,
    },
    /// A route around a node's address.
    #[error("{prefix} contains {address}, the address of node {node}; allowed: a prefix without nodes")]
    RouteHasNodeAddress {
        /// The prefix.
        prefix: Prefix,
        /// The address.
        address: IpAddr,
        /// The node that has it.
        node: String,
    },
    /// A route without or with too many next hops.
    #[error("{count} next hops; allowed: 1 to {}", Route::MAX_NEXT_HOPS)]
    NextHopCount {
        /// How many there are.
        count: usize,
    },
    /// The same next hop twice.
    #[error("{address} stands twice; allowed: each next hop once")]
    DuplicateNextHop {
        /// The address.
        address: IpAddr,
    },
    /// A next hop of the other address family.
    #[error(
        "{address} is no address of the family of {prefix}; allowed: next hops of the family of the prefix"
    )]
    NextHopFamily {
        /// The address.
        address: IpAddr,
        /// The route's prefix.
        prefix: Prefix,
    },
    /// A next hop that the route itself leads to.
    #[error(
        "{address} is in {prefix}, so that it would be reached by itself; allowed: an address outside of it"
    )]
    NextHopInPrefix {
        /// The address.
        address: IpAddr,
        /// The route's prefix.
        prefix: Prefix,
    },
    /// Not a usable MAC address.
    #[error("{value:?} is not a unicast MAC address; allowed: six bytes such as 02:00:00:00:01:0a")]
    Mac {
        /// What it says.
        value: String,
    },
}
