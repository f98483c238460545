//! One CPU for everything, and how much of it the path gets: what else runs there is left out.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::bench::sockets;

/// The CPU that everything is pinned to.
#[derive(Debug, Clone)]
pub struct Cpu {
    number: usize,
    /// Times of the thread that does what interrupts leave over, `ksoftirqd/N`.
    softirqs: PathBuf,
}

/// A point in time, as a thread on the CPU sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    at: Instant,
    /// How long this thread has waited for the CPU, ever.
    waited: Duration,
    /// For how long `ksoftirqd` has had the CPU, ever.
    softirqs: Duration,
}

impl Cpu {
    /// The last one that this process may use.
    ///
    /// # Errors
    /// The kernel does not tell, or new interfaces would have packets processed elsewhere.
    pub fn choose() -> Result<Self> {
        let number = sockets::last_cpu()?;
        let steering = fs::read_to_string(STEERING).unwrap_or_default();
        ensure!(
            is_off(&steering),
            "{STEERING} has the CPUs {}: packets would be processed there. Write 0 into it as long as this runs",
            steering.trim()
        );
        Ok(Self { number, softirqs: softirq_thread(number)?.join("schedstat") })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Runs the body on this CPU. Threads that it starts are bound to it too, and what they send is processed there:
    /// a veth pair hands packets over on the CPU of the sender.
    ///
    /// # Errors
    /// The thread cannot be bound, or the body fails.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        sockets::on_cpu(self.number, body)?
    }

    /// Now.
    ///
    /// # Errors
    /// The kernel does not tell how long threads have waited.
    pub fn now(&self) -> Result<Moment> {
        let own = times(&read("/proc/thread-self/schedstat".into())?)?;
        let softirqs = times(&read(self.softirqs.clone())?)?;
        Ok(Moment { at: Instant::now(), waited: own.waited, softirqs: softirqs.ran })
    }
}

impl Moment {
    /// How long the CPU has worked for this thread and for packets since an earlier moment: all of the time, without
    /// that in which this thread waited for others than `ksoftirqd`. Packets are processed in the name of whoever is
    /// interrupted, and kernels differ in whose time they count that for: therefore not the thread's own CPU time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Duration {
        let waited = self.waited.saturating_sub(earlier.waited);
        let for_packets = self.softirqs.saturating_sub(earlier.softirqs);
        let for_others = waited.saturating_sub(for_packets);
        self.at.saturating_duration_since(earlier.at).saturating_sub(for_others)
    }
}

/// CPUs to which new interfaces pass on what comes in (receive packet steering); not on all kernels.
const STEERING: &str = "/proc/sys/net/core/rps_default_mask";

/// Whether there is no CPU in a mask as the kernel writes it, in hexadecimal groups.
fn is_off(mask: &str) -> bool {
    mask.trim().chars().all(|digit| matches!(digit, '0' | ','))
}

/// The folder in /proc of this CPU's `ksoftirqd`.
fn softirq_thread(cpu: usize) -> Result<PathBuf> {
    let name = format!("ksoftirqd/{cpu}");
    for entry in fs::read_dir("/proc").context("listing /proc")? {
        let path = entry?.path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            return Ok(path);
        }
    }
    Err(anyhow!(
        "there is no {name} in /proc: run this on the host itself, not in a container with its own processes"
    ))
}

struct Times {
    ran: Duration,
    waited: Duration,
}

/// `<nanoseconds on a CPU> <nanoseconds waiting for one> <time slices>`
fn times(schedstat: &str) -> Result<Times> {
    let mut numbers = schedstat.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(ran)), Some(Ok(waited))) => {
            Ok(Times { ran: Duration::from_nanos(ran), waited: Duration::from_nanos(waited) })
        }
        _ => Err(anyhow!("{schedstat:?} is no schedstat")),
    }
}

fn read(path: PathBuf) -> Result<String> {
    fs::read_to_string(&path).with_context(|| {
        format!("reading {} (needs CONFIG_SCHED_INFO, as all distributions have it)", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_had_of_the_cpu_is_left_out() {
        let start = Moment { at: Instant::now(), waited: Duration::ZERO, softirqs: Duration::ZERO };
        for (waited, softirqs, worked) in [(0, 0, 100), (30, 0, 70), (30, 20, 90), (30, 30, 100), (0, 5, 100)]
        {
            let [waited, softirqs, worked] = [waited, softirqs, worked].map(Duration::from_millis);
            let end = Moment { at: start.at + Duration::from_millis(100), waited, softirqs };
            assert_eq!(end.since(&start), worked);
        }
    }

    #[test]
    fn a_mask_without_cpus_is_off() {
        assert!(is_off("") && is_off("0\n") && is_off("00000000,00000000\n"));
        assert!(!is_off("00000000,00000002\n"));
    }

    #[test]
    fn the_schedulers_figures_are_read() {
        let read = times("1489315069 10045083243 19814\n").unwrap();
        assert_eq!((read.ran.as_nanos(), read.waited.as_nanos()), (1_489_315_069, 10_045_083_243));
        assert!(times("").is_err() && times("1 x 2").is_err());
    }
}
