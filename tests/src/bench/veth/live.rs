//! Sends frames as a network card hands them over, before there is an skb: by a test run whose frames leave by a veth,
//! at whose other end they come in for the XDP program there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{
    bpf::{Counter, Program},
    frames::Flows,
    programs,
    window::{Times, Window},
};
use crate::netns::Netns;

/// Frames of a system call that sends one of each flow. It hands them over 64 at a time.
const RUN: u32 = 4096;
/// Frames of a system call that is measured: so many that a whole nanosecond more or less for each is little.
const LONG_RUN: u32 = 1 << 13;

/// A source of frames at an interface.
pub struct LiveSender {
    netns: Netns,
    frame: Vec<u8>,
    programs: [Program; 2],
    /// What gives each frame its flow.
    _numbers: [Counter; 2],
}

impl LiveSender {
    /// At this interface, of this frame, whose source port is changed at these places. The interface's other end must
    /// take frames: it does with an XDP program, or with GRO.
    ///
    /// # Errors
    /// There is no such interface, or a program is refused.
    pub fn open(netns: &Netns, interface: &str, frame: Vec<u8>, ports: &[usize]) -> Result<Self> {
        let index = netns.interface_index(interface)?;
        let numbers = [Counter::new()?, Counter::new()?];
        let [one, many] = &numbers;
        let programs = [
            programs::source(&frame, ports, Flows::One, one, index)?,
            programs::source(&frame, ports, Flows::Many, many, index)?,
        ];
        Ok(Self { netns: netns.clone(), frame, programs, _numbers: numbers })
    }

    /// Sends 4,096 frames.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn send_once(&self, flows: Flows) -> Result<u64> {
        let sent = self.netns.run(|| self.send(flows, RUN))?;
        sent.with_context(|| format!("in {}", self.netns.name()))?;
        Ok(RUN.into())
    }

    /// Measures what becomes of its frames. The time is what the kernel takes for them in each call, without what it
    /// takes for getting ready before and for sleeping until all pages are free afterwards.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn measure(&self, times: Times, flows: Flows, arrived: &Counter) -> Result<Window> {
        self.netns.run(|| {
            self.send_for(times.settle, flows)?;
            let before = arrived.read()?;
            let (sent, worked) = self.send_for(times.count, flows)?;
            Ok(Window { sent, arrived: arrived.read()? - before, worked })
        })?
    }

    /// Sends for a while; how many frames, and how long the kernel worked for them.
    fn send_for(&self, time: Duration, flows: Flows) -> Result<(u64, Duration)> {
        let (start, mut sent, mut worked) = (Instant::now(), 0, Duration::ZERO);
        while start.elapsed() < time {
            worked += self.send(flows, LONG_RUN)? * LONG_RUN;
            sent += u64::from(LONG_RUN);
        }
        Ok((sent, worked))
    }

    /// Sends so many; how long that took for each. To be called inside of the namespace, where the test run looks for
    /// interfaces.
    fn send(&self, flows: Flows, count: u32) -> Result<Duration> {
        let [one, many] = &self.programs;
        let program = if flows == Flows::One { one } else { many };
        program.send_live_frames(&self.frame, count)
    }
}
