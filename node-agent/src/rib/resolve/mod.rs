//! What the selection means on this host: through which link and gateway each node is reached, with or
//! without encapsulation, and from that everything that should be in the maps and in the kernel's tables.
//!
//! A node is reached by the family that the packets have, if both nodes have an address of it, otherwise by
//! the other one: IPv4 pods behind IPv6 nodes and the other way round.

mod kernel;
mod nodes;
mod outside;
mod overlap;
mod pod_mtu;
mod pods;
mod underlay;
mod uplinks;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use node_ebpf_common::{Endpoint, Hook, NextHop, NextHopKind, Settings, SourceCheck};

use super::{Candidate, OwnNode, Problem, ProblemKind, Role, Selection, Target, address::to_map};
use crate::model::{
    AddressFamily, Attachment, HostView, LinkNeighbour, NextHopKey, NodeName, OwnAddress, PodMtu, PodName,
    Prefix, Wanted, WantedDatapath, WantedHost, WantedRoute,
};
use outside::Outside;
pub(super) use overlap::around;
use pod_mtu::ChosenMtu;
use underlay::Underlay;

/// What the agent's own configuration decides.
#[derive(Debug, Clone, Default)]
pub struct ResolveSettings {
    /// Names of the uplinks; empty to take the links that hold this node's address or lead to other nodes.
    pub uplinks: Vec<String>,
    /// Which source addresses local pods may send from.
    pub source_check: SourceCheck,
    /// Whether uplinks get the XDP program.
    pub xdp: bool,
    /// How large local pods' packets may be.
    pub pod_mtu: PodMtu,
}

/// How a next-hop object is reached, for people; the numbers are in [`NextHop`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Name of the interface to leave through.
    pub interface: String,
    /// The kernel's route that was followed; none for a local pod.
    pub underlay: Option<Prefix>,
    /// Whether there is no gateway on the way.
    pub adjacent: bool,
    /// Largest packet that the interface and the kernel's route take, in bytes, outer header included.
    pub link_mtu: u32,
}

/// One of several ways that is not used, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Which one: `leg via 10.0.1.1 dev eth0`.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// What the selection means on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// This node is not in the cluster state or cannot be used, so what it should hold is not known:
    /// `wanted` is empty, and everything must be left as it is, not emptied.
    pub hold: bool,
    /// Everything that should be in place.
    pub wanted: Wanted,
    /// How remote nodes and local pods are reached.
    pub paths: BTreeMap<NextHopKey, Path>,
    /// Selected prefixes that get no route, and why, for people.
    pub refused: BTreeMap<Prefix, String>,
    /// Next hops of routes to what is outside that are not used, and why, for people.
    pub unusable: BTreeMap<Prefix, Vec<(IpAddr, String)>>,
    /// Legs of the kernel's routes that are not used to a node, though others are.
    pub left_out: BTreeMap<NextHopKey, Vec<LeftOut>>,
    /// Neighbours on whose answers a choice among several ways depends, whether or not they answer now.
    pub deciding: BTreeSet<LinkNeighbour>,
    /// The MTU of local pods.
    pub pod_mtu: ChosenMtu,
    /// Problems found here, in order of kind and text; the selection's own are not repeated.
    pub problems: Vec<Problem>,
}

impl Resolved {
    /// Largest packet, in bytes, that this host can send with an outer header from and to these addresses,
    /// whatever routers have told; none if it sends no such packets.
    #[must_use]
    pub fn tunnel_mtu(&self, source: IpAddr, destination: IpAddr) -> Option<u32> {
        let ends = (to_map(Some(source)), to_map(Some(destination)));
        let tunnel = |next_hop: &NextHop| {
            next_hop.kind == NextHopKind::Ipip as u32
                && (next_hop.tunnel_source, next_hop.tunnel_destination) == ends
        };
        let (key, _) = self.wanted.datapath.next_hops.iter().find(|(_, next_hop)| tunnel(next_hop))?;
        self.paths.get(key).map(|path| path.link_mtu)
    }
}

/// Resolves the selection on this host.
#[must_use]
pub fn resolve(selection: &Selection, host: &HostView, settings: &ResolveSettings) -> Resolved {
    let Some(own) = &selection.own else { return Resolved { hold: true, ..Resolved::default() } };
    let mut resolver = Resolver {
        selection,
        settings,
        own,
        ipv6: host.forwarding_v6.is_some(),
        underlay: Underlay::new(host),
        path_mtus: &host.path_mtus,
        next_hops: BTreeMap::new(),
        ways: BTreeMap::new(),
        groups: BTreeMap::new(),
        outside: BTreeMap::new(),
        unreachable_pods: BTreeMap::new(),
        out: Resolved::default(),
    };
    resolver.check_own_addresses();
    let uplinks = resolver.configured_uplinks();
    let pods = resolver.local_pods(&uplinks);
    resolver.remote_nodes();
    resolver.outside_routes();
    resolver.fixed_next_hops();
    resolver.routes();
    let uplinks = resolver.uplinks(uplinks, &pods);
    resolver.finish(&pods, &uplinks)
}

/// The state of one resolution.
struct Resolver<'a> {
    selection: &'a Selection,
    settings: &'a ResolveSettings,
    own: &'a OwnNode,
    /// Whether the kernel has IPv6.
    ipv6: bool,
    underlay: Underlay<'a>,
    path_mtus: &'a BTreeMap<IpAddr, u32>,
    /// Every next hop that can be used, whether or not a route names it.
    next_hops: BTreeMap<NextHopKey, NextHop>,
    /// The next hop for packets of a family to a remote node, or why there is none.
    ways: BTreeMap<(&'a NodeName, AddressFamily), Result<NextHopKey, String>>,
    /// The members of the next hops that have several ways.
    groups: BTreeMap<NextHopKey, Vec<NextHopKey>>,
    /// What the next hops of routes to what is outside come to.
    outside: BTreeMap<(AddressFamily, &'a BTreeSet<IpAddr>), Outside>,
    /// Why local pods cannot be delivered to.
    unreachable_pods: BTreeMap<PodName, String>,
    out: Resolved,
}

/// A local pod whose interface is there.
struct LocalPod {
    link: u32,
    interface: String,
    endpoint: Endpoint,
}

impl<'a> Resolver<'a> {
    fn problem(&mut self, kind: ProblemKind, text: String) {
        self.out.problems.push(Problem::new(kind, text));
    }

    /// This node's addresses, as far as the kernel can use them.
    fn own_addresses(&self) -> Vec<IpAddr> {
        self.own.node.addresses.iter().copied().filter(|address| self.can_use(*address)).collect()
    }

    /// This node's address of a family.
    fn own_address(&self, family: AddressFamily) -> Option<IpAddr> {
        family.first(&self.own.node.addresses).filter(|address| self.can_use(*address))
    }

    /// The address of the host in its own pod prefix: the source of what it sends to remote pods.
    fn host_address(&self, family: AddressFamily) -> Option<IpAddr> {
        family.first(&self.own.host_addresses).filter(|address| self.can_use(*address))
    }

    fn can_use(&self, address: IpAddr) -> bool {
        self.ipv6 || address.is_ipv4()
    }

    /// Whether a link holds one of this node's addresses.
    fn holds_own_address(&self, link: u32) -> bool {
        self.own.node.addresses.iter().any(|own| self.underlay.holders(*own).contains(&link))
    }

    fn check_own_addresses(&mut self) {
        let own = &self.own.node;
        for address in &own.addresses {
            if self.underlay.holders(*address).is_empty() {
                let text = format!(
                    "the address {address} of this node '{}' ({}) is on none of this host's links: packets to it do not get here",
                    own.name, own.origin
                );
                self.problem(ProblemKind::OwnAddressNotOnLink, text);
            }
        }
    }

    /// The objects that every node has one of.
    fn fixed_next_hops(&mut self) {
        for (key, kind) in
            [(NextHopKey::Host, NextHopKind::Host), (NextHopKey::Unassigned, NextHopKind::Unassigned)]
        {
            let next_hop = NextHop { identity: key.identity(), kind: kind as u32, ..NextHop::default() };
            self.next_hops.insert(key, next_hop);
        }
    }

    /// Makes a route of every selected prefix that has a next hop and does not cut the host off.
    fn routes(&mut self) {
        let overlaps = self.overlapping_prefixes();
        let mut without_ipv6 = Vec::new();
        for (prefix, candidate) in &self.selection.routes {
            if !self.ipv6 && prefix.family() == AddressFamily::V6 && candidate.role != Role::NodeAddress {
                without_ipv6.push(prefix);
            }
            match self.next_hop_of(prefix, candidate, &overlaps) {
                Ok(key) => self.add_route(*prefix, candidate, key),
                Err(reason) => {
                    self.out.refused.insert(*prefix, reason);
                    if self.falls_to_another(*prefix, candidate) {
                        self.add_route(*prefix, candidate, NextHopKey::Unassigned);
                    }
                }
            }
        }
        if let Some(first) = without_ipv6.first() {
            let text = format!(
                "this host's kernel has no IPv6 (there is no /proc/sys/net/ipv6; is it booted with ipv6.disable=1?): {} prefixes and addresses are left out, the first is {first}",
                without_ipv6.len()
            );
            self.problem(ProblemKind::NoIpv6, text);
        }
    }

    fn add_route(&mut self, prefix: Prefix, candidate: &Candidate, key: NextHopKey) {
        let Some(next_hop) = self.next_hops.get(&key).copied() else { return };
        let host_address = self.host_address(prefix.family());
        let no_members = Vec::new();
        let keys = self.groups.get(&key).unwrap_or(&no_members);
        let objects = keys.iter().filter_map(|key| Some((key.clone(), *self.next_hops.get(key)?)));
        let objects: Vec<(NextHopKey, NextHop)> = objects.collect();
        let members: Vec<NextHop> = objects.iter().map(|(_, member)| *member).collect();
        let Wanted { datapath, host } = &mut self.out.wanted;
        if let Some(route) = kernel::route(prefix, candidate.role, &key, &next_hop, &members, host_address) {
            host.neighbours.extend(kernel::neighbours(&route));
            host.routes.insert(prefix, route);
        }
        if !keys.is_empty() && !datapath.groups.contains_key(&key) {
            datapath.next_hops.extend(objects);
            datapath.groups.insert(key.clone(), keys.clone());
        }
        datapath.next_hops.entry(key.clone()).or_insert(next_hop);
        datapath.routes.insert(prefix, WantedRoute { next_hop: key, flags: candidate.flags() });
    }

    /// The next hop for a selected prefix, or why it gets no route.
    fn next_hop_of(
        &self,
        prefix: &Prefix,
        candidate: &'a Candidate,
        overlaps: &BTreeMap<Prefix, String>,
    ) -> Result<NextHopKey, String> {
        let family = prefix.family();
        if family == AddressFamily::V6 && !self.ipv6 {
            return Err("this host's kernel has no IPv6".to_owned());
        }
        if let Some(reason) = overlaps.get(prefix) {
            return Err(reason.clone());
        }
        match &candidate.target {
            Target::Host => Ok(NextHopKey::Host),
            Target::Unassigned => Ok(NextHopKey::Unassigned),
            Target::Pod(name) => match self.unreachable_pods.get(name) {
                Some(reason) => Err(reason.clone()),
                None => Ok(NextHopKey::Pod(name.clone())),
            },
            Target::Node(name) => match self.ways.get(&(name, family)) {
                Some(way) => way.clone(),
                None => Err(format!("node {name} is not used")),
            },
            Target::NextHops(next_hops) => self.way_outside(*prefix, next_hops),
        }
    }

    fn finish(mut self, pods: &[LocalPod], uplinks: &BTreeMap<u32, String>) -> Resolved {
        let host_addresses: Vec<IpAddr> =
            AddressFamily::ALL.into_iter().filter_map(|family| self.host_address(family)).collect();
        let loopback = self.underlay.loopback().map(|loopback| loopback.index);
        if !host_addresses.is_empty() && loopback.is_none() {
            self.problem(
                ProblemKind::NoLoopback,
                "this host has no loopback interface: its host address cannot be set".to_owned(),
            );
        }
        let own_addresses =
            loopback.into_iter().flat_map(|link| host_addresses.iter().map(move |address| (link, *address)));
        let own = |family| to_map(self.own_address(family));
        let settings = Settings { node_v4: own(AddressFamily::V4), node_v6: own(AddressFamily::V6) };
        let pod_mtus = self.pod_mtus(pods, uplinks);
        let Wanted { datapath, host } = std::mem::take(&mut self.out.wanted);
        self.out.wanted = Wanted {
            datapath: WantedDatapath {
                endpoints: pods.iter().map(|pod| (pod.link, pod.endpoint)).collect(),
                settings,
                attachments: attachments(pods, uplinks, self.settings.xdp),
                routes: packed(datapath.routes),
                ..datapath
            },
            host: WantedHost {
                addresses: own_addresses.map(|(link, address)| OwnAddress { link, address }).collect(),
                pod_interfaces: pods.iter().map(|pod| pod.interface.clone()).collect(),
                pod_mtus,
                uplinks: uplinks.values().cloned().collect(),
                routes: packed(host.routes),
                ..host
            },
        };
        // Two ways to one node may meet the same problem.
        self.out.problems.sort();
        self.out.problems.dedup();
        self.out
    }
}

/// The same map in less memory: one that was filled in order is half empty, but one that is made of a sorted list is
/// not.
fn packed<V>(map: BTreeMap<Prefix, V>) -> BTreeMap<Prefix, V> {
    map.into_iter().collect()
}

fn attachments(pods: &[LocalPod], uplinks: &BTreeMap<u32, String>, xdp: bool) -> BTreeSet<Attachment> {
    let attachment =
        |link: u32, interface: &str, hook| Attachment { link, interface: interface.to_owned(), hook };
    let at_pods = pods
        .iter()
        .flat_map(|pod| [Hook::FromPod, Hook::ToPod].map(|hook| attachment(pod.link, &pod.interface, hook)));
    let at_uplinks = uplinks.iter().flat_map(|(link, interface)| {
        [Hook::FromUplink, Hook::ToUplink].map(|hook| attachment(*link, interface, hook))
    });
    let before_uplinks =
        uplinks.iter().filter(|_| xdp).map(|(link, interface)| attachment(*link, interface, Hook::Xdp));
    at_pods.chain(at_uplinks).chain(before_uplinks).collect()
}

#[cfg(test)]
mod tests;
