//! What real sockets in the pods get of each way: TCP in one direction, and requests with their answers.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};

use super::{cpu::Cpu, site::Site, way::Way, window::Times};
use crate::bench::{
    latency,
    sockets::{Ends, Exchange, Protocol, Stream},
};

/// What the sockets do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Talk {
    /// One TCP flow in one direction; what is measured is nanoseconds for each byte.
    Stream,
    /// [`FLOWS`] of them at once.
    Streams,
    /// A request and its answer over UDP; what is measured is nanoseconds for each exchange, the median of a window.
    Udp,
    /// The same over TCP.
    Tcp,
}

impl Talk {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stream, Self::Streams, Self::Udp, Self::Tcp];

    /// Whether it is measured on this way. Eight flows overflow the 256 places that a veth with XDP has for packets, and
    /// then wait for each other's retransmissions.
    #[must_use]
    pub fn can_go_by(self, way: Way) -> bool {
        !(self == Self::Streams && way == Way::Xdp)
    }

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stream => "TCP per byte, 1 flow",
            Self::Streams => "TCP per byte, 8 flows",
            Self::Udp => "UDP request/response",
            Self::Tcp => "TCP request/response",
        }
    }
}

/// TCP flows where there are many.
const FLOWS: usize = 8;

/// So long that each of many flows has its turn, whatever else the machine does: of each of them something must arrive.
const TURNS: Duration = Duration::from_millis(120);

/// Bytes of a request, and of its answer.
pub const PAYLOAD: usize = 64;

/// The ways between sockets: the generator and the floor go only in one direction.
pub const WAYS: [Way; 8] =
    [Way::Direct, Way::Twin, Way::Ipip, Way::Xdp, Way::Routing, Way::Conntrack, Way::HostGw, Way::Vxlan];

/// Sockets in two pods of a site that stay open. They are other pods than those between which packets are sent.
pub struct Talkers {
    /// Their way.
    pub way: Way,
    stream: Stream,
    streams: Stream,
    udp: Exchange,
    tcp: Exchange,
    slept: Duration,
    counted: Duration,
}

/// Streams that slept for a larger share of their time say how long they slept, not what their bytes cost.
const SLEEP: f64 = 0.1;

/// How long each exchange took, in nanoseconds, by round.
pub type Latencies = BTreeMap<(Way, Talk), Vec<Vec<f64>>>;

impl Talkers {
    /// Opens the sockets.
    ///
    /// # Errors
    /// They cannot be connected.
    pub fn open(site: &Site, cpu: &Cpu) -> Result<Self> {
        let ends = Ends::of(site.lab.pod("a1-1")?, site.lab.pod("a2-1")?);
        let cpu = cpu.number();
        let open = || -> Result<Self> {
            let (stream, streams) = (Stream::open(&ends, 1, cpu)?, Stream::open(&ends, FLOWS, cpu)?);
            let udp = Exchange::open(&ends, Protocol::Udp, PAYLOAD, cpu)?;
            let tcp = Exchange::open(&ends, Protocol::Tcp, PAYLOAD, cpu)?;
            Ok(Self {
                way: site.way,
                stream,
                streams,
                udp,
                tcp,
                slept: Duration::ZERO,
                counted: Duration::ZERO,
            })
        };
        open().with_context(|| format!("sockets joined by {}", site.way.name()))
    }

    /// What to keep in mind of its streams.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let share = self.slept.as_secs_f64() / self.counted.as_secs_f64();
        let note =
            || format!("TCP by {} had nothing to do for {:.0} % of the time", self.way.name(), share * 100.0);
        (share > SLEEP).then(note)
    }

    /// Measures; returns what it took, and puts how long each exchange took to the others.
    ///
    /// # Errors
    /// Something that was sent did not arrive.
    pub fn measure(&mut self, talk: Talk, times: Times, latencies: &mut Latencies) -> Result<f64> {
        let what = format!("{} by {}", talk.name(), self.way.name());
        self.window(talk, times, latencies).context(what)
    }

    fn window(&mut self, talk: Talk, times: Times, latencies: &mut Latencies) -> Result<f64> {
        let Times { settle, count } = times;
        let exchange = match talk {
            Talk::Stream | Talk::Streams => {
                let (stream, count) = match talk {
                    Talk::Stream => (&mut self.stream, count),
                    _ => (&mut self.streams, count.max(TURNS)),
                };
                let transferred = stream.window(settle, count)?;
                transferred.expect_whole()?;
                self.slept += transferred.waited;
                self.counted += transferred.time;
                return Ok(transferred.cost());
            }
            Talk::Udp => &mut self.udp,
            Talk::Tcp => &mut self.tcp,
        };
        let exchanged = exchange.window(settle, count)?;
        exchanged.expect_whole()?;
        let rounds = latencies.entry((self.way, talk)).or_default();
        rounds.push(exchanged.samples);
        let medians = rounds.last().and_then(|round| latency::of_each(std::slice::from_ref(round), 0.5));
        medians.and_then(|medians| medians.first().copied()).context("there was no exchange")
    }
}
