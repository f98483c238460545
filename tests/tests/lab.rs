//! The lab itself, routed by the kernel alone: what the stories rely on, and that their methods can fail.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use tests::{
    capture::{Capture, Keep},
    command, craft,
    lab::{Endpoint, Lab, Node, Topology},
    probe::{self, Answer, Fragmentation, Ping, Series},
};

#[test]
fn without_routes_no_pod_reaches_another_node() -> Result<()> {
    let lab = Lab::build(Topology::flat())?;
    let ping = Ping::to(lab.pod("a2-0")?.address())?.timeout(Duration::from_millis(200));
    let answer = ping.send(lab.pod("a1-0")?.netns())?;
    ensure!(answer == Answer::Silence, "{answer:?}");
    ensure!(lab.node("a1")?.netns().sysctl("net.ipv4.ip_forward")? == "0");
    Ok(())
}

#[test]
fn plain_routes_connect_everything_on_one_segment() -> Result<()> {
    let lab = Lab::build(Topology::flat())?;
    lab.route_plainly()?;
    let uplink = Capture::start(lab.node("a1")?.netns(), Node::UPLINK, Keep::Whole)?;
    for from in lab.endpoints() {
        for to in lab.endpoints().into_iter().filter(|to| to.name() != from.name()) {
            let seen = probe::tcp(from, to, 5000)?;
            ensure!(seen == probe::udp(from, to, 100)?, "TCP and UDP have different sources");
            ensure!(!from.is_pod() || seen.source == from.address(), "{} is seen as {seen:?}", from.name());
            Ping::to(to.address())?.expect_reply(from)?;
        }
    }
    let hops = probe::traceroute(lab.pod("a1-0")?, lab.pod("a2-0")?.address())?;
    let nodes = [lab.node("a1")?.address(), lab.node("a2")?.address(), lab.pod("a2-0")?.address()];
    ensure!(hops == nodes, "{hops:?}");
    let captured = uplink.stop()?;
    ensure!(captured.packets().count() > 100 && !captured.packets().any(|packet| packet.is_encapsulated()));
    let gateway_mac = lab.node("a2")?.netns().mac(Node::UPLINK)?;
    let a2 = lab.pod("a2-0")?.address();
    let mut to_a2 = captured.packets().filter(|packet| packet.outer().destination == a2);
    ensure!(to_a2.all(|packet| packet.to_mac == gateway_mac), "{captured}");
    Ok(())
}

#[test]
fn cables_connect_nodes_without_a_switch() -> Result<()> {
    let lab = Lab::build(Topology::pair())?;
    lab.route_plainly()?;
    let (from, to) = (lab.pod("a1-0")?, lab.pod("a2-1")?);
    ensure!(probe::tcp(from, to, 5000)?.source == from.address());
    let lab = Lab::build(Topology::gateway())?;
    lab.route_plainly()?;
    lab.router().output("nft", &["flush", "ruleset"])?;
    for node in lab.nodes() {
        lab.router().ip(&format!("route add {} via {}", node.pod_prefix(), node.address()))?;
    }
    let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
    let hops = probe::traceroute(from, to.address())?;
    let gateway = lab.node("a1")?.subnet().gateway();
    ensure!(
        hops == [lab.node("a1")?.address(), gateway, lab.node("b1")?.address(), to.address()],
        "{hops:?}"
    );
    let links = lab.switch().ip("-oneline link show")?;
    ensure!(links.lines().count() == 1 && links.contains("LOOPBACK"), "{links}");
    Ok(())
}

#[test]
fn the_router_drops_what_is_not_between_nodes() -> Result<()> {
    let lab = Lab::build(Topology::two_subnets())?;
    lab.route_plainly()?;
    let (a1, b1) = (lab.node("a1")?, lab.node("b1")?);
    Ping::to(b1.address())?.expect_reply(a1)?;
    Ping::to(lab.pod("a2-1")?.address())?.expect_reply(lab.pod("a1-0")?)?;
    ensure!(lab.router_drops()? == 0);
    let ping = Ping::to(lab.pod("b1-0")?.address())?.timeout(Duration::from_millis(200));
    let answer = ping.send(lab.pod("a1-0")?.netns())?;
    ensure!(answer == Answer::Silence, "{answer:?}");
    ensure!(lab.router_drops()? == 1, "the router dropped {} packets", lab.router_drops()?);
    ensure!(lab.topology().subnets.iter().map(Lab::router_interface).eq(["net-a", "net-b"]));
    Ok(())
}

#[test]
fn sizes_and_flags_of_a_ping_are_as_asked() -> Result<()> {
    let lab = Lab::build(Topology::flat().with_pod_mtu(1500))?;
    lab.route_plainly()?;
    let (from, to) = (lab.pod("a1-0")?, lab.pod("a2-0")?);
    let whole = Ping::to(to.address())?.size(1500).fragmentation(Fragmentation::Forbidden);
    whole.expect_reply(from)?;
    ensure!(whole.size(1501).send(from.netns())? == Answer::TooBigHere);
    let capture = Capture::start(to.netns(), "eth0", Keep::Whole)?;
    Ping::to(to.address())?.size(1501).expect_reply(from)?;
    let captured = capture.stop()?;
    ensure!(captured.arrived(to.address()).filter(|packet| packet.outer().fragment).count() == 2);
    lab.set_uplink_mtu(1400)?;
    let answer = whole.send(from.netns())?;
    ensure!(matches!(answer, Answer::FragmentationNeeded { mtu: 1400, .. }), "{answer:?}");
    lab.set_pod_mtu(1400)?;
    ensure!(whole.send(from.netns())? == Answer::TooBigHere);
    Ok(())
}

#[test]
fn a_series_counts_each_loss() -> Result<()> {
    let lab = Lab::build(Topology::flat())?;
    lab.route_plainly()?;
    let (a1, to) = (lab.node("a1")?, lab.pod("a2-0")?.address());
    let cut = Series::start(lab.pod("a1-0")?, to)?;
    let whole = Series::start(lab.pod("a1-1")?, lab.pod("a1-0")?.address())?;
    thread::sleep(Duration::from_millis(200));
    a1.netns().ip("route replace blackhole 10.244.2.0/24")?;
    thread::sleep(Duration::from_millis(200));
    a1.netns().ip("route replace 10.244.2.0/24 via 10.0.1.12")?;
    thread::sleep(Duration::from_millis(200));
    let (cut, whole) = (cut.stop()?, whole.stop()?);
    ensure!((10..=40).contains(&cut.lost().len()), "{cut}");
    ensure!(cut.expect_no_loss().is_err());
    whole.expect_no_loss()?;
    ensure!(whole.sent() >= 55, "{whole}");
    Ok(())
}

#[test]
fn crafted_packets_and_streams_arrive() -> Result<()> {
    let lab = Lab::build(Topology::flat())?;
    lab.route_plainly()?;
    let (from, to) = (lab.pod("a1-0")?, lab.pod("a2-0")?);
    let capture = Capture::start(to.netns(), "eth0", Keep::Whole)?;
    let (own, spoofed, there) = (from.address(), lab.pod("a3-0")?.address(), to.address());
    let inner = craft::echo_reply(spoofed, there)?;
    craft::send(from.netns(), &inner)?;
    craft::send(from.netns(), &craft::ipip(own, there, &inner)?)?;
    thread::sleep(Duration::from_millis(100));
    let captured = capture.stop()?;
    let mut packets = captured.arrived(there);
    let (plain, nested) = (packets.next().context("no packet")?, packets.next().context("no second")?);
    ensure!(plain.outer().source == spoofed && !plain.is_encapsulated(), "{captured}");
    ensure!(nested.outer().source == own && nested.inner().source == spoofed, "{captured}");
    let capture = Capture::start(to.netns(), "eth0", Keep::Headers)?;
    let result = probe::throughput(from, to, 1)?;
    let captured = capture.stop()?;
    let largest = captured.frames().iter().map(|frame| frame.length).max().unwrap_or_default();
    ensure!(result.bytes > 1_000_000 && largest > 10_000, "{result:?}, largest frame {largest}");
    Ok(())
}

#[test]
fn a_lab_can_be_extended_and_leaves_nothing() -> Result<()> {
    let mut lab = Lab::build(Topology::two_subnets())?;
    let id = lab.id().to_owned();
    let address = lab.node("a1")?.pod_address(200);
    let pod = lab.add_pod("b1", address)?;
    ensure!(pod.node() == "b1" && pod.address() == address && pod.name() == "b1-2");
    lab.add_uplink("a2", "eth1")?;
    lab.node("a2")?.netns().ip("link show dev eth1")?;
    let sleeper = tests::process::Background::spawn(pod.netns().command("sleep").arg("60"))?;
    drop(lab);
    ensure!(!command::output(std::process::Command::new("ip").args(["netns", "list"]))?.contains(&id));
    ensure!(!fs::read_to_string("/proc/self/mountinfo")?.contains(&format!("/run/podroute-lab/{id}")));
    ensure!(!fs::exists(format!("/run/podroute-lab/{id}"))?);
    let state = fs::read_to_string(format!("/proc/{}/stat", sleeper.pid())).unwrap_or_default();
    ensure!(state.is_empty() || state.contains(") Z "), "a process of the lab still runs: {state}");
    Ok(())
}

#[test]
fn a_crashed_runs_lab_is_swept_and_a_live_one_is_not() -> Result<()> {
    let (crashed, live) = (Lab::build(Topology::flat())?, Lab::build(Topology::flat())?);
    let folder = |lab: &Lab| format!("/run/podroute-lab/{}", lab.id());
    let sleeper = tests::process::Background::spawn(crashed.pod("a1-0")?.netns().command("sleep").arg("60"))?;
    // As if its owner had been another process with the id of this one, long ago.
    fs::write(format!("{}/owner", folder(&crashed)), format!("{} 1", std::process::id()))?;
    tests::lab::sweep()?;
    ensure!(!fs::exists(folder(&crashed))? && fs::exists(folder(&live))?);
    let namespaces = command::output(std::process::Command::new("ip").args(["netns", "list"]))?;
    ensure!(!namespaces.contains(&format!("podroute-{}-", crashed.id())));
    ensure!(namespaces.contains(&format!("podroute-{}-", live.id())));
    let state = fs::read_to_string(format!("/proc/{}/stat", sleeper.pid())).unwrap_or_default();
    ensure!(state.is_empty() || state.contains(") Z "), "a process of the crashed run still runs: {state}");
    live.route_plainly()?;
    Ping::to(live.pod("a2-0")?.address())?.expect_reply(live.pod("a1-0")?)?;
    Ok(())
}
