//! A thousand UDP datagrams a second, echoed: what was lost in each direction, and for how long nothing arrived.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};

use super::arrivals::Arrivals;
use crate::{family::Family, lab::Endpoint};

/// Bytes of a datagram: its sequence number, and what makes it as long as a small request is.
const BYTES: usize = 64;
/// Bytes that a socket keeps for a thread that gets no processor for seconds.
const BUFFER: usize = 8 << 20;
/// How long a thread waits before it looks whether it shall end.
const TURN: Duration = Duration::from_millis(20);
/// How long the last answers are waited for, where some are missing: longer than a busy machine keeps a thread waiting.
const GRACE: Duration = Duration::from_secs(2);
/// Place of the drops in what `SO_MEMINFO` tells (`SK_MEMINFO_DROPS`).
const DROPS: usize = 8;

/// A running flow; dropping it ends it without a report.
#[derive(Debug)]
pub struct UdpFlow {
    what: String,
    stop: Arc<AtomicBool>,
    /// Whether the sender has all answers that there will be.
    done: Arc<AtomicBool>,
    sender: Option<JoinHandle<io::Result<Sent>>>,
    echo: Option<JoinHandle<io::Result<Echoed>>>,
}

/// What the sender has seen.
#[derive(Debug)]
struct Sent {
    datagrams: u32,
    refused: Option<String>,
    answers: Arrivals,
    overrun: u32,
}

/// What the echo has seen.
#[derive(Debug)]
struct Echoed {
    arrivals: Arrivals,
    overrun: u32,
}

impl UdpFlow {
    /// Datagrams a second.
    pub const RATE: u32 = 1_000;

    /// Starts to send from an endpoint to an address of another, which echoes what it gets. The first datagram has
    /// come back when this returns.
    ///
    /// # Errors
    /// If a socket cannot be opened, or nothing comes back within three seconds.
    pub fn start(from: &dyn Endpoint, to: &dyn Endpoint, address: IpAddr) -> Result<Self> {
        let what = format!("UDP {} to {} ({address})", from.name(), to.name());
        let server = to.netns().run(|| open(SocketAddr::new(address, 0)))?.with_context(|| what.clone())?;
        let at = server.local_addr()?;
        let unspecified = SocketAddr::new(Family::of(address).unspecified(), 0);
        let client = from.netns().run(|| open(unspecified))?.with_context(|| what.clone())?;
        client.connect(at)?;
        let [stop, done] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (stopped, ended) = (Arc::clone(&stop), Arc::clone(&done));
        let echo = thread::spawn(move || echo(&server, &ended));
        let mut flow = Self { what, stop, done, sender: None, echo: Some(echo) };
        first_answer(&client).with_context(|| flow.what.clone())?;
        flow.sender = Some(thread::spawn(move || send(&client, &stopped)));
        Ok(flow)
    }

    /// Ends it, after a wait for the last answers.
    ///
    /// # Errors
    /// If one of its sockets failed, or lost what had arrived because this process was too slow.
    pub fn stop(mut self) -> Result<UdpReport> {
        let (sent, echoed) = self.end();
        let gone = || anyhow!("{} panicked or was ended before", self.what);
        let sent = sent.ok_or_else(gone)?.with_context(|| format!("{}: the sender", self.what))?;
        let echoed = echoed.ok_or_else(gone)?.with_context(|| format!("{}: the echo", self.what))?;
        let overrun = sent.overrun + echoed.overrun;
        ensure!(overrun == 0, "{}: {overrun} datagrams were lost by the probe's own sockets", self.what);
        Ok(UdpReport {
            what: self.what.clone(),
            sent: sent.datagrams,
            refused: sent.refused,
            there: echoed.arrivals,
            back: sent.answers,
        })
    }

    fn end(&mut self) -> (Option<io::Result<Sent>>, Option<io::Result<Echoed>>) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.take().and_then(|thread| thread.join().ok());
        self.done.store(true, Ordering::Relaxed);
        let echoed = self.echo.take().and_then(|thread| thread.join().ok());
        (sent, echoed)
    }
}

impl Drop for UdpFlow {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn open(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    // Past `net.core.rmem_max`, as tests run as root.
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    socket.set_read_timeout(Some(TURN))?;
    Ok(socket)
}

/// Waits until the way there and back works, with datagrams that no sequence number is in.
fn first_answer(client: &UdpSocket) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut buffer = [0; BYTES];
    while Instant::now() < deadline {
        // An error that came back for one before is told here.
        let _ = client.send(&[0]);
        if client.recv(&mut buffer).is_ok_and(|length| length == 1) {
            return Ok(());
        }
    }
    Err(anyhow!("nothing comes back within three seconds"))
}

fn send(client: &UdpSocket, stop: &AtomicBool) -> io::Result<Sent> {
    let interval = Duration::from_secs(1) / UdpFlow::RATE;
    let (start, mut sent, mut refused) = (Instant::now(), 0_u32, None);
    let mut answers = Arrivals::default();
    let mut datagram = [0x5a; BYTES];
    while !stop.load(Ordering::Relaxed) {
        let due = start + interval * sent;
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            datagram[..4].copy_from_slice(&sent.to_be_bytes());
            if let Err(error) = client.send(&datagram) {
                refused.get_or_insert_with(|| format!("{sent}: {error}"));
            }
            sent += 1;
        } else {
            receive(client, wait, |sequence, _| answers.take(sequence))?;
        }
    }
    let deadline = Instant::now() + GRACE;
    while answers.distinct() < sent && Instant::now() < deadline {
        receive(client, TURN, |sequence, _| answers.take(sequence))?;
    }
    Ok(Sent { datagrams: sent, refused, answers, overrun: drops(client)? })
}

fn echo(server: &UdpSocket, done: &AtomicBool) -> io::Result<Echoed> {
    let mut arrivals = Arrivals::default();
    while !done.load(Ordering::Relaxed) {
        let mut buffer = [0; BYTES];
        match server.recv_from(&mut buffer) {
            Ok((length, from)) => {
                if let Some(sequence) = sequence(&buffer[..length]) {
                    arrivals.take(sequence);
                }
                // Whether it gets back is for the other end to see.
                let _ = server.send_to(&buffer[..length], from);
            }
            Err(error) if is_nothing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Echoed { arrivals, overrun: drops(server)? })
}

/// Takes one datagram if one comes in this time.
fn receive(client: &UdpSocket, wait: Duration, take: impl FnOnce(u32, usize)) -> io::Result<()> {
    // Zero would be for ever.
    client.set_read_timeout(Some(wait.max(Duration::from_micros(1))))?;
    let mut buffer = [0; BYTES];
    match client.recv(&mut buffer) {
        Ok(length) => {
            if let Some(sequence) = sequence(&buffer[..length]) {
                take(sequence, length);
            }
            Ok(())
        }
        Err(error) if is_nothing(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn sequence(datagram: &[u8]) -> Option<u32> {
    (datagram.len() == BYTES)
        .then(|| u32::from_be_bytes([datagram[0], datagram[1], datagram[2], datagram[3]]))
}

/// Whether nothing has come, or an ICMP error for a datagram before, which is lost for that.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut, WouldBlock,
    };
    matches!(
        error.kind(),
        WouldBlock | TimedOut | Interrupted | ConnectionRefused | HostUnreachable | NetworkUnreachable
    )
}

/// How many datagrams this socket has lost, because its buffer was full.
fn drops(socket: &UdpSocket) -> io::Result<u32> {
    let mut info = [0_u32; DROPS + 1];
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: both pointers are to live locals, the length is that of the first; the descriptor is open.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(info[DROPS]) } else { Err(io::Error::last_os_error()) }
}

/// What became of the datagrams of a flow.
#[derive(Debug)]
pub struct UdpReport {
    /// From where to where.
    pub what: String,
    /// Datagrams sent.
    pub sent: u32,
    /// The first that the sender's own kernel refused, and why.
    pub refused: Option<String>,
    /// Those that arrived.
    pub there: Arrivals,
    /// Those whose echo came back.
    pub back: Arrivals,
}

impl UdpReport {
    /// How many did not arrive, or did not come back.
    #[must_use]
    pub fn lost(&self) -> u32 {
        self.sent - self.back.distinct()
    }

    /// The longest time in which nothing came back.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.back.longest_gap()
    }

    /// Checks that each arrived once and came back once.
    ///
    /// # Errors
    /// If one did not.
    pub fn expect_no_loss(&self) -> Result<()> {
        let twice = self.there.repeated() + self.back.repeated();
        ensure!(self.sent > 0 && self.lost() == 0 && twice == 0, "{self}");
        Ok(())
    }
}

impl fmt::Display for UdpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, sent, there, back, refused } = self;
        write!(
            f,
            "{what}: {sent} sent, {} arrived, {} came back, {} twice, {} out of order, nothing for {:.0?} at most",
            there.distinct(),
            back.distinct(),
            there.repeated() + back.repeated(),
            there.late() + back.late(),
            self.longest_gap(),
        )?;
        if let Some((first, last)) = back.missing(*sent) {
            write!(f, ", missing from {first} to {last}")?;
        }
        refused.as_ref().map_or(Ok(()), |refused| write!(f, ", refused at {refused}"))
    }
}
