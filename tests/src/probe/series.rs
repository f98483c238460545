//! A ping that goes on in the background, and afterwards tells of each packet when it was sent and
//! whether it was answered.

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

use anyhow::{Result, anyhow};

use super::{
    Fragmentation,
    icmp::{IcmpSocket, Kind, Options},
    ping::usual_size,
};
use crate::{family::Family, lab::Endpoint};

/// How long the last answers are waited for.
const GRACE: Duration = Duration::from_millis(500);

/// A running series; dropping it ends it without a report.
#[derive(Debug)]
pub struct Series {
    what: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Vec<Packet>>>>,
}

impl Series {
    /// Packets a second that stories use.
    pub const RATE: u32 = 100;

    /// Starts to ping from an endpoint to an address, [`Self::RATE`] times a second.
    ///
    /// # Errors
    /// If the socket cannot be opened.
    pub fn start(from: &dyn Endpoint, to: IpAddr) -> Result<Self> {
        let options = Options { source: None, fragmentation: Fragmentation::Allowed, ttl: None };
        let socket = IcmpSocket::open(from.netns(), Family::of(to), options)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let interval = Duration::from_secs(1) / Self::RATE;
        let thread = thread::spawn(move || run(&socket, to, interval, &stopped));
        Ok(Self { what: format!("{} to {to}", from.name()), stop, thread: Some(thread) })
    }

    /// Ends it, after a wait of half a second for the last answers.
    ///
    /// # Errors
    /// If its socket failed.
    pub fn stop(mut self) -> Result<SeriesReport> {
        let packets = self.end().ok_or_else(|| anyhow!("the series {} was ended before", self.what))?;
        let packets = packets.map_err(|_| anyhow!("the series {} panicked", self.what))??;
        Ok(SeriesReport { what: std::mem::take(&mut self.what), packets })
    }

    fn end(&mut self) -> Option<thread::Result<io::Result<Vec<Packet>>>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn run(socket: &IcmpSocket, to: IpAddr, interval: Duration, stop: &AtomicBool) -> io::Result<Vec<Packet>> {
    let mut packets: Vec<Packet> = Vec::new();
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            let sequence = u16::try_from(packets.len()).map_err(io::Error::other)?;
            packets.push(Packet { sent: Instant::now(), answers: Vec::new(), error: None });
            if let Err(error) = socket.send(to, sequence, usual_size(Family::of(to))) {
                packets[usize::from(sequence)].error = Some(error.to_string());
            }
            next += interval;
        }
        receive(socket, &mut packets, next.saturating_duration_since(Instant::now()))?;
    }
    let deadline = Instant::now() + GRACE;
    while packets.iter().any(|packet| packet.is_lost()) && Instant::now() < deadline {
        receive(socket, &mut packets, deadline.saturating_duration_since(Instant::now()))?;
    }
    Ok(packets)
}

fn receive(socket: &IcmpSocket, packets: &mut [Packet], timeout: Duration) -> io::Result<()> {
    let Some(message) = socket.receive(timeout)? else { return Ok(()) };
    if let Some(packet) = packets.get_mut(usize::from(message.sequence)) {
        match message.kind {
            Kind::Reply => packet.answers.push(Instant::now()),
            other => packet.error = Some(format!("{other:?} from {}", message.from)),
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Packet {
    sent: Instant,
    answers: Vec<Instant>,
    error: Option<String>,
}

impl Packet {
    fn is_lost(&self) -> bool {
        self.answers.is_empty()
    }
}

/// What became of each packet of a series.
#[derive(Debug)]
pub struct SeriesReport {
    what: String,
    packets: Vec<Packet>,
}

impl SeriesReport {
    /// Packets sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.packets.len()
    }

    /// Sequence numbers (from 0) of the packets that were not answered.
    #[must_use]
    pub fn lost(&self) -> Vec<usize> {
        let packets = self.packets.iter().enumerate();
        packets.filter(|(_, packet)| packet.is_lost()).map(|(sequence, _)| sequence).collect()
    }

    /// Sequence numbers of the packets that were answered more than once.
    #[must_use]
    pub fn duplicated(&self) -> Vec<usize> {
        let packets = self.packets.iter().enumerate();
        packets.filter(|(_, packet)| packet.answers.len() > 1).map(|(sequence, _)| sequence).collect()
    }

    /// Time from `moment` to the sending of the first packet after it that was answered, if any.
    #[must_use]
    pub fn first_answered_after(&self, moment: Instant) -> Option<Duration> {
        let mut answered = self.packets.iter().filter(|packet| packet.sent >= moment && !packet.is_lost());
        answered.next().map(|packet| packet.sent - moment)
    }

    /// Time from `moment` to the sending of the last packet that was not answered; zero if all after it
    /// were.
    #[must_use]
    pub fn last_lost_after(&self, moment: Instant) -> Duration {
        let mut lost = self.packets.iter().rev().filter(|packet| packet.is_lost() && packet.sent >= moment);
        lost.next().map_or(Duration::ZERO, |packet| packet.sent - moment)
    }

    /// Checks that each packet was answered once.
    ///
    /// # Errors
    /// If one was not; the error lists them.
    pub fn expect_no_loss(&self) -> Result<()> {
        if self.packets.is_empty() || !self.lost().is_empty() || !self.duplicated().is_empty() {
            return Err(anyhow!("{self}"));
        }
        Ok(())
    }
}

impl fmt::Display for SeriesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lost, duplicated) = (self.lost(), self.duplicated());
        write!(f, "ping {}: {} sent, {} lost", self.what, self.sent(), lost.len())?;
        if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
            let at = |sequence: usize| (self.packets[sequence].sent - self.packets[0].sent).as_secs_f32();
            write!(f, " (from {first} at {:.2} s to {last} at {:.2} s)", at(*first), at(*last))?;
        }
        if !duplicated.is_empty() {
            write!(f, ", duplicated: {duplicated:?}")?;
        }
        if let Some(error) = self.packets.iter().find_map(|packet| packet.error.as_ref()) {
            write!(f, ", first error: {error}")?;
        }
        Ok(())
    }
}
