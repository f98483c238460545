//! The small cluster that the programs are run in: both families, every kind of next hop and of tunnel.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use node_ebpf_common::{
    Address, Endpoint, GROUP_BUCKETS, NextHop, NextHopGroup, NextHopKind, Route, Settings, SourceCheck,
};

/// This node.
pub const NODE: [u8; 4] = [10, 0, 1, 11];
/// This node's address in its own pod range.
pub const HOST: [u8; 4] = [10, 244, 1, 1];
/// The pod behind the interface that test runs happen on.
pub const POD: [u8; 4] = [10, 244, 1, 10];
/// A second address of that pod.
pub const POD_SECOND: [u8; 4] = [10, 244, 1, 110];
/// Another pod on this node.
pub const LOCAL_POD: [u8; 4] = [10, 244, 1, 11];
/// An address of this node's pod prefix that no pod has.
pub const UNASSIGNED: [u8; 4] = [10, 244, 1, 200];
/// An adjacent node and a pod on it.
pub const DIRECT_NODE: [u8; 4] = [10, 0, 1, 12];
/// A pod on the adjacent node.
pub const DIRECT_POD: [u8; 4] = [10, 244, 2, 10];
/// The gateway of this node's subnet.
pub const GATEWAY: [u8; 4] = [10, 0, 1, 1];
/// A node behind the gateway.
pub const IPIP_NODE: [u8; 4] = [10, 0, 2, 11];
/// A pod on the node behind the gateway.
pub const IPIP_POD: [u8; 4] = [10, 244, 3, 10];
/// A pod on a node that has only an IPv6 address, behind the IPv6 gateway.
pub const POD_OVER_V6: [u8; 4] = [10, 244, 6, 10];
/// A pod on an adjacent node that has only an IPv6 address.
pub const DIRECT_POD_OVER_V6: [u8; 4] = [10, 244, 7, 10];
/// An address outside of the cluster.
pub const OUTSIDE: [u8; 4] = [192, 0, 2, 7];
/// A pod to which several ways lead: by tunnels to `WAYS` and to `NODE_OVER_V6`, and by `DIRECT_NODE`.
pub const POD_SEVERAL_WAYS: [u8; 4] = [10, 244, 8, 10];
/// Tunnels' ends on the ways to it.
pub const WAYS: [[u8; 4]; 2] = [[10, 0, 2, 21], [10, 0, 2, 22]];
/// A pod whose next hop does not exist.
pub const BROKEN: [u8; 4] = [10, 244, 9, 1];

const fn v6(words: [u16; 8]) -> Ipv6Addr {
    let [a, b, c, d, e, f, g, h] = words;
    Ipv6Addr::new(a, b, c, d, e, f, g, h)
}

/// The same in IPv6.
pub const NODE_V6: Ipv6Addr = v6([0xfd00, 0, 0, 1, 0, 0, 0, 0x11]);
/// This node's address in its own pod range.
pub const HOST_V6: Ipv6Addr = v6([0xfd00, 0x244, 1, 0, 0, 0, 0, 1]);
/// The pod behind the interface that test runs happen on.
pub const POD_V6: Ipv6Addr = v6([0xfd00, 0x244, 1, 0, 0, 0, 0, 0x10]);
/// Another pod on this node.
pub const LOCAL_POD_V6: Ipv6Addr = v6([0xfd00, 0x244, 1, 0, 0, 0, 0, 0x11]);
/// An address of this node's pod prefix that no pod has.
pub const UNASSIGNED_V6: Ipv6Addr = v6([0xfd00, 0x244, 1, 0, 0, 0, 0, 0x200]);
/// An adjacent node and a pod on it.
pub const DIRECT_NODE_V6: Ipv6Addr = v6([0xfd00, 0, 0, 1, 0, 0, 0, 0x12]);
/// A pod on the adjacent node.
pub const DIRECT_POD_V6: Ipv6Addr = v6([0xfd00, 0x244, 2, 0, 0, 0, 0, 0x10]);
/// The gateway of this node's subnet.
pub const GATEWAY_V6: Ipv6Addr = v6([0xfd00, 0, 0, 1, 0, 0, 0, 1]);
/// A node behind the gateway.
pub const IPIP_NODE_V6: Ipv6Addr = v6([0xfd00, 0, 0, 2, 0, 0, 0, 0x11]);
/// A pod on the node behind the gateway.
pub const IPIP_POD_V6: Ipv6Addr = v6([0xfd00, 0x244, 3, 0, 0, 0, 0, 0x10]);
/// A pod on a node that has only the IPv4 address `NODE_OVER_V4`.
pub const POD_OVER_V4: Ipv6Addr = v6([0xfd00, 0x244, 5, 0, 0, 0, 0, 0x10]);
/// A pod to which several ways lead: by tunnels to `WAYS_V6` and to `NODE_OVER_V4`, and by `DIRECT_NODE_V6`.
pub const POD_SEVERAL_WAYS_V6: Ipv6Addr = v6([0xfd00, 0x244, 8, 0, 0, 0, 0, 0x10]);
/// Tunnels' ends on the ways to it.
pub const WAYS_V6: [Ipv6Addr; 2] =
    [v6([0xfd00, 0, 0, 2, 0, 0, 0, 0x21]), v6([0xfd00, 0, 0, 2, 0, 0, 0, 0x22])];
/// An address outside of the cluster.
pub const OUTSIDE_V6: Ipv6Addr = v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]);
/// A pod's link-local address.
pub const LINK_LOCAL: Ipv6Addr = v6([0xfe80, 0, 0, 0, 0, 0, 0, 1]);
/// A node that has only an IPv4 address.
pub const NODE_OVER_V4: [u8; 4] = [10, 0, 2, 15];
/// A node behind the gateway that has only an IPv6 address.
pub const NODE_OVER_V6: Ipv6Addr = v6([0xfd00, 0, 0, 2, 0, 0, 0, 0x16]);
/// An adjacent node that has only an IPv6 address.
pub const DIRECT_NODE_OVER_V6: Ipv6Addr = v6([0xfd00, 0, 0, 1, 0, 0, 0, 0x17]);

/// MAC inside `LOCAL_POD`.
pub const LOCAL_POD_MAC: [u8; 6] = [2, 0, 0, 0, 1, 11];
/// MAC of the host side of `LOCAL_POD`'s veth.
pub const HOST_SIDE_MAC: [u8; 6] = [0xee; 6];

/// Test runs happen on the loopback unless told otherwise.
pub const LOOPBACK: u32 = 1;
/// The interface of `LOCAL_POD`.
pub const LOCAL_POD_INTERFACE: u32 = 5;
/// Index of the next hop of `DIRECT_NODE`.
pub const DIRECT_NEXT_HOP: u32 = 5;
/// Index of the next hop of `IPIP_NODE`.
pub const IPIP_NEXT_HOP: u32 = 6;
/// Index of the next hop of `DIRECT_NODE_V6`.
pub const DIRECT_NEXT_HOP_V6: u32 = 7;
const UPLINK: u32 = 3;
const BROKEN_NEXT_HOP: u32 = 99;
/// Index of the group of `POD_SEVERAL_WAYS`.
pub const GROUP: u32 = 1;
/// Index of the group of `POD_SEVERAL_WAYS_V6`.
pub const GROUP_V6: u32 = 2;

/// What the maps hold.
pub struct Cluster {
    /// The node's own addresses.
    pub settings: Settings,
    /// The pod behind the interface of test runs.
    pub endpoint: Endpoint,
    /// Next hops by index.
    pub next_hops: Vec<(u32, NextHop)>,
    /// Next-hop groups by index.
    pub groups: Vec<(u32, NextHopGroup)>,
    /// Routes.
    pub routes: Vec<(IpNet, Route)>,
}

/// An address as the maps hold it.
pub fn to_map(address: impl Into<IpAddr>) -> Address {
    match address.into() {
        IpAddr::V4(v4) => Address::from_v4(v4.octets()),
        IpAddr::V6(v6) => Address::from_octets(v6.octets()),
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

impl Cluster {
    /// The cluster.
    pub fn new() -> Self {
        Self {
            settings: Settings { node_v4: to_map(NODE), node_v6: to_map(NODE_V6) },
            endpoint: Endpoint {
                address_v4: to_map(POD),
                address_v6: to_map(POD_V6),
                source_check: SourceCheck::Strict as u32,
                reserved: 0,
            },
            next_hops: next_hops(),
            groups: groups(),
            routes: routes(),
        }
    }

    /// The route with the longest prefix.
    pub fn route(&self, address: IpAddr) -> Option<Route> {
        let matching = self.routes.iter().filter(|(prefix, _)| prefix.contains(&address));
        matching.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, route)| *route)
    }

    /// The next-hop group with this index.
    pub fn group(&self, index: u32) -> Option<NextHopGroup> {
        self.groups.iter().find(|(known, _)| *known == index).map(|(_, group)| *group)
    }

    /// The next hop with this index, if it is in use.
    pub fn next_hop(&self, index: u32) -> Option<NextHop> {
        self.next_hops.iter().find(|(known, _)| *known == index).map(|(_, next_hop)| *next_hop)
    }
}

fn next_hops() -> Vec<(u32, NextHop)> {
    let fixed = |kind: NextHopKind, interface, mtu| NextHop {
        identity: 1,
        kind: kind as u32,
        interface,
        mtu,
        ..NextHop::default()
    };
    let node = |kind, gateway: IpAddr, tunnel_destination: IpAddr, mtu| NextHop {
        gateway: to_map(gateway),
        tunnel_source: if tunnel_destination.is_ipv4() { to_map(NODE) } else { to_map(NODE_V6) },
        tunnel_destination: to_map(tunnel_destination),
        ..fixed(kind, UPLINK, mtu)
    };
    let (direct, ipip) = (NextHopKind::Direct, NextHopKind::Ipip);
    let local = fixed(NextHopKind::LocalPod, LOCAL_POD_INTERFACE, 1_500);
    vec![
        (1, fixed(NextHopKind::Host, 0, 65_535)),
        (2, fixed(NextHopKind::Unassigned, 0, 65_535)),
        (3, fixed(NextHopKind::LocalPod, LOOPBACK, 1_500)),
        (4, NextHop { mac_destination: LOCAL_POD_MAC, mac_source: HOST_SIDE_MAC, ..local }),
        (DIRECT_NEXT_HOP, node(direct, DIRECT_NODE.into(), DIRECT_NODE.into(), 1_500)),
        (IPIP_NEXT_HOP, node(ipip, GATEWAY.into(), IPIP_NODE.into(), 1_480)),
        (DIRECT_NEXT_HOP_V6, node(direct, DIRECT_NODE_V6.into(), DIRECT_NODE_V6.into(), 1_500)),
        (8, node(ipip, GATEWAY_V6.into(), IPIP_NODE_V6.into(), 1_460)),
        (9, node(ipip, GATEWAY.into(), NODE_OVER_V4.into(), 1_480)),
        (10, node(ipip, GATEWAY_V6.into(), NODE_OVER_V6.into(), 1_460)),
        (11, node(direct, DIRECT_NODE_OVER_V6.into(), DIRECT_NODE_OVER_V6.into(), 1_500)),
        (12, NextHop { group: GROUP, ..node(ipip, GATEWAY.into(), WAYS[0].into(), 1_480) }),
        (13, node(ipip, GATEWAY.into(), WAYS[0].into(), 1_480)),
        (14, node(ipip, GATEWAY.into(), WAYS[1].into(), 1_400)),
        (15, NextHop { group: GROUP_V6, ..node(ipip, GATEWAY_V6.into(), WAYS_V6[0].into(), 1_460) }),
        (16, node(ipip, GATEWAY_V6.into(), WAYS_V6[0].into(), 1_460)),
        (17, node(ipip, GATEWAY_V6.into(), WAYS_V6[1].into(), 1_400)),
    ]
}

/// Each with one member that is not there: then the owner itself is the way.
fn groups() -> Vec<(u32, NextHopGroup)> {
    let group = |members: [u32; 5]| {
        let mut buckets = [0; GROUP_BUCKETS];
        buckets.iter_mut().zip(members.iter().cycle()).for_each(|(bucket, member)| *bucket = *member);
        NextHopGroup { identity: 1, buckets }
    };
    vec![
        (GROUP, group([13, 14, DIRECT_NEXT_HOP, 10, BROKEN_NEXT_HOP])),
        (GROUP_V6, group([16, 17, DIRECT_NEXT_HOP_V6, 9, BROKEN_NEXT_HOP])),
    ]
}

fn routes() -> Vec<(IpNet, Route)> {
    let node = Route::NODE_ADDRESS;
    let net = |address: IpAddr, length| IpNet::new(address, length).expect("a prefix").trunc();
    let host = |address: IpAddr, next_hop, flags| (IpNet::from(address), Route { next_hop, flags });
    let pods = |address: IpAddr, next_hop| {
        (net(address, if address.is_ipv4() { 24 } else { 64 }), Route { next_hop, flags: 0 })
    };
    vec![
        host(NODE.into(), 1, 0),
        host(HOST.into(), 1, 0),
        pods(HOST.into(), 2),
        host(POD.into(), 3, 0),
        host(POD_SECOND.into(), 3, 0),
        host(LOCAL_POD.into(), 4, 0),
        pods(DIRECT_POD.into(), 5),
        host(DIRECT_NODE.into(), 5, node),
        pods(IPIP_POD.into(), 6),
        host(IPIP_NODE.into(), 6, node),
        pods(POD_OVER_V6.into(), 10),
        pods(DIRECT_POD_OVER_V6.into(), 11),
        pods(POD_SEVERAL_WAYS.into(), 12),
        host(WAYS[0].into(), 12, node),
        pods(BROKEN.into(), BROKEN_NEXT_HOP),
        host(NODE_V6.into(), 1, 0),
        host(HOST_V6.into(), 1, 0),
        pods(HOST_V6.into(), 2),
        host(POD_V6.into(), 3, 0),
        host(LOCAL_POD_V6.into(), 4, 0),
        pods(DIRECT_POD_V6.into(), 7),
        host(DIRECT_NODE_V6.into(), 7, node),
        pods(IPIP_POD_V6.into(), 8),
        host(IPIP_NODE_V6.into(), 8, node),
        pods(POD_OVER_V4.into(), 9),
        host(NODE_OVER_V4.into(), 9, node),
        host(NODE_OVER_V6.into(), 10, node),
        host(DIRECT_NODE_OVER_V6.into(), 11, node),
        pods(POD_SEVERAL_WAYS_V6.into(), 15),
        host(WAYS_V6[0].into(), 15, node),
    ]
}
