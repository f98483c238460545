//! `cargo xtask test`: every test there is, those that need root and BPF included.

mod tally;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs, io};

use anyhow::{Context as _, bail};

use crate::process::{self, Privilege};
use crate::{setup, toolchain, workspace};
use tally::Tally;

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run only tests whose name contains this
    pub filter: Option<String>,
}

/// How many tests run at once: the network tests are sensitive to load.
const THREADS: &str = "2";
/// Tells the tests where node-agent is: the release build, which is what users run.
pub const AGENT_VARIABLE: &str = "PODROUTE_AGENT";
/// Tells the tests where the build of node-agent is that they can make crash.
const FAULT_AGENT_VARIABLE: &str = "PODROUTE_FAULT_AGENT";
/// Tells the tests where the BPF object is that this agent embeds.
pub const OBJECT_VARIABLE: &str = "PODROUTE_EBPF_OBJECT";

/// Sets up what is missing, then builds and runs all tests. The last line is `N passed, N failed`.
///
/// # Errors
/// The tests cannot run on this machine, or something failed.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let privilege = can_run()?;
    setup::ensure()?;
    let limits = setup::limits();
    if !limits.is_empty() {
        bail!("the tests cannot run on this machine:\n  {}", limits.join("\n  "));
    }

    let start = Instant::now();
    let mut tally = Tally::default();
    tally += tests(cargo(&["test", "--locked", "--no-fail-fast"]), arguments)?;

    let toolchain = toolchain::find()?;
    let object = toolchain.build(workspace::root(), true)?;
    process::run(&mut cargo(&["build", "--locked", "--release", "--package", "node-agent"]))?;
    let agent = workspace::target().join("release/node-agent");
    let fault_agent = fault_agent()?;

    let mut as_root =
        cargo(&["test", "--locked", "--no-fail-fast", "--package", "tests", "--features", "bench"]);
    as_root.env(AGENT_VARIABLE, &agent).env(OBJECT_VARIABLE, &object);
    as_root.env(FAULT_AGENT_VARIABLE, &fault_agent);
    if privilege == Privilege::Sudo {
        as_root.env(runner_variable(), "sudo --preserve-env");
    }
    tally += tests(as_root, arguments)?;

    println!("\ntest took {} s", start.elapsed().as_secs());
    conclude(&tally, arguments)
}

/// Builds the agent that tests can make crash at any step, and puts it where no other build replaces it. Unoptimised: its
/// dependencies have been built for the tests before.
fn fault_agent() -> anyhow::Result<PathBuf> {
    let features = ["--package", "node-agent", "--features", "fault-injection"];
    process::run(cargo(&["build", "--locked"]).args(features))?;
    let (built, folder) =
        (workspace::target().join("debug/node-agent"), workspace::target().join("fault-injection"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let kept = folder.join("node-agent");
    fs::copy(&built, &kept)
        .with_context(|| format!("cannot copy {} to {}", built.display(), kept.display()))?;
    Ok(kept)
}

/// How the tests get to be root; for sudo, with the password asked for now and not in the middle.
fn can_run() -> anyhow::Result<Privilege> {
    let privilege = Privilege::detect();
    match privilege {
        Privilege::Root => {}
        Privilege::Sudo => process::run(Command::new("sudo").arg("--validate")).context(
            "the tests need root: test hosts are network namespaces with BPF programs of their own",
        )?,
        Privilege::None => bail!(
            "the tests need root (test hosts are network namespaces with BPF programs of their own), and there is no \
             sudo here: run this as root"
        ),
    }
    Ok(privilege)
}

/// Says how it went, the sum alone on the last line.
fn conclude(tally: &Tally, arguments: &Arguments) -> anyhow::Result<()> {
    if tally.ignored > 0 {
        println!("{} tests are ignored and count as neither", tally.ignored);
    }
    println!("\n{tally}");
    io::stdout().flush()?;
    if tally.failed > 0 {
        std::process::exit(1);
    }
    if tally.passed == 0 {
        let filter = arguments.filter.as_deref().unwrap_or_default();
        bail!("no test ran: none has {filter:?} in its name");
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = process::cargo();
    command.current_dir(workspace::root()).args(arguments);
    command
}

/// The variable that makes cargo run test programs by another program.
fn runner_variable() -> String {
    format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", env::consts::ARCH.to_uppercase())
}

/// Runs tests, shows their output as it comes, and counts their results. A run that fails without a failed test (it was
/// not built, it was killed) counts as a failure too.
fn tests(mut command: Command, arguments: &Arguments) -> anyhow::Result<Tally> {
    command.args(["--", "--test-threads", THREADS]).args(&arguments.filter);
    let line = process::shown(&command);
    println!("\n+ {line}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{line}`"))?;
    let mut tally = Tally::default();
    for output in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).split(b'\n')) {
        let output = output.with_context(|| format!("cannot read the output of `{line}`"))?;
        let output = String::from_utf8_lossy(&output);
        println!("{output}");
        tally.count(&output);
    }
    let status = child.wait()?;
    if !status.success() && tally.failed == 0 {
        println!("`{line}` ended without a failed test, but with {status}: this counts as a failure");
        tally.failed = 1;
    }
    Ok(tally)
}
