//! Tells when the host's network changed. Not what: the receiver observes anew.

use std::io;

use netlink_packet_route::neighbour::NeighbourState;
use nix::errno::Errno;
use rtnetlink::{
    MulticastGroup,
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};
use tokio::sync::mpsc;
use tracing::debug;

use super::{
    HostError,
    neighbour_event::{self, NOTIFICATION_BYTES, NeighbourEvent, RTM_DELNEIGH, RTM_NEWNEIGH},
};
use crate::model::KernelRoute;

/// What a change of can make what is known out of date.
const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Netconf,
    MulticastGroup::Ipv6Netconf,
    MulticastGroup::Neigh,
    MulticastGroup::Tc,
];

/// What changed since the last one was received. The agent's own changes count too: observing anew then finds nothing to
/// do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostChanged {
    /// Links, addresses, routes, neighbours that somebody has set, or sysctls of the host's network.
    Network,
    /// Filters at interfaces.
    Hooks,
}

/// What a notification can make out of date; nothing for what concerns nobody here.
fn concerns(notification: &[u8]) -> Option<HostChanged> {
    if let Some(NeighbourEvent { state, protocol, .. }) = neighbour_event::parse(notification) {
        // The kernel's own neighbours come and go all the time. One of ours that somebody deletes or changes is told with
        // the state that it got, failed for example, not with the one that it had.
        let matters = state == NeighbourState::Permanent || protocol == Some(KernelRoute::PROTOCOL);
        return matters.then_some(HostChanged::Network);
    }
    match u16::from_ne_bytes(notification.get(4..6)?.try_into().ok()?) {
        RTM_NEWQDISC | RTM_DELQDISC | RTM_NEWTFILTER | RTM_DELTFILTER => Some(HostChanged::Hooks),
        // Classes, chains and actions: none of ours. A neighbour of which too little is told: nobody's.
        RTM_NEWNEIGH | RTM_DELNEIGH | RTM_NEWQDISC..=RTM_LAST_TC | RTM_NEWCHAIN..=RTM_LAST_CHAIN => None,
        _ => Some(HostChanged::Network),
    }
}

// linux/rtnetlink.h
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
/// The last of actions.
const RTM_LAST_TC: u16 = 50;
const RTM_NEWCHAIN: u16 = 100;
const RTM_LAST_CHAIN: u16 = 102;

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

    /// Notifies until the receiver is dropped. Changes coalesce: each sort is told once until it is received.
    ///
    /// # Errors
    ///
    /// If the socket breaks; too many changes at once do not break it.
    pub async fn run(self, changed: Changes) -> Result<(), HostError> {
        let mut buffer = Vec::with_capacity(NOTIFICATION_BYTES);
        loop {
            buffer.clear();
            let received = tokio::select! {
                received = self.socket.recv(&mut buffer) => received,
                () = changed.network.closed() => return Ok(()),
            };
            match received {
                Ok(()) => match concerns(&buffer) {
                    Some(HostChanged::Network) => tell(&changed.network),
                    Some(HostChanged::Hooks) => tell(&changed.hooks),
                    None => {}
                },
                Err(error) if is_overrun(&error) => {
                    debug!("more changes at once than the kernel keeps for us");
                    tell(&changed.network);
                    tell(&changed.hooks);
                }
                Err(error) => return Err(HostError::Watch(error)),
            }
        }
    }
}

/// Where changes are told: channels of capacity 1.
#[derive(Debug, Clone)]
pub struct Changes {
    /// Of [`HostChanged::Network`].
    pub network: mpsc::Sender<()>,
    /// Of [`HostChanged::Hooks`].
    pub hooks: mpsc::Sender<()>,
}

/// Tells of a change, unless one is still to be received: then the receiver is going to look anyway.
fn tell(changed: &mpsc::Sender<()>) {
    let _ = changed.try_send(());
}

/// Whether notifications were lost because the socket's buffer was full. That is a change like any other.
pub(super) fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

#[cfg(test)]
mod tests {
    use super::{super::neighbour_event::tests::notification as notification_of, *};

    #[test]
    fn what_concerns_nobody_here_is_not_told() {
        let notification = |kind: u16, state: u16| {
            let mut bytes = [0; NOTIFICATION_BYTES];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[24..26].copy_from_slice(&state.to_ne_bytes());
            concerns(&bytes)
        };
        const NUD_PERMANENT: u16 = 0x80;
        const RTM_NEWROUTE: u16 = 24;
        const RTM_NEWNETCONF: u16 = 80;
        const REACHABLE: u16 = 0x02;
        for (kind, state, expected) in [
            (RTM_NEWROUTE, 0, Some(HostChanged::Network)),
            (RTM_NEWNETCONF, 0, Some(HostChanged::Network)),
            (RTM_NEWNEIGH, REACHABLE, None),
            (RTM_DELNEIGH, NUD_PERMANENT, Some(HostChanged::Network)),
            (RTM_DELTFILTER, 0, Some(HostChanged::Hooks)),
            (RTM_DELQDISC, 0, Some(HostChanged::Hooks)),
            (40, 0, None),
            (RTM_NEWCHAIN, 0, None),
        ] {
            assert_eq!(notification(kind, state), expected, "{kind}");
        }
        assert_eq!(concerns(&[0; 3]), None);
    }

    /// What the kernel tells when `ip neighbour del` takes a permanent one away: deleted, with the state failed.
    fn deleted_neighbour(protocol: Option<u8>) -> Vec<u8> {
        notification_of(true, NeighbourState::Failed, &[0xfe; 16], protocol)
    }

    #[test]
    fn a_neighbour_of_ours_that_somebody_deletes_is_told() {
        let ours = deleted_neighbour(Some(KernelRoute::PROTOCOL));
        assert_eq!(concerns(&ours), Some(HostChanged::Network));
        for other in [None, Some(0), Some(KernelRoute::PROTOCOL + 1)] {
            assert_eq!(concerns(&deleted_neighbour(other)), None, "{other:?}");
        }
        // The last attribute ends with three bytes that fill it up.
        for length in 0..ours.len() - 3 {
            assert_eq!(concerns(&ours[..length]), None, "cut off after {length}");
        }
    }

    #[test]
    fn only_a_full_buffer_is_survived() {
        assert!(is_overrun(&io::Error::from_raw_os_error(Errno::ENOBUFS as i32)));
        assert!(!is_overrun(&io::Error::from_raw_os_error(Errno::EBADF as i32)));
    }
}
