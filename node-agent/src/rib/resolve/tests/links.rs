//! Local pods' interfaces and uplinks.

use super::*;

#[test]
fn a_local_pod_is_reached_by_its_interface() {
    let settings = ResolveSettings { source_check: SourceCheck::Loose, ..ResolveSettings::default() };
    let resolved = resolve(&selection(Cluster::default(), &nodes(), &[web()]), &host(), &settings);
    let key = NextHopKey::Pod("default/web".parse().unwrap());
    let expected = NextHop {
        identity: key.identity(),
        kind: NextHopKind::LocalPod as u32,
        interface: 7,
        mtu: 1480,
        mac_destination: [2, 0, 0, 0, 1, 10],
        mac_source: [2, 0, 0, 0, 0, 7],
        ..NextHop::default()
    };
    assert_eq!(resolved.wanted.datapath.next_hops[&key], expected);
    assert_eq!(resolved.wanted.datapath.endpoints[&7].source_check, SourceCheck::Loose as u32);

    let unknown_mac = resolved_on(&host(), &nodes(), &[Pod { mac: None, ..web() }]);
    assert_eq!(unknown_mac.wanted.datapath.next_hops[&key].mac_destination, [0; 6]);
}

/// A pod that cannot be delivered to stays unassigned: its packets are dropped here, and do not loop.
#[test]
fn a_pod_without_a_usable_interface_is_told_and_stays_unassigned() {
    type Change = fn(&mut HostView);
    let cases: [(&str, Change, &str); 6] = [
        ("veth-gone", |_| {}, "interface veth-gone of pod default/web does not exist"),
        ("veth-web", |view| view.links[2].up = false, "interface veth-web of pod default/web is down"),
        ("veth-web", |view| view.links[2].ethernet = false, "veth-web of pod default/web is no Ethernet"),
        ("eth0", |_| {}, "loopback or uplink"),
        ("lo", |_| {}, "loopback or uplink"),
        ("veth-web", |view| view.links[2].loopback = true, "loopback or uplink"),
    ];
    for (interface, change, why) in cases {
        let mut view = host();
        change(&mut view);
        let resolved = resolved_on(&view, &nodes(), &[Pod { interface: interface.into(), ..web() }]);
        let says = ["default/web", why, "cluster.yaml:default/web", "10.244.1.10"];
        assert_one_problem(&resolved, ProblemKind::PodInterfaceUnusable, &says);
        let address = prefix("10.244.1.10/32");
        assert!(resolved.refused.contains_key(&address));
        assert!(!resolved.wanted.datapath.routes.contains_key(&address));
        assert_eq!(
            resolved.wanted.datapath.routes[&prefix("10.244.1.0/24")].next_hop,
            NextHopKey::Unassigned
        );
        assert!(!resolved.wanted.host.routes.contains_key(&address));
        assert!(resolved.wanted.datapath.endpoints.is_empty());
        assert!(resolved.wanted.host.pod_interfaces.is_empty());
        assert!(resolved.wanted.datapath.attachments.iter().all(|at| at.link == ETH0));
    }
}

/// Otherwise it would follow the prefix of the node that it is borrowed from, which sends it back.
#[test]
fn a_borrowed_address_of_a_pod_without_interface_does_not_loop() {
    for address in ["10.244.3.10", "10.99.0.1"] {
        let lost = Pod { interface: "veth-gone".into(), ..pod("default/web", "a1", address) };
        let resolved = resolved_on(&host(), &nodes(), &[lost]);
        assert_one_problem(&resolved, ProblemKind::PodInterfaceUnusable, &["veth-gone"]);
        let address = Prefix::host(address.parse().unwrap());
        assert_eq!(resolved.wanted.datapath.routes[&address].next_hop, NextHopKey::Unassigned);
        assert_eq!(resolved.wanted.host.routes[&address].kind, RouteKind::Blackhole);
        assert!(resolved.refused[&address].contains("veth-gone"));
    }
}

#[test]
fn one_interface_is_one_pods() {
    let second = Pod { interface: "veth-web".into(), ..pod("default/zeta", "a1", "10.244.1.11") };
    let resolved = resolved_on(&host(), &nodes(), &[second, web()]);
    assert_one_problem(
        &resolved,
        ProblemKind::PodInterfaceUnusable,
        &["interface veth-web of pod default/zeta is pod default/web's already"],
    );
    assert_eq!(resolved.wanted.datapath.endpoints[&7].address_v4, mapped("10.244.1.10"));
}

/// The MTU of the only pod's veth, and where it comes from.
fn pod_mtu(setting: PodMtu, view: &HostView, pods: &[Pod]) -> (Option<u32>, Resolved) {
    let settings = ResolveSettings { pod_mtu: setting, ..ResolveSettings::default() };
    let resolved = resolve(&selection(Cluster::default(), &nodes(), pods), view, &settings);
    (resolved.wanted.host.pod_mtus.get(&7).copied(), resolved)
}

#[test]
fn pods_get_the_uplinks_mtu_less_the_header_that_may_be_needed() {
    let mut view = host();
    let (mtu, resolved) = pod_mtu(PodMtu::Auto, &view, &[web()]);
    assert_eq!((mtu, resolved.pod_mtu.bytes), (Some(1480), Some(1480)));
    assert_eq!(resolved.pod_mtu.from, "eth0 has 1500, less 20 for an outer header");
    assert_eq!(pod_mtu(PodMtu::Keep, &view, &[web()]).0, None);
    assert_eq!(pod_mtu(PodMtu::Fixed(1300), &view, &[web()]).0, Some(1300));
    view.links[1].mtu = 1400;
    assert_eq!(pod_mtu(PodMtu::Auto, &view, &[web()]).0, Some(1380));
    assert_eq!(pod_mtu(PodMtu::Auto, &view, &[]).1.wanted.host.pod_mtus, BTreeMap::new());
}

/// Below it the kernel takes IPv6 addresses off the interface, for good.
#[test]
fn a_pod_with_an_ipv6_address_never_gets_less_than_ipv6_needs() {
    let mut view = host();
    view.links[1].mtu = 1290;
    assert_eq!(pod_mtu(PodMtu::Auto, &view, &[web()]).0, Some(1270), "IPv4 alone");
    let mut dual = web();
    dual.addresses.push("fd00:10:1::10".parse().unwrap());
    let (mtu, resolved) = pod_mtu(PodMtu::Auto, &view, &[dual]);
    assert_eq!(mtu, Some(1280));
    assert_one_problem(&resolved, ProblemKind::MtuTooSmall, &["1270 is too small", "veth-web", "1280"]);
}

fn uplinks(resolved: &Resolved) -> Vec<&str> {
    let at_uplink = resolved.wanted.datapath.attachments.iter().filter(|at| at.hook == Hook::ToUplink);
    at_uplink.map(|at| at.interface.as_str()).collect()
}

#[test]
fn uplinks_hold_the_nodes_address_or_lead_to_other_nodes() {
    let mut view = host();
    view.links.extend([link(3, "eth1"), link(4, "eth2")]);
    view.routes.push(route("10.0.2.0/24", Some("192.168.0.1"), 3));
    assert_eq!(uplinks(&resolved_on(&view, &nodes(), &[web()])), ["eth0", "eth1"], "eth2 leads nowhere");

    view.addresses[1].link = 1;
    assert_eq!(uplinks(&resolved_on(&view, &nodes()[..1], &[])), [""; 0], "never the loopback");
    view.routes.push(route("10.0.1.12/32", Some("10.244.1.10"), 7));
    let resolved = resolved_on(&view, &nodes(), &[web()]);
    assert_eq!(uplinks(&resolved), ["eth1"], "never a pod's interface");
}

#[test]
fn configured_uplinks_are_taken_as_they_are_named() {
    let configured = |names: &[&str], pods: &[Pod]| {
        let mut view = host();
        view.links.push(link(3, "eth1"));
        let uplinks = names.iter().map(ToString::to_string).collect();
        let settings = ResolveSettings { uplinks, ..ResolveSettings::default() };
        resolve(&selection(Cluster::default(), &nodes(), pods), &view, &settings)
    };
    let both = configured(&["eth0", "eth1"], &[]);
    assert_eq!(both.problems, []);
    assert_eq!(uplinks(&both), ["eth0", "eth1"]);

    let missing = configured(&["eth0", "eth9"], &[]);
    let says = ["interface eth9 does not exist (have: eth0, eth1, lo, veth-web)"];
    assert_one_problem(&missing, ProblemKind::UplinkUnusable, &says);
    assert_eq!(uplinks(&missing), ["eth0"]);

    assert_one_problem(
        &configured(&["eth0", "lo"], &[]),
        ProblemKind::UplinkUnusable,
        &["lo is no Ethernet interface"],
    );

    let elsewhere = configured(&["eth1"], &[]);
    let says = ["reached through eth0", "not among the configured uplinks (eth1)"];
    assert_one_problem(&elsewhere, ProblemKind::UplinkNotListed, &says);
    assert_eq!(uplinks(&elsewhere), ["eth1"]);

    let pod_on_uplink = configured(&["eth0", "eth1"], &[Pod { interface: "eth1".into(), ..web() }]);
    assert_one_problem(&pod_on_uplink, ProblemKind::PodInterfaceUnusable, &["eth1 of pod default/web"]);
}

/// The programs take an Ethernet header for granted: through a tunnel they would cut into the packet.
#[test]
fn nodes_behind_an_interface_without_ethernet_frames_are_told_and_not_routed() {
    let mut view = host();
    view.links.iter_mut().filter(|link| link.index == ETH0).for_each(|link| link.ethernet = false);
    let resolved = resolved_on(&view, &nodes()[..2], &[]);
    assert_one_problem(&resolved, ProblemKind::NoRouteToNode, &["eth0, which is no Ethernet interface"]);
    assert_eq!(uplinks(&resolved), [""; 0]);
}
