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
        let kernel = route.contains(&format!(" dev {interface} "));
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
