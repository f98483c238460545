//! Every pod reaches every pod and every host, every host reaches every pod: ICMP, TCP and UDP, in every
//! mode of encapsulation, and by the way that the mode demands.

use std::{net::IpAddr, time::Duration};

use anyhow::{Result, ensure};
use tests::{
    Failure,
    agent::{Agents, Settings},
    lab::{Endpoint, Lab, Topology},
    probe::{self, Answer, Ping},
    state::{Encapsulation, NonAdjacent, State},
    story, way,
};

#[test]
fn cross_subnet_encapsulates_only_between_subnets() -> Result<(), Failure> {
    everything_connects(Topology::two_subnets(), Encapsulation::CrossSubnet)
}

#[test]
fn always_encapsulates_between_all_nodes() -> Result<(), Failure> {
    everything_connects(Topology::two_subnets(), Encapsulation::Always)
}

#[test]
fn never_encapsulates_nothing_on_one_segment() -> Result<(), Failure> {
    everything_connects(Topology::flat(), Encapsulation::Never(NonAdjacent::Refuse))
}

#[test]
fn never_with_ipip_for_a_node_that_is_not_adjacent() -> Result<(), Failure> {
    everything_connects(Topology::two_subnets(), Encapsulation::Never(NonAdjacent::Ipip))
}

#[test]
fn never_refuses_a_node_that_is_not_adjacent_and_names_it() -> Result<(), Failure> {
    let mode = Encapsulation::Never(NonAdjacent::Refuse);
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, mode))?;
        for (node, refused) in [("a1", "b1"), ("a2", "b1"), ("b1", "a1"), ("b1", "a2")] {
            let problems = agents.get(node)?.problems()?;
            ensure!(
                problems.iter().any(|problem| problem.contains(refused)),
                "{node} does not name {refused}: {problems:?}"
            );
        }
        each_pair(lab, agents, mode)
    })
}

fn everything_connects(topology: Topology, mode: Encapsulation) -> Result<(), Failure> {
    story(topology, |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, mode))?;
        each_pair(lab, agents, mode)?;
        for (node, agent) in agents.iter() {
            let counters = agent.counters()?;
            ensure!(counters.dropped() == 0, "{node} has dropped packets:\n{counters}");
        }
        ensure!(lab.router_drops()? == 0, "something went out unencapsulated");
        Ok(())
    })
}

fn each_pair(lab: &Lab, agents: &Agents, mode: Encapsulation) -> Result<()> {
    for (from, to) in way::pairs(lab) {
        if way::demanded(lab, mode, from, to)?.is_some() {
            let source = probe::tcp(from, to, 5000)?.source;
            ensure!(probe::udp(from, to, 100)?.source == source, "TCP and UDP have different sources");
            check_source(lab, from, to, source)?;
            way::expect(lab, agents, mode, (from, to))?;
        } else {
            let answer = Ping::to(to.address())?.timeout(Duration::from_millis(100)).send(from.netns())?;
            let (from, to) = (from.name(), to.name());
            ensure!(!matches!(answer, Answer::Reply { .. }), "{from} reaches {to}, which is refused");
        }
    }
    Ok(())
}

/// A pod is seen with its own address; a host, from another node, with one of its own pod prefix.
fn check_source(lab: &Lab, from: &dyn Endpoint, to: &dyn Endpoint, source: IpAddr) -> Result<()> {
    let node = lab.node(from.node())?;
    let expected = match (from.is_pod(), from.node() == to.node()) {
        (true, _) => from.address(),
        (false, false) => node.pod_address(1),
        // The host may use any of its addresses towards its own pods.
        (false, true) => return Ok(()),
    };
    ensure!(source == expected, "{} sees {source} instead of {expected} ({})", to.name(), from.name());
    Ok(())
}

#[test]
fn a_trace_from_a_pod_shows_the_nodes() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let from = lab.pod("a1-0")?;
        for (to, nodes) in [("a1-1", &["a1"][..]), ("a2-0", &["a1", "a2"]), ("b1-0", &["a1", "b1"])] {
            let to = lab.pod(to)?;
            let hops = probe::traceroute(from, to.address())?;
            ensure!(hops.len() == nodes.len() + 1, "to {}: {hops:?}", to.name());
            for (hop, node) in hops.iter().zip(nodes) {
                let node = lab.node(node)?;
                ensure!(
                    *hop == node.address() || *hop == node.pod_address(1),
                    "{hop} is not {}: {hops:?}",
                    node.name()
                );
            }
        }
        Ok(())
    })
}
