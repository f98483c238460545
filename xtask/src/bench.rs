//! `cargo xtask bench`: Podroute side by side with what one would run instead.

use std::process::Command;

use anyhow::bail;

use crate::process::{self, Privilege};
use crate::test::{AGENT_VARIABLE, OBJECT_VARIABLE};
use crate::{setup, toolchain, workspace};

/// Tells the harness where the BPF object with its own programs is.
const OWN_OBJECT_VARIABLE: &str = "PODROUTE_BENCH_OBJECT";

/// What `cargo xtask bench` takes: all of it is the harness's.
#[derive(clap::Args)]
pub struct Arguments {
    /// What the harness takes: names of suites, --quick, --json FILE, --plots FOLDER, --report FILE, --from FILE; --help
    /// explains them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    harness: Vec<String>,
}

/// Sets up what is missing, builds everything as users run it, and runs the harness.
///
/// # Errors
/// It cannot run here, or a measurement failed. A missed target is none: it is in the report.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let privilege = Privilege::detect();
    if privilege == Privilege::None {
        bail!(
            "the harness needs root (its hosts are network namespaces with BPF programs of their own), and there is no \
             sudo here: run this as root"
        );
    }
    setup::ensure()?;
    let toolchain = toolchain::find()?;
    let object = toolchain.build(workspace::root(), true)?;
    let own_object = toolchain.build_benchmark(workspace::root())?;
    let build = ["build", "--locked", "--release", "--package"];
    process::run(cargo(&build).arg("node-agent"))?;
    process::run(cargo(&build).args(["tests", "--features", "bench", "--bin", "bench"]))?;
    let release = workspace::target().join("release");
    let mut harness = privilege.command("env");
    harness.arg(format!("{AGENT_VARIABLE}={}", release.join("node-agent").display()));
    harness.arg(format!("{OBJECT_VARIABLE}={}", object.display()));
    harness.arg(format!("{OWN_OBJECT_VARIABLE}={}", own_object.display()));
    harness.arg(release.join("bench")).args(&arguments.harness);
    process::run(&mut harness)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = process::cargo();
    command.current_dir(workspace::root()).args(arguments);
    command
}
