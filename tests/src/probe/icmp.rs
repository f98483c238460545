//! A raw ICMP socket of either family: echo requests out, replies and errors about them in.

mod codec;

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recvmsg, sendto,
        setsockopt, socket, sockopt,
    },
};

use super::Fragmentation;
use crate::{family::Family, netns::Netns};

/// Bytes of an ICMP echo header, the same in both families.
pub(super) const ECHO_HEADER: u16 = 8;

/// How the socket sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub source: Option<IpAddr>,
    pub fragmentation: Fragmentation,
    pub ttl: Option<u8>,
}

/// Something that came back for one of this socket's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub sequence: u16,
    pub from: IpAddr,
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
    family: Family,
    identifier: u16,
}

impl IcmpSocket {
    pub(super) fn open(netns: &Netns, family: Family, options: Options) -> Result<Self> {
        /// Tells this process's sockets apart: each of a namespace receives what any of them asked for.
        static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
        let (domain, protocol) = match family {
            Family::V4 => (AddressFamily::Inet, SockProtocol::Icmp),
            Family::V6 => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let fd = netns
            .run(|| socket(domain, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol))?
            .with_context(|| format!("opening a raw ICMP socket in {}", netns.name()))?;
        set_fragmentation(&fd, family, options.fragmentation).context("setting the use of the path MTU")?;
        if let Some(ttl) = options.ttl.map(i32::from) {
            match family {
                Family::V4 => setsockopt(&fd, sockopt::Ipv4Ttl, &ttl).context("setting the TTL")?,
                Family::V6 => setsockopt(&fd, sockopt::Ipv6Ttl, &ttl).context("setting the hop limit")?,
            }
        }
        if let Some(source) = options.source {
            let address = SockaddrStorage::from(SocketAddr::new(source, 0));
            bind(fd.as_raw_fd(), &address).with_context(|| format!("binding to {source}"))?;
        }
        Ok(Self { fd, family, identifier: IDENTIFIER.fetch_add(1, Ordering::Relaxed) })
    }

    /// Sends an echo request that makes an IP packet of `size` bytes.
    pub(super) fn send(&self, to: IpAddr, sequence: u16, size: u16) -> io::Result<()> {
        let payload = size.saturating_sub(self.family.header() + ECHO_HEADER);
        let packet = codec::request(self.family, self.identifier, sequence, payload.into());
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
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
            let (fd, mut parts) = (self.fd.as_raw_fd(), [IoSliceMut::new(&mut buffer)]);
            let received = recvmsg::<SockaddrStorage>(fd, &mut parts, None, MsgFlags::MSG_DONTWAIT)?;
            let (length, from) = (received.bytes, received.address.and_then(address));
            let message = codec::parse(self.family, &buffer[..length]);
            let (Some((kind, asked)), Some(from)) = (message, from) else { continue };
            if asked.id == self.identifier {
                return Ok(Some(Message { sequence: asked.seq, from, kind }));
            }
        }
    }
}

fn address(from: SockaddrStorage) -> Option<IpAddr> {
    let v4 = from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip()));
    v4.or_else(|| from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())))
}

/// Whether routers, or the sender itself in IPv6, may fragment.
pub(super) fn set_fragmentation(
    fd: &impl AsRawFd,
    family: Family,
    fragmentation: Fragmentation,
) -> io::Result<()> {
    // "probe" sets DF in IPv4. Unlike "do", it sends whatever path MTU was learned before: each packet finds out anew.
    let (level, option, [allowed, forbidden]) = match family {
        Family::V4 => {
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, [libc::IP_PMTUDISC_DONT, libc::IP_PMTUDISC_PROBE])
        }
        Family::V6 => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            [libc::IPV6_PMTUDISC_DONT, libc::IPV6_PMTUDISC_PROBE],
        ),
    };
    let value: libc::c_int = match fragmentation {
        Fragmentation::Allowed => allowed,
        Fragmentation::Forbidden => forbidden,
    };
    let length = u32::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: the option's value is the int behind the pointer, whose size is given; the descriptor is open.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
