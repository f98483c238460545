use std::collections::BTreeMap;

use super::ClusterState;
use crate::model::{Node, Object, ObjectKey, Pod, Route, SourceEvent};

/// What has changed from one state to the next, and nothing else: an object that only stands in another
/// line has not changed. What is new comes before what is gone, so that nothing is without a route while
/// it moves from one object to another.
#[must_use]
pub fn diff(old: &ClusterState, new: &ClusterState) -> Vec<SourceEvent> {
    let mut events = Vec::new();
    let settings = new.cluster.filter(|cluster| old.cluster != Some(*cluster));
    events.extend(settings.map(|cluster| upsert(Object::Cluster(cluster))));
    let nodes = changed(&old.nodes, &new.nodes, same_node);
    events.extend(nodes.map(|node| upsert(Object::Node(node.clone()))));
    let pods = changed(&old.pods, &new.pods, same_pod);
    events.extend(pods.map(|pod| upsert(Object::Pod(pod.clone()))));
    let routes = changed(&old.routes, &new.routes, same_route);
    events.extend(routes.map(|route| upsert(Object::Route(route.clone()))));
    let routes = old.routes.keys().filter(|prefix| !new.routes.contains_key(prefix));
    events.extend(routes.map(|prefix| SourceEvent::Withdraw(ObjectKey::Route(*prefix))));
    let pods = old.pods.keys().filter(|name| !new.pods.contains_key(name));
    events.extend(pods.map(|name| SourceEvent::Withdraw(ObjectKey::Pod(name.clone()))));
    let nodes = old.nodes.keys().filter(|name| !new.nodes.contains_key(name));
    events.extend(nodes.map(|name| SourceEvent::Withdraw(ObjectKey::Node(name.clone()))));
    if old.cluster.is_some() && new.cluster.is_none() {
        events.push(SourceEvent::Withdraw(ObjectKey::Cluster));
    }
    events
}

/// Everything in the state, as if nothing had been told before.
#[must_use]
pub fn everything(state: &ClusterState) -> Vec<SourceEvent> {
    let nodes = state.nodes.values().map(|node| upsert(Object::Node(node.clone())));
    let pods = state.pods.values().map(|pod| upsert(Object::Pod(pod.clone())));
    let routes = state.routes.values().map(|route| upsert(Object::Route(route.clone())));
    let settings = state.cluster.map(|cluster| upsert(Object::Cluster(cluster)));
    settings.into_iter().chain(nodes).chain(pods).chain(routes).collect()
}

fn upsert(object: Object) -> SourceEvent {
    SourceEvent::Upsert(Box::new(object))
}

fn changed<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
    same: fn(&V, &V) -> bool,
) -> impl Iterator<Item = &'a V> {
    new.iter()
        .filter(move |(key, value)| !old.get(key).is_some_and(|old| same(old, value)))
        .map(|entry| entry.1)
}

/// Whether two nodes are the same but for where they stand.
pub(super) fn same_node(one: &Node, two: &Node) -> bool {
    // Taken apart, so that a new field cannot be forgotten here.
    let Node { name, addresses, pod_prefixes, origin: _ } = one;
    (name, addresses, pod_prefixes) == (&two.name, &two.addresses, &two.pod_prefixes)
}

/// Whether two pods are the same but for where they stand.
pub(super) fn same_pod(one: &Pod, two: &Pod) -> bool {
    let Pod { name, node, addresses, interface, mac, origin: _ } = one;
    (name, node, addresses, interface, mac)
        == (&two.name, &two.node, &two.addresses, &two.interface, &two.mac)
}

/// Whether two routes are the same but for where they stand.
pub(super) fn same_route(one: &Route, two: &Route) -> bool {
    let Route { prefix, next_hops, origin: _ } = one;
    (prefix, next_hops) == (&two.prefix, &two.next_hops)
}
