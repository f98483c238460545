use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use crate::model::{HostView, KernelRoute, Link, LinkNeighbour, Prefix, RouteKind, RouteLeg};

/// `RTPROT_KERNEL`: the kernel made the route itself, because an interface has an address in the network.
const MADE_BY_KERNEL: u8 = 2;

/// The host's links, addresses and routes, indexed, without what is ours.
pub(super) struct Underlay<'a> {
    by_index: BTreeMap<u32, &'a Link>,
    by_name: BTreeMap<&'a str, &'a Link>,
    holders: BTreeMap<IpAddr, Vec<u32>>,
    routes: JointPrefixMap<IpNet, &'a KernelRoute>,
    failed: &'a BTreeSet<LinkNeighbour>,
}

/// The ways to an address.
#[derive(Debug, Default)]
pub(super) struct Ways<'a> {
    /// Those that are used, in the kernel's order; at least one.
    pub(super) hops: Vec<Hop<'a>>,
    /// The legs of a multipath route that are not, and why.
    pub(super) left_out: Vec<(RouteLeg, NoHop)>,
    /// Neighbours on whose answers the choice among several ways depends.
    pub(super) deciding: BTreeSet<LinkNeighbour>,
}

/// The way to an address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hop<'a> {
    /// The link to leave through; it is up.
    pub(super) link: &'a Link,
    /// The gateway; none if the address is adjacent.
    pub(super) gateway: Option<IpAddr>,
    /// Largest IP packet in bytes.
    pub(super) mtu: u32,
    /// The kernel's route.
    pub(super) route: Prefix,
}

impl Hop<'_> {
    /// Whom packets to this address are sent to.
    fn neighbour(&self, address: IpAddr) -> LinkNeighbour {
        LinkNeighbour { link: self.link.index, address: self.gateway.unwrap_or(address) }
    }

    /// The leg of a multipath route that it is.
    pub(super) fn leg(&self) -> RouteLeg {
        RouteLeg { link: self.link.index, gateway: self.gateway, live: true }
    }
}

/// Why there is no way to an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoHop {
    #[error("the kernel's main table has no route to it")]
    NoRoute,
    #[error("the kernel's route {0} is a blackhole or of another kind that does not lead anywhere")]
    NotUnicast(Prefix),
    #[error("the kernel's route {0} names no single interface")]
    NoInterface(Prefix),
    #[error("the kernel's route {0} leads through interface index {1}, which does not exist")]
    NoLink(Prefix, u32),
    #[error("the kernel's route {0} leads through {1}, which is down")]
    Down(Prefix, String),
    #[error("the kernel's route {0} leads through {1}, which is no Ethernet interface")]
    NotEthernet(Prefix, String),
    #[error("the gateway {1} of the kernel's route {0} is of another address family")]
    OtherFamily(Prefix, IpAddr),
    #[error("the kernel sends nothing by this leg of its route {0}: {1} is dead or without carrier there")]
    NotLive(Prefix, String),
    #[error("neighbour {1} on {2} does not answer, and another leg of the kernel's route {0} can be used")]
    Silent(Prefix, IpAddr, String),
    #[error("the first leg of the kernel's route {0} has {1}, and this one is otherwise")]
    Unlike(Prefix, &'static str),
}

impl<'a> Underlay<'a> {
    pub(super) fn new(host: &'a HostView) -> Self {
        let mut routes: JointPrefixMap<IpNet, &KernelRoute> = JointPrefixMap::new();
        for route in host.routes.iter().filter(|route| route.protocol != KernelRoute::PROTOCOL) {
            let net = route.destination.net();
            if routes.get(&net).is_none_or(|best| route.metric < best.metric) {
                routes.insert(net, route);
            }
        }
        let mut holders: BTreeMap<IpAddr, Vec<u32>> = BTreeMap::new();
        for held in &host.addresses {
            holders.entry(held.address.addr()).or_default().push(held.link);
        }
        Self {
            by_index: host.links.iter().map(|link| (link.index, link)).collect(),
            by_name: host.links.iter().map(|link| (link.name.as_str(), link)).collect(),
            holders,
            routes,
            failed: &host.failed_neighbours,
        }
    }

    /// The ways to an address by longest match, among routes of one prefix by the lowest metric, as the
    /// kernel itself chooses: one, or those of the legs of a multipath route that can be used. Legs that the kernel marks
    /// as not live, and legs whose neighbour does not answer, are left out as long as there is another one.
    pub(super) fn ways(&self, address: IpAddr) -> Result<Ways<'a>, NoHop> {
        let (_, route) = self.routes.get_lpm(&IpNet::from(address)).ok_or(NoHop::NoRoute)?;
        if route.kind != RouteKind::Unicast {
            return Err(NoHop::NotUnicast(route.destination));
        }
        let Some(legs) = route.legs.as_deref() else {
            let index = route.link.ok_or(NoHop::NoInterface(route.destination))?;
            return Ok(Ways {
                hops: vec![self.hop(address, route, index, route.gateway)?],
                ..Ways::default()
            });
        };
        let (mut live, mut dead, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for leg in legs {
            match self.hop(address, route, leg.link, leg.gateway) {
                Ok(hop) if leg.live => live.push(hop),
                Ok(hop) => dead.push(hop),
                Err(why) => left_out.push((*leg, why)),
            }
        }
        if live.is_empty() {
            live = dead;
        } else {
            let why = |hop: &Hop<'_>| NoHop::NotLive(route.destination, hop.link.name.clone());
            left_out.extend(dead.iter().map(|hop| (hop.leg(), why(hop))));
        }
        match left_out.first() {
            Some((_, why)) if live.is_empty() => Err(why.clone()),
            None if live.is_empty() => Err(NoHop::NoInterface(route.destination)),
            _ => Ok(self.answering(address, live, left_out)),
        }
    }

    /// The ways without those whose neighbour does not answer, unless that is all of them: then one may be as good as
    /// another, and the kernel goes on as well.
    fn answering(
        &self,
        address: IpAddr,
        hops: Vec<Hop<'a>>,
        mut left_out: Vec<(RouteLeg, NoHop)>,
    ) -> Ways<'a> {
        let deciding: BTreeSet<LinkNeighbour> = hops.iter().map(|hop| hop.neighbour(address)).collect();
        if deciding.len() < 2 {
            return Ways { hops, left_out, deciding: BTreeSet::new() };
        }
        if self.failed.is_superset(&deciding) {
            return Ways { hops, left_out, deciding };
        }
        let (silent, hops): (Vec<_>, Vec<_>) =
            hops.into_iter().partition(|hop| self.is_silent(hop.neighbour(address)));
        left_out.extend(silent.iter().map(|hop| {
            let neighbour = hop.neighbour(address);
            (hop.leg(), NoHop::Silent(hop.route, neighbour.address, hop.link.name.clone()))
        }));
        Ways { hops, left_out, deciding }
    }

    /// Whether a neighbour is known not to answer.
    pub(super) fn is_silent(&self, neighbour: LinkNeighbour) -> bool {
        self.failed.contains(&neighbour)
    }

    /// The way through a link of a route.
    fn hop(
        &self,
        address: IpAddr,
        route: &KernelRoute,
        index: u32,
        gateway: Option<IpAddr>,
    ) -> Result<Hop<'a>, NoHop> {
        let prefix = route.destination;
        let link = self.link(index).ok_or(NoHop::NoLink(prefix, index))?;
        if !link.up {
            return Err(NoHop::Down(prefix, link.name.clone()));
        }
        if !link.ethernet {
            return Err(NoHop::NotEthernet(prefix, link.name.clone()));
        }
        if let Some(gateway) = gateway.filter(|gateway| gateway.is_ipv4() != address.is_ipv4()) {
            return Err(NoHop::OtherFamily(prefix, gateway));
        }
        let mtu = route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
        Ok(Hop { link, gateway, mtu, route: prefix })
    }

    /// Networks that the host is connected to, with the link. Not what is on the loopback: the kernel makes a
    /// route of each IPv6 address there, ours included, and there is nobody to be cut off from.
    pub(super) fn connected(&self) -> impl Iterator<Item = (Prefix, &'a str)> {
        self.routes.values().filter_map(|route| {
            let connected = route.kind == RouteKind::Unicast
                && route.gateway.is_none()
                && route.protocol == MADE_BY_KERNEL;
            let link = self.link(route.link?)?;
            (connected && !link.loopback).then_some((route.destination, link.name.as_str()))
        })
    }

    /// Addresses without which the host reaches nothing: its own and its routes' gateways, each with what it is.
    pub(super) fn needed(&self) -> BTreeMap<IpAddr, &'static str> {
        let on_loopback = |link: &u32| self.link(*link).is_some_and(|link| link.loopback);
        let own = self.holders.iter().filter(|(_, links)| !links.iter().all(on_loopback));
        let gateways = self.routes.values().flat_map(|route| {
            let legs = route.legs.iter().flat_map(|legs| legs.iter().filter_map(|leg| leg.gateway));
            route.gateway.into_iter().chain(legs)
        });
        let gateways = gateways.map(|gateway| (gateway, "the gateway of a route of the host"));
        gateways.chain(own.map(|(address, _)| (*address, "an address of the host"))).collect()
    }

    pub(super) fn link(&self, index: u32) -> Option<&'a Link> {
        self.by_index.get(&index).copied()
    }

    pub(super) fn link_by_name(&self, name: &str) -> Option<&'a Link> {
        self.by_name.get(name).copied()
    }

    pub(super) fn link_names(&self) -> String {
        let names: Vec<&str> = self.by_name.keys().copied().collect();
        names.join(", ")
    }

    pub(super) fn loopback(&self) -> Option<&'a Link> {
        self.by_index.values().copied().find(|link| link.loopback)
    }

    /// Links that hold an address.
    pub(super) fn holders(&self, address: IpAddr) -> &[u32] {
        self.holders.get(&address).map_or(&[], Vec::as_slice)
    }
}
