//! A packet socket (packet(7)) bound to one interface.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recvmsg,
        setsockopt, socket, sockopt,
    },
};

use crate::netns::Netns;

/// Room for frames that wait for the capturing thread, in bytes.
const BUFFER: usize = 64 << 20;

/// Length and direction of a received frame.
pub(super) struct Received {
    pub length: usize,
    pub outgoing: bool,
}

#[derive(Debug)]
pub(super) struct PacketSocket(OwnedFd);

impl PacketSocket {
    pub(super) fn open(netns: &Netns, interface: u32) -> Result<Self> {
        // Without a protocol the socket receives nothing until it is bound: no frame of another
        // interface slips in.
        let open = || -> nix::Result<OwnedFd> {
            let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&fd, sockopt::RcvBufForce, &BUFFER)?;
            bind(fd.as_raw_fd(), &link_address(interface)?)?;
            Ok(fd)
        };
        let fd = netns.run(open)?.with_context(|| format!("opening a packet socket in {}", netns.name()))?;
        Ok(Self(fd))
    }

    /// The next frame, its first bytes put into the buffer.
    pub(super) fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<Option<Received>> {
        let timeout = PollTimeout::try_from(timeout).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout)? == 0 {
            return Ok(None);
        }
        // MSG_TRUNC asks for the frame's length even where that is more than the buffer's.
        let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<LinkAddr>(self.0.as_raw_fd(), &mut parts, None, flags)?;
        let outgoing = message.address.is_some_and(|address| address.pkttype() == libc::PACKET_OUTGOING);
        Ok(Some(Received { length: message.bytes, outgoing }))
    }

    /// Frames for which there was no room.
    pub(super) fn left_out(&self) -> io::Result<u32> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = libc::socklen_t::try_from(size_of_val(&statistics)).map_err(io::Error::other)?;
        // SAFETY: both pointers are to live locals, the length is that of the first; the descriptor is open.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if result == 0 { Ok(statistics.tp_drops) } else { Err(io::Error::last_os_error()) }
    }
}

/// Every protocol at this interface, as the address to bind to.
fn link_address(interface: u32) -> nix::Result<LinkAddr> {
    let too_large = |_| nix::errno::Errno::EINVAL;
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(too_large)?,
        sll_protocol: u16::try_from(SockProtocol::EthAll as i32).map_err(too_large)?,
        sll_ifindex: i32::try_from(interface).map_err(too_large)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = u32::try_from(size_of_val(&address)).unwrap_or_default();
    // SAFETY: the pointer is to a complete sockaddr_ll of the length given, and its family says so.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    address.ok_or(nix::errno::Errno::EINVAL)
}
