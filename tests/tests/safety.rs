//! What must not pass does not, and each kind of it is counted by a counter of its own.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;
use node_ebpf_common::{Hook, Outcome};
use tests::{
    Failure,
    agent::{Agents, Settings},
    capture::{Capture, Keep},
    craft,
    lab::{Endpoint, Lab, Node, Pod, Topology},
    netns::Netns,
    probe::{Answer, Ping},
    state::{Encapsulation, State},
    story,
};

/// Somewhere in the middle of nowhere (TEST-NET-1).
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn v4(address: IpAddr) -> Result<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => bail!("{address} is not IPv4"),
    }
}

/// Sends a packet and checks what the counters of one node say of it, and whether the pod sees it.
struct Trial<'a> {
    agents: &'a Agents,
    /// Where it is counted.
    node: &'a str,
    hook: Hook,
    /// The pod that the innermost packet is for.
    pod: &'a Pod,
}

impl Trial<'_> {
    fn expect(
        &self,
        what: &str,
        sender: &Netns,
        packet: &[u8],
        outcome: Outcome,
        arrives: bool,
    ) -> Result<()> {
        let agent = self.agents.get(self.node)?;
        let capture = Capture::start(self.pod.netns(), Pod::INSIDE, Keep::Whole)?;
        let before = agent.counters()?;
        craft::send(sender, packet)?;
        thread::sleep(Duration::from_millis(100));
        let counted = agent.counters()?.since(&before)?;
        let captured = capture.stop()?;
        ensure!(counted.packets(self.hook, outcome) == 1, "{what}: counted is\n{counted}");
        ensure!(counted.dropped() == u64::from(!arrives), "{what}: counted is\n{counted}");
        let crafted = |payload: &[u8]| payload.get(4..6) == Some(&craft::IDENTIFIER.to_be_bytes());
        let seen = captured.packets().filter(|packet| !packet.outgoing && crafted(&packet.payload)).count();
        ensure!(seen == usize::from(arrives), "{what}: the pod has seen {seen} of it\n{captured}");
        Ok(())
    }
}

#[test]
fn only_listed_nodes_may_send_ipip_and_only_their_pods_packets() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let (node, b1) = (lab.node("a1")?, lab.node("b1")?);
        let (to, from, other) = (lab.pod("a1-0")?, lab.pod("b1-0")?, lab.pod("a2-0")?);
        let [here, there, router] = [node.address(), b1.address(), node.subnet().gateway()].map(v4);
        let (here, there, router) = (here?, there?, router?);
        let [to_ip, from_ip, other_ip] = [to.address(), from.address(), other.address()].map(v4);
        let (to_ip, from_ip, other_ip) = (to_ip?, from_ip?, other_ip?);
        // Neighbours are resolved, so that what follows is one packet each.
        Ping::to(to.address())?.expect_reply(from)?;
        Ping::to(node.address())?.expect_reply(b1)?;
        let trial = Trial { agents, node: "a1", hook: Hook::FromUplink, pod: to };
        let inner = craft::echo_reply(from_ip, to_ip)?;
        let genuine = craft::ipip(there, here, &inner)?;
        trial.expect("from a node", b1.netns(), &genuine, Outcome::DecapLocal, true)?;
        let packet = craft::ipip(router, here, &inner)?;
        let outcome = Outcome::DropUnknownTunnelSource;
        trial.expect("from the router", lab.router(), &packet, outcome, false)?;
        let packet = craft::ipip(there, here, &craft::echo_reply(other_ip, to_ip)?)?;
        let outcome = Outcome::DropSpoofedInnerSource;
        trial.expect("from another node's pod", b1.netns(), &packet, outcome, false)?;
        let packet = craft::ipip(there, here, &craft::echo_reply(NOWHERE, to_ip)?)?;
        trial.expect("from nobody's address", b1.netns(), &packet, outcome, false)?;
        let packet = craft::ipip(there, here, &craft::ipip(from_ip, to_ip, &inner)?)?;
        trial.expect("twice encapsulated", b1.netns(), &packet, Outcome::DropNestedTunnel, false)?;
        let packet = craft::ipip(there, here, &craft::echo_reply(from_ip, other_ip)?)?;
        trial.expect("for another node's pod", b1.netns(), &packet, Outcome::DropTunnelNotLocal, false)?;
        let packet = craft::first_fragment(genuine);
        trial.expect("a fragment", b1.netns(), &packet, Outcome::DropTunnelFragment, false)?;
        Ok(())
    })
}

#[test]
fn a_pod_may_not_tunnel() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let from = lab.pod("a1-0")?;
        for (to, node) in [("a1-1", "a1"), ("a2-0", "a2"), ("b1-0", "b1")] {
            let (to, node) = (lab.pod(to)?, lab.node(node)?);
            let inner = craft::echo_reply(v4(lab.pod("b1-1")?.address())?, v4(to.address())?)?;
            let trial = Trial { agents, node: "a1", hook: Hook::FromPod, pod: to };
            for outer in [node.address(), to.address()] {
                let packet = craft::ipip(v4(from.address())?, v4(outer)?, &inner)?;
                let what = format!("IPIP from a pod to {outer}");
                trial.expect(&what, from.netns(), &packet, Outcome::DropPodTunnel, false)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_pods_source_is_checked_as_set() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, Encapsulation::CrossSubnet);
        agents.start(lab, &Settings::default(), &state)?;
        let (from, to, node) = (lab.pod("a1-0")?, lab.pod("a2-0")?, lab.node("a1")?);
        let destination = v4(to.address())?;
        let own = craft::echo_reply(v4(from.address())?, destination)?;
        let neighbours = craft::echo_reply(v4(node.pod_address(77))?, destination)?;
        let foreign = craft::echo_reply(NOWHERE, destination)?;
        let (passes, drop) = (Outcome::Direct, Outcome::DropSpoofedSource);
        for (check, neighbours_pass, foreign_passes) in
            [("strict", false, false), ("loose", true, false), ("off", true, true)]
        {
            let settings = Settings { source_check: Some(check), ..Settings::default() };
            let agent = agents.get_mut("a1")?;
            agent.kill(Signal::SIGTERM)?;
            agent.configure(&settings)?;
            agent.restart()?;
            Ping::to(to.address())?.expect_reply(from)?;
            let trial = Trial { agents, node: "a1", hook: Hook::FromPod, pod: to };
            for (source, packet, passing) in [
                ("its own address", &own, true),
                ("its node's range", &neighbours, neighbours_pass),
                ("elsewhere", &foreign, foreign_passes),
            ] {
                let outcome = if passing { passes } else { drop };
                let what = format!("{check}: from {source}");
                trial.expect(&what, from.netns(), packet, outcome, passing)?;
            }
        }
        Ok(())
    })
}

#[test]
fn an_unassigned_address_is_dropped_and_not_sent_round() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let node = lab.node("a1")?;
        let unassigned = node.pod_address(77);
        for (from, hook) in [("a1-0", Hook::FromPod), ("a2-0", Hook::FromUplink), ("b1-0", Hook::FromUplink)]
        {
            unassigned_is_dropped(lab, agents, lab.pod(from)?, unassigned, hook)?;
        }
        // The host's own packets meet the kernel's blackhole.
        let answer = Ping::to(unassigned)?.timeout(Duration::from_millis(200)).send(node.netns());
        ensure!(!matches!(answer, Ok(Answer::Reply { .. })), "{answer:?}");
        Ok(())
    })
}

fn unassigned_is_dropped(
    lab: &Lab,
    agents: &Agents,
    from: &Pod,
    unassigned: IpAddr,
    hook: Hook,
) -> Result<()> {
    let (node, agent) = (lab.node("a1")?, agents.get("a1")?);
    // Resolves the neighbours on the way.
    Ping::to(node.pod_address(11))?.expect_reply(from)?;
    let uplink = Capture::start(node.netns(), Node::UPLINK, Keep::Whole)?;
    let before = agent.counters()?;
    let answer = Ping::to(unassigned)?.timeout(Duration::from_millis(200)).send(from.netns())?;
    ensure!(!matches!(answer, Answer::Reply { .. }), "{unassigned} answers");
    let counted = agent.counters()?.since(&before)?;
    let captured = uplink.stop()?;
    let dropped = counted.packets(hook, Outcome::DropUnassigned);
    ensure!(dropped == 1, "from {}: counted is\n{counted}", from.name());
    ensure!(counted.dropped() == 1, "from {}: counted is\n{counted}", from.name());
    let mut sent = captured.packets().filter(|packet| packet.outgoing);
    ensure!(sent.all(|packet| packet.inner().destination != unassigned), "it is sent on:\n{captured}");
    Ok(())
}
