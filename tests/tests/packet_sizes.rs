//! Packets of every size around the path MTU, in every encapsulation of both families, from pods whose own MTU is
//! larger: what fits arrives as it was sent, what does not is answered once with the right MTU, nothing vanishes.

use anyhow::{Context, Result, ensure};
use tests::{
    Failure,
    agent::Settings,
    capture::{Capture, Captured, Checksum, Keep},
    family::Family,
    lab::{Endpoint, Lab, Pod, Topology, View},
    probe::{self, Answer, Fragmentation, Ping},
    state::{Encapsulation, State},
    story,
    way::{self, Way},
};

/// Between a1 and a2 packets go as they are where they can, between a1 and b1 in a tunnel.
const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// MTU of the pods: no limit on the way is above it.
const POD_MTU: u16 = 1600;
/// Sizes are tried this far below and above the limit, in steps of five.
const AROUND: u16 = 50;

#[test]
fn sizes_around_the_path_mtu_in_every_encapsulation() -> Result<(), Failure> {
    for topology in [Topology::dual_stack(), Topology::v6_nodes(), Topology::v4_nodes()] {
        story(topology.with_pod_mtu(POD_MTU), |lab, agents| {
            agents.start(
                lab,
                &Settings { pod_mtu: Some("keep"), ..Settings::default() },
                &State::of(lab, MODE),
            )?;
            for (family, name) in
                Family::ALL.into_iter().flat_map(|family| [(family, "a2-0"), (family, "b1-0")])
            {
                around_the_limit(lab, family, lab.pod(name)?)
                    .with_context(|| format!("{family} to {name}"))?;
            }
            for (node, agent) in agents.iter() {
                let counters = agent.counters()?;
                ensure!(counters.dropped() == 0, "{node} has dropped packets:\n{counters}");
            }
            ensure!(lab.router_drops()? == 0, "something went to the router unencapsulated");
            Ok(())
        })?;
    }
    Ok(())
}

fn around_the_limit(lab: &Lab, family: Family, pod: &Pod) -> Result<()> {
    let (from, to) = (lab.pod("a1-0")?, View::new(pod, family).context("no such address")?);
    let limit = limit(lab, from, &to)?;
    Ping::to(to.address())?.expect_reply(from)?;
    unfragmented(from, (pod, &to), limit)?;
    if family == Family::V4 {
        fragmented(from, &to, limit)?;
    }
    // UDP with an increasing hop limit, and as large as the pod's own link allows at first.
    let trace = probe::tracepath(from, &to)?;
    ensure!(trace.mtu == limit, "{trace:?} instead of {limit}");
    ensure!(trace.hops.len() == 3, "{trace:?}");
    for (hop, name) in trace.hops.iter().zip([from.node(), pod.node()]) {
        let node = lab.node(name)?;
        let known = [node.address_of(family), node.pod_address_of(family, 1)];
        ensure!(known.contains(&Some(*hop)), "{hop} is not {name}: {trace:?}");
    }
    Ok(())
}

/// The largest packet that passes between two pods.
fn limit(lab: &Lab, from: &dyn Endpoint, to: &dyn Endpoint) -> Result<u16> {
    let way = way::demanded(lab, MODE, from, to)?.context("nothing is refused")?;
    let header = if way == Way::Ipip { way::underlay(lab, from, to)?.header() } else { 0 };
    Ok(Topology::UPLINK_MTU - header)
}

fn sizes(limit: u16) -> Vec<u16> {
    let mut sizes = (limit - AROUND..=limit + AROUND).step_by(5).collect::<Vec<_>>();
    sizes.extend([limit - 1, limit + 1]);
    sizes
}

/// The MTU that is named to who sends a packet of this size. For IPv6 the kernel looks at the uplink's MTU first, and
/// at the route's only for what the uplink could take (`ip6_forward`): a sender above both is told twice.
fn named(to: &dyn Endpoint, limit: u16, size: u16) -> u16 {
    let by_uplink = to.address().is_ipv6() && size > Topology::UPLINK_MTU;
    if by_uplink { Topology::UPLINK_MTU } else { limit }
}

/// With DF: each size arrives, whole, or is answered, once.
fn unfragmented(from: &Pod, (pod, to): (&Pod, &dyn Endpoint), limit: u16) -> Result<()> {
    let here = Capture::start(from.netns(), Pod::INSIDE, Keep::Whole)?;
    let there = Capture::start(pod.netns(), Pod::INSIDE, Keep::Whole)?;
    let sizes = sizes(limit);
    for size in &sizes {
        let ping = Ping::to(to.address())?.size(*size).fragmentation(Fragmentation::Forbidden);
        let answer = ping.send(from.netns())?;
        let right = match answer {
            Answer::Reply { .. } => *size <= limit,
            Answer::FragmentationNeeded { mtu, .. } => *size > limit && mtu == named(to, limit, *size),
            _ => false,
        };
        ensure!(right, "{size} bytes, limit {limit}: {answer:?}");
    }
    let (here, there) = (here.stop()?, there.stop()?);
    let fitting = sizes.iter().filter(|size| **size <= limit).map(|size| usize::from(*size));
    ensure!(requests(&there, to)? == fitting.collect::<Vec<_>>(), "{there}");
    let errors = here.packets().filter(|packet| !packet.outgoing && is_too_big(&packet.payload)).count();
    let too_big = sizes.iter().filter(|size| **size > limit).count();
    ensure!(errors == too_big, "{errors} errors about {too_big} packets: {here}");
    Ok(())
}

/// Sizes of the echo requests that arrived, each with the checksum that it was sent with.
fn requests(captured: &Captured, to: &dyn Endpoint) -> Result<Vec<usize>> {
    let arrived = captured.packets().filter(|packet| !packet.outgoing && is_request(&packet.payload));
    arrived
        .map(|packet| {
            ensure!(packet.outer().destination == to.address(), "{packet:?}");
            ensure!(packet.checksum() == Some(Checksum::Right), "{packet:?}");
            Ok(packet.length)
        })
        .collect()
}

/// Echo request of ICMP, or of ICMPv6.
fn is_request(message: &[u8]) -> bool {
    matches!(message, [8 | 128, 0, ..])
}

/// "Fragmentation needed" of ICMP, "packet too big" of ICMPv6.
fn is_too_big(message: &[u8]) -> bool {
    matches!(message, [3, 4, ..] | [2, 0, ..])
}

/// Without DF everything arrives, on the way in fragments where it is too big.
fn fragmented(from: &Pod, to: &dyn Endpoint, limit: u16) -> Result<()> {
    for size in sizes(limit) {
        Ping::to(to.address())?.size(size).expect_reply(from)?;
        probe::datagram(from, to, usize::from(size) - 28)?;
    }
    Ok(())
}
