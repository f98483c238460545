//! What differs between IPv4 and IPv6, behind one trait.

use crate::{Outcome, Packet, PacketMut};

/// An address family.
pub trait Family: Sized {
    /// An address, in network byte order.
    type Address: Copy + Eq;

    /// Reads the header at `offset`. Lengths are checked against the packet; a GSO super-packet's total
    /// length is not (the kernel writes 0 where it does not fit the field).
    ///
    /// # Errors
    /// [`Outcome::DropMalformed`].
    fn parse<P: Packet>(packet: &P, offset: usize) -> Result<Header<Self>, Outcome>;

    /// Takes one hop off the header at `offset` and keeps its checksum right. `None` if it cannot be
    /// written.
    fn decrement_hops<P: PacketMut>(packet: &mut P, offset: usize, header: &Header<Self>) -> Option<()>;

    /// Writes the congestion-experienced mark into the header at `offset` (RFC 3168 section 5).
    fn mark_congestion<P: PacketMut>(packet: &mut P, offset: usize, header: &Header<Self>) -> Option<()>;
}

/// What routing needs of an IP header.
pub struct Header<F: Family> {
    /// Source address.
    pub source: F::Address,
    /// Destination address.
    pub destination: F::Address,
    /// Length of this header with its options, in bytes.
    pub length: usize,
    /// Protocol of the payload (IANA protocol number).
    pub protocol: u8,
    /// Time to live, hop limit.
    pub hops: u8,
    /// Traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// Must not be fragmented on the way (IPv4 DF; always for IPv6).
    pub dont_fragment: bool,
    /// Is a fragment of a larger packet.
    pub fragment: bool,
    /// The largest packet in bytes, from this header on, that this one becomes on the wire: itself, or
    /// the largest segment of a GSO super-packet.
    pub largest: u32,
    /// The 16 bits that hold hop count and protocol, as they stand in an IPv4 header: what an incremental
    /// checksum update needs.
    pub(crate) hops_and_protocol: [u8; 2],
    /// The header checksum, as it stands in an IPv4 header.
    pub(crate) checksum: [u8; 2],
}

impl<F: Family> Clone for Header<F> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Family> Copy for Header<F> {}
