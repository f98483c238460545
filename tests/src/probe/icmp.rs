//! A raw ICMP socket: echo requests out, replies and errors about them in.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Ipv4HeaderSlice, icmpv4};
use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv, sendto,
        setsockopt, socket, sockopt,
    },
};

use super::Fragmentation;
use crate::netns::Netns;

/// Bytes of an IPv4 header and an ICMP echo header.
pub(super) const HEADERS: u16 = 20 + 8;

/// How the socket sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub source: Option<Ipv4Addr>,
    pub fragmentation: Fragmentation,
    pub ttl: Option<u8>,
}

/// Something that came back for one of this socket's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub sequence: u16,
    pub from: Ipv4Addr,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Reply,
    FragmentationNeeded { mtu: u16 },
    TimeExceeded,
    Unreachable { code: u8 },
}

#[derive(Debug)]
pub(super) struct IcmpSocket {
    fd: OwnedFd,
    identifier: u16,
}

impl IcmpSocket {
    pub(super) fn open(netns: &Netns, options: Options) -> Result<Self> {
        /// Tells this process's sockets apart: each of a namespace receives what any of them asked for.
        static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
        let fd = netns
            .run(|| socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp))?
            .with_context(|| format!("opening a raw ICMP socket in {}", netns.name()))?;
        set_fragmentation(&fd, options.fragmentation).context("setting IP_MTU_DISCOVER")?;
        if let Some(ttl) = options.ttl {
            setsockopt(&fd, sockopt::Ipv4Ttl, &i32::from(ttl)).context("setting the TTL")?;
        }
        if let Some(source) = options.source {
            let address = SockaddrIn::from(SocketAddrV4::new(source, 0));
            bind(fd.as_raw_fd(), &address).with_context(|| format!("binding to {source}"))?;
        }
        Ok(Self { fd, identifier: IDENTIFIER.fetch_add(1, Ordering::Relaxed) })
    }

    /// Sends an echo request that makes an IP packet of `size` bytes (at least [`HEADERS`]).
    pub(super) fn send(&self, to: Ipv4Addr, sequence: u16, size: u16) -> io::Result<()> {
        let payload = vec![0xa5; usize::from(size.saturating_sub(HEADERS))];
        let echo = IcmpEchoHeader { id: self.identifier, seq: sequence };
        let mut packet =
            Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &payload).to_bytes().to_vec();
        packet.extend_from_slice(&payload);
        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
        sendto(self.fd.as_raw_fd(), &packet, &to, MsgFlags::empty())?;
        Ok(())
    }

    /// The next message about one of this socket's requests, waited for until `timeout`.
    pub(super) fn receive(&self, timeout: Duration) -> io::Result<Option<Message>> {
        let mut buffer = vec![0; 65536];
        let deadline = std::time::Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            // Rounded up: a wait of 0 ms would spin until the deadline.
            let milliseconds = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(milliseconds))? == 0 {
                return Ok(None);
            }
            let length = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
            if let Some(message) = parse(&buffer[..length], self.identifier) {
                return Ok(Some(message));
            }
        }
    }
}

fn set_fragmentation(fd: &OwnedFd, fragmentation: Fragmentation) -> io::Result<()> {
    let value: libc::c_int = match fragmentation {
        Fragmentation::Allowed => libc::IP_PMTUDISC_DONT,
        // Sets DF and, unlike "do", sends whatever path MTU was learned before: each packet finds out anew.
        Fragmentation::Forbidden => libc::IP_PMTUDISC_PROBE,
    };
    let length = u32::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: the option's value is the int behind the pointer, whose size is given; the descriptor is open.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn parse(packet: &[u8], identifier: u16) -> Option<Message> {
    let (header, icmp) = split(packet)?;
    let (kind, echo) = match icmp.icmp_type() {
        Icmpv4Type::EchoReply(echo) => (Kind::Reply, echo),
        Icmpv4Type::TimeExceeded(_) => (Kind::TimeExceeded, asked(icmp.payload())?),
        Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded {
            next_hop_mtu,
        }) => (Kind::FragmentationNeeded { mtu: next_hop_mtu }, asked(icmp.payload())?),
        Icmpv4Type::DestinationUnreachable(reason) => {
            (Kind::Unreachable { code: reason.code_u8() }, asked(icmp.payload())?)
        }
        _ => return None,
    };
    (echo.id == identifier).then_some(Message { sequence: echo.seq, from: header.source_addr(), kind })
}

/// The echo request that an ICMP error quotes.
fn asked(quoted: &[u8]) -> Option<IcmpEchoHeader> {
    match split(quoted)?.1.icmp_type() {
        Icmpv4Type::EchoRequest(echo) => Some(echo),
        _ => None,
    }
}

fn split(packet: &[u8]) -> Option<(Ipv4HeaderSlice<'_>, Icmpv4Slice<'_>)> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let rest = packet.get(header.slice().len()..)?;
    Some((header, Icmpv4Slice::from_slice(rest).ok()?))
}
