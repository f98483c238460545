use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::Serialize;

use super::{AddressFamily, LinkNeighbour, PlaceholderNeighbour, Prefix, VethPeer};

/// The host's network as the kernel reported it: links, addresses and the main routing table, and what routers
/// beyond it have told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostView {
    /// Every link of this network namespace.
    pub links: Vec<Link>,
    /// Every address.
    pub addresses: Vec<InterfaceAddress>,
    /// Every route of the main table, ours included.
    pub routes: Vec<KernelRoute>,
    /// Permanent IPv6 neighbours that carry our protocol number.
    pub neighbours: Vec<PlaceholderNeighbour>,
    /// Whether IPv4 forwarding is on (`net.ipv4.ip_forward`).
    pub forwarding_v4: bool,
    /// Whether IPv6 forwarding is on (`net.ipv6.conf.all.forwarding`); none if the kernel has no IPv6.
    pub forwarding_v6: Option<bool>,
    /// The same check for all interfaces (`net.ipv4.conf.all.rp_filter`).
    pub reverse_path_all: u8,
    /// Largest encapsulated packets that pass to other nodes' addresses, in bytes, where a router has told of a limit.
    pub path_mtus: BTreeMap<IpAddr, u32>,
    /// Neighbours that do not answer (`failed`, and since then not heard of), of those that a choice among several ways
    /// depends on.
    pub failed_neighbours: BTreeSet<LinkNeighbour>,
}

impl HostView {
    /// Whether everything but the routes is the same.
    #[must_use]
    pub fn is_same_but_routes(&self, other: &Self) -> bool {
        // Taken apart, so that a new field cannot be forgotten here.
        let Self {
            links,
            addresses,
            routes: _,
            neighbours,
            forwarding_v4,
            forwarding_v6,
            reverse_path_all,
            path_mtus,
            failed_neighbours,
        } = self;
        (links, addresses, neighbours) == (&other.links, &other.addresses, &other.neighbours)
            && (path_mtus, failed_neighbours) == (&other.path_mtus, &other.failed_neighbours)
            && (forwarding_v4, forwarding_v6, reverse_path_all)
                == (&other.forwarding_v4, &other.forwarding_v6, &other.reverse_path_all)
    }

    /// The link with this name.
    #[must_use]
    pub fn link_by_name(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The link with this index.
    #[must_use]
    pub fn link_by_index(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Link-layer address; zero where there is none.
    pub mac: [u8; 6],
    /// Whether it is a loopback (`IFF_LOOPBACK`).
    pub loopback: bool,
    /// Whether its frames have an Ethernet header (`ARPHRD_ETHER`), which the programs take for granted.
    pub ethernet: bool,
    /// Whether IPv4 packets that come in here are forwarded (`net.ipv4.conf.NAME.forwarding`).
    pub forwarding_v4: bool,
    /// Whether the host answers ARP requests here for what it has a route to (`net.ipv4.conf.NAME.proxy_arp`).
    pub proxy_arp: bool,
    /// How the source of IPv4 packets that come in here is checked (`net.ipv4.conf.NAME.rp_filter`): 0 not at all, 1 strictly,
    /// 2 loosely. The kernel goes by the larger of this and [`HostView::reverse_path_all`].
    pub reverse_path: u8,
    /// Whether router advertisements are taken here only as long as the host does not forward
    /// (`net.ipv6.conf.NAME.accept_ra` is 1).
    pub ra_unless_forwarding: bool,
    /// Its other end, if it is one end of a veth.
    pub peer: Option<VethPeer>,
}

/// An address on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterfaceAddress {
    /// Interface index.
    pub link: u32,
    /// The address and the length of its network.
    pub address: IpNet,
    /// Label (`IFA_LABEL`), by which our own address is recognised. IPv6 addresses have none in the kernel:
    /// one with our metric ([`super::OwnAddress::METRIC_V6`]) is reported with our label.
    pub label: Option<String>,
}

/// Type of a kernel route, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// To a neighbour or gateway.
    Unicast,
    /// Silently dropped.
    Blackhole,
    /// Any other (unreachable, prohibit, throw, multicast).
    Other,
}

/// A route of the kernel's main table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelRoute {
    /// Destination.
    pub destination: Prefix,
    /// Type.
    pub kind: RouteKind,
    /// Interface index; none for a blackhole.
    pub link: Option<u32>,
    /// Gateway; none if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Gateway is taken for reachable on the link even if no route says so (`RTNH_F_ONLINK`).
    pub onlink: bool,
    /// Preferred source address (`RTA_PREFSRC`).
    pub source: Option<IpAddr>,
    /// Path MTU in bytes (`RTAX_MTU`).
    pub mtu: Option<u32>,
    /// Who made it (`rtm_protocol`).
    pub protocol: u8,
    /// Priority (`RTA_PRIORITY`): lower wins; 0 where none is given.
    pub metric: u32,
    /// Every leg of a multipath route, the first included; none of a route with one next hop. On the heap, as
    /// hardly any of up to a million routes has legs.
    pub legs: Option<Box<[RouteLeg]>>,
}

/// One of the next hops of a multipath route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RouteLeg {
    /// Interface index.
    pub link: u32,
    /// Gateway; none if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Whether the kernel would send packets there: it marks a leg dead or `linkdown` otherwise.
    pub live: bool,
}

impl KernelRoute {
    /// Protocol number that marks a route as Podroute's. In `/etc/iproute2/rt_protos` terms it is free:
    /// 80 is Calico, 17 kube-router, 12 BIRD.
    pub const PROTOCOL: u8 = 77;

    /// Metric that the kernel gives an IPv6 route for which none is named.
    const DEFAULT_METRIC_V6: u32 = 1024;

    /// Whether the kernel does the same with both: the order of the legs is of no meaning.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.legs, &other.legs) {
            (Some(legs), Some(others)) => {
                let sorted = |legs: &[RouteLeg]| {
                    let mut legs = legs.to_vec();
                    legs.sort_by_key(|leg| (leg.link, leg.gateway));
                    legs
                };
                let rest = |route: &Self| Self { legs: None, link: None, gateway: None, ..route.clone() };
                sorted(legs) == sorted(others) && rest(self) == rest(other)
            }
            _ => self == other,
        }
    }

    /// The route as the kernel reports it back once it is installed.
    #[must_use]
    pub fn as_reported(&self) -> Self {
        let default = match self.destination.family() {
            AddressFamily::V4 => 0,
            AddressFamily::V6 => Self::DEFAULT_METRIC_V6,
        };
        let metric = if self.metric == 0 { default } else { self.metric };
        Self { metric, ..self.clone() }
    }
}
