//! What routing reads of the transport header: ports, and the size of a super-packet's segments.

use crate::{Packet, family::Ports, packet::bytes};

const TCP: u8 = 6;
/// IANA protocol number of UDP.
pub const UDP: u8 = 17;
const SCTP: u8 = 132;
const UDP_HEADER: u32 = 8;
/// Where a TCP header says how long it is.
const TCP_DATA_OFFSET: usize = 12;

/// The ports at `offset`, of a packet that is no fragment. A packet that ends before them has none: for
/// routing it needs only addresses.
#[inline(always)]
pub fn ports<P: Packet>(packet: &mut P, offset: usize, protocol: u8) -> Ports {
    if !matches!(protocol, TCP | UDP | SCTP) {
        return Ports::default();
    }
    packet.reach(offset + size_of::<Ports>());
    packet.load(offset).unwrap_or_default()
}

/// Size of the largest packet that a GSO super-packet is cut into, `headers` bytes of IP included. A
/// transport that is not known here counts as too big for every path: then the stack decides, which knows
/// them all.
#[inline(always)]
pub fn largest_segment<P: Packet>(
    packet: &mut P,
    offset: usize,
    protocol: u8,
    headers: usize,
    segment: u32,
) -> u32 {
    match protocol {
        TCP => {
            // Two bytes of which the second does not count: the verifier does not follow a check of one.
            packet.reach(offset + TCP_DATA_OFFSET + size_of::<u16>());
            match packet.load::<u16>(offset + TCP_DATA_OFFSET) {
                Some(word) => {
                    let [data_offset, _] = word.to_ne_bytes();
                    bytes(headers) + u32::from(data_offset >> 4) * 4 + segment
                }
                None => u32::MAX,
            }
        }
        UDP => bytes(headers) + UDP_HEADER + segment,
        _ => u32::MAX,
    }
}
