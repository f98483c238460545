//! Routes to what is outside of the cluster.

use super::*;
use crate::{
    model::{LinkNeighbour, NextHopSet, Route, RouteLeg, Via},
    rib::fixtures::outside,
};

const PREFIX: &str = "192.0.2.0/24";

/// Node a1 with the three nodes and these routes.
fn resolved_with(view: &HostView, cluster: Cluster, routes: &[Route]) -> (Selection, Resolved) {
    let mut table = Table::new([SourceId::FILE]);
    table.apply(upsert(Object::Cluster(cluster)));
    for object in nodes().map(Object::Node).into_iter().chain(routes.iter().cloned().map(Object::Route)) {
        table.apply(upsert(object));
    }
    let selection = select(&table, &"a1".parse().unwrap());
    assert_eq!(selection.problems, []);
    let resolved = resolve(&selection, view, &ResolveSettings::default());
    assert_whole(&resolved);
    (selection, resolved)
}

fn resolved_to(next_hops: &[&str]) -> Resolved {
    resolved_with(&host(), Cluster::default(), &[outside(PREFIX, next_hops)]).1
}

fn via(gateway: &str) -> NextHopKey {
    NextHopKey::Via(Via { node: None, gateway: gateway.parse().unwrap(), interface: ETH0 })
}

fn group(next_hops: &[&str]) -> NextHopKey {
    let next_hops = next_hops.iter().map(|next_hop| next_hop.parse().unwrap()).collect();
    NextHopKey::Group(NextHopSet { inner: AddressFamily::V4, next_hops })
}

fn next_hop_of(resolved: &Resolved) -> &NextHopKey {
    &resolved.wanted.datapath.routes[&prefix(PREFIX)].next_hop
}

#[test]
fn one_neighbour_is_a_next_hop_by_itself() {
    let resolved = resolved_to(&["10.0.1.5"]);
    assert_eq!(resolved.problems, []);
    assert_eq!(*next_hop_of(&resolved), via("10.0.1.5"));
    let next_hop = &resolved.wanted.datapath.next_hops[&via("10.0.1.5")];
    assert_eq!((next_hop.kind, next_hop.interface), (NextHopKind::Direct as u32, ETH0));
    assert_eq!((next_hop.gateway, next_hop.mtu), (mapped("10.0.1.5"), 1500));
    assert_eq!(next_hop.tunnel_destination, Address::NONE, "no tunnel ends there");
    let kernel = &resolved.wanted.host.routes[&prefix(PREFIX)];
    assert_eq!((kernel.link, kernel.gateway), (Some(ETH0), Some("10.0.1.5".parse().unwrap())));
    assert_eq!((kernel.protocol, &kernel.legs), (KernelRoute::PROTOCOL, &None));
}

#[test]
fn several_next_hops_are_a_group_and_a_multipath_route_of_the_kernel() {
    let resolved = resolved_to(&["10.0.1.5", "10.0.1.6"]);
    assert_eq!(resolved.problems, []);
    let owner = group(&["10.0.1.5", "10.0.1.6"]);
    assert_eq!(*next_hop_of(&resolved), owner);
    assert_eq!(resolved.wanted.datapath.groups[&owner], [via("10.0.1.5"), via("10.0.1.6")]);
    assert_eq!(resolved.wanted.datapath.next_hops[&owner].gateway, mapped("10.0.1.5"));
    assert!(resolved.paths.contains_key(&owner));
    let legs = resolved.wanted.host.routes[&prefix(PREFIX)].legs.as_deref().unwrap();
    let gateways: Vec<String> = legs.iter().map(|leg| leg.gateway.unwrap().to_string()).collect();
    assert_eq!(gateways, ["10.0.1.5", "10.0.1.6"]);
}

#[test]
fn routes_with_the_same_next_hops_share_a_group() {
    let next_hops = ["10.0.1.6", "10.0.1.5"];
    let routes = [outside(PREFIX, &next_hops), outside("198.51.100.0/24", &next_hops)];
    let (_, resolved) = resolved_with(&host(), Cluster::default(), &routes);
    assert_eq!(resolved.wanted.datapath.groups.len(), 1);
    assert_eq!(resolved.wanted.datapath.routes[&prefix("198.51.100.0/24")].next_hop, *next_hop_of(&resolved));
}

#[test]
fn a_nodes_address_takes_the_nodes_own_way() {
    let resolved = resolved_to(&["10.0.1.12"]);
    assert_eq!(resolved.problems, []);
    assert_eq!(*next_hop_of(&resolved), node_key("a2"));
    let with_another = resolved_to(&["10.0.1.12", "10.0.1.5"]);
    let members = &with_another.wanted.datapath.groups[next_hop_of(&with_another)];
    assert_eq!(*members, [node_key("a2"), via("10.0.1.5")]);
}

/// It would drop what is not for its own pods.
#[test]
fn a_node_behind_a_tunnel_is_no_next_hop() {
    let always = Cluster { encapsulation: EncapsulationMode::Always, ..Cluster::default() };
    for (cluster, node) in [(Cluster::default(), "10.0.2.11"), (always, "10.0.1.12")] {
        let (_, resolved) = resolved_with(&host(), cluster, &[outside(PREFIX, &[node])]);
        assert_one_problem(&resolved, ProblemKind::NextHopUnusable, &[node, PREFIX, "encapsulated"]);
        assert!(resolved.refused[&prefix(PREFIX)].contains("for its own pods only"));
    }
}

/// A node that has a group itself gives the route its members: groups do not nest.
#[test]
fn a_node_behind_two_legs_brings_both() {
    let mut view = host();
    view.links.push(link(9, "eth9"));
    let legs = [ETH0, 9].map(|link| RouteLeg { link, gateway: None, live: true });
    view.routes.push(KernelRoute { legs: Some(legs.into()), ..route("10.0.2.0/24", None, ETH0) });
    let with = |next_hops| resolved_with(&view, Cluster::default(), &[outside(PREFIX, next_hops)]).1;
    let alone = with(&["10.0.2.11"]);
    assert_eq!(*next_hop_of(&alone), node_key("b1"));
    assert_eq!(alone.wanted.datapath.groups[&node_key("b1")].len(), 2);
    let with_a2 = with(&["10.0.1.12", "10.0.2.11"]);
    let members = &with_a2.wanted.datapath.groups[next_hop_of(&with_a2)];
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|member| !with_a2.wanted.datapath.groups.contains_key(member)));
}

#[test]
fn the_unusable_are_named_and_the_route_stays_with_the_rest() {
    let cases = [
        ("10.9.9.9", "not adjacent: 10.0.1.1 is on the way"),
        ("10.0.2.11", "packets to node b1 are encapsulated"),
    ];
    for (unusable, reason) in cases {
        let routes = [outside(PREFIX, &["10.0.1.5", unusable])];
        let (selection, resolved) = resolved_with(&host(), Cluster::default(), &routes);
        assert_eq!(*next_hop_of(&resolved), via("10.0.1.5"));
        assert_one_problem(&resolved, ProblemKind::NextHopUnusable, &[unusable, PREFIX, reason]);
        let row = lookup(&selection, &resolved, "192.0.2.1".parse().unwrap()).route.unwrap();
        assert_eq!(row.refused, None);
        assert_eq!(row.losers[0].candidate, format!("next hop {unusable}"));
        assert!(row.losers[0].reason.contains(reason), "{:?}", row.losers);
    }
}

#[test]
fn a_route_without_any_usable_next_hop_is_refused_with_each_reason() {
    let mut view = host();
    view.links[1].up = false;
    for (view, next_hops, reasons) in [
        (host(), ["10.9.9.8", "10.9.9.9"], ["10.9.9.8: it is no", "10.9.9.9: it is no"]),
        (view, ["10.0.1.5", "10.0.1.6"], ["10.0.1.5: the kernel's route", "eth0, which is down"]),
    ] {
        let (_, resolved) = resolved_with(&view, Cluster::default(), &[outside(PREFIX, &next_hops)]);
        let refused = &resolved.refused[&prefix(PREFIX)];
        assert!(reasons.iter().all(|reason| refused.contains(reason)), "{refused}");
        assert!(!resolved.wanted.datapath.routes.contains_key(&prefix(PREFIX)));
        assert!(!resolved.wanted.host.routes.contains_key(&prefix(PREFIX)));
    }
}

/// Two nodes that are both next hops would send packets to each other for ever.
#[test]
fn a_host_that_is_a_next_hop_itself_leaves_the_route_to_its_stack() {
    let resolved = resolved_to(&["10.0.1.11", "10.0.1.12"]);
    assert_eq!(resolved.problems, [], "it is as it should be");
    assert!(resolved.refused[&prefix(PREFIX)].contains("10.0.1.11 is this host itself"));
    assert!(!resolved.wanted.host.routes.contains_key(&prefix(PREFIX)));
}

#[test]
fn a_route_around_what_the_host_needs_is_refused() {
    let mut view = host();
    view.addresses.push(held(ETH0, "172.16.0.9/32"));
    let cases = [
        ("10.0.1.0/29", "10.0.1.1, the gateway of a route of the host"),
        ("172.16.0.0/12", "172.16.0.9, an address of the host"),
    ];
    for (around, what) in cases {
        let (_, resolved) = resolved_with(&view, Cluster::default(), &[outside(around, &["10.0.1.77"])]);
        assert_one_problem(&resolved, ProblemKind::PrefixOverlapsHost, &[around, what]);
        assert!(resolved.refused[&prefix(around)].contains(what));
    }
    // One address of the network that nothing needs may be elsewhere.
    let (_, resolved) = resolved_with(&view, Cluster::default(), &[outside("10.0.1.200/32", &["10.0.1.77"])]);
    assert_eq!(resolved.problems, []);
}

#[test]
fn links_to_neighbours_alone_are_no_uplinks() {
    let mut view = host();
    view.links.push(link(9, "eth9"));
    view.routes.push(route("10.7.0.0/24", None, 9));
    let (_, resolved) = resolved_with(&view, Cluster::default(), &[outside(PREFIX, &["10.7.0.5"])]);
    assert_eq!(resolved.problems, []);
    assert!(resolved.wanted.datapath.attachments.iter().all(|at| at.interface != "eth9"));
}

/// Of a node as of any other neighbour, and not where nobody answers.
#[test]
fn a_next_hop_that_does_not_answer_is_left_out_while_another_one_does() {
    let neighbour = |address: &str| LinkNeighbour { link: ETH0, address: address.parse().unwrap() };
    let next_hops = ["10.0.1.5", "10.0.1.12"];
    let routes = [outside(PREFIX, &next_hops)];
    for (silent, key) in [
        (&next_hops[..0], group(&next_hops)),
        (&next_hops[..1], node_key("a2")),
        (&next_hops[1..], via("10.0.1.5")),
        (&next_hops[..], group(&next_hops)),
    ] {
        let mut view = host();
        view.failed_neighbours = silent.iter().map(|address| neighbour(address)).collect();
        let (_, resolved) = resolved_with(&view, Cluster::default(), &routes);
        assert_eq!(*next_hop_of(&resolved), key, "{silent:?}");
        assert_eq!(resolved.deciding, next_hops.iter().map(|address| neighbour(address)).collect());
        if silent.len() == 1 {
            assert_one_problem(&resolved, ProblemKind::NextHopUnusable, &[silent[0], "does not answer"]);
        } else {
            assert_eq!(resolved.problems, [], "{silent:?}");
        }
    }
}
