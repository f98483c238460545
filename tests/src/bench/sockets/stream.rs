//! TCP in one direction, as fast as it goes.

use std::{
    slice,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    cpu::on_cpu,
    ends::{Ends, wait},
    flow::Flow,
};
use crate::bench::{
    latency::merged,
    stats::{as_f64, percentile},
};

/// Bytes of one write: what the kernel makes one large packet of, where it segments late.
const PIECE: usize = 1 << 16;
/// Bytes of one read at most: more than one write, so that the receiver catches up.
const READ: usize = 1 << 18;
/// Size of a flow's buffers at most.
const BUFFER: usize = 1 << 18;
/// Size of all flows' send buffers. The kernel doubles a buffer for its own use, so that up to twice as many bytes are
/// on the way: some 700 packets of full size, while the queue for what comes in to a CPU has room for 1,000
/// (`net.core.netdev_max_backlog`).
const ON_THE_WAY: usize = 1 << 19;
/// How long what was sent may take to arrive after the end of a window. TCP sends again three times meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a stretch of a window is that has a cost of its own: shorter than the scheduler lets others have the CPU.
pub const STRETCH: Duration = Duration::from_micros(500);

/// A number of TCP flows from one namespace to another.
#[derive(Debug)]
pub struct Stream {
    ends: Ends,
    cpu: usize,
    flows: Vec<Flow>,
    piece: Vec<u8>,
    buffer: Vec<u8>,
}

/// What a window of a [`Stream`] has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Transferred {
    /// Bytes of each flow that its receiver got within the counted time.
    pub bytes: Vec<u64>,
    /// How long was counted.
    pub time: Duration,
    /// What a byte cost in each [`STRETCH`] of that, in nanoseconds; infinite where none arrived.
    pub costs: Vec<f64>,
    /// How much of that nothing could be sent or received, so that the thread slept: where it is a large share, the
    /// time is not what the bytes cost.
    pub waited: Duration,
    /// Segments that were sent again because they were lost, in the whole window.
    pub retransmitted: u64,
    /// Flows that were reset, or could not be opened anew: their numbers, and why.
    pub broken: Vec<(usize, String)>,
}

impl Transferred {
    /// Bytes of all flows.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.bytes.iter().sum()
    }

    /// What a byte cost, in nanoseconds: the median of [`Self::costs`]. When the thread is kept from the CPU for a while,
    /// it costs one stretch much and the others nothing. Infinite if nothing arrived.
    #[must_use]
    pub fn cost(&self) -> f64 {
        percentile(&merged(slice::from_ref(&self.costs)), 0.5).unwrap_or(f64::INFINITY)
    }

    /// Checks that each flow got something, and everything that was sent arrived.
    ///
    /// # Errors
    /// If not; it tells of which flow, and why.
    pub fn expect_whole(&self) -> Result<()> {
        if let Some((flow, why)) = self.broken.first() {
            let (broken, flows) = (self.broken.len(), self.bytes.len());
            bail!("{broken} of {flows} flows broke, at first number {flow}: {why}");
        }
        let starved = self.bytes.iter().position(|bytes| *bytes == 0);
        ensure!(starved.is_none(), "flow {} got nothing in {:?}", starved.unwrap_or_default(), self.time);
        Ok(())
    }
}

impl Stream {
    /// Opens the flows.
    ///
    /// # Errors
    /// If one cannot be connected.
    pub fn open(ends: &Ends, flows: usize, cpu: usize) -> Result<Self> {
        ensure!((1..=64).contains(&flows), "a stream of {flows} flows: 1 to 64");
        let open = || (0..flows).map(|_| Flow::open(ends, buffer_of(flows))).collect::<Result<Vec<_>>>();
        let flows = on_cpu(cpu, open)??;
        Ok(Self { ends: ends.clone(), cpu, flows, piece: vec![0x5a; PIECE], buffer: vec![0; READ] })
    }

    /// Lets all flows transfer for the time `settle` without counting and then for the time `count`, on the CPU.
    /// Returns when everything has arrived and is acknowledged, after 2 seconds at most: what has not is reset then,
    /// and opened anew in the next window.
    ///
    /// # Errors
    /// If the CPU cannot be used, or the kernel not be asked. What does not arrive is in the result.
    pub fn window(&mut self, settle: Duration, count: Duration) -> Result<Transferred> {
        on_cpu(self.cpu, || self.measure(settle, count))?
            .with_context(|| format!("{} flows of TCP from {}", self.flows.len(), self.ends))
    }

    fn measure(&mut self, settle: Duration, count: Duration) -> Result<Transferred> {
        self.begin();
        self.transfer_for(settle)?;
        let before = self.received();
        let start = Instant::now();
        let (waited, costs) = self.transfer_for(count)?;
        let time = start.elapsed();
        let bytes = self.received().iter().zip(before).map(|(after, before)| after - before).collect();
        self.end()?;
        let retransmitted = self.flows.iter().map(Flow::retransmitted).sum();
        let trouble = |(number, flow): (usize, &Flow)| Some((number, flow.trouble()?.to_owned()));
        let broken = self.flows.iter().enumerate().filter_map(trouble).collect();
        Ok(Transferred { bytes, time, costs, waited, retransmitted, broken })
    }

    /// Opens anew what was reset, but tries no more once that has failed: each attempt takes its time.
    fn begin(&mut self) {
        let (buffer, mut failed) = (buffer_of(self.flows.len()), None);
        for flow in &mut self.flows {
            flow.begin();
            if !flow.is_open() && failed.is_none() {
                failed = flow.reopen(&self.ends, buffer).err();
            }
            if let (false, Some(error)) = (flow.is_open(), &failed) {
                flow.give_up(format!("{error:#}"));
            }
        }
    }

    /// Sends and receives in turns; returns how long it slept, and what a byte cost in each stretch.
    fn transfer_for(&mut self, time: Duration) -> Result<(Duration, Vec<f64>)> {
        let mut stretch = (Instant::now(), self.total());
        let (end, mut waited, mut costs) = (stretch.0 + time, Duration::ZERO, Vec::new());
        loop {
            let moved = self.pass(true);
            let now = Instant::now();
            if now - stretch.0 >= STRETCH {
                let total = self.total();
                costs.push((now - stretch.0).as_secs_f64() * 1e9 / as_f64(total - stretch.1));
                stretch = (now, total);
            }
            if now >= end {
                return Ok((waited, costs));
            }
            if !moved {
                self.wait(true, end - now)?;
                waited += now.elapsed();
            }
        }
    }

    /// Waits until all has arrived, resets what has not, and takes the flows' figures.
    fn end(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let moved = self.pass(false);
            if self.flows.iter_mut().all(Flow::is_idle) || Instant::now() >= deadline {
                break;
            }
            if !moved {
                // An acknowledgement wakes nobody.
                self.wait(false, Duration::from_millis(1))?;
            }
        }
        self.flows.iter_mut().for_each(|flow| flow.end(PATIENCE));
        Ok(())
    }

    /// Lets each flow send one piece and receive; tells whether anything moved.
    fn pass(&mut self, sending: bool) -> bool {
        let mut moved = false;
        for flow in &mut self.flows {
            moved |= sending && flow.send(&self.piece);
            moved |= flow.receive(&mut self.buffer);
        }
        moved
    }

    fn wait(&self, sending: bool, time: Duration) -> Result<()> {
        let mut awaited: Vec<_> = self.flows.iter().flat_map(|flow| flow.awaits(sending)).collect();
        wait(&mut awaited, time).context("waiting for the sockets")
    }

    /// Bytes of all flows that have arrived in this window.
    fn total(&self) -> usize {
        usize::try_from(self.received().iter().sum::<u64>()).unwrap_or(usize::MAX)
    }

    fn received(&self) -> Vec<u64> {
        self.flows.iter().map(Flow::received).collect()
    }
}

/// Size of the buffers of each of so many flows.
fn buffer_of(flows: usize) -> usize {
    BUFFER.min(ON_THE_WAY / flows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transferred(bytes: &[u64], costs: &[f64]) -> Transferred {
        let time = Duration::from_millis(1);
        Transferred {
            bytes: bytes.to_vec(),
            time,
            costs: costs.to_vec(),
            waited: Duration::ZERO,
            retransmitted: 0,
            broken: Vec::new(),
        }
    }

    #[test]
    fn a_stretch_in_which_others_had_the_cpu_does_not_change_the_cost() {
        assert_eq!(transferred(&[1], &[0.5, 0.25, 90.0, 0.5, f64::INFINITY]).cost(), 0.5);
        assert_eq!(transferred(&[1], &[f64::INFINITY; 3]).cost(), f64::INFINITY);
        assert_eq!(transferred(&[0], &[]).cost(), f64::INFINITY);
    }

    #[test]
    fn a_flow_that_broke_or_got_nothing_is_an_error_that_names_it() {
        assert_eq!(transferred(&[3, 4], &[]).total(), 7);
        assert!(transferred(&[3, 4], &[]).expect_whole().is_ok());
        let error = transferred(&[3, 0], &[]).expect_whole().unwrap_err().to_string();
        assert_eq!(error, "flow 1 got nothing in 1ms");
        let broken = vec![(1, "reset".to_owned())];
        let error = Transferred { broken, ..transferred(&[3, 4], &[]) }.expect_whole().unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 flows broke, at first number 1: reset");
    }

    #[test]
    fn all_flows_together_have_no_more_on_the_way_than_a_queue_takes() {
        for flows in 1..=64 {
            // Doubled by the kernel, in packets of an Ethernet's size.
            assert!(2 * flows * buffer_of(flows) / 1448 < 1000, "{flows}");
        }
    }
}
