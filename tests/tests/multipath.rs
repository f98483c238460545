//! A node behind a multipath route of the kernel.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{
    Failure,
    agent::{Agents, Settings},
    craft,
    lab::{Endpoint, Lab, Node, Topology},
    probe,
    state::{Encapsulation, State},
    story, wait, way,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;

/// How long it may take until something is seen; nothing here has a limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn packets_go_on_by_the_other_leg_when_one_goes_down_and_come_back() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        lab.add_uplink("a1", "eth1")?;
        let a1 = lab.node("a1")?;
        let gateway = a1.subnet().gateway();
        let behind = lab.node("b1")?.subnet().networks[0].prefix;
        let leg = |interface| format!("nexthop via {gateway} dev {interface} onlink");
        a1.netns().ip(&format!("route add {behind} {} {}", leg(Node::UPLINK), leg("eth1")))?;
        // Nothing but the kernel's own messages makes the agent look.
        let settings = Settings { audit_interval: Some("1h"), ..Settings::default() };
        agents.start(lab, &settings, &State::of(lab, MODE))?;
        expect_way(lab, agents, Node::UPLINK, 2)?;
        flows_take_both_legs(lab)?;

        a1.netns().ip(&format!("link set {} down", Node::UPLINK))?;
        craft::announce(a1.netns(), "eth1", a1.v4().context("the lab is not IPv4")?)?;
        expect_way(lab, agents, "eth1", 0)?;

        a1.netns().ip(&format!("link set {} up", Node::UPLINK))?;
        craft::announce(a1.netns(), Node::UPLINK, a1.v4().context("the lab is not IPv4")?)?;
        expect_way(lab, agents, Node::UPLINK, 2)?;

        a1.netns().ip("link set eth1 down")?;
        expect_way(lab, agents, Node::UPLINK, 0)
    })
}

/// Waits until a1's way to b1 leaves first through this interface and has so many members, and the kernel's route to
/// b1's pods agrees. Then packets must get through, both ways, as the mode demands.
fn expect_way(lab: &Lab, agents: &Agents, interface: &str, members: usize) -> Result<()> {
    let (here, there) = (lab.pod("a1-0")?, lab.pod("b1-0")?);
    let (address, prefix) = (there.address().to_string(), lab.node("b1")?.pod_prefix());
    let agent = agents.get("a1")?;
    wait::until(&format!("b1 is behind {interface} with {members} members"), PATIENCE, || {
        let told = agent.json(&["lookup", &address])?;
        let (_, explained) = agent.cli_with_code(&["explain", &address, "--output", "json"])?;
        let explained: serde_json::Value = serde_json::from_str(&explained)?;
        let steps = explained["targets"][0]["steps"].as_array().context("nothing is explained")?;
        let rows = steps.iter().filter_map(|step| step["rows"].as_array()).flatten();
        let shown = rows.filter(|row| row["name"] == "member").count();
        let route = lab.node("a1")?.netns().ip(&format!("route show {prefix}"))?;
        let legs = route.lines().filter(|line| line.trim_start().starts_with("nexthop ")).count();
        let kernel = route.contains(&format!(" dev {interface} ")) && legs == members;
        Ok(told["interface"] == interface && shown == members && kernel)
    })?;
    for (from, to) in [(here, there), (there, here)] {
        probe::tcp(from, to, 5000)?;
        way::expect(lab, agents, MODE, (from, to))?;
    }
    // a2 is behind the first uplink alone, and a problem while that is down.
    let of_b1: Vec<String> = agent.problems()?.into_iter().filter(|text| text.contains("b1")).collect();
    ensure!(of_b1.is_empty(), "{of_b1:?}");
    Ok(())
}

/// Connections from a pod of a1 to one of b1, from ports of their own: some go by each leg, and all of one by the same.
fn flows_take_both_legs(lab: &Lab) -> Result<()> {
    let (a1, from, to) = (lab.node("a1")?, lab.pod("a1-0")?, lab.pod("b1-0")?);
    let sent = || -> Result<[u64; 2]> {
        Ok([a1.netns().packets_sent(Node::UPLINK)?, a1.netns().packets_sent("eth1")?])
    };
    let before = sent()?;
    for _ in 0..40 {
        probe::udp(from, to, 100)?;
    }
    let after = sent()?;
    let each = [after[0] - before[0], after[1] - before[1]];
    ensure!(each.iter().all(|packets| *packets >= 4), "by {} and eth1: {each:?} packets", Node::UPLINK);
    Ok(())
}

/// IPv6: the kernel reports and replaces multipath routes in another way.
#[test]
fn the_kernels_routes_have_both_legs_in_both_families() -> Result<(), Failure> {
    story(Topology::dual_stack(), |lab, agents| {
        lab.add_uplink("a1", "eth1")?;
        let (a1, b1) = (lab.node("a1")?, lab.node("b1")?);
        // IPv6 takes no gateway that its network is not at the interface of.
        a1.netns().ip("-6 address add fd00:0:0:1::111/64 dev eth1 nodad")?;
        for (here, there) in a1.subnet().networks.iter().zip(&b1.subnet().networks) {
            let leg = |interface| format!("nexthop via {} dev {interface} onlink", here.gateway);
            let family = if here.gateway.is_ipv6() { "-6 " } else { "" };
            let legs = format!("{} {}", leg(Node::UPLINK), leg("eth1"));
            a1.netns().ip(&format!("{family}route add {} {legs}", there.prefix))?;
        }
        agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
        let legs = |prefix: &ipnet::IpNet| -> Result<usize> {
            let family = if prefix.addr().is_ipv6() { "-6 " } else { "" };
            let shown = a1.netns().ip(&format!("{family}route show {prefix} proto 77"))?;
            Ok(shown.lines().filter(|line| line.trim_start().starts_with("nexthop ")).count())
        };
        let all_have = |number: usize| {
            wait::until(&format!("{number} legs in each family"), PATIENCE, || {
                let each = b1.pod_prefixes().iter().map(legs).collect::<Result<Vec<_>>>()?;
                Ok(each.iter().all(|legs| *legs == number))
            })
        };
        all_have(2)?;
        // What is there is not written again and again.
        let quiet = |agents: &Agents| -> Result<u64> {
            let status = agents.get("a1")?.status()?;
            status["reconcile"]["last-changing-pass"]["number"].as_u64().context("no pass")
        };
        let before = quiet(agents)?;
        a1.netns().ip("link set eth1 mtu 1499")?;
        wait::until("a pass without a change", PATIENCE, || {
            let status = agents.get("a1")?.status()?;
            let last = &status["reconcile"]["last-pass"];
            Ok(last["number"].as_u64() > Some(before)
                && last["host-changes"] == 0
                && last["datapath-changes"] == 0)
        })?;
        for prefix in b1.pod_prefixes() {
            let family = if prefix.addr().is_ipv6() { "-6 " } else { "" };
            a1.netns().ip(&format!("{family}route del {prefix} proto 77"))?;
        }
        all_have(2)?;
        a1.netns().ip("link set eth1 down")?;
        all_have(0)?;
        Ok(())
    })
}
