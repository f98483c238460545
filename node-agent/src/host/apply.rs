//! Changes the host's network.

use std::collections::BTreeMap;

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

use super::{
    Host, HostError,
    address_message::encode_address,
    exchange::{Exchange, Request, TOGETHER},
    mtu,
    neighbour_message::encode_neighbour,
    observe::read_routes,
    route_message::{encode_delete_route, encode_new_route},
    session::NetlinkError,
};
use crate::{
    fault::{self, Point},
    model::{HostChange, KernelRoute, Prefix},
};

impl Host {
    /// Makes changes in their order, many at a time on their way to the kernel. One result for each change,
    /// at its place: one that fails does not stop the others.
    ///
    /// # Errors
    ///
    /// If no netlink socket can be opened: then nothing was done. Or if a route could not be added because
    /// there is one, and the routes cannot be read to see whether it is the same: observe anew.
    pub async fn apply_all(&self, changes: &[HostChange]) -> Result<Vec<Result<(), HostError>>, HostError> {
        let mut exchange = Exchange::open().map_err(HostError::Socket)?;
        let namespaces = mtu::namespaces(changes);
        let mut results = Vec::with_capacity(changes.len());
        for run in changes.chunk_by(|one, next| is_request(one) && is_request(next)) {
            for together in run.chunks(TOGETHER) {
                fault::point(point_of(together));
                match together {
                    [HostChange::Set(setting)] => results.push(self.sysctls.set(setting)),
                    [HostChange::SetMtu(change)] => results.push(mtu::set(change, &namespaces)),
                    _ => results.extend(ask(&mut exchange, together)),
                }
                // The kernel works while we send: others want their turn.
                tokio::task::yield_now().await;
            }
        }
        if changes.iter().zip(&results).any(|(change, result)| is_taken(change, result)) {
            forgive_done_before(changes, &mut results, &read_routes(&mut exchange).await?);
        }
        Ok(results)
    }
}

/// The point at which a test may end the agent before these changes.
fn point_of(changes: &[HostChange]) -> Point {
    match changes {
        [HostChange::Set(_)] => Point::Sysctl,
        [HostChange::SetMtu(_)] => Point::PodMtu,
        _ => Point::Netlink,
    }
}

/// Whether a change is a netlink request.
fn is_request(change: &HostChange) -> bool {
    !matches!(change, HostChange::Set(_) | HostChange::SetMtu(_))
}

/// Asks the kernel for changes in their order; what became of each, at its place.
fn ask(exchange: &mut Exchange, changes: &[HostChange]) -> Vec<Result<(), HostError>> {
    let requests: Vec<Option<Request>> = changes.iter().map(request).collect();
    let known: Vec<Request> = requests.iter().flatten().cloned().collect();
    let mut answers = exchange.change(&known).into_iter();
    let result = |(change, request): (&HostChange, Option<Request>)| {
        let Some(_) = request else { return Err(HostError::UnsupportedKind(Box::new(change.clone()))) };
        match answers.next() {
            Some(Err(reason)) if !is_done(change, &reason) => {
                Err(HostError::Change { change: Box::new(change.clone()), reason })
            }
            _ => Ok(()),
        }
    };
    changes.iter().zip(requests).map(result).collect()
}

/// The request for a change and its flags; nothing for what is no netlink request.
fn request(change: &HostChange) -> Option<(RouteNetlinkMessage, u16)> {
    let add = NLM_F_CREATE | NLM_F_EXCL;
    Some(match change {
        HostChange::Set(_) | HostChange::SetMtu(_) => return None,
        HostChange::AddAddress(address) => (RouteNetlinkMessage::NewAddress(encode_address(address)), add),
        // Replacing: the kernel itself may have begun to look for it. Nobody else uses this address.
        HostChange::SetNeighbour(set) => {
            let flags = NLM_F_CREATE | NLM_F_REPLACE;
            (RouteNetlinkMessage::NewNeighbour(encode_neighbour(&set.neighbour)), flags)
        }
        HostChange::DeleteNeighbour(deleted) => {
            (RouteNetlinkMessage::DelNeighbour(encode_neighbour(&deleted.neighbour)), 0)
        }
        // Without replacing: another program may have put its route there since we looked.
        HostChange::AddRoute(added) => (RouteNetlinkMessage::NewRoute(encode_new_route(&added.route)?), add),
        HostChange::ReplaceRoute(replaced) => {
            let flags = NLM_F_CREATE | NLM_F_REPLACE;
            (RouteNetlinkMessage::NewRoute(encode_new_route(&replaced.route)?), flags)
        }
        HostChange::DeleteRoute(deleted) => {
            (RouteNetlinkMessage::DelRoute(encode_delete_route(&deleted.route)), 0)
        }
        HostChange::DeleteAddress(address) => (RouteNetlinkMessage::DelAddress(encode_address(address)), 0),
    })
}

/// Whether the kernel refused because there is nothing left to do.
fn is_done(change: &HostChange, reason: &NetlinkError) -> bool {
    let Some(errno) = reason.errno() else { return false };
    match change {
        HostChange::AddAddress(_) => errno == Errno::EEXIST,
        HostChange::DeleteRoute(_) => matches!(errno, Errno::ESRCH | Errno::ENODEV),
        HostChange::DeleteNeighbour(_) => matches!(errno, Errno::ENOENT | Errno::ENODEV),
        HostChange::DeleteAddress(_) => matches!(errno, Errno::EADDRNOTAVAIL | Errno::ENODEV),
        HostChange::Set(_)
        | HostChange::SetMtu(_)
        | HostChange::SetNeighbour(_)
        | HostChange::AddRoute(_)
        | HostChange::ReplaceRoute(_) => false,
    }
}

/// Whether a route could not be added because there is one in its place: another program's, or this one.
fn is_taken(change: &HostChange, result: &Result<(), HostError>) -> bool {
    matches!(change, HostChange::AddRoute(_))
        && matches!(result, Err(HostError::Change { reason, .. }) if reason.errno() == Some(Errno::EEXIST))
}

/// Adding a route is no failure if the kernel holds exactly that route already.
fn forgive_done_before(
    changes: &[HostChange],
    results: &mut [Result<(), HostError>],
    observed: &[KernelRoute],
) {
    let mut by_destination: BTreeMap<Prefix, Vec<&KernelRoute>> = BTreeMap::new();
    for route in observed {
        by_destination.entry(route.destination).or_default().push(route);
    }
    for (change, result) in changes.iter().zip(results) {
        if let HostChange::AddRoute(added) = change
            && is_taken(change, result)
        {
            let route = KernelRoute { protocol: KernelRoute::PROTOCOL, ..added.route.as_reported() };
            if by_destination
                .get(&route.destination)
                .is_some_and(|held| held.iter().any(|held| held.is_same(&route)))
            {
                *result = Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AddressChange, NeighbourChange, PlaceholderNeighbour, RouteChange, RouteKind, Setting,
    };

    fn route(kind: RouteKind) -> RouteChange {
        RouteChange {
            route: KernelRoute {
                destination: "10.244.1.0/24".parse().unwrap(),
                kind,
                link: None,
                gateway: None,
                onlink: false,
                source: None,
                mtu: None,
                protocol: 4,
                metric: 0,
                legs: None,
            },
            interface: None,
        }
    }

    fn address() -> AddressChange {
        AddressChange { link: 1, interface: None, address: "10.244.1.1/32".parse().unwrap() }
    }

    #[test]
    fn only_replacing_may_replace() {
        let flags = |change: HostChange| request(&change).map(|(_, flags)| flags);
        let add = Some(NLM_F_CREATE | NLM_F_EXCL);
        assert_eq!(flags(HostChange::AddRoute(route(RouteKind::Blackhole))), add);
        assert_eq!(flags(HostChange::AddAddress(address())), add);
        let replace = Some(NLM_F_CREATE | NLM_F_REPLACE);
        assert_eq!(flags(HostChange::ReplaceRoute(route(RouteKind::Blackhole))), replace);
        assert_eq!(flags(HostChange::DeleteRoute(route(RouteKind::Other))), Some(0));
        assert_eq!(flags(HostChange::AddRoute(route(RouteKind::Other))), None);
        let neighbour = NeighbourChange { neighbour: PlaceholderNeighbour::on(2), interface: None };
        assert_eq!(flags(HostChange::SetNeighbour(neighbour)), replace);
        assert_eq!(flags(HostChange::Set(Setting::ForwardingV4)), None);
    }

    #[test]
    fn what_is_gone_or_there_already_is_done() {
        let refused = |errno| NetlinkError::Refused { errno, detail: None };
        let delete = HostChange::DeleteRoute(route(RouteKind::Blackhole));
        assert!(is_done(&delete, &refused(Errno::ESRCH)));
        assert!(!is_done(&delete, &refused(Errno::EPERM)));
        assert!(!is_done(&delete, &NetlinkError::NoAnswer));
        assert!(is_done(&HostChange::DeleteAddress(address()), &refused(Errno::EADDRNOTAVAIL)));
        let neighbour = NeighbourChange { neighbour: PlaceholderNeighbour::on(2), interface: None };
        assert!(is_done(&HostChange::DeleteNeighbour(neighbour.clone()), &refused(Errno::ENOENT)));
        assert!(!is_done(&HostChange::SetNeighbour(neighbour), &refused(Errno::ENOENT)));
        assert!(is_done(&HostChange::AddAddress(address()), &refused(Errno::EEXIST)));
        // It may be another program's: that must be looked at.
        let add = HostChange::AddRoute(route(RouteKind::Blackhole));
        assert!(!is_done(&add, &refused(Errno::EEXIST)));
        let result = Err(HostError::Change { change: Box::new(add.clone()), reason: refused(Errno::EEXIST) });
        assert!(is_taken(&add, &result));
        assert!(!is_taken(&delete, &result));
    }

    #[test]
    fn route_that_is_there_already_was_added() {
        let add = HostChange::AddRoute(route(RouteKind::Blackhole));
        let ours = KernelRoute { protocol: KernelRoute::PROTOCOL, ..route(RouteKind::Blackhole).route };
        let theirs = KernelRoute { protocol: 4, ..ours.clone() };
        let other = KernelRoute { kind: RouteKind::Unicast, link: Some(2), ..ours.clone() };
        for (held, forgiven) in
            [(vec![ours], true), (vec![theirs], false), (vec![other], false), (vec![], false)]
        {
            let reason = NetlinkError::Refused { errno: Errno::EEXIST, detail: None };
            let mut results = [Err(HostError::Change { change: Box::new(add.clone()), reason })];
            forgive_done_before(std::slice::from_ref(&add), &mut results, &held);
            assert_eq!(results[0].is_ok(), forgiven, "{held:?}");
        }
    }
}
