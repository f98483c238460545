//! IPv4 (RFC 791).

use network_types::ip::Ipv4Hdr;
use node_ebpf_common::{Address, Endpoint, NextHop, Settings};

use crate::{
    Family, Header, Outcome, Packet, PacketMut, Ports, checksum,
    packet::bytes,
    pair::{self, join},
    rewrite::OUTER_HOPS,
    transport,
};

/// The IPv4 family.
pub enum V4 {}

const DONT_FRAGMENT: u16 = 0x4000;
const FRAGMENT_BITS: u16 = 0x3fff;
const CONGESTION: u8 = 3;
const OFFSET_HOPS: usize = 8;
const OFFSET_CHECKSUM: usize = 10;

impl Family for V4 {
    type Address = u32;
    type Outer = [u32; 5];

    const PROTOCOL: u8 = 4;
    const ETHER_TYPE: [u8; 2] = [0x08, 0x00];
    const HEADER_LENGTH: usize = Ipv4Hdr::LEN;

    #[inline(always)]
    fn parse<P: Packet>(packet: &mut P, offset: usize) -> Result<Header<Self>, Outcome> {
        packet.reach(offset + Ipv4Hdr::LEN);
        let raw: [u32; 5] = packet.load(offset).ok_or(Outcome::DropMalformed)?;
        let [version_and_length, traffic_class, total_high, total_low] = raw[0].to_ne_bytes();
        let [_, _, fragment_high, fragment_low] = raw[1].to_ne_bytes();
        let [hops, protocol, checksum_high, checksum_low] = raw[2].to_ne_bytes();
        let length = usize::from(version_and_length & 0x0f) * 4;
        if version_and_length >> 4 != 4 || length < Ipv4Hdr::LEN {
            return Err(Outcome::DropMalformed);
        }
        let fragments = u16::from_be_bytes([fragment_high, fragment_low]);
        let fragment = fragments & FRAGMENT_BITS != 0;
        let total = u32::from(u16::from_be_bytes([total_high, total_low]));
        let transport = offset + length;
        let largest = match packet.segment_size() {
            0 => {
                let room = packet.len().saturating_sub(bytes(offset));
                if total < bytes(length) || total > room {
                    return Err(Outcome::DropMalformed);
                }
                total
            }
            segment => transport::largest_segment(packet, transport, protocol, length, segment),
        };
        let ports = if fragment { Ports::default() } else { transport::ports(packet, transport, protocol) };
        Ok(Header {
            source: raw[3],
            destination: raw[4],
            length,
            protocol,
            hops,
            traffic_class,
            dont_fragment: fragments & DONT_FRAGMENT != 0,
            fragment,
            largest,
            ports,
            hops_and_protocol: u16::from_ne_bytes([hops, protocol]),
            checksum: u16::from_ne_bytes([checksum_high, checksum_low]),
        })
    }

    #[inline(always)]
    fn decrement_hops<P: PacketMut>(packet: &mut P, offset: usize, header: &Header<Self>) -> Option<()> {
        let old = header.hops_and_protocol;
        let [hops, protocol] = old.to_ne_bytes();
        let new = u16::from_ne_bytes([hops.wrapping_sub(1), protocol]);
        packet.store(offset + OFFSET_HOPS, new)?;
        packet.store(offset + OFFSET_CHECKSUM, checksum::update(header.checksum, old, new))
    }

    #[inline(always)]
    fn mark_congestion<P: PacketMut>(packet: &mut P, offset: usize) -> Option<()> {
        // Read again: an earlier rewrite has changed the checksum.
        let old: u16 = packet.load(offset)?;
        let before: u16 = packet.load(offset + OFFSET_CHECKSUM)?;
        let [version_and_length, traffic_class] = old.to_ne_bytes();
        let new = u16::from_ne_bytes([version_and_length, traffic_class | CONGESTION]);
        packet.store(offset, new)?;
        packet.store(offset + OFFSET_CHECKSUM, checksum::update(before, old, new))
    }

    /// `number` is the identification, which counts only where fragmentation is allowed.
    #[inline(always)]
    fn outer<I: Family>(inner: &Header<I>, inner_length: u32, via: &NextHop, number: u32) -> [u32; 5] {
        let total = u32::from(u16::try_from(inner_length + bytes(Ipv4Hdr::LEN)).unwrap_or(0));
        let first = 0x4500_0000 | u32::from(inner.traffic_class) << 16 | total;
        let second = if inner.dont_fragment { u32::from(DONT_FRAGMENT) } else { number << 16 };
        let third = |checksum: u16| {
            let [high, low] = checksum.to_ne_bytes();
            u32::from_ne_bytes([OUTER_HOPS, I::PROTOCOL, high, low])
        };
        let mut header = [
            first.to_be(),
            second.to_be(),
            third(0),
            via.tunnel_source.v4_word(),
            via.tunnel_destination.v4_word(),
        ];
        header[2] = third(checksum::of_header(&header));
        header
    }

    #[inline(always)]
    fn pair(local: u32, remote: u32) -> u32 {
        pair::place(pair::mix(u64::from(local), u64::from(remote)))
    }

    #[inline(always)]
    fn hash(header: &Header<Self>, seed: u32) -> u32 {
        pair::hash(pair::mix(join(header.source, header.destination), header.ports_and_protocol(seed)))
    }

    #[inline(always)]
    fn to_common(address: u32) -> Address {
        Address::from_v4_word(address)
    }

    #[inline(always)]
    fn of_endpoint(endpoint: &Endpoint) -> &Address {
        &endpoint.address_v4
    }

    #[inline(always)]
    fn of_node(settings: &Settings) -> &Address {
        &settings.node_v4
    }

    /// Never: IPv4 pods and nodes do without 169.254.0.0/16 addresses of their own.
    #[inline(always)]
    fn is_link_local(_: u32) -> bool {
        false
    }
}
