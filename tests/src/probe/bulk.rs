//! Some megabytes over one TCP connection: every byte is compared where it arrives, and the sender's kernel
//! says what it had to send again.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};

use super::tcp_info::tcp_info;
use crate::lab::Endpoint;

/// A connection that hangs this long has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// So has one that goes on for longer: packets get through only one by one.
const AT_MOST: Duration = Duration::from_secs(15);
/// Bytes of one write or read.
const PIECE: usize = 1 << 16;
/// Bytes that the sender has on the way at most. A processor's queue for what comes in has room for 1,000 packets
/// (`net.core.netdev_max_backlog`): a stream on one machine overflows it, tunnel or not.
const ON_THE_WAY: usize = 1 << 18;

/// How a bulk transfer went; all of its bytes arrived as they were sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bulk {
    /// Bytes that arrived.
    pub bytes: u64,
    /// Segments of these bytes, by the sender's segment size.
    pub segments: u64,
    /// Segments that the sender sent again.
    pub retransmitted: u32,
    /// Of those, the ones that the receiver says it had already (RFC 2883): they were late, not lost. So it is where
    /// packets overtake each other, as when the sender changes from one processor to another.
    pub needless: u32,
    /// From the connection to the receiver's word that all has arrived.
    pub took: Duration,
}

impl Bulk {
    /// Checks that hardly anything was lost, less than 3 in 100 segments, and that no storm of segments was sent again
    /// for nothing, less than 1 in 3. A queue that overflows on a busy machine costs a few, and packets that overtake
    /// each other once make the sender repeat all that is on the way, 1 in 8 of a transfer of 2 MB; segmentation or
    /// checksums that are wrong stop nearly everything.
    ///
    /// # Errors
    /// If more was.
    pub fn expect_no_storm(&self) -> Result<()> {
        let lost = u64::from(self.retransmitted.saturating_sub(self.needless));
        ensure!(lost * 100 < self.segments * 3, "more than 3 % of the segments were lost: {self:?}");
        let again = u64::from(self.retransmitted);
        ensure!(again * 3 < self.segments, "more than a third of the segments were sent again: {self:?}");
        Ok(())
    }
}

/// How often a transfer is tried.
const ATTEMPTS: usize = 5;

/// Repeats a transfer until little of it was sent again: a busy machine loses segments, too, but what interfaces or
/// programs break they break each time.
///
/// # Errors
/// If a transfer fails, or much was sent again each time.
pub fn without_storm(mut transfer: impl FnMut() -> Result<Bulk>) -> Result<()> {
    for _ in 1..ATTEMPTS {
        if transfer()?.expect_no_storm().is_ok() {
            return Ok(());
        }
    }
    transfer()?.expect_no_storm()
}

/// Sends this many bytes to a port of the receiver's (first) address that the kernel chooses.
///
/// # Errors
/// If the connection fails or hangs, or other bytes arrive.
pub fn bulk(from: &dyn Endpoint, to: &dyn Endpoint, bytes: usize) -> Result<Bulk> {
    let listener = listen(to, 0)?;
    let address = listener.local_addr()?;
    transfer(from, address, &listener, bytes)
        .with_context(|| format!("{bytes} bytes of TCP from {} to {} ({address})", from.name(), to.name()))
}

/// Sends this many bytes to an address that something on the way translates to this port of the receiver's
/// (first) address.
///
/// # Errors
/// As [`bulk`].
pub fn bulk_by(
    from: &dyn Endpoint,
    service: SocketAddr,
    to: &dyn Endpoint,
    port: u16,
    bytes: usize,
) -> Result<Bulk> {
    let listener = listen(to, port)?;
    transfer(from, service, &listener, bytes)
        .with_context(|| format!("{bytes} bytes of TCP from {} to {} as {service}", from.name(), to.name()))
}

fn listen(at: &dyn Endpoint, port: u16) -> Result<TcpListener> {
    let address = SocketAddr::new(at.address(), port);
    at.netns()
        .run(|| TcpListener::bind(address))?
        .with_context(|| format!("listening at {address} on {}", at.name()))
}

fn transfer(from: &dyn Endpoint, address: SocketAddr, listener: &TcpListener, bytes: usize) -> Result<Bulk> {
    thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(listener));
        let sent = from.netns().run(|| send(address, bytes))?;
        let received = receiver.join().map_err(|_| anyhow!("the receiver panicked"))?;
        // What the receiver has found wrong is the reason if both fail.
        let received = received.context("the receiver")?;
        let bulk = sent.context("the sender")?;
        ensure!(received == bulk.bytes, "{received} bytes arrived of {bulk:?}");
        Ok(bulk)
    })
}

fn send(address: SocketAddr, bytes: usize) -> Result<Bulk> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    setsockopt(&stream, sockopt::SndBuf, &ON_THE_WAY)?;
    let start = Instant::now();
    for offset in (0..bytes).step_by(PIECE) {
        stream.write_all(content(offset, PIECE.min(bytes - offset)))?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived)?;
    let took = start.elapsed();
    let info = tcp_info(&stream)?;
    let bytes = u64::from_be_bytes(arrived);
    let segments = bytes.div_ceil(info.tcpi_snd_mss.max(1).into());
    let (retransmitted, needless) = (info.tcpi_total_retrans, info.tcpi_dsack_dups);
    Ok(Bulk { bytes, segments, retransmitted, needless, took })
}

/// Compares what arrives over one connection, and tells the sender how much it was.
fn receive(listener: &TcpListener) -> Result<u64> {
    let wait = PollTimeout::try_from(TIMEOUT)?;
    let ready = poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], wait)?;
    ensure!(ready == 1, "no connection within {TIMEOUT:?}");
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let (mut buffer, mut offset, start) = (vec![0; PIECE], 0, Instant::now());
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        ensure!(buffer[..length] == *content(offset, length), "other bytes than were sent, after {offset}");
        offset += length;
        ensure!(start.elapsed() < AT_MOST, "only {offset} bytes arrived in {AT_MOST:?}");
    }
    let offset = u64::try_from(offset)?;
    stream.write_all(&offset.to_be_bytes())?;
    Ok(offset)
}

/// Bytes after which the content begins again: no multiple of any segment's size.
const PERIOD: usize = 1_000_003;

/// The bytes at this place of a stream in which no two pieces near each other are alike; [`PIECE`] at most.
pub(super) fn content(offset: usize, length: usize) -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    let all = CONTENT.get_or_init(|| {
        let word = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let mut all: Vec<u8> = (0..=PERIOD as u64 / 8).flat_map(word).take(PERIOD).collect();
        all.extend_from_within(..PIECE);
        all
    });
    &all[offset % PERIOD..][..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_the_content_fit_together() {
        let whole = content(0, 100);
        assert_eq!(whole.len(), 100);
        for (offset, length) in [(0, 8), (1, 7), (8, 8), (13, 50), (99, 1)] {
            assert_eq!(*content(offset, length), whole[offset..offset + length]);
        }
        assert_ne!(content(0, 8), content(8, 8));
        assert_eq!(content(PERIOD - 4, 8), [content(PERIOD - 4, 4), content(0, 4)].concat());
    }

    #[test]
    fn a_storm_each_time_is_an_error_one_that_passes_is_not() {
        let bulk =
            |retransmitted| Bulk { bytes: 1000, segments: 1000, retransmitted, needless: 0, took: TIMEOUT };
        assert!(without_storm(|| Ok(bulk(30))).is_err());
        let mut left = ATTEMPTS;
        let last = without_storm(|| {
            left -= 1;
            Ok(bulk(if left > 0 { 30 } else { 29 }))
        });
        assert!(last.is_ok());
    }

    #[test]
    fn a_storm_is_an_error() {
        let bulk = Bulk { bytes: 1000, segments: 1000, retransmitted: 9, needless: 0, took: TIMEOUT };
        let again = |retransmitted, needless| Bulk { retransmitted, needless, ..bulk }.expect_no_storm();
        assert!(again(29, 0).is_ok() && again(30, 0).is_err());
        assert!(again(333, 330).is_ok() && again(334, 334).is_err());
    }
}
