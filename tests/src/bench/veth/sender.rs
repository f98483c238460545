//! Sends packets as a pod does, as skbs from a socket: a packet socket, many packets with each system call.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Instant,
};

use anyhow::{Context, Result};
use nix::{
    libc,
    sys::socket::{AddressFamily, LinkAddr, SockFlag, SockType, SockaddrLike, bind, socket},
};

use super::frames::LENGTH;
use crate::netns::Netns;

/// Packets in each system call.
const BATCH: usize = 64;

/// A packet socket that only sends.
#[derive(Debug)]
pub struct Sender(OwnedFd);

impl Sender {
    /// At this interface.
    ///
    /// # Errors
    /// There is no such interface, or the socket is refused.
    pub fn open(netns: &Netns, interface: &str) -> Result<Self> {
        let index = netns.interface_index(interface)?;
        let open = || -> Result<OwnedFd> {
            // Without a protocol it receives nothing: what it sends is not copied for it.
            let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            bind(fd.as_raw_fd(), &address(index)?)?;
            Ok(fd)
        };
        let opened = netns.run(open)?;
        Ok(Self(
            opened.with_context(|| format!("opening a packet socket at {interface} in {}", netns.name()))?,
        ))
    }

    /// Sends these frames once.
    ///
    /// # Errors
    /// The kernel takes not all of them.
    pub fn send_once(&self, frames: &[[u8; LENGTH]]) -> Result<u64> {
        let mut buffers = buffers(frames);
        let mut messages = messages(&mut buffers);
        messages.chunks_mut(BATCH).try_fold(0, |sent, batch| Ok(sent + self.send(batch)?))
    }

    /// Sends these frames over and over.
    ///
    /// # Errors
    /// The kernel takes not all of them.
    pub fn send_until(&self, frames: &[[u8; LENGTH]], end: Instant) -> Result<u64> {
        // As many as a batch holds, so that one flow costs as few system calls as many do.
        let repeated = BATCH.div_ceil(frames.len());
        let mut buffers =
            buffers(frames).into_iter().cycle().take(frames.len() * repeated).collect::<Vec<_>>();
        let mut messages = messages(&mut buffers);
        let mut sent = 0;
        loop {
            for batch in messages.chunks_mut(BATCH) {
                sent += self.send(batch)?;
                if Instant::now() >= end {
                    return Ok(sent);
                }
            }
        }
    }

    fn send(&self, batch: &mut [libc::mmsghdr]) -> Result<u64> {
        let count = u32::try_from(batch.len())?;
        // SAFETY: the headers and the buffers that they name are borrowed as long as the call takes.
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), batch.as_mut_ptr(), count, 0) };
        match u32::try_from(sent) {
            Ok(sent) if sent == count => Ok(sent.into()),
            Ok(sent) => anyhow::bail!("the kernel has taken only {sent} of {count} packets"),
            Err(_) => Err(io::Error::last_os_error()).context("sending packets"),
        }
    }
}

fn buffers(frames: &[[u8; LENGTH]]) -> Vec<libc::iovec> {
    let buffer =
        |frame: &[u8; LENGTH]| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: LENGTH };
    frames.iter().map(buffer).collect()
}

fn messages(buffers: &mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    let message = |buffer: &mut libc::iovec| {
        // SAFETY: a message header may be all zeros: no name, no buffers, no control data.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_iov = buffer;
        header.msg_hdr.msg_iovlen = 1;
        header
    };
    buffers.iter_mut().map(message).collect()
}

/// An interface, without any protocol.
fn address(index: u32) -> Result<LinkAddr> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(index)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = u32::try_from(size_of_val(&address))?;
    // SAFETY: the pointer is to a complete sockaddr_ll of the length given, and its family says so.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    address.context("no link-layer address")
}
