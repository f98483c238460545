//! Packets that are not plain, in every encapsulation of both families: fragments, extension headers, sizes around the
//! path MTU, hop limits that end on the way.

use std::{net::IpAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use tests::{
    Failure,
    agent::{Agents, Settings},
    capture::{Capture, Checksum, Keep},
    craft::{self, Extension},
    family::Family,
    lab::{Endpoint, Lab, Node, Pod, Topology, View},
    probe::{self, Answer, Fragmentation, Ping},
    state::{Encapsulation, State},
    story, wait,
    way::{self, Way},
};

/// Between a1 and a2 packets go as they are where they can, between a1 and b1 in a tunnel.
const MODE: Encapsulation = Encapsulation::CrossSubnet;

fn each_topology(body: impl Fn(&Lab, &Agents) -> Result<()>) -> Result<(), Failure> {
    let settings = Settings::default();
    for topology in [Topology::dual_stack(), Topology::v6_nodes(), Topology::v4_nodes()] {
        let name = topology.name;
        story(topology, |lab, agents| {
            agents.start(lab, &settings, &State::of(lab, MODE))?;
            body(lab, agents).with_context(|| format!("in the topology {name}"))?;
            let drops = lab.router_drops()?;
            ensure!(drops == 0, "{drops} packets of pods went to the router unencapsulated");
            Ok(())
        })?;
    }
    Ok(())
}

/// A pod of each kind of place, by its address of this family: on the same node, in the same subnet, in another.
fn destinations(lab: &Lab, family: Family) -> Result<Vec<View<'_>>> {
    let view = |name: &&str| {
        View::new(lab.pod(name)?, family).with_context(|| format!("{name} has no {family} address"))
    };
    ["a1-1", "a2-0", "b1-0"].iter().map(view).collect()
}

#[test]
fn fragments_pass_in_every_encapsulation() -> Result<(), Failure> {
    each_topology(|lab, _| {
        let from = lab.pod("a1-0")?;
        for family in Family::ALL {
            for to in destinations(lab, family)? {
                fragments_pass(lab, from, &to).with_context(|| format!("to {}", to.address()))?;
            }
        }
        Ok(())
    })
}

fn fragments_pass(lab: &Lab, from: &Pod, to: &dyn Endpoint) -> Result<()> {
    let ping = Ping::to(to.address())?.size(4000);
    ping.expect_reply(from)?;
    let uplink = Capture::start(lab.node(from.node())?.netns(), Node::UPLINK, Keep::Whole)?;
    ping.expect_reply(from)?;
    let captured = uplink.stop()?;
    let way = way::demanded(lab, MODE, from, to)?.context("nothing is refused")?;
    let fragments = captured.packets().filter(|packet| packet.inner().destination == to.address());
    let fragments = fragments.collect::<Vec<_>>();
    let count = if way == Way::Local { 0 } else { 3 };
    ensure!(fragments.len() == count, "{} fragments instead of {count}:\n{captured}", fragments.len());
    for fragment in &fragments {
        ensure!(fragment.inner().fragment, "{fragment:?}");
        ensure!(fragment.is_encapsulated() == (way == Way::Ipip), "{fragment:?}");
        ensure!(way == Way::Direct || !fragment.outer().fragment, "the tunnel is fragmented: {fragment:?}");
    }
    Ok(())
}

#[test]
fn extension_headers_pass_in_every_encapsulation() -> Result<(), Failure> {
    each_topology(|lab, agents| {
        let from = lab.pod("a1-0")?;
        let source = from.address_of(Family::V6).context("a1-0 has no IPv6 address")?;
        for name in ["a1-1", "a2-0", "b1-0"] {
            let to = lab.pod(name)?;
            for extensions in [
                &[Extension::DestinationOptions][..],
                &[Extension::HopByHop],
                &[Extension::HopByHop, Extension::DestinationOptions],
                // An atomic fragment (RFC 6946): all there is, and yet with a fragment header.
                &[Extension::Fragment { offset: 0, more: false }],
            ] {
                arrives(from, source, to, extensions)
                    .with_context(|| format!("to {name}, {extensions:?}"))?;
            }
        }
        for (node, agent) in agents.iter() {
            let counters = agent.counters()?;
            ensure!(counters.dropped() == 0, "{node} has dropped packets:\n{counters}");
        }
        Ok(())
    })
}

fn arrives(from: &Pod, source: IpAddr, to: &Pod, extensions: &[Extension]) -> Result<()> {
    let destination = to.address_of(Family::V6).context("no IPv6 address")?;
    // Resolves the neighbours on the way.
    Ping::to(destination)?.expect_reply(from)?;
    let packet = craft::Packet::echo_reply(source, destination)?.traffic_class(0xb8);
    let packet = extensions.iter().fold(packet, |packet, extension| packet.extension(*extension));
    let inside = Capture::start(to.netns(), Pod::INSIDE, Keep::Whole)?;
    craft::send(from.netns(), &packet.bytes()?)?;
    thread::sleep(Duration::from_millis(50));
    let captured = inside.stop()?;
    let mut crafted = captured.packets().filter(|packet| packet.payload.get(4..6) == Some(&ID[..]));
    let arrived = crafted.next().with_context(|| captured.to_string())?;
    ensure!(crafted.next().is_none(), "it comes more than once:\n{captured}");
    let header = arrived.outer();
    let hops = if from.node() == to.node() { 1 } else { 2 };
    ensure!((header.ttl, header.dscp) == (64 - hops, 0x2e), "{arrived:?}");
    ensure!((header.source, header.length) == (source, 40 + 8 * extensions.len()), "{arrived:?}");
    ensure!(arrived.checksum() == Some(Checksum::Right), "{arrived:?}");
    Ok(())
}

/// Identifier of crafted messages, as it is in them.
const ID: [u8; 2] = craft::IDENTIFIER.to_be_bytes();

#[test]
fn the_path_mtu_is_what_the_outer_header_leaves() -> Result<(), Failure> {
    for topology in [Topology::dual_stack(), Topology::v6_nodes(), Topology::v4_nodes()] {
        story(topology.with_pod_mtu(Topology::UPLINK_MTU), |lab, agents| {
            // Pods as they are made without regard to the tunnel: they have to be told.
            let settings = Settings { pod_mtu: Some("keep"), ..Settings::default() };
            agents.start(lab, &settings, &State::of(lab, MODE))?;
            let from = lab.pod("a1-0")?;
            for family in Family::ALL {
                for to in destinations(lab, family)? {
                    let limit = limit(lab, from, &to)?;
                    told(from, &to, limit).with_context(|| format!("to {}: {limit}", to.address()))?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The largest packet that passes between two pods.
fn limit(lab: &Lab, from: &dyn Endpoint, to: &dyn Endpoint) -> Result<u16> {
    Ok(match way::demanded(lab, MODE, from, to)?.context("nothing is refused")? {
        Way::Local | Way::Direct => Topology::UPLINK_MTU,
        Way::Ipip => Topology::UPLINK_MTU - way::underlay(lab, from, to)?.header(),
    })
}

fn told(from: &Pod, to: &dyn Endpoint, limit: u16) -> Result<()> {
    let fits = Ping::to(to.address())?.size(limit).fragmentation(Fragmentation::Forbidden);
    fits.expect_reply(from)?;
    let answer = fits.size(limit + 1).send(from.netns())?;
    let right = match answer {
        Answer::FragmentationNeeded { mtu, .. } => mtu == limit && limit < Topology::UPLINK_MTU,
        Answer::TooBigHere => limit == Topology::UPLINK_MTU,
        _ => false,
    };
    ensure!(right, "{answer:?}");
    // As applications learn it, and then use it: nothing is lost but what was too big.
    let trace = probe::tracepath(from, to)?;
    ensure!(trace.mtu == limit, "{trace:?}");
    probe::tcp(from, to, 60_000)?;
    wait::until_ok("3000 bytes to pass", Duration::from_secs(10), || probe::udp(from, to, 3000))?;
    Ok(())
}

#[test]
fn a_trace_shows_the_nodes_in_both_families() -> Result<(), Failure> {
    each_topology(|lab, _| {
        // More errors a second than hosts send by themselves.
        for host in lab.endpoints() {
            host.netns().set_sysctl("net.ipv4.icmp_ratelimit", "0")?;
            host.netns().set_sysctl("net.ipv6.icmp.ratelimit", "0")?;
        }
        let from = lab.pod("a1-0")?;
        for family in Family::ALL {
            for to in destinations(lab, family)? {
                let hops = probe::traceroute(from, to.address())?;
                let by_udp = probe::traceroute_by_udp(from, to.address())?;
                ensure!(by_udp == hops, "to {}: by UDP {by_udp:?}, by ICMP {hops:?}", to.address());
                let nodes = if from.node() == to.node() { vec!["a1"] } else { vec!["a1", to.node()] };
                ensure!(hops.len() == nodes.len() + 1, "to {}: {hops:?}", to.address());
                for (hop, name) in hops.iter().zip(nodes) {
                    let node = lab.node(name)?;
                    let known = [node.address_of(family), node.pod_address_of(family, 1)];
                    ensure!(known.contains(&Some(*hop)), "{hop} is not {name}: {hops:?}");
                }
            }
        }
        Ok(())
    })
}
