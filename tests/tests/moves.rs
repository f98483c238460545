//! Nodes and pods that are not where their addresses suggest, and statements that contradict each other.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tests::{
    Failure,
    agent::{Agents, Settings},
    craft,
    lab::{Endpoint, Lab, Node, Topology},
    probe::{self, Series},
    state::{Encapsulation, State},
    story, way,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;

#[test]
fn a_node_address_that_moves_to_another_interface_is_followed() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        lab.add_uplink("a2", "eth1")?;
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        way::expect(lab, agents, MODE, (lab.pod("a2-0")?, lab.pod("a1-0")?))?;
        let to_others = Series::start(lab.pod("a2-0")?, lab.pod("b1-0")?.address())?;
        let from_others = Series::start(lab.pod("a1-0")?, lab.pod("a2-0")?.address())?;
        let moved = Instant::now();
        move_address(lab.node("a2")?)?;
        thread::sleep(Duration::from_millis(1500));
        for series in [to_others.stop()?, from_others.stop()?] {
            series.first_answered_after(moved).with_context(|| format!("{series}"))?;
            ensure!(series.last_lost_after(moved) < Duration::from_secs(1), "{series}");
        }
        for pod in ["a1-0", "b1-0"] {
            for pair in [(lab.pod("a2-1")?, lab.pod(pod)?), (lab.pod(pod)?, lab.pod("a2-1")?)] {
                probe::tcp(pair.0, pair.1, 5000)?;
                way::expect(lab, agents, MODE, (pair.0, pair.1))?;
            }
        }
        Ok(())
    })
}

/// As an administrator or a failover daemon does it; the neighbours are told by a gratuitous ARP.
fn move_address(node: &Node) -> Result<()> {
    let (netns, subnet) = (node.netns(), node.subnet());
    let bare = node.v4().context("the lab is not IPv4")?;
    let address = subnet.with_length(bare.into()).context("the subnet is not IPv4")?;
    netns.ip_batch(&format!(
        "addr del {address} dev {old}\nlink set {old} down\naddr add {address} dev eth1\n\
         route replace default via {}\n",
        subnet.gateway(),
        old = Node::UPLINK
    ))?;
    craft::announce(netns, "eth1", bare)
}

#[test]
fn a_borrowed_address_goes_to_its_real_node() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let borrowed = lab.node("a1")?.pod_address(200);
        let pod = lab.add_pod("b1", borrowed)?;
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        for (from, to) in way::pairs(lab) {
            if from.name() == pod.name() || to.name() == pod.name() {
                probe::tcp(from, to, 5000)?;
                way::expect(lab, agents, MODE, (from, to))?;
            }
        }
        Ok(())
    })
}

#[test]
fn of_two_nodes_with_one_prefix_the_first_by_name_has_it() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let mut state = State::of(lab, MODE);
        let prefix = lab.node("a2")?.pod_prefix();
        state.node_mut("b1")?.pod_prefixes.push(prefix);
        // The order in the file must not matter: half of the agents read it the other way round.
        let mut reversed = state.clone();
        reversed.nodes.reverse();
        agents.start(lab, &Settings::default(), &state)?;
        for state in [&state, &reversed] {
            agents.get("a1")?.apply(state)?;
            thread::sleep(Duration::from_millis(300));
            conflict_is_settled(lab, agents)?;
        }
        Ok(())
    })
}

fn conflict_is_settled(lab: &Lab, agents: &Agents) -> Result<()> {
    let prefix = lab.node("a2")?.pod_prefix().to_string();
    for (node, agent) in agents.iter() {
        let problems = agent.problems()?;
        let told =
            problems.iter().any(|text| text.contains(&prefix) && text.contains("a2") && text.contains("b1"));
        ensure!(told, "{node} does not tell of the conflict about {prefix}: {problems:?}");
    }
    for (from, to) in [("a1-0", "a2-0"), ("a1-0", "b1-0"), ("b1-0", "a2-1"), ("a2-0", "b1-1")] {
        probe::tcp(lab.pod(from)?, lab.pod(to)?, 5000)?;
        way::expect(lab, agents, MODE, (lab.pod(from)?, lab.pod(to)?))?;
    }
    Ok(())
}
