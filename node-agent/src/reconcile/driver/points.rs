use crate::{fault::Point, reconcile::MapChange};

/// The point at which a test may end the agent before a change.
pub(super) fn before(change: &MapChange) -> Point {
    match change {
        MapChange::SetSettings(_) => Point::Settings,
        MapChange::SetNextHop { .. } | MapChange::SetGroup { .. } => Point::NextHop,
        MapChange::SetEndpoint { .. } => Point::Endpoint,
        MapChange::SetRoute { .. } => Point::Route,
        MapChange::Attach(_) => Point::Attach,
        MapChange::Detach(_) => Point::Detach,
        MapChange::DeleteEndpoint { .. } => Point::EndpointGone,
        MapChange::DeleteRoute { .. } => Point::RouteGone,
        MapChange::FreeNextHop { .. } | MapChange::FreeGroup { .. } => Point::NextHopFreed,
        MapChange::RemoveLayout { .. } => Point::LayoutGone,
    }
}
