//! Routes to what is outside of the cluster, stated with several next hops.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agent, Agents, Settings},
    lab::{Endpoint, Lab, Node, Topology},
    probe::Ping,
    state::{Encapsulation, State},
    story, wait,
};

/// How long anything may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is outside, and an address there: a2 has it beside its own.
const OUTSIDE: &str = "192.0.2.0/24";
const THERE: &str = "192.0.2.1";

/// A neighbour in the first subnet that is no node: a2, by another address.
const NEIGHBOUR: &str = "10.0.1.112";

/// An address that no node is adjacent to.
const AWAY: &str = "198.51.100.9";

#[test]
fn a_route_leads_outside_by_several_next_hops_and_stays_with_those_that_can_be_used() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let a2 = lab.node("a2")?;
        a2.netns().ip(&format!("address add {THERE}/32 dev lo"))?;
        a2.netns().ip(&format!("address add {NEIGHBOUR}/32 dev {}", Node::UPLINK))?;
        let state = State::of(lab, Encapsulation::CrossSubnet);
        agents.start(lab, &Settings::default(), &state)?;
        expect_route(lab, agents, 0)?;

        let by_a2 = a2.v4().context("the lab is not IPv4")?;
        let stated = |next_hops: &str| {
            format!("{state}\nroutes:\n- {{prefix: {OUTSIDE}, next-hops: [{next_hops}]}}\n")
        };
        let apply =
            |agents: &Agents, text: &str| agents.iter().try_for_each(|(_, agent)| agent.apply_text(text));
        apply(agents, &stated(&format!("{by_a2}, {NEIGHBOUR}")))?;
        expect_route(lab, agents, 2)?;
        answers(lab, "a1-0")?;
        // b1 reaches a2 through a tunnel only, and the other address not at all.
        expect_refused(agents.get("b1")?)?;
        // a2 is where the route leads: its own stack decides there.
        let own = a2.netns().ip(&format!("route show {OUTSIDE}"))?;
        ensure!(own.trim().is_empty(), "a2 has a route to itself: {own}");

        apply(agents, &stated(&format!("{by_a2}, {AWAY}")))?;
        expect_route(lab, agents, 1)?;
        expect_unusable(agents.get("a1")?, AWAY)?;
        answers(lab, "a1-0")?;

        agents.apply(&state)?;
        expect_route(lab, agents, 0)
    })
}

/// Waits until a1's kernel has a route outside with so many ways (0: none), and `lookup` agrees.
fn expect_route(lab: &Lab, agents: &Agents, ways: usize) -> Result<()> {
    let (a1, agent) = (lab.node("a1")?, agents.get("a1")?);
    wait::until(&format!("{ways} ways outside"), PATIENCE, || {
        let shown = a1.netns().ip(&format!("route show {OUTSIDE} proto 77"))?;
        let legs = shown.lines().filter(|line| line.trim_start().starts_with("nexthop ")).count();
        let in_kernel = if legs > 0 { legs } else { usize::from(!shown.trim().is_empty()) };
        let told = agent.json(&["lookup", THERE])?;
        let in_bpf = told["prefix"] == OUTSIDE;
        Ok(in_kernel == ways && in_bpf == (ways > 0))
    })?;
    Ok(())
}

/// Waits until `routes` names the next hop as one that is not used, beside the route that is.
fn expect_unusable(agent: &Agent, next_hop: &str) -> Result<()> {
    wait::until(&format!("{next_hop} is not used"), PATIENCE, || {
        let rows = agent.json(&["routes"])?;
        let rows = rows.as_array().context("the routes are no list")?;
        let of_outside: Vec<&Value> = rows.iter().filter(|row| row["prefix"] == OUTSIDE).collect();
        let used = of_outside.iter().any(|row| row["state"] == "used" && row["in-bpf"] == true);
        let named = of_outside.iter().any(|row| {
            let state = row["state"].as_str().unwrap_or_default();
            row["next-hop"] == format!("next hop {next_hop}") && state.contains("not adjacent")
        });
        Ok(used && named)
    })?;
    Ok(())
}

/// Waits until `routes` tells why the route is not used at all: neither in the maps nor in the kernel's table.
fn expect_refused(agent: &Agent) -> Result<()> {
    wait::until("the route is refused", PATIENCE, || {
        let rows = agent.json(&["routes"])?;
        let rows = rows.as_array().context("the routes are no list")?;
        Ok(rows.iter().any(|row| {
            let state = row["state"].as_str().unwrap_or_default();
            let says = ["encapsulated packets for its own pods only", "not adjacent"];
            row["prefix"] == OUTSIDE
                && row["in-bpf"] == false
                && row["in-kernel"] == false
                && says.iter().all(|part| state.contains(part))
        }))
    })?;
    Ok(())
}

/// What is outside answers a pod.
fn answers(lab: &Lab, pod: &str) -> Result<()> {
    let (pod, there): (_, IpAddr) = (lab.pod(pod)?, THERE.parse()?);
    for _ in 0..8 {
        Ping::to(there)?.timeout(PATIENCE).expect_reply(pod)?;
    }
    Ok(())
}
