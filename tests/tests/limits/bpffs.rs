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
    story, wait,
};

use crate::{MODE, SOON, nothing_waits, waits_with, with_pod};

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

/// Mounts the node's bpffs again, if nobody has, when this is dropped.
struct Unmounted<'n>(&'n Node);

impl<'n> Unmounted<'n> {
    fn unmount(node: &'n Node) -> Result<Self> {
        command::output(Command::new("umount").arg(node.bpffs()))?;
        Ok(Self(node))
    }
}

impl Drop for Unmounted<'_> {
    fn drop(&mut self) {
        let mounted = command::output(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(self.0.bpffs()));
        if let Err(error) = mounted {
            eprintln!("{error:#}");
        }
    }
}

/// With the file system all links are gone, and so are the programs: the kernel's own routes are what is left.
#[test]
fn a_bpffs_that_is_unmounted_is_named_the_kernel_routes_and_all_is_back_when_it_is_mounted()
-> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let mut state = State::of(lab, MODE);
        agents.start(lab, &Settings::default(), &state)?;
        let node = lab.node("a1")?;
        let a1 = agents.get("a1")?;
        let pid = a1.status()?["pid"].clone();
        let unmounted = Unmounted::unmount(node)?;
        waits_with(a1, &["read back the datapath", "is not on a bpffs", "mount -t bpf bpf"])?;
        Ping::to(lab.pod("a2-0")?.address())?.expect_reply(lab.pod("a1-0")?)?;
        // What changes meanwhile is in the kernel's own table.
        state.node_mut("a2")?.pod_prefixes.push("198.18.0.0/24".parse()?);
        a1.apply(&state)?;
        wait::until("the kernel's route", SOON, || {
            Ok(node.netns().ip("route show proto 77")?.contains("198.18.0.0/24 via"))
        })?;
        drop(unmounted);
        nothing_waits(a1)?;
        ensure!(a1.status()?["pid"] == pid, "it is another process");
        ensure!(a1.json(&["lookup", "198.18.0.7"])?["kind"] == "direct");
        for (from, to) in [("a1-0", "a1-1"), ("a1-0", "a2-0"), ("a1-0", "b1-0"), ("b1-0", "a1-1")] {
            Ping::to(lab.pod(to)?.address())?.expect_reply(lab.pod(from)?)?;
        }
        // The next agent finds the maps of this one.
        let before = counted(a1)?;
        ensure!(before > 0, "the programs have counted nothing");
        let a1 = agents.get_mut("a1")?;
        a1.kill(nix::sys::signal::Signal::SIGKILL)?;
        a1.restart()?;
        let after = counted(a1)?;
        ensure!(after >= before, "{before} packets had been counted, now {after}: the maps are others");
        Ok(())
    })
}

/// Packets that went on by the tunnel, from pods.
fn counted(agent: &agent::Agent) -> Result<u64> {
    Ok(agent.counters()?.packets(node_ebpf_common::Hook::FromPod, node_ebpf_common::Outcome::Ipip))
}

#[test]
fn an_agent_that_finds_no_bpffs_at_its_start_says_how_to_mount_one() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(nix::sys::signal::Signal::SIGTERM)?;
        let node = lab.node("a1")?;
        let unmounted = Unmounted::unmount(node)?;
        a1.launch()?;
        let status = a1.wait_for_end(Duration::from_secs(10))?;
        ensure!(!status.success(), "it ended with {status}");
        let log = agent::log_tail(node, 3);
        ensure!(log.contains("is not on a bpffs") && log.contains("mount -t bpf bpf"), "{log}");
        // The kernel's own routes are as they were.
        Ping::to(lab.pod("a2-0")?.address())?.expect_reply(lab.pod("a1-0")?)?;
        drop(unmounted);
        a1.restart()?;
        Ping::to(lab.pod("b1-0")?.address())?.expect_reply(lab.pod("a1-0")?).map(drop)
    })
}
