//! Many netlink requests or objects at a time, on a socket without a task of its own: the kernel works while it takes
//! a request, so that its answers are there when sending returns.

use std::{hash::Hasher, io, ops::ControlFlow};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};

use super::session::{Dump, NetlinkError, acknowledged};
use crate::fault::{self, Operation};

/// How many requests are sent at a time.
pub(super) const TOGETHER: usize = 256;

/// Room for one message of the kernel: it fills up to 32 KiB with objects of a table.
const MESSAGE_BYTES: usize = 64 << 10;

/// Room for the answers to [`TOGETHER`] requests that are all refused.
const ANSWERS_BYTES: usize = 1 << 20;

/// Length of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;

/// A request and its flags.
pub(super) type Request = (RouteNetlinkMessage, u16);

/// A netlink socket.
pub(super) struct Exchange {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Exchange {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        fault::refuse(Operation::NetlinkSocket)?;
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Whatever has not arrived when sending returns was lost.
        socket.set_non_blocking(true)?;
        // The kernel filters dumps by table, answers in short, and says why it refuses.
        socket.set_netlink_get_strict_chk(true)?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        socket.set_rx_buf_sz(i32::try_from(ANSWERS_BYTES).unwrap_or(i32::MAX))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(MESSAGE_BYTES) })
    }

    /// Sends at most [`TOGETHER`] requests, which the kernel takes in their order; one that it refuses does not stop
    /// the others. What became of each, at its place. A request whose answer was lost is sent once more, by itself.
    pub(super) fn change(&mut self, requests: &[Request]) -> Vec<Result<(), NetlinkError>> {
        let outcomes = self.attempt(requests);
        let again = |(request, outcome): (&Request, Option<_>)| {
            let again = || self.attempt(std::slice::from_ref(request)).pop().flatten();
            outcome.or_else(again).unwrap_or(Err(NetlinkError::NoAnswer))
        };
        requests.iter().zip(outcomes).map(again).collect()
    }

    /// What became of each request; none where that is not known.
    fn attempt(&mut self, requests: &[Request]) -> Vec<Option<Result<(), NetlinkError>>> {
        let first = self.sequence.wrapping_add(1);
        let mut outcomes = vec![None; requests.len()];
        if requests.is_empty() {
            return outcomes;
        }
        let mut bytes = Vec::new();
        for (index, (request, flags)) in requests.iter().enumerate() {
            // The kernel answers to what it refuses, and to the last one in any case.
            let ack = if index + 1 == requests.len() { NLM_F_ACK } else { 0 };
            self.append(&mut bytes, request, flags | ack);
        }
        let sent = fault::refuse(Operation::NetlinkRequest).and_then(|()| self.socket.send(&bytes, 0));
        if let Err(error) = sent {
            outcomes.fill(Some(Err(NetlinkError::from_io(&error))));
            return outcomes;
        }
        let last = requests.len().saturating_sub(1);
        let complete = self.receive(|message| {
            let NetlinkPayload::Error(ack) = &message.payload else { return ControlFlow::Continue(()) };
            let index = message.header.sequence_number.wrapping_sub(first) as usize;
            if let Some(outcome) = outcomes.get_mut(index) {
                *outcome = Some(acknowledged(&message.header, ack));
            }
            if index == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if complete.is_ok() {
            outcomes.iter_mut().for_each(|outcome| {
                outcome.get_or_insert(Ok(()));
            });
        }
        outcomes
    }

    /// Hands over every object of a table, as it comes: a table may be larger than what should be kept of it.
    ///
    /// # Errors
    /// The kernel refuses, or the table changed meanwhile ([`NetlinkError::Interrupted`]).
    pub(super) fn dump(
        &mut self,
        request: RouteNetlinkMessage,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> Result<(), NetlinkError> {
        let sequence = self.begin_dump(&request)?;
        let mut dump = Dump::default();
        let mut outcome = Ok(());
        self.receive(|message| {
            if message.header.sequence_number != sequence {
                return ControlFlow::Continue(());
            }
            match dump.take(message, &mut take) {
                Some(ended) => {
                    outcome = ended;
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            }
        })?;
        outcome
    }

    /// Mixes every object of a table into a digest, as the kernel writes it, which takes a fraction of the time of reading
    /// what it means: the same digest is the same table.
    ///
    /// # Errors
    /// As [`Self::dump`].
    pub(super) fn digest(
        &mut self,
        request: &RouteNetlinkMessage,
        digest: &mut impl Hasher,
    ) -> Result<(), NetlinkError> {
        let sequence = self.begin_dump(request)?;
        let mut dump = Dump::default();
        let mut outcome = Ok(());
        self.receive_raw(|message| {
            let Some(header) = header(message).filter(|header| header.sequence == sequence) else {
                return ControlFlow::Continue(());
            };
            if header.is_object() {
                digest.write(&message[HEADER_BYTES..]);
                dump.interrupted_by(header.flags);
                return ControlFlow::Continue(());
            }
            let ended =
                NetlinkMessage::deserialize(message).ok().and_then(|message| dump.take(message, |_| {}));
            match ended {
                Some(ended) => {
                    outcome = ended;
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            }
        })?;
        outcome
    }

    /// Asks for a table, and tells the number of the request.
    fn begin_dump(&mut self, request: &RouteNetlinkMessage) -> Result<u32, NetlinkError> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, request, NLM_F_DUMP);
        self.socket.send(&bytes, 0).map_err(|error| NetlinkError::from_io(&error))?;
        Ok(self.sequence)
    }

    fn append(&mut self, bytes: &mut Vec<u8>, request: &RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request.clone());
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = bytes.len();
        bytes.resize((start + message.buffer_len()).next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..]);
    }

    /// Hands over what the kernel answers, until the receiver has all.
    ///
    /// # Errors
    /// Something was lost.
    fn receive(
        &mut self,
        mut take: impl FnMut(NetlinkMessage<RouteNetlinkMessage>) -> ControlFlow<()>,
    ) -> Result<(), NetlinkError> {
        // What makes no sense is left out.
        self.receive_raw(|message| {
            NetlinkMessage::deserialize(message).map_or(ControlFlow::Continue(()), &mut take)
        })
    }

    /// The same, before anything is read of it.
    fn receive_raw(&mut self, mut take: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), NetlinkError> {
        let mut lost = false;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                // Some of the answers did not fit; the others are still there.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    lost = true;
                    continue;
                }
                Err(_) => return Err(NetlinkError::NoAnswer),
            }
            for message in messages(&self.buffer) {
                if take(message).is_break() {
                    return if lost { Err(NetlinkError::NoAnswer) } else { Ok(()) };
                }
            }
        }
    }
}

/// The messages in a buffer, each with its header.
fn messages(mut buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(buffer.get(..4)?.try_into().ok()?) as usize;
        let message = buffer.get(..length).filter(|_| length >= HEADER_BYTES)?;
        buffer = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// What is looked at of `struct nlmsghdr`.
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

impl Header {
    /// Whether an object follows: lower numbers are netlink's own (`NLMSG_MIN_TYPE`).
    fn is_object(&self) -> bool {
        self.kind >= 16
    }
}

fn header(message: &[u8]) -> Option<Header> {
    let half = |at: usize| Some(u16::from_ne_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let sequence = u32::from_ne_bytes(message.get(8..12)?.try_into().ok()?);
    Some(Header { kind: half(4)?, flags: half(6)?, sequence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        host::route_message::encode_delete_route,
        model::{KernelRoute, RouteKind},
    };

    /// Asks to remove a route that no host has: of documentation's 192.0.2.0/24.
    fn refused(last: u8) -> Request {
        let route = KernelRoute {
            destination: format!("192.0.2.{last}/32").parse().unwrap(),
            kind: RouteKind::Blackhole,
            link: None,
            gateway: None,
            onlink: false,
            source: None,
            mtu: None,
            protocol: KernelRoute::PROTOCOL,
            metric: 77,
            legs: None,
        };
        (RouteNetlinkMessage::DelRoute(encode_delete_route(&route)), 0)
    }

    #[test]
    fn each_of_many_requests_has_its_own_answer() {
        let mut exchange = Exchange::open().unwrap();
        for count in [1, 2, TOGETHER] {
            let requests: Vec<Request> = (0..=u8::MAX).take(count).map(refused).collect();
            let outcomes = exchange.change(&requests);
            assert_eq!(outcomes.len(), count);
            // Without root the kernel does not even look.
            let known = [Errno::ESRCH, Errno::EPERM].map(Some);
            for outcome in outcomes {
                assert!(known.contains(&outcome.clone().unwrap_err().errno()), "{outcome:?}");
            }
        }
        assert_eq!(exchange.change(&[]), []);
    }

    #[test]
    fn messages_that_are_cut_off_end_the_buffer() {
        let mut message = NetlinkMessage::from(refused(1).0);
        message.finalize();
        let mut one = vec![0; message.buffer_len()];
        message.serialize(&mut one);
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(messages(&two).count(), 2);
        assert_eq!(messages(&two[..two.len() - 1]).count(), 1);
        assert_eq!(messages(&[0; 32]).count(), 0);
    }
}
