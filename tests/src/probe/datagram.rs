//! One UDP datagram that routers may fragment, in one direction only.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{Fragmentation, bulk::content, icmp::set_fragmentation};
use crate::{family::Family, lab::Endpoint};

/// A datagram that takes longer is lost.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Sends a datagram with this many bytes and DF clear to the receiver's (first) address, and checks that it arrives.
/// In IPv6 the sender itself may fragment, by its own interface's MTU only.
///
/// # Errors
/// If nothing arrives within a second, or something else.
pub fn datagram(from: &dyn Endpoint, to: &dyn Endpoint, bytes: usize) -> Result<()> {
    let what = || format!("a datagram of {bytes} bytes from {} to {}", from.name(), to.address());
    let inside = to.netns().run(|| UdpSocket::bind((to.address(), 0)))?.with_context(what)?;
    inside.set_read_timeout(Some(TIMEOUT))?;
    let address = inside.local_addr()?;
    from.netns().run(|| send(address, content(0, bytes)))?.with_context(what)?;
    let mut received = vec![0; 1 << 16];
    let length = inside.recv(&mut received).with_context(what)?;
    ensure!(received[..length] == *content(0, bytes), "{}: other bytes arrive", what());
    Ok(())
}

fn send(to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let family = Family::of(to.ip());
    let socket = UdpSocket::bind((family.unspecified(), 0))?;
    set_fragmentation(&socket, family, Fragmentation::Allowed)?;
    socket.send_to(bytes, to)?;
    Ok(())
}
