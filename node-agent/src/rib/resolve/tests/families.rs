//! Both families: by which addresses nodes reach each other, and what becomes of pods' packets.

use super::*;
use crate::model::{AddressFamily::*, PlaceholderNeighbour};

/// Node a1 with both families, and a default route of each.
fn dual_host() -> HostView {
    let mut view = host();
    view.addresses.push(held(ETH0, "fd00:1::11/64"));
    view.routes.extend([route("::/0", Some("fe80::1"), ETH0), route("fd00:1::/64", None, ETH0)]);
    view
}

/// The address of node a1 (11), a2 (12) or, behind the router, b1 (13), in one family.
fn address(family: AddressFamily, adjacent: bool, last: u8) -> String {
    match (family, adjacent) {
        (V4, true) => format!("10.0.1.{last}"),
        (V4, false) => format!("10.0.2.{last}"),
        (V6, true) => format!("fd00:1::{last}"),
        (V6, false) => format!("fd00:2::{last}"),
    }
}

/// Node a1 and one remote node, each with these families, and pods of both families.
fn two_nodes(own: &[AddressFamily], remote: &[AddressFamily], adjacent: bool) -> [Node; 2] {
    let addresses = |families: &[AddressFamily], adjacent, last| {
        families.iter().map(|family| address(*family, adjacent, last).parse().unwrap()).collect()
    };
    let mut a1 = node("a1", "10.0.1.11", &["10.244.1.0/24", "fd00:10:1::/64"]);
    a1.addresses = addresses(own, true, 11);
    let mut b1 = node("b1", "10.0.1.13", &["10.244.3.0/24", "fd00:10:3::/64"]);
    b1.addresses = addresses(remote, adjacent, 13);
    [a1, b1]
}

/// What the choice must come to, written down on its own: kind and outer family, or nothing.
fn expected(
    (inner, own, remote): (AddressFamily, &[AddressFamily], &[AddressFamily]),
    adjacent: bool,
    cluster: Cluster,
) -> Option<(NextHopKind, AddressFamily)> {
    let shared = |family| own.contains(&family) && remote.contains(&family);
    let outer = match inner {
        V4 if shared(V4) => V4,
        V6 if shared(V6) => V6,
        V4 if shared(V6) => V6,
        V6 if shared(V4) => V4,
        _ => return None,
    };
    let six_in_four = inner == V6 && outer == V4;
    let kind = match (cluster.encapsulation, cluster.non_adjacent) {
        (EncapsulationMode::Always, _) => NextHopKind::Ipip,
        _ if adjacent && !six_in_four => NextHopKind::Direct,
        (EncapsulationMode::Never, NonAdjacent::Refuse) => return None,
        _ => NextHopKind::Ipip,
    };
    Some((kind, outer))
}

/// Every combination of the nodes' addresses, pod family, adjacency and mode.
#[test]
fn table_of_families() {
    let sets: [&[AddressFamily]; 3] = [&[V4], &[V6], &[V4, V6]];
    let modes = [EncapsulationMode::Never, EncapsulationMode::Always, EncapsulationMode::CrossSubnet];
    let mut seen = 0;
    for (own, remote) in sets.iter().flat_map(|own| sets.iter().map(move |remote| (*own, *remote))) {
        for (adjacent, encapsulation) in [true, false].into_iter().flat_map(|a| modes.map(|m| (a, m))) {
            for non_adjacent in [NonAdjacent::Refuse, NonAdjacent::Ipip] {
                let cluster = Cluster { encapsulation, non_adjacent };
                let selection = selection(cluster, &two_nodes(own, remote, adjacent), &[]);
                let resolved = resolve(&selection, &dual_host(), &ResolveSettings::default());
                assert_whole(&resolved);
                for (inner, pods) in [(V4, "10.244.3.0/24"), (V6, "fd00:10:3::/64")] {
                    let case =
                        format!("{inner} pods, {own:?} to {remote:?}, adjacent {adjacent}, {cluster:?}");
                    let expected = expected((inner, own, remote), adjacent, cluster);
                    assert_way(&resolved, prefix(pods), inner, adjacent, expected, &case);
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 9 * 2 * 6 * 2);
}

/// Asserts where a prefix leads, in the maps and in the kernel, and that a refusal is a problem.
fn assert_way(
    resolved: &Resolved,
    pods: Prefix,
    inner: AddressFamily,
    adjacent: bool,
    expected: Option<(NextHopKind, AddressFamily)>,
    case: &str,
) {
    let Wanted { datapath, host } = &resolved.wanted;
    let Some((kind, outer)) = expected else {
        assert!(!datapath.routes.contains_key(&pods) && !host.routes.contains_key(&pods), "{case}");
        let kinds: Vec<_> = resolved.problems.iter().map(|problem| problem.kind).collect();
        let told = kinds.contains(&ProblemKind::NoCommonFamily) || kinds.contains(&ProblemKind::NotAdjacent);
        assert!(told && resolved.refused.contains_key(&pods), "{case}: {kinds:?}");
        return;
    };
    let key = &datapath.routes[&pods].next_hop;
    assert_eq!(key, &way_key("b1", inner, outer), "{case}");
    let hop = datapath.next_hops[key];
    let remote = address(outer, adjacent, 13);
    let gateway = match (adjacent, outer) {
        (true, _) => remote.as_str(),
        (false, V4) => "10.0.1.1",
        (false, V6) => "fe80::1",
    };
    assert_eq!((hop.kind, hop.gateway), (kind as u32, mapped(gateway)), "{case}");
    assert_eq!(hop.tunnel_source, mapped(&address(outer, true, 11)), "{case}");
    assert_eq!(hop.tunnel_destination, mapped(&remote), "{case}");
    let overhead = match (kind, outer) {
        (NextHopKind::Direct, _) => 0,
        (_, V4) => 20,
        (_, V6) => 40,
    };
    assert_eq!(hop.mtu, 1500 - overhead, "{case}");

    let kernel = &host.routes[&pods];
    let stand_in = inner == V6 && outer == V4;
    let expected_gateway =
        if stand_in { IpAddr::V6(PlaceholderNeighbour::ADDRESS) } else { gateway.parse().unwrap() };
    assert_eq!((kernel.gateway, kernel.onlink), (Some(expected_gateway), true), "{case}");
    assert_eq!((kernel.link, kernel.mtu), (Some(ETH0), Some(hop.mtu)), "{case}");
    assert_eq!(kernel.source.map(AddressFamily::from), Some(inner), "{case}");
    assert_eq!(host.neighbours.contains(&PlaceholderNeighbour::on(ETH0)), has_stand_in(resolved), "{case}");
}

fn has_stand_in(resolved: &Resolved) -> bool {
    resolved.wanted.datapath.next_hops.keys().any(|key| {
        matches!(key, NextHopKey::Node(path) if
        (path.inner, path.outer) == (V6, V4))
    }) && resolved
        .wanted
        .host
        .routes
        .values()
        .any(|route| route.gateway == Some(IpAddr::V6(PlaceholderNeighbour::ADDRESS)))
}

#[test]
fn both_families_on_a1_are_whole() {
    let mut dual = web();
    dual.addresses.push("fd00:10:1::10".parse().unwrap());
    let nodes = two_nodes(&[V4, V6], &[V4, V6], false);
    let resolved = resolved_on(&dual_host(), &nodes, &[dual]);
    assert_eq!(resolved.problems, []);
    assert_whole(&resolved);
    assert_eq!(
        routes(&resolved),
        [
            "10.0.1.11/32 host",
            "10.0.2.13/32 node b1 !",
            "10.244.1.0/24 unassigned",
            "10.244.1.1/32 host",
            "10.244.1.10/32 pod default/web",
            "10.244.3.0/24 node b1",
            "fd00:1::11/128 host",
            "fd00:2::13/128 node b1 (IPv6) !",
            "fd00:10:1::/64 unassigned",
            "fd00:10:1::1/128 host",
            "fd00:10:1::10/128 pod default/web",
            "fd00:10:3::/64 node b1 (IPv6)",
        ]
    );
    let Wanted { datapath, host } = &resolved.wanted;
    let settings = Settings { node_v4: mapped("10.0.1.11"), node_v6: mapped("fd00:1::11") };
    assert_eq!(datapath.settings, settings);
    let endpoint = datapath.endpoints[&7];
    assert_eq!(endpoint.address_v4, mapped("10.244.1.10"));
    assert_eq!(endpoint.address_v6, mapped("fd00:10:1::10"));
    let own = |address: &str| OwnAddress { link: 1, address: address.parse().unwrap() };
    assert_eq!(host.addresses, BTreeSet::from([own("10.244.1.1"), own("fd00:10:1::1")]));
    assert_eq!(host.routes[&prefix("fd00:10:1::/64")].kind, RouteKind::Blackhole);
    let pod = &host.routes[&prefix("fd00:10:1::10/128")];
    assert_eq!((pod.link, pod.gateway), (Some(7), None));
    assert!(host.neighbours.is_empty());
    assert!(host.has(V4) && host.has(V6));
    assert_eq!(host.uplinks, BTreeSet::from(["eth0".to_owned()]));
}

/// The kernel makes a route of it, as if it were a network that the host is connected to.
#[test]
fn our_own_address_on_the_loopback_is_no_overlap() {
    let mut view = dual_host();
    view.addresses.push(held(1, "fd00:10:1::1/128"));
    view.routes.push(route("fd00:10:1::1/128", None, 1));
    assert_eq!(resolved_on(&view, &two_nodes(&[V4, V6], &[V4, V6], false), &[]).problems, []);
}

#[test]
fn every_way_to_a_node_has_an_object_of_its_own() {
    let ways = AddressFamily::ALL.iter().flat_map(|inner| AddressFamily::ALL.map(|outer| (*inner, outer)));
    let keys: Vec<NextHopKey> = ways.map(|(inner, outer)| way_key("b1", inner, outer)).collect();
    let identities: BTreeSet<u64> = keys.iter().map(NextHopKey::identity).collect();
    assert_eq!(identities.len(), 4);
    let texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["node b1", "node b1 (IPv4 over IPv6)", "node b1 (IPv6 over IPv4)", "node b1 (IPv6)"]);
}

#[test]
fn nodes_without_a_common_family_are_told_with_what_they_have() {
    let resolved = resolved_on(&dual_host(), &two_nodes(&[V4], &[V6], true), &[]);
    let says = "node b1 (fd00:1::13) and this node 'a1' (10.0.1.11) have no address of the same family";
    for (problem, family) in resolved.problems.iter().zip(["IPv4", "IPv6"]) {
        assert_eq!(problem.kind, ProblemKind::NoCommonFamily);
        assert!(problem.text.contains(says) && problem.text.contains(family), "{problem}");
    }
    assert_eq!(resolved.problems.len(), 2, "one for each family of pods");
    assert_eq!(resolved.refused[&prefix("10.244.3.0/24")], says);
}

#[test]
fn ipv6_pods_without_ipv6_nodes_in_mode_never_say_what_to_do() {
    let never = Cluster { encapsulation: EncapsulationMode::Never, non_adjacent: NonAdjacent::Refuse };
    let selection = selection(never, &two_nodes(&[V4], &[V4, V6], true), &[]);
    let resolved = resolve(&selection, &dual_host(), &ResolveSettings::default());
    let says = [
        "node b1 (10.0.1.13) and this node have IPv4 addresses in common, but no IPv6 addresses",
        "its IPv6 pods are not reached",
        "or give both nodes IPv6 addresses",
    ];
    assert_one_problem(&resolved, ProblemKind::NotAdjacent, &says);
    assert!(resolved.wanted.datapath.routes.contains_key(&prefix("10.244.3.0/24")), "IPv4 is not touched");
}

/// A node's second address is no reason for a problem as long as there are no pods behind it.
#[test]
fn a_family_without_pods_is_no_problem() {
    let mut nodes = two_nodes(&[V4], &[V4, V6], false);
    nodes.iter_mut().for_each(|node| Arc::make_mut(&mut node.pod_prefixes).truncate(1));
    let mut view = host();
    view.routes[0].destination = prefix("10.0.2.0/24");
    let resolved = resolved_on(&view, &nodes, &[]);
    assert_eq!(resolved.problems, []);
    assert!(!resolved.wanted.host.has(V6), "so nothing of IPv6 is turned on");
}

#[test]
fn a_way_that_is_too_narrow_for_ipv6_is_told() {
    for (mtu, narrow) in [(1300, false), (1299, true), (1280, true)] {
        let mut view = dual_host();
        view.links[1].mtu = mtu;
        let resolved = resolved_on(&view, &two_nodes(&[V4], &[V4], false), &[]);
        if narrow {
            let (says, least) = (format!("of more than {} bytes are lost", mtu - 20), "MTU of 1300 or more");
            assert_one_problem(&resolved, ProblemKind::MtuTooSmall, &["node b1", &says, "eth0", least]);
        } else {
            assert_eq!(resolved.problems, []);
        }
        assert!(resolved.wanted.datapath.routes.contains_key(&prefix("fd00:10:3::/64")), "small ones pass");
    }
}

#[test]
fn a_kernel_without_ipv6_is_a_problem_only_where_ipv6_is_wanted() {
    let mut view = host();
    view.forwarding_v6 = None;
    assert_eq!(resolved_on(&view, &nodes(), &[web()]).problems, []);

    let mut dual = web();
    dual.addresses.push("fd00:10:1::10".parse().unwrap());
    let resolved = resolved_on(&view, &two_nodes(&[V4], &[V4], true), &[dual]);
    let says = ["kernel has no IPv6", "4 prefixes and addresses are left out, the first is fd00:10:1::/64"];
    assert_one_problem(&resolved, ProblemKind::NoIpv6, &says);
    let Wanted { datapath, host } = &resolved.wanted;
    assert!(!host.has(V6) && datapath.routes.keys().all(|prefix| prefix.family() == V4));
    assert!(datapath.routes.contains_key(&prefix("10.244.1.10/32")), "IPv4 is not touched");
    assert!(resolved.refused[&prefix("fd00:10:3::/64")].contains("no IPv6"));
}
