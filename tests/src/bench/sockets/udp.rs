//! A UDP client and its server, both of this process.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Instant,
};

use anyhow::{Context, Result};

use super::{
    connection::PAYLOAD_AT_MOST,
    ends::{Ends, read_by},
};
use crate::family::Family;

/// Both sockets. They do not block. The client is connected, the server is not, as usual.
#[derive(Debug)]
pub(super) struct Datagrams {
    client: UdpSocket,
    server: UdpSocket,
}

impl Datagrams {
    /// Opens both; no packet is sent.
    pub(super) fn open(ends: &Ends) -> Result<Self> {
        Self::try_open(ends).with_context(|| format!("UDP from {ends}"))
    }

    fn try_open(ends: &Ends) -> Result<Self> {
        let server = ends.to.run(|| UdpSocket::bind((ends.address, 0)))?.context("the server")?;
        let address = server.local_addr()?;
        let client = ends.from.run(|| connect(address))?.context("the client")?;
        client.set_nonblocking(true)?;
        server.set_nonblocking(true)?;
        Ok(Self { client, server })
    }

    /// Sends these bytes, [`PAYLOAD_AT_MOST`], to the server and back. Datagrams with other bytes are late ones of
    /// exchanges that were given up, and are passed over.
    pub(super) fn exchange(&self, payload: &[u8], deadline: Instant) -> Result<()> {
        let mut buffer = [0; PAYLOAD_AT_MOST];
        self.client.send(payload).context("sending the request")?;
        let peer = loop {
            let read = || self.server.recv_from(&mut buffer);
            let (length, peer) = read_by(deadline, &self.server, read).context("the request")?;
            if buffer[..length] == *payload {
                break peer;
            }
        };
        self.server.send_to(payload, peer).context("sending the answer")?;
        loop {
            let read = || self.client.recv(&mut buffer);
            let length = read_by(deadline, &self.client, read).context("the answer")?;
            if buffer[..length] == *payload {
                return Ok(());
            }
        }
    }
}

fn connect(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Family::of(to.ip()).unspecified(), 0))?;
    socket.connect(to)?;
    Ok(socket)
}
