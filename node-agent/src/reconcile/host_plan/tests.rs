use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::model::{Link, RouteKind};

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
    }
}

fn host() -> HostView {
    HostView {
        links: vec![link(LO, "lo"), link(UPLINK, "eth0"), link(POD, "veth-web-0")],
        addresses: vec![],
        routes: vec![],
        forwarding_v4: true,
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
        pod_interfaces: BTreeSet::new(),
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

/// Few values for each field, so that collisions are common.
fn any_route(protocols: &'static [u8]) -> impl Strategy<Value = KernelRoute> {
    let destinations = ["10.1.0.0/24", "10.1.0.0/16", "10.2.0.0/24", "10.2.0.7/32", "fd00::/64"];
    (
        prop::sample::select(destinations.to_vec()),
        prop::option::of(1_u8..4),
        prop::sample::select(vec![0, 0, 7]),
        prop::sample::select(protocols.to_vec()),
        prop::option::of(Just(1400)),
        prop::option::of(prop::sample::select(vec!["10.244.1.1", "10.244.2.1"])),
    )
        .prop_map(|(destination, gateway, metric, protocol, mtu, source)| {
            let route = match gateway {
                Some(last) if destination.contains(':') => via(destination, &format!("fe80::{last}")),
                Some(last) => via(destination, &format!("10.0.0.{last}")),
                None => blackhole(destination),
            };
            let ours = protocol == KernelRoute::PROTOCOL && gateway.is_some() && route.destination.is_v4();
            let source = source.filter(|_| ours).map(address);
            // As the kernel reports it.
            KernelRoute { metric, protocol, mtu, source, ..route }.as_reported()
        })
}

fn any_wanted() -> impl Strategy<Value = WantedHost> {
    let addresses = prop::sample::subsequence(vec!["10.244.1.1", "10.244.2.1"], 0..=2);
    (prop::collection::vec(any_route(&[KernelRoute::PROTOCOL]), 0..8), addresses, any::<bool>()).prop_map(
        |(routes, addresses, pod)| {
            // A route's source is always wanted itself.
            let usable =
                |route: &KernelRoute| route.source.is_none_or(|s| addresses.iter().any(|a| address(a) == s));
            let routes: Vec<_> = routes.into_iter().filter(usable).collect();
            let mut wanted = wanted(&routes, &addresses);
            wanted.pod_interfaces = pod.then(|| "veth-web-0".to_owned()).into_iter().collect();
            wanted
        },
    )
}

fn any_view() -> impl Strategy<Value = HostView> {
    let labels = prop::sample::select(vec!["lo", OwnAddress::LABEL]);
    let net = prop::sample::select(vec!["10.244.1.1/32", "10.244.2.1/32", "10.244.2.1/24", "10.244.3.1/32"]);
    (
        prop::collection::vec(any_route(&[KernelRoute::PROTOCOL, KernelRoute::PROTOCOL, 4]), 0..12),
        prop::collection::vec((net, labels), 0..4),
        any::<[bool; 3]>(),
    )
        .prop_map(|(routes, addresses, [forwarding, pod_forwarding, proxy_arp])| {
            let mut view = HostView { forwarding_v4: forwarding, ..host() };
            view.links[2].forwarding_v4 = pod_forwarding;
            view.links[2].proxy_arp = proxy_arp;
            for (net, label) in addresses {
                let address = on_lo(net, label);
                if !view.addresses.iter().any(|other| other.address == address.address) {
                    view.addresses.push(address);
                }
            }
            for route in routes {
                let usable = route.source.is_none_or(|source| tables::has_address(&view, source));
                if usable && !view.routes.contains(&route) {
                    view.routes.push(route);
                }
            }
            view
        })
}

fn foreign_part(view: &HostView) -> (Vec<KernelRoute>, Vec<InterfaceAddress>) {
    (
        view.routes.iter().filter(|route| !is_our_route(route)).cloned().collect(),
        view.addresses.iter().filter(|address| !is_our_address(address)).cloned().collect(),
    )
}

proptest! {
    #[test]
    fn applied_plan_leaves_nothing_to_do(wanted in any_wanted(), mut view in any_view()) {
        let before = foreign_part(&view);
        let first = plan(&wanted, &view);
        for change in &first.changes {
            tables::apply(change, &mut view);
        }
        let second = plan(&wanted, &view);
        prop_assert_eq!(&second.changes, &vec![]);
        prop_assert_eq!(&second.conflicts, &first.conflicts);
        prop_assert_eq!(foreign_part(&view), before);
        for route in wanted.routes.values() {
            let refused = second.conflicts.iter().any(
                |conflict| matches!(conflict, HostConflict::Route { wanted, .. } if wanted.route == *route));
            prop_assert!(refused || view.routes.contains(route));
        }
        let ours = view.routes.iter().filter(|route| is_our_route(route));
        for route in ours {
            prop_assert_eq!(wanted.routes.get(&route.destination), Some(route));
        }
    }

    #[test]
    fn cleanup_leaves_exactly_the_foreign_part(mut view in any_view()) {
        let before = foreign_part(&view);
        let plan = plan(&WantedHost::default(), &view);
        for change in &plan.changes {
            tables::apply(change, &mut view);
        }
        prop_assert_eq!((view.routes, view.addresses), before);
        prop_assert_eq!(plan.conflicts, vec![]);
    }
}
