//! One measurement: packets are sent for a while, and what arrived of them is counted.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{bpf::Counter, cpu::Cpu};
use crate::bench::Options;

/// How long a measurement takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Until caches and branch predictors know this way.
    pub settle: Duration,
    /// What is counted.
    pub count: Duration,
}

impl Times {
    /// Of a full or of a smoke run.
    #[must_use]
    pub fn of(options: Options) -> Self {
        let [settle, count] = if options.quick { [5, 20] } else { [60, 240] };
        Self { settle: Duration::from_millis(settle), count: Duration::from_millis(count) }
    }
}

/// What was seen in the counted time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that arrived at the sink.
    pub arrived: u64,
    /// How long the CPU has worked for them.
    pub worked: Duration,
}

/// The least share of what was sent that has to arrive.
const LEAST: f64 = 0.99;

impl Window {
    /// Nanoseconds of the CPU for each packet.
    ///
    /// # Errors
    /// More than a hundredth of the packets did not arrive: then something else was measured than forwarding.
    pub fn nanoseconds(&self) -> Result<f64> {
        let (sent, arrived) = (as_f64(self.sent), as_f64(self.arrived));
        ensure!(
            self.arrived > 0 && arrived >= sent * LEAST,
            "{} of {} packets have arrived at the sink",
            self.arrived,
            self.sent
        );
        Ok(self.worked.as_secs_f64() * 1e9 / arrived)
    }
}

/// A count of packets as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "packets of a quarter of a second")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Sends until the settling time is over, and then for the time that counts. The closure sends until a point in time
/// and returns how many packets that were.
///
/// # Errors
/// Sending fails, or a figure cannot be read.
pub fn measure(
    cpu: &Cpu,
    times: Times,
    counter: &Counter,
    mut send_until: impl FnMut(Instant) -> Result<u64>,
) -> Result<Window> {
    send_until(Instant::now() + times.settle)?;
    let (before, start) = (counter.read()?, cpu.now()?);
    let sent = send_until(Instant::now() + times.count)?;
    let (end, after) = (cpu.now()?, counter.read()?);
    Ok(Window { sent, arrived: after - before, worked: end.since(&start) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_do_not_arrive_are_no_throughput() {
        let window = |arrived| Window { sent: 1000, arrived, worked: Duration::from_micros(1500) };
        assert!((window(1000).nanoseconds().unwrap() - 1500.0).abs() < 1e-6);
        assert!(window(990).nanoseconds().is_ok());
        assert!(window(989).nanoseconds().unwrap_err().to_string().contains("989 of 1000"));
        assert!(Window { sent: 0, ..window(0) }.nanoseconds().is_err());
    }
}
