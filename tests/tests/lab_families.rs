//! The lab with IPv6, routed by the kernel alone: what the dual-stack stories rely on, and that their methods can fail.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use tests::{
    capture::{Capture, Checksum, Keep, Packet},
    craft::{self, Extension},
    family::Family,
    lab::{Endpoint, Lab, Pod, Topology, View},
    probe::{self, Answer, Fragmentation, Ping, Series},
    way,
};

const QUICKLY: Duration = Duration::from_millis(50);

fn v6(endpoint: &dyn Endpoint) -> Result<View<'_>> {
    View::new(endpoint, Family::V6).context("no IPv6 address")
}

/// Between adjacent nodes everything connects but IPv6 over nodes without it, and nothing of pods gets past the router.
#[test]
fn plain_routes_connect_what_the_kernel_can_route_and_the_router_drops_the_rest() -> Result<()> {
    for topology in [Topology::dual_stack(), Topology::v6_nodes(), Topology::v4_nodes()] {
        let lab = Lab::build(topology)?;
        ensure!(lab.node("a1")?.netns().sysctl("net.ipv6.conf.all.forwarding")? == "0");
        lab.route_plainly()?;
        for family in Family::ALL {
            let tried = way::pairs_in(&lab, family).into_iter();
            // A host without an address of the family has none to send from.
            for (from, to) in tried.filter(|(from, _)| from.address_of(family).is_some()) {
                connects_as_it_should(&lab, from, &to)?;
            }
        }
        nodes_reach_each_other(&lab)?;
    }
    Ok(())
}

fn connects_as_it_should(lab: &Lab, from: &dyn Endpoint, to: &dyn Endpoint) -> Result<()> {
    let family = Family::of(to.address());
    let subnets = [from, to].map(|end| lab.node(end.node()).map(|node| node.subnet().name));
    let adjacent = subnets[0].as_ref().ok() == subnets[1].as_ref().ok();
    let carried = family == Family::V4 || way::underlay(lab, from, to)? == family;
    if from.node() == to.node() || (adjacent && carried) {
        let seen = probe::tcp(from, to, 5000)?;
        ensure!(seen == probe::udp(from, to, 100)?, "TCP and UDP have different sources");
        ensure!(Some(seen.source) == from.address_of(family), "{} is seen as {seen:?}", from.name());
        Ping::to(to.address())?.expect_reply(from)?;
        return Ok(());
    }
    let before = lab.router_drops()?;
    // Without a route the kernel refuses to send, or a router says so.
    let answer = Ping::to(to.address())?.timeout(QUICKLY).send(from.netns());
    ensure!(!matches!(answer, Ok(Answer::Reply { .. })), "{} reaches {}", from.name(), to.name());
    let both_pods = from.is_pod() && to.is_pod() && carried;
    let drops = lab.router_drops()? - before;
    let way = format!("{} to {}", from.name(), to.address());
    ensure!(!both_pods || drops == 1, "{way}: the router has dropped {drops} packets, {answer:?}");
    Ok(())
}

fn nodes_reach_each_other(lab: &Lab) -> Result<()> {
    let before = lab.router_drops()?;
    for from in lab.nodes() {
        for to in lab.nodes().iter().filter(|to| to.name() != from.name()) {
            for address in to.addresses() {
                Ping::to(*address)?.expect_reply(from)?;
            }
        }
    }
    ensure!(lab.router_drops()? == before, "the router dropped something between nodes");
    Ok(())
}

#[test]
fn sizes_fragments_and_hop_limits_of_an_ipv6_ping_are_as_asked() -> Result<()> {
    let lab = Lab::build(Topology::dual_stack().with_pod_mtu(1500))?;
    lab.route_plainly()?;
    let (from, to) = (lab.pod("a1-0")?, lab.pod("a2-0")?);
    let to_v6 = v6(to)?;
    let whole = Ping::to(to_v6.address())?.size(1500).fragmentation(Fragmentation::Forbidden);
    whole.expect_reply(from)?;
    ensure!(whole.size(1501).send(from.netns())? == Answer::TooBigHere);
    let capture = Capture::start(to.netns(), Pod::INSIDE, Keep::Whole)?;
    Ping::to(to_v6.address())?.size(4000).expect_reply(from)?;
    let captured = capture.stop()?;
    ensure!(captured.arrived(to_v6.address()).filter(|packet| packet.outer().fragment).count() == 3);
    lab.set_uplink_mtu(1400)?;
    let answer = whole.send(from.netns())?;
    ensure!(matches!(answer, Answer::FragmentationNeeded { mtu: 1400, .. }), "{answer:?}");
    for (family, mtu) in [(Family::V4, 1400), (Family::V6, 1400)] {
        let to = View::new(to, family).context("no address")?;
        let trace = probe::tracepath(from, &to)?;
        ensure!(trace.mtu == mtu, "{family}: {trace:?}");
        let hops = probe::traceroute(from, to.address())?;
        let (a1, a2) = (lab.node("a1")?.address_of(family), lab.node("a2")?.address_of(family));
        ensure!(hops.iter().copied().map(Some).eq([a1, a2, Some(to.address())]), "{family}: {hops:?}");
    }
    Ok(())
}

#[test]
fn crafted_ipv6_packets_series_and_streams_arrive() -> Result<()> {
    let lab = Lab::build(Topology::dual_stack())?;
    lab.route_plainly()?;
    let (from, to) = (lab.pod("a1-0")?, lab.pod("a2-0")?);
    let (source, there) = (v6(from)?.address(), v6(to)?.address());
    let series = Series::start(from, there)?;
    let capture = Capture::start(to.netns(), Pod::INSIDE, Keep::Whole)?;
    let packet = craft::Packet::echo_reply(source, there)?.hop_limit(9).traffic_class(0xb9);
    let packet = packet.extension(Extension::HopByHop).extension(Extension::DestinationOptions);
    craft::send(from.netns(), &packet.bytes()?)?;
    let inner = craft::echo_reply(lab.pod("a1-0")?.address(), to.address())?;
    craft::send(from.netns(), &craft::ipip(source, there, &inner)?)?;
    thread::sleep(Duration::from_millis(100));
    let captured = capture.stop()?;
    let mut crafted = captured.arrived(there).filter(|packet| packet.outer().length > 40);
    let arrived = crafted.next().with_context(|| format!("no packet with extensions: {captured}"))?;
    // Two nodes are on the way.
    ensure!((arrived.outer().ttl, arrived.outer().dscp, arrived.outer().ecn) == (7, 0x2e, 1), "{arrived:?}");
    ensure!(arrived.outer().length == 56 && arrived.checksum() == Some(Checksum::Right), "{arrived:?}");
    let mut tunnelled = captured.arrived(to.address()).filter(Packet::is_encapsulated);
    let families = tunnelled.next().map(|packet| (packet.outer().family(), packet.inner().family()));
    ensure!(families == Some((Family::V6, Family::V4)), "{captured}");
    let result = probe::throughput(from, &v6(to)?, 1)?;
    ensure!(result.bytes > 1_000_000, "{result:?}");
    series.stop()?.expect_no_loss()
}

#[test]
fn pods_find_their_ipv6_gateway_by_neighbour_discovery() -> Result<()> {
    let lab = Lab::build(Topology::v6_nodes())?;
    lab.route_plainly()?;
    let pod = lab.pod("a1-0")?;
    let there = v6(lab.pod("a2-0")?)?.address();
    for _ in 0..2 {
        pod.netns().ip(&format!("-6 neigh flush dev {}", Pod::INSIDE))?;
        Ping::to(there)?.expect_reply(pod)?;
        let shown = pod.netns().ip("-6 neigh show")?;
        ensure!(shown.contains("fe80::ecee:eeff:feee:eeee"), "{shown}");
    }
    Ok(())
}
