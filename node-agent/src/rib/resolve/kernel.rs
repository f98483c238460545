use node_ebpf_common::NextHop;

use super::{Resolver, Role};
use crate::{
    model::{KernelRoute, NextHopKey, Prefix, RouteKind},
    rib::{Candidate, address::address_of},
};

impl Resolver<'_> {
    /// The kernel's route for a prefix, so that the host routes as host-gw does where no program is
    /// attached (invariant 5). None for a node's address: the host knows its way there already.
    pub(super) fn kernel_route(
        &self,
        prefix: Prefix,
        candidate: &Candidate,
        next_hop: &NextHop,
    ) -> Option<KernelRoute> {
        let route = KernelRoute {
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
        match (&candidate.target, candidate.role) {
            (NextHopKey::Host, _) | (NextHopKey::Node(_), Role::NodeAddress) => None,
            // Nothing can loop in a prefix of one address, and the pod's own route would clash with it.
            (NextHopKey::Unassigned, _) if prefix.is_host() => None,
            (NextHopKey::Unassigned, _) => {
                Some(KernelRoute { kind: RouteKind::Blackhole, link: None, ..route })
            }
            (NextHopKey::Pod(_), _) => Some(route),
            (NextHopKey::Node(_), _) => Some(KernelRoute {
                gateway: address_of(next_hop.gateway),
                onlink: true,
                source: self.host_address(),
                mtu: Some(next_hop.mtu),
                ..route
            }),
        }
    }
}
