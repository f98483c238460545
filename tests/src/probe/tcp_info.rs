//! What the kernel tells of a TCP connection (`TCP_INFO`).

use std::{io, mem::MaybeUninit, net::TcpStream, os::fd::AsRawFd};

use nix::libc;

/// The kernel's figures of this end of a connection.
pub(crate) fn tcp_info(stream: &TcpStream) -> io::Result<libc::tcp_info> {
    // SAFETY: the type is plain numbers, of which zero is a value each.
    let mut info: libc::tcp_info = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: both pointers are to live locals, the length is that of the first; the descriptor is open.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}
