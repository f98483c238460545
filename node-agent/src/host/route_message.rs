//! Routes of the main table, as netlink has them. The same for both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
        RouteNextHopFlags, RouteProtocol, RouteScope, RouteType, RouteVia,
    },
};

use crate::model::{self, KernelRoute, Prefix, RouteKind, RouteLeg};

/// Asks for every route of the main table of a family.
pub(super) fn dump_routes(family: AddressFamily) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetRoute(main_table(family))
}

/// The route; nothing if the message describes no route of the main table, or one that does not apply to
/// every packet to its destination (by source prefix or type of service) or is a cached exception.
///
/// Of a multipath route, the first next hop stands in the route's own fields, and all of them are its legs.
pub(super) fn decode_route(message: &RouteNetlinkMessage) -> Option<KernelRoute> {
    let RouteNetlinkMessage::NewRoute(RouteMessage { header, attributes, .. }) = message else { return None };
    let unspecified = unspecified(header.address_family)?;
    let special =
        header.tos != 0 || header.source_prefix_length != 0 || header.flags.contains(RouteFlags::Cloned);
    if special || table(header, attributes) != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        _ => RouteKind::Other,
    };
    let mut route = KernelRoute {
        destination: Prefix::containing(IpNet::new(unspecified, header.destination_prefix_length).ok()?),
        kind,
        link: None,
        gateway: None,
        onlink: header.flags.contains(RouteFlags::Onlink),
        source: None,
        mtu: None,
        protocol: header.protocol.into(),
        metric: 0,
        legs: None,
    };
    for attribute in attributes {
        take(attribute, header.destination_prefix_length, &mut route)?;
    }
    match (kind, route.link) {
        (RouteKind::Unicast, Some(_)) => {}
        // By a next-hop object that the kernel was told not to spell out (`nexthop_compat_mode`): it leads
        // somewhere, but must not be taken for a route to the link itself.
        (RouteKind::Unicast, None) => route.kind = RouteKind::Other,
        // IPv6 reports the loopback here.
        (RouteKind::Blackhole | RouteKind::Other, _) => route.link = None,
    }
    Some(route)
}

/// Takes what an attribute tells; nothing if it makes no sense.
fn take(attribute: &RouteAttribute, length: u8, route: &mut KernelRoute) -> Option<()> {
    match attribute {
        RouteAttribute::Destination(address) => {
            route.destination = Prefix::containing(IpNet::new(ip(address)?, length).ok()?);
        }
        RouteAttribute::Oif(index) => route.link = Some(*index),
        RouteAttribute::Gateway(address) => route.gateway = ip(address),
        RouteAttribute::Via(via) => route.gateway = via_ip(via),
        RouteAttribute::PrefSource(address) => route.source = ip(address),
        RouteAttribute::Priority(metric) => route.metric = *metric,
        RouteAttribute::Metrics(metrics) => {
            route.mtu = metrics.iter().find_map(|metric| match metric {
                RouteMetric::Mtu(mtu) => Some(*mtu),
                _ => None,
            });
        }
        RouteAttribute::MultiPath(next_hops) => {
            if let Some(first) = next_hops.first() {
                take_next_hop(first, route);
            }
            if next_hops.len() > 1 {
                route.legs = Some(next_hops.iter().map(leg).collect());
            }
        }
        _ => {}
    }
    Some(())
}

fn take_next_hop(next_hop: &RouteNextHop, route: &mut KernelRoute) {
    let RouteLeg { link, gateway, .. } = leg(next_hop);
    (route.link, route.gateway) = (Some(link), gateway);
    route.onlink = next_hop.flags.contains(RouteNextHopFlags::Onlink);
}

/// Weights are left out: flows are spread evenly.
fn leg(next_hop: &RouteNextHop) -> RouteLeg {
    let gateway = next_hop.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(via) => via_ip(via),
        _ => None,
    });
    let unusable = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
    RouteLeg { link: next_hop.interface_index, gateway, live: !next_hop.flags.intersects(unusable) }
}

/// A route of ours, to add; nothing for a kind that we do not make.
pub(super) fn encode_new_route(route: &KernelRoute) -> Option<RouteMessage> {
    let kind = route_type(route.kind)?;
    let mut message = encode(route);
    message.header.kind = kind;
    message.header.scope = if route.kind == RouteKind::Unicast && route.gateway.is_none() {
        RouteScope::Link
    } else {
        RouteScope::Universe
    };
    Some(message)
}

/// A route of ours, to delete: the kernel deletes only what has our protocol number and all that is named.
pub(super) fn encode_delete_route(route: &KernelRoute) -> RouteMessage {
    let mut message = encode(route);
    // Unspecified: of any kind. NoWhere: of any scope.
    message.header.kind = route_type(route.kind).unwrap_or(RouteType::Unspec);
    message.header.scope = RouteScope::NoWhere;
    message
}

fn encode(route: &KernelRoute) -> RouteMessage {
    let family = match route.destination.family() {
        model::AddressFamily::V4 => AddressFamily::Inet,
        model::AddressFamily::V6 => AddressFamily::Inet6,
    };
    let mut message = main_table(family);
    message.header.destination_prefix_length = route.destination.len();
    message.header.protocol = RouteProtocol::Other(KernelRoute::PROTOCOL);
    let one = route.legs.is_none();
    message.header.flags.set(RouteFlags::Onlink, route.onlink && one);
    let gateway = |gateway: IpAddr| match (gateway, family) {
        // An IPv4 destination by an IPv6 gateway.
        (IpAddr::V6(address), AddressFamily::Inet) => RouteAttribute::Via(address.into()),
        _ => RouteAttribute::Gateway(gateway.into()),
    };
    let next_hop = |leg: &RouteLeg| {
        let mut next_hop = RouteNextHop::default();
        next_hop.interface_index = leg.link;
        next_hop.flags.set(RouteNextHopFlags::Onlink, route.onlink);
        next_hop.attributes = leg.gateway.map(gateway).into_iter().collect();
        next_hop
    };
    message.attributes = [
        Some(RouteAttribute::Destination(route.destination.address().into())),
        route.gateway.filter(|_| one).map(gateway),
        route.link.filter(|_| one).map(RouteAttribute::Oif),
        route.legs.as_deref().map(|legs| RouteAttribute::MultiPath(legs.iter().map(next_hop).collect())),
        route.source.map(|source| RouteAttribute::PrefSource(source.into())),
        route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
        (route.metric != 0).then_some(RouteAttribute::Priority(route.metric)),
    ]
    .into_iter()
    .flatten()
    .collect();
    message
}

fn main_table(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message
}

fn table(header: &RouteHeader, attributes: &[RouteAttribute]) -> u32 {
    let attribute = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    attribute.unwrap_or(u32::from(header.table))
}

fn route_type(kind: RouteKind) -> Option<RouteType> {
    match kind {
        RouteKind::Unicast => Some(RouteType::Unicast),
        RouteKind::Blackhole => Some(RouteType::BlackHole),
        RouteKind::Other => None,
    }
}

fn unspecified(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn via_ip(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(address) => Some((*address).into()),
        RouteVia::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
