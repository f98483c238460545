//! Hears routers say that an encapsulated packet is too big for the next link. The kernel gives such a message
//! to the handler of the tunnel's protocol, and there is none: nobody else on this host makes use of it.

mod parse;

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        AddressFamily as Domain, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, socket,
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc::{self, error::TrySendError},
};

use super::HostError;
use crate::model::{AddressFamily, TooBigReport};

/// `ICMP_FILTER` of `linux/icmp.h`, at level `SOL_RAW`.
const ICMP_FILTER: libc::c_int = 1;
/// `ICMPV6_FILTER` of `linux/icmpv6.h`, at level `IPPROTO_ICMPV6`.
const ICMPV6_FILTER: libc::c_int = 1;
const ICMP_DESTINATION_UNREACHABLE: u32 = 3;
const ICMPV6_PACKET_TOO_BIG: u32 = 2;

/// More than any router quotes: 576 bytes in IPv4 (RFC 1812), 1280 in IPv6 (RFC 4443).
const LARGEST_MESSAGE: usize = 2048;

/// Ears for routers' messages in both families.
pub struct PathMtuWatch {
    v4: AsyncFd<OwnedFd>,
    /// None if the kernel has no IPv6.
    v6: Option<AsyncFd<OwnedFd>>,
}

impl PathMtuWatch {
    /// Starts to listen.
    ///
    /// # Errors
    /// If a raw socket cannot be opened.
    pub fn subscribe() -> Result<Self, HostError> {
        let open = |family| open(family).map_err(|reason| HostError::PathMtu { family, reason });
        let v4 = open(AddressFamily::V4)?;
        let v6 = match open(AddressFamily::V6) {
            Ok(socket) => Some(socket),
            Err(HostError::PathMtu { reason, .. }) if is_unsupported(&reason) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { v4, v6 })
    }

    /// Reports what comes, until the receiver is dropped. Reports that it has no room for are lost: routers tell
    /// again when the next packet is too big.
    ///
    /// # Errors
    /// If a socket breaks.
    pub async fn run(self, reports: mpsc::Sender<TooBigReport>) -> Result<(), HostError> {
        let v6 = async {
            match &self.v6 {
                Some(socket) => listen(AddressFamily::V6, socket, &reports).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(listen(AddressFamily::V4, &self.v4, &reports), v6).map(drop)
    }
}

fn is_unsupported(reason: &io::Error) -> bool {
    reason.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32)
}

/// A raw socket that takes nothing but the messages in question.
fn open(family: AddressFamily) -> io::Result<AsyncFd<OwnedFd>> {
    let (domain, protocol) = match family {
        AddressFamily::V4 => (Domain::Inet, SockProtocol::Icmp),
        AddressFamily::V6 => (Domain::Inet6, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(domain, SockType::Raw, flags, protocol)?;
    // A bit for each type that is not wanted.
    match family {
        AddressFamily::V4 => {
            set_option(&socket, libc::SOL_RAW, ICMP_FILTER, &!(1_u32 << ICMP_DESTINATION_UNREACHABLE))?;
        }
        AddressFamily::V6 => {
            let mut unwanted = [u32::MAX; 8];
            unwanted[0] = !(1 << ICMPV6_PACKET_TOO_BIG);
            set_option(&socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &unwanted)?;
        }
    }
    // SAFETY: an `OwnedFd` is open and names the same socket until it is dropped, which the `AsyncFd` does with its own.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

fn set_option<T: Copy>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let value = (&raw const *value).cast();
    // SAFETY: the pointer is to a value of this length, which outlives the call and is only read; the descriptor is open.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

async fn listen(
    family: AddressFamily,
    socket: &AsyncFd<OwnedFd>,
    reports: &mpsc::Sender<TooBigReport>,
) -> Result<(), HostError> {
    let mut buffer = [0; LARGEST_MESSAGE];
    loop {
        let received = tokio::select! {
            received = socket.async_io(Interest::READABLE, |socket| receive(socket, &mut buffer)) => received,
            () = reports.closed() => return Ok(()),
        };
        let (length, router) = match received {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(reason) => return Err(HostError::PathMtu { family, reason }),
        };
        let message = buffer.get(..length).unwrap_or_default();
        let report = router.and_then(|router| match family {
            AddressFamily::V4 => parse::v4(router, message),
            AddressFamily::V6 => parse::v6(router, message),
        });
        let Some(report) = report else { continue };
        if let Err(TrySendError::Closed(_)) = reports.try_send(report) {
            return Ok(());
        }
    }
}

/// One message, and who sent it.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, Option<IpAddr>)> {
    let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), buffer)?;
    let router = from.and_then(|from| {
        let v4 = from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip()));
        v4.or_else(|| from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())))
    });
    Ok((length, router))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_family_is_done_without() {
        assert!(is_unsupported(&io::Error::from_raw_os_error(Errno::EAFNOSUPPORT as i32)));
        assert!(!is_unsupported(&io::Error::from_raw_os_error(Errno::EPERM as i32)));
    }
}
