//! Which of several ways a flow goes by, as the model sees it: byte by byte.
//!
//! A choice that nodes before and after an upgrade have to agree on: where it changes, flows change their ways once.

use std::net::IpAddr;

use node_ebpf_common::{GROUP_BUCKETS, NextHop};

use crate::{cluster::Cluster, model_packet::Ip};

/// The way that a packet takes: its next hop itself, or that one's member for its flow, where that is there.
pub fn choose(cluster: &Cluster, ip: &Ip, owner: NextHop) -> NextHop {
    let group = cluster.group(owner.group).filter(|_| owner.group != 0);
    let member = group.map(|group| group.buckets[bucket(ip, &owner)]);
    member.and_then(|member| cluster.next_hop(member)).unwrap_or(owner)
}

/// All ways that packets may take: the next hop itself and its members.
pub fn ways(cluster: &Cluster, owner: NextHop) -> Vec<NextHop> {
    let group = cluster.group(owner.group).filter(|_| owner.group != 0);
    let members = group.map(|group| group.buckets).into_iter().flatten();
    members.filter_map(|member| cluster.next_hop(member)).chain([owner]).collect()
}

/// 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(one: u64, other: u64) -> u64 {
    let folded = one ^ (one >> 32);
    let product = folded.wrapping_mul(FACTOR) ^ other;
    (product ^ (product >> 29)).wrapping_mul(FACTOR)
}

/// Words as they are in memory, two as one.
fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |four: &[u8]| u64::from(u32::from_ne_bytes(four.try_into().expect("four")));
    bytes.chunks(8).map(|eight| word(&eight[..4]) << 32 | word(&eight[4..])).collect()
}

/// The addresses of a packet as one number.
fn addresses(ip: &Ip) -> u64 {
    match (ip.source, ip.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            words(&[source.octets(), destination.octets()].concat())[0]
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let [one, other] = [source, destination].map(|address| words(&address.octets()));
            mix(mix(one[0], one[1]), mix(other[0], other[1]))
        }
        _ => unreachable!("a packet has one family"),
    }
}

/// The bucket of this packet's flow in the group of a next hop.
fn bucket(ip: &Ip, owner: &NextHop) -> usize {
    let ports = u64::from(ip.source_port.to_be()) << 16 | u64::from(ip.destination_port.to_be());
    let rest = ports << 32 | u64::from(owner.tunnel_source.v4_word() ^ u32::from(ip.protocol));
    let mixed = mix(addresses(ip), rest);
    let hash = (mixed ^ (mixed >> 32)).wrapping_mul(FACTOR) >> 32;
    usize::try_from((hash * GROUP_BUCKETS as u64) >> 32).expect("a bucket")
}
