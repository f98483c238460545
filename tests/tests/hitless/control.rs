//! The control experiment: the same traffic sees it when forwarding really ends, and by how much.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tests::{
    Failure,
    agent::Settings,
    lab::{Endpoint as _, Lab, Topology},
    state::{Encapsulation, State},
    story,
};

use crate::{
    table,
    traffic::{Report, Traffic},
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;

/// Forwarding ends when everything is removed, and comes back with the next agent. What was known of Services' connections
/// does not.
#[test]
fn control_a_cleanup_and_a_new_start_lose_packets() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let report = during(lab, || {
            let agent = agents.get_mut("a1")?;
            agent.kill(Signal::SIGKILL)?;
            agent.cleanup(false)?;
            agent.restart()
        })?;
        table::row("control: cleanup, then a new start", &report)?;
        let error = report.expect_no_loss().err().context("no packet was lost")?;
        ensure!(report.sent_and_lost().1 >= 20, "hardly any packet was lost: {error}");
        ensure!(!report.broken.is_empty(), "no silent connection through a Service broke: {error}");
        Ok(())
    })
}

/// How long the switch forwards nothing to a2 and from it.
const HOLE: Duration = Duration::from_millis(50);

/// A hole costs about as many packets as are sent meanwhile, and only those that have to pass there.
#[test]
fn control_a_hole_of_50_ms_costs_what_is_sent_meanwhile() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let port = |state: &str| lab.switch().output("bridge", &["link", "set", "dev", "a2", "state", state]);
        let report = during(lab, || {
            // Disabled, then forwarding.
            port("0")?;
            thread::sleep(HOLE);
            port("3").map(drop)
        })?;
        table::row("control: the switch leaves a2 out for 50 ms", &report)?;
        ensure!(report.broken.is_empty(), "{:?}", report.broken);
        for udp in &report.udp {
            // The commands take their time, too.
            let expected = if udp.what.contains("a2") { 25..3_000 } else { 0..1 };
            ensure!(expected.contains(&udp.lost()), "{udp}");
        }
        Ok(())
    })
}

/// A milder loss: without a program the kernel's own routes do the same work (invariant 5), so nothing is to be seen.
#[test]
fn invariant_5_the_kernel_takes_over_where_a_program_is_gone() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let node = lab.node("a1")?;
        let pod = node.netns().interface_index(lab.pod("a1-0")?.interface())?;
        let pin = node.bpffs().join(format!("podroute/links/from-pod-{pod}"));
        let report = during(lab, || {
            agents.get_mut("a1")?.kill(Signal::SIGKILL)?;
            // The pin holds the link, and the link the program.
            std::fs::remove_file(&pin).with_context(|| format!("removing {}", pin.display()))?;
            thread::sleep(Duration::from_millis(300));
            agents.get_mut("a1")?.restart()
        })?;
        table::row("one program is removed, and put back by the next agent", &report)?;
        ensure!(pin.exists(), "the program is not back");
        report.expect_no_loss()
    })
}

fn during(lab: &Lab, happens: impl FnOnce() -> Result<()>) -> Result<Report> {
    let traffic = Traffic::start(lab)?;
    thread::sleep(Duration::from_millis(300));
    happens()?;
    thread::sleep(Duration::from_millis(300));
    traffic.stop()
}
