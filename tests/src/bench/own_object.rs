//! The harness's own BPF programs, and the time that a test run takes.

use std::{env, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader, TestRun, TestRunOptions,
    programs::{ProgramError, SchedClassifier, TestRunResult, Xdp},
};
use nix::time::{ClockId, clock_gettime};

/// Names the object, as `cargo xtask bench` has built it.
const VARIABLE: &str = "PODROUTE_BENCH_OBJECT";

/// Loads the object, with room for so many entries in each of these maps, but none of its programs.
///
/// # Errors
/// It cannot be read, or the kernel does not take its maps.
pub fn load(entries: &[(&str, u32)]) -> Result<Ebpf> {
    let path = env::var_os(VARIABLE).map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/release/node-ebpf-bench.o"),
        PathBuf::from,
    );
    let object = fs::read(&path).with_context(|| {
        format!("cannot read the harness's BPF object {}: `cargo xtask bench` builds it", path.display())
    })?;
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    for (map, number) in entries {
        loader.map_max_entries(map, *number);
    }
    loader.load(&object).context("the maps of the harness's BPF object")
}

/// One of its tc programs, loaded if it was not yet.
///
/// # Errors
/// There is none with this name, or the verifier refuses it.
pub fn classifier<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut SchedClassifier> {
    let program = ebpf.program_mut(name).with_context(|| format!("the BPF object has no program {name}"))?;
    let program: &mut SchedClassifier = program.try_into()?;
    if program.fd().is_err() {
        program.load().with_context(|| format!("the program {name} does not load"))?;
    }
    Ok(program)
}

/// One of its XDP programs, likewise.
///
/// # Errors
/// As above.
pub fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the BPF object has no program {name}"))?;
    let program: &mut Xdp = program.try_into()?;
    if program.fd().is_err() {
        program.load().with_context(|| format!("the program {name} does not load"))?;
    }
    Ok(program)
}

/// Runs a tc program as often as is said. Returns nanoseconds of processor time for each run, and the result.
///
/// The kernel's own figure is in whole nanoseconds. Time in which others had the processor does not count.
///
/// # Errors
/// The kernel does not run it.
pub fn time_classifier(
    program: &SchedClassifier,
    options: TestRunOptions<'_>,
) -> Result<(f64, TestRunResult)> {
    let (repeat, start) = (options.repeat, processor_time()?);
    let result = program.test_run(options).map_err(test_run_failed)?;
    let taken = processor_time()?.saturating_sub(start);
    Ok((taken.as_secs_f64() * 1e9 / f64::from(repeat), result))
}

/// The same for an XDP program, but by the kernel's own figure: around the runs it rewrites the code by which it calls
/// XDP programs, which takes as long as many runs.
///
/// # Errors
/// The kernel does not run it.
pub fn time_xdp(program: &Xdp, options: TestRunOptions<'_>) -> Result<(f64, TestRunResult)> {
    let result = program.test_run(options).map_err(test_run_failed)?;
    Ok((result.duration.as_secs_f64() * 1e9, result))
}

fn test_run_failed(error: ProgramError) -> anyhow::Error {
    anyhow::Error::new(error).context("the kernel does not run a program (BPF_PROG_TEST_RUN)")
}

/// Processor time of this thread.
///
/// # Errors
/// The kernel does not know it.
pub fn processor_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("the thread's processor time")?;
    Ok(Duration::from(time))
}
