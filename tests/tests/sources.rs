//! Cluster state from two files: the preferred one is believed, and what it leaves is the other's.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    Failure,
    agent::{Agent, Agents, Settings},
    lab::{Endpoint, Lab, Node, Topology},
    probe::{Ping, Series},
    state::{Encapsulation, State},
    story, wait,
};

/// How long anything may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);

const SOURCES: &str =
    "[{name: base, file: cluster.yaml, preference: 200}, {name: override, file: override.yaml}]";
const OTHER: &str = "override.yaml";

/// A prefix that both files state a route to, and an address there: a2 has it beside its own.
const PREFIX: &str = "192.0.2.0/24";
const THERE: &str = "192.0.2.1";
/// The next hop that the preferred file states: a2, by another address.
const PREFERRED: &str = "10.0.1.112";

/// What the preferred file says: a route, and nothing of nodes.
fn route() -> String {
    format!("routes: [{{prefix: {PREFIX}, next-hops: [{PREFERRED}]}}]\n")
}

/// Agents with both files, and how the base one begins: a route to the prefix by a2's own address.
fn started(lab: &Lab, agents: &mut Agents) -> Result<(String, String)> {
    let a2 = lab.node("a2")?;
    a2.netns().ip(&format!("address add {THERE}/32 dev lo"))?;
    a2.netns().ip(&format!("address add {PREFERRED}/32 dev {}", Node::UPLINK))?;
    let state = State::of(lab, Encapsulation::CrossSubnet);
    let settings =
        Settings { sources: Some(SOURCES), other_file: Some((OTHER, route())), ..Settings::default() };
    agents.start(lab, &settings, &state)?;
    let base = a2.v4().context("the lab is not IPv4")?.to_string();
    let text = format!("{state}\nroutes:\n- {{prefix: {PREFIX}, next-hops: [{base}]}}\n");
    agents.iter().try_for_each(|(_, agent)| agent.apply_text(&text))?;
    Ok((text, base))
}

/// Waits until the route is by this next hop, in the maps and in the kernel, and `routes` names this many losers beside
/// it, each of the base file, with the reason.
fn expect_route(lab: &Lab, agent: &Agent, gateway: &str, losers: usize) -> Result<()> {
    wait::until_ok(&format!("the route to be by {gateway}"), PATIENCE, || {
        let told = agent.json(&["lookup", THERE])?;
        ensure!(told["gateway"] == gateway, "{told}");
        let shown = lab.node("a1")?.netns().ip(&format!("route show {PREFIX} proto 77"))?;
        ensure!(shown.contains(&format!("via {gateway} ")), "{shown}");
        let rows = agent.json(&["routes"])?;
        let rows = rows.as_array().context("the routes are no list")?;
        let lost: Vec<&Value> =
            rows.iter().filter(|row| row["prefix"] == PREFIX && row["state"] != "used").collect();
        let of_base = lost.iter().all(|row| {
            row["origin"].as_str().is_some_and(|origin| origin.starts_with("base cluster.yaml:"))
                && row["state"] == "source base comes after source override"
        });
        ensure!(lost.len() == losers && of_base, "{lost:?}");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn the_preferred_file_wins_and_what_it_leaves_falls_to_the_other_without_loss() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let (_, base) = started(lab, agents)?;
        let agent = agents.get("a1")?;
        expect_route(lab, agent, PREFERRED, 1)?;
        let there: IpAddr = THERE.parse()?;
        // Both neighbours are known before anything is counted.
        for next_hop in [PREFERRED, &base] {
            Ping::to(next_hop.parse()?)?.timeout(PATIENCE).expect_reply(lab.node("a1")?)?;
        }
        Ping::to(there)?.timeout(PATIENCE).expect_reply(lab.pod("a1-0")?)?;
        let series = Series::start(lab.pod("a1-0")?, there)?;
        for _ in 0..3 {
            agent.apply_other(OTHER, "routes: []\n")?;
            expect_route(lab, agent, &base, 0)?;
            agent.apply_other(OTHER, &route())?;
            expect_route(lab, agent, PREFERRED, 1)?;
        }
        series.stop()?.expect_no_loss()
    })
}

#[test]
fn a_file_that_fails_keeps_what_it_said_and_does_not_disturb_the_other() -> Result<(), Failure> {
    const MORE: &str = "198.51.100.0/24";
    story(Topology::two_subnets(), |lab, agents| {
        let (mut text, _) = started(lab, agents)?;
        let agent = agents.get("a1")?;
        expect_route(lab, agent, PREFERRED, 1)?;
        let error = |says: Option<&str>| {
            wait::until_ok("the status to say how the sources are", PATIENCE, || {
                let status = agent.status()?;
                let sources = status["sources"].as_array().context("no sources")?;
                let named = |name: &str| sources.iter().find(|source| source["source"] == name);
                let base = named("base").context("no source base")?;
                let other = named("override").context("no source override")?;
                ensure!(base["synced"] == true && base["error"].is_null(), "{base}");
                let told = other["error"].as_str();
                let as_expected = match (told, says) {
                    (Some(told), Some(says)) => told.contains(says),
                    (told, says) => told.is_none() && says.is_none(),
                };
                ensure!(as_expected, "{other}");
                Ok(())
            })
        };
        error(None)?;
        agent.apply_other(OTHER, "routes: 7\n")?;
        error(Some("override.yaml:1:9"))?;
        expect_route(lab, agent, PREFERRED, 1)?;
        agent.remove_other(OTHER)?;
        error(Some("override.yaml"))?;

        // The other one is followed meanwhile.
        text += &format!("- {{prefix: {MORE}, next-hops: [{PREFERRED}]}}\n");
        agent.apply_text(&text)?;
        wait::until_ok("the new route of the base file", PATIENCE, || {
            let shown = lab.node("a1")?.netns().ip(&format!("route show {MORE} proto 77"))?;
            ensure!(shown.contains(PREFERRED), "{shown}");
            Ok(())
        })?;
        expect_route(lab, agent, PREFERRED, 1)?;
        agent.apply_other(OTHER, &route())?;
        error(None)?;
        expect_route(lab, agent, PREFERRED, 1)
    })
}
