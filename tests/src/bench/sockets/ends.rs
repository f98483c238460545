//! Where load comes from and goes to.

use std::{
    fmt, io,
    net::IpAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};

use crate::{lab::Endpoint, netns::Netns};

/// The two ends of a way. Sockets are opened inside of these namespaces.
#[derive(Debug, Clone)]
pub struct Ends {
    /// Where the sender, or the client, is.
    pub from: Netns,
    /// Where the receiver, or the server, is.
    pub to: Netns,
    /// The address there that the receiver is bound to.
    pub address: IpAddr,
}

impl Ends {
    /// From one endpoint to the (first) address of another.
    #[must_use]
    pub fn of(from: &dyn Endpoint, to: &dyn Endpoint) -> Self {
        Self { from: from.netns().clone(), to: to.netns().clone(), address: to.address() }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} ({})", self.from.name(), self.to.name(), self.address)
    }
}

/// Waits until one of these is ready, or for this time.
pub(super) fn wait(sockets: &mut [PollFd], time: Duration) -> io::Result<()> {
    match ppoll(sockets, Some(TimeSpec::from_duration(time)), None) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Tries to read from the socket, which does not block, until it has succeeded or failed otherwise than by having
/// nothing to read. Reads first and waits then: mostly it is there already.
pub(super) fn read_by<T>(
    deadline: Instant,
    socket: &impl AsFd,
    mut read: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing arrived in time"));
        }
        wait(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], left)?;
    }
}
