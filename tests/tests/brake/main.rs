//! A mass withdrawal is held, and traffic goes on, until somebody confirms it or the source repeats it for long enough.

mod hold;
mod release;
mod start;

use std::{fs, net::IpAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agent, Agents, Settings},
    lab::{Endpoint, Lab, Topology},
    probe::{Ping, Series},
    state::{Encapsulation, State, StateNode},
    story, wait,
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// Nodes of the cluster that only the file knows.
const OTHERS: u8 = 57;
/// How long anything may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(20);
/// A brake that does not let go within a test.
const PATIENT: Settings = settings("{release-after: 1h}");

const fn settings(brake: &'static str) -> Settings {
    Settings {
        log: None,
        log_format: None,
        attach: None,
        source_check: None,
        uplinks: None,
        masquerade: None,
        audit_interval: Some("1s"),
        program_log: None,
        pod_mtu: None,
        xdp: None,
        brake: Some(brake),
        metrics: None,
        state_dir: None,
        sources: None,
        other_file: None,
    }
}

/// The lab's three nodes and 57 others.
fn sixty(lab: &Lab) -> State {
    let mut state = State::of(lab, MODE);
    let other = |number: u8| StateNode {
        name: format!("other-{number}"),
        addresses: vec![IpAddr::from([10, 0, 1, 100 + number])],
        pod_prefixes: vec![prefix(number).parse().expect("a prefix")],
    };
    state.nodes.extend((0..OTHERS).map(other));
    state
}

fn prefix(number: u8) -> String {
    format!("10.245.{number}.0/24")
}

/// What is left after most of the file has been lost: a1 itself and nine of the nodes that are not there.
fn ten(state: &State) -> State {
    let mut state = state.without_node("a2").without_node("b1");
    state.nodes.truncate(10);
    state
}

fn held(agent: &Agent) -> Result<Value> {
    Ok(agent.status()?["brake"]["held"].clone())
}

/// Waits until so many routes are held.
fn wait_for_hold(agent: &Agent, routes: u64) -> Result<Value> {
    let attempt = || {
        let held = held(agent)?;
        ensure!(held["routes"] == routes, "{held}");
        Ok(held)
    };
    Ok(wait::until_ok(&format!("{routes} routes to be held"), PATIENCE, attempt)?.0)
}

fn wait_for_release(agent: &Agent) -> Result<()> {
    wait::until("nothing to be held", PATIENCE, || Ok(held(agent)?.is_null()))?;
    Ok(())
}

/// Whether a1 has a route to this prefix, which is the same in both planes.
fn has_route(lab: &Lab, agent: &Agent, prefix: &str) -> Result<bool> {
    let address = prefix.replace(".0/24", ".10");
    let in_maps = !agent.json(&["lookup", &address])?["kind"].is_null();
    let in_kernel = !lab.node("a1")?.netns().ip(&format!("route show {prefix} proto 77"))?.is_empty();
    ensure!(in_maps == in_kernel, "{prefix}: in the maps {in_maps}, in the kernel's table {in_kernel}");
    Ok(in_maps)
}

fn wait_for_route(lab: &Lab, agent: &Agent, prefix: &str, there: bool) -> Result<()> {
    let what = format!("the route to {prefix} to be {}", if there { "there" } else { "gone" });
    wait::until_ok(&what, PATIENCE, || {
        ensure!(has_route(lab, agent, prefix)? == there, "it is not");
        Ok(())
    })?;
    Ok(())
}

fn kinds(agent: &Agent) -> Result<Vec<String>> {
    let events = agent.json(&["events"])?;
    let kind = |event: &Value| event["kind"].as_str().map(ToOwned::to_owned).context("an event has no kind");
    events.as_array().context("the events are no list")?.iter().map(kind).collect()
}

/// Starts the agents and takes most nodes away from a1, which holds what leads to them.
fn with_hold(lab: &Lab, agents: &mut Agents, settings: &Settings) -> Result<State> {
    let all = sixty(lab);
    agents.start(lab, settings, &all)?;
    let left = ten(&all);
    agents.get("a1")?.apply(&left)?;
    // Of 50 nodes the prefix and the address.
    wait_for_hold(agents.get("a1")?, 100)?;
    Ok(left)
}

/// To the pods of the nodes that are gone from the file, direct and encapsulated.
fn traffic(lab: &Lab) -> Result<Vec<Series>> {
    let from = lab.pod("a1-0")?;
    ["a2-0", "b1-0"].into_iter().map(|pod| Series::start(from, lab.pod(pod)?.address())).collect()
}
