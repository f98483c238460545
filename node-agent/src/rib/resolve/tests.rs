use std::sync::Arc;

use node_ebpf_common::{Address, Route};

use super::*;
use crate::{
    model::{
        Cluster, EncapsulationMode, InterfaceAddress, KernelRoute, Link, Node, NodePath, NonAdjacent, Object,
        Pod, RouteKind, SourceId,
    },
    rib::{
        ConflictKind, Table,
        fixtures::{node, pod, upsert},
        lookup, select,
    },
};

mod families;
mod links;
mod multipath;
mod outside;
mod path_mtu;
mod paths;
mod scale;

const ETH0: u32 = 2;

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        up: true,
        mtu: 1500,
        mac: [2, 0, 0, 0, 0, index.to_be_bytes()[3]],
        loopback: name == "lo",
        ethernet: name != "lo",
        forwarding_v4: true,
        proxy_arp: true,
        reverse_path: 0,
        ra_unless_forwarding: true,
        peer: None,
    }
}

fn held(link: u32, address: &str) -> InterfaceAddress {
    InterfaceAddress { link, address: address.parse().unwrap(), label: None }
}

/// `DESTINATION [via GATEWAY] dev INDEX`, made by DHCP if it has a gateway, otherwise by the kernel.
fn route(destination: &str, gateway: Option<&str>, link: u32) -> KernelRoute {
    KernelRoute {
        destination: destination.parse().unwrap(),
        kind: RouteKind::Unicast,
        link: Some(link),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        onlink: false,
        source: None,
        mtu: None,
        protocol: if gateway.is_some() { 16 } else { 2 },
        metric: 0,
        legs: None,
    }
}

/// Node a1 of `two-subnets`: eth0 in 10.0.1.0/24 with a default route, and a pod's veth.
fn host() -> HostView {
    HostView {
        links: vec![link(1, "lo"), link(ETH0, "eth0"), Link { mtu: 1480, ..link(7, "veth-web") }],
        addresses: vec![held(1, "127.0.0.1/8"), held(ETH0, "10.0.1.11/24")],
        routes: vec![route("0.0.0.0/0", Some("10.0.1.1"), ETH0), route("10.0.1.0/24", None, ETH0)],
        neighbours: vec![],
        forwarding_v4: true,
        forwarding_v6: Some(false),
        reverse_path_all: 0,
        path_mtus: BTreeMap::new(),
        failed_neighbours: BTreeSet::new(),
    }
}

fn nodes() -> [Node; 3] {
    [
        node("a1", "10.0.1.11", &["10.244.1.0/24"]),
        node("a2", "10.0.1.12", &["10.244.2.0/24"]),
        node("b1", "10.0.2.11", &["10.244.3.0/24"]),
    ]
}

fn web() -> Pod {
    pod("default/web", "a1", "10.244.1.10")
}

/// The selection on node a1.
fn selection(cluster: Cluster, nodes: &[Node], pods: &[Pod]) -> Selection {
    let mut table = Table::new([SourceId::FILE]);
    table.apply(upsert(Object::Cluster(cluster)));
    let nodes = nodes.iter().cloned().map(Object::Node);
    for object in nodes.chain(pods.iter().cloned().map(Object::Pod)) {
        table.apply(upsert(object));
    }
    select(&table, &"a1".parse().unwrap())
}

fn resolved_on(host: &HostView, nodes: &[Node], pods: &[Pod]) -> Resolved {
    resolve(&selection(Cluster::default(), nodes, pods), host, &ResolveSettings::default())
}

/// Asserts that every route and group names next hops that are there, and every next hop is named.
fn assert_whole(resolved: &Resolved) {
    let WantedDatapath { next_hops, groups, routes, .. } = &resolved.wanted.datapath;
    let by_routes = routes.values().map(|route| &route.next_hop);
    let named: BTreeSet<&NextHopKey> = by_routes.chain(groups.values().flatten()).collect();
    assert!(groups.iter().all(|(owner, members)| next_hops.contains_key(owner) && members.len() > 1));
    assert_eq!(named, next_hops.keys().collect());
    assert!(next_hops.iter().all(|(key, next_hop)| next_hop.identity == key.identity()));
}

/// Asserts that there is exactly one problem, of this kind, that says all of this.
fn assert_one_problem(resolved: &Resolved, kind: ProblemKind, says: &[&str]) {
    assert_whole(resolved);
    let [problem] = resolved.problems.as_slice() else { panic!("{:#?}", resolved.problems) };
    assert_eq!(problem.kind, kind, "{problem}");
    for text in says {
        assert!(problem.text.contains(text), "{text:?} is not in {problem}");
    }
}

fn mapped(text: &str) -> Address {
    to_map(Some(text.parse().unwrap()))
}

fn node_key(name: &str) -> NextHopKey {
    way_key(name, AddressFamily::V4, AddressFamily::V4)
}

fn way_key(name: &str, inner: AddressFamily, outer: AddressFamily) -> NextHopKey {
    NextHopKey::Node(NodePath { node: name.parse().unwrap(), inner, outer })
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// The routes of the datapath as text.
fn routes(resolved: &Resolved) -> Vec<String> {
    let text = |(prefix, route): (&Prefix, &WantedRoute)| {
        let mark = if route.flags == Route::NODE_ADDRESS { " !" } else { "" };
        format!("{prefix} {}{mark}", route.next_hop)
    };
    resolved.wanted.datapath.routes.iter().map(text).collect()
}

#[test]
fn two_subnets_on_a1_is_whole() {
    let resolved = resolved_on(&host(), &nodes(), &[web(), pod("default/other", "b1", "10.244.2.99")]);
    assert_eq!(resolved.problems, []);
    assert!(!resolved.hold);
    assert_whole(&resolved);
    assert_eq!(
        routes(&resolved),
        [
            "10.0.1.11/32 host",
            "10.0.1.12/32 node a2 !",
            "10.0.2.11/32 node b1 !",
            "10.244.1.0/24 unassigned",
            "10.244.1.1/32 host",
            "10.244.1.10/32 pod default/web",
            "10.244.2.0/24 node a2",
            "10.244.2.99/32 node b1",
            "10.244.3.0/24 node b1",
        ]
    );
    let datapath = &resolved.wanted.datapath;
    assert_eq!(datapath.settings, Settings { node_v4: mapped("10.0.1.11"), node_v6: Address::NONE });
    let at = |link, interface: &str, hook| Attachment { link, interface: interface.into(), hook };
    let attachments = [
        at(ETH0, "eth0", Hook::FromUplink),
        at(ETH0, "eth0", Hook::ToUplink),
        at(7, "veth-web", Hook::FromPod),
        at(7, "veth-web", Hook::ToPod),
    ];
    assert_eq!(datapath.attachments, BTreeSet::from(attachments));
    let endpoint = Endpoint { address_v4: mapped("10.244.1.10"), ..Endpoint::default() };
    assert_eq!(datapath.endpoints, BTreeMap::from([(7, endpoint)]));
}

/// Invariant 5: the kernel's routing table holds the same routes.
#[test]
fn invariant_5_the_kernel_gets_the_routes_that_it_needs_and_no_others() {
    let resolved = resolved_on(&host(), &nodes(), &[web(), pod("default/other", "b1", "10.244.2.99")]);
    let via = |destination: &str, gateway: &str, mtu| KernelRoute {
        onlink: true,
        source: Some("10.244.1.1".parse().unwrap()),
        mtu: Some(mtu),
        protocol: KernelRoute::PROTOCOL,
        ..route(destination, Some(gateway), ETH0)
    };
    let ours = |destination: &str, kind, link| KernelRoute {
        kind,
        link,
        protocol: KernelRoute::PROTOCOL,
        ..route(destination, None, 0)
    };
    let expected = [
        via("10.244.2.0/24", "10.0.1.12", 1500),
        via("10.244.3.0/24", "10.0.1.1", 1480),
        via("10.244.2.99/32", "10.0.1.1", 1480),
        ours("10.244.1.10/32", RouteKind::Unicast, Some(7)),
        ours("10.244.1.0/24", RouteKind::Blackhole, None),
    ];
    let host = &resolved.wanted.host;
    assert_eq!(host.routes, expected.into_iter().map(|route| (route.destination, route)).collect());
    let own = OwnAddress { link: 1, address: "10.244.1.1".parse().unwrap() };
    assert_eq!(host.addresses, BTreeSet::from([own]));
    assert_eq!(host.pod_interfaces, BTreeSet::from(["veth-web".to_owned()]));
}

/// What `routes` shows for a tunnelled prefix.
#[test]
fn a_row_tells_the_whole_way() {
    let pods = [web()];
    let selection = selection(Cluster::default(), &nodes(), &pods);
    let resolved = resolve(&selection, &host(), &ResolveSettings::default());
    let row = lookup(&selection, &resolved, "10.244.3.77".parse().unwrap()).route.unwrap();
    assert_eq!(row.encapsulation, Some("ipip"));
    assert_eq!(row.next_hop, "node b1");
    assert_eq!(row.gateway, Some("10.0.1.1".parse().unwrap()));
    assert_eq!(row.interface.as_deref(), Some("eth0"));
    assert_eq!(row.tunnel_destination, Some("10.0.2.11".parse().unwrap()));
    assert_eq!((row.mtu, row.underlay), (Some(1480), Some(prefix("0.0.0.0/0"))));
    let direct = lookup(&selection, &resolved, "10.244.2.77".parse().unwrap()).route.unwrap();
    assert_eq!((direct.encapsulation, direct.tunnel_destination), (Some("direct"), None));
    let local = lookup(&selection, &resolved, "10.244.1.10".parse().unwrap()).route.unwrap();
    assert_eq!(
        (local.encapsulation, local.interface.as_deref(), local.gateway),
        (Some("local"), Some("veth-web"), None)
    );
}

#[test]
fn an_own_prefix_of_one_address_gets_no_blackhole() {
    let mut nodes = nodes();
    Arc::make_mut(&mut nodes[0].pod_prefixes).push(prefix("10.99.0.1/32"));
    let resolved = resolved_on(&host(), &nodes, &[]);
    assert!(routes(&resolved).contains(&"10.99.0.1/32 unassigned".to_owned()));
    assert!(!resolved.wanted.host.routes.contains_key(&prefix("10.99.0.1/32")));
}

#[test]
fn an_unusable_own_node_holds_everything_as_it_is() {
    let without_a1 = &nodes()[1..];
    let resolved = resolved_on(&host(), without_a1, &[]);
    assert_eq!(resolved, Resolved { hold: true, ..Resolved::default() });
}

#[test]
fn a_prefix_around_a_network_of_the_host_is_refused() {
    let mut view = host();
    view.links.push(link(3, "docker0"));
    view.routes.push(route("172.17.0.0/16", None, 3));
    for (refused, own) in [("172.17.0.0/16", false), ("172.16.0.0/12", false), ("172.17.0.0/16", true)] {
        let mut nodes = nodes();
        Arc::make_mut(&mut nodes[if own { 0 } else { 2 }].pod_prefixes).push(prefix(refused));
        let resolved = resolved_on(&view, &nodes, &[]);
        assert_one_problem(
            &resolved,
            ProblemKind::PrefixOverlapsHost,
            &[
                "prefix overlaps the host's own network",
                refused,
                "172.17.0.0/16 is connected to docker0",
                "cluster.yaml:",
            ],
        );
        let conflict = resolved.problems[0].conflict.as_deref().unwrap();
        assert_eq!((conflict.kind, conflict.about.as_str()), (ConflictKind::PrefixOverlapsHost, refused));
        assert_eq!(conflict.winner.to_string(), "the network 172.17.0.0/16 of docker0");
        assert_eq!(conflict.loser.name, if own { "node a1" } else { "node b1" });
        assert!(resolved.refused[&prefix(refused)].contains("docker0"));
        assert!(!resolved.wanted.datapath.routes.contains_key(&prefix(refused)));
        assert!(!resolved.wanted.host.routes.contains_key(&prefix(refused)));
        assert!(resolved.wanted.host.routes.contains_key(&prefix("10.244.3.0/24")), "the others stay");
    }
    let mut inside = nodes();
    Arc::make_mut(&mut inside[2].pod_prefixes).push(prefix("172.17.5.0/24"));
    assert_eq!(
        resolved_on(&view, &inside, &[]).problems,
        [],
        "a longer prefix takes nothing that is connected"
    );
}

#[test]
fn what_may_be_a_network_of_its_own_is_not_refused() {
    let mut view = host();
    view.routes.push(route("10.0.1.12/32", None, ETH0));
    view.routes.push(route("10.244.1.10/32", None, 7));
    let resolved = resolved_on(&view, &nodes(), &[web()]);
    assert!(routes(&resolved).contains(&"10.0.1.12/32 node a2 !".to_owned()));
    assert!(routes(&resolved).contains(&"10.244.1.10/32 pod default/web".to_owned()));
}

#[test]
fn a_host_without_loopback_is_told() {
    let mut view = host();
    view.links.retain(|link| !link.loopback);
    let resolved = resolved_on(&view, &nodes(), &[]);
    assert_one_problem(&resolved, ProblemKind::NoLoopback, &["no loopback"]);
    assert!(resolved.wanted.host.addresses.is_empty());
}
