//! IPv6 (RFC 8200).

use network_types::ip::Ipv6Hdr;
use node_ebpf_common::{Address, Endpoint, NextHop, Settings};

use crate::{
    Family, Header, Outcome, Packet, PacketMut, Ports,
    packet::bytes,
    pair::{self, join},
    rewrite::OUTER_HOPS,
    transport,
};

/// The IPv6 family.
pub enum V6 {}

const OFFSET_HOPS: usize = 7;
/// The byte that holds the lower half of the traffic class in its upper half, and in it the ECN bits.
const OFFSET_CONGESTION: usize = 1;
const CONGESTION: u8 = 0x30;

/// Extension headers that are passed over; one more and the payload counts as unknown.
const MOST_EXTENSIONS: usize = 4;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
/// "No next header": what a payload that is not understood counts as.
const NOTHING: u8 = 59;
/// Fragment offset and "more fragments" (RFC 8200 section 4.5). A packet with neither is whole.
const FRAGMENT_BITS: u16 = 0xfff9;

impl Family for V6 {
    type Address = Address;
    type Outer = [u32; 10];

    const PROTOCOL: u8 = 41;
    const ETHER_TYPE: [u8; 2] = [0x86, 0xdd];
    const HEADER_LENGTH: usize = Ipv6Hdr::LEN;

    #[inline(always)]
    fn parse<P: Packet>(packet: &mut P, offset: usize) -> Result<Header<Self>, Outcome> {
        packet.reach(offset + Ipv6Hdr::LEN);
        let raw: [u32; 10] = packet.load(offset).ok_or(Outcome::DropMalformed)?;
        let first = u32::from_be(raw[0]);
        let [class_high, class_low, _, _] = raw[0].to_ne_bytes();
        let [length_high, length_low, next_header, hops] = raw[1].to_ne_bytes();
        if first >> 28 != 6 {
            return Err(Outcome::DropMalformed);
        }
        let payload = Payload::find(packet, offset, next_header);
        let transport = offset + payload.length;
        let largest = match packet.segment_size() {
            0 => {
                let total = u32::from(u16::from_be_bytes([length_high, length_low])) + bytes(Ipv6Hdr::LEN);
                if total > packet.len().saturating_sub(bytes(offset)) {
                    return Err(Outcome::DropMalformed);
                }
                total
            }
            segment => {
                transport::largest_segment(packet, transport, payload.protocol, payload.length, segment)
            }
        };
        let ports = if payload.fragment {
            Ports::default()
        } else {
            transport::ports(packet, transport, payload.protocol)
        };
        Ok(Header {
            source: Address::from_words([raw[2], raw[3], raw[4], raw[5]]),
            destination: Address::from_words([raw[6], raw[7], raw[8], raw[9]]),
            length: payload.length,
            protocol: payload.protocol,
            hops,
            traffic_class: class_high << 4 | class_low >> 4,
            dont_fragment: true,
            fragment: payload.fragment,
            largest,
            ports,
            hops_and_protocol: 0,
            checksum: 0,
        })
    }

    #[inline(always)]
    fn decrement_hops<P: PacketMut>(packet: &mut P, offset: usize, header: &Header<Self>) -> Option<()> {
        packet.store(offset + OFFSET_HOPS, header.hops.wrapping_sub(1))
    }

    #[inline(always)]
    fn mark_congestion<P: PacketMut>(packet: &mut P, offset: usize) -> Option<()> {
        let byte: u8 = packet.load(offset + OFFSET_CONGESTION)?;
        packet.store(offset + OFFSET_CONGESTION, byte | CONGESTION)
    }

    /// `number` is the flow label, which keeps the segments of a flow on one path (RFC 6438).
    #[inline(always)]
    fn outer<I: Family>(inner: &Header<I>, inner_length: u32, via: &NextHop, number: u32) -> [u32; 10] {
        let first = 0x6000_0000 | u32::from(inner.traffic_class) << 20 | number & 0x000f_ffff;
        let [high, low] = u16::try_from(inner_length).unwrap_or(0).to_be_bytes();
        let [s0, s1, s2, s3] = via.tunnel_source.words();
        let [d0, d1, d2, d3] = via.tunnel_destination.words();
        let second = u32::from_ne_bytes([high, low, I::PROTOCOL, OUTER_HOPS]);
        [first.to_be(), second, s0, s1, s2, s3, d0, d1, d2, d3]
    }

    #[inline(always)]
    fn pair(local: Address, remote: Address) -> u32 {
        let ([a, b, c, d], [e, f, g, h]) = (local.words(), remote.words());
        let (local, remote) = (pair::mix(join(a, b), join(c, d)), pair::mix(join(e, f), join(g, h)));
        pair::place(pair::mix(local, remote))
    }

    #[inline(always)]
    fn hash(header: &Header<Self>, seed: u32) -> u32 {
        let ([a, b, c, d], [e, f, g, h]) = (header.source.words(), header.destination.words());
        let (source, destination) = (pair::mix(join(a, b), join(c, d)), pair::mix(join(e, f), join(g, h)));
        pair::hash(pair::mix(pair::mix(source, destination), header.ports_and_protocol(seed)))
    }

    #[inline(always)]
    fn to_common(address: Address) -> Address {
        address
    }

    #[inline(always)]
    fn of_endpoint(endpoint: &Endpoint) -> &Address {
        &endpoint.address_v6
    }

    #[inline(always)]
    fn of_node(settings: &Settings) -> &Address {
        &settings.node_v6
    }

    #[inline(always)]
    fn is_link_local(address: Address) -> bool {
        u32::from_be(address.words()[0]) >> 22 == 0xfe80 >> 6
    }
}

/// What lies behind the extension headers.
struct Payload {
    /// Length of all headers before it, in bytes.
    length: usize,
    protocol: u8,
    fragment: bool,
}

impl Payload {
    /// Passes over the extension headers (RFC 8200 section 4). One that cannot be read ends the search: the
    /// packet is routed by its addresses all the same.
    #[inline(always)]
    fn find<P: Packet>(packet: &mut P, offset: usize, next_header: u8) -> Self {
        let mut payload = Self { length: Ipv6Hdr::LEN, protocol: next_header, fragment: false };
        for _ in 0..MOST_EXTENSIONS {
            if !is_extension(payload.protocol) {
                return payload;
            }
            packet.reach(offset + payload.length + 4);
            let Some(start) = packet.load::<u32>(offset + payload.length) else { break };
            let start = start.to_ne_bytes();
            let length = match payload.protocol {
                FRAGMENT => {
                    payload.fragment |= u16::from_be_bytes([start[2], start[3]]) & FRAGMENT_BITS != 0;
                    8
                }
                AUTHENTICATION => (usize::from(start[1]) + 2) * 4,
                _ => (usize::from(start[1]) + 1) * 8,
            };
            payload.length += length;
            payload.protocol = start[0];
            if payload.fragment {
                // What follows in any but the first fragment is no header.
                return payload;
            }
        }
        if is_extension(payload.protocol) {
            payload.protocol = NOTHING;
        }
        payload
    }
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}
