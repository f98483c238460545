//! IPv4 and IPv6 pods over nodes that have both, IPv6 only, or IPv4 only: everything connects, and each packet has
//! on the wire exactly the outer header that it should have.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::{
    Failure,
    agent::{Agents, Settings},
    capture::{Capture, Captured, Keep, Packet},
    family::Family,
    lab::{Endpoint, Lab, Node, Pod, Topology, View},
    probe::{self, Ping},
    remains,
    state::{Encapsulation, State},
    story,
    way::{self, Way},
};

const ICMP: [u8; 2] = [1, 58];
const TCP: u8 = 6;
const UDP: u8 = 17;

#[test]
fn dual_stack_nodes_always_encapsulating() -> Result<(), Failure> {
    everything_connects(Topology::dual_stack(), Encapsulation::Always)
}

#[test]
fn dual_stack_nodes_encapsulating_between_subnets() -> Result<(), Failure> {
    everything_connects(Topology::dual_stack(), Encapsulation::CrossSubnet)
}

#[test]
fn ipv6_nodes_always_encapsulating() -> Result<(), Failure> {
    everything_connects(Topology::v6_nodes(), Encapsulation::Always)
}

#[test]
fn ipv6_nodes_encapsulating_between_subnets() -> Result<(), Failure> {
    everything_connects(Topology::v6_nodes(), Encapsulation::CrossSubnet)
}

#[test]
fn ipv4_nodes_always_encapsulating() -> Result<(), Failure> {
    everything_connects(Topology::v4_nodes(), Encapsulation::Always)
}

#[test]
fn ipv4_nodes_encapsulating_between_subnets_and_ipv6_everywhere() -> Result<(), Failure> {
    everything_connects(Topology::v4_nodes(), Encapsulation::CrossSubnet)
}

fn everything_connects(topology: Topology, mode: Encapsulation) -> Result<(), Failure> {
    story(topology, |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, mode))?;
        for node in lab.nodes() {
            let forwarding = node.netns().sysctl("net.ipv6.conf.all.forwarding")?;
            ensure!(forwarding == "1", "the agent on {} has not turned IPv6 forwarding on", node.name());
        }
        for family in Family::ALL {
            for (from, to) in way::pairs_in(lab, family) {
                connects(lab, agents, mode, (from, &to))
                    .with_context(|| format!("from {} to {} ({})", from.name(), to.name(), to.address()))?;
            }
        }
        for (node, agent) in agents.iter() {
            let counters = agent.counters()?;
            ensure!(counters.dropped() == 0, "{node} has dropped packets:\n{counters}");
        }
        let drops = lab.router_drops()?;
        ensure!(drops == 0, "{drops} packets of pods went to the router unencapsulated");
        Ok(())
    })
}

fn connects(
    lab: &Lab,
    agents: &Agents,
    mode: Encapsulation,
    (from, to): (&dyn Endpoint, &dyn Endpoint),
) -> Result<()> {
    let way = way::demanded(lab, mode, from, to)?.context("these modes refuse nothing")?;
    let capture = Capture::start(lab.node(from.node())?.netns(), Node::UPLINK, Keep::Whole)?;
    Ping::to(to.address())?.expect_reply(from)?;
    let source = probe::tcp(from, to, 3000)?.source;
    ensure!(probe::udp(from, to, 500)?.source == source, "TCP and UDP have different sources");
    let captured = capture.stop()?;
    check_source(lab, from, to, source)?;
    let packets = conversation(&captured, source, to.address());
    if way == Way::Local {
        ensure!(packets.is_empty(), "what stays on the node is at the uplink:\n{captured}");
    } else {
        complete(&packets, to.address()).with_context(|| captured.to_string())?;
        packets.iter().try_for_each(|packet| dressed(lab, way, packet, from, to))?;
    }
    way::expect(lab, agents, mode, (from, to))
}

fn conversation(captured: &Captured, one: IpAddr, other: IpAddr) -> Vec<Packet> {
    captured.packets().filter(|packet| packet.is_between(one, other)).collect()
}

/// Both directions of all three protocols were seen.
fn complete(packets: &[Packet], to: IpAddr) -> Result<()> {
    for protocols in [&ICMP[..], &[TCP], &[UDP]] {
        for forth in [true, false] {
            let seen = packets.iter().any(|packet| {
                let inner = packet.inner();
                protocols.contains(&inner.protocol) && (inner.destination == to) == forth
            });
            ensure!(seen, "no protocol {protocols:?}, forth: {forth}");
        }
    }
    Ok(())
}

/// A pod is seen with its own address; a host, from another node, with one of its own pod prefix.
fn check_source(lab: &Lab, from: &dyn Endpoint, to: &dyn Endpoint, source: IpAddr) -> Result<()> {
    let family = Family::of(to.address());
    let expected = match (from.is_pod(), from.node() == to.node()) {
        (true, _) => from.address_of(family),
        (false, false) => lab.node(from.node())?.pod_address_of(family, 1),
        // The host may use any of its addresses towards its own pods.
        (false, true) => return Ok(()),
    };
    ensure!(Some(source) == expected, "it is seen as {source} instead of {expected:?}");
    Ok(())
}

/// The packet has no outer header, or one between the nodes, in the family in which both have an address.
fn dressed(lab: &Lab, way: Way, packet: &Packet, from: &dyn Endpoint, to: &dyn Endpoint) -> Result<()> {
    if way == Way::Direct {
        ensure!(!packet.is_encapsulated(), "{packet:?}");
        return Ok(());
    }
    let underlay = way::underlay(lab, from, to)?;
    let (outer, inner) = (packet.outer(), packet.inner());
    let forth = inner.destination == to.address();
    let (near, far) = if forth { (from, to) } else { (to, from) };
    let ends = [near, far].map(|end| lab.node(end.node()).map(|node| node.address_of(underlay)));
    let [source, destination] = ends;
    ensure!(packet.headers.len() == 2, "{packet:?}");
    ensure!((Some(outer.source), Some(outer.destination)) == (source?, destination?), "{packet:?}");
    ensure!(outer.protocol == inner.family().protocol(), "{packet:?}");
    ensure!(outer.length == usize::from(underlay.header()), "{packet:?}");
    ensure!(outer.total == inner.total + u32::from(underlay.header()), "{packet:?}");
    // The router is not behind what leaves here; what comes has passed it, if the nodes are in two subnets.
    ensure!(if packet.outgoing { outer.ttl == 64 } else { outer.ttl >= 63 }, "{packet:?}");
    Ok(())
}

/// IPv4 of the pods goes straight to the IPv6 neighbour: nobody asks for IPv4 neighbours, who do not exist.
#[test]
fn ipv4_goes_to_ipv6_next_hops_without_any_arp() -> Result<(), Failure> {
    story(Topology::v6_nodes(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let (a1, a2) = (lab.node("a1")?, lab.node("a2")?);
        let macs = (a1.netns().mac(Node::UPLINK)?, a2.netns().mac(Node::UPLINK)?);
        let capture = Capture::start(a1.netns(), Node::UPLINK, Keep::Whole)?;
        for from in [lab.pod("a1-0")? as &dyn Endpoint, a1] {
            let to = View::new(lab.pod("a2-0")?, Family::V4).context("a2-0 has no IPv4 address")?;
            let source = probe::tcp(from, &to, 3000)?.source;
            ensure!(source.is_ipv4(), "{source}");
        }
        let captured = capture.stop()?;
        let v4 = captured.packets().filter(|packet| packet.outgoing && packet.outer().source.is_ipv4());
        let v4 = v4.collect::<Vec<_>>();
        ensure!(v4.len() >= 8, "{captured}");
        ensure!(v4.iter().all(|packet| (packet.from_mac, packet.to_mac) == macs), "{captured}");
        ensure!(captured.frames().iter().all(|frame| frame.bytes[12..14] != [8, 6]), "{captured}");
        Ok(())
    })
}

/// IPv6 addresses have no label: the host's own in its pods' range is known by another mark to an agent that starts,
/// and to `cleanup`.
#[test]
fn the_hosts_ipv6_address_is_known_as_ours() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let node = lab.node("a1")?;
        let own = node.pod_address_of(Family::V6, 1).context("no IPv6 pods")?;
        let agent = agents.get_mut("a1")?;
        agent.kill(Signal::SIGKILL)?;
        agent.restart()?;
        let shown = node.netns().ip("-6 address show dev lo")?;
        ensure!(shown.contains(&format!("{own}/128")), "{own} is not there:\n{shown}");
        let problems = agent.problems()?;
        ensure!(problems.is_empty(), "{problems:?}");
        let programs = remains::program_ids(agent)?;
        agent.kill(Signal::SIGTERM)?;
        agent.cleanup(false)?;
        remains::expect_nothing_of_ours(node, lab.pods(), &programs)
    })
}

/// Neighbours that are forgotten, in the pod and on the nodes, are found again before the first packet is lost.
#[test]
fn forgotten_neighbours_are_found_again() -> Result<(), Failure> {
    for topology in [Topology::dual_stack(), Topology::v6_nodes(), Topology::v4_nodes()] {
        story(topology, |lab, agents| {
            agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
            let from = lab.pod("a1-0")?;
            for to in ["a1-1", "a2-0", "b1-0"] {
                for family in Family::ALL {
                    forgotten(lab, from, lab.pod(to)?, family)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn forgotten(lab: &Lab, from: &Pod, to: &Pod, family: Family) -> Result<()> {
    let address = to.address_of(family).with_context(|| format!("{} has no {family}", to.name()))?;
    for node in [from.node(), to.node()] {
        // Entries that are permanent stay, as when an administrator does it.
        lab.node(node)?.netns().ip("neigh flush all")?;
        lab.node(node)?.netns().ip("-6 neigh flush all")?;
    }
    for pod in [from, to] {
        pod.netns().ip(&format!("-6 neigh flush dev {}", Pod::INSIDE))?;
    }
    Ping::to(address)?.expect_reply(from)?;
    if family == Family::V4 {
        return Ok(());
    }
    for pod in [from, to] {
        // The gateway is the only neighbour that a pod has.
        let neighbours = pod.netns().ip("-6 neigh show")?;
        let gateway = neighbours.contains("fe80::ecee:eeff:feee:eeee");
        ensure!(gateway && neighbours.lines().count() == 1, "{}:\n{neighbours}", pod.name());
    }
    Ok(())
}
