use std::net::IpAddr;

use node_ebpf_common::NextHop;

use super::Role;
use crate::{
    model::{AddressFamily, KernelRoute, NextHopKey, PlaceholderNeighbour, Prefix, RouteKind},
    rib::address::address_of,
};

/// The kernel's route for a prefix, so that the host routes as host-gw does where no program is attached
/// (invariant 5). None for a node's address: the host knows its way there already.
pub(super) fn route(
    prefix: Prefix,
    role: Role,
    key: &NextHopKey,
    next_hop: &NextHop,
    host_address: Option<IpAddr>,
) -> Option<KernelRoute> {
    let on_link = KernelRoute {
        destination: prefix,
        kind: RouteKind::Unicast,
        link: Some(next_hop.interface),
        gateway: None,
        onlink: false,
        source: None,
        mtu: None,
        protocol: KernelRoute::PROTOCOL,
        metric: 0,
        legs: None,
    };
    Some(match (key, role) {
        (NextHopKey::Host, _) | (NextHopKey::Node(_), Role::NodeAddress) => return None,
        // Nothing can loop in a prefix of one address, and the pod's own route would clash with it.
        (NextHopKey::Unassigned, Role::PodPrefix) if prefix.is_host() => return None,
        (NextHopKey::Unassigned, _) => KernelRoute { kind: RouteKind::Blackhole, link: None, ..on_link },
        (NextHopKey::Pod(_), _) => on_link,
        (NextHopKey::Node(_) | NextHopKey::Via(_) | NextHopKey::Group(_), _) => KernelRoute {
            gateway: gateway(prefix, next_hop),
            onlink: true,
            source: host_address,
            mtu: Some(next_hop.mtu),
            ..on_link
        },
    })
}

/// The neighbour that a route needs, if its gateway is only a stand-in.
pub(super) fn neighbour(route: &KernelRoute) -> Option<PlaceholderNeighbour> {
    let stand_in = route.gateway == Some(IpAddr::V6(PlaceholderNeighbour::ADDRESS));
    route.link.filter(|_| stand_in).map(PlaceholderNeighbour::on)
}

/// The gateway, or what stands for it where the kernel cannot have it: an IPv6 route by an IPv4 gateway.
fn gateway(prefix: Prefix, next_hop: &NextHop) -> Option<IpAddr> {
    let gateway = address_of(next_hop.gateway)?;
    Some(match (prefix.family(), AddressFamily::from(gateway)) {
        (AddressFamily::V6, AddressFamily::V4) => IpAddr::V6(PlaceholderNeighbour::ADDRESS),
        _ => gateway,
    })
}
