//! Tells when somebody has changed our nftables table.

use std::io;

use rtnetlink::sys::{
    AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER,
};
use tokio::sync::mpsc;

use super::TABLE;

/// `NFNLGRP_NFTABLES`, as a bit of the groups that a socket is bound to.
const GROUP: u32 = 1 << (7 - 1);
/// The most that is looked at of a notification: one message of the kernel's.
const NOTIFICATION_BYTES: usize = 64 << 10;
/// Bytes of `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 16 + 4;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, `NFTA_SET_TABLE` and `NFTA_SET_ELEM_LIST_TABLE`: all of them.
const TABLE_NAME: u16 = 1;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u8 = 10;

/// A subscription to changes of nftables, from the moment of its creation.
pub struct TableWatch {
    socket: TokioSocket,
}

impl TableWatch {
    /// Subscribes.
    ///
    /// # Errors
    /// The kernel has no nftables, or refuses.
    pub fn subscribe() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind(&SocketAddr::new(0, GROUP))?;
        Ok(Self { socket })
    }

    /// Tells of changes of our table until the receiver is dropped; the agent's own count too. Changes coalesce: give it a
    /// channel of capacity 1.
    ///
    /// # Errors
    /// The socket breaks; too many changes at once do not break it.
    pub async fn run(self, changed: mpsc::Sender<()>) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(NOTIFICATION_BYTES);
        loop {
            buffer.clear();
            let received = tokio::select! {
                received = self.socket.recv(&mut buffer) => received,
                () = changed.closed() => return Ok(()),
            };
            let ours = match received {
                Ok(()) => is_ours(&buffer),
                // What was lost may have been ours.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => true,
                Err(error) => return Err(error),
            };
            if ours {
                // A full channel holds one already.
                let _ = changed.try_send(());
            }
        }
    }
}

/// Whether one of the messages is about our table.
fn is_ours(mut buffer: &[u8]) -> bool {
    // The family of the table is not compared: a name is enough to look.
    let name = TABLE.rsplit(' ').next().unwrap_or(TABLE).as_bytes();
    while let Some(length) = length_at(buffer) {
        let message = &buffer[..length];
        if message.get(5) == Some(&SUBSYSTEM) && table(message).is_some_and(|found| found == name) {
            return true;
        }
        buffer = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// Length of the message at the start of a buffer, if it is there whole.
fn length_at(buffer: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(buffer.get(..4)?.try_into().ok()?) as usize;
    (length >= HEADERS && length <= buffer.len()).then_some(length)
}

/// The name of the table that a message is about, without its terminating zero.
fn table(message: &[u8]) -> Option<&[u8]> {
    let mut attributes = message.get(HEADERS..)?;
    loop {
        let half = |at: usize| Some(u16::from_ne_bytes(attributes.get(at..at + 2)?.try_into().ok()?));
        let length = usize::from(half(0)?);
        let value = attributes.get(4..length)?;
        if half(2)? == TABLE_NAME {
            return Some(value.strip_suffix(&[0]).unwrap_or(value));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subsystem: u8, name: &str) -> Vec<u8> {
        let attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap();
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let mut body = vec![1, 0, 0, 0];
        body.extend(attribute(3, &[7; 8]));
        body.extend(attribute(TABLE_NAME, format!("{name}\0").as_bytes()));
        let mut bytes = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend([2, subsystem]);
        bytes.resize(16, 0);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn our_table_is_known_by_its_name_among_others() {
        let (ours, other) = (message(SUBSYSTEM, "podroute"), message(SUBSYSTEM, "kube-proxy"));
        assert!(is_ours(&ours) && !is_ours(&other));
        assert!(is_ours(&[other.clone(), ours.clone()].concat()));
        assert!(!is_ours(&message(1, "podroute")), "of another part of netfilter");
        assert!(!is_ours(&message(SUBSYSTEM, "podroute2")));
        for length in 0..ours.len() {
            assert!(!is_ours(&ours[..length]), "cut off after {length}");
        }
    }
}
