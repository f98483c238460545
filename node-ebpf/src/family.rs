//! What differs between IPv4 and IPv6, behind one trait.

use node_ebpf_common::{Address, Endpoint, Flow, NextHop, Settings};

use crate::{Outcome, Packet, PacketMut, pair};

/// An address family.
pub trait Family: Sized {
    /// An address in network byte order, held in words as they are in memory.
    type Address: Copy;

    /// A header without options or extensions, as it is put in front of another packet: words as they are in
    /// memory.
    type Outer: Copy;

    /// IANA protocol number of a packet of this family inside of another IP packet.
    const PROTOCOL: u8;

    /// Its EtherType, in network byte order.
    const ETHER_TYPE: [u8; 2];

    /// Length of its header without options or extensions, in bytes.
    const HEADER_LENGTH: usize;

    /// Reads the header at `offset`. Lengths are checked against the packet; a GSO super-packet's total
    /// length is not (the kernel writes 0 where it does not fit the field).
    ///
    /// # Errors
    /// [`Outcome::DropMalformed`].
    fn parse<P: Packet>(packet: &mut P, offset: usize) -> Result<Header<Self>, Outcome>;

    /// Takes one hop off the header at `offset` and keeps its checksum right. `None` if it cannot be
    /// written.
    fn decrement_hops<P: PacketMut>(packet: &mut P, offset: usize, header: &Header<Self>) -> Option<()>;

    /// Writes the congestion-experienced mark into the header at `offset` (RFC 3168 section 5).
    fn mark_congestion<P: PacketMut>(packet: &mut P, offset: usize) -> Option<()>;

    /// The outer header of this family for a packet of `inner_length` bytes, network header and payload.
    ///
    /// DSCP and ECN are copied (RFC 6040, normal mode), DF follows the inner packet (RFC 2003 section 3.1).
    /// A super-packet that no longer fits the length field gets 0 there, as the kernel does for BIG TCP: it
    /// is written again for each segment. `number` tells packets or flows apart where the header has a field
    /// for it.
    fn outer<I: Family>(inner: &Header<I>, inner_length: u32, via: &NextHop, number: u32) -> Self::Outer;

    /// The place of these two addresses among the pairs that may have a translated flow: below
    /// [`node_ebpf_common::TRANSLATED_PAIRS`]. Different pairs may have the same place.
    fn pair(local: Self::Address, remote: Self::Address) -> u32;

    /// The hash of a flow by which one of several ways is chosen: of addresses, protocol and ports. Fragments have no
    /// ports here, so that all of a packet go one way. Another seed makes another choice: nodes one behind the other
    /// that chose alike would leave ways without use.
    fn hash(header: &Header<Self>, seed: u32) -> u32;

    /// The address as the maps hold it.
    fn to_common(address: Self::Address) -> Address;

    /// The pod's address of this family, or none.
    fn of_endpoint(endpoint: &Endpoint) -> &Address;

    /// The node's address of this family, or none.
    fn of_node(settings: &Settings) -> &Address;

    /// Whether the address is valid on one link only, so that no router may forward it (RFC 4291 section
    /// 2.5.6).
    fn is_link_local(address: Self::Address) -> bool;
}

/// What routing needs of an IP header.
pub struct Header<F: Family> {
    /// Source address.
    pub source: F::Address,
    /// Destination address.
    pub destination: F::Address,
    /// Length of this header with its options or extension headers, in bytes.
    pub length: usize,
    /// Protocol of the payload (IANA protocol number), behind all extension headers.
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
    /// Source and destination port in network byte order; 0 for fragments and protocols without ports.
    pub ports: Ports,
    /// The 16 bits that hold hop count and protocol, as an IPv4 header has them in memory: what an incremental
    /// checksum update needs.
    pub(crate) hops_and_protocol: u16,
    /// The header checksum, as an IPv4 header has it in memory.
    pub(crate) checksum: u16,
}

/// Source and destination port in network byte order, as they are in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

impl<F: Family> Header<F> {
    /// Whether the payload is an IP packet: protocol 4 or 41.
    #[inline(always)]
    #[must_use]
    pub const fn is_tunnel(&self) -> bool {
        matches!(self.protocol, crate::V4::PROTOCOL | crate::V6::PROTOCOL)
    }

    /// What tells flows between the same addresses apart, and the seed, for [`Family::hash`].
    #[inline(always)]
    pub(crate) const fn ports_and_protocol(&self, seed: u32) -> u64 {
        let ports = (self.ports.source as u32) << 16 | self.ports.destination as u32;
        pair::join(ports, seed ^ self.protocol as u32)
    }

    /// The flow, with the sender as its local end.
    #[inline(always)]
    #[must_use]
    pub fn flow(&self) -> Flow<F::Address> {
        Flow {
            local: self.source,
            remote: self.destination,
            local_port: self.ports.source,
            remote_port: self.ports.destination,
            protocol: u32::from(self.protocol),
        }
    }
}

impl<F: Family> Clone for Header<F> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Family> Copy for Header<F> {}
