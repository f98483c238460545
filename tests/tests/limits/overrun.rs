//! More changes at once than the kernel keeps for the agent.

use std::{fmt::Write as _, fs};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::{
    Failure,
    agent::Settings,
    lab::{Endpoint as _, Node, Topology},
    state::State,
    story, wait,
};

use crate::{MODE, SOON, nothing_waits};

/// How many notifications the kernel has dropped because a socket of the node that listens to routes was full.
fn dropped(node: &Node) -> Result<u64> {
    let table = node.netns().run(|| fs::read_to_string("/proc/thread-self/net/netlink"))??;
    let mut sum = 0;
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, protocol, _, groups, .., drops, _] = fields[..] else { continue };
        if protocol == "0" && groups != "00000000" {
            sum += drops.parse::<u64>().with_context(|| line.to_owned())?;
        }
    }
    Ok(sum)
}

/// Many routes of somebody else that come and go.
fn churn(node: &Node) -> Result<()> {
    let mut lines = String::new();
    for index in 0..2_000 {
        let prefix = format!("172.20.{}.{}/32", index / 250, index % 250);
        writeln!(lines, "route add {prefix} dev lo\nroute del {prefix} dev lo")?;
    }
    node.netns().ip_batch(&lines)
}

/// Nothing is read at an interval here: only what the kernel tells leads to a look.
#[test]
fn changes_that_the_kernel_could_not_tell_of_are_found_and_the_watch_goes_on() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let settings = Settings { audit_interval: Some("1h"), ..Settings::default() };
        agents.start(lab, &settings, &State::of(lab, MODE))?;
        let (node, a1) = (lab.node("a1")?, agents.get("a1")?);
        nothing_waits(a1)?;
        let prefix = lab.node("a2")?.pod_prefixes()[0];
        let show = || node.netns().ip(&format!("route show {prefix} proto 77"));
        let before = show()?;
        ensure!(!before.is_empty(), "there is no route to {prefix}");
        let pid = Pid::from_raw(i32::try_from(a1.status()?["pid"].as_u64().context("no pid")?)?);
        kill(pid, Signal::SIGSTOP)?;
        let churned = churn(node);
        // The last of all, when there is no room to tell of it.
        let deleted = node.netns().ip(&format!("route del {prefix} proto 77"));
        let lost = dropped(node);
        kill(pid, Signal::SIGCONT)?;
        churned?;
        deleted?;
        let lost = lost?;
        ensure!(lost > 0, "the kernel has kept everything");
        println!("{lost} notifications were lost");
        wait::until("the deleted route to be back", SOON, || Ok(show()? == before))?;
        for _ in 0..2 {
            node.netns().ip(&format!("route del {prefix} proto 77"))?;
            wait::until("a route deleted afterwards to be back", SOON, || Ok(show()? == before))?;
        }
        nothing_waits(a1)
    })
}
