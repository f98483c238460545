//! Packets that no well-behaved stack sends, built by hand and sent past the sender's checks.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd,
};

use anyhow::{Context, Result};
use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpNumber, Ipv4Header};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::netns::Netns;

/// Identifier of crafted echo requests, by which a capture finds them.
pub const IDENTIFIER: u16 = 0xbad0;

/// An echo request between these addresses.
///
/// # Errors
/// Never for addresses; the codec's type says so.
pub fn echo_request(source: Ipv4Addr, destination: Ipv4Addr) -> Result<Vec<u8>> {
    let payload = [0x5a; 56];
    let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: IDENTIFIER, seq: 1 });
    let mut icmp = Icmpv4Header::with_checksum(echo, &payload).to_bytes().to_vec();
    icmp.extend_from_slice(&payload);
    packet(source, destination, IpNumber::ICMP, &icmp)
}

/// This packet in an IPIP header.
///
/// # Errors
/// If it is longer than an IP packet may be.
pub fn ipip(source: Ipv4Addr, destination: Ipv4Addr, inner: &[u8]) -> Result<Vec<u8>> {
    packet(source, destination, IpNumber::IPV4, inner)
}

/// The same packet with the flag that says that more fragments follow.
#[must_use]
pub fn first_fragment(mut packet: Vec<u8>) -> Vec<u8> {
    // The checksum need not be right: the kernel fills it in when it sends a raw packet.
    if let Some(flags) = packet.get_mut(6) {
        *flags |= 0x20;
    }
    packet
}

fn packet(source: Ipv4Addr, destination: Ipv4Addr, protocol: IpNumber, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(payload.len()).context("too long for a packet")?;
    let mut header = Ipv4Header::new(length, 64, protocol, source.octets(), destination.octets())?;
    header.header_checksum = header.calc_header_checksum();
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// Sends an IP packet as it is from this namespace, whose routes decide where it goes.
///
/// # Errors
/// If it cannot be sent.
pub fn send(netns: &Netns, packet: &[u8]) -> Result<()> {
    let bytes: [u8; 4] = packet.get(16..20).context("no IP packet")?.try_into()?;
    let destination = Ipv4Addr::from(bytes);
    let fd = netns
        .run(|| socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw))?
        .with_context(|| format!("opening a raw IP socket in {}", netns.name()))?;
    let to = SockaddrIn::from(SocketAddrV4::new(destination, 0));
    sendto(fd.as_raw_fd(), packet, &to, MsgFlags::empty())
        .with_context(|| format!("sending to {destination} from {}", netns.name()))?;
    Ok(())
}
