//! What routers tell of the way to other nodes.

use super::*;

const B1: &str = "10.0.2.11";

/// Node b1 behind the router, with pods of both families, as seen from a1 where a router told of this path MTU.
fn told(mode: EncapsulationMode, uplink: u32, path_mtu: Option<u32>) -> Resolved {
    let mut view = host();
    view.links[1].mtu = uplink;
    // Another node's and a direct one's change nothing for b1.
    view.path_mtus = ["10.0.9.9", "10.0.1.12"].map(|node| (node.parse().unwrap(), 600)).into();
    view.path_mtus.extend(path_mtu.map(|mtu| (B1.parse::<IpAddr>().unwrap(), mtu)));
    let mut nodes = nodes();
    Arc::make_mut(&mut nodes[0].pod_prefixes).push(prefix("fd00:10:1::/64"));
    Arc::make_mut(&mut nodes[2].pod_prefixes).push(prefix("fd00:10:3::/64"));
    let cluster = Cluster { encapsulation: mode, ..Cluster::default() };
    resolve(&selection(cluster, &nodes, &[]), &view, &ResolveSettings::default())
}

fn mtu(resolved: &Resolved, key: &NextHopKey) -> u32 {
    resolved.wanted.datapath.next_hops[key].mtu
}

#[test]
fn the_smaller_of_the_uplinks_and_the_paths_mtu_counts() {
    let v6 = way_key("b1", AddressFamily::V6, AddressFamily::V4);
    for (uplink, path, expected_v4, expected_v6) in [
        (1500, None, 1480, 1480),
        (1500, Some(1400), 1380, 1380),
        (1350, Some(1400), 1330, 1330),
        // IPv6 packets that every link must take are sent in any case.
        (1500, Some(1299), 1279, 1280),
        (1500, Some(552), 532, 1280),
        // Unless the uplink itself cannot.
        (1290, Some(552), 532, 1270),
    ] {
        let resolved = told(EncapsulationMode::CrossSubnet, uplink, path);
        let found = (mtu(&resolved, &node_key("b1")), mtu(&resolved, &v6));
        assert_eq!(found, (expected_v4, expected_v6), "{uplink} {path:?}");
        assert_eq!(mtu(&resolved, &node_key("a2")), uplink, "a2 is direct");
        let kernel = |destination| resolved.wanted.host.routes[&prefix(destination)].mtu;
        assert_eq!(kernel("10.244.3.0/24"), Some(expected_v4));
        assert_eq!(kernel("fd00:10:3::/64"), Some(expected_v6));
        let small = expected_v6.min(path.unwrap_or(uplink) - 20) < 1280;
        let problem = resolved.problems.iter().any(|problem| problem.kind == ProblemKind::MtuTooSmall);
        assert_eq!(problem, small, "{:?}", resolved.problems);
    }
}

#[test]
fn pods_keep_the_mtu_that_the_uplinks_allow() {
    let chosen = |path| told(EncapsulationMode::CrossSubnet, 1500, path).pod_mtu.bytes;
    assert_eq!((chosen(None), chosen(Some(1400))), (Some(1480), Some(1480)));
}

#[test]
fn tunnels_are_known_by_both_ends() {
    let address = |text: &str| text.parse().unwrap();
    let resolved = told(EncapsulationMode::CrossSubnet, 1500, Some(1400));
    for (source, destination, expected) in [
        ("10.0.1.11", B1, Some(1500)),
        ("10.0.1.99", B1, None),
        ("10.0.1.11", "10.0.1.12", None),
        ("10.0.1.11", "10.0.9.9", None),
        (B1, "10.0.1.11", None),
    ] {
        assert_eq!(
            resolved.tunnel_mtu(address(source), address(destination)),
            expected,
            "{source} {destination}"
        );
    }
    let always = told(EncapsulationMode::Always, 1500, None);
    assert_eq!(always.tunnel_mtu(address("10.0.1.11"), address("10.0.1.12")), Some(1500));
}
