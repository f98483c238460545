//! A gateway between two subnets that forwards other nodes' packets in its drivers, past the stack.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use node_ebpf_common::{Hook, Outcome};
use tests::{
    Failure,
    agent::{Agent, Counters, Settings},
    lab::{Endpoint, Gateway, Lab, Topology},
    probe::{self, Answer, Ping},
    state::{Encapsulation, State},
    story, wait,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;

/// The gateway with its agent in mode `transit`.
struct Scene {
    gateway: Gateway,
    agent: Agent,
    state: State,
}

impl Scene {
    fn of(lab: &Lab) -> Result<Self> {
        let gateway = Gateway::of(lab)?;
        let mut state = State::of(lab, MODE);
        state.nodes.push(gateway.state());
        let settings = Settings { xdp: Some("transit"), ..Settings::default() };
        let mut agent = Agent::start(gateway.node(), &settings, &state)?;
        agent.wait_until_ready()?;
        ensure!(agent.problems()?.is_empty(), "{:?}", agent.problems()?);
        let status = agent.cli(&["status"])?;
        ensure!(status.matches("native, transit").count() == 2, "{status}");
        Ok(Self { gateway, agent, state })
    }

    /// What the gateway has counted during the body, and how many packets its stack has forwarded.
    fn counted(&self, body: impl FnOnce() -> Result<()>) -> Result<(Counters, u64)> {
        let before = (self.agent.counters()?, self.gateway.forwarded_by_stack()?);
        body()?;
        let counted = self.agent.counters()?.since(&before.0)?;
        Ok((counted, self.gateway.forwarded_by_stack()? - before.1))
    }

    /// Checks that both directions of a conversation pass only the drivers of the gateway.
    fn expect_past_the_stack(&self, from: &dyn Endpoint, to: &dyn Endpoint) -> Result<()> {
        let names = format!("{} to {}", from.name(), to.name());
        let (counted, forwarded) = self
            .counted(|| {
                for address in to.addresses() {
                    Ping::to(*address)?.expect_reply(from)?;
                }
                probe::udp(from, to, 1000)?;
                probe::tcp(from, to, 100_000)?;
                Ok(())
            })
            .with_context(|| names.clone())?;
        let transit = counted.packets(Hook::Xdp, Outcome::Transit);
        ensure!(forwarded == 0, "{names}: the stack has forwarded {forwarded} packets\n{counted}");
        ensure!(transit > 50 && counted.dropped() == 0, "{names}:\n{counted}");
        Ok(())
    }
}

#[test]
fn pods_packets_are_forwarded_past_the_stack() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, _| {
        lab.route_plainly()?;
        let scene = Scene::of(lab)?;
        let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
        scene.gateway.forget_neighbours()?;
        // Nobody is known yet: tc and the stack find out, and nothing is lost.
        let (counted, forwarded) = scene.counted(|| Ping::to(to.address())?.expect_reply(from).map(drop))?;
        ensure!(counted.packets(Hook::Xdp, Outcome::Pass) > 0 && forwarded > 0, "{forwarded}\n{counted}");
        ensure!(counted.packets(Hook::FromUplink, Outcome::StackTransit) > 0, "{counted}");
        scene.expect_past_the_stack(from, to)?;
        let (from_other, to_other) = (lab.pod("b1-1")?, lab.pod("a2-1")?);
        Ping::to(to_other.address())?.expect_reply(from_other)?;
        scene.expect_past_the_stack(from_other, to_other)?;
        // One hop less, as any router does; and the last one is the stack's to answer.
        let hops = probe::traceroute(from, to.address())?;
        ensure!(hops.len() == 4, "{hops:?}");
        let throughput = probe::throughput(from, to, 1)?;
        println!("{throughput:?}");
        ensure!(throughput.bytes > 10_000_000, "{throughput:?}");
        Ok(())
    })
}

#[test]
fn encapsulated_packets_and_the_nodes_own_are_forwarded_past_the_stack() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        let scene = Scene::of(lab)?;
        agents.start(lab, &Settings::default(), &scene.state)?;
        let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
        for address in to.addresses().iter().chain(lab.node("b1")?.addresses()) {
            Ping::to(*address)?.expect_reply(from)?;
            Ping::to(*address)?.expect_reply(lab.node("a1")?)?;
        }
        scene.expect_past_the_stack(from, to)?;
        scene.expect_past_the_stack(lab.node("a1")?, lab.node("b1")?)?;
        let throughput = probe::throughput(from, to, 1)?;
        println!("{throughput:?}");
        ensure!(throughput.bytes > 10_000_000, "{throughput:?}");
        Ok(())
    })
}

#[test]
fn jumbo_frames_are_forwarded_past_the_stack_where_the_driver_sends_them() -> Result<(), Failure> {
    story(Topology::two_subnets().with_pod_mtu(8_900), |lab, _| {
        lab.set_uplink_mtu(9_000)?;
        lab.route_plainly()?;
        let scene = Scene::of(lab)?;
        let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
        let ping = Ping::to(to.address())?.size(8_800);
        ping.expect_reply(from)?;
        let (counted, forwarded) = scene.counted(|| ping.expect_reply(from).map(drop))?;
        ensure!(
            counted.packets(Hook::Xdp, Outcome::Transit) == 2 && forwarded == 0,
            "{forwarded}\n{counted}"
        );
        Ok(())
    })
}

/// Nobody tells the kernel that what XDP sends does not arrive: the agent makes it ask.
#[test]
fn a_neighbour_with_another_address_is_noticed() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, _| {
        lab.route_plainly()?;
        let mut scene = Scene::of(lab)?;
        scene.agent.kill(Signal::SIGTERM)?;
        let settings =
            Settings { xdp: Some("transit"), audit_interval: Some("500ms"), ..Settings::default() };
        scene.agent.configure(&settings)?;
        scene.agent.restart()?;
        // Minutes, at the usual pace.
        for (name, value) in
            [("base_reachable_time_ms", "500"), ("delay_first_probe_time", "1"), ("retrans_time_ms", "100")]
        {
            lab.router().set_sysctl(&format!("net.ipv4.neigh.net-b.{name}"), value)?;
        }
        let (from, to, node) = (lab.pod("a1-0")?, lab.pod("b1-0")?, lab.node("b1")?);
        Ping::to(to.address())?.expect_reply(from)?;
        scene.expect_past_the_stack(from, to)?;
        node.netns().ip("link set eth0 address 02:00:00:00:00:99")?;
        let ping = Ping::to(to.address())?.timeout(Duration::from_millis(100));
        let lost = ping.send(from.netns())?;
        ensure!(!matches!(lost, Answer::Reply { .. }), "the change has been noticed without help");
        let after = wait::until("the new address to be found", Duration::from_secs(10), || {
            Ok(matches!(ping.send(from.netns())?, Answer::Reply { .. }))
        })?;
        println!("found after {after:?}");
        scene.expect_past_the_stack(from, to)
    })
}

/// A driver that sends nothing for XDP would drop what is redirected to it: it is left to tc.
#[test]
fn a_driver_that_does_not_send_for_xdp_is_left_to_tc() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, _| {
        lab.route_plainly()?;
        let gateway = Gateway::of(lab)?;
        lab.switch().output("ethtool", &["-K", "router-b", "gro", "off"])?;
        let mut state = State::of(lab, MODE);
        state.nodes.push(gateway.state());
        let settings = Settings { xdp: Some("transit"), ..Settings::default() };
        let mut agent = Agent::start(gateway.node(), &settings, &state)?;
        agent.wait_until_ready()?;
        let problems = agent.problems()?;
        ensure!(
            matches!(&problems[..], [one] if one.contains("XDP forwards nothing to net-b")),
            "{problems:?}"
        );
        let (from, to) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
        Ping::to(to.address())?.expect_reply(from)?;
        let before = agent.counters()?;
        Ping::to(to.address())?.expect_reply(from)?;
        let counted = agent.counters()?.since(&before)?;
        ensure!(counted.packets(Hook::FromUplink, Outcome::StackTransit) == 1, "{counted}");
        ensure!(counted.packets(Hook::Xdp, Outcome::Transit) == 1, "the way back is free:\n{counted}");
        Ok(())
    })
}
