//! The control experiment: the same lab routed by the kernel alone, as Flannel's host-gw does it. It
//! shows that the lab itself works, and that the two subnets of `two-subnets` really cannot reach each
//! other's pods without encapsulation.

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;

use super::{Endpoint, Lab, Node};
use crate::family::Family;

impl Lab {
    /// Turns forwarding on and puts in a route to each local pod, and to each other node's pod prefixes
    /// via that node's address (in another subnet: via the router). IPv4 prefixes of nodes that have only
    /// IPv6 go via that; the other way round the kernel knows no way.
    ///
    /// # Errors
    /// If a route cannot be put in.
    pub fn route_plainly(&self) -> Result<()> {
        for node in self.nodes() {
            node.netns().set_sysctl("net.ipv4.ip_forward", "1")?;
            if self.topology().has_v6() {
                node.netns().set_sysctl("net.ipv6.conf.all.forwarding", "1")?;
            }
            let local = self.pods().iter().filter(|pod| pod.node() == node.name());
            let mut lines: String = local.map(|pod| local_lines(pod.addresses(), pod.interface())).collect();
            for other in self.nodes().iter().filter(|other| other.name() != node.name()) {
                lines.extend(
                    other.pod_prefixes().iter().filter_map(|prefix| remote_line(node, other, *prefix)),
                );
            }
            node.netns().ip_batch(&lines)?;
        }
        Ok(())
    }
}

fn local_lines(addresses: &[IpAddr], interface: &str) -> String {
    let line =
        |address: &IpAddr| format!("route add {address}/{} dev {interface}\n", Family::of(*address).bits());
    addresses.iter().map(line).collect()
}

fn remote_line(node: &Node, other: &Node, prefix: IpNet) -> Option<String> {
    let gateway = |family: Family| match other.subnet() == node.subnet() {
        true => other.address_of(family),
        false => node.subnet().network(family).map(|network| network.gateway),
    };
    let family = Family::of(prefix.addr());
    Some(match (gateway(family), family) {
        (Some(gateway), _) => format!("route add {prefix} via {gateway}\n"),
        (None, Family::V4) => {
            format!("route add {prefix} via inet6 {} dev {}\n", gateway(Family::V6)?, Node::UPLINK)
        }
        (None, Family::V6) => return None,
    })
}
