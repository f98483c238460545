//! Packets that no well-behaved stack sends, built by hand and sent past the sender's checks.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd,
};

use anyhow::{Context, Result, bail};
use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header,
    Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv4Options, Ipv6Header,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};

use crate::{capture::link_address, family::Family, netns::Netns};

/// Identifier of crafted ICMP messages, by which a capture finds them.
pub const IDENTIFIER: u16 = 0xbad0;

/// An IPv6 extension header (RFC 8200 section 4). Each is of 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, with padding as the only one. It has to be the first.
    HopByHop,
    /// Destination options, with padding as the only one.
    DestinationOptions,
    /// Fragment header.
    Fragment {
        /// Place of the payload in the whole, in units of 8 bytes.
        offset: u16,
        /// Whether more fragments follow.
        more: bool,
    },
}

impl Extension {
    fn number(self) -> IpNumber {
        match self {
            Self::HopByHop => IpNumber::IPV6_HEADER_HOP_BY_HOP,
            Self::DestinationOptions => IpNumber::IPV6_DESTINATION_OPTIONS,
            Self::Fragment { .. } => IpNumber::IPV6_FRAGMENTATION_HEADER,
        }
    }

    fn bytes(self, next: IpNumber) -> [u8; 8] {
        match self {
            // PadN with 4 bytes.
            Self::HopByHop | Self::DestinationOptions => [next.0, 0, 1, 4, 0, 0, 0, 0],
            Self::Fragment { offset, more } => {
                let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
                let [id_high, id_low] = IDENTIFIER.to_be_bytes();
                [next.0, 0, high, low, 0, 0, id_high, id_low]
            }
        }
    }
}

/// An IP packet of either family, as one wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    hop_limit: u8,
    traffic_class: u8,
    extensions: Vec<Extension>,
    options: Ipv4Options,
    payload: Vec<u8>,
}

impl Packet {
    /// A packet with this payload, and the time to live that most hosts use.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, protocol: IpNumber, payload: Vec<u8>) -> Self {
        let (hop_limit, traffic_class) = (64, 0);
        let (extensions, options) = (Vec::new(), Ipv4Options::new());
        Self { source, destination, protocol, hop_limit, traffic_class, extensions, options, payload }
    }

    /// An echo reply that nobody has asked for: it calls forth no answer, which would be counted as well.
    ///
    /// # Errors
    /// If the addresses are not of one family.
    pub fn echo_reply(source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> Result<Self> {
        let (source, destination, payload) = (source.into(), destination.into(), [0x5a; 56]);
        let echo = IcmpEchoHeader { id: IDENTIFIER, seq: 1 };
        let (protocol, header) = match (source, destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => {
                let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoReply(echo), &payload);
                (IpNumber::ICMP, header.to_bytes().to_vec())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let kind = Icmpv6Type::EchoReply(echo);
                let header = Icmpv6Header::with_checksum(kind, from.octets(), to.octets(), &payload)?;
                (IpNumber::IPV6_ICMP, header.to_bytes().to_vec())
            }
            _ => bail!("{source} and {destination} are not of one family"),
        };
        Ok(Self::new(source, destination, protocol, [&header[..], &payload].concat()))
    }

    /// With this time to live or hop limit.
    #[must_use]
    pub fn hop_limit(self, hop_limit: u8) -> Self {
        Self { hop_limit, ..self }
    }

    /// With this traffic class: 6 bits of DSCP, 2 of ECN.
    #[must_use]
    pub fn traffic_class(self, traffic_class: u8) -> Self {
        Self { traffic_class, ..self }
    }

    /// With one more extension header, behind those that it has. IPv6 only.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// With these options in its header (RFC 791 section 3.1). IPv4 only.
    #[must_use]
    pub fn options(self, options: [u8; 4]) -> Self {
        Self { options: options.into(), ..self }
    }

    /// The packet as it is sent.
    ///
    /// # Errors
    /// If it is longer than an IP packet may be, has addresses of two families, or what only the other family has.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut next = self.protocol;
        let mut body = self.payload.clone();
        for extension in self.extensions.iter().rev() {
            body.splice(0..0, extension.bytes(next));
            next = extension.number();
        }
        let length = u16::try_from(body.len()).context("too long for a packet")?;
        let header = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) if self.extensions.is_empty() => {
                let (source, destination) = (source.octets(), destination.octets());
                let mut header = Ipv4Header::new(length, self.hop_limit, next, source, destination)?;
                header.dscp = IpDscp::try_new(self.traffic_class >> 2)?;
                header.ecn = IpEcn::try_new(self.traffic_class & 3)?;
                header.options = self.options.clone();
                header.set_payload_len(body.len())?;
                header.header_checksum = header.calc_header_checksum();
                header.to_bytes().to_vec()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) if self.options.is_empty() => {
                let header = Ipv6Header {
                    traffic_class: self.traffic_class,
                    payload_length: length,
                    next_header: next,
                    hop_limit: self.hop_limit,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                header.to_bytes().to_vec()
            }
            _ => bail!("{} to {}: no such packet: {self:?}", self.source, self.destination),
        };
        Ok([header, body].concat())
    }
}

/// The bytes of [`Packet::echo_reply`].
///
/// # Errors
/// If the addresses are not of one family.
pub fn echo_reply(source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> Result<Vec<u8>> {
    Packet::echo_reply(source, destination)?.bytes()
}

/// This packet in one more IP header, of the family that these addresses have.
///
/// # Errors
/// If it is longer than an IP packet may be, or the addresses are not of one family.
pub fn ipip(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, inner: &[u8]) -> Result<Vec<u8>> {
    let protocol = IpNumber(family(inner)?.protocol());
    Packet::new(source.into(), destination.into(), protocol, inner.to_vec()).bytes()
}

/// The same packet as the first of several fragments.
///
/// # Errors
/// If it is no IP packet.
pub fn first_fragment(mut packet: Vec<u8>) -> Result<Vec<u8>> {
    match family(&packet)? {
        // The checksum need not be right: the kernel fills it in when it sends a raw packet.
        Family::V4 => packet[6] |= 0x20,
        Family::V6 => {
            let more = [packet[6], 0, 0, 1, 0, 0, 0, 9];
            let length = u16::from_be_bytes([packet[4], packet[5]]) + 8;
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            packet[6] = 44;
            packet.splice(40..40, more);
        }
    }
    Ok(packet)
}

fn family(packet: &[u8]) -> Result<Family> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => Ok(Family::V4),
        Some(6) => Ok(Family::V6),
        _ => bail!("no IP packet"),
    }
}

fn destination(packet: &[u8]) -> Result<IpAddr> {
    let cut_short = "an IP packet that is cut short";
    Ok(match family(packet)? {
        Family::V4 => <[u8; 4]>::try_from(packet.get(16..20).context(cut_short)?)?.into(),
        Family::V6 => <[u8; 16]>::try_from(packet.get(24..40).context(cut_short)?)?.into(),
    })
}

/// Sends an IP packet as it is from this namespace, whose routes decide where it goes.
///
/// # Errors
/// If it cannot be sent.
pub fn send(netns: &Netns, packet: &[u8]) -> Result<()> {
    let destination = destination(packet)?;
    let domain = if destination.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = netns
        .run(|| socket(domain, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw))?
        .with_context(|| format!("opening a raw IP socket in {}", netns.name()))?;
    let to = SockaddrStorage::from(SocketAddr::new(destination, 0));
    sendto(fd.as_raw_fd(), packet, &to, MsgFlags::empty())
        .with_context(|| format!("sending to {destination} from {}", netns.name()))?;
    Ok(())
}

/// Tells everyone at this interface's segment that the interface has this address now (gratuitous ARP),
/// as bonding and failover daemons do after a move.
///
/// # Errors
/// If there is no such interface or the frame cannot be sent.
pub fn announce(netns: &Netns, interface: &str, address: Ipv4Addr) -> Result<()> {
    let (mac, ip, everyone) = (netns.mac(interface)?, address.octets(), [0xff; 6]);
    let ethernet = Ethernet2Header { source: mac, destination: everyone, ether_type: EtherType::ARP };
    let (hardware, request) = (ArpHardwareId::ETHERNET, ArpOperation::REQUEST);
    let arp = ArpPacket::new(hardware, EtherType::IPV4, request, &mac, &ip, &everyone, &ip)?;
    let frame = [&ethernet.to_bytes()[..], &arp.to_bytes()].concat();
    let link = link_address(netns.interface_index(interface)?)?;
    let fd = netns
        .run(|| socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None))?
        .with_context(|| format!("opening a packet socket in {}", netns.name()))?;
    sendto(fd.as_raw_fd(), &frame, &link, MsgFlags::empty())
        .with_context(|| format!("announcing {address} at {interface} in {}", netns.name()))?;
    Ok(())
}
