//! Capture of what passes an interface, without any tool: a packet socket and a thread. It listens from
//! the moment that `start` returns.

mod checksum;
mod frame;
mod header;
mod socket;

use std::{
    fmt, io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};

pub use checksum::Checksum;
pub use frame::{Frame, Packet};
pub use header::IpHeader;

use crate::netns::Netns;
use socket::PacketSocket;
pub(crate) use socket::link_address;

/// How much of each frame is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All of it, a 64-KB super-packet included.
    Whole,
    /// The first 128 bytes: the headers. For many frames.
    Headers,
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    place: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Captured>>>,
}

impl Capture {
    /// Starts to capture both directions of an interface.
    ///
    /// # Errors
    /// If there is no such interface or the socket cannot be opened.
    pub fn start(netns: &Netns, interface: &str, keep: Keep) -> Result<Self> {
        let index = netns.interface_index(interface)?;
        let socket = PacketSocket::open(netns, index)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let place = format!("{interface} in {}", netns.name());
        let title = place.clone();
        let thread = thread::spawn(move || run(&socket, keep, title, &stopped));
        Ok(Self { place, stop, thread: Some(thread) })
    }

    /// Ends it and returns the frames that had arrived by now.
    ///
    /// # Errors
    /// If the socket failed or the kernel had to leave frames out.
    pub fn stop(mut self) -> Result<Captured> {
        let ended = self.end().ok_or_else(|| anyhow!("the capture of {} was ended before", self.place))?;
        let captured = ended.map_err(|_| anyhow!("the capture of {} panicked", self.place))??;
        ensure!(
            captured.left_out == 0,
            "the capture of {} left {} frames out",
            self.place,
            captured.left_out
        );
        Ok(captured)
    }

    fn end(&mut self) -> Option<thread::Result<io::Result<Captured>>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn run(socket: &PacketSocket, keep: Keep, place: String, stop: &AtomicBool) -> io::Result<Captured> {
    let mut buffer = vec![0; if keep == Keep::Whole { 1 << 17 } else { 128 }];
    let (start, mut frames) = (Instant::now(), Vec::new());
    loop {
        // Read before the wait: what was in the queue when the stop came is still taken.
        let stopping = stop.load(Ordering::Relaxed);
        let wait = Duration::from_millis(if stopping { 0 } else { 20 });
        match socket.receive(&mut buffer, wait)? {
            Some(received) => frames.push(Frame {
                at: start.elapsed(),
                outgoing: received.outgoing,
                length: received.length,
                bytes: buffer[..received.length.min(buffer.len())].to_vec(),
            }),
            None if stopping => return Ok(Captured { place, frames, left_out: socket.left_out()? }),
            None => {}
        }
    }
}

/// Frames of a capture, in order.
#[derive(Debug)]
pub struct Captured {
    place: String,
    frames: Vec<Frame>,
    left_out: u32,
}

impl Captured {
    /// Every frame.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The IP packets, those that cannot be parsed left out.
    pub fn packets(&self) -> impl Iterator<Item = Packet> {
        self.frames.iter().filter_map(Frame::packet)
    }

    /// The packets that came in for this address (that of the innermost header). What hosts multicast when they
    /// feel like it (neighbour discovery, multicast listener reports) is not among them.
    pub fn arrived(&self, destination: impl Into<IpAddr>) -> impl Iterator<Item = Packet> {
        let destination = destination.into();
        self.packets().filter(move |packet| !packet.outgoing && packet.inner().destination == destination)
    }
}

impl fmt::Display for Captured {
    /// The first 20 packets, one a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} frames at {}", self.frames.len(), self.place)?;
        for frame in self.frames.iter().take(20) {
            writeln!(f, "  {frame}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft;

    fn frame(outgoing: bool, packet: &craft::Packet) -> Frame {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
        bytes.extend(packet.bytes().unwrap());
        Frame { at: Duration::ZERO, outgoing, length: bytes.len(), bytes }
    }

    /// A listener report has an extension header, as what tests send may have.
    #[test]
    fn what_hosts_multicast_by_themselves_has_not_arrived_for_an_address() {
        let [pod, peer, gateway, routers] =
            ["fd00::1", "fd00::2", "fe80::1", "ff02::16"].map(|text| text.parse::<IpAddr>().unwrap());
        let with_options =
            |from, to| craft::Packet::echo_reply(from, to).unwrap().extension(craft::Extension::HopByHop);
        let frames = vec![
            frame(false, &with_options(gateway, routers)),
            frame(true, &with_options(peer, pod)),
            frame(false, &with_options(peer, pod)),
        ];
        let captured = Captured { place: "test".to_owned(), frames, left_out: 0 };
        assert_eq!(captured.packets().count(), 3);
        let arrived = captured.arrived(pod).map(|packet| packet.outer().source).collect::<Vec<_>>();
        assert_eq!(arrived, [peer]);
    }
}
