//! The changes that one changed object comes to, without a plan for everything.

use node_ebpf_common::Route;

use super::{MapChange, ObservedDatapath};
use crate::{
    model::{HostChange, HostView, KernelRoute, RouteChange},
    rib::Amendment,
};

/// What to change, each list in the order in which it must be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) maps: Vec<MapChange>,
    pub(super) host: Vec<HostChange>,
}

/// The steps of an amendment: what is new comes before what is gone. None if the datapath as it was observed is not
/// what the amendment relies on.
pub(super) fn steps(amendment: &Amendment, observed: &ObservedDatapath, view: &HostView) -> Option<Steps> {
    let (mut maps, mut host) = (Vec::new(), Vec::new());
    let change = |route: KernelRoute| {
        let interface = route.link.and_then(|link| view.link_by_index(link)).map(|link| link.name.clone());
        RouteChange { route, interface }
    };
    for new in &amendment.added {
        let next_hop = observed.routes.get(&new.like)?.next_hop;
        let identity = observed.next_hops.get(&next_hop)?.identity;
        if identity != new.route.next_hop.identity() {
            return None;
        }
        maps.push(MapChange::SetRoute {
            prefix: new.prefix,
            route: Route { next_hop, flags: new.route.flags },
        });
        host.push(HostChange::AddRoute(change(new.kernel.clone())));
    }
    for gone in &amendment.removed {
        maps.push(MapChange::DeleteRoute { prefix: gone.prefix });
        host.push(HostChange::DeleteRoute(change(gone.kernel.clone())));
    }
    Some(Steps { maps, host })
}

#[cfg(test)]
mod tests;
