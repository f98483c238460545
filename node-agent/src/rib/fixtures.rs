//! Cluster states for tests.

use crate::model::{Node, Object, Origin, Pod, Route, SourceEvent, SourceId, SourceUpdate};

/// Where the object with this name stands.
pub(crate) fn origin(name: &str) -> Origin {
    Origin { source: SourceId::FILE, place: format!("cluster.yaml:{name}").into() }
}

/// A node with one address.
pub(crate) fn node(name: &str, address: &str, prefixes: &[&str]) -> Node {
    Node {
        name: name.parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        pod_prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect::<Vec<_>>().into(),
        origin: origin(name),
    }
}

/// A pod with one address, behind `veth-NAME`.
pub(crate) fn pod(name: &str, node: &str, address: &str) -> Pod {
    Pod {
        name: name.parse().unwrap(),
        node: node.parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        interface: format!("veth-{}", name.split_once('/').unwrap().1),
        mac: Some([2, 0, 0, 0, 1, 10]),
        origin: origin(name),
    }
}

/// A route to what is outside of the cluster.
pub(crate) fn outside(prefix: &str, next_hops: &[&str]) -> Route {
    Route {
        prefix: prefix.parse().unwrap(),
        next_hops: next_hops.iter().map(|next_hop| next_hop.parse().unwrap()).collect(),
        origin: origin(prefix),
    }
}

/// An upsert by the file source.
pub(crate) fn upsert(object: Object) -> SourceUpdate {
    SourceUpdate { source: SourceId::FILE, event: SourceEvent::Upsert(Box::new(object)) }
}

/// The same node, stated by this source.
pub(crate) fn stated_by(source: &SourceId, node: Node) -> Node {
    Node { origin: Origin { source: source.clone(), ..node.origin }, ..node }
}
