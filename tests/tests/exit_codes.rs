//! Exit codes, as the README lists them; `tests/end` has those of signals.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::{
    Failure,
    agent::{self, Settings},
    lab::Topology,
    state::{Encapsulation, State},
    story,
};

fn ends_with(command: &mut Command, code: i32) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(code), "{command:?} ended with {}: {said}", output.status);
    Ok(())
}

#[test]
fn commands_end_with_the_codes_that_are_documented() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let a1 = agents.get_mut("a1")?;
        let asked = |arguments: &[&str], code| ends_with(&mut a1.command_line(arguments), code);
        asked(&["status"], 0)?;
        asked(&["explain", "10.244.3.10"], 0)?;
        asked(&["explain", "10.244.1.200"], 1)?;
        asked(&["explain", "default/no-such-pod"], 2)?;
        asked(&["status", "--no-such-option"], 2)?;
        a1.kill(Signal::SIGKILL)?;
        ends_with(&mut a1.command_line(&["status"]), 1)?;
        ends_with(&mut a1.command_line(&["explain", "10.244.3.10"]), 2)?;
        files()
    })
}

/// What is asked of files, without an agent.
fn files() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [config, state, missing] =
        ["agent.yaml", "cluster.yaml", "missing.yaml"].map(|name| folder.path().join(name));
    fs::write(&state, "nodes: []\n")?;
    fs::write(&config, "node: a1\nsource: {file: cluster.yaml}\nxdp: sometimes\n")?;
    let run = |arguments: &[&str], file: &std::path::Path, code| -> Result<()> {
        ends_with(Command::new(agent::binary()?).args(arguments).arg(file), code)
    };
    run(&["run", "--config"], &config, 1)?;
    run(&["validate", "--config"], &config, 1)?;
    run(&["validate", "--config"], &missing, 2)
}
