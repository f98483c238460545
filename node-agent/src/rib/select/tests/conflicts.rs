//! Who is in each other's way: a conflict of each kind, the same one on every node.

use super::*;

/// The one conflict on every node, as `KIND ABOUT: WINNER, not LOSER`, in whichever order the nodes are stated.
fn the_conflict(nodes: &[Node], pods: &[Pod]) -> String {
    let on = |nodes: &[Node], pods: &[Pod], own: &Node| {
        let selection = selected(nodes, pods, own.name.as_str());
        let conflicts: Vec<Conflict> =
            selection.problems.iter().filter_map(|problem| problem.conflict.as_deref().cloned()).collect();
        let [conflict] = conflicts.as_slice() else { panic!("{:#?}", selection.problems) };
        let Conflict { kind, about, winner, loser } = conflict;
        format!("{kind} {about}: {winner}, not {loser}")
    };
    let first = on(nodes, pods, &nodes[0]);
    let reversed: (Vec<Node>, Vec<Pod>) =
        (nodes.iter().rev().cloned().collect(), pods.iter().rev().cloned().collect());
    for own in nodes {
        assert_eq!(on(nodes, pods, own), first, "on {}", own.name);
        assert_eq!(on(&reversed.0, &reversed.1, own), first, "on {}, the other way round", own.name);
    }
    first
}

#[test]
fn one_address_of_two_nodes() {
    let [a1, a2, b1] = three_nodes();
    let nodes = [a1, a2.clone(), Node { addresses: a2.addresses, ..b1 }];
    assert_eq!(
        the_conflict(&nodes, &[]),
        "duplicate-node-address 10.0.1.12: node a2 (file cluster.yaml:a2), not node b1 (file cluster.yaml:b1)"
    );
}

#[test]
fn one_prefix_of_two_nodes() {
    let nodes = [
        node("a1", "10.0.1.11", &["10.244.1.0/24"]),
        node("a2", "10.0.1.12", &["10.244.2.0/24"]),
        node("b1", "10.0.2.11", &["10.244.3.0/24", "10.244.2.0/24"]),
    ];
    assert_eq!(
        the_conflict(&nodes, &[]),
        "duplicate-pod-prefix 10.244.2.0/24: node a2 (file cluster.yaml:a2), not node b1 (file cluster.yaml:b1)"
    );
}

#[test]
fn one_address_of_two_pods() {
    let pods = [pod("default/web", "a2", "10.244.2.10"), pod("default/db", "b1", "10.244.2.10")];
    assert_eq!(
        the_conflict(&three_nodes(), &pods),
        "duplicate-address 10.244.2.10: pod default/web on node a2 (file cluster.yaml:default/web), not pod default/db \
         on node b1 (file cluster.yaml:default/db)"
    );
}

#[test]
fn one_address_of_a_node_and_a_pod() {
    let pods = [pod("default/web", "b1", "10.0.1.12")];
    assert_eq!(
        the_conflict(&three_nodes(), &pods),
        "duplicate-address 10.0.1.12: node a2 (file cluster.yaml:a2), not pod default/web on node b1 (file \
         cluster.yaml:default/web)"
    );
}

#[test]
fn a_prefix_of_one_address_that_another_nodes_pod_has() {
    let nodes = [
        node("a1", "10.0.1.11", &["10.244.1.0/24"]),
        node("b1", "10.0.2.11", &["10.244.3.0/24", "10.9.9.9/32"]),
    ];
    let pods = [pod("default/web", "a1", "10.9.9.9")];
    assert_eq!(
        the_conflict(&nodes, &pods),
        "duplicate-address 10.9.9.9: pod default/web on node a1 (file cluster.yaml:default/web), not node b1 (file \
         cluster.yaml:b1)"
    );
}

#[test]
fn a_prefix_around_a_node() {
    let nodes = [
        node("a1", "10.0.1.11", &["10.244.1.0/24"]),
        node("b1", "10.0.2.11", &["10.244.3.0/24", "10.0.1.0/28"]),
    ];
    assert_eq!(
        the_conflict(&nodes, &[]),
        "pod-prefix-has-node-address 10.0.1.0/28: node a1 (file cluster.yaml:a1), not node b1 (file cluster.yaml:b1)"
    );
}
