use std::collections::BTreeMap;

use node_ebpf_common::NextHop;

use super::*;
use crate::{
    model::{AddressFamily, NextHopKey, NodePath, RouteKind, WantedRoute},
    rib::{GoneRoute, NewRoute},
};

fn kernel(destination: &str) -> KernelRoute {
    KernelRoute {
        destination: destination.parse().unwrap(),
        kind: RouteKind::Unicast,
        link: Some(2),
        gateway: Some("10.0.1.12".parse().unwrap()),
        onlink: true,
        source: None,
        mtu: Some(1500),
        protocol: KernelRoute::PROTOCOL,
        metric: 0,
        legs: None,
    }
}

fn next_hop() -> NextHopKey {
    let (inner, outer) = (AddressFamily::V4, AddressFamily::V4);
    NextHopKey::Node(NodePath { node: "a2".parse().unwrap(), inner, outer })
}

fn amendment() -> Amendment {
    let new = NewRoute {
        prefix: "10.252.0.0/24".parse().unwrap(),
        route: WantedRoute { next_hop: next_hop(), flags: 0 },
        like: "10.244.2.0/24".parse().unwrap(),
        kernel: kernel("10.252.0.0/24"),
    };
    let gone = GoneRoute { prefix: "10.250.0.0/24".parse().unwrap(), kernel: kernel("10.250.0.0/24") };
    Amendment { added: vec![new], removed: vec![gone] }
}

fn observed(identity: u64) -> ObservedDatapath {
    ObservedDatapath {
        routes: BTreeMap::from([("10.244.2.0/24".parse().unwrap(), Route { next_hop: 5, flags: 0 })]),
        next_hops: BTreeMap::from([(5, NextHop { identity, ..NextHop::default() })]),
        ..ObservedDatapath::default()
    }
}

#[test]
fn new_routes_come_before_old_ones_go() {
    let observed = observed(next_hop().identity());
    let steps = steps(&amendment(), &observed, &HostView::default()).unwrap();
    let texts = |texts: Vec<String>| texts.join("; ");
    assert_eq!(
        texts(steps.maps.iter().map(ToString::to_string).collect()),
        "write route 10.252.0.0/24 to next hop 5; delete route 10.250.0.0/24"
    );
    assert_eq!(
        texts(steps.host.iter().map(ToString::to_string).collect()),
        "add route 10.252.0.0/24 via 10.0.1.12 dev #2 onlink mtu 1500; \
         delete route 10.250.0.0/24 via 10.0.1.12 dev #2 onlink mtu 1500"
    );
}

#[test]
fn a_datapath_that_is_not_as_thought_is_left_alone() {
    assert_eq!(steps(&amendment(), &observed(1), &HostView::default()), None, "another next hop");
    let empty = ObservedDatapath::default();
    assert_eq!(steps(&amendment(), &empty, &HostView::default()), None, "no route to be like");
}
