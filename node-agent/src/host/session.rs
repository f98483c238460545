//! One netlink conversation: sends requests, collects what the kernel answers.

use std::{fmt, io, time::Duration};

use futures_util::{Stream, StreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use rtnetlink::{
    Handle,
    packet_core::{
        ErrorMessage, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
        NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
    },
    sys::AsyncSocket,
};
use tracing::debug;

use super::HostError;
use crate::fault::{self, Operation};

/// How long the kernel may take for the next message of an answer. It answers at once; this is for answers
/// that were lost because the socket's buffer was full.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a dump is tried that the kernel says was interrupted by a change.
pub(super) const DUMP_ATTEMPTS: u32 = 10;

/// Pause before the next attempt, times the number of attempts so far.
pub(super) const DUMP_BACKOFF: Duration = Duration::from_millis(5);

/// Attribute of an extended acknowledgement that holds the kernel's message (`NLMSGERR_ATTR_MSG`).
const ATTRIBUTE_MESSAGE: u16 = 1;

/// Length of `struct nlmsghdr`, the part of the request that the kernel repeats in an acknowledgement.
const NETLINK_HEADER_LENGTH: usize = 16;

/// Why the kernel did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetlinkError {
    /// It refused.
    Refused {
        /// Why.
        errno: Errno,
        /// Its own words, if it has any (extended acknowledgement).
        detail: Option<String>,
    },
    /// Something changed during each attempt to read a table.
    Interrupted,
    /// No answer within [`ANSWER_TIMEOUT`].
    NoAnswer,
    /// The socket was closed in the middle of an answer.
    Closed,
}

impl NetlinkError {
    /// Its error number, if the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Interrupted | Self::NoAnswer | Self::Closed => None,
        }
    }

    /// The kernel's own words, if it has any.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Refused { detail, .. } => detail.as_deref(),
            Self::Interrupted | Self::NoAnswer | Self::Closed => None,
        }
    }

    /// What a socket said, other than that it is closed or empty.
    pub(super) fn from_io(error: &io::Error) -> Self {
        Self::Refused { errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw), detail: None }
    }

    fn refused(raw: i32, detail: Option<String>) -> Self {
        Self::Refused { errno: Errno::from_raw(raw.saturating_abs()), detail }
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { errno, detail } => {
                write!(f, "{} ({errno:?})", errno.desc())?;
                detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
            }
            Self::Interrupted => {
                write!(
                    f,
                    "it kept changing while it was read ({DUMP_ATTEMPTS} attempts); the agent tries again"
                )
            }
            Self::NoAnswer => write!(f, "the kernel did not answer within {} s", ANSWER_TIMEOUT.as_secs()),
            Self::Closed => f.write_str("the netlink socket was closed before the answer was complete"),
        }
    }
}

impl std::error::Error for NetlinkError {}

/// A netlink socket and the task that serves it, which ends with the session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    handle: Handle,
}

impl Session {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, HostError> {
        fault::refuse(Operation::NetlinkSocket).map_err(HostError::Socket)?;
        // Strict checking makes the kernel filter dumps by table.
        let (mut connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(HostError::Socket)?;
        // Both ends of an answer must be seen, to tell a complete one from a closed socket.
        connection.set_forward_done(true);
        connection.set_forward_ack(true);
        let socket = connection.socket_mut().socket_ref();
        socket.set_ext_ack(true).map_err(HostError::Socket)?;
        socket.set_cap_ack(true).map_err(HostError::Socket)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// All objects of a table; again if it changed meanwhile.
    pub(super) async fn dump(
        &self,
        request: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        for attempt in 1..=DUMP_ATTEMPTS {
            let mut answer = self.request(request.clone(), NLM_F_DUMP)?;
            let (mut dump, mut objects) = (Dump::default(), Vec::new());
            let outcome = loop {
                if let Some(outcome) = dump.take(next(&mut answer).await?, |object| objects.push(object)) {
                    break outcome;
                }
            };
            match outcome {
                Err(NetlinkError::Interrupted) => {
                    debug!(attempt, "a change interrupted the kernel's answer: asking again");
                    tokio::time::sleep(DUMP_BACKOFF * attempt).await;
                }
                outcome => return outcome.map(|()| objects),
            }
        }
        Err(NetlinkError::Interrupted)
    }

    /// Sends a change at once, so that changes reach the kernel in the order of the calls; the future waits
    /// until the kernel has acknowledged it.
    pub(super) fn change(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> impl Future<Output = Result<(), NetlinkError>> + use<> {
        let answer = self.request(request, NLM_F_ACK | flags);
        async move {
            let mut answer = answer?;
            loop {
                let message = next(&mut answer).await?;
                if let NetlinkPayload::Error(ack) = &message.payload {
                    return acknowledged(&message.header, ack);
                }
            }
        }
    }

    /// Gets one object.
    pub(super) async fn get(
        &self,
        request: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, NetlinkError> {
        let mut answer = self.request(request, 0)?;
        loop {
            let message = next(&mut answer).await?;
            match message.payload {
                NetlinkPayload::InnerMessage(object) => return Ok(object),
                NetlinkPayload::Error(ack) => acknowledged(&message.header, &ack)?,
                _ => {}
            }
        }
    }

    fn request(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>, NetlinkError> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | flags;
        self.handle.clone().request(message).map_err(|_| NetlinkError::Closed)
    }
}

async fn next<S>(answer: &mut S) -> Result<S::Item, NetlinkError>
where
    S: Stream + Unpin,
{
    match tokio::time::timeout(ANSWER_TIMEOUT, answer.next()).await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(NetlinkError::Closed),
        Err(_) => Err(NetlinkError::NoAnswer),
    }
}

/// Follows the messages of a dump.
#[derive(Default)]
pub(super) struct Dump {
    interrupted: bool,
}

impl Dump {
    /// Takes the flags of a message that nobody reads.
    pub(super) fn interrupted_by(&mut self, flags: u16) {
        self.interrupted |= flags & NLM_F_DUMP_INTR != 0 || fault::refuse(Operation::NetlinkDump).is_err();
    }

    /// Takes the next message and hands over the object in it; the outcome once it was the last one.
    pub(super) fn take(
        &mut self,
        message: NetlinkMessage<RouteNetlinkMessage>,
        hand_over: impl FnOnce(RouteNetlinkMessage),
    ) -> Option<Result<(), NetlinkError>> {
        // Any message may carry it, also the last one.
        self.interrupted_by(message.header.flags);
        match message.payload {
            NetlinkPayload::InnerMessage(object) => {
                hand_over(object);
                None
            }
            NetlinkPayload::Done(done) if done.code < 0 => Some(Err(NetlinkError::refused(done.code, None))),
            NetlinkPayload::Done(_) if self.interrupted => Some(Err(NetlinkError::Interrupted)),
            NetlinkPayload::Done(_) => Some(Ok(())),
            NetlinkPayload::Error(error) => Some(acknowledged(&message.header, &error)),
            _ => None,
        }
    }
}

pub(super) fn acknowledged(header: &NetlinkHeader, ack: &ErrorMessage) -> Result<(), NetlinkError> {
    match ack.raw_code() {
        0 => Ok(()),
        code => Err(NetlinkError::refused(code, detail(header, &ack.header))),
    }
}

/// The kernel's own words, behind the repeated header of the request.
fn detail(header: &NetlinkHeader, payload: &[u8]) -> Option<String> {
    let wanted = NLM_F_CAPPED | NLM_F_ACK_TLVS;
    if header.flags & wanted != wanted {
        return None;
    }
    let message = NlasIterator::new(payload.get(NETLINK_HEADER_LENGTH..)?)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == ATTRIBUTE_MESSAGE)?;
    let text = String::from_utf8_lossy(message.value());
    Some(text.trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests;
