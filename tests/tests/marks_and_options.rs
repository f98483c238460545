//! What a packet's header carries besides addresses, in every encapsulation of both families: DSCP and ECN go out on
//! the outer header too, a congestion mark comes back in (RFC 6040), IPv4 options are no obstacle.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use etherparse::Ipv4HeaderSlice;
use node_ebpf_common::{Hook, Outcome};
use tests::{
    Failure,
    agent::{Agents, Settings},
    capture::{Capture, Captured, Checksum, Keep, Packet},
    command, craft,
    family::Family,
    lab::{Endpoint, Lab, Node, Pod, Topology, View},
    probe::Ping,
    state::{Encapsulation, State},
    story,
    way::{self, Way},
};

/// Between a1 and a2 packets go as they are where they can, between a1 and b1 in a tunnel.
const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// Best effort, AF11, expedited forwarding, all bits.
const DSCPS: [u8; 4] = [0, 10, 46, 63];
const NOT_CAPABLE: u8 = 0;
const CONGESTION: u8 = 3;
/// Identifier of crafted messages, as it is in them.
const ID: [u8; 2] = craft::IDENTIFIER.to_be_bytes();

fn each_topology(body: impl Fn(&Lab, &Agents) -> Result<()>) -> Result<(), Failure> {
    for topology in [Topology::dual_stack(), Topology::v6_nodes(), Topology::v4_nodes()] {
        let name = topology.name;
        story(topology, |lab, agents| {
            agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
            body(lab, agents).with_context(|| format!("in the topology {name}"))
        })?;
    }
    Ok(())
}

/// An unasked echo reply from a1-0 to this pod. The neighbours on the way are known afterwards.
fn message(lab: &Lab, to: &Pod, family: Family) -> Result<craft::Packet> {
    let address = |pod: &Pod| pod.address_of(family).context("no such address");
    let from = lab.pod("a1-0")?;
    Ping::to(address(to)?)?.expect_reply(from)?;
    craft::Packet::echo_reply(address(from)?, address(to)?)
}

/// Sends crafted packets from a1-0; returns what left its node and what came to the pod.
fn sent(lab: &Lab, to: &Pod, packets: &[craft::Packet]) -> Result<[Captured; 2]> {
    let from = lab.pod("a1-0")?;
    let uplink = Capture::start(lab.node("a1")?.netns(), Node::UPLINK, Keep::Whole)?;
    let inside = Capture::start(to.netns(), Pod::INSIDE, Keep::Whole)?;
    packets.iter().try_for_each(|packet| craft::send(from.netns(), &packet.bytes()?))?;
    thread::sleep(Duration::from_millis(50));
    Ok([uplink.stop()?, inside.stop()?])
}

/// The crafted packets of a capture.
fn crafted(captured: &Captured) -> Vec<Packet> {
    captured.packets().filter(|packet| packet.payload.get(4..6) == Some(&ID[..])).collect()
}

/// Every traffic class of [`DSCPS`] with each of the four ECN codepoints.
fn classes() -> Vec<u8> {
    DSCPS.iter().flat_map(|dscp| (0..=3).map(move |ecn| dscp << 2 | ecn)).collect()
}

fn class_of(dscp: u8, ecn: u8) -> u8 {
    dscp << 2 | ecn
}

#[test]
fn dscp_and_ecn_are_on_the_outer_header_and_stay_on_the_inner_one() -> Result<(), Failure> {
    each_topology(|lab, _| {
        for family in Family::ALL {
            for to in ["a1-1", "a2-0", "b1-0"] {
                classes_pass(lab, lab.pod(to)?, family).with_context(|| format!("{family} to {to}"))?;
            }
        }
        Ok(())
    })
}

fn classes_pass(lab: &Lab, to: &Pod, family: Family) -> Result<()> {
    let classes = classes();
    let message = message(lab, to, family)?;
    let packets = classes.iter().map(|class| message.clone().traffic_class(*class)).collect::<Vec<_>>();
    let [uplink, inside] = sent(lab, to, &packets)?;
    let view = View::new(to, family).context("no such address")?;
    let way = way::demanded(lab, MODE, lab.pod("a1-0")?, &view)?;
    let out = crafted(&uplink);
    ensure!(out.len() == if way == Some(Way::Local) { 0 } else { classes.len() }, "{uplink}");
    for (packet, class) in out.iter().zip(&classes) {
        ensure!(packet.is_encapsulated() == (way == Some(Way::Ipip)), "{packet:?}");
        let right = packet.headers.iter().all(|header| class_of(header.dscp, header.ecn) == *class);
        ensure!(right, "class {class:#x}: {:?}", packet.headers);
    }
    arrived(&inside, &classes)
}

/// These classes arrived, in this order, in packets that are whole.
fn arrived(inside: &Captured, classes: &[u8]) -> Result<()> {
    let packets = crafted(inside);
    let seen = packets.iter().map(|packet| class_of(packet.inner().dscp, packet.inner().ecn));
    let seen = seen.collect::<Vec<_>>();
    ensure!(seen == classes, "the classes {seen:02x?} arrived instead of {classes:02x?}: {inside}");
    for packet in &packets {
        ensure!(!packet.is_encapsulated() && packet.checksum() == Some(Checksum::Right), "{packet:?}");
    }
    for frame in inside.frames().iter().filter(|frame| frame.bytes[12..14] == [8, 0]) {
        let header = Ipv4HeaderSlice::from_slice(&frame.bytes[14..])?.to_header();
        ensure!(header.header_checksum == header.calc_header_checksum(), "checksum of {header:?}");
    }
    Ok(())
}

/// A router that marks everything, even what cannot be marked.
const CONGESTED: &str = "table inet congested {
    chain forwarding {
        type filter hook forward priority filter; policy accept;
        ip ecn set ce
        ip6 ecn set ce
    }
}";

#[test]
fn a_congestion_mark_on_the_way_gets_to_the_receiver() -> Result<(), Failure> {
    each_topology(|lab, agents| {
        let (to, agent) = (lab.pod("b1-0")?, agents.get("b1")?);
        for family in Family::ALL {
            let message = message(lab, to, family)?;
            let classes = classes();
            let packets = classes.iter().map(|class| message.clone().traffic_class(*class));
            let packets = packets.collect::<Vec<_>>();
            let before = agent.counters()?;
            command::output_with_input(lab.router().command("nft").args(["-f", "-"]), CONGESTED)?;
            let [_, inside] = sent(lab, to, &packets)?;
            lab.router().output("nft", &["delete", "table", "inet", "congested"])?;
            let counted = agent.counters()?.since(&before)?;
            let (lost, marked): (Vec<u8>, Vec<u8>) =
                classes.iter().partition(|class| *class & 3 == NOT_CAPABLE);
            arrived(&inside, &marked.iter().map(|class| class | CONGESTION).collect::<Vec<_>>())
                .with_context(|| family.to_string())?;
            let dropped = counted.packets(Hook::FromUplink, Outcome::DropCongestionMark);
            ensure!(dropped == lost.len() as u64 && counted.dropped() == dropped, "{counted}");
        }
        Ok(())
    })
}

#[test]
fn ipv4_options_pass_in_every_encapsulation() -> Result<(), Failure> {
    // Padding only; router alert (RFC 2113), which is for routers to look at, not to stop at.
    const OPTIONS: [[u8; 4]; 2] = [[1, 1, 1, 0], [0x94, 4, 0, 0]];
    each_topology(|lab, _| {
        for to in ["a1-1", "a2-0", "b1-0"] {
            let to = lab.pod(to)?;
            let message = message(lab, to, Family::V4)?;
            let packets = OPTIONS.map(|options| message.clone().options(options));
            let [uplink, inside] = sent(lab, to, &packets)?;
            for packet in crafted(&uplink) {
                ensure!(packet.inner().length == 24, "{packet:?}");
                let bare = packet.outer().length == usize::from(packet.outer().family().header());
                ensure!(bare || !packet.is_encapsulated(), "{packet:?}");
            }
            arrived(&inside, &[0, 0]).with_context(|| format!("to {}", to.name()))?;
            ensure!(crafted(&inside).iter().all(|packet| packet.inner().length == 24), "{inside}");
        }
        Ok(())
    })
}
