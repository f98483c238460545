//! The plan for the kernel's own tables: sysctls, addresses, neighbours, routes and the MTU of pods' veths.
//!
//! Only what carries our mark is ever changed or removed: [`KernelRoute::PROTOCOL`] on a route
//! and on a neighbour, [`OwnAddress::LABEL`] on an address.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ipnet::IpNet;
use serde::Serialize;

use crate::model::{
    AddressChange, AddressFamily, HostChange, HostView, InterfaceAddress, KernelRoute, MtuChange,
    NeighbourChange, OwnAddress, PlaceholderNeighbour, Prefix, RouteChange, Setting, VethEnd, WantedHost,
};

/// What to change, in this order, and what stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostPlan {
    /// The changes, in the order in which they must be made.
    pub changes: Vec<HostChange>,
    /// What is wanted but would replace something that is not ours: left as it is.
    pub conflicts: Vec<HostConflict>,
}

/// Something that another program has put where ours should be. It is left alone: the kernel keeps one
/// route for a destination and metric, so that adding ours would silently remove the other one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostConflict {
    /// A route with the same destination and metric. Ours is not put in its place; one of ours that stands
    /// beside it is kept if it is right and removed if it is not.
    Route {
        /// Ours.
        wanted: RouteChange,
        /// The other one.
        found: RouteChange,
    },
    /// The same address on the same interface, without our label.
    Address(AddressChange),
}

impl fmt::Display for HostConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route { wanted, found } => write!(
                f,
                "route {wanted} meets a route of protocol {} with the same destination and metric ({found}), \
                 which Podroute leaves alone; remove that one if Podroute is to route this prefix",
                found.route.protocol,
            ),
            Self::Address(address) => write!(
                f,
                "address {} on {} was there before Podroute: it is used, but `cleanup` will not remove it",
                address.address,
                address.interface.as_deref().unwrap_or("an unknown interface"),
            ),
        }
    }
}

/// What to change so that the kernel's tables hold what is wanted.
///
/// With nothing wanted, this removes all that is ours (`node-agent cleanup`). Sysctls are only ever turned
/// on: other programs may rely on them.
///
/// Order: sysctls; addresses and neighbours before the routes that use them; new routes before old ones go,
/// so that there is always one; then neighbours; addresses last, because the kernel removes the routes that use them.
#[must_use]
pub fn plan(wanted: &WantedHost, observed: &HostView) -> HostPlan {
    let settings = settings(wanted, observed).into_iter().map(HostChange::Set);
    let addresses = addresses(wanted, observed);
    let neighbours = neighbours(wanted, observed);
    let routes = routes(wanted, observed);
    HostPlan {
        changes: settings
            .chain(addresses.add.into_iter().map(HostChange::AddAddress))
            .chain(neighbours.set.into_iter().map(HostChange::SetNeighbour))
            .chain(routes.set)
            .chain(mtus(wanted, observed).into_iter().map(HostChange::SetMtu))
            .chain(routes.delete.into_iter().map(HostChange::DeleteRoute))
            .chain(neighbours.delete.into_iter().map(HostChange::DeleteNeighbour))
            .chain(addresses.delete.into_iter().map(HostChange::DeleteAddress))
            .collect(),
        conflicts: addresses.conflicts.into_iter().chain(routes.conflicts).collect(),
    }
}

/// The sysctls to set. `ip_forward` comes first, because writing it sets every interface's `forwarding`.
/// An interface that is not there yet is left for the next observation.
fn settings(wanted: &WantedHost, observed: &HostView) -> Vec<Setting> {
    let mut settings = Vec::new();
    if wanted.has(AddressFamily::V4) && !observed.forwarding_v4 {
        settings.push(Setting::ForwardingV4);
    }
    for link in wanted.pod_interfaces.iter().filter_map(|name| observed.link_by_name(name)) {
        if !link.forwarding_v4 {
            settings.push(Setting::InterfaceForwardingV4(link.name.clone()));
        }
        if !link.proxy_arp {
            settings.push(Setting::ProxyArp(link.name.clone()));
        }
    }
    settings.extend(loose_reverse_paths(wanted, observed));
    if wanted.has(AddressFamily::V6) && observed.forwarding_v6 == Some(false) {
        // A host that forwards takes no router advertisements any more, and would lose a default route that
        // it has from one: first, the uplinks are told to go on.
        let uplinks = wanted.uplinks.iter().filter_map(|name| observed.link_by_name(name));
        let keep_ra = uplinks.filter(|link| link.ra_unless_forwarding);
        settings.extend(keep_ra.map(|link| Setting::AcceptRa(link.name.clone())));
        settings.push(Setting::ForwardingV6);
    }
    settings
}

/// With several uplinks, what goes out by one may be answered by another, and a strict check of the source would drop what
/// the stack gets of that. Only where it is strict, and at uplinks only: the check for all interfaces is somebody else's.
fn loose_reverse_paths(wanted: &WantedHost, observed: &HostView) -> impl Iterator<Item = Setting> {
    const STRICT: u8 = 1;
    let present = wanted.uplinks.iter().filter_map(|name| observed.link_by_name(name));
    let several: Vec<_> =
        Some(present.collect()).filter(|links: &Vec<_>| links.len() > 1).unwrap_or_default();
    let strict =
        several.into_iter().filter(|link| link.reverse_path.max(observed.reverse_path_all) == STRICT);
    strict.map(|link| Setting::LooseReversePath(link.name.clone()))
}

#[derive(Default)]
struct AddressPlan {
    add: Vec<AddressChange>,
    delete: Vec<AddressChange>,
    conflicts: Vec<HostConflict>,
}

fn addresses(wanted: &WantedHost, observed: &HostView) -> AddressPlan {
    let change = |link, address| AddressChange { link, interface: link_name(observed, link), address };
    let wanted: BTreeSet<(u32, IpNet)> =
        wanted.addresses.iter().map(|own| (own.link, IpNet::from(own.address))).collect();
    let mut plan = AddressPlan::default();
    for &(link, address) in &wanted {
        match observed.addresses.iter().find(|found| (found.link, found.address) == (link, address)) {
            None => plan.add.push(change(link, address)),
            Some(found) if is_our_address(found) => {}
            Some(_) => plan.conflicts.push(HostConflict::Address(change(link, address))),
        }
    }
    plan.delete = observed
        .addresses
        .iter()
        .filter(|found| is_our_address(found) && !wanted.contains(&(found.link, found.address)))
        .map(|found| change(found.link, found.address))
        .collect();
    plan
}

/// What is to be set so that both ends of each pod's veth have the wanted MTU. What is no veth is left alone.
///
/// The kernel drops what is larger than the MTU of the end where it arrives: when it shrinks, the pod must
/// send less before the host takes less; when it grows, the other way round.
fn mtus(wanted: &WantedHost, observed: &HostView) -> Vec<MtuChange> {
    let change = |(index, mtu): (&u32, &u32)| {
        let link = observed.link_by_index(*index)?;
        let peer = link.peer?;
        let shrinks = peer.mtu.is_some_and(|inside| inside > *mtu);
        let order = if shrinks { [VethEnd::Pod, VethEnd::Host] } else { [VethEnd::Host, VethEnd::Pod] };
        let differs = |end: &VethEnd| match end {
            VethEnd::Host => link.mtu != *mtu,
            VethEnd::Pod => peer.mtu != Some(*mtu),
        };
        let ends: Vec<VethEnd> = order.into_iter().filter(differs).collect();
        let change = MtuChange { link: *index, interface: link.name.clone(), peer, mtu: *mtu, ends };
        (!change.ends.is_empty()).then_some(change)
    };
    wanted.pod_mtus.iter().filter_map(change).collect()
}

struct NeighbourPlan {
    set: Vec<NeighbourChange>,
    delete: Vec<NeighbourChange>,
}

fn neighbours(wanted: &WantedHost, observed: &HostView) -> NeighbourPlan {
    let change = |neighbour: &PlaceholderNeighbour| NeighbourChange {
        neighbour: *neighbour,
        interface: link_name(observed, neighbour.link),
    };
    let same_place = |one: &PlaceholderNeighbour, two: &PlaceholderNeighbour| {
        (one.link, one.address) == (two.link, two.address)
    };
    let missing = wanted.neighbours.iter().filter(|wanted| !observed.neighbours.contains(wanted));
    let unwanted = observed
        .neighbours
        .iter()
        .filter(|found| !wanted.neighbours.iter().any(|one| same_place(one, found)));
    NeighbourPlan { set: missing.map(change).collect(), delete: unwanted.map(change).collect() }
}

#[derive(Default)]
struct RoutePlan {
    set: Vec<HostChange>,
    delete: Vec<RouteChange>,
    conflicts: Vec<HostConflict>,
}

/// What the kernel keeps one route for, as far as one program may have a say: a second route with the same
/// destination and metric replaces the first.
type Slot = (Prefix, u32);

fn routes(wanted: &WantedHost, observed: &HostView) -> RoutePlan {
    let change = |route: &KernelRoute| RouteChange {
        route: route.clone(),
        interface: route.link.and_then(|link| link_name(observed, link)),
    };
    let mut found: Vec<&KernelRoute> = observed.routes.iter().collect();
    found.sort_by_key(|route| slot(route));
    let mut slots: BTreeMap<Slot, &[&KernelRoute]> =
        found.chunk_by(|one, next| slot(one) == slot(next)).map(|same| (slot(same[0]), same)).collect();
    let mut plan = RoutePlan::default();
    for route in wanted.routes.values() {
        let route = KernelRoute { protocol: KernelRoute::PROTOCOL, ..route.as_reported() };
        let held = slots.remove(&slot(&route)).unwrap_or_default();
        // As in nearly all slots, nearly always.
        if matches!(held, [only] if only.is_same(&route)) {
            continue;
        }
        let mut holders = held.to_vec();
        let foreign = holders.iter().find(|holder| !is_our_route(holder)).copied();
        if let Some(found) = foreign {
            plan.conflicts.push(HostConflict::Route { wanted: change(&route), found: change(found) });
        }
        holders.retain(|holder| is_our_route(holder));
        if let Some(same) = holders.iter().position(|holder| holder.is_same(&route)) {
            holders.remove(same);
        } else if foreign.is_none() {
            plan.set.push(if holders.is_empty() {
                HostChange::AddRoute(change(&route))
            } else {
                holders.remove(0);
                HostChange::ReplaceRoute(change(&route))
            });
        }
        plan.delete.extend(holders.into_iter().map(change));
    }
    let left = slots.values().copied().flatten().copied();
    plan.delete.extend(left.filter(|route| is_our_route(route)).map(change));
    plan
}

fn slot(route: &KernelRoute) -> Slot {
    (route.destination, route.metric)
}

fn is_our_route(route: &KernelRoute) -> bool {
    route.protocol == KernelRoute::PROTOCOL
}

fn is_our_address(address: &InterfaceAddress) -> bool {
    address.label.as_deref() == Some(OwnAddress::LABEL)
}

fn link_name(observed: &HostView, index: u32) -> Option<String> {
    observed.link_by_index(index).map(|link| link.name.clone())
}

#[cfg(test)]
mod tests;
