//! A packet as bytes that can be read, and written, at an offset.

use network_types::eth::EthHdr;

/// Length of the Ethernet header: where the network header begins.
pub const ETHERNET_LENGTH: usize = EthHdr::LEN;

/// Where the Ethernet header holds the EtherType.
pub const ETHER_TYPE_OFFSET: usize = 12;

/// A length or offset within a packet as the kernel counts them. Packets are far shorter than 4 GiB.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "lengths within a packet fit 32 bits")]
pub const fn bytes(length: usize) -> u32 {
    length as u32
}

/// A packet that can be read.
pub trait Packet {
    /// Makes the bytes up to `end` readable, if the packet is so long and they are not yet.
    fn reach(&mut self, end: usize);

    /// Copies a value out of the packet, or `None` if it reaches beyond what can be read. `T` must be
    /// plain bytes (any bit pattern is a value).
    fn load<T: Copy>(&self, offset: usize) -> Option<T>;

    /// Length of the whole packet in bytes, link-layer header included.
    fn len(&self) -> u32;

    /// Payload bytes of each segment if this is a GSO super-packet, else 0 (`skb_shinfo->gso_size`).
    fn segment_size(&self) -> u32;

    /// Whether there are no bytes at all.
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A packet that can be written too.
pub trait PacketMut: Packet {
    /// Copies a value into the packet, or returns `None` if it reaches beyond what can be written.
    fn store<T: Copy>(&mut self, offset: usize, value: T) -> Option<()>;
}
