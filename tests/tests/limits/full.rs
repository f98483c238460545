//! Maps and tables without room.

use std::{
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use ipnet::{IpNet, Ipv4Net};
use node_ebpf_common::MAX_NEXT_HOPS;
use tests::{
    Failure,
    agent::{self, Agent, Settings},
    lab::{Endpoint as _, Topology},
    probe::Ping,
    state::{State, StateNode},
    story, wait,
};

use crate::{MODE, SOON, nothing_waits, waits_with};

/// For what has to be done for very many nodes.
const LONG: Duration = Duration::from_secs(90);
/// What a problem says that tells of it.
const EXHAUSTED: &str = "next hops do not fit";

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

/// Two nodes, in a network that has room for the addresses of very many others.
fn wide() -> Result<Topology> {
    let mut topology = Topology::flat();
    topology.subnets[0].networks[0].prefix = "10.0.0.0/16".parse()?;
    topology.nodes.truncate(2);
    for node in &mut topology.nodes {
        node.subnet = topology.subnets[0].clone();
    }
    Ok(topology)
}

/// The state with so many more nodes, which are not there, each with a prefix.
fn with_others(state: &State, nodes: u32) -> State {
    let mut state = state.clone();
    for index in 0..nodes {
        state.nodes.push(StateNode {
            name: format!("n{index}"),
            addresses: vec![IpAddr::V4(Ipv4Addr::from(0x0a00_1000 + index))],
            pod_prefixes: vec![prefix_of(index)],
        });
    }
    state
}

fn prefix_of(index: u32) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::from(0x1000_0000 + index * 256), 24).into()
}

/// Whether the programs have a route to the prefix of the node with this number.
fn is_routed(agent: &Agent, index: u32) -> Result<bool> {
    let address = Ipv4Addr::from(0x1000_0007 + index * 256).to_string();
    Ok(agent.json(&["lookup", &address])?["kind"] == "direct")
}

#[test]
fn a_full_next_hop_table_is_named_the_rest_goes_on_and_what_waits_comes_when_there_is_room()
-> Result<(), Failure> {
    story(wide()?, |lab, agents| {
        let state = State::of(lab, MODE);
        let settings = Settings { log: Some("info"), ..Settings::default() };
        agents.start(lab, &settings, &state)?;
        let (node, a1) = (lab.node("a1")?, agents.get("a1")?);
        let exhausted = |agent: &Agent| -> Result<Option<String>> {
            let problems = agent.problems()?;
            Ok(problems.iter().find(|problem| problem.contains(EXHAUSTED)).cloned())
        };
        a1.apply(&with_others(&state, MAX_NEXT_HOPS + 100))?;
        let mut problem = None;
        wait::until("the table to be full", LONG, || {
            problem = exhausted(a1)?;
            Ok(problem.is_some())
        })?;
        println!("{}", problem.unwrap_or_default());
        nothing_waits(a1)?;
        let routed = |numbers: std::ops::Range<u32>| -> Result<usize> {
            let each = numbers.map(|index| is_routed(a1, index)).collect::<Result<Vec<_>>>()?;
            Ok(each.into_iter().filter(|routed| *routed).count())
        };
        ensure!(routed(0..3)? == 3, "what fits is not there");
        // What does not fit is in the kernel's own table.
        let kernel = node.netns().ip("route show proto 77")?;
        let missing = (0..MAX_NEXT_HOPS + 100).find(|index| !kernel.contains(&prefix_of(*index).to_string()));
        ensure!(missing.is_none(), "the kernel has no route to {missing:?}");
        Ping::to(lab.pod("a2-0")?.address())?.expect_reply(lab.pod("a1-0")?)?;
        a1.apply(&with_others(&state, MAX_NEXT_HOPS - 100))?;
        wait::until("room in the table", LONG, || Ok(exhausted(a1)?.is_none()))?;
        wait::until("all nodes to have next hops", LONG, || {
            let maps = a1.status()?["maps"].clone();
            let maps = maps.as_array().context("no maps")?;
            let entries = maps.iter().find(|map| map["name"] == "NEXT_HOPS").context("no such map")?;
            Ok(entries["entries"].as_u64() >= Some(u64::from(MAX_NEXT_HOPS) - 100))
        })?;
        // The last by name, which were left out.
        ensure!(routed(9_995..10_000)? == 5, "some have no route");
        nothing_waits(a1)
    })
}
