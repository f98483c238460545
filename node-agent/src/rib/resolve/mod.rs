//! What the selection means on this host: through which link and gateway each node is reached, with or
//! without encapsulation, and from that everything that should be in the maps and in the kernel's tables.
//!
//! IPv4 only: what is IPv6 in the selection is left out here, and a problem says so.

mod kernel;
mod nodes;
mod overlap;
mod pods;
mod underlay;
mod uplinks;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use node_ebpf_common::{Address, Endpoint, Hook, NextHop, NextHopKind, Settings, SourceCheck};

use super::{Candidate, OwnNode, Problem, ProblemKind, Role, Selection, address::to_map};
use crate::model::{
    Attachment, HostView, NextHopKey, OwnAddress, Prefix, Wanted, WantedDatapath, WantedHost, WantedRoute,
};
use underlay::Underlay;

/// What the agent's own configuration decides.
#[derive(Debug, Clone, Default)]
pub struct ResolveSettings {
    /// Names of the uplinks; empty to take the links that hold this node's address or lead to other nodes.
    pub uplinks: Vec<String>,
    /// Which source addresses local pods may send from.
    pub source_check: SourceCheck,
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
    /// Problems found here, in order of kind and text; the selection's own are not repeated.
    pub problems: Vec<Problem>,
}

/// Resolves the selection on this host.
#[must_use]
pub fn resolve(selection: &Selection, host: &HostView, settings: &ResolveSettings) -> Resolved {
    let Some(own) = &selection.own else { return Resolved { hold: true, ..Resolved::default() } };
    let mut resolver = Resolver {
        selection,
        settings,
        own,
        own_v4: own.node.addresses.iter().copied().find(IpAddr::is_ipv4),
        host_address: own.host_addresses.iter().copied().find(IpAddr::is_ipv4),
        underlay: Underlay::new(host),
        next_hops: BTreeMap::new(),
        missing: BTreeMap::new(),
        out: Resolved::default(),
    };
    resolver.check_own_address();
    let uplinks = resolver.configured_uplinks();
    let pods = resolver.local_pods(&uplinks);
    resolver.remote_nodes();
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
    own_v4: Option<IpAddr>,
    /// The address of the host in its own pod prefix: the source of what it sends to remote pods.
    host_address: Option<IpAddr>,
    underlay: Underlay<'a>,
    /// Every next hop that can be used, whether or not a route names it.
    next_hops: BTreeMap<NextHopKey, NextHop>,
    /// Why there is no next hop.
    missing: BTreeMap<NextHopKey, String>,
    out: Resolved,
}

/// A local pod whose interface is there.
struct LocalPod {
    link: u32,
    interface: String,
    endpoint: Endpoint,
}

impl Resolver<'_> {
    fn problem(&mut self, kind: ProblemKind, text: String) {
        self.out.problems.push(Problem::new(kind, text));
    }

    fn check_own_address(&mut self) {
        let name = &self.own.node.name;
        match self.own_v4 {
            None => self.problem(
                ProblemKind::NoNodeAddress,
                format!(
                    "this node '{name}' ({}) has no IPv4 address: IPv4 pods of other nodes cannot be reached",
                    self.own.node.origin
                ),
            ),
            Some(address) if self.underlay.holders(address).is_empty() => self.problem(
                ProblemKind::OwnAddressNotOnLink,
                format!(
                    "the address {address} of this node '{name}' ({}) is on none of this host's links: packets to it do not get here",
                    self.own.node.origin
                ),
            ),
            Some(_) => {}
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
        let mut left_out = Vec::new();
        for (prefix, candidate) in &self.selection.routes {
            if !prefix.is_v4() {
                left_out.push(prefix);
            }
            match self.usable_next_hop(prefix, candidate, &overlaps) {
                Ok(next_hop) => self.add_route(*prefix, candidate, *next_hop),
                Err(reason) => {
                    self.out.refused.insert(*prefix, reason);
                    let unassigned = self.next_hops.get(&NextHopKey::Unassigned).copied();
                    if let Some((dropped, next_hop)) = self.instead_of_pod(*prefix, candidate).zip(unassigned)
                    {
                        self.add_route(*prefix, &dropped, next_hop);
                    }
                }
            }
        }
        if let Some(first) = left_out.first() {
            let text = format!(
                "IPv6 is not supported yet: {} prefixes and addresses are left out, the first is {first}",
                left_out.len()
            );
            self.problem(ProblemKind::Ipv6NotSupported, text);
        }
    }

    fn add_route(&mut self, prefix: Prefix, candidate: &Candidate, next_hop: NextHop) {
        let Wanted { datapath, host } = &mut self.out.wanted;
        let route = WantedRoute { next_hop: candidate.target.clone(), flags: candidate.flags() };
        datapath.next_hops.entry(candidate.target.clone()).or_insert(next_hop);
        datapath.routes.insert(prefix, route);
        host.routes.extend(kernel::route(prefix, candidate, &next_hop, self.host_address));
    }

    /// The next hop for a selected prefix, or why it gets no route.
    fn usable_next_hop(
        &self,
        prefix: &Prefix,
        candidate: &Candidate,
        overlaps: &BTreeMap<Prefix, String>,
    ) -> Result<&NextHop, String> {
        let target = &candidate.target;
        if !prefix.is_v4() {
            Err("IPv6 is not supported yet".to_owned())
        } else if let Some(reason) = overlaps.get(prefix).or_else(|| self.missing.get(target)) {
            Err(reason.clone())
        } else {
            self.next_hops.get(target).ok_or_else(|| format!("there is no next hop for {target}"))
        }
    }

    fn finish(mut self, pods: &[LocalPod], uplinks: &BTreeMap<u32, String>) -> Resolved {
        if self.host_address.is_some() && self.underlay.loopback().is_none() {
            self.problem(
                ProblemKind::NoLoopback,
                "this host has no loopback interface: its host address cannot be set".to_owned(),
            );
        }
        let own_addresses = self
            .underlay
            .loopback()
            .zip(self.host_address)
            .map(|(loopback, address)| OwnAddress { link: loopback.index, address });
        let Wanted { datapath, host } = std::mem::take(&mut self.out.wanted);
        self.out.wanted = Wanted {
            datapath: WantedDatapath {
                endpoints: pods.iter().map(|pod| (pod.link, pod.endpoint)).collect(),
                settings: Settings { node_v4: to_map(self.own_v4), node_v6: Address::NONE },
                attachments: attachments(pods, uplinks),
                ..datapath
            },
            host: WantedHost {
                addresses: own_addresses.into_iter().collect(),
                pod_interfaces: pods.iter().map(|pod| pod.interface.clone()).collect(),
                ..host
            },
        };
        self.out.problems.sort();
        self.out
    }
}

fn attachments(pods: &[LocalPod], uplinks: &BTreeMap<u32, String>) -> BTreeSet<Attachment> {
    let attachment =
        |link: u32, interface: &str, hook| Attachment { link, interface: interface.to_owned(), hook };
    let at_pods = pods.iter().map(|pod| attachment(pod.link, &pod.interface, Hook::FromPod));
    let at_uplinks = uplinks.iter().flat_map(|(link, interface)| {
        [Hook::FromUplink, Hook::ToUplink].map(|hook| attachment(*link, interface, hook))
    });
    at_pods.chain(at_uplinks).collect()
}

#[cfg(test)]
mod tests;
