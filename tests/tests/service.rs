//! The agent under a service manager: what it tells, and how it logs.

use std::{
    ffi::OsStr,
    fs,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::{
    Failure,
    agent::{self, Settings},
    lab::Topology,
    state::{Encapsulation, State},
    story,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// How long a word of the agent may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The next message that says this; what was said before it is dropped.
fn told(manager: &UnixDatagram, word: &str) -> Result<String> {
    let (deadline, mut heard) = (Instant::now() + PATIENCE, Vec::new());
    while Instant::now() < deadline {
        let mut buffer = [0; 4096];
        if let Ok(length) = manager.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|line| line.starts_with(word)) {
                return Ok(text);
            }
            heard.push(text);
        }
    }
    anyhow::bail!("{word} was not told within {PATIENCE:?}, but {heard:?}")
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_how_it_is_that_it_lives_and_that_it_stops()
-> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let node = lab.node("a1")?;
        let path = node.folder().join("notify.sock");
        let manager = UnixDatagram::bind(&path).context("binding the notification socket")?;
        manager.set_read_timeout(Some(Duration::from_millis(200)))?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(Signal::SIGTERM)?;
        let watchdog = OsStr::new("400000");
        let variables = [("NOTIFY_SOCKET", path.as_os_str()), ("WATCHDOG_USEC", watchdog)];
        a1.launch_as(&agent::binary()?, &variables)?;
        told(&manager, "READY=1")?;
        let status = told(&manager, "STATUS=")?;
        ensure!(status.contains(" routes, 0 changes pending"), "{status}");
        // Several, as a watchdog of 0.4 s wants one each 0.2 s.
        (0..5).try_for_each(|_| told(&manager, "WATCHDOG=1").map(drop))?;
        a1.signal(Signal::SIGHUP)?;
        let reloading = told(&manager, "RELOADING=1")?;
        ensure!(reloading.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading}");
        told(&manager, "READY=1")?;
        a1.kill(Signal::SIGTERM)?;
        told(&manager, "STOPPING=1")?;
        // Without a manager it works all the same.
        a1.restart()
    })
}

#[test]
fn an_agent_is_not_ready_before_its_source_has_told_everything() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &Settings::default(), &state)?;
        let node = lab.node("a1")?;
        let path = node.folder().join("notify.sock");
        let manager = UnixDatagram::bind(&path).context("binding the notification socket")?;
        manager.set_read_timeout(Some(Duration::from_millis(200)))?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(Signal::SIGTERM)?;
        a1.apply_text("nodes: no list")?;
        a1.launch_as(&agent::binary()?, &[("NOTIFY_SOCKET", path.as_os_str())])?;
        // What it says first is said after a pass, which would have made it ready.
        let status = told(&manager, "STATUS=")?;
        ensure!(status.contains("waiting for its sources") && !status.contains("READY"), "{status}");
        a1.apply(&state)?;
        told(&manager, "READY=1").map(drop)
    })
}

#[test]
fn the_log_is_json_where_that_is_wanted() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let settings = Settings { log_format: Some("json"), ..Settings::default() };
        agents.start(lab, &settings, &State::of(lab, MODE))?;
        let log = fs::read_to_string(lab.node("a1")?.log()).context("reading the log")?;
        ensure!(log.lines().count() > 10, "hardly anything is logged:\n{log}");
        for line in log.lines() {
            let row: serde_json::Value =
                serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            for field in ["timestamp", "level", "target", "message"] {
                ensure!(row[field].is_string(), "no {field}: {line}");
            }
        }
        Ok(())
    })
}
