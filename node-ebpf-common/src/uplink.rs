/// What the XDP program needs to know of the uplink that it runs at, keyed by its interface index. An interface
/// without an entry is left to tc.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uplink {
    /// Its link-layer address: only frames for it are looked at.
    pub mac: [u8; 6],
    /// Bits of `Uplink::*`.
    pub flags: u16,
}

impl Uplink {
    /// Its driver sends frames that are in more than one buffer (`NETDEV_XDP_ACT_NDO_XMIT_SG`).
    pub const SENDS_FRAGMENTS: u16 = 1;

    /// Whether its driver does.
    #[inline(always)]
    #[must_use]
    pub const fn sends_fragments(&self) -> bool {
        self.flags & Self::SENDS_FRAGMENTS != 0
    }
}
