use std::net::IpAddr;

use node_ebpf_common::NextHop;

use super::Role;
use crate::{
    model::{AddressFamily, KernelRoute, NextHopKey, PlaceholderNeighbour, Prefix, RouteKind, RouteLeg},
    rib::address::address_of,
};

/// The kernel's route for a prefix, so that the host routes as host-gw does where no program is attached
/// (invariant 5). None for a node's address: the host knows its way there already.
pub(super) fn route(
    prefix: Prefix,
    role: Role,
    key: &NextHopKey,
    next_hop: &NextHop,
    members: &[NextHop],
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
            legs: legs(prefix, members),
            ..on_link
        },
    })
}

/// The legs to a node that is reached several ways.
fn legs(prefix: Prefix, members: &[NextHop]) -> Option<Box<[RouteLeg]>> {
    let leg =
        |member: &NextHop| RouteLeg { link: member.interface, gateway: gateway(prefix, member), live: true };
    (members.len() > 1).then(|| members.iter().map(leg).collect())
}

/// The neighbours that a route needs: those whose gateways are only stand-ins.
pub(super) fn neighbours(route: &KernelRoute) -> impl Iterator<Item = PlaceholderNeighbour> {
    let own = route.link.map(|link| (link, route.gateway));
    let legs = route.legs.iter().flat_map(|legs| legs.iter().map(|leg| (leg.link, leg.gateway)));
    let stand_in = Some(IpAddr::V6(PlaceholderNeighbour::ADDRESS));
    own.into_iter()
        .chain(legs)
        .filter(move |(_, gateway)| *gateway == stand_in)
        .map(|(link, _)| PlaceholderNeighbour::on(link))
}

/// The gateway, or what stands for it where the kernel cannot have it: an IPv6 route by an IPv4 gateway.
fn gateway(prefix: Prefix, next_hop: &NextHop) -> Option<IpAddr> {
    let gateway = address_of(next_hop.gateway)?;
    Some(match (prefix.family(), AddressFamily::from(gateway)) {
        (AddressFamily::V6, AddressFamily::V4) => IpAddr::V6(PlaceholderNeighbour::ADDRESS),
        _ => gateway,
    })
}
