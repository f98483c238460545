use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use node_ebpf_common::{NextHop, NextHopKind};

use super::{
    LeftOut, Path, ProblemKind, Resolver, Role, Target,
    underlay::{Hop, NoHop, Ways},
};
use crate::{
    model::{
        AddressFamily, Cluster, EncapsulationMode, NextHopKey, Node, NodeName, NodePath, NonAdjacent,
        RouteLeg, Via,
    },
    rib::address::to_map,
};

/// Largest packet that every IPv6 link must take whole, in bytes (RFC 8200 section 5).
pub(super) const SMALLEST_MTU_V6: u32 = 1280;

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

/// The table of modes. `bare` tells whether packets can go to the node without an outer header at all.
pub(super) fn carriage(cluster: Cluster, bare: bool) -> Carriage {
    match (cluster.encapsulation, bare, cluster.non_adjacent) {
        (EncapsulationMode::Never | EncapsulationMode::CrossSubnet, true, _) => Carriage::Direct,
        (EncapsulationMode::Always, _, _) | (EncapsulationMode::CrossSubnet, false, _) => Carriage::Ipip,
        (EncapsulationMode::Never, false, NonAdjacent::Ipip) => Carriage::IpipAgainstMode,
        (EncapsulationMode::Never, false, NonAdjacent::Refuse) => Carriage::Refused,
    }
}

/// The family in which two nodes reach each other with packets of the `inner` one: the same if both have
/// an address of it, otherwise the other one that both have.
pub(super) fn outer_family(inner: AddressFamily, own: &[IpAddr], remote: &[IpAddr]) -> Option<AddressFamily> {
    let both_have = |family: &AddressFamily| family.first(own).is_some() && family.first(remote).is_some();
    [inner, inner.other()].into_iter().find(both_have)
}

/// One way to a remote node, between two addresses of one family.
struct Way<'a> {
    node: &'a Node,
    inner: AddressFamily,
    outer: AddressFamily,
    own: IpAddr,
    remote: IpAddr,
    /// Whether a problem on this way is one for people: nobody misses a way that no pods are behind.
    told: bool,
}

impl Way<'_> {
    fn key(&self) -> NextHopKey {
        let Self { node, inner, outer, .. } = *self;
        NextHopKey::Node(NodePath { node: node.name.clone(), inner, outer })
    }

    /// One of several ways to the node's address.
    fn member(&self, hop: &Hop<'_>) -> NextHopKey {
        let Self { node, inner, outer, .. } = *self;
        let node = NodePath { node: node.name.clone(), inner, outer };
        let gateway = hop.gateway.unwrap_or(self.remote);
        NextHopKey::Via(Via { node: Some(node), gateway, interface: hop.link.index })
    }

    /// The kernel sends IPv4 packets to an IPv6 gateway (RFC 8950), but no IPv6 packets to an IPv4 one.
    fn needs_header(&self) -> bool {
        (self.inner, self.outer) == (AddressFamily::V6, AddressFamily::V4)
    }
}

impl<'a> Resolver<'a> {
    /// Next hops of the other nodes, one for each family of packets that go to them.
    pub(super) fn remote_nodes(&mut self) {
        let selection = self.selection;
        let mut needed: BTreeSet<(&NodeName, AddressFamily)> = BTreeSet::new();
        let mut with_pods: BTreeSet<(&NodeName, AddressFamily)> = BTreeSet::new();
        for (prefix, candidate) in &selection.routes {
            let Target::Node(name) = &candidate.target else { continue };
            needed.insert((name, prefix.family()));
            if candidate.role != Role::NodeAddress {
                with_pods.insert((name, prefix.family()));
            }
        }
        let any_pods = |name| AddressFamily::ALL.iter().any(|family| with_pods.contains(&(name, *family)));
        for (name, inner) in needed {
            let Some(node) = selection.nodes.get(name) else { continue };
            let told = with_pods.contains(&(name, inner)) || !any_pods(name);
            let key = self.way(node, inner, told).and_then(|way| self.next_hop_on(&way));
            self.ways.insert((name, inner), key);
        }
    }

    /// By which addresses packets of a family get to a node; otherwise why they do not.
    fn way(&mut self, node: &'a Node, inner: AddressFamily, told: bool) -> Result<Way<'a>, String> {
        let own = self.own_addresses();
        let between = outer_family(inner, &own, &node.addresses).and_then(|outer| {
            let (own, remote) = (outer.first(&own)?, outer.first(&node.addresses)?);
            Some(Way { node, inner, outer, own, remote, told })
        });
        between.ok_or_else(|| {
            let listed = |addresses: &[IpAddr]| {
                addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            let reason = format!(
                "node {} ({}) and this node '{}' ({}) have no address of the same family",
                node.name,
                listed(&node.addresses),
                self.own.node.name,
                listed(&own)
            );
            let text = format!(
                "{reason}: its {inner} pods cannot be reached ({}); give both nodes an IPv4 or an IPv6 address",
                node.origin
            );
            self.node_problem(told, ProblemKind::NoCommonFamily, text);
            reason
        })
    }

    /// Makes the next hop of a way; otherwise why it has none, after the problem has been noted.
    fn next_hop_on(&mut self, way: &Way<'_>) -> Result<NextHopKey, String> {
        let Way { node, remote, .. } = *way;
        if let [link, ..] = self.underlay.holders(remote) {
            let interface = self.underlay.link(*link).map_or("a link", |link| link.name.as_str());
            let reason =
                format!("the address {remote} of node {} is this host's own, on {interface}", node.name);
            let text = format!(
                "{reason} ({}): its pods cannot be reached; is '{}' the right name for this node?",
                node.origin, self.own.node.name
            );
            self.node_problem(way.told, ProblemKind::RemoteAddressIsLocal, text);
            return Err(reason);
        }
        let mut ways = self.underlay.ways(remote).map_err(|why| {
            let reason = format!("no route to node {} ({remote}): {why}", node.name);
            self.node_problem(way.told, ProblemKind::NoRouteToNode, reason.clone());
            reason
        })?;
        self.out.deciding.append(&mut ways.deciding);
        let Ways { hops, left_out, .. } = alike(ways);
        let Some(first) = hops.first() else { return Err(format!("no route to node {}", node.name)) };
        let kind = self.kind(way, first)?;
        let mtu = self.packet_mtu(way, kind, first);
        let key = way.key();
        self.add_way(&key, way, kind, first, mtu);
        let members: BTreeMap<NextHopKey, &Hop<'_>> = hops.iter().map(|hop| (way.member(hop), hop)).collect();
        if members.len() > 1 {
            for (member, hop) in &members {
                self.add_way(member, way, kind, hop, mtu);
            }
            self.groups.insert(key.clone(), members.into_keys().collect());
        }
        self.leave_out(&key, left_out);
        Ok(key)
    }

    /// Remembers which legs are not used to a node, and tells of neighbours that do not answer: once, whatever the number
    /// of nodes behind them.
    fn leave_out(&mut self, key: &NextHopKey, left_out: Vec<(RouteLeg, NoHop)>) {
        for (leg, why) in left_out {
            if matches!(why, NoHop::Silent(..)) {
                self.problem(ProblemKind::NeighbourSilent, format!("{why}: flows go by that one"));
            }
            let interface = self.underlay.link(leg.link);
            let interface = interface.map_or_else(|| format!("#{}", leg.link), |link| link.name.clone());
            let gateway = leg.gateway.map(|gateway| format!("via {gateway} ")).unwrap_or_default();
            let left_out = LeftOut { what: format!("leg {gateway}dev {interface}"), reason: why.to_string() };
            self.out.left_out.entry(key.clone()).or_default().push(left_out);
        }
    }

    fn add_way(&mut self, key: &NextHopKey, way: &Way<'_>, kind: NextHopKind, hop: &Hop<'_>, mtu: u32) {
        let path = Path {
            interface: hop.link.name.clone(),
            underlay: Some(hop.route),
            adjacent: hop.gateway.is_none(),
            link_mtu: hop.mtu,
        };
        self.next_hops.insert(key.clone(), next_hop(key, kind, way, hop, mtu));
        self.out.paths.insert(key.clone(), path);
    }

    fn kind(&mut self, way: &Way<'_>, hop: &Hop<'_>) -> Result<NextHopKind, String> {
        let Way { node, inner, outer, remote, .. } = *way;
        let apart = match hop.gateway {
            Some(gateway) => {
                format!("node {} ({remote}) is not adjacent: {gateway} is on the way", node.name)
            }
            None => format!(
                "node {} ({remote}) and this node have {outer} addresses in common, but no {inner} addresses",
                node.name
            ),
        };
        let also = if way.needs_header() { ", or give both nodes IPv6 addresses" } else { "" };
        match carriage(self.selection.cluster, hop.gateway.is_none() && !way.needs_header()) {
            Carriage::Direct => Ok(NextHopKind::Direct),
            Carriage::Ipip => Ok(NextHopKind::Ipip),
            Carriage::IpipAgainstMode => {
                let text = format!(
                    "{apart}; packets to its {inner} pods are encapsulated although the mode is 'never' (non-adjacent: ipip)"
                );
                self.node_problem(way.told, ProblemKind::NotAdjacent, text);
                Ok(NextHopKind::Ipip)
            }
            Carriage::Refused => {
                let text = format!(
                    "{apart}; its {inner} pods are not reached, as the mode is 'never': use 'cross-subnet', or 'non-adjacent: ipip'{also}"
                );
                self.node_problem(way.told, ProblemKind::NotAdjacent, text);
                Err(format!("{apart}, and the mode is 'never'"))
            }
        }
    }

    /// Largest packet on a way before any encapsulation, in bytes. What routers tell counts for encapsulated packets
    /// only: of others they tell the sender. IPv6 packets as small as every link must take are sent in any case:
    /// what a router told may be forged, and nobody would cut them.
    fn packet_mtu(&mut self, way: &Way<'_>, kind: NextHopKind, hop: &Hop<'_>) -> u32 {
        let room = |mtu: u32| mtu.saturating_sub(overhead(kind, way.outer));
        let (link, told) = (room(hop.mtu), self.path_mtus.get(&way.remote));
        let mtu = match told.filter(|_| kind == NextHopKind::Ipip) {
            Some(told) => link.min(room(*told)),
            None => link,
        };
        self.check_mtu(way, kind, hop, mtu);
        match way.inner {
            AddressFamily::V4 => mtu,
            AddressFamily::V6 => mtu.max(SMALLEST_MTU_V6.min(link)),
        }
    }

    /// The stack never asks a sender of IPv6 packets for less than the smallest MTU, and no node on the way
    /// cuts them: what does not fit is lost without a word.
    fn check_mtu(&mut self, way: &Way<'_>, kind: NextHopKind, hop: &Hop<'_>, mtu: u32) {
        if way.inner == AddressFamily::V4 || mtu >= SMALLEST_MTU_V6 {
            return;
        }
        let least = SMALLEST_MTU_V6 + overhead(kind, way.outer);
        let text = format!(
            "IPv6 packets to pods of node {} ({}) of more than {mtu} bytes are lost, but IPv6 needs {SMALLEST_MTU_V6} (RFC 8200): give {} and the way behind it an MTU of {least} or more",
            way.node.name, way.remote, hop.link.name
        );
        self.node_problem(way.told, ProblemKind::MtuTooSmall, text);
    }

    fn node_problem(&mut self, told: bool, kind: ProblemKind, text: String) {
        if told {
            self.problem(kind, text);
        }
    }
}

/// The ways among which the packets to a node are spread: all with a gateway or all without, as the first, since that
/// decides whether packets are encapsulated, and with the smallest MTU of them, since a packet may take any.
fn alike(ways: Ways<'_>) -> Ways<'_> {
    let Ways { hops, mut left_out, deciding } = ways;
    let adjacent = hops.first().is_some_and(|hop| hop.gateway.is_none());
    let (hops, others): (Vec<_>, Vec<_>) =
        hops.into_iter().partition(|hop| hop.gateway.is_none() == adjacent);
    let first = if adjacent { "no gateway" } else { "a gateway" };
    left_out.extend(others.iter().map(|hop| (hop.leg(), NoHop::Unlike(hop.route, first))));
    let mtu = hops.iter().map(|hop| hop.mtu).min().unwrap_or_default();
    Ways { hops: hops.into_iter().map(|hop| Hop { mtu, ..hop }).collect(), left_out, deciding }
}

/// Bytes of the header that packets get in front.
fn overhead(kind: NextHopKind, outer: AddressFamily) -> u32 {
    if kind == NextHopKind::Ipip { outer.header_bytes() } else { 0 }
}

/// Every field is filled for both kinds, so that a packet meets a whole entry while one is written.
fn next_hop(key: &NextHopKey, kind: NextHopKind, way: &Way<'_>, hop: &Hop<'_>, mtu: u32) -> NextHop {
    NextHop {
        identity: key.identity(),
        kind: kind as u32,
        interface: hop.link.index,
        gateway: to_map(Some(hop.gateway.unwrap_or(way.remote))),
        tunnel_source: to_map(Some(way.own)),
        tunnel_destination: to_map(Some(way.remote)),
        mtu,
        ..NextHop::default()
    }
}
