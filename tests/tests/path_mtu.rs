//! A link between the subnets takes less than the nodes' uplinks do: the agents learn it from what the router says.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use etherparse::{
    Icmpv4Type, Icmpv6Type, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, icmpv4::DestUnreachableHeader,
};
use node_ebpf_common::{Hook, Outcome};
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agent, Agents, Settings},
    capture::{Capture, Keep},
    craft,
    family::Family,
    lab::{Endpoint, Lab, Node, Topology, View},
    probe::{self, Answer, Fragmentation, Ping},
    state::{Encapsulation, State},
    story, wait, way,
};

/// What passes between the subnets, in bytes.
const NARROW: u16 = 1400;
/// Fits the pods' interfaces and the uplinks, but not between the subnets.
const TOO_BIG: u16 = 1450;
const SOON: Duration = Duration::from_secs(1);
/// Longer than anything takes that is waited for, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every encapsulation, in a lab of its own, with the router's routes narrowed; the ends are pods in two subnets, by
/// the family of the inner packets. The last argument is the largest that fits.
fn each_encapsulation(body: impl Fn(&Lab, &Agents, [View<'_>; 2], u16) -> Result<()>) -> Result<(), Failure> {
    for (topology, inner) in [
        (Topology::two_subnets(), Family::V4),
        (Topology::v4_nodes(), Family::V6),
        (Topology::v6_nodes(), Family::V4),
        (Topology::dual_stack(), Family::V6),
    ] {
        let name = topology.name;
        story(topology, |lab, agents| {
            agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
            narrow(lab)?;
            let [from, to] = ends(lab, inner)?;
            // Resolves the neighbours on the way.
            Ping::to(to.address())?.expect_reply(&from)?;
            let limit = NARROW - way::underlay(lab, &from, &to)?.header();
            body(lab, agents, [from, to], limit).with_context(|| format!("{inner} in the topology {name}"))
        })?;
    }
    Ok(())
}

fn ends(lab: &Lab, family: Family) -> Result<[View<'_>; 2]> {
    let view = |name| View::new(lab.pod(name)?, family).with_context(|| format!("{name} has no {family}"));
    Ok([view("a1-0")?, view("b1-0")?])
}

/// The uplinks keep their MTU, and so do the router's ports: larger packets get to it, but not on.
fn narrow(lab: &Lab) -> Result<()> {
    for subnet in &lab.topology().subnets {
        let port = Lab::router_interface(subnet);
        for network in &subnet.networks {
            let (prefix, gateway) = (network.prefix.trunc(), network.gateway);
            let made_by_kernel = match Family::of(gateway) {
                Family::V4 => format!("scope link src {gateway}"),
                Family::V6 => "metric 256".to_owned(),
            };
            lab.router().ip(&format!(
                "route replace {prefix} dev {port} proto kernel {made_by_kernel} mtu {NARROW}"
            ))?;
        }
    }
    Ok(())
}

/// What the agent has learned: address of the other node and bytes.
fn learned(agent: &Agent) -> Result<Vec<(String, u64)>> {
    let status = agent.status()?;
    let rows = status["path-mtus"].as_array().context("no path MTUs in the status")?;
    let row = |row: &Value| Some((row["node-address"].as_str()?.to_owned(), row["bytes"].as_u64()?));
    rows.iter().map(row).collect::<Option<_>>().with_context(|| status["path-mtus"].to_string())
}

/// The first packet is lost for want of an answer; the next one gets it.
fn lost_once_then_told(from: &View<'_>, to: &View<'_>, limit: u16) -> Result<()> {
    let whole = Ping::to(to.address())?.fragmentation(Fragmentation::Forbidden).timeout(SOON / 5);
    let first = whole.size(TOO_BIG).send(from.netns())?;
    ensure!(first == Answer::Silence, "{first:?}");
    wait::until_ok("the node to answer", PATIENCE, || {
        let answer = whole.size(limit + 1).send(from.netns())?;
        let told = matches!(answer, Answer::FragmentationNeeded { mtu, .. } if mtu == limit);
        ensure!(told, "{answer:?} instead of {limit}");
        Ok(())
    })?;
    whole.size(limit).expect_reply(from)?;
    Ok(())
}

#[test]
fn tcp_gets_through_a_narrower_link() -> Result<(), Failure> {
    each_encapsulation(|_, _, [from, to], _| {
        for (from, to) in [(&from, &to), (&to, &from)] {
            let sent = probe::throughput(from, to, 2)?;
            ensure!(sent.bytes > 1_000_000 && sent.longest_stall < SOON, "{sent:?}");
        }
        Ok(())
    })
}

#[test]
fn a_packet_that_does_not_fit_is_lost_once_and_answered_then() -> Result<(), Failure> {
    each_encapsulation(|lab, agents, [from, to], limit| {
        lost_once_then_told(&from, &to, limit)?;
        let trace = probe::tracepath(&from, &to)?;
        ensure!(trace.mtu == limit, "{trace:?}");
        let underlay = way::underlay(lab, &from, &to)?;
        let far = lab.node("b1")?.address_of(underlay).context("b1 has no such address")?;
        let agent = agents.get("a1")?;
        let learned = learned(agent)?;
        ensure!(learned == [(far.to_string(), NARROW.into())], "{learned:?}");
        let lookup = agent.json(&["lookup", &to.address().to_string()])?;
        ensure!(
            (&lookup["mtu"], &lookup["path-mtu"]["bytes"]) == (&limit.into(), &NARROW.into()),
            "{lookup}"
        );
        let kernel = lookup["kernel-route"].as_str().unwrap_or_default();
        ensure!(kernel.contains(&format!("mtu {limit}")), "{kernel}");
        // The pods' interfaces and the way within the subnet are as before.
        let near =
            View::new(lab.pod("a2-0")?, Family::of(to.address())).context("a2-0 has no such address")?;
        Ping::to(near.address())?
            .size(TOO_BIG)
            .fragmentation(Fragmentation::Forbidden)
            .expect_reply(&from)?;
        Ok(())
    })
}

/// Where nothing is known yet, the router fragments the outer packet, of which nobody is told.
#[test]
fn what_may_be_fragmented_is_fragmented_inside_of_the_tunnel() -> Result<(), Failure> {
    each_encapsulation(|lab, agents, [from, to], limit| {
        let (inner, outer) = (Family::of(to.address()), way::underlay(lab, &from, &to)?);
        let dropped = || -> Result<u64> {
            let counters = [agents.get("a1")?.counters()?, agents.get("b1")?.counters()?];
            let of =
                |outcome| counters.iter().map(|counters| counters.packets(Hook::FromUplink, outcome)).sum();
            Ok(of(Outcome::DropTunnelFragment))
        };
        if (inner, outer) == (Family::V4, Family::V4) {
            let answer = Ping::to(to.address())?.size(TOO_BIG).send(from.netns())?;
            ensure!(answer == Answer::Silence && dropped()? > 0, "{answer:?}");
        }
        lost_once_then_told(&from, &to, limit)?;
        lost_once_then_told(&to, &from, limit)?;
        let before = dropped()?;
        let capture = Capture::start(lab.node("a1")?.netns(), Node::UPLINK, Keep::Whole)?;
        Ping::to(to.address())?.size(TOO_BIG).expect_reply(&from)?;
        probe::udp(&from, &to, 3000)?;
        let captured = capture.stop()?;
        let packets = captured.packets().filter(|packet| packet.inner().destination == to.address());
        let packets = packets.collect::<Vec<_>>();
        ensure!(packets.iter().filter(|packet| packet.inner().fragment).count() >= 5, "{captured}");
        for packet in packets {
            ensure!(packet.is_encapsulated() && !packet.outer().fragment, "{packet:?}");
            ensure!(packet.outer().total <= NARROW.into(), "{packet:?}");
        }
        ensure!(dropped()? == before, "{} fragments of tunnel packets", dropped()? - before);
        Ok(())
    })
}

/// A forged "too big" about a packet of this kind between these addresses.
fn forge(lab: &Lab, (source, destination): (&str, &str), mtu: u16) -> Result<()> {
    let mut packet = Vec::new();
    match (source.parse()?, destination.parse()?) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (router, a1) = ([10, 0, 1, 1], [10, 0, 1, 11]);
            let quoted = Ipv4Header::new(1480, 64, IpNumber::IPV4, source.octets(), destination.octets())?;
            let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
            let message =
                PacketBuilder::ipv4(router, a1, 64).icmpv4(Icmpv4Type::DestinationUnreachable(needed));
            message.write(&mut packet, &[&quoted.to_bytes()[..], &[0; 8]].concat())?;
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let end = |host: &str| host.parse::<Ipv6Addr>().map(|end| end.octets());
            let quoted = Ipv6Header {
                payload_length: 1460,
                next_header: IpNumber::IPV6,
                hop_limit: 64,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            let too_big = Icmpv6Type::PacketTooBig { mtu: mtu.into() };
            let message =
                PacketBuilder::ipv6(end("fd00:0:0:1::1")?, end("fd00:0:0:1::11")?, 64).icmpv6(too_big);
            message.write(&mut packet, &[&quoted.to_bytes()[..], &[0; 48]].concat())?;
        }
        _ => anyhow::bail!("two families"),
    }
    craft::send(lab.router(), &packet)
}

#[test]
fn forged_reports_do_little() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let agent = agents.get_mut("a1")?;
        let (a1, b1) = ("10.0.1.11", "10.0.2.11");
        let (a1_v6, b1_v6) = ("fd00:0:0:1::11", "fd00:0:0:2::11");
        for (ends, mtu) in [
            ((a1, "10.0.9.9"), 1000),
            (("10.0.1.99", b1), 1000),
            // Adjacent: nothing to this node is encapsulated.
            ((a1, "10.0.1.12"), 1000),
            ((a1, b1), 1500),
            ((a1, b1), 0),
            ((a1_v6, b1_v6), 1279),
            // Taken, as the last ones: by then the others have been looked at.
            ((a1, b1), 68),
            ((a1_v6, b1_v6), 1290),
        ] {
            forge(lab, ends, mtu)?;
        }
        let expected = [(b1.to_owned(), 552), (b1_v6.to_owned(), 1290)];
        wait::until_ok("what can be believed", PATIENCE, || {
            let learned = learned(agent)?;
            ensure!(learned == expected, "{learned:?}");
            Ok(())
        })?;
        for family in Family::ALL {
            let [from, to] = ends(lab, family)?;
            Ping::to(to.address())?.size(1280).expect_reply(&from)?;
            probe::tcp(&from, &to, 60_000)?;
        }
        // It is not written down: a restarted agent takes the uplink's word again.
        agent.kill(nix::sys::signal::Signal::SIGTERM)?;
        agent.restart()?;
        ensure!(learned(agent)?.is_empty());
        let [from, to] = ends(lab, Family::V4)?;
        let whole = Ping::to(to.address())?.size(1460).fragmentation(Fragmentation::Forbidden);
        wait::until_ok("whole packets", PATIENCE, || whole.timeout(SOON / 10).expect_reply(&from))?;
        Ok(())
    })
}
