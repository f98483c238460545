//! A captured frame and the IP headers in it.

use std::{fmt, net::IpAddr, time::Duration};

use etherparse::{EtherType, Ethernet2HeaderSlice};

use super::{
    checksum::{Checksum, checksum},
    header::IpHeader,
};
use crate::family::Family;

/// A frame as it passed the interface.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Time since the start of the capture.
    pub at: Duration,
    /// Whether the interface sent it (otherwise it came in).
    pub outgoing: bool,
    /// Its length in bytes, link-layer header included; a GSO super-packet counts as one frame.
    pub length: usize,
    /// Its bytes, as many as were kept.
    pub bytes: Vec<u8>,
}

/// The IP packet in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Link-layer destination.
    pub to_mac: [u8; 6],
    /// Link-layer source.
    pub from_mac: [u8; 6],
    /// Whether the interface sent it.
    pub outgoing: bool,
    /// The IP headers, outermost first; more than one where there is IPIP, of whatever families.
    pub headers: Vec<IpHeader>,
    /// What follows the innermost header, as much as was kept.
    pub payload: Vec<u8>,
    /// Length of the frame without its link-layer header, in bytes.
    pub length: usize,
}

impl Packet {
    /// The outermost IP header.
    #[must_use]
    pub fn outer(&self) -> &IpHeader {
        &self.headers[0]
    }

    /// The innermost IP header; the same as [`Self::outer`] without encapsulation.
    #[must_use]
    pub fn inner(&self) -> &IpHeader {
        &self.headers[self.headers.len() - 1]
    }

    /// Whether it is IPIP.
    #[must_use]
    pub fn is_encapsulated(&self) -> bool {
        self.headers.len() > 1
    }

    /// Whether the innermost packet goes from one of these addresses to the other.
    #[must_use]
    pub fn is_between(&self, one: impl Into<IpAddr>, other: impl Into<IpAddr>) -> bool {
        let (one, other) = (one.into(), other.into());
        let (source, destination) = (self.inner().source, self.inner().destination);
        (source, destination) == (one, other) || (source, destination) == (other, one)
    }

    /// The checksum of the TCP, UDP or ICMP message in it; none if it has another protocol, is a
    /// fragment, or was not kept to its end.
    #[must_use]
    pub fn checksum(&self) -> Option<Checksum> {
        checksum(self.inner(), &self.payload)
    }
}

impl Frame {
    /// The IP packet in it, if there is one.
    #[must_use]
    pub fn packet(&self) -> Option<Packet> {
        let ethernet = Ethernet2HeaderSlice::from_slice(&self.bytes).ok()?;
        let mut family = match ethernet.ether_type() {
            EtherType::IPV4 => Family::V4,
            EtherType::IPV6 => Family::V6,
            _ => return None,
        };
        let mut rest = self.bytes.get(ethernet.slice().len()..)?;
        let mut headers = Vec::new();
        loop {
            let header = IpHeader::parse(family, rest)?;
            rest = rest.get(header.length..)?;
            headers.push(header);
            match header.tunnels() {
                Some(inner) => family = inner,
                None => break,
            }
        }
        Some(Packet {
            to_mac: ethernet.destination(),
            from_mac: ethernet.source(),
            outgoing: self.outgoing,
            headers,
            payload: rest.to_vec(),
            length: self.length - ethernet.slice().len(),
        })
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.outgoing { "out" } else { "in " };
        write!(f, "{:8.3} ms {direction} {:5} bytes", self.at.as_secs_f64() * 1000.0, self.length)?;
        let Some(packet) = self.packet() else {
            let kind = self.bytes.get(12..14).map_or(0, |kind| u16::from_be_bytes([kind[0], kind[1]]));
            return write!(f, ", ethertype {kind:#06x}");
        };
        write!(f, ", {} > {}", mac(packet.from_mac), mac(packet.to_mac))?;
        packet.headers.iter().try_for_each(|header| write!(f, " | {header}"))
    }
}

/// A MAC address as people write it.
fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft;

    fn frame(ether_type: [u8; 2], packet: &[u8]) -> Frame {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        bytes.extend_from_slice(&ether_type);
        bytes.extend_from_slice(packet);
        Frame { at: Duration::ZERO, outgoing: true, length: bytes.len(), bytes }
    }

    fn captured(packet: &[u8]) -> Packet {
        let ether_type = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
        frame(ether_type, packet).packet().unwrap()
    }

    fn pair(family: Family, number: u8) -> (IpAddr, IpAddr) {
        let prefix = if family == Family::V4 { "10.0.0." } else { "fd00::" };
        let address = |last: u8| format!("{prefix}{last}").parse().unwrap();
        (address(number), address(number + 1))
    }

    #[test]
    fn headers_of_all_four_kinds_of_tunnel_are_listed_from_the_outside() {
        for outer in Family::ALL {
            for inner in Family::ALL {
                let ((a, b), (c, d)) = (pair(outer, 1), pair(inner, 3));
                let bare = craft::echo_reply(c, d).unwrap();
                let packet = captured(&craft::ipip(a, b, &bare).unwrap());
                assert!(packet.is_encapsulated());
                assert_eq!((packet.outer().family(), packet.inner().family()), (outer, inner));
                assert_eq!((packet.outer().source, packet.outer().destination), (a, b));
                assert_eq!(packet.outer().length, usize::from(outer.header()));
                assert_eq!(packet.outer().protocol, inner.protocol());
                assert_eq!(usize::try_from(packet.outer().total).unwrap(), packet.length);
                assert!(packet.is_between(d, c) && !packet.is_between(a, b));
                assert_eq!(packet.length, usize::from(outer.header()) + bare.len());
                assert_eq!(packet.checksum(), Some(Checksum::Right));
                assert!(!captured(&bare).is_encapsulated());
            }
        }
    }

    #[test]
    fn ipv6_headers_are_read_with_their_extensions() {
        let (a, b) = pair(Family::V6, 1);
        let packet = craft::Packet::echo_reply(a, b).unwrap().hop_limit(7).traffic_class(0xb9);
        let packet = packet.extension(craft::Extension::HopByHop);
        let packet = packet.extension(craft::Extension::DestinationOptions);
        let parsed = captured(&packet.bytes().unwrap());
        let header = parsed.outer();
        assert_eq!((header.ttl, header.dscp, header.ecn), (7, 0x2e, 1));
        assert_eq!((header.length, header.protocol, header.fragment), (40 + 8 + 8, 58, false));
        assert_eq!(parsed.checksum(), Some(Checksum::Right));
        let extension = craft::Extension::Fragment { offset: 0, more: true };
        let fragment = captured(&packet.extension(extension).bytes().unwrap());
        assert!(fragment.outer().fragment && fragment.checksum().is_none());
    }

    #[test]
    fn what_is_no_ip_is_no_packet() {
        assert!(frame([8, 6], &[0; 28]).packet().is_none());
        assert!(frame([8, 0], &[0x45, 0, 0]).packet().is_none());
        assert!(frame([0x86, 0xdd], &[0x60, 0, 0]).packet().is_none());
    }
}
