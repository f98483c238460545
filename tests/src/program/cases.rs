//! One packet for each outcome that can be measured, in both families.

use std::net::IpAddr;

use etherparse::{EtherType, IpNumber};
use node_ebpf_common::{Hook, Outcome};

use super::cluster::*;
use crate::craft::{self, Packet};

/// A packet, the program that it goes through, and how that ends.
pub struct Case {
    /// How it ends.
    pub outcome: Outcome,
    /// The program.
    pub hook: Hook,
    /// For people: the families of the packet, outermost first.
    pub families: &'static str,
    /// The packet.
    pub frame: Vec<u8>,
    /// Whether it comes out as it went in, so that it can be run again and again.
    pub unchanged: bool,
}

/// The addresses of one family.
struct Ends {
    family: &'static str,
    pod: IpAddr,
    local: IpAddr,
    node: IpAddr,
    host: IpAddr,
    direct: IpAddr,
    ipip: IpAddr,
    ipip_node: IpAddr,
    other_tunnel: (&'static str, IpAddr),
    unassigned: IpAddr,
    outside: IpAddr,
}

fn v4() -> Ends {
    Ends {
        family: "v4",
        pod: POD.into(),
        local: LOCAL_POD.into(),
        node: NODE.into(),
        host: HOST.into(),
        direct: DIRECT_POD.into(),
        ipip: IPIP_POD.into(),
        ipip_node: IPIP_NODE.into(),
        other_tunnel: ("4in6", POD_OVER_V6.into()),
        unassigned: UNASSIGNED.into(),
        outside: OUTSIDE.into(),
    }
}

fn v6() -> Ends {
    Ends {
        family: "v6",
        pod: POD_V6.into(),
        local: LOCAL_POD_V6.into(),
        node: NODE_V6.into(),
        host: HOST_V6.into(),
        direct: DIRECT_POD_V6.into(),
        ipip: IPIP_POD_V6.into(),
        ipip_node: IPIP_NODE_V6.into(),
        other_tunnel: ("6in4", POD_OVER_V4.into()),
        unassigned: UNASSIGNED_V6.into(),
        outside: OUTSIDE_V6.into(),
    }
}

/// A UDP packet; with 22 bytes of payload its frame has 64 bytes in IPv4, 84 in IPv6.
pub fn udp(source: IpAddr, destination: IpAddr, hops: u8, payload: usize) -> Vec<u8> {
    let length = u16::try_from(8 + payload).expect("a length").to_be_bytes();
    let header = [0x0f, 0xa0, 0, 53, length[0], length[1], 0, 0];
    let datagram = [&header[..], &vec![0; payload]].concat();
    let packet = Packet::new(source, destination, IpNumber::UDP, datagram).hop_limit(hops);
    packet.bytes().expect("a packet")
}

fn tunnel(source: IpAddr, destination: IpAddr, inner: &[u8]) -> Vec<u8> {
    craft::ipip(source, destination, inner).expect("a packet")
}

/// The frame around a packet.
pub fn frame(packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 4 { EtherType::IPV4 } else { EtherType::IPV6 };
    [&[0; 12][..], &kind.0.to_be_bytes(), packet].concat()
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for ends in [v4(), v6()] {
        sent_by_pod(&mut cases, &ends);
        come_in(&mut cases, &ends);
        sent_by_stack(&mut cases, &ends);
    }
    cases
}

fn sent_by_pod(cases: &mut Vec<Case>, ends: &Ends) {
    let plain = |destination| udp(ends.pod, destination, 64, 22);
    let mut add = |outcome: Outcome, families, packet: Vec<u8>, unchanged| {
        cases.push(Case { outcome, hook: Hook::FromPod, families, frame: frame(&packet), unchanged });
    };
    let same = if ends.family == "v4" { "4in4" } else { "6in6" };
    add(Outcome::Local, ends.family, plain(ends.local), false);
    add(Outcome::Direct, ends.family, plain(ends.direct), false);
    add(Outcome::Ipip, same, plain(ends.ipip), false);
    add(Outcome::Ipip, ends.other_tunnel.0, plain(ends.other_tunnel.1), false);
    add(Outcome::StackNotRouted, ends.family, plain(ends.outside), true);
    add(Outcome::StackHost, ends.family, plain(ends.node), true);
    add(Outcome::StackTtl, ends.family, udp(ends.pod, ends.direct, 1, 22), true);
    add(Outcome::StackTooBig, ends.family, udp(ends.pod, ends.ipip, 64, 1_460), true);
    add(Outcome::DropSpoofedSource, ends.family, udp(ends.outside, ends.direct, 64, 22), true);
    add(Outcome::DropPodTunnel, ends.family, tunnel(ends.pod, ends.ipip_node, &plain(ends.ipip)), true);
    add(Outcome::DropUnassigned, ends.family, plain(ends.unassigned), true);
}

fn come_in(cases: &mut Vec<Case>, ends: &Ends) {
    let come = |source, destination| udp(source, destination, 64, 22);
    let same = if ends.family == "v4" { "4in4" } else { "6in6" };
    let decap = |destination| tunnel(ends.ipip_node, ends.node, &come(ends.ipip, destination));
    let (other, over) = match ends.other_tunnel {
        (name @ "4in6", pod) => (name, tunnel(NODE_OVER_V6.into(), NODE_V6.into(), &come(pod, ends.local))),
        (name, pod) => (name, tunnel(NODE_OVER_V4.into(), NODE.into(), &come(pod, ends.local))),
    };
    let mut add = |outcome: Outcome, families, packet: Vec<u8>, unchanged| {
        cases.push(Case { outcome, hook: Hook::FromUplink, families, frame: frame(&packet), unchanged });
    };
    add(Outcome::Local, ends.family, come(ends.direct, ends.local), false);
    add(Outcome::DecapLocal, same, decap(ends.local), false);
    add(Outcome::DecapLocal, other, over, false);
    add(Outcome::DecapStack, same, decap(ends.node), false);
    add(Outcome::StackNotRouted, ends.family, come(ends.outside, ends.outside), true);
    add(Outcome::StackHost, ends.family, come(ends.outside, ends.node), true);
    add(Outcome::StackTransit, ends.family, come(ends.direct, ends.ipip), true);
    add(Outcome::DropSpoofedUplinkSource, ends.family, come(ends.pod, ends.local), true);
    add(Outcome::DropUnassigned, same, decap(ends.unassigned), true);
    let unknown = tunnel(ends.outside, ends.node, &come(ends.ipip, ends.local));
    add(Outcome::DropUnknownTunnelSource, same, unknown, true);
    let spoofed = tunnel(ends.ipip_node, ends.node, &come(ends.direct, ends.local));
    add(Outcome::DropSpoofedInnerSource, same, spoofed, true);
}

fn sent_by_stack(cases: &mut Vec<Case>, ends: &Ends) {
    let same = if ends.family == "v4" { "4in4" } else { "6in6" };
    let sent = |source, destination| frame(&udp(source, destination, 64, 22));
    let case = |hook, outcome, families, frame, unchanged| Case { outcome, hook, families, frame, unchanged };
    cases.extend([
        case(Hook::ToUplink, Outcome::Ipip, same, sent(ends.host, ends.ipip), false),
        case(Hook::ToUplink, Outcome::StackRouted, ends.family, sent(ends.node, ends.outside), true),
        case(Hook::ToPod, Outcome::StackRouted, ends.family, sent(ends.node, ends.local), true),
    ]);
}
