//! Things that happen to an agent, under traffic.

use std::{ffi::OsStr, thread, time::Duration};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tests::{
    Failure,
    agent::{self, Agents, Settings},
    lab::{Lab, Topology},
    monitor::RouteMonitor,
    state::{Encapsulation, State},
    story,
};

use crate::{table, traffic::Traffic};

const MODE: Encapsulation = Encapsulation::CrossSubnet;

/// Runs what happens to a1's agent under traffic, and checks that nothing was lost and no route changed.
fn under_traffic(
    what: &str,
    lab: &Lab,
    agents: &mut Agents,
    happens: impl FnOnce(&mut Agents) -> Result<()>,
) -> Result<()> {
    let before = agents.get("a1")?.counters()?;
    let mut monitor = RouteMonitor::start(lab.node("a1")?)?;
    let traffic = Traffic::start(lab)?;
    a_while();
    happens(agents)?;
    a_while();
    let report = traffic.stop()?;
    table::row(what, &report)?;
    report.expect_no_loss()?;
    let changes = monitor.changes()?;
    ensure!(changes.is_empty(), "{what}: routes have changed:\n{changes}");
    // Counters of another layout begin at zero.
    let after = agents.get("a1")?.counters()?;
    let dropped = after.since(&before).map_or_else(|_| after.dropped(), |since| since.dropped());
    ensure!(dropped == 0, "{what}:\n{after}");
    Ok(())
}

fn a_while() {
    thread::sleep(Duration::from_millis(300));
}

/// Moments that are the same in each run: milliseconds since the start before, up to 250.
fn moments(seed: u64) -> impl Iterator<Item = Duration> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::from_fn(move || Some(Duration::from_millis(random.u64(0..250))))
}

fn killed_again_and_again(agents: &mut Agents, signal: Signal, seed: u64) -> Result<()> {
    let agent = agents.get_mut("a1")?;
    agent.kill(signal)?;
    for moment in moments(seed).take(8) {
        agent.launch()?;
        thread::sleep(moment);
        // It may be at any step of its start.
        agent.kill(signal)?;
    }
    agent.restart()
}

fn story_of(topology: Topology, settings: &Settings, label: &str) -> Result<(), Failure> {
    story(topology, |lab, agents| {
        agents.start(lab, settings, &State::of(lab, MODE))?;
        let event = |what: &str| format!("{what} ({label})");
        under_traffic(&event("SIGKILL, restart"), lab, agents, |agents| {
            agents.get_mut("a1")?.kill(Signal::SIGKILL)?;
            a_while();
            agents.get_mut("a1")?.restart()
        })?;
        under_traffic(&event("SIGTERM, restart"), lab, agents, |agents| {
            agents.get_mut("a1")?.kill(Signal::SIGTERM)?;
            a_while();
            agents.get_mut("a1")?.restart()
        })?;
        under_traffic(&event("SIGKILL 9 times at random moments"), lab, agents, |agents| {
            killed_again_and_again(agents, Signal::SIGKILL, 1)
        })?;
        under_traffic(&event("SIGTERM 9 times at random moments"), lab, agents, |agents| {
            killed_again_and_again(agents, Signal::SIGTERM, 2)
        })?;
        under_traffic(&event("upgrade to another layout"), lab, agents, |agents| {
            replaced(agents, Some("4077"))
        })?;
        under_traffic(&event("downgrade to the layout before"), lab, agents, |agents| replaced(agents, None))
    })
}

/// Replaces a1's agent by a build with this layout version, or by the usual one.
fn replaced(agents: &mut Agents, layout: Option<&str>) -> Result<()> {
    let agent = agents.get_mut("a1")?;
    agent.kill(Signal::SIGTERM)?;
    match layout {
        Some(layout) => {
            let variables = [("PODROUTE_TEST_LAYOUT", OsStr::new(layout))];
            agent.launch_as(&agent::fault_binary()?, &variables)?;
        }
        None => agent.launch()?,
    }
    agent.wait_until_ready()?;
    let version = agent.status()?["layout-version"].to_string();
    let expected = layout.map_or(node_ebpf_common::LAYOUT_VERSION.to_string(), ToOwned::to_owned);
    ensure!(version == expected, "the agent has layout {version}, not {expected}");
    Ok(())
}

#[test]
fn with_tcx_in_both_families_nothing_is_lost() -> Result<(), Failure> {
    story_of(Topology::dual_stack(), &Settings::default(), "tcx, IPv4 and IPv6")
}

#[test]
fn with_clsact_nothing_is_lost() -> Result<(), Failure> {
    let settings = Settings { attach: Some("clsact"), ..Settings::default() };
    story_of(Topology::two_subnets(), &settings, "clsact")
}

#[test]
fn with_xdp_nothing_is_lost() -> Result<(), Failure> {
    let settings = Settings { xdp: Some("decap"), ..Settings::default() };
    story_of(Topology::two_subnets(), &settings, "tcx and XDP")
}
