//! Random packets: mostly well-formed and of the cluster's addresses, so that every way through the programs is
//! taken, then mutated.

use std::net::IpAddr;

use fastrand::Rng;
use node_ebpf_common::{Hook, MARK_FORWARDED, MARK_TRANSLATABLE};

use crate::{cluster::*, model_packet::checksum, rig::Context};

/// Addresses of the cluster, the outside and the link, of one family.
fn addresses(v6: bool) -> Vec<IpAddr> {
    if v6 {
        let all = [
            POD_V6,
            POD_V6,
            LOCAL_POD_V6,
            NODE_V6,
            HOST_V6,
            UNASSIGNED_V6,
            DIRECT_POD_V6,
            DIRECT_NODE_V6,
            IPIP_POD_V6,
            IPIP_NODE_V6,
            POD_OVER_V4,
            OUTSIDE_V6,
            LINK_LOCAL,
            NODE_OVER_V6,
            DIRECT_NODE_OVER_V6,
            POD_SEVERAL_WAYS_V6,
            WAYS_V6[0],
        ];
        return all.map(IpAddr::V6).to_vec();
    }
    let all = [
        POD,
        POD,
        POD_SECOND,
        LOCAL_POD,
        NODE,
        HOST,
        UNASSIGNED,
        DIRECT_POD,
        DIRECT_NODE,
        IPIP_POD,
        IPIP_NODE,
        POD_OVER_V6,
        DIRECT_POD_OVER_V6,
        OUTSIDE,
        BROKEN,
        NODE_OVER_V4,
        POD_SEVERAL_WAYS,
        WAYS[0],
    ];
    all.map(IpAddr::from).to_vec()
}

fn bytes(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes);
    bytes
}

/// A payload of a random protocol.
fn payload(rng: &mut Rng) -> (u8, Vec<u8>) {
    let length = match rng.u8(0..10) {
        0 => rng.usize(0..20),
        1 => rng.usize(1_410..1_500),
        _ => rng.usize(20..120),
    };
    let protocol = *rng.choice([6, 6, 17, 17, 17, 1, 58, 132, 4, 41, 59, 47].iter()).expect("one");
    let mut payload = bytes(rng, length);
    if payload.len() >= 4 {
        // Few ports, so that flows meet again.
        let port = |rng: &mut Rng| [0, rng.u8(1..4)];
        payload[..2].copy_from_slice(&port(rng));
        payload[2..4].copy_from_slice(&port(rng));
    }
    (protocol, payload)
}

fn hops(rng: &mut Rng) -> u8 {
    *rng.choice([0, 1, 2, 64, 64, 64, 64, 255].iter()).expect("one")
}

/// A packet of this family around a payload.
fn packet(rng: &mut Rng, v6: bool, ends: (IpAddr, IpAddr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    match ends {
        (IpAddr::V4(source), IpAddr::V4(destination)) if !v6 => {
            let words = if rng.u8(0..8) == 0 { rng.usize(1..11) } else { 0 };
            let total = u16::try_from(20 + words * 4 + payload.len()).expect("a length").to_be_bytes();
            let flags = *rng.choice([0x40, 0x40, 0x40, 0, 0x20].iter()).expect("one");
            let offset = if rng.u8(0..12) == 0 { rng.u8(..) } else { 0 };
            let version = 0x45 + u8::try_from(words).expect("10 at most");
            let start = [version, rng.u8(..), total[0], total[1], rng.u8(..), rng.u8(..), flags, offset];
            let start = [&start[..], &[hops(rng), protocol, 0, 0]].concat();
            let ends = [source.octets(), destination.octets()].concat();
            let mut header = [start, ends, vec![1; words * 4]].concat();
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [&header, payload].concat()
        }
        (source, destination) => {
            let octets = |address| match address {
                IpAddr::V6(v6) => v6.octets(),
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            };
            let (first, extensions) = extension_headers(rng, protocol);
            let length = u16::try_from(extensions.len() + payload.len()).expect("a length").to_be_bytes();
            let class = rng.u8(..);
            let start = [0x60 | class >> 4, class << 4 | rng.u8(0..16), rng.u8(..), rng.u8(..)];
            let rest = [length[0], length[1], first, hops(rng)];
            let ends = [octets(source), octets(destination)].concat();
            [&start[..], &rest, &ends, &extensions, payload].concat()
        }
    }
}

/// None, mostly; else up to five.
fn extension_headers(rng: &mut Rng, protocol: u8) -> (u8, Vec<u8>) {
    let count = if rng.u8(0..4) == 0 { rng.usize(1..6) } else { 0 };
    let (mut next, mut headers) = (protocol, Vec::new());
    for _ in 0..count {
        let kind = *rng.choice([0, 43, 44, 51, 60, 60].iter()).expect("one");
        let mut header = vec![next, 0];
        match kind {
            44 => {
                let offset = if rng.bool() { 0 } else { rng.u8(..) };
                header.extend([0, offset, 1, 2, 3, 4]);
            }
            51 => {
                header[1] = 4;
                header.extend([0; 22]);
            }
            _ => {
                header[1] = rng.u8(0..3);
                header.resize((usize::from(header[1]) + 1) * 8, 0);
            }
        }
        headers.splice(..0, header);
        next = kind;
    }
    (next, headers)
}

fn ends(rng: &mut Rng, v6: bool) -> (IpAddr, IpAddr) {
    let all = addresses(v6);
    let mut one = || *rng.choice(all.iter()).expect("an address");
    (one(), one())
}

/// A frame for a hook and the context that it comes in.
pub fn frame(rng: &mut Rng, hook: Hook) -> (Vec<u8>, Context) {
    let v6 = rng.bool();
    let (protocol, payload) = payload(rng);
    let mut inside = ends(rng, v6);
    if rng.u8(0..3) != 0 {
        // Mostly what belongs there, so that not every packet is dropped as spoofed.
        match hook {
            Hook::FromPod => inside.0 = own_pod(v6),
            Hook::FromUplink | Hook::Xdp => inside = (remote(rng, v6), own_pod(v6)),
            Hook::ToUplink | Hook::ToPod => {}
        }
    }
    let mut data = packet(rng, v6, inside, protocol, &payload);
    let mut outermost = v6;
    if rng.u8(0..if hook == Hook::FromUplink { 2 } else { 4 }) == 0 {
        outermost = rng.bool();
        let outside = match rng.u8(0..3) {
            0 => ends(rng, outermost),
            // Mostly from the right node.
            _ => tunnel_ends(rng, outermost),
        };
        data = packet(rng, outermost, outside, if v6 { 41 } else { 4 }, &data);
    }
    if rng.u8(0..6) == 0 {
        for _ in 0..rng.u8(1..4) {
            let at = rng.usize(0..data.len().min(100));
            data[at] = rng.u8(..);
        }
    }
    if rng.u8(0..16) == 0 {
        data.truncate(rng.usize(0..data.len()));
    }
    // The kernel refuses to run with less.
    data.resize(data.len().max(if outermost { 40 } else { 20 }), 0);
    if rng.u8(0..16) == 0 {
        let padding = rng.usize(1..30);
        data.extend(vec![0; padding]);
    }
    let mut ether = vec![0; 12];
    match rng.u8(0..40) {
        0 => ether[..6].fill(0xff),
        1 => ether[0] = 2,
        _ => {}
    }
    ether.extend(if outermost { [0x86, 0xdd] } else { [0x08, 0x00] });
    let mark = *rng.choice([0, 0, MARK_TRANSLATABLE, MARK_FORWARDED, 0x4000].iter()).expect("one");
    let mark = mark | if rng.u8(0..6) == 0 { MARK_TRANSLATABLE | 0x8000 } else { 0 };
    let gso_size = if rng.u8(0..16) == 0 { rng.u32(100..1_600) } else { 0 };
    ([ether, data].concat(), Context { mark, gso_size })
}

fn own_pod(v6: bool) -> IpAddr {
    if v6 { POD_V6.into() } else { POD.into() }
}

fn remote(rng: &mut Rng, v6: bool) -> IpAddr {
    if v6 {
        let all = [IPIP_POD_V6, DIRECT_POD_V6, POD_OVER_V4, POD_SEVERAL_WAYS_V6];
        (*rng.choice(all.iter()).expect("one")).into()
    } else {
        let all = [IPIP_POD, DIRECT_POD, POD_OVER_V6, POD_SEVERAL_WAYS];
        (*rng.choice(all.iter()).expect("one")).into()
    }
}

/// Ends of a tunnel to this node from one that has pods.
fn tunnel_ends(rng: &mut Rng, v6: bool) -> (IpAddr, IpAddr) {
    if v6 {
        let from = [IPIP_NODE_V6, DIRECT_NODE_V6, NODE_OVER_V6, DIRECT_NODE_OVER_V6, WAYS_V6[0], WAYS_V6[1]];
        return ((*rng.choice(from.iter()).expect("one")).into(), NODE_V6.into());
    }
    let from = [IPIP_NODE, DIRECT_NODE, NODE_OVER_V4, WAYS[0], WAYS[1]];
    ((*rng.choice(from.iter()).expect("one")).into(), NODE.into())
}
