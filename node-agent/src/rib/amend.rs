//! A shortcut for the change that is most frequent in a large cluster: one remote node gets or loses pod prefixes,
//! and nothing else has to do with these. What it comes to is found without looking at all the others.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Resolved, Role, Selection, Table, resolve::around};
use crate::model::{AddressFamily, KernelRoute, Node, Prefix, WantedRoute};

/// What a change of one node comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amendment {
    /// Routes that are new.
    pub added: Vec<NewRoute>,
    /// Routes that are no more.
    pub removed: Vec<GoneRoute>,
}

/// A route that is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoute {
    /// Its prefix.
    pub prefix: Prefix,
    /// Where it leads.
    pub route: WantedRoute,
    /// A prefix whose route leads to the same next hop already.
    pub like: Prefix,
    /// The same for the kernel's table.
    pub kernel: KernelRoute,
}

/// A route that is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneRoute {
    /// Its prefix.
    pub prefix: Prefix,
    /// The one in the kernel's table.
    pub kernel: KernelRoute,
}

/// What the change of a node from `before` to `now` comes to, if it changes nothing but prefixes that no other object
/// and no network of the host has to do with: what [`super::select`] and [`super::resolve`] would make of it, except
/// for the places that problems name. Nothing if that is not sure: then these have to find out.
///
/// `table` holds `now`; selection and resolution are of the table with `before` instead. `foreign` are the
/// destinations of the host's routes that are not ours.
#[must_use]
pub fn amendment(
    (before, now): (&Node, &Node),
    table: &Table,
    (selection, resolved): (&Selection, &Resolved),
    foreign: &BTreeSet<Prefix>,
) -> Option<Amendment> {
    let used = selection.nodes.get(&now.name) == Some(before) && before.addresses == now.addresses;
    let keeps_first = AddressFamily::ALL.iter().all(|family| first(before, *family) == first(now, *family));
    if resolved.hold || !used || !keeps_first {
        return None;
    }
    let (old, new): (BTreeSet<Prefix>, BTreeSet<Prefix>) =
        (before.pod_prefixes.iter().copied().collect(), now.pod_prefixes.iter().copied().collect());
    // A prefix that stands twice is told twice.
    if old.len() != before.pod_prefixes.len() || new.len() != now.pod_prefixes.len() {
        return None;
    }
    let added = new.difference(&old).map(|prefix| {
        let clear = stands_alone(*prefix, selection)
            && !selection.routes.contains_key(prefix)
            && foreign.range(prefix.inside()).next().is_none();
        clear.then(|| like_the_first(*prefix, now, selection, resolved)).flatten()
    });
    let added = added.collect::<Option<Vec<NewRoute>>>()?;
    let removed = old.difference(&new).map(|prefix| {
        let held = is_held(*prefix, now, selection) && resolved.wanted.datapath.routes.contains_key(prefix);
        let clear = held && stands_alone(*prefix, selection) && !has_pods(*prefix, table);
        let kernel = resolved.wanted.host.routes.get(prefix).filter(|_| clear)?.clone();
        Some(GoneRoute { prefix: *prefix, kernel })
    });
    let removed = removed.collect::<Option<Vec<GoneRoute>>>()?;
    Some(Amendment { added, removed })
}

impl Amendment {
    /// Puts selection and resolution in step with a change that came to this. Of the node's place, which may be
    /// another now, the next call of [`super::select`] tells.
    pub fn apply(&self, now: &Node, selection: &mut Selection, resolved: &mut Resolved) {
        let wanted = &mut resolved.wanted;
        for NewRoute { prefix, route, like, kernel } in &self.added {
            if let Some(candidate) = selection.routes.get(like).cloned() {
                selection.routes.insert(*prefix, candidate);
            }
            wanted.datapath.routes.insert(*prefix, route.clone());
            wanted.host.routes.insert(*prefix, kernel.clone());
        }
        for GoneRoute { prefix, .. } in &self.removed {
            selection.routes.remove(prefix);
            wanted.datapath.routes.remove(prefix);
            wanted.host.routes.remove(prefix);
        }
        selection.nodes.insert(now.name.clone(), now.clone());
    }
}

/// The first pod prefix of a family, in which the node's host takes its address.
fn first(node: &Node, family: AddressFamily) -> Option<Prefix> {
    node.pod_prefixes.iter().copied().find(|prefix| prefix.family() == family)
}

/// Whether the prefix is used as this node's.
fn is_held(prefix: Prefix, node: &Node, selection: &Selection) -> bool {
    let candidate = selection.routes.get(&prefix);
    candidate.is_some_and(|candidate| {
        candidate.role == Role::PodPrefix && candidate.node.as_ref() == Some(&node.name)
    })
}

/// Whether nobody else claims the prefix, and no route is inside of it or around it. Then no address in it has to do
/// with anybody: nodes' own addresses have routes, their hosts' addresses are inside of prefixes that have, and so
/// are pods' addresses that have none of their own.
fn stands_alone(prefix: Prefix, selection: &Selection) -> bool {
    let routes = &selection.routes;
    let mut around = around(prefix).rev().skip(1);
    // Losers inside of it may have lost because of it.
    selection.losers.range(prefix.inside()).next().is_none()
        && routes.range(prefix.inside()).all(|(inside, _)| *inside == prefix)
        && !around.any(|around| routes.contains_key(&around))
}

/// Whether pods have addresses in a prefix: without it these would need routes of their own.
fn has_pods(prefix: Prefix, table: &Table) -> bool {
    table.pods().any(|pod| pod.addresses.iter().any(|address: &IpAddr| prefix.contains(*address)))
}

/// A route to where the node's first prefix of the same family leads.
fn like_the_first(
    prefix: Prefix,
    node: &Node,
    selection: &Selection,
    resolved: &Resolved,
) -> Option<NewRoute> {
    let like = first(node, prefix.family()).filter(|like| is_held(*like, node, selection))?;
    let wanted = &resolved.wanted;
    let route = wanted.datapath.routes.get(&like)?.clone();
    let kernel = KernelRoute { destination: prefix, ..wanted.host.routes.get(&like)?.clone() };
    Some(NewRoute { prefix, route, like, kernel })
}

#[cfg(test)]
mod tests;
