//! Tells when the host's network changed. Not what: the receiver observes anew.

use std::io;

use nix::errno::Errno;
use rtnetlink::{
    MulticastGroup,
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tracing::debug;

use super::HostError;

/// What a change of can make the host's view out of date.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Enough to take a notification off the socket: the kernel cuts it off, and nobody reads it.
const NOTIFICATION_BYTES: usize = 64;

/// Links, addresses or routes changed since the last one was received. The agent's own changes count too:
/// observing anew then finds nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostChanged;

/// A subscription to changes, from the moment of its creation.
pub struct HostWatch {
    socket: TokioSocket,
}

impl HostWatch {
    /// Subscribes. Observe afterwards, so that nothing in between is missed.
    ///
    /// # Errors
    ///
    /// If the netlink socket cannot be opened.
    pub fn subscribe() -> Result<Self, HostError> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(HostError::Socket)?;
        let groups = GROUPS.iter().fold(0_u32, |bits, group| bits | 1 << (*group as u32 - 1));
        socket.socket_mut().bind(&SocketAddr::new(0, groups)).map_err(HostError::Socket)?;
        Ok(Self { socket })
    }

    /// Notifies until the receiver is dropped. Changes coalesce: while the channel is full, the receiver is
    /// going to observe anyway. Give it a channel of capacity 1.
    ///
    /// # Errors
    ///
    /// If the socket breaks; too many changes at once do not break it.
    pub async fn run(self, changed: mpsc::Sender<HostChanged>) -> Result<(), HostError> {
        let mut buffer = Vec::with_capacity(NOTIFICATION_BYTES);
        loop {
            buffer.clear();
            let received = tokio::select! {
                received = self.socket.recv(&mut buffer) => received,
                () = changed.closed() => return Ok(()),
            };
            match received {
                Ok(()) => {}
                Err(error) if is_overrun(&error) => {
                    debug!("more changes at once than the kernel keeps for us")
                }
                Err(error) => return Err(HostError::Watch(error)),
            }
            if let Err(TrySendError::Closed(HostChanged)) = changed.try_send(HostChanged) {
                return Ok(());
            }
        }
    }
}

/// Whether notifications were lost because the socket's buffer was full. That is a change like any other.
fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_buffer_is_survived() {
        assert!(is_overrun(&io::Error::from_raw_os_error(Errno::ENOBUFS as i32)));
        assert!(!is_overrun(&io::Error::from_raw_os_error(Errno::EBADF as i32)));
    }
}
