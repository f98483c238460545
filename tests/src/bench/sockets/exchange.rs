//! A request and its answer, again and again, one at a time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    connection::{Connection, PAYLOAD_AT_MOST},
    cpu::on_cpu,
    ends::Ends,
    udp::Datagrams,
};
use crate::bench::stats::as_f64;

/// What carries requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One datagram each way.
    Udp,
    /// One connection that stays open, with `TCP_NODELAY`.
    Tcp,
}

impl Protocol {
    /// An exchange that takes longer is lost. TCP gets the time to send again twice (after 200 and 400 ms).
    const fn patience(self) -> Duration {
        match self {
            Self::Udp => Duration::from_millis(100),
            Self::Tcp => Duration::from_millis(700),
        }
    }
}

/// Size of the buffers of a TCP connection, in bytes.
const BUFFER: usize = 1 << 16;

/// A client in one namespace and a server in another. What is timed: four system calls (send, receive, and the same
/// for the answer) and the path there and back; the answer is sent by the thread that sent the request.
#[derive(Debug)]
pub struct Exchange {
    ends: Ends,
    cpu: usize,
    protocol: Protocol,
    sockets: Sockets,
    payload: Vec<u8>,
    number: u64,
}

#[derive(Debug)]
enum Sockets {
    Udp(Datagrams),
    Tcp(Connection),
    /// A TCP connection was reset because an exchange was lost.
    Reset,
}

/// What a window of an [`Exchange`] has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchanged {
    /// How long each exchange took that was begun in the counted time and answered, in nanoseconds and in order.
    pub samples: Vec<f64>,
    /// How long was counted.
    pub time: Duration,
    /// Exchanges that were not answered in time, those before the counted time among them.
    pub lost: usize,
    /// Segments that TCP sent again because they were lost, in the whole window; for UDP 0.
    pub retransmitted: u64,
    /// What was the first thing to go wrong.
    pub trouble: Option<String>,
}

impl Exchanged {
    /// Answered exchanges a second. What else ran on the CPU is in it: for ratios take medians of the samples.
    #[must_use]
    pub fn rate(&self) -> f64 {
        as_f64(self.samples.len()) / self.time.as_secs_f64()
    }

    /// Checks that there were exchanges and none was lost.
    ///
    /// # Errors
    /// If not; it tells how many, and why.
    pub fn expect_whole(&self) -> Result<()> {
        let (lost, answered) = (self.lost, self.samples.len());
        let whole = lost == 0 && answered > 0 && self.trouble.is_none();
        let why = self.trouble.as_deref().unwrap_or("the window is too short");
        ensure!(whole, "{lost} exchanges were lost and {answered} answered: {why}");
        Ok(())
    }
}

impl Exchange {
    /// Opens the sockets. The request and its answer have this many bytes each, from 1 to 1024.
    ///
    /// # Errors
    /// If they cannot be opened, or TCP not be connected; UDP sends nothing before the first window.
    pub fn open(ends: &Ends, protocol: Protocol, payload: usize, cpu: usize) -> Result<Self> {
        ensure!(
            (1..=PAYLOAD_AT_MOST).contains(&payload),
            "exchanges of {payload} bytes: 1 to {PAYLOAD_AT_MOST}"
        );
        let sockets = on_cpu(cpu, || Sockets::open(ends, protocol))??;
        let payload = vec![0; payload];
        Ok(Self { ends: ends.clone(), cpu, protocol, sockets, payload, number: 0 })
    }

    /// Exchanges for the time `settle` without counting and then for the time `count`, on the CPU. Ends when the last
    /// exchange does: after that nothing is on the way. A lost one takes 0.1 s (UDP) or 0.7 s (TCP, whose
    /// connection is reset and opened anew).
    ///
    /// # Errors
    /// If the CPU cannot be used or the namespaces not be entered. What is lost is in the result.
    pub fn window(&mut self, settle: Duration, count: Duration) -> Result<Exchanged> {
        on_cpu(self.cpu, || self.measure(settle, count))?
            .with_context(|| format!("exchanges by {:?} from {}", self.protocol, self.ends))
    }

    fn measure(&mut self, settle: Duration, count: Duration) -> Result<Exchanged> {
        let mut found = Exchanged {
            samples: Vec::with_capacity(1 << 16),
            time: Duration::ZERO,
            lost: 0,
            retransmitted: 0,
            trouble: None,
        };
        self.exchange_for(settle, &mut found);
        found.samples.clear();
        found.time = self.exchange_for(count, &mut found);
        self.finish(&mut found)?;
        Ok(found)
    }

    /// Returns when the last exchange that was begun in this time has ended, and how long that took.
    fn exchange_for(&mut self, time: Duration, found: &mut Exchanged) -> Duration {
        let start = Instant::now();
        loop {
            let now = Instant::now();
            if now - start >= time {
                return now - start;
            }
            match self.exchange() {
                Ok(took) => found.samples.push((took.as_secs_f64() * 1e9).round()),
                Err(error) => {
                    found.lost += 1;
                    found.trouble.get_or_insert_with(|| format!("{error:#}"));
                    self.reset(found);
                    // Also if it failed at once: a way that refuses everything loses no millions.
                    thread::sleep(self.protocol.patience().saturating_sub(now.elapsed()));
                }
            }
        }
    }

    fn exchange(&mut self) -> Result<Duration> {
        if matches!(self.sockets, Sockets::Reset) {
            self.sockets = Sockets::open(&self.ends, self.protocol)?;
        }
        // Each has a number, so that an answer that is late is not taken for that of the next.
        self.number = self.number.wrapping_add(1);
        for (byte, digit) in self.payload.iter_mut().zip(self.number.to_le_bytes()) {
            *byte = digit;
        }
        let begun = Instant::now();
        let deadline = begun + self.protocol.patience();
        match &self.sockets {
            Sockets::Udp(datagrams) => datagrams.exchange(&self.payload, deadline)?,
            Sockets::Tcp(connection) => connection.exchange(&self.payload, deadline)?,
            Sockets::Reset => bail!("there is no connection"),
        }
        Ok(begun.elapsed())
    }

    /// Lets TCP acknowledge the last answer.
    fn finish(&mut self, found: &mut Exchanged) -> Result<()> {
        if let Sockets::Tcp(connection) = &mut self.sockets {
            if connection.settles_by(Instant::now() + self.protocol.patience())? {
                found.retransmitted += connection.newly_retransmitted()?;
            } else {
                found.trouble.get_or_insert_with(|| "the last answer was not acknowledged".to_owned());
                self.reset(found);
            }
        }
        Ok(())
    }

    /// Resets a TCP connection, which would otherwise go on to send again.
    fn reset(&mut self, found: &mut Exchanged) {
        if let Sockets::Tcp(connection) = &mut self.sockets {
            found.retransmitted += connection.newly_retransmitted().unwrap_or_default();
            self.sockets = Sockets::Reset;
        }
    }
}

impl Sockets {
    fn open(ends: &Ends, protocol: Protocol) -> Result<Self> {
        Ok(match protocol {
            Protocol::Udp => Self::Udp(Datagrams::open(ends)?),
            Protocol::Tcp => Self::Tcp(Connection::open(ends, BUFFER)?),
        })
    }
}
