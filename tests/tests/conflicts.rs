//! Objects that claim the same: one has it on every node, `status` tells which and since when, and events tell when it
//! begins and ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agent, Settings},
    lab::{Endpoint, Lab, Topology},
    probe,
    state::{Encapsulation, State},
    story, wait,
};

/// How long anything may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(20);

/// The conflicts as `KIND ABOUT: WINNER, not LOSER`.
fn conflicts(agent: &Agent) -> Result<Vec<String>> {
    let status = agent.status()?;
    let rows = status["conflicts"].as_array().context("the status lists no conflicts")?;
    let text = |row: &Value| -> Result<String> {
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned).context("no text in a conflict");
        let losers = row["losers"].as_array().context("a conflict without losers")?;
        let losers = losers.iter().map(|loser| text(&loser["name"])).collect::<Result<Vec<_>>>()?.join(", ");
        text(&row["since"])?;
        let (kind, about) = (text(&row["kind"])?, text(&row["about"])?);
        Ok(format!("{kind} {about}: {}, not {losers}", text(&row["winner"]["name"])?))
    };
    rows.iter().map(text).collect()
}

/// How often something of this kind has happened to this object.
fn happened(agent: &Agent, kind: &str, object: &str) -> Result<u64> {
    let events = agent.json(&["events", "--kind", kind])?;
    let events = events.as_array().context("the events are no list")?;
    let about = |event: &&Value| event["object"] == object;
    Ok(events.iter().filter(about).filter_map(|event| event["times"].as_u64()).sum())
}

/// Runs agents with a state that `change` makes bad, until all of them, or the one that is named, tell of this conflict;
/// then with the good one again.
fn conflict(
    only: Option<&str>,
    about: impl Fn(&Lab) -> Result<String>,
    says: impl Fn(&str) -> String,
    change: impl Fn(&Lab, &mut State) -> Result<()>,
) -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let good = State::of(lab, Encapsulation::CrossSubnet);
        let mut bad = good.clone();
        change(lab, &mut bad)?;
        let about = about(lab)?;
        let expected = [says(&about)];
        agents.start(lab, &Settings::default(), &good)?;
        let told: Vec<(&str, &Agent)> =
            agents.iter().filter(|(node, _)| only.is_none_or(|only| only == *node)).collect();
        for round in 1..=2 {
            agents.apply(&bad)?;
            for (node, agent) in &told {
                wait::until_ok(&format!("{node} to tell of the conflict"), PATIENCE, || {
                    let found = conflicts(agent)?;
                    ensure!(found == expected, "{found:?} instead of {expected:?}");
                    Ok(())
                })?;
                ensure!(happened(agent, "conflict-found", &about)? == round, "{}", agent.cli(&["events"])?);
                ensure!(happened(agent, "problem-found", &about)? == 0, "it is told as a conflict only");
                let shown = agent.cli(&["status"])?;
                ensure!(shown.contains("GOES TO"), "{shown}");
            }
            agents.apply(&good)?;
            for (node, agent) in &told {
                wait::until(&format!("{node} to tell that it is gone"), PATIENCE, || {
                    Ok(conflicts(agent)?.is_empty())
                })?;
                ensure!(happened(agent, "conflict-gone", &about)? == round, "{}", agent.cli(&["events"])?);
            }
        }
        for (from, to) in [("a1-0", "a2-0"), ("a1-0", "b1-0"), ("b1-1", "a2-1")] {
            wait::until_ok("all to be as before", PATIENCE, || {
                probe::tcp(lab.pod(from)?, lab.pod(to)?, 1000)
            })?;
        }
        Ok(())
    })
}

#[test]
fn one_prefix_of_two_nodes_goes_to_the_first_by_name() -> Result<(), Failure> {
    conflict(
        None,
        |lab| Ok(lab.node("a2")?.pod_prefix().to_string()),
        |about| format!("duplicate-pod-prefix {about}: node a2, not node b1"),
        |lab, state| {
            state.node_mut("b1")?.pod_prefixes.push(lab.node("a2")?.pod_prefix());
            Ok(())
        },
    )
}

#[test]
fn one_address_of_two_nodes_goes_to_the_first_by_name() -> Result<(), Failure> {
    conflict(
        None,
        |lab| Ok(lab.node("a2")?.address().to_string()),
        |about| format!("duplicate-node-address {about}: node a2, not node other"),
        |lab, state| {
            let mut other = state.node_mut("a2")?.clone();
            "other".clone_into(&mut other.name);
            other.pod_prefixes = vec!["10.244.99.0/24".parse()?];
            other.addresses = vec![lab.node("a2")?.address()];
            state.nodes.push(other);
            Ok(())
        },
    )
}

#[test]
fn one_address_of_two_pods_goes_to_the_one_at_home() -> Result<(), Failure> {
    conflict(
        None,
        |lab| Ok(lab.pod("a2-0")?.address().to_string()),
        |about| {
            format!("duplicate-address {about}: pod default/a2-0 on node a2, not pod default/b1-0 on node b1")
        },
        |lab, state| {
            let address = lab.pod("a2-0")?.address();
            let name = lab.pod("b1-0")?.full_name();
            let pod = state.pods.iter_mut().find(|pod| pod.name == name).context("no such pod")?;
            pod.addresses = vec![address];
            Ok(())
        },
    )
}

/// Only a node that is connected to the network is in its way.
#[test]
fn a_prefix_around_the_hosts_own_network_is_refused() -> Result<(), Failure> {
    conflict(
        Some("a1"),
        |_| Ok("172.17.0.0/16".to_owned()),
        |about| format!("prefix-overlaps-host {about}: the network 172.17.1.0/24 of other0, not node b1"),
        |lab, state| {
            let netns = lab.node("a1")?.netns();
            netns.ip("link add other0 type veth peer name other1")?;
            netns.ip("address add 172.17.1.1/24 dev other0")?;
            netns.ip("link set other0 up")?;
            state.node_mut("b1")?.pod_prefixes.push("172.17.0.0/16".parse()?);
            Ok(())
        },
    )
}
