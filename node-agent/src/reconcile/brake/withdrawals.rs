use std::collections::BTreeSet;

use node_ebpf_common::NextHopKind;

use crate::{
    model::{HostChange, HostView, KernelRoute, Prefix, RouteKind, Wanted},
    reconcile::{MapChange, ObservedDatapath},
};

/// Which routes these plans would take away although they lead somewhere: from the maps, or from the kernel's table
/// where no route for the prefix is wanted at all.
///
/// `at_home` are addresses of pods that the sources state, to be asked for only where it matters: a route for one of
/// these goes because the prefix around it leads to the right node by now. To hold it would keep the pod's packets on
/// the way to where it was before.
pub(in crate::reconcile) fn withdrawals(
    (maps, host): (&[MapChange], &[HostChange]),
    wanted: &Wanted,
    observed: Option<&ObservedDatapath>,
    view: &HostView,
    at_home: &dyn Fn() -> BTreeSet<Prefix>,
) -> BTreeSet<Prefix> {
    let up = links_up(view);
    let is_wanted = |prefix: &Prefix| {
        wanted.datapath.routes.contains_key(prefix) || wanted.host.routes.contains_key(prefix)
    };
    let from_maps = maps.iter().filter_map(|change| match change {
        MapChange::DeleteRoute { prefix } => {
            observed.filter(|observed| leads_somewhere(prefix, observed, &up)).map(|_| *prefix)
        }
        _ => None,
    });
    let from_kernel = host.iter().filter_map(|change| match change {
        HostChange::DeleteRoute(change) if is_usable(&change.route, &up) => Some(change.route.destination),
        _ => None,
    });
    let mut withdrawn: BTreeSet<Prefix> =
        from_maps.chain(from_kernel).filter(|prefix| !is_wanted(prefix)).collect();
    if withdrawn.iter().any(Prefix::is_host) {
        let at_home = at_home();
        withdrawn.retain(|prefix| !at_home.contains(prefix));
    }
    withdrawn
}

/// How many prefixes have a route of ours that leads somewhere, in either plane.
pub(in crate::reconcile) fn in_place(observed: Option<&ObservedDatapath>, view: &HostView) -> usize {
    let up = links_up(view);
    let in_maps = observed.into_iter().flat_map(|observed| {
        observed.routes.keys().filter(|prefix| leads_somewhere(prefix, observed, &up)).copied()
    });
    let ours = view.routes.iter().filter(|route| route.protocol == KernelRoute::PROTOCOL);
    let in_kernel = ours.filter(|route| is_usable(route, &up)).map(|route| route.destination);
    in_maps.chain(in_kernel).collect::<BTreeSet<_>>().len()
}

fn links_up(view: &HostView) -> BTreeSet<u32> {
    view.links.iter().filter(|link| link.up).map(|link| link.index).collect()
}

/// Whether the route in the maps for a prefix has a next hop whose interface is there and up.
fn leads_somewhere(prefix: &Prefix, observed: &ObservedDatapath, up: &BTreeSet<u32>) -> bool {
    let Some(route) = observed.routes.get(prefix) else { return false };
    let Some(next_hop) = observed.next_hops.get(&route.next_hop) else { return false };
    match NextHopKind::from_u32(next_hop.kind) {
        None | Some(NextHopKind::Unused) => false,
        Some(NextHopKind::Host | NextHopKind::Unassigned) => true,
        Some(NextHopKind::LocalPod | NextHopKind::Direct | NextHopKind::Ipip) => {
            let members = observed.groups.get(&next_hop.group).map(|group| group.buckets).unwrap_or_default();
            let members = members.iter().filter_map(|index| observed.next_hops.get(index));
            members.chain([next_hop]).any(|way| up.contains(&way.interface))
        }
    }
}

fn is_usable(route: &KernelRoute, up: &BTreeSet<u32>) -> bool {
    match route.kind {
        RouteKind::Blackhole => true,
        RouteKind::Unicast | RouteKind::Other => route.link.is_some_and(|link| up.contains(&link)),
    }
}
