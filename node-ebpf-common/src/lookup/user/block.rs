//! Blocks of addresses, and the places that they have in a chunk.

use ipnet::Ipv4Net;

/// The addresses of one prefix. The order is that of the first addresses, with the shorter prefix first: a block
/// comes right before those that it contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    /// The first address, in host byte order.
    pub(super) first: u32,
    /// Length of the prefix in bits.
    pub(super) length: u8,
}

impl Block {
    /// Every address.
    pub(super) const ALL: Self = Self { first: 0, length: 0 };

    /// The block of this length around an address.
    pub(super) fn around(address: u32, length: u8) -> Self {
        Self { first: address & !host_bits(length), length }
    }

    /// What the root chunk of this number stands for.
    pub(super) fn of_root(chunk: u32) -> Self {
        Self { first: chunk << 24, length: 8 }
    }

    /// What a cell stands for, in a chunk that stands for this block.
    pub(super) fn of_cell(self, place: u8) -> Self {
        let length = self.length + 8;
        Self { first: self.first | u32::from(place) << (32 - length), length }
    }

    /// Its last address.
    pub(super) fn last(self) -> u32 {
        self.first | host_bits(self.length)
    }

    /// Its places, in a chunk whose cells stand for blocks of this length, which is not shorter.
    pub(super) fn places(self, cell_length: u8) -> core::ops::RangeInclusive<u8> {
        place(self.first, cell_length)..=place(self.last(), cell_length)
    }
}

/// The place of an address in a chunk whose cells stand for blocks of this length.
fn place(address: u32, cell_length: u8) -> u8 {
    (address >> (32 - cell_length)).to_le_bytes()[0]
}

/// The bits after a prefix of this length.
fn host_bits(length: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(length)).unwrap_or(0)
}

impl From<Ipv4Net> for Block {
    fn from(prefix: Ipv4Net) -> Self {
        Self { first: prefix.network().to_bits(), length: prefix.prefix_len() }
    }
}
