//! The file system that the datapath is pinned in: read-only, or gone.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use tests::{
    Failure,
    agent::{self, Settings},
    command,
    lab::{Endpoint as _, Node, Topology},
    probe::Ping,
    state::State,
    story,
};

use crate::{MODE, nothing_waits, waits_with, with_pod};

/// The node's bpffs, read-only as long as this lives.
struct ReadOnly<'n>(&'n Node);

impl<'n> ReadOnly<'n> {
    fn mount(node: &'n Node) -> Result<Self> {
        remount(node, "ro")?;
        Ok(Self(node))
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        if let Err(error) = remount(self.0, "rw") {
            eprintln!("{error:#}");
        }
    }
}

fn remount(node: &Node, mode: &str) -> Result<()> {
    let options = format!("remount,{mode}");
    command::output(Command::new("mount").args(["-o", &options]).arg(node.bpffs())).map(drop)
}

#[test]
fn a_bpffs_that_becomes_read_only_is_named_and_what_waits_comes_when_it_is_writable() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &Settings::default(), &state)?;
        let address = lab.node("a1")?.pod_address(12);
        let pod = lab.add_pod("a1", address)?;
        let (node, a1) = (lab.node("a1")?, agents.get("a1")?);
        let read_only = ReadOnly::mount(node)?;
        a1.apply(&with_pod(&state, &pod))?;
        waits_with(a1, &["from-pod", "Read-only file system"])?;
        Ping::to(lab.pod("b1-0")?.address())?.expect_reply(lab.pod("a1-0")?)?;
        drop(read_only);
        nothing_waits(a1)?;
        Ping::to(address)?.expect_reply(lab.pod("b1-0")?).map(drop)
    })
}

#[test]
fn an_agent_that_finds_a_read_only_bpffs_at_its_start_says_so_and_what_to_do() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(nix::sys::signal::Signal::SIGTERM)?;
        a1.cleanup(false)?;
        let node = lab.node("a1")?;
        let read_only = ReadOnly::mount(node)?;
        a1.launch()?;
        let status = a1.wait_for_end(Duration::from_secs(10))?;
        ensure!(!status.success(), "it ended with {status}");
        let log = agent::log_tail(node, 3);
        ensure!(log.contains("podroute") && log.contains("mounted read-only"), "{log}");
        drop(read_only);
        a1.restart()
    })
}
