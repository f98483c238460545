//! IPv4 (RFC 791).

use network_types::ip::Ipv4Hdr;

use crate::{Family, Header, Outcome, Packet, PacketMut, checksum, packet::bytes};

/// The IPv4 family.
pub enum V4 {}

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const DONT_FRAGMENT: u16 = 0x4000;
const FRAGMENT_BITS: u16 = 0x3fff;
const OFFSET_TRAFFIC_CLASS: usize = 1;
const OFFSET_HOPS: usize = 8;
const OFFSET_CHECKSUM: usize = 10;

impl Family for V4 {
    type Address = [u8; 4];

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, offset: usize) -> Result<Header<Self>, Outcome> {
        let raw: Ipv4Hdr = packet.load(offset).ok_or(Outcome::DropMalformed)?;
        let length = usize::from(raw.vihl & 0x0f) * 4;
        if raw.vihl >> 4 != 4 || length < Ipv4Hdr::LEN {
            return Err(Outcome::DropMalformed);
        }
        let fragments = u16::from_be_bytes(raw.frags);
        let total = u32::from(u16::from_be_bytes(raw.tot_len));
        let largest = match packet.segment_size() {
            0 => {
                let room = packet.len().saturating_sub(bytes(offset));
                if total < bytes(length) || total > room {
                    return Err(Outcome::DropMalformed);
                }
                total
            }
            segment => largest_segment(packet, offset + length, raw.proto, bytes(length), segment),
        };
        Ok(Header {
            source: raw.src_addr,
            destination: raw.dst_addr,
            length,
            protocol: raw.proto,
            hops: raw.ttl,
            traffic_class: raw.tos,
            dont_fragment: fragments & DONT_FRAGMENT != 0,
            fragment: fragments & FRAGMENT_BITS != 0,
            largest,
            hops_and_protocol: [raw.ttl, raw.proto],
            checksum: raw.check,
        })
    }

    #[inline(always)]
    fn decrement_hops<P: PacketMut>(packet: &mut P, offset: usize, header: &Header<Self>) -> Option<()> {
        let old = header.hops_and_protocol;
        let new = [old[0].wrapping_sub(1), old[1]];
        packet.store(offset + OFFSET_HOPS, new[0])?;
        packet.store(offset + OFFSET_CHECKSUM, checksum::update(header.checksum, old, new))
    }

    #[inline(always)]
    fn mark_congestion<P: PacketMut>(packet: &mut P, offset: usize, _: &Header<Self>) -> Option<()> {
        // Read again: an earlier rewrite has changed the checksum.
        let old: [u8; 2] = packet.load(offset)?;
        let before: [u8; 2] = packet.load(offset + OFFSET_CHECKSUM)?;
        let new = [old[0], old[1] | 3];
        packet.store(offset + OFFSET_TRAFFIC_CLASS, new[1])?;
        packet.store(offset + OFFSET_CHECKSUM, checksum::update(before, old, new))
    }
}

/// Size of the largest packet that a GSO super-packet is cut into. A transport that is not known here
/// counts as too big for every path: then the stack decides, which knows them all.
#[inline(always)]
fn largest_segment<P: Packet>(packet: &P, transport: usize, protocol: u8, length: u32, segment: u32) -> u32 {
    match protocol {
        PROTOCOL_TCP => match packet.load::<u8>(transport + 12) {
            Some(data_offset) => length + u32::from(data_offset >> 4) * 4 + segment,
            None => u32::MAX,
        },
        PROTOCOL_UDP => length + 8 + segment,
        _ => u32::MAX,
    }
}
