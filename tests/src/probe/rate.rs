//! How much one TCP connection transfers in a short time, measured where it arrives.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use crate::lab::Endpoint;

/// Bytes of one write or read.
const PIECE: usize = 1 << 18;
/// A connection that hangs this long has failed.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Sends for this time to the receiver's (first) address as fast as it goes; returns bytes a second. Content is not
/// looked at, so that the transfer costs most of what is measured.
///
/// # Errors
/// If the connection fails or hangs.
pub fn rate(from: &dyn Endpoint, to: &dyn Endpoint, time: Duration) -> Result<f64> {
    let what = || format!("TCP for {time:?} from {} to {}", from.name(), to.name());
    let listener = to.netns().run(|| TcpListener::bind((to.address(), 0)))?.with_context(what)?;
    let address = listener.local_addr()?;
    // Connected before there is a receiver: the kernel completes the handshake.
    let sender = from.netns().run(|| connect(address))?.with_context(what)?;
    thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&listener));
        send(sender, time).with_context(what)?;
        receiver.join().map_err(|_| anyhow!("the receiver panicked"))?.with_context(what)
    })
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn send(mut stream: TcpStream, time: Duration) -> io::Result<()> {
    let (piece, start) = (vec![0x5a; PIECE], Instant::now());
    while start.elapsed() < time {
        stream.write_all(&piece)?;
    }
    Ok(())
}

fn receive(listener: &TcpListener) -> io::Result<f64> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let (mut buffer, mut bytes, start) = (vec![0; PIECE], 0.0, Instant::now());
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(bytes / start.elapsed().as_secs_f64()),
            length => bytes += f64::from(u32::try_from(length).map_err(io::Error::other)?),
        }
    }
}
