use super::*;
use crate::{
    model::{Object, SourceEvent, SourceId, SourceUpdate},
    rib::fixtures::{node, pod},
};

mod conflicts;
mod order;
mod routes;
mod sources;

/// Selects on the node `own`.
pub(super) fn selected(nodes: &[Node], pods: &[Pod], own: &str) -> Selection {
    select_from(Cluster::default(), nodes.iter(), (pods.iter(), [].iter()), &own.parse().unwrap())
}

/// The routes as text: `10.0.1.12/32 node a2 !` where `!` marks a node's address.
fn routes(selection: &Selection) -> Vec<String> {
    let mark = |candidate: &Candidate| {
        if candidate.flags() == node_ebpf_common::Route::NODE_ADDRESS { " !" } else { "" }
    };
    let text = |(prefix, candidate): (&Prefix, &Arc<Candidate>)| {
        format!("{prefix} {}{}", candidate.target, mark(candidate))
    };
    selection.routes.iter().map(text).collect()
}

/// Asserts that there is exactly one problem, of this kind, that names all of these.
fn assert_one_problem(selection: &Selection, kind: ProblemKind, names: &[&str]) {
    let [problem] = selection.problems.as_slice() else { panic!("{:#?}", selection.problems) };
    assert_eq!(problem.kind, kind, "{problem}");
    for name in names {
        assert!(problem.text.contains(name), "{name:?} is not in {problem}");
    }
}

fn three_nodes() -> [Node; 3] {
    [
        node("a1", "10.0.1.11", &["10.244.1.0/24"]),
        node("a2", "10.0.1.12", &["10.244.2.0/24"]),
        node("b1", "10.0.2.11", &["10.244.3.0/24"]),
    ]
}

#[test]
fn each_fact_leads_where_it_should() {
    let pods = [pod("default/web-0", "a1", "10.244.1.10"), pod("default/web-1", "a2", "10.244.2.10")];
    let selection = selected(&three_nodes(), &pods, "a1");
    assert_eq!(
        routes(&selection),
        [
            "10.0.1.11/32 host",
            "10.0.1.12/32 node a2 !",
            "10.0.2.11/32 node b1 !",
            "10.244.1.0/24 unassigned",
            "10.244.1.1/32 host",
            "10.244.1.10/32 pod default/web-0",
            "10.244.2.0/24 node a2",
            "10.244.3.0/24 node b1",
        ]
    );
    assert_eq!(selection.problems, []);
    assert!(selection.losers.is_empty());
    assert_eq!(selection.own.unwrap().host_addresses, ["10.244.1.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(selection.nodes.keys().map(NodeName::as_str).collect::<Vec<_>>(), ["a2", "b1"]);
    assert_eq!(selection.pods.len(), 1, "only this node's pods");
}

#[test]
fn host_address_is_the_first_usable_of_each_family() {
    let cases: [(&[&str], &[&str]); 6] = [
        (&["10.244.1.0/24"], &["10.244.1.1"]),
        (&["10.244.1.4/31"], &["10.244.1.4"]),
        (&["10.244.1.4/32"], &["10.244.1.4"]),
        (&["10.244.1.0/24", "10.244.9.0/24"], &["10.244.1.1"]),
        (&["fd00:1::/64", "10.244.1.0/24"], &["10.244.1.1", "fd00:1::1"]),
        (&["fd00:1::/127"], &["fd00:1::"]),
    ];
    for (prefixes, expected) in cases {
        let selection = selected(&[node("a1", "10.0.1.11", prefixes)], &[], "a1");
        let expected: Vec<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(selection.own.unwrap().host_addresses, expected, "{prefixes:?}");
    }
}

#[test]
fn the_same_prefix_on_two_nodes_goes_to_the_first_by_name_on_every_node() {
    let mut nodes = three_nodes();
    Arc::make_mut(&mut nodes[2].pod_prefixes).push("10.244.1.0/24".parse().unwrap());
    for (own, leads_to) in [("a1", "unassigned"), ("a2", "node a1"), ("b1", "node a1")] {
        let selection = selected(&nodes, &[], own);
        let prefix: Prefix = "10.244.1.0/24".parse().unwrap();
        assert_eq!(selection.routes[&prefix].target.to_string(), leads_to);
        assert_eq!(selection.losers[&prefix].len(), 1);
        assert_eq!(selection.losers[&prefix][0].candidate.node.as_ref().unwrap().as_str(), "b1");
        assert_one_problem(
            &selection,
            ProblemKind::DuplicatePodPrefix,
            &["10.244.1.0/24", "node a1", "node b1", "cluster.yaml:a1", "cluster.yaml:b1"],
        );
    }
}

#[test]
fn the_second_node_with_an_address_is_not_used_nor_are_its_pods() {
    let nodes = [
        node("a1", "10.0.1.11", &["10.244.1.0/24"]),
        node("a2", "10.0.1.12", &["10.244.2.0/24"]),
        node("a3", "10.0.1.12", &["10.244.3.0/24"]),
    ];
    let selection = selected(&nodes, &[], "a1");
    assert_one_problem(
        &selection,
        ProblemKind::DuplicateNodeAddress,
        &["10.0.1.12", "a2", "a3", "cluster.yaml:a3"],
    );
    assert!(!routes(&selection).iter().any(|route| route.contains("a3")));
    assert!(selection.losers.contains_key(&"10.244.3.0/24".parse().unwrap()));

    let selection = selected(&nodes, &[pod("default/web", "a3", "10.244.3.10")], "a1");
    assert!(selection.problems.iter().any(|problem| problem.kind == ProblemKind::PodOnUnknownNode));

    let on_the_loser = selected(&nodes, &[], "a3");
    assert_eq!(on_the_loser.own, None);
    assert!(on_the_loser.problems.iter().any(|problem| problem.kind == ProblemKind::OwnNodeUnusable));
}

#[test]
fn a_node_whose_rival_is_not_used_itself_is_used() {
    let mut nodes = three_nodes();
    nodes[1].addresses = vec!["10.0.1.11".parse().unwrap(), "fd00::2".parse().unwrap()];
    nodes[2].addresses.push("fd00::2".parse().unwrap());
    let selection = selected(&nodes, &[], "a1");
    assert_eq!(selection.nodes.keys().map(NodeName::as_str).collect::<Vec<_>>(), ["b1"]);
}

#[test]
fn the_same_pod_address_twice_goes_home_first_then_by_name() {
    let cases = [
        // On two nodes, neither at home: by name.
        ("default/a", "a1", "default/b", "a2", "10.99.0.1", "default/a"),
        ("default/b", "a1", "default/a", "a2", "10.99.0.1", "default/a"),
        // In the prefix of a2: the pod there, whatever its name.
        ("default/a", "a1", "default/b", "a2", "10.244.2.10", "default/b"),
        // Both on one node.
        ("default/a", "a1", "default/b", "a1", "10.244.1.10", "default/a"),
    ];
    for (first, first_node, second, second_node, address, winner) in cases {
        let pods = [pod(first, first_node, address), pod(second, second_node, address)];
        let winner_node = pods.iter().find(|pod| pod.name.to_string() == winner).unwrap().node.clone();
        for own in ["a1", "a2", "b1"] {
            let selection = selected(&three_nodes(), &pods, own);
            assert_one_problem(
                &selection,
                ProblemKind::DuplicateAddress,
                &[address, first, second, &pods[0].origin.place, &pods[1].origin.place],
            );
            assert_eq!(
                leads_to(&selection, address.parse().unwrap()),
                Some(&winner_node),
                "{address} on {own}"
            );
            let [loser] = selection.losers[&Prefix::host(address.parse().unwrap())].as_slice() else {
                panic!()
            };
            assert_ne!(loser.candidate.pod.as_ref().unwrap().to_string(), winner);
            assert!(selection.pods.keys().all(|pod| pod.to_string() == winner), "the loser keeps no address");
        }
    }
}

/// The node that a packet to this address goes to, by longest match.
pub(super) fn leads_to(selection: &Selection, address: IpAddr) -> Option<&NodeName> {
    let matches = selection.routes.iter().filter(|(prefix, _)| prefix.contains(address));
    matches.max_by_key(|(prefix, _)| prefix.len()).and_then(|(_, candidate)| candidate.node.as_ref())
}

#[test]
fn a_remote_pod_gets_a_route_only_where_longest_match_leads_astray() {
    let mut nodes = three_nodes();
    Arc::make_mut(&mut nodes[2].pod_prefixes).push("10.245.0.0/16".parse().unwrap());
    Arc::make_mut(&mut nodes[1].pod_prefixes).push("10.245.7.0/24".parse().unwrap());
    let cases = [
        ("10.244.3.10", None),            // in its node's prefix
        ("10.244.2.10", Some("node b1")), // borrowed from another remote node
        ("10.244.1.10", Some("node b1")), // borrowed from this node
        ("10.99.0.1", Some("node b1")),   // in no prefix
        ("10.245.1.10", None),            // in its node's shorter prefix
        ("10.245.7.10", Some("node b1")), // which another node's longer prefix would catch
    ];
    for (address, target) in cases {
        let selection = selected(&nodes, &[pod("default/web", "b1", address)], "a1");
        let route = selection.routes.get(&Prefix::host(address.parse().unwrap()));
        assert_eq!(route.map(|route| route.target.to_string()).as_deref(), target, "{address}");
        assert_eq!(selection.problems, []);
    }
}

#[test]
fn a_pod_prefix_with_a_node_address_in_it_is_not_used_but_single_pods_in_it_are() {
    let mut nodes = three_nodes();
    nodes[0].pod_prefixes = vec!["10.0.2.0/24".parse().unwrap()].into();
    let selection = selected(&nodes, &[pod("default/web", "a1", "10.0.2.77")], "a2");
    assert_one_problem(
        &selection,
        ProblemKind::PodPrefixHasNodeAddress,
        &["10.0.2.0/24", "10.0.2.11", "node a1", "node b1", "cluster.yaml:a1", "cluster.yaml:b1"],
    );
    assert!(!selection.routes.contains_key(&"10.0.2.0/24".parse().unwrap()));
    assert_eq!(leads_to(&selection, "10.0.2.77".parse().unwrap()).unwrap().as_str(), "a1");
    assert_eq!(selected(&nodes, &[], "a1").own.unwrap().host_addresses, Vec::<IpAddr>::new());
}

#[test]
fn a_pod_never_takes_the_address_of_a_node_or_of_its_host() {
    for (address, owner) in [("10.0.2.11", "b1"), ("10.244.1.1", "a1"), ("10.244.3.1", "b1")] {
        for pod_node in ["a1", "a2", "b1"] {
            let pods = [pod("default/web", pod_node, address)];
            for own in ["a1", "a2", "b1"] {
                let selection = selected(&three_nodes(), &pods, own);
                assert_one_problem(
                    &selection,
                    ProblemKind::DuplicateAddress,
                    &[
                        address,
                        "default/web",
                        owner,
                        "cluster.yaml:default/web",
                        &format!("cluster.yaml:{owner}"),
                    ],
                );
                assert_eq!(leads_to(&selection, address.parse().unwrap()).unwrap().as_str(), owner);
                assert!(selection.pods.is_empty());
            }
        }
    }
}

#[test]
fn an_address_comes_before_a_pod_prefix_of_just_that_address() {
    let mut nodes = three_nodes();
    Arc::make_mut(&mut nodes[0].pod_prefixes).push("10.99.0.1/32".parse().unwrap());
    let selection = selected(&nodes, &[pod("default/web", "a1", "10.99.0.1")], "a1");
    assert_eq!(selection.routes[&"10.99.0.1/32".parse().unwrap()].target.to_string(), "pod default/web");
    assert_eq!(selection.problems, [], "a node's pod may have the node's prefix");
    let selection = selected(&nodes, &[pod("default/web", "b1", "10.99.0.1")], "a1");
    assert_eq!(selection.routes[&"10.99.0.1/32".parse().unwrap()].target.to_string(), "node b1");
    assert_one_problem(&selection, ProblemKind::DuplicateAddress, &["10.99.0.1", "default/web", "a1"]);
    assert_eq!(
        selected(&nodes, &[], "a1").routes[&"10.99.0.1/32".parse().unwrap()].target,
        Target::Unassigned
    );
}

#[test]
fn an_unknown_own_node_is_told_with_the_names_that_are_known() {
    let selection = selected(&three_nodes(), &[], "c1");
    assert_eq!(selection.own, None);
    assert_one_problem(
        &selection,
        ProblemKind::OwnNodeUnusable,
        &["this node 'c1' is not in the cluster state", "known are a1, a2, b1"],
    );
    let many: Vec<Node> = (0..30).map(|i| node(&format!("n{i:02}"), &format!("10.0.1.{i}"), &[])).collect();
    assert_one_problem(&selected(&many, &[], "c1"), ProblemKind::OwnNodeUnusable, &["n09 and 20 more"]);
    assert_one_problem(&selected(&[], &[], "c1"), ProblemKind::OwnNodeUnusable, &["there are no nodes"]);
}

#[test]
fn a_pod_on_an_unknown_node_is_told() {
    let selection = selected(&three_nodes(), &[pod("default/web", "c1", "10.244.9.9")], "a1");
    assert_one_problem(
        &selection,
        ProblemKind::PodOnUnknownNode,
        &["default/web", "c1", "cluster.yaml:default/web"],
    );
}

#[test]
fn an_object_of_two_sources_is_taken_from_the_first() {
    let [a1, a2, _] = three_nodes();
    let again = Node { addresses: vec!["10.9.9.9".parse().unwrap()], ..a1.clone() };
    let web = pod("default/web", "a1", "10.244.1.10");
    let selection =
        selected(&[a1.clone(), a2, again], &[web.clone(), Pod { node: "a2".parse().unwrap(), ..web }], "a1");
    assert_eq!(selection.own.unwrap().node, a1);
    assert_eq!(selection.pods.len(), 1);
    let kinds: Vec<ProblemKind> = selection.problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [ProblemKind::DuplicateObject; 2]);
}

#[test]
fn ipv6_is_carried_through() {
    let mut nodes = three_nodes();
    Arc::make_mut(&mut nodes[1].pod_prefixes).push("fd00:2::/64".parse().unwrap());
    nodes[1].addresses.push("fd00::12".parse().unwrap());
    let selection = selected(&nodes, &[pod("default/web", "a1", "fd00:1::10")], "a1");
    let six: Vec<String> = routes(&selection).into_iter().filter(|route| route.contains("fd00")).collect();
    assert_eq!(six, ["fd00::12/128 node a2 !", "fd00:1::10/128 pod default/web", "fd00:2::/64 node a2"]);
    assert_eq!(selection.problems, []);
}
