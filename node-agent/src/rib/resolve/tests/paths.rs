//! How remote nodes are reached.

use super::*;

fn cluster(encapsulation: EncapsulationMode, non_adjacent: NonAdjacent) -> Cluster {
    Cluster { encapsulation, non_adjacent }
}

/// Every mode with a node on the same segment (a2) and one behind a router (b1): kind, gateway, MTU.
#[test]
fn table_of_modes() {
    use EncapsulationMode::{Always, CrossSubnet, Never};
    use NextHopKind::{Direct, Ipip};
    let direct_a2 = Some((Direct, "10.0.1.12", 1500));
    let ipip_a2 = Some((Ipip, "10.0.1.12", 1480));
    let ipip_b1 = Some((Ipip, "10.0.1.1", 1480));
    let cases = [
        (Never, NonAdjacent::Refuse, direct_a2, None),
        (Never, NonAdjacent::Ipip, direct_a2, ipip_b1),
        (CrossSubnet, NonAdjacent::Refuse, direct_a2, ipip_b1),
        (CrossSubnet, NonAdjacent::Ipip, direct_a2, ipip_b1),
        (Always, NonAdjacent::Refuse, ipip_a2, ipip_b1),
        (Always, NonAdjacent::Ipip, ipip_a2, ipip_b1),
    ];
    for (mode, non_adjacent, a2, b1) in cases {
        let selection = selection(cluster(mode, non_adjacent), &nodes(), &[]);
        let resolved = resolve(&selection, &host(), &ResolveSettings::default());
        for (name, remote, expected) in [("a2", "10.0.1.12", a2), ("b1", "10.0.2.11", b1)] {
            let expected = expected.map(|(kind, gateway, mtu)| NextHop {
                identity: node_key(name).identity(),
                kind: kind as u32,
                interface: ETH0,
                gateway: mapped(gateway),
                tunnel_source: mapped("10.0.1.11"),
                tunnel_destination: mapped(remote),
                mtu,
                ..NextHop::default()
            });
            let got = resolved.wanted.datapath.next_hops.get(&node_key(name)).copied();
            assert_eq!(got, expected, "{mode:?} {non_adjacent:?} {name}");
        }
        if mode == Never {
            let says = if b1.is_some() { "encapsulated although" } else { "use 'cross-subnet'" };
            let says = ["node b1 (10.0.2.11) is not adjacent: 10.0.1.1 is on the way", says];
            assert_one_problem(&resolved, ProblemKind::NotAdjacent, &says);
        } else {
            assert_eq!(resolved.problems, [], "{mode:?} {non_adjacent:?}");
        }
    }
}

#[test]
fn a_node_that_is_refused_loses_its_prefixes_and_says_why() {
    let selection = selection(cluster(EncapsulationMode::Never, NonAdjacent::Refuse), &nodes(), &[]);
    let resolved = resolve(&selection, &host(), &ResolveSettings::default());
    assert_whole(&resolved);
    assert!(!resolved.wanted.host.routes.contains_key(&prefix("10.244.3.0/24")));
    for refused in ["10.244.3.0/24", "10.0.2.11/32"] {
        assert!(resolved.refused[&prefix(refused)].contains("mode is 'never'"));
    }
    assert!(resolved.wanted.host.routes.contains_key(&prefix("10.244.2.0/24")), "the others work");
}

#[test]
fn the_route_is_chosen_as_the_kernel_chooses() {
    let ours = KernelRoute { protocol: KernelRoute::PROTOCOL, ..route("10.0.2.11/32", None, ETH0) };
    let worse = KernelRoute { metric: 100, ..route("10.0.2.0/24", Some("10.0.1.3"), ETH0) };
    let cases = [
        (vec![], "10.0.1.1", 1480),
        (vec![route("10.0.2.0/24", Some("10.0.1.2"), ETH0)], "10.0.1.2", 1480),
        (vec![route("10.0.2.0/24", Some("10.0.1.2"), ETH0), worse.clone()], "10.0.1.2", 1480),
        (vec![worse.clone(), route("10.0.2.0/24", Some("10.0.1.2"), ETH0)], "10.0.1.2", 1480),
        (vec![worse], "10.0.1.3", 1480),
        (vec![ours], "10.0.1.1", 1480),
        (
            vec![KernelRoute { mtu: Some(1400), ..route("10.0.2.0/24", Some("10.0.1.2"), ETH0) }],
            "10.0.1.2",
            1380,
        ),
        (
            vec![KernelRoute { mtu: Some(9000), ..route("10.0.2.0/24", Some("10.0.1.2"), ETH0) }],
            "10.0.1.2",
            1480,
        ),
        (vec![KernelRoute { mtu: Some(1400), ..route("10.0.2.11/32", None, ETH0) }], "10.0.2.11", 1400),
    ];
    for (more, gateway, mtu) in cases {
        let mut view = host();
        view.routes.extend(more.clone());
        let resolved = resolved_on(&view, &nodes(), &[]);
        let b1 = resolved.wanted.datapath.next_hops[&node_key("b1")];
        assert_eq!((b1.gateway, b1.mtu), (mapped(gateway), mtu), "{more:?}");
        let kernel = &resolved.wanted.host.routes[&prefix("10.244.3.0/24")];
        assert_eq!((kernel.gateway, kernel.mtu), (Some(gateway.parse().unwrap()), Some(mtu)), "{more:?}");
    }
}

#[test]
fn a_node_without_a_way_to_it_is_told_by_name_and_address() {
    let to_b1 = |change: fn(&mut KernelRoute)| {
        let mut route = route("10.0.2.0/24", Some("10.0.1.2"), ETH0);
        change(&mut route);
        route
    };
    let cases = [
        (to_b1(|route| (route.kind, route.link) = (RouteKind::Blackhole, None)), "is a blackhole"),
        (to_b1(|route| route.kind = RouteKind::Other), "is a blackhole or of another kind"),
        (to_b1(|route| route.link = None), "names no single interface"),
        (to_b1(|route| route.link = Some(9)), "interface index 9, which does not exist"),
        (to_b1(|route| route.link = Some(7)), "veth-web, which is down"),
        (to_b1(|route| route.gateway = Some("fe80::1".parse().unwrap())), "another address family"),
    ];
    for (route, why) in cases {
        let mut view = host();
        view.links[2].up = false;
        view.routes.push(route);
        let resolved = resolved_on(&view, &nodes(), &[]);
        assert_one_problem(&resolved, ProblemKind::NoRouteToNode, &["no route to node b1 (10.0.2.11)", why]);
        assert!(resolved.refused[&prefix("10.244.3.0/24")].contains(why));
        assert!(!routes(&resolved).iter().any(|route| route.contains("b1")));
    }
    let mut view = host();
    view.routes.remove(0);
    assert_one_problem(
        &resolved_on(&view, &nodes(), &[]),
        ProblemKind::NoRouteToNode,
        &["b1", "has no route"],
    );
}

#[test]
fn addresses_that_cannot_be_are_told() {
    let mut view = host();
    view.addresses.push(held(ETH0, "10.0.1.12/24"));
    let resolved = resolved_on(&view, &nodes(), &[]);
    let says =
        ["10.0.1.12 of node a2 is this host's own, on eth0", "cluster.yaml:a2", "is 'a1' the right name"];
    assert_one_problem(&resolved, ProblemKind::RemoteAddressIsLocal, &says);

    let mut view = host();
    view.addresses.pop();
    let resolved = resolved_on(&view, &nodes(), &[]);
    assert_one_problem(
        &resolved,
        ProblemKind::OwnAddressNotOnLink,
        &["10.0.1.11", "'a1'", "cluster.yaml:a1"],
    );
    assert_eq!(resolved.wanted.datapath.settings.node_v4, mapped("10.0.1.11"));
}
