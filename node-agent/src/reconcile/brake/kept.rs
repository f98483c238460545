use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    model::{HostChange, HostView, KernelRoute, PlaceholderNeighbour, Prefix},
    reconcile::{AttachmentPoint, AttachmentState, MapChange, ObservedDatapath},
};

/// Everything that held routes need, so that they go on leading where they do: their next hops, what belongs to the
/// interfaces that these leave through, and the addresses and neighbours that the kernel's routes name.
#[derive(Debug, Default)]
pub(in crate::reconcile) struct Kept {
    prefixes: BTreeSet<Prefix>,
    next_hops: BTreeSet<u32>,
    groups: BTreeSet<u32>,
    links: BTreeSet<u32>,
    sources: BTreeSet<IpAddr>,
    stand_ins: BTreeSet<u32>,
    /// Where programs of another layout run, if only their maps have some of the routes.
    old_programs: BTreeSet<AttachmentPoint>,
}

impl Kept {
    /// What these routes need.
    pub(in crate::reconcile) fn of(
        prefixes: BTreeSet<Prefix>,
        observed: Option<&ObservedDatapath>,
        view: &HostView,
    ) -> Self {
        if prefixes.is_empty() {
            return Self::default();
        }
        let mut kept = Self { prefixes, ..Self::default() };
        if let Some(observed) = observed {
            let routes = kept.prefixes.iter().filter_map(|prefix| observed.routes.get(prefix));
            kept.next_hops = routes.map(|route| route.next_hop).collect();
            let owners = kept.next_hops.iter().filter_map(|index| observed.next_hops.get(index));
            kept.groups = owners.map(|owner| owner.group).filter(|group| *group != 0).collect();
            let groups = kept.groups.iter().filter_map(|index| observed.groups.get(index));
            kept.next_hops.extend(groups.flat_map(|group| group.buckets));
            let next_hops = kept.next_hops.iter().filter_map(|index| observed.next_hops.get(index));
            kept.links = next_hops.map(|next_hop| next_hop.interface).collect();
            kept.old_programs = old_programs(&kept.prefixes, observed);
        }
        let ours = view.routes.iter().filter(|route| route.protocol == KernelRoute::PROTOCOL);
        for route in ours.filter(|route| kept.prefixes.contains(&route.destination)) {
            kept.links.extend(route.link);
            kept.sources.extend(route.source);
            if route.gateway == Some(IpAddr::V6(PlaceholderNeighbour::ADDRESS)) {
                kept.stand_ins.extend(route.link);
            }
        }
        kept
    }

    /// Whether this change to maps and hooks takes away nothing of it.
    pub(in crate::reconcile) fn allows_map(&self, change: &MapChange) -> bool {
        match change {
            MapChange::DeleteRoute { prefix } => !self.prefixes.contains(prefix),
            MapChange::FreeNextHop { index } => !self.next_hops.contains(index),
            MapChange::FreeGroup { index } => !self.groups.contains(index),
            MapChange::DeleteEndpoint { link } => !self.links.contains(link),
            MapChange::Detach(at) => !self.links.contains(&at.link) && !self.old_programs.contains(at),
            MapChange::Attach(at) => !self.old_programs.contains(&at.into()),
            MapChange::RemoveLayout { .. } => self.old_programs.is_empty(),
            MapChange::SetSettings(_)
            | MapChange::SetNextHop { .. }
            | MapChange::SetGroup { .. }
            | MapChange::SetEndpoint { .. }
            | MapChange::SetRoute { .. } => true,
        }
    }

    /// Whether this change to the kernel's tables takes away nothing of it.
    pub(in crate::reconcile) fn allows_host(&self, change: &HostChange) -> bool {
        match change {
            HostChange::DeleteRoute(change) => !self.prefixes.contains(&change.route.destination),
            HostChange::DeleteNeighbour(change) => !self.stand_ins.contains(&change.neighbour.link),
            // The kernel removes an address's routes with it.
            HostChange::DeleteAddress(change) => !self.sources.contains(&change.address.addr()),
            HostChange::Set(_)
            | HostChange::AddAddress(_)
            | HostChange::SetNeighbour(_)
            | HostChange::AddRoute(_)
            | HostChange::ReplaceRoute(_)
            | HostChange::SetMtu(_) => true,
        }
    }
}

/// Programs that must not be replaced for now. After an upgrade to another layout our own maps are filled with what is
/// wanted, which held routes are not: only the maps of the layout before have them, and only its programs read these.
fn old_programs(prefixes: &BTreeSet<Prefix>, observed: &ObservedDatapath) -> BTreeSet<AttachmentPoint> {
    let all_here = prefixes.iter().all(|prefix| observed.routes.contains_key(prefix));
    if all_here || observed.other_layouts.is_empty() {
        return BTreeSet::new();
    }
    let stale = observed.attachments.iter().filter(|(_, state)| **state == AttachmentState::Stale);
    stale.map(|(at, _)| *at).collect()
}
