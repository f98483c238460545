//! A TCP connection that sends without a pause, for as long as a story likes: every byte is compared where it arrives,
//! and the longest time in which nothing came is told.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{bulk::content, tcp_info::tcp_info};
use crate::lab::Endpoint;

/// Bytes of one write or read.
const PIECE: usize = 1 << 16;
/// Time between two writes: some 30 MB a second, which leaves the machine to what is tested.
const PACE: Duration = Duration::from_millis(2);
/// A connection that hangs this long has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A running connection; dropping it ends it without a report.
#[derive(Debug)]
pub struct TcpFlow {
    what: String,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<io::Result<u32>>>,
    receiver: Option<JoinHandle<Result<Received>>>,
}

/// What the receiver has seen.
#[derive(Debug)]
struct Received {
    bytes: usize,
    longest_stall: Duration,
}

/// How a connection went; all of its bytes arrived as they were sent.
#[derive(Debug)]
pub struct TcpReport {
    /// From where to where.
    pub what: String,
    /// Bytes that arrived.
    pub bytes: usize,
    /// The longest time in which nothing arrived.
    pub longest_stall: Duration,
    /// Segments that were sent again.
    pub retransmitted: u32,
}

impl fmt::Display for TcpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, bytes, longest_stall, retransmitted } = self;
        let megabytes = bytes / 1_000_000;
        write!(
            f,
            "{what}: {megabytes} MB, nothing for {longest_stall:.0?} at most, {retransmitted} segments sent again"
        )
    }
}

impl TcpFlow {
    /// Connects an endpoint to an address of another, and starts to send.
    ///
    /// # Errors
    /// If the connection cannot be made.
    pub fn start(from: &dyn Endpoint, to: &dyn Endpoint, address: IpAddr) -> Result<Self> {
        Self::start_through(from, to, address, address)
    }

    /// Connects an endpoint to another by an address that netfilter translates to one of the other's, and starts to send.
    ///
    /// # Errors
    /// If the connection cannot be made.
    pub fn start_through(
        from: &dyn Endpoint,
        to: &dyn Endpoint,
        address: IpAddr,
        service: IpAddr,
    ) -> Result<Self> {
        let what = format!("TCP {} to {} ({service})", from.name(), to.name());
        let at = SocketAddr::new(address, 0);
        let listener = to.netns().run(|| TcpListener::bind(at))?.with_context(|| what.clone())?;
        let at = SocketAddr::new(service, listener.local_addr()?.port());
        // The kernel completes the handshake.
        let client = from.netns().run(|| TcpStream::connect_timeout(&at, TIMEOUT))?;
        let client = client.with_context(|| what.clone())?;
        let (server, _) = listener.accept().with_context(|| what.clone())?;
        client.set_write_timeout(Some(TIMEOUT))?;
        server.set_read_timeout(Some(TIMEOUT))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = Some(thread::spawn(move || send(client, &stopped)));
        let receiver = Some(thread::spawn(move || receive(server)));
        Ok(Self { what, stop, sender, receiver })
    }

    /// Ends it, once all that was sent has arrived.
    ///
    /// # Errors
    /// If the connection broke or hung, or other bytes arrived than were sent.
    pub fn stop(mut self) -> Result<TcpReport> {
        let (sent, received) = self.end();
        let gone = || anyhow!("{} panicked or was ended before", self.what);
        let received = received.ok_or_else(gone)?.with_context(|| format!("{}: the receiver", self.what))?;
        let sent = sent.ok_or_else(gone)?;
        let retransmitted = sent.with_context(|| format!("{}: the sender", self.what))?;
        let Received { bytes, longest_stall } = received;
        Ok(TcpReport { what: self.what.clone(), bytes, longest_stall, retransmitted })
    }

    fn end(&mut self) -> (Option<io::Result<u32>>, Option<Result<Received>>) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.take().and_then(|thread| thread.join().ok());
        let received = self.receiver.take().and_then(|thread| thread.join().ok());
        (sent, received)
    }
}

impl Drop for TcpFlow {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Sends until it shall stop, and tells how many segments were sent again.
fn send(mut stream: TcpStream, stop: &AtomicBool) -> io::Result<u32> {
    let (mut offset, mut next) = (0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(content(offset, PIECE))?;
        offset += PIECE;
        next = (next + PACE).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    stream.shutdown(Shutdown::Write)?;
    // Nothing comes but the end, once all has arrived.
    stream.set_read_timeout(Some(TIMEOUT))?;
    let _ = stream.read(&mut [0])?;
    Ok(tcp_info(&stream)?.tcpi_total_retrans)
}

fn receive(mut stream: TcpStream) -> Result<Received> {
    let (mut buffer, mut offset) = (vec![0; PIECE], 0);
    let (mut last, mut longest_stall) = (Instant::now(), Duration::ZERO);
    loop {
        let length = stream.read(&mut buffer).with_context(|| format!("after {offset} bytes"))?;
        let now = Instant::now();
        longest_stall = longest_stall.max(now - last);
        last = now;
        if length == 0 {
            return Ok(Received { bytes: offset, longest_stall });
        }
        ensure!(buffer[..length] == *content(offset, length), "other bytes than were sent, after {offset}");
        offset += length;
    }
}
