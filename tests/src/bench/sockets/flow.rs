//! One of the flows of a stream.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    time::Duration,
};

use anyhow::Result;
use nix::poll::{PollFd, PollFlags};

use super::{connection::Connection, ends::Ends};

/// A connection in one direction, and what has become of it in this window.
#[derive(Debug, Default)]
pub(super) struct Flow {
    connection: Option<Connection>,
    sent: u64,
    received: u64,
    retransmitted: u64,
    trouble: Option<String>,
}

impl Flow {
    pub(super) fn open(ends: &Ends, buffer: usize) -> Result<Self> {
        Ok(Self { connection: Some(Connection::open(ends, buffer)?), ..Self::default() })
    }

    /// Begins a window: forgets what was in the last one.
    pub(super) fn begin(&mut self) {
        *self = Self { connection: self.connection.take(), ..Self::default() };
    }

    /// Opens the connection anew.
    pub(super) fn reopen(&mut self, ends: &Ends, buffer: usize) -> Result<()> {
        *self = Self::open(ends, buffer)?;
        Ok(())
    }

    /// Whether there is a connection.
    pub(super) fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Hands over as much of these bytes as the kernel takes; tells whether it took any.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        let Some(connection) = &self.connection else { return false };
        let sent = (&connection.client).write(bytes);
        let length = self.moved(sent, "sending");
        self.sent += length;
        length > 0
    }

    /// Takes what has arrived, at most as much as the buffer has room for; tells whether there was anything.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> bool {
        let Some(connection) = &self.connection else { return false };
        let received = (&connection.server).read(buffer);
        let length = self.moved(received, "receiving");
        self.received += length;
        length > 0
    }

    fn moved(&mut self, result: io::Result<usize>, what: &str) -> u64 {
        match result {
            Ok(0) => self.give_up(format!("{what}: the connection is closed")),
            Ok(length) => return u64::try_from(length).unwrap_or_default(),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => self.give_up(format!("{what}: {error}")),
        }
        0
    }

    /// Bytes that have arrived in this window.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Segments that were sent again in this window.
    pub(super) fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    /// Why it was given up.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What to wait for: that there is room to send, if it is to send, or something to receive.
    pub(super) fn awaits(&self, sending: bool) -> impl Iterator<Item = PollFd<'_>> {
        self.connection.iter().flat_map(move |connection| {
            let more = PollFd::new(connection.server.as_fd(), PollFlags::POLLIN);
            let room = PollFd::new(connection.client.as_fd(), PollFlags::POLLOUT);
            [Some(more), sending.then_some(room)].into_iter().flatten()
        })
    }

    /// Whether nothing of it is on the way: all that was sent has arrived and is acknowledged.
    pub(super) fn is_idle(&mut self) -> bool {
        let Some(connection) = &self.connection else { return true };
        if self.sent != self.received {
            return false;
        }
        match connection.is_acknowledged() {
            Ok(acknowledged) => acknowledged,
            Err(error) => {
                self.give_up(format!("asking for its state: {error}"));
                true
            }
        }
    }

    /// Ends a window: takes the figures, and resets the connection if something is still on the way after this time.
    pub(super) fn end(&mut self, patience: Duration) {
        if !self.is_idle() {
            let (sent, missing) = (self.sent, self.sent - self.received);
            self.give_up(format!(
                "{missing} of {sent} bytes had not arrived, or were not acknowledged, {patience:?} after the end"
            ));
        }
        self.look();
    }

    fn look(&mut self) {
        let newly = self.connection.as_mut().map(Connection::newly_retransmitted);
        self.retransmitted += newly.and_then(io::Result::ok).unwrap_or_default();
    }

    /// Resets the connection; its kernel would otherwise send again what is missing, at any time.
    pub(super) fn give_up(&mut self, why: String) {
        self.look();
        self.connection = None;
        self.trouble = Some(why);
    }
}
