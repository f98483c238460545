//! ICMP and ICMPv6 messages as a raw socket takes and gives them: ICMP comes with its IP header, ICMPv6 without.

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Icmpv6Header, Icmpv6Slice, Icmpv6Type, IpNumber,
    Ipv4HeaderSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice, icmpv4,
};

use super::Kind;
use crate::family::Family;

/// An echo request with this many bytes of payload. The kernel fills the checksum of ICMPv6 in, since it knows the
/// source address.
pub(super) fn request(family: Family, id: u16, seq: u16, payload: usize) -> Vec<u8> {
    let (echo, payload) = (IcmpEchoHeader { id, seq }, vec![0xa5; payload]);
    let mut packet = match family {
        Family::V4 => {
            Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &payload).to_bytes().to_vec()
        }
        Family::V6 => Icmpv6Header::new(Icmpv6Type::EchoRequest(echo)).to_bytes().to_vec(),
    };
    packet.extend_from_slice(&payload);
    packet
}

/// What a message says, and the echo request that it is about.
pub(super) fn parse(family: Family, packet: &[u8]) -> Option<(Kind, IcmpEchoHeader)> {
    match family {
        Family::V4 => parse_v4(packet),
        Family::V6 => parse_v6(packet),
    }
}

fn parse_v4(packet: &[u8]) -> Option<(Kind, IcmpEchoHeader)> {
    let icmp = split_v4(packet)?;
    Some(match icmp.icmp_type() {
        Icmpv4Type::EchoReply(echo) => (Kind::Reply, echo),
        Icmpv4Type::TimeExceeded(_) => (Kind::TimeExceeded, asked_v4(icmp.payload())?),
        Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded {
            next_hop_mtu,
        }) => (Kind::FragmentationNeeded { mtu: next_hop_mtu }, asked_v4(icmp.payload())?),
        Icmpv4Type::DestinationUnreachable(reason) => {
            (Kind::Unreachable { code: reason.code_u8() }, asked_v4(icmp.payload())?)
        }
        _ => return None,
    })
}

/// The echo request that an ICMP error quotes.
fn asked_v4(quoted: &[u8]) -> Option<IcmpEchoHeader> {
    match split_v4(quoted)?.icmp_type() {
        Icmpv4Type::EchoRequest(echo) => Some(echo),
        _ => None,
    }
}

fn split_v4(packet: &[u8]) -> Option<Icmpv4Slice<'_>> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    Icmpv4Slice::from_slice(packet.get(header.slice().len()..)?).ok()
}

fn parse_v6(packet: &[u8]) -> Option<(Kind, IcmpEchoHeader)> {
    let icmp = Icmpv6Slice::from_slice(packet).ok()?;
    Some(match icmp.icmp_type() {
        Icmpv6Type::EchoReply(echo) => (Kind::Reply, echo),
        Icmpv6Type::TimeExceeded(_) => (Kind::TimeExceeded, asked_v6(icmp.payload())?),
        Icmpv6Type::PacketTooBig { mtu } => {
            let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
            (Kind::FragmentationNeeded { mtu }, asked_v6(icmp.payload())?)
        }
        Icmpv6Type::DestinationUnreachable(reason) => {
            (Kind::Unreachable { code: reason.code_u8() }, asked_v6(icmp.payload())?)
        }
        _ => return None,
    })
}

/// The echo request that an ICMPv6 error quotes, of which only the first fragment shows its header.
fn asked_v6(quoted: &[u8]) -> Option<IcmpEchoHeader> {
    let header = Ipv6HeaderSlice::from_slice(quoted).ok()?;
    let rest = quoted.get(header.slice().len()..)?;
    let (_, protocol, rest) = Ipv6ExtensionsSlice::from_slice(header.next_header(), rest).ok()?;
    let icmp = Icmpv6Slice::from_slice(rest).ok().filter(|_| protocol == IpNumber::IPV6_ICMP)?;
    match icmp.icmp_type() {
        Icmpv6Type::EchoRequest(echo) => Some(echo),
        _ => None,
    }
}
