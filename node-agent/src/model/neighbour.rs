use std::net::{IpAddr, Ipv6Addr};

use serde::Serialize;

/// A neighbour on a link: what packets are sent to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LinkNeighbour {
    /// Interface index.
    pub link: u32,
    /// Its address.
    pub address: IpAddr,
}

/// An IPv6 neighbour that stands for an IPv4 gateway: the kernel has no IPv6 route by an IPv4 gateway. The
/// kernel's routes to IPv6 prefixes behind an IPv4 underlay lead to it, so that their packets get to the
/// to-uplink program, which puts the IPv4 header on and sends them to the real gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PlaceholderNeighbour {
    /// Interface index.
    pub link: u32,
    /// Its address.
    pub address: Ipv6Addr,
    /// Its link-layer address, which nobody has: without the program, packets to it go nowhere.
    pub mac: [u8; 6],
}

impl PlaceholderNeighbour {
    /// Its address on every link: link-local, and the end spells PDROUT.
    pub const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5044, 0x524f, 0x5554);

    /// Its link-layer address on every link: locally administered, and spells PDROU.
    pub const MAC: [u8; 6] = [0x02, 0x50, 0x44, 0x52, 0x4f, 0x55];

    /// The one on this link.
    #[must_use]
    pub const fn on(link: u32) -> Self {
        Self { link, address: Self::ADDRESS, mac: Self::MAC }
    }
}
