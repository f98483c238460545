use std::net::IpAddr;

use node_ebpf_common::{NextHop, NextHopKind};

use super::{Path, ProblemKind, Resolver, underlay::Hop};
use crate::{
    model::{Cluster, EncapsulationMode, NextHopKey, Node, NonAdjacent},
    rib::address::to_map,
};

/// Bytes of the IPv4 header that IPIP puts in front (RFC 2003).
const IPIP_HEADER: u32 = 20;

/// How packets get to a remote node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carriage {
    Direct,
    Ipip,
    /// Encapsulated although the mode is `never`.
    IpipAgainstMode,
    /// Not at all.
    Refused,
}

/// The table of modes.
pub(super) fn carriage(cluster: Cluster, adjacent: bool) -> Carriage {
    match (cluster.encapsulation, adjacent, cluster.non_adjacent) {
        (EncapsulationMode::Never | EncapsulationMode::CrossSubnet, true, _) => Carriage::Direct,
        (EncapsulationMode::Always, _, _) | (EncapsulationMode::CrossSubnet, false, _) => Carriage::Ipip,
        (EncapsulationMode::Never, false, NonAdjacent::Ipip) => Carriage::IpipAgainstMode,
        (EncapsulationMode::Never, false, NonAdjacent::Refuse) => Carriage::Refused,
    }
}

impl Resolver<'_> {
    /// Next hops of the other nodes.
    pub(super) fn remote_nodes(&mut self) {
        for node in self.selection.nodes.values() {
            let key = NextHopKey::Node(node.name.clone());
            match self.remote_node(node, &key) {
                Ok((next_hop, path)) => {
                    self.next_hops.insert(key.clone(), next_hop);
                    self.out.paths.insert(key, path);
                }
                Err(reason) => {
                    self.missing.insert(key, reason);
                }
            }
        }
    }

    /// The next hop of a node; otherwise why it has none, after the problem has been noted.
    fn remote_node(&mut self, node: &Node, key: &NextHopKey) -> Result<(NextHop, Path), String> {
        let Node { name, origin, .. } = node;
        let Some(own) = self.own_v4 else { return Err("this node has no IPv4 address".to_owned()) };
        let Some(remote) = node.addresses.iter().copied().find(IpAddr::is_ipv4) else {
            if node.pod_prefixes.iter().any(|prefix| prefix.is_v4()) {
                let text =
                    format!("node {name} ({origin}) has no IPv4 address: its IPv4 pods cannot be reached");
                self.problem(ProblemKind::NoNodeAddress, text);
            }
            return Err(format!("node {name} has no IPv4 address"));
        };
        if let [link, ..] = self.underlay.holders(remote) {
            let interface = self.underlay.link(*link).map_or("a link", |link| link.name.as_str());
            let reason = format!("the address {remote} of node {name} is this host's own, on {interface}");
            let text = format!(
                "{reason} ({origin}): its pods cannot be reached; is '{}' the right name for this node?",
                self.own.node.name
            );
            self.problem(ProblemKind::RemoteAddressIsLocal, text);
            return Err(reason);
        }
        let hop = self.underlay.hop(remote).map_err(|why| {
            let reason = format!("no route to node {name} ({remote}): {why}");
            self.problem(ProblemKind::NoRouteToNode, reason.clone());
            reason
        })?;
        let kind = self.kind(node, remote, &hop)?;
        let path = Path {
            interface: hop.link.name.clone(),
            underlay: Some(hop.route),
            adjacent: hop.gateway.is_none(),
        };
        Ok((next_hop(key, kind, own, remote, &hop), path))
    }

    fn kind(&mut self, node: &Node, remote: IpAddr, hop: &Hop<'_>) -> Result<NextHopKind, String> {
        let gateway = hop.gateway.unwrap_or(remote);
        let apart = format!("node {} ({remote}) is not adjacent: {gateway} is on the way", node.name);
        match carriage(self.selection.cluster, hop.gateway.is_none()) {
            Carriage::Direct => Ok(NextHopKind::Direct),
            Carriage::Ipip => Ok(NextHopKind::Ipip),
            Carriage::IpipAgainstMode => {
                let text = format!(
                    "{apart}; packets to its pods are encapsulated although the mode is 'never' (non-adjacent: ipip)"
                );
                self.problem(ProblemKind::NotAdjacent, text);
                Ok(NextHopKind::Ipip)
            }
            Carriage::Refused => {
                let text = format!(
                    "{apart}; its pods are not reached, as the mode is 'never': use 'cross-subnet', or 'non-adjacent: ipip'"
                );
                self.problem(ProblemKind::NotAdjacent, text);
                Err(format!("{apart}, and the mode is 'never'"))
            }
        }
    }
}

/// Every field is filled for both kinds, so that a packet meets a whole entry while one is written.
fn next_hop(key: &NextHopKey, kind: NextHopKind, own: IpAddr, remote: IpAddr, hop: &Hop<'_>) -> NextHop {
    let overhead = if kind == NextHopKind::Ipip { IPIP_HEADER } else { 0 };
    NextHop {
        identity: key.identity(),
        kind: kind as u32,
        interface: hop.link.index,
        gateway: to_map(Some(hop.gateway.unwrap_or(remote))),
        tunnel_source: to_map(Some(own)),
        tunnel_destination: to_map(Some(remote)),
        mtu: hop.mtu.saturating_sub(overhead),
        mac_destination: [0; 6],
        mac_source: [0; 6],
    }
}
