use std::path::Path;

use proptest::{collection::btree_map, option, prelude::*, sample::select};

use super::super::{
    diff::{same_node, same_pod, same_route},
    reader::Reader,
    *,
};
use crate::model::{EncapsulationMode, Object, ObjectKey, Origin, SourceEvent, SourceId};

/// What a listener holds after these events.
fn apply(state: &mut ClusterState, events: Vec<SourceEvent>) {
    for event in events {
        match event {
            SourceEvent::Upsert(object) => match *object {
                Object::Cluster(cluster) => state.cluster = Some(cluster),
                Object::Node(node) => drop(state.nodes.insert(node.name.clone(), node)),
                Object::Pod(pod) => drop(state.pods.insert(pod.name.clone(), pod)),
                Object::Route(route) => drop(state.routes.insert(route.prefix, route)),
            },
            SourceEvent::Withdraw(ObjectKey::Node(name)) => assert!(state.nodes.remove(&name).is_some()),
            SourceEvent::Withdraw(ObjectKey::Pod(name)) => assert!(state.pods.remove(&name).is_some()),
            SourceEvent::Withdraw(ObjectKey::Route(prefix)) => {
                assert!(state.routes.remove(&prefix).is_some())
            }
            SourceEvent::Withdraw(ObjectKey::Cluster) => assert!(state.cluster.take().is_some()),
            other => panic!("{other:?}"),
        }
    }
}

/// Whether the two say the same, wherever it stands.
fn same(one: &ClusterState, two: &ClusterState) -> bool {
    one.cluster == two.cluster
        && one.nodes.keys().eq(two.nodes.keys())
        && one.nodes.values().zip(two.nodes.values()).all(|(a, b)| same_node(a, b))
        && one.pods.keys().eq(two.pods.keys())
        && one.pods.values().zip(two.pods.values()).all(|(a, b)| same_pod(a, b))
        && one.routes.keys().eq(two.routes.keys())
        && one.routes.values().zip(two.routes.values()).all(|(a, b)| same_route(a, b))
}

fn origins() -> impl Strategy<Value = Origin> {
    (1_u8..4).prop_map(|line| Origin { source: SourceId::FILE, place: format!("c:{line}").into() })
}

fn nodes() -> impl Strategy<Value = Node> {
    (1_u8..3, option::of(0_u8..3), origins()).prop_map(|(address, prefix, origin)| Node {
        name: "unnamed".parse().unwrap(),
        addresses: vec![[10, 0, 0, address].into()],
        pod_prefixes: prefix
            .into_iter()
            .map(|p| format!("10.244.{p}.0/24").parse().unwrap())
            .collect::<Vec<_>>()
            .into(),
        origin,
    })
}

fn pods() -> impl Strategy<Value = Pod> {
    (1_u8..3, 1_u8..3, any::<bool>(), option::of(Just([2; 6])), origins()).prop_map(
        |(node, address, interface, mac, origin)| Pod {
            name: "un/named".parse().unwrap(),
            node: format!("n{node}").parse().unwrap(),
            addresses: vec![[10, 244, 0, address].into()],
            interface: format!("v{interface}"),
            mac,
            origin,
        },
    )
}

fn routes() -> impl Strategy<Value = Route> {
    (1_u8..4, origins()).prop_map(|(next_hop, origin)| Route {
        prefix: "192.0.2.0/24".parse().unwrap(),
        next_hops: [[10, 0, 0, next_hop].into()].into(),
        origin,
    })
}

/// Small ranges, so that two states often share objects and often differ in just a field.
fn states() -> impl Strategy<Value = ClusterState> {
    let modes = [None, Some(EncapsulationMode::Always), Some(EncapsulationMode::CrossSubnet)];
    let encapsulation = select(modes.to_vec());
    let (nodes, pods) = (btree_map(0_u8..4, nodes(), 0..4), btree_map(0_u8..4, pods(), 0..4));
    (encapsulation, nodes, pods, btree_map(0_u8..4, routes(), 0..4)).prop_map(
        |(encapsulation, nodes, pods, routes)| {
            let settings = |encapsulation| Cluster { encapsulation, ..Cluster::default() };
            let cluster = encapsulation.map(settings);
            let mut state = ClusterState { cluster, ..ClusterState::default() };
            for (key, node) in nodes {
                let name: NodeName = format!("n{key}").parse().unwrap();
                state.nodes.insert(name.clone(), Node { name, ..node });
            }
            for (key, pod) in pods {
                let name: PodName = format!("d/p{key}").parse().unwrap();
                state.pods.insert(name.clone(), Pod { name, ..pod });
            }
            for (key, route) in routes {
                let prefix: Prefix = format!("192.0.{key}.0/24").parse().unwrap();
                state.routes.insert(prefix, Route { prefix, ..route });
            }
            state
        },
    )
}

proptest! {
    #[test]
    fn the_difference_leads_from_the_old_to_the_new_state(old in states(), new in states()) {
        let mut state = old.clone();
        apply(&mut state, diff(&old, &new));
        prop_assert!(same(&state, &new), "{state:?}");
    }

    #[test]
    fn everything_leads_from_nothing_to_the_state(new in states()) {
        let mut state = ClusterState::default();
        apply(&mut state, everything(&new));
        prop_assert_eq!(state, new);
    }

    /// One event for each object that differs, none for one that does not.
    #[test]
    fn only_what_has_changed_is_told(old in states(), new in states()) {
        for event in diff(&old, &new) {
            match event {
                SourceEvent::Upsert(object) => match *object {
                    Object::Cluster(cluster) => prop_assert_ne!(Some(cluster), old.cluster),
                    Object::Node(node) => {
                        prop_assert!(old.nodes.get(&node.name).is_none_or(|old| !same_node(old, &node)));
                        // With the place where it stands now.
                        prop_assert_eq!(&new.nodes[&node.name], &node);
                    }
                    Object::Pod(pod) => {
                        prop_assert!(old.pods.get(&pod.name).is_none_or(|old| !same_pod(old, &pod)));
                        prop_assert_eq!(&new.pods[&pod.name], &pod);
                    }
                    Object::Route(route) => {
                        prop_assert!(old.routes.get(&route.prefix).is_none_or(|old| !same_route(old, &route)));
                        prop_assert_eq!(&new.routes[&route.prefix], &route);
                    }
                },
                SourceEvent::Withdraw(ObjectKey::Node(name)) => prop_assert!(!new.nodes.contains_key(&name)),
                SourceEvent::Withdraw(ObjectKey::Pod(name)) => prop_assert!(!new.pods.contains_key(&name)),
                SourceEvent::Withdraw(ObjectKey::Route(prefix)) => prop_assert!(!new.routes.contains_key(&prefix)),
                SourceEvent::Withdraw(ObjectKey::Cluster) => prop_assert_eq!(new.cluster, None),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn a_state_does_not_differ_from_itself(state in states()) {
        prop_assert_eq!(diff(&state, &state), vec![]);
    }
}

const ONE_NODE: &str = "nodes:\n- name: a1\n  addresses: [10.0.1.1]\n";

#[test]
fn another_line_is_no_change() {
    let old = parse(ONE_NODE, "c", &Part::WHOLE).unwrap();
    let new = parse(&format!("# a comment\n{ONE_NODE}"), "c", &Part::WHOLE).unwrap();
    assert_ne!(old, new);
    assert_eq!(diff(&old, &new), vec![]);
}

/// Make before break: the new owner of a prefix is told before the old one is withdrawn.
#[test]
fn what_is_new_comes_before_what_is_gone() {
    let old = parse(ONE_NODE, "c", &Part::WHOLE).unwrap();
    let new = parse(&ONE_NODE.replace("a1", "a2"), "c", &Part::WHOLE).unwrap();
    let kinds: Vec<_> = diff(&old, &new).iter().map(|e| matches!(e, SourceEvent::Upsert(_))).collect();
    assert_eq!(kinds, [true, false]);
}

/// Invariant 2: nothing is called synced before the file was good once; then a bad file withdraws nothing.
#[test]
fn synced_comes_only_with_a_good_file() {
    let mut reader = Reader::new(Path::new("/etc/cluster.yaml"), Part::WHOLE);
    let mut take = |text: &str| {
        let events = reader.take(Ok(text.to_owned()));
        events
            .iter()
            .map(|event| format!("{event:?}").split(['(', ' ']).next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(take("nodes: 5"), ["Failed"]);
    assert_eq!(take("nodes: 5"), [""; 0], "the same again");
    assert_eq!(take(ONE_NODE), ["Upsert", "Upsert", "Synced"]);
    assert_eq!(take(""), ["Failed"]);
    assert_eq!(take(ONE_NODE), ["Synced"]);
    assert_eq!(take(&ONE_NODE.replace("10.0.1.1", "10.0.1.2")), ["Upsert", "Synced"]);
    assert_eq!(take(&ONE_NODE.replace("a1", "a2")), ["Upsert", "Withdraw", "Synced"]);
}
