use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use super::{Candidate, ConflictKind, HeldPrefixes, Nodes, Notes};
use crate::{
    model::{Node, Prefix, Route},
    rib::Claimant,
};

/// Adds the routes to what is outside, where they are in nobody's way: they come after everything of the cluster.
pub(super) fn outside<'a>(
    stated: impl Iterator<Item = &'a Route>,
    (nodes, held): (&Nodes<'_>, &HeldPrefixes<'_>),
    routes: &mut BTreeMap<Prefix, Arc<Candidate>>,
    notes: &mut Notes<'_>,
) {
    let stated = by_prefix(stated, notes);
    if stated.is_empty() {
        return;
    }
    let addresses: BTreeMap<IpAddr, &Node> =
        nodes.values().flat_map(|node| node.addresses.iter().map(|address| (*address, *node))).collect();
    for (prefix, route) in stated {
        let candidate = Candidate::outside(route);
        let lost = around_a_node(prefix, &addresses)
            .or_else(|| routes.get(&prefix).map(|has| (Claimant::from(&**has), format!("it is {has}"))))
            .or_else(|| inside_pod_prefix(prefix, held));
        let Some((winner, why)) = lost else {
            routes.insert(prefix, Arc::new(candidate));
            continue;
        };
        let reason = format!("{why}, which comes before a route to what is outside");
        let text = format!("{prefix}, {candidate}, is not used: {reason}");
        notes.conflict((ConflictKind::RouteOverlapsCluster, &prefix), (winner, &candidate), text);
        notes.lose(prefix, candidate, reason);
    }
}

/// Each prefix once: the preferred source that states it wins.
fn by_prefix<'a>(
    stated: impl Iterator<Item = &'a Route>,
    notes: &mut Notes<'_>,
) -> BTreeMap<Prefix, &'a Route> {
    let mut used: BTreeMap<Prefix, &Route> = BTreeMap::new();
    for route in stated {
        match used.entry(route.prefix) {
            Entry::Vacant(free) => {
                free.insert(route);
            }
            Entry::Occupied(first) => {
                let name = format!("the route to {}", route.prefix);
                let claim = [(route.prefix, Candidate::outside(route))];
                notes.outranked((&name, &first.get().origin, &route.origin), claim);
            }
        }
    }
    used
}

/// Such a route could cut hosts off from the node, and with it from its tunnel end.
fn around_a_node(prefix: Prefix, addresses: &BTreeMap<IpAddr, &Node>) -> Option<(Claimant, String)> {
    let net = prefix.net();
    let (address, node) = addresses.range(net.network()..=net.broadcast()).next()?;
    Some((Claimant::from(*node), format!("it contains the address {address} of node {}", node.name)))
}

/// Such a route would take packets from pods that have no route of their own.
fn inside_pod_prefix(prefix: Prefix, held: &HeldPrefixes<'_>) -> Option<(Claimant, String)> {
    let (net, holder) = held.get_lpm(&prefix.net())?;
    Some((Claimant::from(*holder), format!("it is inside of the pod prefix {net} of node {}", holder.name)))
}
