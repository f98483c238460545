//! A change of the cluster-state file is in effect within a second, and what it does not concern loses
//! nothing.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use ipnet::{IpNet, Ipv4Net};
use tests::{
    Failure,
    agent::{Agents, Settings},
    lab::{Endpoint, Lab, Node, Topology},
    probe::{Ping, Series, SeriesReport},
    state::{Encapsulation, State, StatePod},
    story, wait, way,
};

/// How soon a change must be in effect.
const SOON: Duration = Duration::from_secs(1);
/// Longer than anything takes that is waited for, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pings that a story's changes do not concern: on one node, between adjacent ones, through the tunnel.
struct Untouched(Vec<Series>);

impl Untouched {
    fn start(lab: &Lab, pairs: &[(&str, &str)]) -> Result<Self> {
        let start = |(from, to): &(&str, &str)| -> Result<Series> {
            Ping::to(lab.pod(to)?.address())?.expect_reply(lab.pod(from)?)?;
            Series::start(lab.pod(from)?, lab.pod(to)?.address())
        };
        Ok(Self(pairs.iter().map(start).collect::<Result<_>>()?))
    }

    fn stop(self) -> Result<()> {
        self.0.into_iter().try_for_each(|series| series.stop()?.expect_no_loss())
    }
}

/// Checks that a series, silent before a change, was answered soon after it and from then on.
fn began_soon(series: &SeriesReport, change: Instant) -> Result<()> {
    let first = series.first_answered_after(change).with_context(|| format!("no answer: {series}"))?;
    ensure!(first < SOON && series.last_lost_after(change) < SOON, "after {first:?}: {series}");
    Ok(())
}

#[test]
fn a_new_node_is_reached_within_a_second() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let full = State::of(lab, Encapsulation::CrossSubnet);
        let without = full.without_node("b1");
        // The new node itself knows the others from its start.
        let state_of = |node: &Node| if node.name() == "b1" { &full } else { &without };
        agents.start_each(lab, &Settings::default(), state_of)?;
        let untouched = Untouched::start(lab, &[("a1-0", "a1-1"), ("a1-0", "a2-0"), ("a2-1", "a1-1")])?;
        let new = Series::start(lab.pod("a1-0")?, lab.pod("b1-0")?.address())?;
        thread::sleep(Duration::from_millis(300));
        let change = Instant::now();
        agents.apply(&full)?;
        thread::sleep(Duration::from_millis(1500));
        let new = new.stop()?;
        ensure!(new.lost().len() >= 20, "b1 was reached before it was listed: {new}");
        began_soon(&new, change)?;
        untouched.stop()
    })
}

#[test]
fn a_prefix_that_moves_is_followed_within_a_second() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let (prefix, address) = moving_prefix();
        let pod = lab.add_pod("b1", address)?;
        let mut before = State::of(lab, Encapsulation::CrossSubnet);
        before.pods.retain(|listed| listed.name != pod.full_name());
        let mut after = before.clone();
        before.node_mut("a2")?.pod_prefixes.push(prefix);
        after.node_mut("b1")?.pod_prefixes.push(prefix);
        after.pods.push(StatePod::of(&pod));
        agents.start(lab, &Settings::default(), &before)?;
        let untouched = Untouched::start(lab, &[("a1-0", "a1-1"), ("a1-0", "a2-0"), ("a1-0", "b1-0")])?;
        let moving = Series::start(lab.pod("a1-1")?, address)?;
        thread::sleep(Duration::from_millis(300));
        let change = Instant::now();
        agents.apply(&after)?;
        thread::sleep(Duration::from_millis(1500));
        began_soon(&moving.stop()?, change)?;
        untouched.stop()?;
        let lookup = agents.get("a2")?.json(&["lookup", &address.to_string()])?;
        ensure!(lookup["next-hop"] == "node b1", "the old node still has the prefix: {lookup}");
        Ok(())
    })
}

fn moving_prefix() -> (IpNet, IpAddr) {
    let prefix = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 9, 0), 24);
    (prefix.into(), Ipv4Addr::new(10, 244, 9, 10).into())
}

#[test]
fn another_encapsulation_loses_nothing() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let (cross, always) = (Encapsulation::CrossSubnet, Encapsulation::Always);
        let state = State::of(lab, cross);
        agents.start(lab, &Settings::default(), &state)?;
        // The pairs in one subnet change; as nodes take both forms, they lose nothing either.
        let pairs = [("a1-0", "a1-1"), ("a1-0", "b1-0"), ("a1-0", "a2-0"), ("a2-1", "a1-1")];
        let untouched = Untouched::start(lab, &pairs)?;
        for mode in [always, cross] {
            agents.apply(&state.with_encapsulation(mode))?;
            let kind = if mode == always { "ipip" } else { "direct" };
            lookup_says(lab, agents, kind)?;
        }
        untouched.stop()?;
        agents.apply(&state.with_encapsulation(always))?;
        lookup_says(lab, agents, "ipip")?;
        way::expect(lab, agents, always, (lab.pod("a1-0")?, lab.pod("a2-0")?))?;
        way::expect(lab, agents, always, (lab.node("a2")?, lab.pod("a1-0")?))
    })
}

/// Waits until both nodes of the first subnet send to each other's pods in this way.
fn lookup_says(lab: &Lab, agents: &Agents, kind: &str) -> Result<()> {
    for (node, pod) in [("a1", "a2-0"), ("a2", "a1-0")] {
        let address = lab.pod(pod)?.address().to_string();
        wait::until(&format!("{node} to send to {pod} by {kind}"), PATIENCE, || {
            Ok(agents.get(node)?.json(&["lookup", &address])?["kind"] == kind)
        })?;
    }
    Ok(())
}

#[test]
fn a_bad_file_changes_nothing_and_shows_in_the_status() -> Result<(), Failure> {
    story(Topology::two_subnets(), |lab, agents| {
        let state = State::of(lab, Encapsulation::CrossSubnet);
        agents.start(lab, &Settings::default(), &state)?;
        let untouched = Untouched::start(lab, &[("a1-0", "a1-1"), ("a1-0", "a2-0"), ("a1-0", "b1-0")])?;
        let agent = agents.get("a1")?;
        let routes = agent.json(&["routes"])?;
        let twice = format!("{state}nodes: []\n");
        let host_bits = state.to_string().replace("10.244.2.0/24", "10.244.2.1/24");
        let unknown = state.to_string().replace("addresses:", "adresses:");
        for (text, hint) in [
            ("nodes: [", "cluster.yaml"),
            (&twice, "nodes"),
            (&host_bits, "10.244.2.1/24"),
            (&unknown, "adresses"),
            ("", "cluster.yaml"),
        ] {
            agent.apply_text(text)?;
            wait::until_ok(&format!("the status to tell of {hint}"), PATIENCE, || {
                let status = agent.status()?;
                let error =
                    status["sources"][0]["error"].as_str().context("the source has no error")?.to_owned();
                ensure!(error.contains(hint), "{error}");
                Ok(())
            })?;
            ensure!(agent.json(&["routes"])? == routes, "a bad file has changed routes");
        }
        agent.apply(&state)?;
        wait::until("the error to go", PATIENCE, || Ok(agent.status()?["sources"][0]["error"].is_null()))?;
        untouched.stop()
    })
}
