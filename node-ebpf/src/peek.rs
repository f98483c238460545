//! What tracing tells of a packet besides its outcome: its ends, read without a judgement.

use node_ebpf_common::Address;

use crate::Packet;

/// What follows the IP header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Its IANA protocol number.
    pub protocol: u8,
    /// Whether it is of a fragment other than the first.
    pub later_fragment: bool,
    /// Where it begins, in bytes from the start of the frame.
    pub offset: usize,
}

const IPV4_IN_IP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6_IN_IP: u8 = 41;
const SCTP: u8 = 132;

/// Reads source and destination of the packet whose IP header is at `offset`, of either family, and tells
/// what follows. None, and nothing is read, if there is no such header or it reaches beyond the packet. IPv6
/// extension headers are not followed.
#[inline(always)]
pub fn ends<P: Packet>(
    packet: &P,
    offset: usize,
    source: &mut Address,
    destination: &mut Address,
) -> Option<Payload> {
    let first: u8 = packet.load(offset)?;
    match first >> 4 {
        4 => {
            let [from, to]: [u32; 2] = packet.load(offset + 12)?;
            let fragment: [u8; 2] = packet.load(offset + 6)?;
            let protocol = packet.load(offset + 9)?;
            (*source, *destination) = (Address::from_v4_word(from), Address::from_v4_word(to));
            Some(Payload {
                protocol,
                later_fragment: u16::from_be_bytes(fragment) & 0x1fff != 0,
                offset: offset + usize::from(first & 0x0f) * 4,
            })
        }
        6 => {
            let protocol = packet.load(offset + 6)?;
            let to = packet.load(offset + 24)?;
            *source = Address::from_words(packet.load(offset + 8)?);
            *destination = Address::from_words(to);
            Some(Payload { protocol, later_fragment: false, offset: offset + 40 })
        }
        _ => None,
    }
}

impl Payload {
    /// Whether another IP packet is inside.
    #[inline(always)]
    #[must_use]
    pub const fn is_tunnel(&self) -> bool {
        matches!(self.protocol, IPV4_IN_IP | IPV6_IN_IP) && !self.later_fragment
    }

    /// Source and destination port in network byte order; zero where there are none.
    #[inline(always)]
    pub fn ports<P: Packet>(&self, packet: &P) -> [[u8; 2]; 2] {
        if !matches!(self.protocol, TCP | UDP | SCTP) || self.later_fragment {
            return [[0; 2]; 2];
        }
        packet.load(self.offset).unwrap_or([[0; 2]; 2])
    }
}
