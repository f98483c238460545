//! An agent that is asked to end does so in the middle of its work, and leaves what the next one goes on with.

use std::{
    ffi::OsStr,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::{
    Failure,
    agent::{self, Agent, Settings},
    lab::{Endpoint as _, Lab, Topology},
    probe::Ping,
    state::{Encapsulation, State},
    story, wait,
};

/// How long anything of this may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The files by which an agent with fault injection is watched and held up.
struct Held {
    /// The points that it has passed.
    log: PathBuf,
    /// It goes on when there is this file.
    go_on: PathBuf,
}

impl Held {
    fn new(lab: &Lab) -> Result<Self> {
        let folder = lab.node("a1")?.folder();
        Ok(Self { log: folder.join("points"), go_on: folder.join("go-on") })
    }

    /// Starts an agent that makes everything anew, and has it wait at this point.
    fn start(&self, agent: &mut Agent, at: usize) -> Result<()> {
        agent.cleanup(false)?;
        for file in [&self.log, &self.go_on] {
            if file.exists() {
                fs::remove_file(file).with_context(|| format!("removing {}", file.display()))?;
            }
        }
        let number = at.to_string();
        let variables = [
            ("PODROUTE_CRASH_LOG", self.log.as_os_str()),
            ("PODROUTE_WAIT_AT", OsStr::new(&number)),
            ("PODROUTE_WAIT_UNTIL", self.go_on.as_os_str()),
        ];
        agent.launch_as(&agent::fault_binary()?, &variables)
    }

    /// The names of the points that were passed.
    fn points(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.log).context("reading the points")?;
        Ok(text.lines().skip(1).map(ToOwned::to_owned).collect())
    }

    fn wait_for(&self, number: usize) -> Result<()> {
        let passed = || self.points().map_or(0, |points| points.len());
        wait::until("the agent to come to the point", PATIENCE, || Ok(passed() >= number)).map(drop)
    }

    /// The number of the first endpoint that is written: others, routes and programs come after it.
    fn in_the_middle(&self, agent: &mut Agent) -> Result<usize> {
        self.start(agent, usize::MAX)?;
        agent.wait_until_ready()?;
        agent.kill(Signal::SIGTERM)?;
        let points = self.points()?;
        let first = points.iter().position(|point| point == "endpoint").context("no endpoint was written")?;
        let rest = &points[first + 1..];
        ensure!(
            ["endpoint", "route", "attach"].iter().all(|name| rest.iter().any(|at| at == name)),
            "{points:?}"
        );
        Ok(first + 1)
    }
}

/// Sends a signal to an agent that is busy, which has seen it afterwards.
fn signal_seen(agent: &mut Agent, signal: Signal) -> Result<()> {
    agent.signal(signal)?;
    let path = Path::new("/proc").join(agent.pid()?.to_string()).join("status");
    wait::until("the signal to be seen", PATIENCE, || {
        let status = fs::read_to_string(&path).context("reading the process's status")?;
        let pending = |line: &&str| line.starts_with("SigPnd:") || line.starts_with("ShdPnd:");
        Ok(status.lines().filter(pending).all(|line| line.ends_with("\t0000000000000000")))
    })
    .map(drop)
}

fn restart_and_check(lab: &Lab, agent: &mut Agent) -> Result<()> {
    agent.restart()?;
    ensure!(agent.problems()?.is_empty(), "{:?}", agent.problems());
    for (from, to) in [("a1-0", "a1-1"), ("a1-0", "a2-0"), ("b1-0", "a1-1")] {
        Ping::to(lab.pod(to)?.address())?.expect_reply(lab.pod(from)?)?;
    }
    Ok(())
}

#[test]
fn an_agent_that_is_asked_to_end_makes_no_more_changes_and_the_next_one_goes_on() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(Signal::SIGTERM)?;
        let held = Held::new(lab)?;
        let middle = held.in_the_middle(a1)?;
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            held.start(a1, middle)?;
            held.wait_for(middle)?;
            signal_seen(a1, signal)?;
            fs::write(&held.go_on, "").context("letting it go on")?;
            let status = a1.wait_for_end(PATIENCE)?;
            ensure!(status.success(), "it ended with {status}");
            let points = held.points()?;
            ensure!(points.len() == middle, "it went on after {signal}: {points:?}, asked at {middle}");
            restart_and_check(lab, a1)?;
            a1.kill(Signal::SIGTERM)?;
        }
        a1.restart()
    })
}

#[test]
fn a_second_signal_ends_an_agent_at_once_that_is_in_the_middle_of_its_work() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(Signal::SIGTERM)?;
        let held = Held::new(lab)?;
        let middle = held.in_the_middle(a1)?;
        for [first, second] in [[Signal::SIGTERM, Signal::SIGTERM], [Signal::SIGTERM, Signal::SIGINT]] {
            held.start(a1, middle)?;
            held.wait_for(middle)?;
            signal_seen(a1, first)?;
            ensure!(
                a1.pid().is_ok_and(|pid| Path::new("/proc").join(pid.to_string()).exists()),
                "it has ended"
            );
            // It still waits.
            a1.signal(second)?;
            let status = a1.wait_for_end(PATIENCE)?;
            ensure!(status.signal() == Some(second as i32), "it ended with {status}");
            restart_and_check(lab, a1)?;
            a1.kill(Signal::SIGTERM)?;
        }
        a1.restart()
    })
}
