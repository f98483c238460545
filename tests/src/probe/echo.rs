//! TCP and UDP: an echo server in every pod and on every node, and its clients. The server first tells
//! the client which source address it sees, so that a probe also shows what happened to that.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{family::Family, lab::Endpoint};

/// TCP and UDP port of the echo servers.
pub const ECHO_PORT: u16 = 7777;
/// A probe that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A TCP and a UDP echo server at each of an endpoint's addresses; dropping it ends all.
#[derive(Debug)]
pub struct EchoServer {
    stop: Arc<AtomicBool>,
    sockets: Vec<(TcpListener, Arc<UdpSocket>)>,
    threads: Vec<JoinHandle<()>>,
}

impl EchoServer {
    /// Starts it. Each server is bound to one address: replies of a UDP server on a node would otherwise
    /// carry the source that the route to the client prefers.
    ///
    /// # Errors
    /// If the ports cannot be bound.
    pub fn start(endpoint: &dyn Endpoint) -> Result<Self> {
        let (stop, sockets) = (Arc::new(AtomicBool::new(false)), Vec::new());
        let mut server = Self { stop, sockets, threads: Vec::new() };
        for address in endpoint.addresses() {
            server.listen(endpoint, SocketAddr::new(*address, ECHO_PORT))?;
        }
        Ok(server)
    }

    fn listen(&mut self, endpoint: &dyn Endpoint, address: SocketAddr) -> Result<()> {
        let (tcp, udp) = endpoint
            .netns()
            .run(|| io::Result::Ok((TcpListener::bind(address)?, UdpSocket::bind(address)?)))?
            .with_context(|| format!("echo server at {address} on {}", endpoint.name()))?;
        let (listener, udp) = (tcp.try_clone()?, Arc::new(udp));
        let (stop_tcp, stop_udp, socket) = (Arc::clone(&self.stop), Arc::clone(&self.stop), Arc::clone(&udp));
        self.threads.push(thread::spawn(move || serve_tcp(&listener, &stop_tcp)));
        self.threads.push(thread::spawn(move || serve_udp(&socket, &stop_udp)));
        self.sockets.push((tcp, udp));
        Ok(())
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes a thread that waits in accept or recv; the error that UDP gives all the same is no news.
        for socket in self.sockets.iter().flat_map(|(tcp, udp)| [tcp.as_raw_fd(), udp.as_raw_fd()]) {
            let _ = nix::sys::socket::shutdown(socket, nix::sys::socket::Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_tcp(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok((stream, peer)) = listener.accept() {
            // A client that gives up half-way is the client's failure: it reports it.
            let _ = serve_connection(stream, peer.ip());
        }
    }
}

fn serve_connection(mut stream: TcpStream, peer: IpAddr) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(header(peer).as_bytes())?;
    let mut buffer = [0; 65536];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        stream.write_all(&buffer[..length])?;
    }
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 65536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let mut reply = header(peer.ip()).into_bytes();
            reply.extend_from_slice(&buffer[..length]);
            let _ = socket.send_to(&reply, peer);
        }
    }
}

fn header(peer: IpAddr) -> String {
    format!("{peer}\n")
}

/// What the other side saw of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The source address that it came from.
    pub source: IpAddr,
}

/// Opens a TCP connection, sends this many bytes (65536 at most) and checks that they come back.
///
/// # Errors
/// If the connection fails or is not done within 3 seconds, or other bytes come back.
pub fn tcp(from: &dyn Endpoint, to: &dyn Endpoint, bytes: usize) -> Result<Seen> {
    tcp_at(from, SocketAddr::new(to.address(), ECHO_PORT), bytes)
}

/// The same to an address behind which an echo server is: a Service's, for example.
///
/// # Errors
/// As [`tcp`].
pub fn tcp_at(from: &dyn Endpoint, address: SocketAddr, bytes: usize) -> Result<Seen> {
    let payload = payload(bytes);
    let exchange = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(&payload)?;
        stream.shutdown(Shutdown::Write)?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        Ok(received)
    };
    let what = || format!("TCP from {} to {address}, {bytes} bytes", from.name());
    let received = from.netns().run(exchange)?.with_context(what)?;
    check(&received, &payload).with_context(what)
}

/// Sends one UDP datagram with this many bytes and checks that it comes back. It is not repeated: one
/// lost packet is a failure.
///
/// # Errors
/// If nothing comes back within 3 seconds, or something else.
pub fn udp(from: &dyn Endpoint, to: &dyn Endpoint, bytes: usize) -> Result<Seen> {
    udp_at(from, SocketAddr::new(to.address(), ECHO_PORT), bytes)
}

/// The same with an answer within this time.
///
/// # Errors
/// If nothing comes back in time, or something else.
pub fn udp_within(from: &dyn Endpoint, to: &dyn Endpoint, bytes: usize, timeout: Duration) -> Result<Seen> {
    udp_exchange(from, SocketAddr::new(to.address(), ECHO_PORT), bytes, timeout)
}

/// The same to an address behind which an echo server is: a Service's, for example.
///
/// # Errors
/// As [`udp`].
pub fn udp_at(from: &dyn Endpoint, address: SocketAddr, bytes: usize) -> Result<Seen> {
    udp_exchange(from, address, bytes, TIMEOUT)
}

fn udp_exchange(from: &dyn Endpoint, address: SocketAddr, bytes: usize, timeout: Duration) -> Result<Seen> {
    let payload = payload(bytes);
    let exchange = || -> io::Result<Vec<u8>> {
        let socket = UdpSocket::bind((Family::of(address.ip()).unspecified(), 0))?;
        socket.set_read_timeout(Some(timeout))?;
        socket.connect(address)?;
        socket.send(&payload)?;
        let mut received = vec![0; 65536];
        let length = socket.recv(&mut received)?;
        received.truncate(length);
        Ok(received)
    };
    let what = || format!("UDP from {} to {address}, {bytes} bytes", from.name());
    let received = from.netns().run(exchange)?.with_context(what)?;
    check(&received, &payload).with_context(what)
}

/// Bytes that are not all alike, so that a piece in the wrong place is noticed.
fn payload(bytes: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(bytes).collect()
}

fn check(received: &[u8], sent: &[u8]) -> Result<Seen> {
    let end = received.iter().position(|byte| *byte == b'\n').context("no answer")?;
    let source = std::str::from_utf8(&received[..end])?.parse()?;
    let echoed = &received[end + 1..];
    ensure!(echoed == sent, "{} bytes came back, which are not the {} sent", echoed.len(), sent.len());
    Ok(Seen { source })
}
