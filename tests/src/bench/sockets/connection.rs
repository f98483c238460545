//! A TCP connection of which this process has both ends.

use std::{
    io::{self, Read, Write},
    mem,
    net::{TcpListener, TcpStream},
    os::linux::net::TcpStreamExt,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    libc::linger,
    sys::socket::{setsockopt, sockopt},
};

use super::ends::{Ends, read_by};
use crate::probe::tcp_info::tcp_info;

/// A connection that takes longer has failed. One lost packet, which is sent again after a second, is no failure.
const TIMEOUT: Duration = Duration::from_millis(1500);

/// Bytes that one exchange carries each way at most.
pub(super) const PAYLOAD_AT_MOST: usize = 1024;

/// Both ends. They do not block; dropping them resets the connection, so that nothing of it is sent afterwards.
#[derive(Debug)]
pub(super) struct Connection {
    /// The end in `from`.
    pub(super) client: TcpStream,
    /// The end in `to`.
    pub(super) server: TcpStream,
    /// Segments sent again that were told already.
    told: u64,
}

impl Connection {
    /// Opens one whose buffers have this size: fixed, because the kernel's choice depends on how the first rounds went.
    pub(super) fn open(ends: &Ends, buffer: usize) -> Result<Self> {
        Self::try_open(ends, buffer).with_context(|| format!("TCP from {ends}"))
    }

    fn try_open(ends: &Ends, buffer: usize) -> Result<Self> {
        let listen = || -> io::Result<TcpListener> {
            let listener = TcpListener::bind((ends.address, 0))?;
            listener.set_nonblocking(true)?;
            setsockopt(&listener, sockopt::RcvBufForce, &buffer)?;
            Ok(listener)
        };
        // Closed at the end of this function: a listener would go on to answer what a failed attempt has sent.
        let listener = ends.to.run(listen)?.context("listening")?;
        let address = listener.local_addr()?;
        let client =
            ends.from.run(|| TcpStream::connect_timeout(&address, TIMEOUT))?.context("connecting")?;
        let accept = || listener.accept();
        let (server, _) = read_by(Instant::now() + TIMEOUT, &listener, accept).context("accepting")?;
        let connection = Self { client, server, told: 0 };
        for end in [&connection.client, &connection.server] {
            prepare(end, buffer)?;
        }
        Ok(connection)
    }

    /// Sends these bytes, [`PAYLOAD_AT_MOST`], to the server and back. Other bytes that arrive are an error.
    pub(super) fn exchange(&self, payload: &[u8], deadline: Instant) -> Result<()> {
        pass(&self.client, &self.server, payload, deadline).context("the request")?;
        pass(&self.server, &self.client, payload, deadline).context("the answer")
    }

    /// Segments that either end has sent again since this was last asked, because they were lost: not those of which
    /// the other end said that it had them already (RFC 2883). TCP probes so when the thread that is to receive does
    /// not run for a while, which is no fault of the way.
    pub(super) fn newly_retransmitted(&mut self) -> io::Result<u64> {
        let mut all = 0;
        for end in [&self.client, &self.server] {
            let info = tcp_info(end)?;
            all += u64::from(info.tcpi_total_retrans.saturating_sub(info.tcpi_dsack_dups));
        }
        Ok(all.saturating_sub(mem::replace(&mut self.told, all)))
    }

    /// Whether everything that was sent is acknowledged, so that neither end has a reason to send. Acknowledgements
    /// that are delayed are sent at once.
    pub(super) fn is_acknowledged(&self) -> io::Result<bool> {
        for end in [&self.client, &self.server] {
            end.set_quickack(true)?;
        }
        Ok(tcp_info(&self.client)?.tcpi_unacked == 0 && tcp_info(&self.server)?.tcpi_unacked == 0)
    }

    /// Waits until everything that was sent is acknowledged; tells whether it is by the deadline.
    pub(super) fn settles_by(&self, deadline: Instant) -> io::Result<bool> {
        while !self.is_acknowledged()? {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    }
}

fn prepare(end: &TcpStream, buffer: usize) -> io::Result<()> {
    end.set_nonblocking(true)?;
    end.set_nodelay(true)?;
    setsockopt(end, sockopt::SndBufForce, &buffer)?;
    setsockopt(end, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    Ok(())
}

fn pass(mut sender: &TcpStream, receiver: &TcpStream, payload: &[u8], deadline: Instant) -> io::Result<()> {
    // It fits into an empty buffer: the one before it was answered.
    sender.write_all(payload)?;
    let (mut arrived, mut missing) = ([0; PAYLOAD_AT_MOST], 0..payload.len());
    while !missing.is_empty() {
        match read_by(deadline, receiver, || (&*receiver).read(&mut arrived[missing.clone()]))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => missing.start += length,
        }
    }
    if arrived[..payload.len()] != *payload {
        return Err(io::Error::other("other bytes arrived than were sent"));
    }
    Ok(())
}
