//! The topologies, as plain values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::host::nth;
use crate::family::Family;

/// A prefix of a subnet and the router's address in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The prefix.
    pub prefix: IpNet,
    /// The router's address in it.
    pub gateway: IpAddr,
}

/// A layer-2 segment with a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its name.
    pub name: &'static str,
    /// Its prefixes: one for each address family that its nodes have.
    pub networks: Vec<Network>,
}

impl Subnet {
    /// Its prefix and gateway of this family.
    #[must_use]
    pub fn network(&self, family: Family) -> Option<&Network> {
        self.networks.iter().find(|network| Family::of(network.gateway) == family)
    }

    /// The router's first address in it.
    #[must_use]
    pub fn gateway(&self) -> IpAddr {
        self.networks[0].gateway
    }

    /// The address with the length of its prefix, as `ip` takes it; none if the family has no prefix here.
    #[must_use]
    pub fn with_length(&self, address: IpAddr) -> Option<String> {
        let network = self.network(Family::of(address))?;
        Some(format!("{address}/{}", network.prefix.prefix_len()))
    }
}

/// A node to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlan {
    /// Its name.
    pub name: &'static str,
    /// Its addresses: one for each prefix of the subnet.
    pub addresses: Vec<IpAddr>,
    /// The prefixes its pods' addresses come from; a pod has an address of each.
    pub pod_prefixes: Vec<IpNet>,
    /// The subnet its addresses are in.
    pub subnet: Subnet,
}

/// What joins the hosts of a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// A bridge, at which the router has a port too.
    Switch,
    /// A veth pair between two hosts, with nothing in between that would cost time: two nodes, or a node and the router.
    Cable,
}

/// What a lab is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Its name.
    pub name: &'static str,
    /// Layer-2 segments; the router has its addresses in each.
    pub subnets: Vec<Subnet>,
    /// What joins the hosts of each subnet.
    pub wiring: Wiring,
    /// Nodes, each with two pods.
    pub nodes: Vec<NodePlan>,
    /// MTU of the pods' interfaces, in bytes.
    pub pod_mtu: u16,
}

const V4: &[Family] = &[Family::V4];
const V6: &[Family] = &[Family::V6];
const BOTH: &[Family] = &Family::ALL;

impl Topology {
    /// Pods on each node.
    pub const PODS_PER_NODE: u8 = 2;
    /// MTU of every link between nodes at the start, in bytes.
    pub const UPLINK_MTU: u16 = 1500;

    /// Nodes a1 and a2 in one subnet, b1 in another; the router between them knows no pod prefix and
    /// drops what is not between node addresses.
    #[must_use]
    pub fn two_subnets() -> Self {
        Self::three_nodes("two-subnets", V4, V4)
    }

    /// The same nodes; they and their pods have IPv4 and IPv6.
    #[must_use]
    pub fn dual_stack() -> Self {
        Self::three_nodes("dual-stack", BOTH, BOTH)
    }

    /// The same nodes; they have IPv6 only, their pods both.
    #[must_use]
    pub fn v6_nodes() -> Self {
        Self::three_nodes("v6-nodes", V6, BOTH)
    }

    /// The same nodes; they have IPv4 only, their pods both.
    #[must_use]
    pub fn v4_nodes() -> Self {
        Self::three_nodes("v4-nodes", V4, BOTH)
    }

    /// Nodes a1, a2 and a3 in one subnet.
    #[must_use]
    pub fn flat() -> Self {
        let a = subnet("a", 1, V4);
        let nodes = vec![node("a1", &a, 11, 1, V4), node("a2", &a, 12, 2, V4), node("a3", &a, 13, 3, V4)];
        Self { name: "flat", subnets: vec![a], wiring: Wiring::Switch, nodes, pod_mtu: 1480 }
    }

    /// Nodes a1 and a2, joined by nothing but a veth pair: for measuring.
    #[must_use]
    pub fn pair() -> Self {
        let a = subnet("a", 1, V4);
        let nodes = vec![node("a1", &a, 11, 1, V4), node("a2", &a, 12, 2, V4)];
        Self { name: "pair", subnets: vec![a], wiring: Wiring::Cable, nodes, pod_mtu: 1480 }
    }

    /// Nodes a1 and b1 and the router between them, joined by nothing but veth pairs: for measuring.
    #[must_use]
    pub fn gateway() -> Self {
        let (a, b) = (subnet("a", 1, V4), subnet("b", 2, V4));
        let nodes = vec![node("a1", &a, 11, 1, V4), node("b1", &b, 11, 2, V4)];
        Self { name: "gateway", subnets: vec![a, b], wiring: Wiring::Cable, nodes, pod_mtu: 1480 }
    }

    /// Nodes a1 and a2 in one subnet, b1 in another. The pods' MTU leaves room for any outer header between the nodes.
    fn three_nodes(name: &'static str, nodes: &[Family], pods: &[Family]) -> Self {
        let header = nodes.iter().map(|family| family.header()).max().unwrap_or_default();
        let (a, b) = (subnet("a", 1, nodes), subnet("b", 2, nodes));
        let nodes =
            vec![node("a1", &a, 11, 1, pods), node("a2", &a, 12, 2, pods), node("b1", &b, 11, 3, pods)];
        let (subnets, pod_mtu) = (vec![a, b], Self::UPLINK_MTU - header);
        Self { name, subnets, wiring: Wiring::Switch, nodes, pod_mtu }
    }

    /// The same with another MTU of the pods' interfaces.
    #[must_use]
    pub fn with_pod_mtu(self, pod_mtu: u16) -> Self {
        Self { pod_mtu, ..self }
    }

    /// Names of the nodes in a subnet.
    pub(super) fn nodes_in(&self, subnet: &Subnet) -> Vec<&'static str> {
        self.nodes.iter().filter(|node| node.subnet == *subnet).map(|node| node.name).collect()
    }

    /// Whether the router has an interface in the subnet: not where a cable joins two nodes.
    pub(super) fn has_router(&self, subnet: &Subnet) -> bool {
        self.wiring == Wiring::Switch || self.nodes_in(subnet).len() < 2
    }

    /// Whether anything in it has IPv6. Where nothing has, the lab leaves IPv6 as the kernel starts it.
    #[must_use]
    pub fn has_v6(&self) -> bool {
        let mut prefixes = self.nodes.iter().flat_map(|node| &node.pod_prefixes);
        let in_subnet = |subnet: &Subnet| subnet.network(Family::V6).is_some();
        self.subnets.iter().any(in_subnet) || prefixes.any(|prefix| Family::of(prefix.addr()) == Family::V6)
    }
}

/// The subnet 10.0.`number`.0/24 and fd00:0:0:`number`::/64.
fn subnet(name: &'static str, number: u8, families: &[Family]) -> Subnet {
    let network = |family: &Family| {
        let prefix = match family {
            Family::V4 => v4_net([10, 0, number, 0], 24),
            Family::V6 => v6_net([0xfd00, 0, 0, number.into()]),
        };
        Network { prefix, gateway: nth(prefix, 1) }
    };
    Subnet { name, networks: families.iter().map(network).collect() }
}

/// A node whose pods' addresses are of 10.244.`number`.0/24 and fd00:244:`number`::/64.
fn node(name: &'static str, subnet: &Subnet, host: u8, number: u8, pods: &[Family]) -> NodePlan {
    let pod_prefix = |family: &Family| match family {
        Family::V4 => v4_net([10, 244, number, 0], 24),
        Family::V6 => v6_net([0xfd00, 0x244, number.into(), 0]),
    };
    NodePlan {
        name,
        addresses: subnet.networks.iter().map(|network| nth(network.prefix, host)).collect(),
        pod_prefixes: pods.iter().map(pod_prefix).collect(),
        subnet: subnet.clone(),
    }
}

fn v4_net(address: [u8; 4], length: u8) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::from(address), length).into()
}

fn v6_net([a, b, c, d]: [u16; 4]) -> IpNet {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), 64).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[impl ToString]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_of_both_families_have_the_same_digits() {
        let plan = &Topology::dual_stack().nodes[2];
        assert_eq!(texts(&plan.addresses), ["10.0.2.11", "fd00:0:0:2::11"]);
        assert_eq!(texts(&plan.pod_prefixes), ["10.244.3.0/24", "fd00:244:3::/64"]);
        assert_eq!(plan.subnet.gateway().to_string(), "10.0.2.1");
        assert_eq!(plan.subnet.with_length(plan.addresses[1]).unwrap(), "fd00:0:0:2::11/64");
    }

    #[test]
    fn each_topology_has_the_families_that_its_name_says() {
        let families = |topology: Topology| {
            let node = &topology.nodes[0];
            (node.addresses.len(), node.pod_prefixes.len(), topology.pod_mtu, topology.has_v6())
        };
        assert_eq!(families(Topology::two_subnets()), (1, 1, 1480, false));
        assert_eq!(families(Topology::dual_stack()), (2, 2, 1460, true));
        assert_eq!(families(Topology::v6_nodes()), (1, 2, 1460, true));
        assert_eq!(families(Topology::v4_nodes()), (1, 2, 1480, true));
        assert!(Topology::v6_nodes().nodes[0].addresses[0].is_ipv6());
    }
}
