//! The topologies, as plain values.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// A layer-2 segment with a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its name.
    pub name: &'static str,
    /// Its prefix.
    pub prefix: IpNet,
    /// The router's address in it.
    pub gateway: IpAddr,
}

/// A node to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlan {
    /// Its name.
    pub name: &'static str,
    /// Its address.
    pub address: IpAddr,
    /// The prefix its pods' addresses come from.
    pub pod_prefix: IpNet,
    /// The subnet its address is in.
    pub subnet: Subnet,
}

/// What a lab is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Its name.
    pub name: &'static str,
    /// Layer-2 segments; the router has an address in each.
    pub subnets: Vec<Subnet>,
    /// Nodes, each with two pods.
    pub nodes: Vec<NodePlan>,
    /// MTU of the pods' interfaces, in bytes.
    pub pod_mtu: u16,
}

impl Topology {
    /// Pods on each node.
    pub const PODS_PER_NODE: u8 = 2;
    /// MTU of every link between nodes at the start, in bytes.
    pub const UPLINK_MTU: u16 = 1500;

    /// Nodes a1 and a2 in one subnet, b1 in another; the router between them knows no pod prefix and
    /// drops what is not between node addresses.
    #[must_use]
    pub fn two_subnets() -> Self {
        let (a, b) = (subnet("a", 1), subnet("b", 2));
        let nodes = vec![node("a1", &a, 11, 1), node("a2", &a, 12, 2), node("b1", &b, 11, 3)];
        Self { name: "two-subnets", subnets: vec![a, b], nodes, pod_mtu: 1480 }
    }

    /// Nodes a1, a2 and a3 in one subnet.
    #[must_use]
    pub fn flat() -> Self {
        let a = subnet("a", 1);
        let nodes = vec![node("a1", &a, 11, 1), node("a2", &a, 12, 2), node("a3", &a, 13, 3)];
        Self { name: "flat", subnets: vec![a], nodes, pod_mtu: 1480 }
    }

    /// The same with another MTU of the pods' interfaces.
    #[must_use]
    pub fn with_pod_mtu(self, pod_mtu: u16) -> Self {
        Self { pod_mtu, ..self }
    }
}

fn subnet(name: &'static str, third: u8) -> Subnet {
    Subnet { name, prefix: v4_net([10, 0, third, 0], 24), gateway: Ipv4Addr::new(10, 0, third, 1).into() }
}

fn node(name: &'static str, subnet: &Subnet, host: u8, number: u8) -> NodePlan {
    NodePlan {
        name,
        address: super::host::nth(subnet.prefix, host),
        pod_prefix: v4_net([10, 244, number, 0], 24),
        subnet: subnet.clone(),
    }
}

fn v4_net(address: [u8; 4], length: u8) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::from(address), length).into()
}
