//! One echo request and its answer, with the size, DF flag, TTL and source that a story asks for.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::libc;

use super::icmp::{ECHO_HEADER, IcmpSocket, Kind, Options};
use crate::{family::Family, lab::Endpoint, netns::Netns};

/// Whether routers may fragment the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragmentation {
    /// DF is clear; in IPv6, the sender itself may fragment.
    Allowed,
    /// DF is set, the sender itself does not fragment, and what was learned of the path MTU before is ignored.
    Forbidden,
}

/// What an echo request led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The reply came.
    Reply {
        /// Time from the request to it.
        rtt: Duration,
    },
    /// A router says that the packet is too big (ICMP type 3 code 4, ICMPv6 type 2).
    FragmentationNeeded {
        /// Who says it.
        from: IpAddr,
        /// The MTU it names, in bytes.
        mtu: u16,
    },
    /// The sender's own interface is too small for the packet.
    TooBigHere,
    /// The TTL or hop limit ended on the way (ICMP type 11, ICMPv6 type 3).
    TimeExceeded {
        /// Where.
        from: IpAddr,
    },
    /// The destination cannot be reached (ICMP type 3, other codes; ICMPv6 type 1).
    Unreachable {
        /// Who says it.
        from: IpAddr,
        /// ICMP code.
        code: u8,
    },
    /// Nothing came in time.
    Silence,
}

/// An echo request to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Ping {
    to: IpAddr,
    size: u16,
    timeout: Duration,
    options: Options,
}

impl Ping {
    /// A request with 56 bytes of payload as `ping` sends it (84 bytes in IPv4, 104 in IPv6), DF clear,
    /// answered within a second.
    ///
    /// # Errors
    /// Never.
    pub fn to(address: IpAddr) -> Result<Self> {
        let options = Options { source: None, fragmentation: Fragmentation::Allowed, ttl: None };
        let size = usual_size(Family::of(address));
        Ok(Self { to: address, size, timeout: Duration::from_secs(1), options })
    }

    /// With an IP packet of this many bytes, headers included (28 at least, in IPv6 48).
    #[must_use]
    pub fn size(self, size: u16) -> Self {
        Self { size: size.max(Family::of(self.to).header() + ECHO_HEADER), ..self }
    }

    /// With the DF flag set or clear.
    #[must_use]
    pub fn fragmentation(mut self, fragmentation: Fragmentation) -> Self {
        self.options.fragmentation = fragmentation;
        self
    }

    /// With this TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.options.ttl = Some(ttl);
        self
    }

    /// From this address, which the sender must have.
    #[must_use]
    pub fn from(mut self, source: impl Into<IpAddr>) -> Self {
        self.options.source = Some(source.into());
        self
    }

    /// Answered within this time.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends it from this namespace and waits for the answer.
    ///
    /// # Errors
    /// If it cannot be sent for another reason than its size.
    pub fn send(&self, netns: &Netns) -> Result<Answer> {
        let socket = IcmpSocket::open(netns, Family::of(self.to), self.options)?;
        let start = Instant::now();
        match socket.send(self.to, 1, self.size) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => return Ok(Answer::TooBigHere),
            Err(error) => {
                return Err(error).with_context(|| format!("pinging {} from {}", self.to, netns.name()));
            }
        }
        let message = socket.receive(self.timeout)?;
        Ok(message.map_or(Answer::Silence, |message| match message.kind {
            Kind::Reply => Answer::Reply { rtt: start.elapsed() },
            Kind::FragmentationNeeded { mtu } => Answer::FragmentationNeeded { from: message.from, mtu },
            Kind::TimeExceeded => Answer::TimeExceeded { from: message.from },
            Kind::Unreachable { code } => Answer::Unreachable { from: message.from, code },
        }))
    }

    /// Sends it from this endpoint, expects the reply, and returns the round-trip time.
    ///
    /// # Errors
    /// If anything else than the reply comes.
    pub fn expect_reply(&self, from: &dyn Endpoint) -> Result<Duration> {
        match self.send(from.netns())? {
            Answer::Reply { rtt } => Ok(rtt),
            other => bail!("ping of {} bytes from {} to {}: {other:?}", self.size, from.name(), self.to),
        }
    }
}

/// The routers on the way to an address, by the TTLs or hop limits of echo requests; the last is the address itself.
///
/// # Errors
/// If the way ends in silence, or is longer than 8 hops.
pub fn traceroute(from: &dyn Endpoint, to: IpAddr) -> Result<Vec<IpAddr>> {
    let mut hops = Vec::new();
    for ttl in 1..=8 {
        match Ping::to(to)?.ttl(ttl).send(from.netns())? {
            Answer::Reply { .. } => {
                hops.push(to);
                return Ok(hops);
            }
            Answer::TimeExceeded { from } => hops.push(from),
            other => bail!("trace from {} to {to}: {other:?} at TTL {ttl}, after {hops:?}", from.name()),
        }
    }
    ensure!(hops.is_empty(), "trace from {} to {to} does not end: {hops:?}", from.name());
    Ok(hops)
}

/// Bytes of an echo request as `ping` sends it.
pub(super) const fn usual_size(family: Family) -> u16 {
    family.header() + ECHO_HEADER + 56
}
