//! The kernel refuses because it, or the agent, is short of something, or somebody else has what is needed: what waits
//! is named, traffic goes on, and all is well once that has passed.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use tests::{
    Failure,
    agent::{self, Agent, Agents, Settings},
    command,
    lab::{Endpoint as _, Lab, Node, Topology},
    probe::{Ping, UdpFlow},
    state::State,
    story, wait,
};

use crate::{MODE, SOON, nothing_waits, pending, waits_with, with_pod};

/// What the kernel refuses the agent of a node, as long as this lives.
struct Refusal(PathBuf);

impl Refusal {
    fn of(node: &Node, operation: &str, errno: Errno) -> Result<Self> {
        let file = refusals(node);
        fs::write(&file, format!("{operation} {}\n", errno as i32))?;
        Ok(Self(file))
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

fn refusals(node: &Node) -> PathBuf {
    node.folder().join("refusals")
}

/// Puts an agent that can be refused things in the place of a1's.
fn start_refusable(lab: &Lab, agents: &mut Agents, state: &State) -> Result<()> {
    agents.start(lab, &Settings::default(), state)?;
    let a1 = agents.get_mut("a1")?;
    a1.kill(nix::sys::signal::Signal::SIGTERM)?;
    let file = refusals(lab.node("a1")?);
    a1.launch_as(&agent::fault_binary()?, &[("PODROUTE_REFUSALS", file.as_os_str())])?;
    a1.wait_until_ready()
}

/// Datagrams over the node, directly and through the tunnel.
fn flows(lab: &Lab) -> Result<Vec<UdpFlow>> {
    let flow = |(from, to): (&str, &str)| {
        let (from, to) = (lab.pod(from)?, lab.pod(to)?);
        UdpFlow::start(from, to, to.address())
    };
    [("a1-0", "a1-1"), ("a1-0", "a2-0"), ("b1-0", "a1-1")].into_iter().map(flow).collect()
}

fn nothing_lost(flows: Vec<UdpFlow>) -> Result<()> {
    flows.into_iter().try_for_each(|flow| flow.stop()?.expect_no_loss())
}

/// Number of the link, and of the program in it, at each of a node's pins.
fn links(node: &Node) -> Result<BTreeSet<(u64, u64)>> {
    let mut found = BTreeSet::new();
    for pin in fs::read_dir(node.bpffs().join("podroute/links"))? {
        let mut show = Command::new("bpftool");
        let shown = command::output(show.args(["--json", "link", "show", "pinned"]).arg(pin?.path()))?;
        let link: serde_json::Value = serde_json::from_str(&shown)?;
        let number = |name: &str| link[name].as_u64().with_context(|| format!("no {name} in {link}"));
        found.insert((number("id")?, number("prog_id")?));
    }
    Ok(found)
}

/// The state with one more prefix at b1: 198.18.N.0/24.
fn with_prefix(state: &State, number: usize) -> Result<State> {
    let mut state = state.clone();
    state.node_mut("b1")?.pod_prefixes.push(format!("198.18.{number}.0/24").parse()?);
    Ok(state)
}

/// Waits until what waits has been tried more than once.
fn is_tried_again(agent: &Agent) -> Result<()> {
    wait::until("another attempt", SOON, || {
        Ok(pending(agent)?.iter().any(|row| row["attempts"].as_u64() > Some(1)))
    })?;
    Ok(())
}

#[test]
fn what_the_kernel_refuses_for_a_while_is_named_and_tried_again_and_traffic_goes_on() -> Result<(), Failure> {
    const CASES: [(&str, Errno, [&str; 3]); 5] = [
        (
            "map-update",
            Errno::ENOMEM,
            ["ROUTES_V4", "Cannot allocate memory", "short of memory: the agent tries"],
        ),
        (
            "netlink-request",
            Errno::ENOBUFS,
            ["add route", "ENOBUFS", "short of memory: the agent tries again"],
        ),
        ("netlink-request", Errno::EBUSY, ["add route", "EBUSY", "somebody else uses it"]),
        ("netlink-socket", Errno::EMFILE, ["read the host's network", "Too many open files", "LimitNOFILE"]),
        ("netlink-dump", Errno::EINTR, ["read the host's network", "kept changing", "the agent tries again"]),
    ];
    story(Topology::two_subnets(), |lab, agents| {
        let mut state = State::of(lab, MODE);
        start_refusable(lab, agents, &state)?;
        let (node, a1) = (lab.node("a1")?, agents.get("a1")?);
        let (pid, before, flows) = (a1.status()?["pid"].clone(), links(node)?, flows(lab)?);
        for (number, (operation, errno, words)) in CASES.into_iter().enumerate() {
            let refusal = Refusal::of(node, operation, errno)?;
            state = with_prefix(&state, number)?;
            a1.apply(&state)?;
            let told = waits_with(a1, &words).with_context(|| format!("{operation} {errno}"))?;
            is_tried_again(a1)?;
            println!("{operation} {errno}: {told}");
            drop(refusal);
            nothing_waits(a1)?;
            let prefix = format!("198.18.{number}.0/24");
            wait::until("the route", SOON, || {
                let found = a1.json(&["lookup", &format!("198.18.{number}.7")])?;
                Ok(found["kind"] == "ipip" && node.netns().ip("route show proto 77")?.contains(&prefix))
            })?;
        }
        ensure!(links(node)? == before, "programs have been attached anew");
        ensure!(a1.status()?["pid"] == pid, "it is another process");
        nothing_lost(flows)
    })
}

/// A link that cannot be opened for a moment is no dead one: taking it away would stop what runs.
#[test]
fn links_that_cannot_be_opened_for_a_while_stay_as_they_are() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        start_refusable(lab, agents, &State::of(lab, MODE))?;
        let (node, a1) = (lab.node("a1")?, agents.get("a1")?);
        let (before, flows) = (links(node)?, flows(lab)?);
        ensure!(!before.is_empty(), "nothing is attached by links");
        for errno in [Errno::EMFILE, Errno::ENOMEM] {
            let refusal = Refusal::of(node, "link-open", errno)?;
            waits_with(
                a1,
                &["read back the datapath", "open the link", &format!("(os error {})", errno as i32)],
            )?;
            is_tried_again(a1)?;
            drop(refusal);
            nothing_waits(a1)?;
            ensure!(links(node)? == before, "links have been made anew");
        }
        nothing_lost(flows)
    })
}

#[test]
fn a_hook_that_is_busy_is_named_and_taken_once_it_is_free() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        start_refusable(lab, agents, &state)?;
        let address = lab.node("a1")?.pod_address(12);
        let pod = lab.add_pod("a1", address)?;
        let (node, a1) = (lab.node("a1")?, agents.get("a1")?);
        let flows = flows(lab)?;
        let refusal = Refusal::of(node, "attach", Errno::EBUSY)?;
        a1.apply(&with_pod(&state, &pod))?;
        waits_with(a1, &["from-pod", pod.interface(), "resource busy", "the agent tries again"])?;
        is_tried_again(a1)?;
        // The kernel's own routes serve the pod meanwhile.
        Ping::to(lab.pod("a2-0")?.address())?.expect_reply(&pod)?;
        drop(refusal);
        nothing_waits(a1)?;
        Ping::to(address)?.expect_reply(lab.pod("b1-0")?)?;
        nothing_lost(flows)
    })
}

/// A filter of somebody else, in the very place of ours.
#[test]
fn a_filter_in_the_place_of_ours_is_named_and_left_alone() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &Settings { attach: Some("clsact"), ..Settings::default() }, &state)?;
        let address = lab.node("a1")?.pod_address(12);
        let pod = lab.add_pod("a1", address)?;
        let (node, a1) = (lab.node("a1")?, agents.get("a1")?);
        let tc = |arguments: &[&str]| node.netns().output("tc", arguments);
        let at = ["dev", pod.interface(), "ingress", "pref", "77"];
        tc(&["qdisc", "add", "dev", pod.interface(), "clsact"])?;
        // Accepts every packet for the filters behind it.
        let program = ["protocol", "all", "handle", "1", "bpf", "bytecode", "1,6 0 0 4294967295"];
        tc(&[&["filter", "add"], &at[..], &program].concat())?;
        let show = || tc(&["-json", "filter", "show", "dev", pod.interface(), "ingress"]);
        let theirs = show()?;
        let flows = flows(lab)?;
        a1.apply(&with_pod(&state, &pod))?;
        let told = waits_with(a1, &["from-pod", pod.interface(), "priority 77", "the agent tries again"])?;
        println!("{told}");
        is_tried_again(a1)?;
        ensure!(show()? == theirs, "it is not left alone: {}", show()?);
        Ping::to(lab.pod("a2-0")?.address())?.expect_reply(&pod)?;
        tc(&[&["filter", "del"], &at[..]].concat())?;
        nothing_waits(a1)?;
        ensure!(show()?.contains("from_pod"), "{}", show()?);
        Ping::to(address)?.expect_reply(lab.pod("b1-0")?)?;
        nothing_lost(flows)
    })
}

/// Numbers of the file descriptors that a process has for longer than a moment.
fn descriptors(pid: u64) -> Result<BTreeSet<u64>> {
    let now = || -> Result<BTreeSet<u64>> {
        let names = fs::read_dir(format!("/proc/{pid}/fd"))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    };
    let mut lasting = now()?;
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(10));
        let now = now()?;
        lasting.retain(|number| now.contains(number));
    }
    Ok(lasting)
}

/// Without a file descriptor left the agent cannot do anything, but somebody can ask it why.
#[test]
fn an_agent_without_file_descriptors_says_so_and_goes_on_when_there_are_some() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, MODE);
        agents.start(lab, &Settings::default(), &state)?;
        let (node, a1) = (lab.node("a1")?, agents.get("a1")?);
        let pid = a1.status()?["pid"].as_u64().context("no pid")?;
        let (before, flows) = (links(node)?, flows(lab)?);
        let used = descriptors(pid)?;
        // No number is free below this one; what has a higher one stays open.
        let limit = (0..).find(|number| !used.contains(number)).context("all numbers are used")?;
        let allow = |limit: u64| {
            let (pid, limit) = (pid.to_string(), format!("--nofile={limit}:"));
            command::output(Command::new("prlimit").args(["--pid", &pid, &limit])).map(drop)
        };
        allow(limit)?;
        let state = with_prefix(&state, 0)?;
        a1.apply(&state)?;
        let told = waits_with(a1, &["Too many open files", "LimitNOFILE", "the agent tries again"])?;
        println!("{told}");
        is_tried_again(a1)?;
        allow(1024)?;
        nothing_waits(a1)?;
        wait::until("the route", SOON, || Ok(a1.json(&["lookup", "198.18.0.7"])?["kind"] == "ipip"))?;
        ensure!(links(node)? == before, "programs have been attached anew");
        ensure!(a1.status()?["pid"] == pid, "it is another process");
        nothing_lost(flows)
    })
}
