//! A task of the agent that ends does not leave an agent that goes on half alive.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::{
    Failure,
    agent::{self, Settings},
    lab::{Endpoint as _, Lab, Topology},
    probe::{Ping, UdpFlow},
    state::{Encapsulation, State},
    story, wait,
};

/// Every task that the agent has for as long as it runs, with no metrics served.
const TASKS: [&str; 7] =
    ["source-file", "config-watch", "api", "host-watch", "table-watch", "path-mtu-watch", "neighbours-watch"];
/// How long the end of the agent may take.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// What the agent of a1 has logged since a number of lines, each a document.
fn logged_since(lab: &Lab, lines: usize) -> Result<Vec<Value>> {
    let log = fs::read_to_string(lab.node("a1")?.log()).context("reading the log")?;
    let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
    log.lines().skip(lines).map(parse).collect()
}

/// The panic is in the log as what it is, and the last words say what the agent ended for.
fn expect_reason(log: &[Value], task: &str) -> Result<()> {
    let panics: Vec<_> = log.iter().filter(|row| row["message"] == "panicked: a test wants it").collect();
    let [panic] = panics[..] else { anyhow::bail!("{} panics are logged: {log:#?}", panics.len()) };
    let location = panic["location"].as_str().unwrap_or_default();
    let right = panic["level"] == "ERROR" && panic["task"] == task && panic["thread"].is_string();
    ensure!(right && location.contains("src/fault.rs:"), "{panic}");
    let last = log.last().and_then(|row| row["message"].as_str()).unwrap_or_default();
    let reason = format!("the task {task} has ended: it panicked: a test wants it; the agent ends, too");
    ensure!(last.starts_with(&reason), "{last}");
    Ok(())
}

/// Starts the agent so that this task of it panics once there is the file, and lets it.
fn end_by(lab: &Lab, agents: &mut agent::Agents, task: &str, from: &Path) -> Result<()> {
    let before = logged_since(lab, 0)?.len();
    let a1 = agents.get_mut("a1")?;
    let variables = [("PODROUTE_PANIC_IN", OsStr::new(task)), ("PODROUTE_PANIC_FROM", from.as_os_str())];
    a1.launch_as(&agent::fault_binary()?, &variables)?;
    a1.wait_until_ready()?;
    fs::write(from, "").with_context(|| format!("writing {}", from.display()))?;
    let status = a1.wait_for_end(ENDS_WITHIN)?;
    fs::remove_file(from).with_context(|| format!("removing {}", from.display()))?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    expect_reason(&logged_since(lab, before)?, task)
}

#[test]
fn an_agent_ends_with_an_error_when_any_task_of_it_does_and_no_packet_is_lost() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let settings = Settings { log_format: Some("json"), masquerade: Some("on"), ..Settings::default() };
        agents.start(lab, &settings, &State::of(lab, Encapsulation::CrossSubnet))?;
        let to = lab.pod("b1-0")?;
        let flow = UdpFlow::start(lab.pod("a1-0")?, to, to.address())?;
        let from = lab.node("a1")?.folder().join("panic");
        agents.get_mut("a1")?.kill(Signal::SIGTERM)?;
        for task in TASKS {
            end_by(lab, agents, task, &from).with_context(|| format!("the task {task}"))?;
        }
        agents.get_mut("a1")?.restart()?;
        flow.stop()?.expect_no_loss()
    })
}

/// Without the right to open raw sockets nobody hears routers: that is told, tried again, and no reason to end.
#[test]
fn a_watch_that_cannot_be_started_is_a_problem_and_the_agent_goes_on() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let script = lab.node("a1")?.folder().join("without-raw-sockets");
        let agent = agent::binary()?;
        let text = format!("#!/bin/sh\nexec setpriv --bounding-set -net_raw {} \"$@\"\n", agent.display());
        fs::write(&script, text).context("writing the script")?;
        fs::set_permissions(&script, Permissions::from_mode(0o700)).context("making it executable")?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(Signal::SIGTERM)?;
        a1.launch_as(&script, &[])?;
        a1.wait_until_ready()?;
        let says = |problem: &String| problem.starts_with("every link between the nodes must take");
        wait::until("the problem to show", ENDS_WITHIN, || Ok(a1.problems()?.iter().any(says)))?;
        Ping::to(lab.pod("b1-0")?.address())?.expect_reply(lab.pod("a1-0")?)?;
        a1.kill(Signal::SIGTERM)?;
        a1.restart()?;
        ensure!(!a1.problems()?.iter().any(says), "it is still there");
        Ok(())
    })
}
