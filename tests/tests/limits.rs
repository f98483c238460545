//! What happens at a limit: it is told by name, the rest goes on, and all is well once there is room again.

use std::{ffi::OsStr, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    Failure,
    agent::{self, Agent, Settings},
    command,
    lab::{Endpoint as _, Lab, Node, Topology},
    probe::Ping,
    state::{Encapsulation, State, StatePod},
    story, wait,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// Long enough for the longest back-off, twice.
const SOON: Duration = Duration::from_secs(12);

fn pending(agent: &Agent) -> Result<Vec<Value>> {
    let status = agent.status()?;
    status["reconcile"]["pending"].as_array().cloned().context("the status lists nothing pending")
}

/// Waits until something is pending that says this, and returns it.
fn waits_with(agent: &Agent, words: &[&str]) -> Result<String> {
    let mut found = String::new();
    wait::until(&format!("a pending change that says {words:?}"), SOON, || {
        let pending = pending(agent)?;
        let text = pending.iter().map(|row| format!("{} {}", row["change"], row["error"]));
        let mut all = text.filter(|text| words.iter().all(|word| text.contains(word)));
        found = all.next().unwrap_or_default();
        Ok(!found.is_empty())
    })?;
    Ok(found)
}

fn nothing_waits(agent: &Agent) -> Result<()> {
    wait::until("nothing to be pending", SOON, || Ok(pending(agent)?.is_empty()))?;
    Ok(())
}

#[test]
fn a_full_map_is_named_the_rest_goes_on_and_what_waits_comes_when_there_is_room() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &Settings::default(), &state)?;
        let used = agents.get("a1")?.status()?["maps"][0]["entries"].as_u64().context("no entries")?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(nix::sys::signal::Signal::SIGKILL)?;
        a1.cleanup(false)?;
        // Two more than there is room for.
        let mut more = state.clone();
        let far = |number: u8| format!("198.18.{number}.0/24").parse();
        for number in 0..4 {
            more.node_mut("b1")?.pod_prefixes.push(far(number)?);
        }
        a1.apply(&more)?;
        let room = (used + 2).to_string();
        let variables = [("PODROUTE_TEST_MAX_ROUTES", OsStr::new(&room))];
        a1.launch_as(&agent::fault_binary()?, &variables)?;
        let a1 = agents.get("a1")?;
        wait::until("the agent to answer", SOON, || Ok(a1.status().is_ok()))?;
        waits_with(a1, &["198.18.", "ROUTES_V4", "the map is full"])?;
        let pid = a1.status()?["pid"].clone();
        // Nothing else waits for it, and the kernel's own routes have them all.
        for (from, to) in [("a1-0", "a1-1"), ("a1-0", "a2-0"), ("a1-0", "b1-0"), ("b1-0", "a1-1")] {
            Ping::to(lab.pod(to)?.address())?.expect_reply(lab.pod(from)?)?;
        }
        let kernel = lab.node("a1")?.netns().ip("route show proto 77")?;
        ensure!((0..4).all(|number| kernel.contains(&format!("198.18.{number}.0/24"))), "{kernel}");
        // Room again.
        more.node_mut("b1")?.pod_prefixes.retain(|prefix| far(0).is_ok_and(|first| *prefix != first));
        more.node_mut("b1")?.pod_prefixes.retain(|prefix| far(1).is_ok_and(|second| *prefix != second));
        a1.apply(&more)?;
        nothing_waits(a1)?;
        let last = a1.json(&["lookup", "198.18.3.7"])?;
        ensure!(last["kind"] == "ipip" && last["problem"].is_null(), "{last}");
        ensure!(a1.status()?["pid"] == pid, "it is another process");
        Ok(())
    })
}

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

fn with_pod(lab: &Lab, state: &State, pod: &tests::lab::Pod) -> State {
    let mut state = state.clone();
    state.pods.push(StatePod::of(pod));
    debug_assert!(lab.pods().iter().any(|known| known.name() == pod.name()));
    state
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
        a1.apply(&with_pod(lab, &state, &pod))?;
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
