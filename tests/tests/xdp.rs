//! XDP at uplinks: what the driver does, what is left to tc, and what becomes of it without a driver that can.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp, XdpMode},
};
use nix::sys::signal::Signal;
use node_ebpf_common::{Hook, Outcome};
use tests::{
    Failure,
    agent::{Agent, Agents, Counters, Settings},
    command, craft,
    lab::{Endpoint, Lab, Node, Topology},
    probe::{self, Ping, Series},
    state::{Encapsulation, State},
    story, wait, way,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
const SOON: Duration = Duration::from_secs(3);

fn with_xdp(mode: &'static str) -> Settings {
    Settings { xdp: Some(mode), audit_interval: Some("500ms"), ..Settings::default() }
}

/// What an agent has counted during the body.
fn counted(agent: &Agent, body: impl FnOnce() -> Result<()>) -> Result<Counters> {
    let before = agent.counters()?;
    body()?;
    agent.counters()?.since(&before)
}

/// The link at the uplink of a node: its own number, and the program's.
fn link(node: &Node) -> Result<(u64, u64)> {
    let pin =
        node.bpffs().join(format!("podroute/links/xdp-{}", node.netns().interface_index(Node::UPLINK)?));
    let mut show = std::process::Command::new("bpftool");
    show.args(["--json", "link", "show", "pinned"]).arg(pin);
    let shown: serde_json::Value = serde_json::from_str(&command::output(&mut show)?)?;
    let number = |name: &str| shown[name].as_u64().with_context(|| format!("no {name} in {shown}"));
    Ok((number("id")?, number("prog_id")?))
}

/// What `ip link` says of XDP at the node's uplink.
fn attached(node: &Node) -> Result<serde_json::Value> {
    let shown = node.netns().output("ip", &["--json", "--details", "link", "show", "dev", Node::UPLINK])?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    Ok(shown[0]["xdp"].clone())
}

#[test]
fn decap_takes_outer_headers_off_before_gro() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        agents.start(lab, &with_xdp("decap"), &State::of(lab, MODE))?;
        let (from, to) = (lab.pod("b1-0")?, lab.pod("a1-0")?);
        ensure!(attached(lab.node("a1")?)?["mode"] == 1, "it is not attached natively");
        for (from, to) in [("a1-0", "b1-0"), ("b1-0", "a1-1"), ("a1-0", "a2-0")] {
            way::expect(lab, agents, MODE, (lab.pod(from)?, lab.pod(to)?))?;
        }
        for address in to.addresses() {
            let ping = Ping::to(*address)?;
            ping.expect_reply(from)?;
            let counted = counted(agents.get("a1")?, || ping.expect_reply(from).map(drop))?;
            ensure!(counted.packets(Hook::Xdp, Outcome::DecapPass) == 1, "{counted}");
            ensure!(counted.packets(Hook::FromUplink, Outcome::Local) == 1, "{counted}");
            ensure!(counted.packets(Hook::FromUplink, Outcome::DecapLocal) == 0, "{counted}");
        }
        // To the host itself, too.
        Ping::to(lab.node("a1")?.pod_address(1))?.expect_reply(from)?;
        probe::udp(from, to, 1000)?;
        // Veths do not of themselves (kernel 6.18); other drivers do.
        lab.node("a1")?.netns().output("ethtool", &["-K", Node::UPLINK, "gro", "on"])?;
        let counted = counted(agents.get("a1")?, || {
            let throughput = probe::throughput(from, to, 1)?;
            println!("{throughput:?}");
            ensure!(throughput.bytes > 10_000_000, "{throughput:?}");
            Ok(())
        })?;
        let frames = counted.packets(Hook::Xdp, Outcome::DecapPass);
        let after_gro = counted.packets(Hook::FromUplink, Outcome::Local);
        ensure!(after_gro * 2 < frames, "GRO has made {after_gro} of {frames}:\n{counted}");
        for (node, agent) in agents.iter() {
            let counters = agent.counters()?;
            ensure!(counters.dropped() == 0, "{node} has dropped packets:\n{counters}");
            ensure!(agent.problems()?.is_empty(), "{:?}", agent.problems()?);
        }
        let status = agents.get("a1")?.cli(&["status"])?;
        ensure!(status.contains("native, decap"), "{status}");
        Ok(())
    })
}

/// IPv4 and IPv6 in one another, both ways.
#[test]
fn headers_of_either_family_come_off_packets_of_either() -> Result<(), Failure> {
    for topology in [Topology::v6_nodes(), Topology::v4_nodes()] {
        story(topology, |lab, agents| {
            agents.start(lab, &with_xdp("decap"), &State::of(lab, Encapsulation::Always))?;
            let (from, to) = (lab.pod("b1-0")?, lab.pod("a1-0")?);
            ensure!(to.addresses().len() == 2, "{:?}", to.addresses());
            for address in to.addresses() {
                let ping = Ping::to(*address)?;
                ping.expect_reply(from)?;
                let counted = counted(agents.get("a1")?, || ping.expect_reply(from).map(drop))?;
                ensure!(counted.packets(Hook::Xdp, Outcome::DecapPass) == 1, "{address}:\n{counted}");
                ensure!(counted.packets(Hook::FromUplink, Outcome::Local) == 1, "{address}:\n{counted}");
                ensure!(counted.dropped() == 0, "{address}:\n{counted}");
            }
            probe::tcp(from, to, 100_000)?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Frames in more than one buffer, which older kernels' programs do not take.
#[test]
fn jumbo_frames_are_decapsulated_too() -> Result<(), Failure> {
    story(Topology::two_subnets().with_pod_mtu(8_900), |lab, agents| {
        lab.set_uplink_mtu(9_000)?;
        agents.start(lab, &with_xdp("decap"), &State::of(lab, MODE))?;
        let (from, to) = (lab.pod("b1-0")?, lab.pod("a1-0")?);
        let agent = agents.get("a1")?;
        ensure!(agent.problems()?.is_empty(), "{:?}", agent.problems()?);
        let ping = Ping::to(to.address())?.size(8_800);
        ping.expect_reply(from)?;
        let counted = counted(agent, || ping.expect_reply(from).map(drop))?;
        ensure!(counted.packets(Hook::Xdp, Outcome::DecapPass) == 1, "{counted}");
        ensure!(counted.packets(Hook::FromUplink, Outcome::Local) == 1, "{counted}");
        probe::tcp(from, to, 1_000_000)?;
        Ok(())
    })
}

#[test]
fn what_must_not_come_in_is_dropped_by_the_driver() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &with_xdp("transit"), &State::of(lab, MODE))?;
        let (node, b1, router) = (lab.node("a1")?, lab.node("b1")?, lab.router());
        let v4 = |endpoint: &dyn Endpoint| endpoint.v4().context("no IPv4 address");
        let (to, own) = (v4(lab.pod("a1-0")?)?, v4(lab.pod("a1-1")?)?);
        let (far, here, there) = (v4(lab.pod("b1-0")?)?, v4(node)?, v4(b1)?);
        router.ip(&format!("route add {}/32 via {here}", to))?;
        Ping::to(node.address())?.expect_reply(b1)?;
        let inner = craft::echo_reply(far, to)?;
        let spoofed = craft::echo_reply(own, to)?;
        let foreign = craft::ipip(node.subnet().gateway(), node.address(), &inner)?;
        let inner_spoofed = craft::ipip(there, here, &craft::echo_reply(own, to)?)?;
        for (what, sender, packet, outcome) in [
            ("a pod's address from outside", router, &spoofed, Outcome::DropSpoofedUplinkSource),
            ("IPIP from no node", router, &foreign, Outcome::DropUnknownTunnelSource),
            ("a foreign pod in IPIP", b1.netns(), &inner_spoofed, Outcome::DropSpoofedInnerSource),
        ] {
            let counted = counted(agents.get("a1")?, || {
                craft::send(sender, packet)?;
                thread::sleep(Duration::from_millis(100));
                Ok(())
            })?;
            ensure!(counted.packets(Hook::Xdp, outcome) == 1, "{what}:\n{counted}");
            ensure!(counted.dropped() == 1, "{what}: tc has seen it too:\n{counted}");
        }
        // What may come in does.
        way::expect(lab, agents, MODE, (lab.pod("b1-0")?, lab.pod("a1-0")?))
    })
}

#[test]
fn a_new_agent_replaces_the_program_in_its_link_and_loses_nothing() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &with_xdp("decap"), &State::of(lab, MODE))?;
        let node = lab.node("a1")?;
        for (signal, mode) in
            [(Signal::SIGKILL, "decap"), (Signal::SIGTERM, "transit"), (Signal::SIGKILL, "decap")]
        {
            let before = link(node)?;
            let pings = [("b1-0", "a1-0"), ("a1-1", "b1-1"), ("a2-0", "a1-0")]
                .map(|(from, to)| Series::start(lab.pod(from)?, lab.pod(to)?.address()));
            thread::sleep(Duration::from_millis(300));
            let agent = agents.get_mut("a1")?;
            agent.kill(signal)?;
            thread::sleep(Duration::from_millis(300));
            agent.configure(&with_xdp(mode))?;
            agent.restart()?;
            thread::sleep(Duration::from_millis(300));
            pings.into_iter().try_for_each(|series: Result<Series>| series?.stop()?.expect_no_loss())?;
            let after = link(node)?;
            ensure!(after.0 == before.0, "{mode}: the link is another one: {before:?}, {after:?}");
            ensure!(after.1 != before.1, "{mode}: the program is the old one: {before:?}, {after:?}");
        }
        switched_off_and_cleaned_up(lab, agents)
    })
}

fn switched_off_and_cleaned_up(lab: &Lab, agents: &mut Agents) -> Result<()> {
    let node = lab.node("a1")?;
    let agent = agents.get_mut("a1")?;
    agent.kill(Signal::SIGTERM)?;
    agent.configure(&with_xdp("off"))?;
    agent.restart()?;
    wait::until("the program to go", SOON, || Ok(attached(node)?.is_null()))?;
    ensure!(link(node).is_err(), "the link is still pinned");
    way::expect(lab, agents, MODE, (lab.pod("b1-0")?, lab.pod("a1-0")?))?;
    let b1 = lab.node("b1")?;
    ensure!(!attached(b1)?.is_null(), "there is none to clean up");
    let agent = agents.get_mut("b1")?;
    agent.kill(Signal::SIGKILL)?;
    agent.cleanup(false)?;
    // The kernel lets go of a link some time after its pin.
    wait::until("cleanup's effect", SOON, || Ok(attached(b1)?.is_null()))?;
    Ok(())
}

/// A veth with fewer queues for receiving than its peer has for sending takes no XDP program.
#[test]
fn where_the_driver_refuses_tc_does_the_work_and_the_status_says_so() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let node = lab.node("a1")?;
        lab.switch().output("ethtool", &["-L", "a1", "tx", "2"])?;
        agents.start(lab, &with_xdp("decap"), &State::of(lab, MODE))?;
        let refused = "XDP does not run at eth0: its driver has no native XDP; tc does the work alone";
        let agent = agents.get("a1")?;
        ensure!(agent.problems()? == [refused], "{:?}", agent.problems()?);
        ensure!(attached(node)?.is_null(), "{}", attached(node)?);
        ensure!(!agent.cli(&["status"])?.contains("native,"), "{}", agent.cli(&["status"])?);
        way::expect(lab, agents, MODE, (lab.pod("b1-0")?, lab.pod("a1-0")?))?;
        let counted = counted(agent, || {
            Ping::to(lab.pod("a1-0")?.address())?.expect_reply(lab.pod("b1-0")?).map(drop)
        })?;
        ensure!(counted.packets(Hook::FromUplink, Outcome::DecapLocal) == 1, "{counted}");
        // It is said once, whatever the number of audits.
        thread::sleep(Duration::from_millis(1200));
        let log = fs::read_to_string(node.log()).context("the log")?;
        ensure!(log.matches(refused).count() == 1, "{log}");
        // Once the interface can, it does.
        lab.switch().output("ethtool", &["-L", "a1", "tx", "1"])?;
        wait::until("the program to be attached", SOON, || Ok(attached(node)?["mode"] == 1))?;
        wait::until("the problem to go", SOON, || Ok(agent.problems()?.is_empty()))?;
        way::expect(lab, agents, MODE, (lab.pod("b1-0")?, lab.pod("a1-0")?))
    })
}

#[test]
fn another_ones_program_is_left_alone() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let node = lab.node("a1")?;
        let foreign = foreign_program(node)?;
        let before = attached(node)?;
        ensure!(!before.is_null(), "there is no foreign program");
        agents.start(lab, &with_xdp("decap"), &State::of(lab, MODE))?;
        let agent = agents.get("a1")?;
        let problems = agent.problems()?;
        let [problem] = &problems[..] else { return Err(anyhow::anyhow!("{problems:?}")) };
        ensure!(problem.contains("eth0: another XDP program runs there"), "{problem}");
        ensure!(attached(node)? == before, "the foreign program is gone: {}", attached(node)?);
        way::expect(lab, agents, MODE, (lab.pod("b1-0")?, lab.pod("a1-0")?))?;
        drop(foreign);
        wait::until("the problem to go", SOON, || Ok(agent.problems()?.is_empty()))?;
        ensure!(link(node)?.1 == attached(node)?["prog"]["id"], "{}", attached(node)?);
        Ok(())
    })
}

/// A program at the uplink that no agent has put there: it ends with what is returned.
fn foreign_program(node: &Node) -> Result<Ebpf> {
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/node-ebpf.o");
    let object = fs::read(object).with_context(|| format!("{object}: run `cargo xtask build-ebpf`"))?;
    let mut ebpf = EbpfLoader::new().btf(None).load(&object)?;
    let program: &mut Xdp = ebpf.program_mut(Hook::Xdp.program()).context("no program")?.try_into()?;
    program.load()?;
    let index = node.netns().interface_index(Node::UPLINK)?;
    node.netns().run(|| program.attach_to_if_index(index, XdpMode::Driver).map(drop))??;
    Ok(ebpf)
}
