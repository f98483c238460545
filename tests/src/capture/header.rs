//! An IP header of either family, as values that can be compared.

use std::{fmt, net::IpAddr};

use etherparse::{Ipv4HeaderSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice};

use crate::family::Family;

/// A header of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpHeader {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol of what follows the header and its extension headers; 4 is an IPv4 packet, 41 an IPv6 one.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// DF flag; set in IPv6, which no router fragments.
    pub dont_fragment: bool,
    /// Whether it is a fragment.
    pub fragment: bool,
    /// DSCP, 6 bits.
    pub dscp: u8,
    /// ECN, 2 bits.
    pub ecn: u8,
    /// Length of this header in bytes, with options or extension headers.
    pub length: usize,
    /// Length of the packet that it starts, as it says, in bytes.
    pub total: u32,
}

impl IpHeader {
    /// Its address family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.source)
    }

    /// The family of the whole packet that follows, if one does.
    pub(super) fn tunnels(&self) -> Option<Family> {
        Family::ALL.into_iter().find(|family| family.protocol() == self.protocol && !self.fragment)
    }

    /// Reads the header that these bytes begin with.
    pub(super) fn parse(family: Family, bytes: &[u8]) -> Option<Self> {
        match family {
            Family::V4 => Some(of_v4(&Ipv4HeaderSlice::from_slice(bytes).ok()?)),
            Family::V6 => {
                let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
                of_v6(&header, bytes.get(header.slice().len()..)?)
            }
        }
    }
}

fn of_v4(header: &Ipv4HeaderSlice<'_>) -> IpHeader {
    IpHeader {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.protocol().0,
        ttl: header.ttl(),
        dont_fragment: header.dont_fragment(),
        fragment: header.is_fragmenting_payload(),
        dscp: header.dcp().value(),
        ecn: header.ecn().value(),
        length: header.slice().len(),
        total: header.total_len().into(),
    }
}

fn of_v6(header: &Ipv6HeaderSlice<'_>, rest: &[u8]) -> Option<IpHeader> {
    let (extensions, protocol, _) = Ipv6ExtensionsSlice::from_slice(header.next_header(), rest).ok()?;
    Some(IpHeader {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: protocol.0,
        ttl: header.hop_limit(),
        dont_fragment: true,
        fragment: extensions.is_fragmenting_payload(),
        dscp: header.dscp().value(),
        ecn: header.ecn().value(),
        length: header.slice().len() + extensions.slice().len(),
        total: u32::from(Family::V6.header()) + u32::from(header.payload_length()),
    })
}

impl fmt::Display for IpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            1 | 58 => "ICMP",
            4 | 41 => "IPIP",
            6 => "TCP",
            17 => "UDP",
            _ => "other",
        };
        let flags = match (self.fragment, self.dont_fragment) {
            (true, _) => " fragment",
            (false, true) => " DF",
            (false, false) => "",
        };
        write!(
            f,
            "{} > {} {protocol} ({}) ttl {} length {}{flags}",
            self.source, self.destination, self.protocol, self.ttl, self.total
        )
    }
}
