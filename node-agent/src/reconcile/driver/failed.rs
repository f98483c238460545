//! What has failed in a pass, and what has to wait for it.

use crate::reconcile::{MapChange, ObservedDatapath};

/// Changes that failed in this pass, or before and are not due, or wait for one of these.
#[derive(Debug, Default)]
pub(super) struct Failed {
    /// Those that are no route.
    changes: Vec<MapChange>,
    /// Whether a route could not be written. Not which: there may be very many, and what waits for one waits for all.
    route: bool,
    /// Whether one could not be written although there is room.
    route_despite_room: bool,
}

impl Failed {
    /// Notes a change; `full` tells that there was no room for it.
    pub(super) fn push(&mut self, change: &MapChange, full: bool) {
        match change {
            MapChange::SetRoute { .. } => {
                self.route = true;
                self.route_despite_room |= !full;
            }
            change => self.changes.push(change.clone()),
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        !self.route && self.changes.is_empty()
    }

    /// Whether a change relies on one of them: what names on what is named, and nothing is taken away while something
    /// that replaces it may be missing. Other changes do not wait: one broken interface holds up no route. Where there is
    /// no room, routes go first: what is missing then is in the kernel's own table.
    pub(super) fn holds_up(&self, change: &MapChange, observed: &ObservedDatapath) -> bool {
        let by_routes = match change {
            MapChange::DeleteRoute { .. } => self.route_despite_room,
            MapChange::FreeNextHop { .. } | MapChange::FreeGroup { .. } => self.route,
            // A program that could not be replaced may use them, and an attachment waits without failing.
            MapChange::RemoveLayout { .. } => !self.is_empty(),
            _ => false,
        };
        by_routes || self.changes.iter().any(|failed| relies_on(change, failed, observed))
    }
}

fn relies_on(change: &MapChange, failed: &MapChange, observed: &ObservedDatapath) -> bool {
    match (change, failed) {
        (MapChange::SetRoute { route, .. }, MapChange::SetNextHop { index, .. }) => route.next_hop == *index,
        (MapChange::SetGroup { group, .. }, MapChange::SetNextHop { index, .. }) => {
            group.buckets.contains(index)
        }
        (MapChange::SetNextHop { next_hop, .. }, MapChange::SetGroup { index, .. }) => {
            next_hop.group == *index
        }
        (MapChange::Attach(at), MapChange::SetEndpoint { link, .. }) => at.link == *link,
        (MapChange::DeleteEndpoint { link }, MapChange::Detach(at)) => at.link == *link,
        (MapChange::FreeNextHop { index }, MapChange::DeleteRoute { prefix }) => {
            observed.routes.get(prefix).is_some_and(|route| route.next_hop == *index)
        }
        (
            MapChange::DeleteRoute { .. } | MapChange::FreeNextHop { .. } | MapChange::FreeGroup { .. },
            MapChange::SetNextHop { .. } | MapChange::SetGroup { .. },
        ) => true,
        // Whether its owner or, in turn, its members: what names it is still there.
        (
            MapChange::FreeGroup { .. } | MapChange::FreeNextHop { .. },
            MapChange::FreeGroup { .. } | MapChange::FreeNextHop { .. },
        ) => names(failed, change, observed),
        _ => false,
    }
}

/// Whether what stays because `failed` could not be removed names what `change` removes.
fn names(failed: &MapChange, change: &MapChange, observed: &ObservedDatapath) -> bool {
    match (failed, change) {
        (MapChange::FreeNextHop { index: owner }, MapChange::FreeGroup { index }) => {
            observed.next_hops.get(owner).is_some_and(|owner| owner.group == *index)
        }
        (MapChange::FreeGroup { index: group }, MapChange::FreeNextHop { index }) => {
            observed.groups.get(group).is_some_and(|group| group.buckets.contains(index))
        }
        _ => false,
    }
}
