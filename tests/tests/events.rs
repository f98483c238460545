//! What happens to a node is told, once for each thing, in the order in which it happened.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agent, Settings},
    lab::{Endpoint, Node, Topology},
    state::{Encapsulation, State},
    story, wait,
};

/// How long anything may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for an event of this kind whose text has this part, after the one with this number; its own number.
fn expect(agent: &Agent, kind: &str, part: &str, after: u64) -> Result<u64> {
    let since = after.to_string();
    let attempt = || {
        let events = agent.json(&["events", "--since", &since])?;
        let is_it = |event: &&Value| {
            event["kind"] == kind && event["text"].as_str().is_some_and(|text| text.contains(part))
        };
        let found = events.as_array().context("the events are no list")?.iter().find(is_it);
        found
            .and_then(|event| event["number"].as_u64())
            .with_context(|| format!("no {kind} with {part:?} in {events:#}"))
    };
    Ok(wait::until_ok(&format!("an event {kind}"), PATIENCE, attempt)?.0)
}

#[test]
fn what_happens_is_told_in_order() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, Encapsulation::CrossSubnet);
        agents.start(lab, &Settings::default(), &state)?;
        let (a1, node) = (agents.get("a1")?, lab.node("a1")?);
        let started = expect(a1, "agent-started", "agent of node a1 starts", 0)?;
        ensure!(started == 1, "it is the first");
        let synced = expect(a1, "source-synced", "source file has told all it has", started)?;
        a1.apply_text("nodes: [")?;
        let failed = expect(a1, "source-failed", "cluster.yaml", synced)?;
        a1.apply(&state.with_encapsulation(Encapsulation::Always))?;
        let synced = expect(a1, "source-synced", "source file has told all it has", failed)?;
        let changed = expect(
            a1,
            "way-changed",
            "node a2 is reached by eth0 via 10.0.1.12, ipip to",
            synced.min(failed),
        )?;
        let pod = lab.pod("a1-0")?.interface().to_owned();
        node.netns().ip(&format!("link set {pod} down"))?;
        let found = expect(a1, "problem-found", &format!("interface {pod} of pod"), changed)?;
        node.netns().ip(&format!("link set {pod} up"))?;
        expect(a1, "problem-gone", &format!("interface {pod} of pod"), found)?;
        let down = uplink(a1, node, "down", found)?;
        uplink(a1, node, "up", down)?;
        node.netns().ip(&format!("route add default via {}", node.subnet().gateway()))?;
        Ok(())
    })
}

fn uplink(agent: &Agent, node: &Node, to: &str, after: u64) -> Result<u64> {
    node.netns().ip(&format!("link set {} {to}", Node::UPLINK))?;
    expect(agent, "link-changed", &format!("uplink {} is {to}", Node::UPLINK), after)
}

/// Whoever follows the events sees those of the next agent, too, and each once.
#[test]
fn events_are_followed_over_a_restart() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        agents.start(lab, &Settings::default(), &State::of(lab, Encapsulation::CrossSubnet))?;
        let follow = agents.get("a1")?.follow_events()?;
        let kinds = || -> Result<Vec<String>> {
            let kind = |event: &Value| event["kind"].as_str().map(ToOwned::to_owned);
            Ok(follow.events()?.iter().filter_map(kind).collect())
        };
        let count =
            |kind: &str| -> Result<usize> { Ok(kinds()?.iter().filter(|found| *found == kind).count()) };
        wait::until("the events so far", PATIENCE, || Ok(count("source-synced")? == 1))?;
        let a1 = agents.get_mut("a1")?;
        a1.kill(Signal::SIGKILL)?;
        a1.restart()?;
        expect(a1, "program-replaced", "programs have taken the place of others", 0)?;
        wait::until("the next agent's events", PATIENCE, || Ok(count("program-replaced")? > 0))?;
        ensure!(count("agent-started")? == 2, "{:?}", kinds()?);
        ensure!(count("source-synced")? == 2, "{:?}", kinds()?);
        Ok(())
    })
}
