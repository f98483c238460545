//! Work on one CPU.

use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// Runs the closure on a thread of its own that stays on this CPU, and so do the threads that it starts.
///
/// # Errors
/// If this process may not run on that CPU, or there is none of this number.
pub fn on_cpu<T: Send>(cpu: usize, body: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            pin(cpu).with_context(|| {
                format!("CPU {cpu} cannot be used: choose one that `taskset -cp $$` lists")
            })?;
            Ok(body())
        });
        pinned.join().map_err(|_| anyhow!("a thread on CPU {cpu} panicked"))?
    })
}

/// The last of the CPUs that this process may use: interrupts prefer the first.
///
/// # Errors
/// If the kernel does not tell.
pub fn last_cpu() -> Result<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("asking for this process's CPUs")?;
    let last = (0..CpuSet::count()).rfind(|cpu| allowed.is_set(*cpu).is_ok_and(|is_set| is_set));
    last.context("this process may use no CPU")
}

fn pin(cpu: usize) -> nix::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    // Of the calling thread only.
    sched_setaffinity(Pid::from_raw(0), &cpus)
}

#[cfg(test)]
mod tests {
    use nix::sched::sched_getcpu;

    use super::*;

    #[test]
    fn only_the_given_thread_stays_on_the_cpu() {
        let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let allowed: Vec<_> = (0..CpuSet::count()).filter(|cpu| before.is_set(*cpu).unwrap()).collect();
        assert_eq!(allowed.last(), Some(&last_cpu().unwrap()));
        for cpu in allowed {
            assert_eq!(on_cpu(cpu, sched_getcpu).unwrap(), Ok(cpu));
            let by_child = on_cpu(cpu, || thread::spawn(sched_getcpu).join().unwrap());
            assert_eq!(by_child.unwrap(), Ok(cpu));
        }
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before);
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_an_error_that_names_it() {
        for cpu in [CpuSet::count() - 1, CpuSet::count()] {
            let error = format!("{:#}", on_cpu(cpu, || ()).unwrap_err());
            assert!(error.contains(&format!("CPU {cpu} cannot be used")), "{error}");
        }
    }
}
