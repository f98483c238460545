use std::net::IpAddr;

use super::*;
use crate::model::{Link, RouteKind, VethPeer};

mod mtu;
mod properties;
mod reverse_path;
mod tables;

const LO: u32 = 1;
const UPLINK: u32 = 2;
const POD: u32 = 3;

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        up: true,
        mtu: 1500,
        mac: [2, 0, 0, 0, 0, 1],
        loopback: name == "lo",
        ethernet: name != "lo",
        forwarding_v4: true,
        proxy_arp: true,
        reverse_path: 0,
        ra_unless_forwarding: false,
        peer: None,
    }
}

fn host() -> HostView {
    HostView {
        links: vec![link(LO, "lo"), link(UPLINK, "eth0"), link(POD, "veth-web-0")],
        addresses: vec![],
        routes: vec![],
        neighbours: vec![],
        forwarding_v4: true,
        forwarding_v6: Some(true),
        reverse_path_all: 0,
        path_mtus: BTreeMap::new(),
        failed_neighbours: BTreeSet::new(),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn blackhole(destination: &str) -> KernelRoute {
    KernelRoute {
        destination: destination.parse().unwrap(),
        kind: RouteKind::Blackhole,
        link: None,
        gateway: None,
        onlink: false,
        source: None,
        mtu: None,
        protocol: KernelRoute::PROTOCOL,
        metric: 0,
        legs: None,
    }
}

fn via(destination: &str, gateway: &str) -> KernelRoute {
    KernelRoute {
        kind: RouteKind::Unicast,
        link: Some(UPLINK),
        gateway: Some(address(gateway)),
        onlink: true,
        mtu: Some(1480),
        ..blackhole(destination)
    }
}

fn foreign(route: KernelRoute) -> KernelRoute {
    KernelRoute { protocol: 4, ..route }
}

fn own_address(text: &str) -> OwnAddress {
    OwnAddress { link: LO, address: address(text) }
}

fn on_lo(net: &str, label: &str) -> InterfaceAddress {
    InterfaceAddress { link: LO, address: net.parse().unwrap(), label: Some(label.to_owned()) }
}

fn wanted(routes: &[KernelRoute], addresses: &[&str]) -> WantedHost {
    WantedHost {
        routes: routes.iter().map(|route| (route.destination, route.clone())).collect(),
        addresses: addresses.iter().map(|text| own_address(text)).collect(),
        ..WantedHost::default()
    }
}

fn texts(plan: &HostPlan) -> Vec<String> {
    plan.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn empty_host_gets_everything_in_order() {
    let mut observed = host();
    observed.forwarding_v4 = false;
    observed.links[2].forwarding_v4 = false;
    observed.links[2].proxy_arp = false;
    let source = Some(address("10.244.1.1"));
    let remote = KernelRoute { source, ..via("10.244.2.0/24", "10.0.1.12") };
    let pod = KernelRoute { kind: RouteKind::Unicast, link: Some(POD), ..blackhole("10.244.1.10/32") };
    let mut wanted = wanted(&[remote, pod, blackhole("10.244.1.0/24")], &["10.244.1.1"]);
    wanted.pod_interfaces = BTreeSet::from(["veth-web-0".to_owned(), "veth-not-there-yet".to_owned()]);
    let plan = plan(&wanted, &observed);
    assert_eq!(
        texts(&plan),
        [
            "set net/ipv4/ip_forward = 1",
            "set net/ipv4/conf/veth-web-0/forwarding = 1",
            "set net/ipv4/conf/veth-web-0/proxy_arp = 1",
            "add address 10.244.1.1/32 dev lo label lo:podroute",
            "add route blackhole 10.244.1.0/24",
            "add route 10.244.1.10/32 dev veth-web-0",
            "add route 10.244.2.0/24 via 10.0.1.12 dev eth0 onlink src 10.244.1.1 mtu 1480",
        ]
    );
    assert_eq!(plan.conflicts, []);
}

#[test]
fn ipv6_is_turned_on_only_for_what_is_ipv6_and_keeps_the_uplinks_default_route() {
    let mut observed = HostView { forwarding_v6: Some(false), ..host() };
    observed.links[1].ra_unless_forwarding = true;
    observed.links[2].ra_unless_forwarding = true;
    let uplinks = BTreeSet::from(["eth0".to_owned(), "eth9".to_owned()]);
    let with = |routes: &[KernelRoute]| WantedHost { uplinks: uplinks.clone(), ..wanted(routes, &[]) };
    let v6 = with(&[via("fd00:2::/64", "fe80::2")]);
    assert_eq!(
        texts(&plan(&v6, &observed))[..2],
        ["set net/ipv6/conf/eth0/accept_ra = 2", "set net/ipv6/conf/all/forwarding = 1"],
    );
    let v4 = with(&[via("10.1.0.0/24", "10.0.0.2")]);
    assert!(texts(&plan(&v4, &observed)).iter().all(|text| !text.contains("ipv6")));
    for forwarding in [Some(true), None] {
        observed.forwarding_v6 = forwarding;
        assert!(texts(&plan(&v6, &observed)).iter().all(|text| !text.starts_with("set")), "{forwarding:?}");
    }
}

#[test]
fn a_placeholder_is_there_before_its_routes_and_goes_after_them() {
    let ours = PlaceholderNeighbour::on(UPLINK);
    let route = via("fd00:2::/64", "fe80::5044:524f:5554");
    let six_in_four =
        WantedHost { neighbours: BTreeSet::from([ours]), ..wanted(std::slice::from_ref(&route), &[]) };
    let neighbour = "neighbour fe80::5044:524f:5554 dev eth0 lladdr 02:50:44:52:4f:55 permanent";
    let route_text = "route fd00:2::/64 via fe80::5044:524f:5554 dev eth0 onlink";
    let in_order = |changes: Vec<String>, starts: [String; 2]| {
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(changes.iter().zip(starts).all(|(change, start)| change.starts_with(&start)), "{changes:?}");
    };
    in_order(texts(&plan(&six_in_four, &host())), [format!("set {neighbour}"), format!("add {route_text}")]);
    let mut observed = HostView { neighbours: vec![ours], routes: vec![route.as_reported()], ..host() };
    assert_eq!(plan(&six_in_four, &observed), HostPlan::default());
    in_order(
        texts(&plan(&WantedHost::default(), &observed)),
        [format!("delete {route_text}"), format!("delete {neighbour}")],
    );
    observed.neighbours = vec![PlaceholderNeighbour { mac: [0; 6], ..ours }];
    assert_eq!(texts(&plan(&six_in_four, &observed)), [format!("set {neighbour}")]);
}

#[test]
fn only_the_difference_is_planned() {
    type Case = (&'static str, Vec<KernelRoute>, Vec<KernelRoute>, &'static [&'static str]);
    let cases: [Case; 7] = [
        ("the same", vec![via("10.1.0.0/24", "10.0.0.2")], vec![via("10.1.0.0/24", "10.0.0.2")], &[]),
        (
            "another gateway",
            vec![via("10.1.0.0/24", "10.0.0.3")],
            vec![via("10.1.0.0/24", "10.0.0.2")],
            &["replace route 10.1.0.0/24 via 10.0.0.3 dev eth0 onlink mtu 1480"],
        ),
        (
            "another path MTU",
            vec![KernelRoute { mtu: Some(1400), ..via("10.1.0.0/24", "10.0.0.2") }],
            vec![via("10.1.0.0/24", "10.0.0.2")],
            &["replace route 10.1.0.0/24 via 10.0.0.2 dev eth0 onlink mtu 1400"],
        ),
        (
            "another metric: the new one is there before the old one goes",
            vec![via("10.1.0.0/24", "10.0.0.2")],
            vec![KernelRoute { metric: 5, ..via("10.1.0.0/24", "10.0.0.2") }],
            &[
                "add route 10.1.0.0/24 via 10.0.0.2 dev eth0 onlink mtu 1480",
                "delete route 10.1.0.0/24 via 10.0.0.2 dev eth0 onlink metric 5 mtu 1480",
            ],
        ),
        (
            "twice, one of them right",
            vec![via("10.1.0.0/24", "10.0.0.3")],
            vec![via("10.1.0.0/24", "10.0.0.2"), via("10.1.0.0/24", "10.0.0.3")],
            &["delete route 10.1.0.0/24 via 10.0.0.2 dev eth0 onlink mtu 1480"],
        ),
        (
            "twice, both wrong: the first is what the kernel replaces",
            vec![blackhole("10.1.0.0/24")],
            vec![via("10.1.0.0/24", "10.0.0.2"), via("10.1.0.0/24", "10.0.0.3")],
            &[
                "replace route blackhole 10.1.0.0/24",
                "delete route 10.1.0.0/24 via 10.0.0.3 dev eth0 onlink mtu 1480",
            ],
        ),
        (
            "no longer wanted, beside a foreign one",
            vec![],
            vec![via("10.1.0.0/24", "10.0.0.2"), foreign(via("10.2.0.0/24", "10.0.0.2"))],
            &["delete route 10.1.0.0/24 via 10.0.0.2 dev eth0 onlink mtu 1480"],
        ),
    ];
    for (name, wanted_routes, routes, expected) in cases {
        let observed = HostView { routes, ..host() };
        assert_eq!(texts(&plan(&wanted(&wanted_routes, &[]), &observed)), expected, "{name}");
    }
}

#[test]
fn foreign_route_in_the_same_place_is_a_conflict() {
    let ours = via("10.1.0.0/24", "10.0.0.2");
    let theirs = foreign(via("10.1.0.0/24", "10.0.0.9"));
    let observed = HostView { routes: vec![theirs.clone()], ..host() };
    let plan = plan(&wanted(std::slice::from_ref(&ours), &[]), &observed);
    assert_eq!(plan.changes, []);
    let interface = Some("eth0".to_owned());
    assert_eq!(
        plan.conflicts,
        [HostConflict::Route {
            wanted: RouteChange { route: ours, interface: interface.clone() },
            found: RouteChange { route: theirs, interface },
        }]
    );
    let text = plan.conflicts[0].to_string();
    assert!(
        text.contains(
            "meets a route of protocol 4 with the same destination and metric (10.1.0.0/24 via 10.0.0.9"
        ),
        "{text}"
    );
}

#[test]
fn foreign_route_with_another_metric_is_no_conflict() {
    let theirs = KernelRoute { metric: 100, ..foreign(via("10.1.0.0/24", "10.0.0.9")) };
    let observed = HostView { routes: vec![theirs], ..host() };
    let plan = plan(&wanted(&[via("10.1.0.0/24", "10.0.0.2")], &[]), &observed);
    assert_eq!(texts(&plan), ["add route 10.1.0.0/24 via 10.0.0.2 dev eth0 onlink mtu 1480"]);
    assert_eq!(plan.conflicts, []);
}

#[test]
fn stale_route_of_ours_behind_a_foreign_one_is_removed() {
    let stale = via("10.1.0.0/24", "10.0.0.2");
    let observed = HostView { routes: vec![foreign(via("10.1.0.0/24", "10.0.0.9")), stale], ..host() };
    let plan = plan(&wanted(&[via("10.1.0.0/24", "10.0.0.3")], &[]), &observed);
    assert_eq!(texts(&plan), ["delete route 10.1.0.0/24 via 10.0.0.2 dev eth0 onlink mtu 1480"]);
    assert_eq!(plan.conflicts.len(), 1);
}

#[test]
fn ipv6_metric_that_the_kernel_fills_in_is_no_difference() {
    let ours = via("fd00:1::/64", "fe80::1");
    let observed = HostView { routes: vec![KernelRoute { metric: 1024, ..ours.clone() }], ..host() };
    assert_eq!(plan(&wanted(&[ours], &[]), &observed), HostPlan::default());
}

#[test]
fn addresses_are_told_apart_by_their_label() {
    let observed = HostView {
        addresses: vec![
            on_lo("127.0.0.1/8", "lo"),
            on_lo("10.244.1.1/32", "lo"),
            on_lo("10.244.8.1/32", OwnAddress::LABEL),
            on_lo("10.244.9.1/32", OwnAddress::LABEL),
        ],
        ..host()
    };
    let plan = plan(&wanted(&[], &["10.244.1.1", "10.244.2.1", "10.244.8.1"]), &observed);
    assert_eq!(
        texts(&plan),
        [
            "add address 10.244.2.1/32 dev lo label lo:podroute",
            "delete address 10.244.9.1/32 dev lo label lo:podroute",
        ]
    );
    let conflicts: Vec<_> = plan.conflicts.iter().map(ToString::to_string).collect();
    assert_eq!(conflicts.len(), 1);
    assert!(conflicts[0].starts_with("address 10.244.1.1/32 on lo was there before"), "{}", conflicts[0]);
}

#[test]
fn cleanup_removes_what_is_ours_and_only_that() {
    let observed = HostView {
        addresses: vec![on_lo("127.0.0.1/8", "lo"), on_lo("10.244.1.1/32", OwnAddress::LABEL)],
        routes: vec![
            foreign(via("0.0.0.0/0", "10.0.0.9")),
            blackhole("10.244.1.0/24"),
            foreign(via("10.244.1.0/24", "10.0.0.9")),
        ],
        forwarding_v4: false,
        ..host()
    };
    let plan = plan(&WantedHost::default(), &observed);
    assert_eq!(
        texts(&plan),
        ["delete route blackhole 10.244.1.0/24", "delete address 10.244.1.1/32 dev lo label lo:podroute"]
    );
    assert!(plan.changes.iter().all(HostChange::is_removal));
    assert_eq!(plan.conflicts, []);
}
