//! Many UDP datagrams in one call (`UDP_SEGMENT`), received one by one or many at once (`UDP_GRO`).

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    cmsg_space,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt},
};

use super::bulk::content;
use crate::{family::Family, lab::Endpoint};

/// A datagram that takes longer is lost.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How the receiver takes datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// One in each call, as most do.
    Single,
    /// As many as the kernel has put together.
    Together,
}

/// Sends `count` datagrams of `size` bytes in one call and checks that each arrives, whole and in order. Returns
/// how many calls it took to receive them.
///
/// # Errors
/// If one is missing or has other bytes.
pub fn udp_segments(
    from: &dyn Endpoint,
    to: &dyn Endpoint,
    (count, size): (usize, usize),
    receiver: Receiver,
) -> Result<usize> {
    let exchange = || -> Result<usize> {
        let inside = to.netns().run(|| UdpSocket::bind((to.address(), 0)))??;
        inside.set_read_timeout(Some(TIMEOUT))?;
        setsockopt(&inside, sockopt::UdpGroSegment, &(receiver == Receiver::Together))?;
        let sent = content(0, count * size);
        from.netns().run(|| send(inside.local_addr()?, sent, size))?.context("the sender")?;
        let (mut received, mut calls) = (Vec::new(), 0);
        while received.len() < sent.len() {
            let (bytes, segment) = receive(&inside)
                .with_context(|| format!("after {} datagrams of {count}", received.len() / size))?;
            ensure!(segment == size, "a datagram of {segment} bytes instead of {size}");
            received.extend(bytes);
            calls += 1;
        }
        ensure!(received == sent, "other bytes than were sent");
        ensure!(receiver == Receiver::Together || calls == count, "{count} datagrams came in {calls} calls");
        Ok(calls)
    };
    let (from, to) = (from.name(), to.address());
    exchange().with_context(|| format!("{count} datagrams of {size} bytes from {from} to {to}, {receiver:?}"))
}

fn send(to: SocketAddr, bytes: &[u8], size: usize) -> io::Result<()> {
    let socket = UdpSocket::bind((Family::of(to.ip()).unspecified(), 0))?;
    socket.connect(to)?;
    let size = i32::try_from(size).map_err(io::Error::other)?;
    setsockopt(&socket, sockopt::UdpGsoSegment, &size)?;
    let sent = socket.send(bytes)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::Error::other(format!("{sent} bytes were sent"))) }
}

/// The bytes of one call, and those of each datagram in it.
fn receive(socket: &UdpSocket) -> Result<(Vec<u8>, usize)> {
    let mut buffer = vec![0; 1 << 16];
    let mut control = cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let told = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::UdpGroSegments(size) => Some(size),
        _ => None,
    });
    let length = message.bytes;
    let segment = told.map(usize::try_from).transpose()?.unwrap_or(length);
    buffer.truncate(length);
    Ok((buffer, segment))
}
