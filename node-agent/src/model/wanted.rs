use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use node_ebpf_common::{Endpoint, Hook, NextHop, Settings};

use super::{AddressFamily, KernelRoute, NodeName, PlaceholderNeighbour, PodName, Prefix};

/// What a next-hop object stands for. Stable over restarts: its hash is the object's identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHopKey {
    /// This node's own addresses.
    Host,
    /// The unassigned rest of this node's pod prefixes.
    Unassigned,
    /// A remote node.
    Node(NodePath),
    /// A local pod.
    Pod(PodName),
    /// One of several ways: a member of the group of another next hop.
    Via(Via),
    /// The next hops of a route that is stated with several: the owner of a group.
    Group(NextHopSet),
}

impl NextHopKey {
    /// The identity that the object carries in the map: FNV-1a of its name with everything that tells it
    /// from others (never 0, which is "free").
    #[must_use]
    pub fn identity(&self) -> u64 {
        let name = match self {
            Self::Node(NodePath { node, inner, outer }) => format!("node {node} {inner} {outer}"),
            Self::Via(Via { node: Some(NodePath { node, inner, outer }), gateway, interface }) => {
                format!("node {node} {inner} {outer} via {gateway} {interface}")
            }
            Self::Host | Self::Unassigned | Self::Pod(_) | Self::Via(_) | Self::Group(_) => self.to_string(),
        };
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash.max(1)
    }
}

impl fmt::Display for NextHopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Unassigned => f.write_str("unassigned"),
            Self::Node(path) => path.fmt(f),
            Self::Pod(name) => write!(f, "pod {name}"),
            Self::Via(via) => via.fmt(f),
            Self::Group(set) => set.fmt(f),
        }
    }
}

/// One of the ways to a remote node. Each has a next-hop object of its own, since the family of an outer
/// header must not change under a program that reads the object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath {
    /// The node.
    pub node: NodeName,
    /// Family of the pods' packets.
    pub inner: AddressFamily,
    /// Family of the addresses by which the two nodes reach each other.
    pub outer: AddressFamily,
}

impl fmt::Display for NodePath {
    /// `node b1` for IPv4 alone, otherwise with the families: `node b1 (IPv6)`, `node b1 (IPv6 over IPv4)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, inner, outer } = self;
        match (inner, outer) {
            (AddressFamily::V4, AddressFamily::V4) => write!(f, "node {node}"),
            (AddressFamily::V6, AddressFamily::V6) => write!(f, "node {node} ({inner})"),
            (inner, outer) => write!(f, "node {node} ({inner} over {outer})"),
        }
    }
}

/// A way through one interface to one gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via {
    /// The remote node that the way leads to; none if it leads to what the gateway itself reaches.
    pub node: Option<NodePath>,
    /// The on-link neighbour that packets are sent to.
    pub gateway: IpAddr,
    /// Index of the interface that they leave through.
    pub interface: u32,
}

impl fmt::Display for Via {
    /// `node b1 via 10.0.1.1 (interface 2)`, or without a node `via 10.0.1.1 (interface 2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, gateway, interface } = self;
        if let Some(node) = node {
            write!(f, "{node} ")?;
        }
        write!(f, "via {gateway} (interface {interface})")
    }
}

/// The next hops of a route that is stated with several. Routes with the same ones share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHopSet {
    /// Family of the packets.
    pub inner: AddressFamily,
    /// The next hops, as they are stated: nodes' addresses or others.
    pub next_hops: BTreeSet<IpAddr>,
}

impl fmt::Display for NextHopSet {
    /// `next hops 10.0.1.5, 10.0.1.6 (IPv4)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.next_hops.iter().map(ToString::to_string).collect();
        write!(f, "next hops {} ({})", texts.join(", "), self.inner)
    }
}

/// Everything that should be in place on this node, computed from the selected routes and the host's
/// links and routes. A different type from what is observed, so that the two cannot be mixed up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// In the BPF maps and at the hooks.
    pub datapath: WantedDatapath,
    /// In the kernel's own tables.
    pub host: WantedHost,
}

/// What the BPF side should hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WantedDatapath {
    /// Next-hop objects.
    pub next_hops: BTreeMap<NextHopKey, NextHop>,
    /// Next hops whose way is chosen for each flow → the members among which it is, at least two. Owner and members
    /// are all among [`Self::next_hops`]; the owner's own object has the fields of a member, and a plan fills in its
    /// group.
    pub groups: BTreeMap<NextHopKey, Vec<NextHopKey>>,
    /// Routes: prefix → next-hop object.
    pub routes: BTreeMap<Prefix, WantedRoute>,
    /// Local pods by interface index.
    pub endpoints: BTreeMap<u32, Endpoint>,
    /// The node itself.
    pub settings: Settings,
    /// Programs at interfaces.
    pub attachments: BTreeSet<Attachment>,
}

/// A route in the trie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedRoute {
    /// Where it leads.
    pub next_hop: NextHopKey,
    /// Bits of `node_ebpf_common::Route`.
    pub flags: u32,
}

/// A program at an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment {
    /// Interface index.
    pub link: u32,
    /// Interface name, for people.
    pub interface: String,
    /// Which program, at which side.
    pub hook: Hook,
}

/// What the kernel's tables should hold of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WantedHost {
    /// Routes with our protocol number, by destination.
    pub routes: BTreeMap<Prefix, KernelRoute>,
    /// Addresses on the loopback, labelled as ours: source of what the host sends to remote pods.
    pub addresses: BTreeSet<OwnAddress>,
    /// Stand-ins for gateways of another family.
    pub neighbours: BTreeSet<PlaceholderNeighbour>,
    /// Local pods' interfaces, which need `proxy_arp` and `forwarding`.
    pub pod_interfaces: BTreeSet<String>,
    /// MTU of local pods' veths in bytes, by the interface index of the host side.
    pub pod_mtus: BTreeMap<u32, u32>,
    /// Names of the uplinks.
    pub uplinks: BTreeSet<String>,
}

impl WantedHost {
    /// Whether there is anything of this family, so that its packets must be forwarded.
    #[must_use]
    pub fn has(&self, family: AddressFamily) -> bool {
        self.routes.keys().any(|prefix| prefix.family() == family)
            || self.addresses.iter().any(|own| AddressFamily::from(own.address) == family)
    }
}

/// An address of ours on the loopback interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnAddress {
    /// Index of the loopback interface.
    pub link: u32,
    /// The address (as /32 or /128).
    pub address: IpAddr,
}

impl OwnAddress {
    /// Label that marks an address as Podroute's (`ip address` shows it).
    pub const LABEL: &'static str = "lo:podroute";

    /// What marks an IPv6 address, as those have no label: the metric of the route that the kernel makes of it
    /// (`IFA_RT_PRIORITY`, "PDRO" in ASCII). Nothing else depends on that metric. Addresses have a protocol number
    /// only since 5.18.
    pub const METRIC_V6: u32 = 0x5044_524f;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told apart as a key is told apart in the maps.
    #[test]
    fn keys_of_different_ways_have_different_identities() {
        let path = |inner, outer| NodePath { node: "b1".parse().unwrap(), inner, outer };
        let (v4, v6) = (AddressFamily::V4, AddressFamily::V6);
        let gateways: [IpAddr; 2] = ["10.0.1.1".parse().unwrap(), "fe80::1".parse().unwrap()];
        let via = |node: &Option<NodePath>, gateway, interface| {
            NextHopKey::Via(Via { node: node.clone(), gateway, interface })
        };
        let mut keys = vec![NextHopKey::Host, NextHopKey::Pod("default/web".parse().unwrap())];
        for node in [None, Some(path(v4, v4)), Some(path(v6, v4)), Some(path(v4, v6))] {
            for gateway in gateways {
                keys.extend([via(&node, gateway, 2), via(&node, gateway, 3)]);
            }
            keys.extend(node.map(NextHopKey::Node));
        }
        for inner in [v4, v6] {
            for next_hops in [&gateways[..1], &gateways[1..], &gateways[..]] {
                let next_hops = next_hops.iter().copied().collect();
                keys.push(NextHopKey::Group(NextHopSet { inner, next_hops }));
            }
        }
        let identities: BTreeSet<u64> = keys.iter().map(NextHopKey::identity).collect();
        assert_eq!(identities.len(), keys.len());
        assert_eq!(via(&None, gateways[0], 2).to_string(), "via 10.0.1.1 (interface 2)");
        assert_eq!(
            via(&Some(path(v4, v4)), gateways[0], 2).to_string(),
            "node b1 via 10.0.1.1 (interface 2)"
        );
    }
}
