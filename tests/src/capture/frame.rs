//! A captured frame and the IPv4 headers in it.

use std::{fmt, net::Ipv4Addr, time::Duration};

use etherparse::{EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice};

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

/// A header of an IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpHeader {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol of what follows; 4 is IPIP.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// DF flag.
    pub dont_fragment: bool,
    /// Whether it is a fragment.
    pub fragment: bool,
    /// DSCP, 6 bits.
    pub dscp: u8,
    /// ECN, 2 bits.
    pub ecn: u8,
    /// Length of this header in bytes.
    pub length: usize,
    /// Length of the packet that it starts, as it says, in bytes.
    pub total: u16,
}

/// The IPv4 packet in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Link-layer destination.
    pub to_mac: [u8; 6],
    /// Link-layer source.
    pub from_mac: [u8; 6],
    /// Whether the interface sent it.
    pub outgoing: bool,
    /// The IPv4 headers, outermost first; more than one where there is IPIP.
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
    pub fn is_between(&self, one: Ipv4Addr, other: Ipv4Addr) -> bool {
        let (source, destination) = (self.inner().source, self.inner().destination);
        (source, destination) == (one, other) || (source, destination) == (other, one)
    }
}

impl Frame {
    /// The IPv4 packet in it, if there is one.
    #[must_use]
    pub fn packet(&self) -> Option<Packet> {
        let ethernet = Ethernet2HeaderSlice::from_slice(&self.bytes).ok()?;
        if ethernet.ether_type() != EtherType::IPV4 {
            return None;
        }
        let mut rest = self.bytes.get(ethernet.slice().len()..)?;
        let mut headers = Vec::new();
        loop {
            let header = Ipv4HeaderSlice::from_slice(rest).ok()?;
            rest = rest.get(header.slice().len()..)?;
            let last = header.protocol() != IpNumber::IPV4 || header.is_fragmenting_payload();
            headers.push(ip_header(&header));
            if last {
                break;
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

fn ip_header(header: &Ipv4HeaderSlice<'_>) -> IpHeader {
    IpHeader {
        source: header.source_addr(),
        destination: header.destination_addr(),
        protocol: header.protocol().0,
        ttl: header.ttl(),
        dont_fragment: header.dont_fragment(),
        fragment: header.is_fragmenting_payload(),
        dscp: header.dcp().value(),
        ecn: header.ecn().value(),
        length: header.slice().len(),
        total: header.total_len(),
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

impl fmt::Display for IpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            1 => "ICMP",
            4 => "IPIP",
            6 => "TCP",
            17 => "UDP",
            _ => "other",
        };
        let flags = if self.dont_fragment { " DF" } else { "" };
        write!(
            f,
            "{} > {} {protocol} ({}) ttl {} length {}{flags}",
            self.source, self.destination, self.protocol, self.ttl, self.total
        )
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

    fn frame(packet: &[u8]) -> Frame {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        bytes.extend_from_slice(packet);
        Frame { at: Duration::ZERO, outgoing: true, length: bytes.len(), bytes }
    }

    #[test]
    fn headers_are_listed_from_the_outside() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|n| Ipv4Addr::new(10, 0, 0, n));
        let inner = craft::echo_request(c, d).unwrap();
        let packet = frame(&craft::ipip(a, b, &inner).unwrap()).packet().unwrap();
        assert!(packet.is_encapsulated());
        assert_eq!((packet.outer().source, packet.outer().destination, packet.outer().length), (a, b, 20));
        assert!(packet.is_between(d, c) && !packet.is_between(a, b));
        assert_eq!(packet.length, 20 + inner.len());
        assert!(!frame(&inner).packet().unwrap().is_encapsulated());
    }

    #[test]
    fn what_is_no_ipv4_is_no_packet() {
        let mut arp = frame(&[0; 28]);
        arp.bytes[13] = 6;
        assert!(arp.packet().is_none());
        assert!(frame(&[0x45, 0, 0]).packet().is_none());
    }
}
