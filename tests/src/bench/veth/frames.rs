//! The packets: UDP, 64 bytes with the Ethernet header, in one flow or many.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use etherparse::PacketBuilder;

/// How many flows the packets belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flows {
    /// All to one.
    One,
    /// In turns to 4,096.
    Many,
}

impl Flows {
    /// Both.
    pub const ALL: [Self; 2] = [Self::One, Self::Many];

    /// The number: a power of two.
    #[must_use]
    pub fn count(self) -> u16 {
        match self {
            Self::One => 1,
            Self::Many => 4096,
        }
    }

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "1 flow",
            Self::Many => "4,096 flows",
        }
    }
}

/// Bytes of a frame, without its checksum.
pub const LENGTH: usize = 64;
/// Source port of the first flow.
pub const FIRST_PORT: u16 = 10_000;
/// Where the source port is in a frame.
pub const SOURCE_PORT: usize = 34;
/// Where the UDP checksum is in a frame.
const CHECKSUM: usize = 40;
/// Time to live as it is sent.
pub const TTL: u8 = 64;
/// The discard port (RFC 863).
const PORT: u16 = 9;

/// Where packets come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Link-layer addresses: source, next hop.
    pub macs: [[u8; 6]; 2],
    /// Addresses: source, destination.
    pub addresses: [Ipv4Addr; 2],
}

/// The frame of one flow.
///
/// # Errors
/// It cannot be built.
pub fn frame(route: &Route, flow: u16) -> Result<[u8; LENGTH]> {
    let [from_mac, to_mac] = route.macs;
    let [from, to] = route.addresses;
    let builder = PacketBuilder::ethernet2(from_mac, to_mac)
        .ipv4(from.octets(), to.octets(), TTL)
        .udp(FIRST_PORT + flow, PORT);
    let payload: Vec<u8> = (0..).take(LENGTH - builder.size(0)).collect();
    let mut bytes = Vec::with_capacity(LENGTH);
    builder.write(&mut bytes, &payload).context("building a frame")?;
    // None, as IPv4 allows: what a pod's sockets send leaves it to the interface, so that nobody on the way computes it
    // there either.
    bytes[CHECKSUM..CHECKSUM + 2].fill(0);
    bytes.try_into().map_err(|bytes: Vec<u8>| anyhow::anyhow!("a frame of {} bytes", bytes.len()))
}

/// The frames of all flows.
///
/// # Errors
/// They cannot be built.
pub fn frames(route: &Route, flows: Flows) -> Result<Vec<[u8; LENGTH]>> {
    (0..flows.count()).map(|flow| frame(route, flow)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn frames_differ_in_their_source_port_alone() {
        let route = Route {
            macs: [[2, 0, 0, 0, 0, 1], [0xee; 6]],
            addresses: ["10.244.1.10", "10.244.2.10"].map(|text| text.parse().unwrap()),
        };
        let all = frames(&route, Flows::Many).unwrap();
        let ports =
            all.iter().map(|frame| u16::from_be_bytes([frame[34], frame[35]])).collect::<BTreeSet<_>>();
        assert_eq!((ports.len(), *ports.first().unwrap()), (4096, FIRST_PORT));
        let rest = |frame: &[u8; LENGTH]| [&frame[..SOURCE_PORT], &frame[SOURCE_PORT + 2..]].concat();
        assert!(all.iter().all(|frame| rest(frame) == rest(&all[0])));
        assert_eq!((all[0][CHECKSUM], all[0][CHECKSUM + 1], all[0][LENGTH - 1]), (0, 0, 21));
        assert_eq!(frames(&route, Flows::One).unwrap(), all[..1]);
    }
}
