/// An IP address of either family: 16 bytes in network byte order, IPv4 in its IPv4-mapped form
/// (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2). All zero means "none".
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// No address.
    pub const NONE: Self = Self([0; 16]);

    /// The IPv4 address with these four bytes, in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4(v4: [u8; 4]) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]])
    }

    /// The IPv6 address with these 16 bytes, in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6(v6: [u8; 16]) -> Self {
        Self(v6)
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.words()[0] == 0 && self.words()[1].to_be() >> 32 == 0xffff
    }

    /// Whether both are the same address. (`==` on 16 bytes is a call that BPF does not have.)
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, other: &Self) -> bool {
        let (one, other) = (self.words(), other.words());
        one[0] == other[0] && one[1] == other[1]
    }

    #[inline(always)]
    const fn words(&self) -> [u64; 2] {
        let b = &self.0;
        [
            u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        ]
    }

    /// The last four bytes: the IPv4 address, if this is one.
    #[inline(always)]
    #[must_use]
    pub const fn v4_bytes(&self) -> [u8; 4] {
        [self.0[12], self.0[13], self.0[14], self.0[15]]
    }
}
