//! Routes to what is outside of the cluster: they come after everything that is inside.

use super::*;
use crate::rib::fixtures::{node, outside, pod};

/// Node a1's selection with the three nodes, a pod at home on a2, one of a2's away from home, and these routes.
fn with_routes(routes: &[Route]) -> Selection {
    let pods = [pod("default/home", "a2", "10.244.2.10"), pod("default/away", "a2", "10.99.0.1")];
    let nodes = three_nodes();
    select_from(Cluster::default(), nodes.iter(), (pods.iter(), routes.iter()), &"a1".parse().unwrap())
}

#[test]
fn a_route_outside_of_the_cluster_is_selected_with_all_its_next_hops() {
    let selection = with_routes(&[outside("192.0.2.0/24", &["10.0.1.6", "10.0.1.5"])]);
    let candidate = &selection.routes[&"192.0.2.0/24".parse().unwrap()];
    assert_eq!((candidate.role, candidate.node.as_ref(), candidate.flags()), (Role::Route, None, 0));
    assert_eq!(candidate.target.to_string(), "10.0.1.5, 10.0.1.6");
    assert_eq!(candidate.to_string(), "a route to 10.0.1.5, 10.0.1.6 (file cluster.yaml:192.0.2.0/24)");
    assert_eq!(selection.problems, []);
}

#[test]
fn a_route_that_has_to_do_with_the_cluster_is_not_used_and_says_why() {
    let cases = [
        ("10.0.2.0/24", "contains the address 10.0.2.11 of node b1"),
        ("10.0.1.12/32", "contains the address 10.0.1.12 of node a2"),
        ("10.0.0.0/8", "contains the address 10.0.1.11 of node a1"),
        ("10.244.2.0/24", "it is a pod prefix of node a2"),
        ("10.99.0.1/32", "it is the address of pod default/away on node a2"),
        ("10.244.1.1/32", "it is the host address of node a1"),
        // Longest match would take these from a pod that has no route of its own.
        ("10.244.2.10/32", "inside of the pod prefix 10.244.2.0/24 of node a2"),
        ("10.244.2.0/28", "inside of the pod prefix 10.244.2.0/24 of node a2"),
    ];
    let without = with_routes(&[]);
    for (prefix, says) in cases {
        let selection = with_routes(&[outside(prefix, &["10.0.1.5"])]);
        assert_eq!(selection.routes, without.routes, "{prefix}");
        let [loser] = selection.losers[&prefix.parse().unwrap()].as_slice() else { panic!("{prefix}") };
        assert!(loser.reason.contains(says), "{prefix}: {}", loser.reason);
        assert_one_problem(
            &selection,
            ProblemKind::RouteOverlapsCluster,
            &[prefix, says, "a route to 10.0.1.5"],
        );
    }
}

/// Longest match still leads to each pod.
#[test]
fn a_route_around_pod_prefixes_is_used() {
    let selection = with_routes(&[outside("10.244.0.0/16", &["10.0.1.5"])]);
    assert_eq!(selection.problems, []);
    let leads = |address: &str| leads_to(&selection, address.parse().unwrap()).map(NodeName::as_str);
    assert_eq!((leads("10.244.2.10"), leads("10.244.200.1")), (Some("a2"), None));
}

#[test]
fn nodes_that_are_not_used_are_in_no_routes_way() {
    let nodes = [
        node("a1", "10.0.1.11", &[]),
        node("a2", "10.0.1.12", &[]),
        node("a3", "10.0.1.12", &["10.8.0.0/16"]),
    ];
    let routes = [outside("10.8.1.0/24", &["10.0.1.5"])];
    let own = "a1".parse().unwrap();
    let selection = select_from(Cluster::default(), nodes.iter(), ([].iter(), routes.iter()), &own);
    assert!(selection.routes.contains_key(&routes[0].prefix));
}
