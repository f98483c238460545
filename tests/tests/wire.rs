//! What is on the wire, seen by captures.

use std::{net::IpAddr, time::Duration};

use anyhow::{Result, ensure};
use tests::{
    Failure,
    agent::Settings,
    capture::{Capture, Captured, Keep, Packet},
    lab::{Endpoint, Lab, Node, Pod, Topology},
    probe::{self, Ping, Throughput},
    state::{Encapsulation, State},
    story, wait,
};

/// Packets of one conversation, captured at the uplinks of both ends.
struct Conversation {
    near: Captured,
    far: Captured,
    pods: (IpAddr, IpAddr),
}

impl Conversation {
    /// Lets two endpoints talk over ICMP, TCP and UDP.
    fn hold(lab: &Lab, from: &dyn Endpoint, to: &dyn Endpoint) -> Result<Self> {
        Ping::to(to.address())?.expect_reply(from)?;
        let near = Capture::start(lab.node(from.node())?.netns(), Node::UPLINK, Keep::Whole)?;
        let far = Capture::start(lab.node(to.node())?.netns(), Node::UPLINK, Keep::Whole)?;
        Ping::to(to.address())?.expect_reply(from)?;
        let source = probe::tcp(from, to, 3000)?.source;
        probe::udp(from, to, 500)?;
        Ok(Self { near: near.stop()?, far: far.stop()?, pods: (source, to.address()) })
    }

    /// Its packets, first at the sender's uplink, then at the receiver's.
    fn packets(&self) -> Result<[Vec<Packet>; 2]> {
        let mine = |captured: &Captured| {
            captured
                .packets()
                .filter(|packet| packet.is_between(self.pods.0, self.pods.1))
                .collect::<Vec<_>>()
        };
        let (near, far) = (mine(&self.near), mine(&self.far));
        for (packets, captured) in [(&near, &self.near), (&far, &self.far)] {
            ensure!(packets.len() >= 10, "too few packets: {captured}");
            for protocol in [1, 6, 17] {
                ensure!(
                    packets.iter().any(|packet| packet.inner().protocol == protocol),
                    "no protocol {protocol}: {captured}"
                );
            }
        }
        Ok([near, far])
    }
}

#[test]
fn direct_packets_carry_the_next_hops_mac_and_no_other_header() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let (a1, a2) = (lab.node("a1")?, lab.node("a2")?);
        let macs = (a1.netns().mac(Node::UPLINK)?, a2.netns().mac(Node::UPLINK)?);
        for from in [lab.pod("a1-0")? as &dyn Endpoint, a1] {
            let conversation = Conversation::hold(lab, from, lab.pod("a2-0")?)?;
            for packet in conversation.packets()?.iter().flatten() {
                ensure!(!packet.is_encapsulated(), "{packet:?}");
                let forth = packet.inner().source == conversation.pods.0;
                let expected = if forth { macs } else { (macs.1, macs.0) };
                ensure!((packet.from_mac, packet.to_mac) == expected, "{packet:?}");
                // One hop for a pod's packets, none for the host's own.
                let ttl = if forth && !from.is_pod() { 64 } else { 63 };
                ensure!(packet.inner().ttl == ttl, "{packet:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn encapsulated_packets_have_one_outer_header_between_nodes() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let (a1, b1) = (lab.node("a1")?, lab.node("b1")?);
        let router_mac = lab.router().mac(&Lab::router_interface(a1.subnet()))?;
        for from in [lab.pod("a1-0")? as &dyn Endpoint, a1] {
            let conversation = Conversation::hold(lab, from, lab.pod("b1-0")?)?;
            let [near, far] = conversation.packets()?;
            for packet in near.iter().chain(&far) {
                ensure!(packet.headers.len() == 2 && packet.outer().length == 20, "{packet:?}");
                ensure!(packet.outer().total == packet.inner().total + 20, "{packet:?}");
                ensure!(packet.outer().dont_fragment == packet.inner().dont_fragment, "{packet:?}");
                let forth = packet.inner().source == conversation.pods.0;
                let (source, destination) = if forth { (a1, b1) } else { (b1, a1) };
                ensure!(packet.outer().source == source.address(), "{packet:?}");
                ensure!(packet.outer().destination == destination.address(), "{packet:?}");
            }
            let mut sent = near.iter().filter(|packet| packet.outgoing);
            ensure!(sent.all(|packet| packet.to_mac == router_mac), "{}", conversation.near);
        }
        Ok(())
    })
}

#[test]
fn a_stream_through_the_tunnel_stays_in_large_segments() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, Encapsulation::CrossSubnet);
        agents.start(lab, &Settings::default(), &state)?;
        let (from, to) = (lab.pod("a1-0")?, lab.pod("a2-0")?);
        let direct = stream(lab, from, to, false)?;
        stream(lab, from, lab.pod("b1-0")?, true)?;
        // The same way with a header: the only difference is the encapsulation.
        agents.apply(&state.with_encapsulation(Encapsulation::Always))?;
        for (node, address) in [("a1", to.address()), ("a2", from.address())] {
            let agent = agents.get(node)?;
            wait::until(&format!("{node} to encapsulate"), Duration::from_secs(10), || {
                Ok(agent.json(&["lookup", &address.to_string()])?["kind"] == "ipip")
            })?;
        }
        let ipip = stream(lab, from, to, true)?;
        println!(
            "one TCP stream from a1-0 to a2-0: direct {:.2} Gbit/s, ipip {:.2} Gbit/s, ratio {:.2}; retransmits {} \
             and {}",
            direct.bits_per_second / 1e9,
            ipip.bits_per_second / 1e9,
            ipip.bits_per_second / direct.bits_per_second,
            direct.retransmits,
            ipip.retransmits
        );
        Ok(())
    })
}

/// Transfers for a second, and checks at the sender's uplink that large segments leave in the right form.
fn stream(lab: &Lab, from: &Pod, to: &Pod, encapsulated: bool) -> Result<Throughput> {
    let capture = Capture::start(lab.node(from.node())?.netns(), Node::UPLINK, Keep::Headers)?;
    let result = probe::throughput(from, to, 1)?;
    let captured = capture.stop()?;
    let way = format!("{} to {}, encapsulated: {encapsulated}", from.name(), to.name());
    let (source, destination) = (from.address(), to.address());
    let mut sent = captured.packets().filter(|packet| packet.outgoing).collect::<Vec<_>>();
    sent.retain(|packet| packet.is_between(source, destination));
    ensure!(sent.iter().all(|packet| packet.is_encapsulated() == encapsulated), "{way}: {captured}");
    let bytes: usize = sent.iter().map(|packet| packet.length).sum();
    let mean = bytes / sent.len().max(1);
    ensure!(mean > 8000, "{way}: packets of {mean} bytes on average, so segmentation is not put off");
    ensure!(result.bytes > 20_000_000, "{way}: {result:?}");
    ensure!(result.longest_stall.as_millis() < 500, "{way} stalls: {result:?}");
    // On a busy machine queues overflow now and then; broken segmentation loses a large part.
    let segments = result.bytes / 1400;
    ensure!(result.retransmits * 50 <= segments, "{way}: more than 2 % retransmitted: {result:?}");
    Ok(result)
}
