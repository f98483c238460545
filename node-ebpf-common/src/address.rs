/// An IP address of either family: 16 bytes in network byte order, IPv4 in its IPv4-mapped form
/// (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2). All zero means "none".
///
/// Held in words, as they are in memory: BPF programs have few registers and a small stack, and byte by byte an
/// address takes 16 of either.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u32; 4]);

/// The third word of an IPv4-mapped address.
const MAPPED: u32 = 0xffff_u32.to_be();

impl Address {
    /// No address.
    pub const NONE: Self = Self([0; 4]);

    /// The IPv4 address with these four bytes, in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4(v4: [u8; 4]) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(v4))
    }

    /// The IPv4 address whose bytes stand in this word, as they are in memory.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(v4: u32) -> Self {
        Self([0, 0, MAPPED, v4])
    }

    /// The address whose bytes stand in these words, as they are in memory.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// The address with these 16 bytes, in network byte order.
    #[must_use]
    pub fn from_octets(octets: [u8; 16]) -> Self {
        let word =
            |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        Self([word(0), word(4), word(8), word(12)])
    }

    /// Its 16 bytes, in network byte order.
    #[must_use]
    pub fn octets(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(4).zip(self.0) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        octets
    }

    /// Its words, as they are in memory.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u32; 4] {
        self.0
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }

    /// The last word, as it is in memory: the IPv4 address, if this is one.
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(&self) -> u32 {
        self.0[3]
    }

    /// The last four bytes: the IPv4 address, if this is one.
    #[inline(always)]
    #[must_use]
    pub const fn v4_bytes(&self) -> [u8; 4] {
        self.0[3].to_ne_bytes()
    }

    /// Whether both are the same address. (`==` on 16 bytes is a call that BPF does not have.)
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, other: &Self) -> bool {
        self.0[0] == other.0[0]
            && self.0[1] == other.0[1]
            && self.0[2] == other.0[2]
            && self.0[3] == other.0[3]
    }
}
