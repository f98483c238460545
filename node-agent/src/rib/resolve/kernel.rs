use std::net::IpAddr;

use node_ebpf_common::NextHop;

use super::Role;
use crate::{
    model::{KernelRoute, NextHopKey, Prefix, RouteKind},
    rib::{Candidate, address::address_of},
};

/// The kernel's route for a prefix, with its key, so that the host routes as host-gw does where no
/// program is attached (invariant 5). None for a node's address: the host knows its way there already.
pub(super) fn route(
    prefix: Prefix,
    candidate: &Candidate,
    next_hop: &NextHop,
    host_address: Option<IpAddr>,
) -> Option<(Prefix, KernelRoute)> {
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
    };
    let route = match (&candidate.target, candidate.role) {
        (NextHopKey::Host, _) | (NextHopKey::Node(_), Role::NodeAddress) => return None,
        // Nothing can loop in a prefix of one address, and the pod's own route would clash with it.
        (NextHopKey::Unassigned, Role::PodPrefix) if prefix.is_host() => return None,
        (NextHopKey::Unassigned, _) => KernelRoute { kind: RouteKind::Blackhole, link: None, ..on_link },
        (NextHopKey::Pod(_), _) => on_link,
        (NextHopKey::Node(_), _) => KernelRoute {
            gateway: address_of(next_hop.gateway),
            onlink: true,
            source: host_address,
            mtu: Some(next_hop.mtu),
            ..on_link
        },
    };
    Some((prefix, route))
}
